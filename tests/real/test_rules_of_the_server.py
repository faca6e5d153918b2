"""The API server holds users, and the operator, to every bound and every rule of our CRDs, in words that name the field."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from support.definitions import DATA, MODELS, Object, at, documents, field, locate, nodes, put, schema_of, whole
from support.own_kinds import DRY_RUN, NOT_CHECKED, OwnKinds, own_kinds, refusals, stored
from support.schema_bounds import Case, cases
from whimbrel_lab.controlplane.client import Answer
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

(RULES,) = documents(DATA / "objects" / "rules.yaml")
FROZEN = "the spec is frozen because this plan has finished; create a new plan"
ABOUT_CHANGES = {FROZEN}
INVALID = 422


@pytest.fixture
async def kinds(api_server: Endpoint) -> AsyncIterator[OwnKinds]:
    async with own_kinds(api_server) as opened:
        yield opened


def rule_places(kind: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(place in the schema, message) of every rule that judges one object for itself."""
    for place, node in nodes(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            if rule["message"] not in ABOUT_CHANGES:
                yield place, rule["message"]


def complaint(case: Case, accepted: list[Answer], refused: Answer) -> str | None:
    """How the server's answers differ from what a bound promises."""
    if wrong := [each.text for each in accepted if each.code not in (200, 201)]:
        return f"{case}: refused on the bound: {wrong[0]}"
    causes = refusals(refused)
    at_field = [says for where, says in causes if where == case.at and case.says in says]
    # What is said of the items of a list that is too long follows from it: of five rungs a sixth is one given twice.
    related = [where for where, _ in causes if case.at.startswith(where) or where.startswith(f"{case.at}[")]
    elsewhere = [where for where, _ in causes if where != NOT_CHECKED and where not in related]
    if refused.code != INVALID or not at_field or elsewhere:
        return f"{case}: past the bound {refused.code} {causes}, expected {case.at}: {case.says}"
    return None


@pytest.mark.parametrize("kind", MODELS)
async def test_a_spec_on_a_bound_is_accepted_and_past_it_refused_at_the_field(kind: str, kinds: OwnKinds) -> None:
    async def judge(case: Case) -> str | None:
        accepted = [await kinds.create(each, **DRY_RUN) for each in case.accepted]
        return complaint(case, accepted, await kinds.create(case.refused, **DRY_RUN))

    complaints = await asyncio.gather(*(judge(case) for case in cases(kind, "spec")))

    assert [each for each in complaints if each] == []


@pytest.mark.parametrize("kind", MODELS)
async def test_a_status_on_a_bound_is_accepted_and_past_it_refused_at_the_field(kind: str, kinds: OwnKinds) -> None:
    versions = {}
    for document in whole(kind):
        made = stored(await kinds.create(document))
        versions[made["metadata"]["name"]] = made["metadata"]["resourceVersion"]

    async def replace(document: Object) -> Answer:
        name = document["metadata"]["name"]
        return await kinds.replace_status(put(document, ("metadata", "resourceVersion"), versions[name]), **DRY_RUN)

    async def judge(case: Case) -> str | None:
        return complaint(case, [await replace(each) for each in case.accepted], await replace(case.refused))

    complaints = await asyncio.gather(*(judge(case) for case in cases(kind, "status")))

    assert [each for each in complaints if each] == []


def test_every_rule_has_cases_and_every_case_a_rule() -> None:
    messages = {message for kind in MODELS for _, message in rule_places(kind)}

    assert set(RULES) == messages
    assert [message for message, each in RULES.items() if not (each["accepted"] and each["refused"])] == []


def test_no_rule_about_changes_is_unknown_here() -> None:
    rules = [
        rule
        for kind in MODELS
        for _, node in nodes(schema_of(kind))
        for rule in node.get("x-kubernetes-validations", ())
    ]

    assert {rule["message"] for rule in rules if "oldSelf" in rule["rule"]} == ABOUT_CHANGES


@pytest.mark.parametrize("kind", [kind for kind in MODELS if list(rule_places(kind))])
async def test_what_a_rule_forbids_is_refused_in_our_words_wherever_the_rule_stands(kind: str, kinds: OwnKinds) -> None:
    async def judge(place: tuple[str | int, ...], message: str) -> list[str]:
        document, found = next((each, found) for each in whole(kind) if (found := locate(each, place)))
        out = []
        for value in RULES[message]["accepted"]:
            answer = await kinds.create(put(document, found, value), **DRY_RUN)
            if answer.code != 201:
                out.append(f"{field(found)}: {value} is refused: {answer.text}")
        for value in RULES[message]["refused"]:
            answer = await kinds.create(put(document, found, value), **DRY_RUN)
            says = [says for where, says in refusals(answer) if where == field(found)]
            if answer.code != INVALID or not any(message in each for each in says):
                out.append(f"{field(found)}: {value} is not refused by «{message}» but answered {answer.code} {says}")
        return out

    found = await asyncio.gather(*(judge(place, message) for place, message in rule_places(kind)))

    assert [line for lines in found for line in lines] == []


async def finished(kinds: OwnKinds) -> Object:
    """A plan that has ended, as stored."""
    document = whole("MigrationPlan")[0]
    made = stored(await kinds.create(document))
    return stored(await kinds.replace_status({**made, "status": document["status"]}))


async def test_the_spec_of_a_plan_may_change_until_it_has_finished(kinds: OwnKinds) -> None:
    document = whole("MigrationPlan")[0]
    made = stored(await kinds.create(document))
    running = {key: value for key, value in document["status"].items() if key != "finishedAt"}
    made = stored(await kinds.replace_status({**made, "status": running}))

    changed = stored(await kinds.replace(put(made, ("spec", "migration", "attempts"), 9)))

    assert changed["spec"]["migration"]["attempts"] == 9
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] + 1


async def test_the_spec_of_a_finished_plan_is_frozen_and_the_refusal_says_what_to_do(kinds: OwnKinds) -> None:
    plan = await finished(kinds)

    refused = await kinds.replace(put(plan, ("spec", "suspend"), False))

    assert refused.code == INVALID
    assert [says for _, says in refusals(refused)] == [f"Invalid value: {FROZEN}"]


async def test_all_but_the_spec_of_a_finished_plan_may_change(kinds: OwnKinds) -> None:
    plan = await finished(kinds)

    annotated = stored(await kinds.replace(put(plan, ("metadata", "annotations"), {"note": "kept for the audit"})))
    told = stored(await kinds.replace_status(put(annotated, ("status", "message"), "Read the receipts.")))

    assert at(told, ("metadata", "annotations", "note")) == "kept for the audit"
    assert at(told, ("status", "message")) == "Read the receipts."
    assert told["spec"] == plan["spec"]
