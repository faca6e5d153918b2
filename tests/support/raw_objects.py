"""Raw objects as an API server holds them, for tests that go through one."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from whimbrel.domain.resources import (
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINES,
    Resource,
)

CRDS = Path(__file__).parents[2] / "crds"
OPEN_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def own_definitions() -> list[dict[str, Any]]:
    """Our CRDs, as they ship."""
    return copy.deepcopy(_parsed())


@cache
def _parsed() -> list[dict[str, Any]]:
    return [document for path in sorted(CRDS.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


FIRST_POLICY_FIELDS = (
    "selectors",
    "allowAutoConverge",
    "allowPostCopy",
    "bandwidthPerMigration",
    "completionTimeoutPerGiB",
)
SPEC_FIELDS: dict[Resource, tuple[str, ...]] = {
    MIGRATIONS: ("vmiName", "addedNodeSelector"),
    MIGRATION_POLICIES: (*FIRST_POLICY_FIELDS, "allowWorkloadDisruption"),
}
"""What the specs of KubeVirt 1.6 name."""


def definition(resource: Resource, *, status: bool, fields: tuple[str, ...] = ()) -> dict[str, Any]:
    """A CRD that permits everything, and whose spec names these fields."""
    version: dict[str, Any] = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(fields)},
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "names": {"kind": resource.kind, "plural": resource.plural, "singular": resource.kind.lower()},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _schema(fields: tuple[str, ...]) -> dict[str, Any]:
    if not fields:
        return OPEN_SCHEMA
    named = {field: {"x-kubernetes-preserve-unknown-fields": True} for field in fields}
    return {**OPEN_SCHEMA, "properties": {"spec": {**OPEN_SCHEMA, "properties": named}}}


def kubevirt_definitions() -> list[dict[str, Any]]:
    """KubeVirt's kinds, nearly without schemas; instances have no status subresource, so that tests can write it."""
    return [
        definition(resource, status=False, fields=SPEC_FIELDS.get(resource, ()))
        for resource in (VIRTUAL_MACHINES, INSTANCES, MIGRATIONS, KUBEVIRTS, MIGRATION_POLICIES)
    ]


def a_namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def an_instance(name: str, node: str = "node-1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": INSTANCES.api_version,
        "kind": INSTANCES.kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"domain": {"memory": {"guest": "1Gi"}}},
        "status": {"phase": "Running", "nodeName": node},
    }


def a_migration(name: str, instance: str = "db1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": MIGRATIONS.api_version,
        "kind": MIGRATIONS.kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"vmiName": instance},
    }


def a_plan(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "whimbrel.dev/v1alpha1",
        "kind": "MigrationPlan",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"virtualMachines": {"names": ["db1"]}},
    }


def a_kubevirt() -> dict[str, Any]:
    return {
        "apiVersion": KUBEVIRTS.api_version,
        "kind": KUBEVIRTS.kind,
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {},
        "status": {"phase": "Deployed", "observedKubeVirtVersion": "v1.6.0", "targetKubeVirtVersion": "v1.6.0"},
    }
