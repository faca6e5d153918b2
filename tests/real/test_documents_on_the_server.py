"""What we ship is accepted by the API server and comes back as our models understand it, defaults included."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from support.definitions import MODELS, ROOT, Object, documents, field, least, locate, nodes, schema_of, whole
from support.own_kinds import OwnKinds, own_kinds, stored
from whimbrel.api import VirtualMachineMove, definition
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

FENCED = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


@pytest.fixture
async def kinds(api_server: Endpoint) -> AsyncIterator[OwnKinds]:
    async with own_kinds(api_server) as opened:
        yield opened


def shown() -> Iterator[tuple[str, Object]]:
    """Every manifest of ours that a reader might apply: the files in examples/, and the whole ones in the documentation."""
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        for document in documents(path):
            yield str(path.relative_to(ROOT)), document
    for path in PAGES:
        for block in FENCED.findall(path.read_text()):
            yield from ((str(path.relative_to(ROOT)), each) for each in _whole_manifests(block))


def _whole_manifests(block: str) -> Iterator[Object]:
    for each in yaml.safe_load_all(block):
        if isinstance(each, dict) and {"apiVersion", "kind", "metadata"} <= each.keys():
            yield each


SHOWN = {f"{where}: {each['metadata']['name']}": each for where, each in shown()}


def test_examples_and_documentation_show_plans_and_profiles_and_the_readme_does() -> None:
    assert {each["kind"] for each in SHOWN.values()} == {"MigrationPlan", "HostProfile"}
    assert any(where.startswith("README.md") for where in SHOWN)
    assert {each["apiVersion"] for each in SHOWN.values()} == {f"{definition.GROUP}/{definition.VERSION}"}


async def round_trip(kinds: OwnKinds, document: Object) -> None:
    """Create strictly, read, understand, say again: nothing was lost, and the server sees no difference."""
    model: Any = MODELS[document["kind"]]
    made = stored(await kinds.create(document, fieldValidation="Strict"))
    if "status" in document:
        made = stored(await kinds.replace_status({**made, "status": document["status"]}))
    read = await kinds.get(document)
    understood = model.model_validate(read)
    assert understood.spec == model.model_validate(document).spec
    assert "status" not in document or understood.status == model.model_validate(document).status

    said_again = {**read, **understood.to_json()}
    answers = [
        await kinds.replace(said_again),
        *([await kinds.replace_status(said_again)] if "status" in document else []),
    ]

    assert {stored(each)["metadata"]["resourceVersion"] for each in answers} == {made["metadata"]["resourceVersion"]}


@pytest.mark.parametrize("name", SHOWN)
async def test_what_we_show_is_accepted_and_writing_it_again_as_understood_changes_nothing(
    name: str, kinds: OwnKinds
) -> None:
    await round_trip(kinds, SHOWN[name])


@pytest.mark.parametrize("kind", MODELS)
async def test_an_object_with_every_field_set_comes_back_with_every_field_and_changes_nothing(
    kind: str, kinds: OwnKinds
) -> None:
    for document in whole(kind):
        await round_trip(kinds, document)


def default_places(kind: str, document: Object) -> Iterator[str]:
    """Fields of the spec that have a default and that the document leaves away."""
    for place, node in nodes(schema_of(kind)):
        if place[:1] == ("spec",) and "default" in node and locate(document, place) is None:
            yield field(place)


def defaults_with_meaning(value: Any) -> Any:
    """What the model states, without the empty texts and lists that mean the same as absence and are not stored."""
    if isinstance(value, dict):
        return {name: defaults_with_meaning(each) for name, each in value.items() if each not in ("", [])}
    return value


@pytest.mark.parametrize("kind", MODELS)
async def test_an_object_with_only_what_is_required_comes_back_with_the_defaults_that_the_model_states(
    kind: str, kinds: OwnKinds
) -> None:
    document = least(kind)
    stated = MODELS[kind].model_validate(document).to_json()  # type: ignore[attr-defined]

    made = stored(await kinds.create(document))

    assert made["spec"] == defaults_with_meaning(stated["spec"])


@pytest.mark.parametrize("kind", MODELS)
def test_every_default_of_a_spec_is_among_those_that_are_tried(kind: str) -> None:
    have_one = {field(place) for place, node in nodes(schema_of(kind)) if place[:1] == ("spec",) and "default" in node}

    assert have_one
    assert have_one == set(default_places(kind, least(kind)))


async def test_a_move_waits_before_the_operator_has_said_anything_of_it_and_no_other_kind_has_a_state(
    kinds: OwnKinds,
) -> None:
    made = await asyncio.gather(*(kinds.create(least(kind)) for kind in MODELS))

    assert {kind: stored(each).get("status") for kind, each in zip(MODELS, made, strict=True)} == {
        "MigrationPlan": None,
        "HostProfile": None,
        "VirtualMachineMove": dict(VirtualMachineMove.CRD.status_defaults),
    }
