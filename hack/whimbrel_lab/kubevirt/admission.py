"""virt-api's admission as hooks in the embedded API server: the rules of `simulation.kubevirt.admission`, applied.

It looks at the storage itself, as virt-api looks at the API server; in-flight migrations are kept in an index.
"""

from collections import defaultdict
from typing import Any

from whimbrel.simulation.kubevirt import admission
from whimbrel.simulation.kubevirt.values import Object, final, name, namespace, spec
from whimbrel_lab.controlplane.embedded import AdmissionRequest, EmbeddedControlPlane, Refusal
from whimbrel_lab.controlplane.embedded.storage import Change
from whimbrel_lab.kubevirt.client import ROUTES

MIGRATIONS = ROUTES["VirtualMachineInstanceMigration"].resource
INSTANCES = ROUTES["VirtualMachineInstance"].resource
MACHINES = ROUTES["VirtualMachine"].resource
POLICIES = ROUTES["MigrationPolicy"].resource
KUBEVIRTS = ROUTES["KubeVirt"].resource


class VirtApi:
    """Registers at construction; `close` takes the hooks away."""

    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self._storage = plane.storage
        self._unfinished: dict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
        plane.storage.observe(self._follow)
        at = plane.admission
        self._closers = [
            at.mutating(MIGRATIONS, ("CREATE",), self._make_migration, name="migrations-mutator.kubevirt.io"),
            at.mutating(INSTANCES, ("CREATE",), self._make_instance, name="virtualmachineinstances-mutator.kubevirt.io"),
            at.mutating(INSTANCES, ("UPDATE",), self._keep_status, name="virtualmachineinstances-mutator.kubevirt.io"),
            at.validating(
                MIGRATIONS, ("CREATE",), self._create_migration, name="migration-create-validator.kubevirt.io"
            ),
            at.validating(
                MIGRATIONS, ("UPDATE",), self._update_migration, name="migration-update-validator.kubevirt.io"
            ),
            at.validating(
                INSTANCES, ("UPDATE",), self._update_instance,
                name="virtualmachineinstances-update-validator.kubevirt.io",
            ),
            at.validating(MACHINES, ("UPDATE",), self._update_machine, name="virtualmachine-validator.kubevirt.io"),
            at.validating(
                POLICIES, ("CREATE", "UPDATE"), self._policy, name="migration-policy-validator.kubevirt.io"
            ),
            at.validating(KUBEVIRTS, ("CREATE", "UPDATE"), self._kubevirt, name="kubevirt-validator.kubevirt.io"),
        ]  # fmt: skip

    def close(self) -> None:
        """Take the hooks away; safe to call twice."""
        closers, self._closers = self._closers, []
        for close in closers:
            close()

    def _follow(self, resource: str, change: Change) -> None:
        if resource != MIGRATIONS:
            return
        migration = change.record.object
        target = namespace(migration), str(spec(migration).get("vmiName") or "")
        if change.type == "DELETED" or final(migration):
            self._unfinished[target].pop(name(migration), None)
            if not self._unfinished[target]:
                del self._unfinished[target]
        else:
            self._unfinished[target][name(migration)] = migration

    def _stored(self, resource: str, namespace: str, name: str) -> Object | None:
        record = self._storage.get(resource, namespace, name)
        return record.object if record else None

    @property
    def _installation(self) -> Object | None:
        records = self._storage.records(KUBEVIRTS)
        return records[0].object if records else None

    def _make_migration(self, request: AdmissionRequest) -> None:
        request.object = admission.migration_made(_sent(request))

    def _make_instance(self, request: AdmissionRequest) -> None:
        request.object = admission.instance_made(_sent(request))

    def _keep_status(self, request: AdmissionRequest) -> None:
        request.object = admission.instance_changed(_sent(request), _old(request), request.user.name)

    def _create_migration(self, request: AdmissionRequest) -> None:
        migration = _sent(request)
        target = request.namespace, str(spec(migration).get("vmiName") or "")
        instance = self._stored(INSTANCES, *target)
        others = list(self._unfinished.get(target, {}).values())
        _judge(admission.review_migration_create(migration, request.user.name, instance, others, self._installation))

    def _update_migration(self, request: AdmissionRequest) -> None:
        _judge(admission.review_migration_update(_sent(request), _old(request)))

    def _update_instance(self, request: AdmissionRequest) -> None:
        _judge(admission.review_instance_update(_sent(request), _old(request), request.user.name))

    def _update_machine(self, request: AdmissionRequest) -> None:
        instance = self._stored(INSTANCES, request.namespace, request.name)
        _judge(admission.review_machine_update(_sent(request), _old(request), instance))

    def _policy(self, request: AdmissionRequest) -> None:
        _judge(admission.review_policy(_sent(request), request.old_object, self._installation))

    def _kubevirt(self, request: AdmissionRequest) -> None:
        _judge(admission.review_kubevirt(_sent(request), request.old_object))


def _sent(request: AdmissionRequest) -> Object:
    assert request.object is not None
    return request.object


def _old(request: AdmissionRequest) -> Object:
    assert request.old_object is not None
    return request.old_object


def _judge(refused: admission.Refused | None) -> None:
    if refused is None:
        return
    causes: list[dict[str, Any]] = []
    if refused.field:
        causes.append({"reason": "FieldValueInvalid", "message": refused.message, "field": refused.field})
    raise Refusal(refused.message, refused.code, refused.reason, causes)
