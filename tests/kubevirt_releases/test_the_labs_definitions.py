"""The lab's own definitions of KubeVirt's kinds, ours and small, agree with the real ones on every field that they have."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.kubevirt_releases import RELEASES, definitions_of
from whimbrel_lab import fleet

pytestmark = pytest.mark.control_plane

COMPARED = ("type", "enum", "nullable", "x-kubernetes-int-or-string")
NEWEST = RELEASES[-1]


def by_kind(definitions: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["spec"]["names"]["kind"]: each for each in definitions}


def the_version(definition: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in definition["spec"]["versions"] if each["name"] == name)
    return found


def differences(ours: Mapping[str, Any], real: Mapping[str, Any], path: str) -> Iterator[str]:
    """Where a field of ours is not in the real schema, or is something else there."""
    if real.get("x-kubernetes-preserve-unknown-fields") and not real.get("properties"):
        return
    for keyword in COMPARED:
        if ours.get(keyword) != real.get(keyword) and (keyword != "enum" or ours.get(keyword)):
            yield f"{path}: {keyword} is {ours.get(keyword)!r}, really {real.get(keyword)!r}"
    for name, child in (ours.get("properties") or {}).items():
        there = (real.get("properties") or {}).get(name)
        if there is None:
            yield f"{path}.{name}: KubeVirt has no such field"
        else:
            yield from differences(child, there, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(ours.get(part), dict):
            there = real.get(part)
            if not isinstance(there, dict):
                yield f"{path}: {part} is not what KubeVirt has"
            else:
                yield from differences(ours[part], there, f"{path}[]")


@pytest.mark.parametrize("kind", sorted(by_kind(fleet.definitions(fleet.DEFINITIONS[:1]))))
def test_each_field_of_the_labs_is_kubevirts(kind: str) -> None:
    ours = by_kind(fleet.definitions(fleet.DEFINITIONS[:1]))[kind]
    real = by_kind(definitions_of(NEWEST))[kind]

    found: list[str] = []
    for version in ours["spec"]["versions"]:
        there = the_version(real, version["name"])
        found += differences(version["schema"]["openAPIV3Schema"], there["schema"]["openAPIV3Schema"], kind)
        if ("status" in (version.get("subresources") or {})) != ("status" in (there.get("subresources") or {})):
            found.append(f"{kind}: one has a status subresource, the other has none")
    assert found == []
    assert (ours["spec"]["scope"], ours["spec"]["names"]["plural"]) == (
        real["spec"]["scope"],
        real["spec"]["names"]["plural"],
    )


@pytest.mark.parametrize("release", RELEASES)
def test_what_an_older_release_lacks_the_lab_leaves_out(release: str) -> None:
    """Of the fields by which Whimbrel tells what a release can do."""
    ours, real = by_kind(fleet.definitions(fleet.DEFINITIONS[:1], release)), by_kind(definitions_of(release))

    for kind, fields in (
        ("VirtualMachineInstanceMigration", {"addedNodeSelector"}),
        (
            "MigrationPolicy",
            {"allowWorkloadDisruption", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"},
        ),
    ):
        name = ours[kind]["spec"]["versions"][0]["name"]
        served = set(_spec_fields(the_version(ours[kind], name))) & fields
        assert served == set(_spec_fields(the_version(real[kind], name))) & fields, kind


def _spec_fields(version: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return found
