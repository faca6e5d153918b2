"""Objects stored under the definitions of an earlier release stay readable and writable under those of today.

The definitions are loaded under a group of their own, so that the server's own are left alone.
"""

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from support.definitions import DATA, MODELS, PLURALS, Object, at, definitions, documents, least, put
from support.own_kinds import DRY_RUN, OwnKinds, own_kinds, refusals, stored
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

GROUP = "upgrade.whimbrel.dev"
RELEASES = sorted((DATA / "releases").iterdir())
NOTE = {"note": "kept"}
OK, CREATED, NOT_FOUND = 200, 201, 404
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WITHIN_S = 30.0


@pytest.fixture
async def kinds(api_server: Endpoint) -> AsyncIterator[OwnKinds]:
    async with own_kinds(api_server) as opened:
        opened.group = GROUP
        yield opened
        # A definition that goes while its objects are there may take a minute.
        await opened.clear()
        async with asyncio.timeout(WITHIN_S):
            for plural in PLURALS.values():
                path = f"{DEFINITIONS}/{plural}.{GROUP}"
                await opened.client.delete(path)
                while (await opened.client.get(path)).code != NOT_FOUND:
                    pass  # each request takes its time


def of_the_group(originals: list[Object], label: str = "today") -> list[Object]:
    """The definitions renamed, without short names that would be ambiguous, and with a field that tells which they are."""
    out = deepcopy(originals)
    for each in out:
        names = each["spec"]["names"]
        each["metadata"]["name"] = f"{names['plural']}.{GROUP}"
        each["spec"]["group"] = GROUP
        names["shortNames"] = names["categories"] = []
        (version,) = each["spec"]["versions"]
        version["schema"]["openAPIV3Schema"]["properties"]["label"] = {"type": "string", "enum": [label]}
    return out


async def load(kinds: OwnKinds, loaded: list[Object], label: str = "today") -> None:
    """Returns when these definitions are what the server judges by."""
    for each in loaded:
        path = f"{DEFINITIONS}/{each['metadata']['name']}"
        if (present := await kinds.client.get(path)).code == OK:
            each = put(each, ("metadata", "resourceVersion"), present.body["metadata"]["resourceVersion"])
            stored(await kinds.client.replace(path, each))
        else:
            stored(await kinds.client.create(DEFINITIONS, each))
    async with asyncio.timeout(WITHIN_S):
        for each in loaded:
            # A definition is served for a moment before it is established, and then is not.
            while not established((await kinds.client.get(f"{DEFINITIONS}/{each['metadata']['name']}")).body):
                pass  # each request takes its time
        for kind in MODELS:
            labelled = {**least(kind), "label": label}
            while (await kinds.create(labelled, fieldValidation="Strict", **DRY_RUN)).code != CREATED:
                pass  # each request takes its time


def established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


async def store(kinds: OwnKinds, document: Object) -> Object:
    made = stored(await kinds.create(document, fieldValidation="Strict"))
    if "status" not in document:
        return made
    return stored(await kinds.replace_status({**made, "status": document["status"]}))


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
async def test_what_was_stored_under_an_earlier_release_is_understood_kept_and_can_be_changed(
    release: Path, kinds: OwnKinds
) -> None:
    objects = [each for path in sorted((release / "objects").glob("*.yaml")) for each in documents(path)]
    await load(kinds, of_the_group(definitions(release / "crds"), release.name), release.name)
    before = [await store(kinds, each) for each in objects]
    assert {each["kind"] for each in before} == set(MODELS)

    await load(kinds, of_the_group(definitions()))

    for was in before:
        now = await kinds.get(was)
        model: Any = MODELS[was["kind"]]
        assert model.model_validate(now) == model.model_validate(was)
        assert now.get("status") == was.get("status")

        changed = stored(await kinds.replace(put(now, ("metadata", "annotations"), NOTE)))
        assert changed["metadata"]["annotations"] == NOTE
        assert (changed["spec"], changed.get("status")) == (now["spec"], now.get("status"))
        if "status" in was:
            stored(await kinds.replace_status(put(changed, ("status", "observedGeneration"), 1)))


async def test_a_bound_that_a_later_release_tightens_holds_for_what_is_changed_and_not_for_what_was_there(
    kinds: OwnKinds,
) -> None:
    await load(kinds, of_the_group(definitions()))
    profile = next(each for each in documents(DATA / "objects" / "whole.yaml") if each["kind"] == "HostProfile")
    was = await store(kinds, profile)
    outbound, inbound = (
        ("spec", "migration", "limits", "parallelOutbound"),
        ("spec", "migration", "limits", "parallelInbound"),
    )
    assert at(was, outbound) > 2

    later = [tightened(each) for each in of_the_group(definitions(), "later")]
    await load(kinds, later, "later")

    beside = stored(await kinds.replace(put(await kinds.get(was), inbound, 5)))
    assert (at(beside, outbound), at(beside, inbound)) == (at(was, outbound), 5)
    refused = await kinds.replace(put(beside, outbound, 4))
    assert [where for where, _ in refusals(refused)] == ["spec.migration.limits.parallelOutbound"]


def tightened(document: Object) -> Object:
    """The definition of profiles as a later release might have it: at most two migrations leave a node."""
    out = deepcopy(document)
    if out["spec"]["names"]["kind"] == "HostProfile":
        (version,) = out["spec"]["versions"]
        place = [step for name in ("spec", "migration", "limits", "parallelOutbound") for step in ("properties", name)]
        at(version["schema"]["openAPIV3Schema"], tuple(place))["maximum"] = 2
    return out
