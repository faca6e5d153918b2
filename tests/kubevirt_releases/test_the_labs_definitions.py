"""The lab's own definitions of KubeVirt's kinds, ours and small, agree with the real ones on every field that they have."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.kubevirt_releases import RELEASES, definitions_of
from whimbrel.domain.resources import (
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINES,
    Resource,
)
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.simulation.kubevirt.releases import release
from whimbrel_lab import fleet

pytestmark = pytest.mark.control_plane

COMPARED = ("type", "enum", "format", "nullable", "x-kubernetes-int-or-string")
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
            {
                "allowWorkloadDisruption",
                "allowPostCopy",
                "bandwidthPerMigration",
                "completionTimeoutPerGiB",
                "maxDowntimeMs",
                "experimental",
            },
        ),
    ):
        name = ours[kind]["spec"]["versions"][0]["name"]
        served = set(_spec_fields(the_version(ours[kind], name))) & fields
        assert served == set(_spec_fields(the_version(real[kind], name))) & fields, kind


@pytest.mark.parametrize("version", RELEASES)
def test_a_releases_row_names_what_a_policy_may_say_and_members_below_experimental(version: str) -> None:
    real = _spec_fields(the_version(by_kind(definitions_of(version))["MigrationPolicy"], "v1alpha1"))
    below = {f"experimental.{member}" for member in (real.get("experimental") or {}).get("properties", {})}

    assert release(version).policy_fields == real.keys() | below


def _spec_fields(version: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return found


SHARED_READER = {
    MIGRATION_POLICIES: {"spec.progressTimeout"},
    KUBEVIRTS: {"spec.configuration.migrations.experimental"},
}
"""Policies and the cluster's configuration are read alike, and each has a member that the other has not."""


class Traced(dict[str, Any]):
    """An object of which it is noted what is asked for."""

    def __init__(self, members: Mapping[str, Any], path: str, asked: set[str]) -> None:
        super().__init__(members)
        self._path, self._asked = path, asked

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add(f"{self._path}.{key}")
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        path = f"{self._path}.{key}"
        self._asked.add(path)
        return self._traced(super().get(key, default), path)

    def _traced(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return Traced(value, path, self._asked)
        if isinstance(value, list):
            return [self._traced(each, f"{path}[]") for each in value]
        return value


def sample(schema: Mapping[str, Any]) -> Any:
    """A value in which every field of the schema is set."""
    if schema.get("x-kubernetes-int-or-string"):
        return "1"
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "object" if schema.get("properties"):
            return {name: sample(child) for name, child in schema["properties"].items()}
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return {"key": sample(schema["additionalProperties"])}
        case "array":
            return [sample(schema.get("items") or {})]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "string":
            return "2026-03-01T12:00:00Z" if schema.get("format") == "date-time" else "text"
    return {}


def has(schema: Mapping[str, Any], path: list[str]) -> bool:
    """Whether a schema has the field at a path; what it keeps as it is may hold anything."""
    if not path:
        return True
    step, *rest = path
    name, listed = step.removesuffix("[]"), step.endswith("[]")
    if schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
        return True
    child = (schema.get("properties") or {}).get(name)
    if child is None:
        child = schema.get("additionalProperties")
    if not isinstance(child, dict):
        return False
    return has(child.get("items") or {} if listed else child, rest)


@pytest.mark.parametrize("resource", [KUBEVIRTS, VIRTUAL_MACHINES, INSTANCES, MIGRATIONS, MIGRATION_POLICIES], ids=str)
def test_every_field_that_the_operator_reads_is_one_of_kubevirts(resource: Resource) -> None:
    definition = by_kind(definitions_of(NEWEST))[resource.kind]
    schema = the_version(definition, resource.version)["schema"]["openAPIV3Schema"]
    asked: set[str] = set()
    metadata = {"name": "n", "namespace": "s", "uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"}

    PROJECTIONS[resource](Traced({**sample(schema), "metadata": metadata}, "", asked))

    fields = {path.removeprefix(".") for path in asked if not path.startswith(".metadata")}
    assert any(path.startswith(("spec.", "status.")) for path in fields)
    unknown = {path for path in fields if not has(schema, path.split("."))}
    assert unknown == SHARED_READER.get(resource, set())
