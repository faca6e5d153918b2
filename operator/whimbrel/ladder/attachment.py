"""How a policy is attached to an instance for one attempt, and taken off again.

Reserved labels are set last before the migration, and off as soon as KubeVirt resolved the configuration: while they
stay, anybody's migration of that instance runs under our policy. Called by `engine`.
"""

from typing import Any

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain import naming
from whimbrel.domain.decision import Create, JsonPatch
from whimbrel.domain.records import Capabilities, Instance, Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_POLICIES
from whimbrel.ladder.policy import policy_body, policy_labels


def labels_of(attempt: AttemptSpec, migration: Key) -> dict[str, str]:
    """The reserved labels that an attempt needs on its instance; none where KubeVirt's own configuration is wanted."""
    if not attempt.policy_name:
        return {}
    return {**policy_labels(attempt.policy_name, attempt.policy_labels), naming.LABEL_MIGRATION: migration.name}


def reserved_labels(instance: Instance) -> dict[str, str]:
    """The reserved labels that an instance carries now."""
    return naming.reserved(instance.labels)


def _escaped(key: str) -> str:
    return "/metadata/labels/" + key.replace("~", "~0").replace("/", "~1")


def labels_on(instance: Instance, wanted: dict[str, str]) -> JsonPatch:
    """Set the reserved labels, testing the instance's UID; reserved labels of anything else go in the same patch."""
    operations: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/uid", "value": instance.uid}]
    if not instance.labels:
        version = {"op": "test", "path": "/metadata/resourceVersion", "value": instance.resource_version}
        operations.append(version)  # an `add` of the whole map must not lose a label that was set meanwhile
        operations.append({"op": "add", "path": "/metadata/labels", "value": {}})
    stale = sorted(set(reserved_labels(instance)) - set(wanted))
    operations += [{"op": "remove", "path": _escaped(key)} for key in stale]
    operations += [{"op": "add", "path": _escaped(key), "value": wanted[key]} for key in sorted(wanted)]
    return JsonPatch(INSTANCES, instance.key, operations, f"attach policy {wanted.get(naming.LABEL_POLICY.format(0))}")


def labels_off(instance: Instance) -> JsonPatch | None:
    """Take all reserved labels off, testing the UID and the migration label; None where there are none."""
    present = reserved_labels(instance)
    if not present:
        return None
    operations: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/uid", "value": instance.uid}]
    if naming.LABEL_MIGRATION in present:
        value = present[naming.LABEL_MIGRATION]
        operations.append({"op": "test", "path": _escaped(naming.LABEL_MIGRATION), "value": value})
    operations += [{"op": "remove", "path": _escaped(key)} for key in sorted(present)]
    return JsonPatch(INSTANCES, instance.key, operations, "detach policy")


def create_policy(attempt: AttemptSpec, capabilities: Capabilities) -> Create:
    """The MigrationPolicy of an attempt's configuration, as far as KubeVirt can be told it."""
    body = policy_body(attempt.policy_name, attempt.configuration, attempt.policy_labels, capabilities)
    return Create(MIGRATION_POLICIES, Key("", attempt.policy_name), body, f"configure {attempt.rung}")
