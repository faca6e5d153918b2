"""Capabilities: what the served OpenAPI v3 documents say that migrations and policies may hold (KubeVirt contract §1.1, §4.1).

Releases differ in fields, and a field that is not served is pruned in silence; so it is looked up, never assumed from a
version.
"""

from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import MIGRATION_POLICIES, MIGRATIONS, Resource
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

DOCUMENTS = (MIGRATIONS, MIGRATION_POLICIES)
"""Kinds whose group versions' documents `project` reads, in its order."""


def project(migrations: Json, policies: Json) -> Capabilities | None:
    """From the documents of `kubevirt.io/v1` and `migrations.kubevirt.io/v1alpha1`; None where either lacks its kind."""
    of_migration, of_policy = _spec_fields(migrations, MIGRATIONS), _spec_fields(policies, MIGRATION_POLICIES)
    if of_migration is None or of_policy is None:
        return None
    return Capabilities(added_node_selector="addedNodeSelector" in of_migration, policy_fields=of_policy)


def _spec_fields(document: Json, kind: Resource) -> frozenset[str] | None:
    identity = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    schemas = reading.member(document, "components", "schemas")
    for name in sorted(schemas):
        if any(dict(each) == identity for each in reading.items(schemas, name, "x-kubernetes-group-version-kind")):
            spec = reading.member(schemas, name, "properties", "spec", "properties")
            nested = reading.member(spec, "experimental", "properties")
            return frozenset((*spec, *(f"experimental.{member}" for member in nested))) or None
    return None
