"""What a KubeVirt can be told is read from the schemas that its API server serves."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from whimbrel.inventory.projections.capabilities import project

OLDEST_POLICY = {"selectors", "allowAutoConverge", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"}
WITH_STUN = OLDEST_POLICY | {"allowWorkloadDisruption"}
NEWEST_POLICY = WITH_STUN | {"maxDowntimeMs", "experimental"}


def schema(group: str, version: str, kind: str, fields: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {field: {"type": "string"} for field in fields}}},
        "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": kind}],
    }


def document(*schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {"openapi": "3.0.0", "components": {"schemas": {f"schema-{n}": held for n, held in enumerate(schemas)}}}


def migrations(*fields: str) -> dict[str, Any]:
    """The document of kubevirt.io/v1: other kinds, and kinds of all groups such as DeleteOptions, are in it too."""
    options = {"x-kubernetes-group-version-kind": [{"group": "kubevirt.io", "version": "v1", "kind": "DeleteOptions"}]}
    listed = schema("kubevirt.io", "v1", "VirtualMachineInstanceMigrationList", ["addedNodeSelector"])
    migration = schema("kubevirt.io", "v1", "VirtualMachineInstanceMigration", ("vmiName", *fields))
    return document(options, listed, migration)


def policies(fields: Iterable[str] = WITH_STUN, version: str = "v1alpha1") -> dict[str, Any]:
    return document(schema("migrations.kubevirt.io", version, "MigrationPolicy", fields))


def test_a_target_can_be_named_where_migrations_have_the_field() -> None:
    found = project(migrations("addedNodeSelector"), policies())

    assert found is not None
    assert found.added_node_selector


def test_a_target_cannot_be_named_where_migrations_have_not_the_field() -> None:
    found = project(migrations(), policies())

    assert found is not None
    assert not found.added_node_selector


@pytest.mark.parametrize(("fields", "suspends"), [(OLDEST_POLICY, False), (WITH_STUN, True), (NEWEST_POLICY, True)])
def test_a_guest_can_be_suspended_where_policies_have_the_field(fields: set[str], suspends: bool) -> None:
    found = project(migrations(), policies(fields))

    assert found is not None
    assert found.policy_fields == fields
    assert found.workload_disruption is suspends


def test_members_of_experimental_are_known_by_their_paths_and_say_what_the_release_can() -> None:
    document_of_policies = policies(NEWEST_POLICY)
    (schema_of_policies,) = document_of_policies["components"]["schemas"].values()
    schema_of_policies["properties"]["spec"]["properties"]["experimental"] = {
        "type": "object",
        "properties": {"compression": {"type": "string"}, "stallDetector": {"type": "object"}},
    }

    newest, before = project(migrations(), document_of_policies), project(migrations(), policies())

    assert newest is not None
    assert before is not None
    assert newest.policy_fields == NEWEST_POLICY | {"experimental.compression", "experimental.stallDetector"}
    assert (newest.stall_detection, newest.compression) == (True, True)
    assert (before.stall_detection, before.compression) == (False, False)


@pytest.mark.parametrize(
    ("of_migrations", "of_policies"),
    [
        ({}, policies()),
        (migrations(), {}),
        (migrations(), policies(version="v1")),
        ({"components": []}, policies()),
        (migrations(), document({"x-kubernetes-group-version-kind": "MigrationPolicy"})),
        (migrations(), policies(fields=())),
    ],
)
def test_nothing_is_known_without_the_schemas_of_both_kinds(
    of_migrations: dict[str, Any], of_policies: dict[str, Any]
) -> None:
    assert project(of_migrations, of_policies) is None
