"""virt-api's admission as webhooks: the rules of `simulation.kubevirt.admission`, applied to what a control plane shows.

Virt-api looks at the API server for itself; on the embedded one it may look into the storage instead, where in-flight
migrations are kept in an index.
"""

from collections import defaultdict
from typing import Any, Protocol

from whimbrel.simulation.kubevirt import admission, eviction
from whimbrel.simulation.kubevirt.values import (
    EVICTION_SOURCE_ANNOTATION,
    INSTANCE_NAME_LABEL,
    Object,
    final,
    name,
    namespace,
    spec,
)
from whimbrel_lab.controlplane.admission import AdmissionRequest, Refusal, Webhook
from whimbrel_lab.controlplane.embedded import Storage
from whimbrel_lab.controlplane.embedded.storage import Change
from whimbrel_lab.kubevirt.client import ROUTES, Client

MIGRATIONS = ROUTES["VirtualMachineInstanceMigration"].resource
INSTANCES = ROUTES["VirtualMachineInstance"].resource
MACHINES = ROUTES["VirtualMachine"].resource
POLICIES = ROUTES["MigrationPolicy"].resource
KUBEVIRTS = ROUTES["KubeVirt"].resource


class Lookout(Protocol):
    """What virt-api looks at beside the request itself."""

    async def instance(self, namespace: str, name: str) -> Object | None:
        """An instance as it is now."""

    async def unfinished(self, namespace: str, instance: str) -> list[Object]:
        """The migrations of an instance that have not ended."""

    async def installation(self) -> Object | None:
        """The KubeVirt object."""


class StorageLookout:
    """Looks into the embedded server's storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._unfinished: dict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
        storage.observe(self._follow)

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

    async def instance(self, namespace: str, name: str) -> Object | None:
        record = self._storage.get(INSTANCES, namespace, name)
        return record.object if record else None

    async def unfinished(self, namespace: str, instance: str) -> list[Object]:
        return list(self._unfinished.get((namespace, instance), {}).values())

    async def installation(self) -> Object | None:
        records = self._storage.records(KUBEVIRTS)
        return records[0].object if records else None


class ApiLookout:
    """Asks the API server at every request."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def instance(self, namespace: str, name: str) -> Object | None:
        return await self._client.find("VirtualMachineInstance", name, namespace)

    async def unfinished(self, namespace: str, instance: str) -> list[Object]:
        kind = "VirtualMachineInstanceMigration"
        found, _ = await self._client.list(kind, namespace, labels=f"{INSTANCE_NAME_LABEL}={instance}")
        return [each for each in found if not final(each)]

    async def installation(self) -> Object | None:
        found, _ = await self._client.list("KubeVirt")
        return found[0] if found else None


class VirtApi:
    """The webhooks of virt-api. `client` is its own identity's: an eviction makes it write."""

    def __init__(self, lookout: Lookout, client: Client) -> None:
        self._lookout = lookout
        self._client = client

    def webhooks(self) -> tuple[Webhook, ...]:
        """All of them, mutating ones first."""
        return (
            Webhook(
                "migrations-mutator.kubevirt.io", MIGRATIONS, ("CREATE",), self._make_migration, mutates=True
            ),
            Webhook(
                "virtualmachineinstances-mutator.kubevirt.io", INSTANCES, ("CREATE",), self._make_instance, mutates=True
            ),
            Webhook(
                "virtualmachineinstances-status-mutator.kubevirt.io", INSTANCES, ("UPDATE",), self._keep_status,
                mutates=True,
            ),
            Webhook("migration-create-validator.kubevirt.io", MIGRATIONS, ("CREATE",), self._create_migration),
            Webhook("migration-update-validator.kubevirt.io", MIGRATIONS, ("UPDATE",), self._update_migration),
            Webhook(
                "virtualmachineinstances-update-validator.kubevirt.io", INSTANCES, ("UPDATE",), self._update_instance
            ),
            Webhook("virtualmachine-validator.kubevirt.io", MACHINES, ("UPDATE",), self._update_machine),
            Webhook("migration-policy-validator.kubevirt.io", POLICIES, ("CREATE", "UPDATE"), self._policy),
            Webhook("kubevirt-validator.kubevirt.io", KUBEVIRTS, ("CREATE", "UPDATE"), self._kubevirt),
            Webhook("virt-launcher-eviction-interceptor.kubevirt.io", "pods", ("CREATE",), self._evict,
                    subresource="eviction"),
        )  # fmt: skip

    async def _make_migration(self, request: AdmissionRequest) -> None:
        request.object = admission.migration_made(_sent(request))

    async def _make_instance(self, request: AdmissionRequest) -> None:
        request.object = admission.instance_made(_sent(request))

    async def _keep_status(self, request: AdmissionRequest) -> None:
        request.object = admission.instance_changed(_sent(request), _old(request), request.user.name)

    async def _create_migration(self, request: AdmissionRequest) -> None:
        migration = _sent(request)
        target = request.namespace, str(spec(migration).get("vmiName") or "")
        instance = await self._lookout.instance(*target)
        others = await self._lookout.unfinished(*target)
        installation = await self._lookout.installation()
        _judge(admission.review_migration_create(migration, request.user.name, instance, others, installation))

    async def _update_migration(self, request: AdmissionRequest) -> None:
        _judge(admission.review_migration_update(_sent(request), _old(request)))

    async def _update_instance(self, request: AdmissionRequest) -> None:
        _judge(admission.review_instance_update(_sent(request), _old(request), request.user.name))

    async def _update_machine(self, request: AdmissionRequest) -> None:
        instance = await self._lookout.instance(request.namespace, request.name)
        _judge(admission.review_machine_update(_sent(request), _old(request), instance))

    async def _policy(self, request: AdmissionRequest) -> None:
        installation = await self._lookout.installation()
        _judge(admission.review_policy(_sent(request), request.old_object, installation))

    async def _kubevirt(self, request: AdmissionRequest) -> None:
        _judge(admission.review_kubevirt(_sent(request), request.old_object))

    async def _evict(self, request: AdmissionRequest) -> None:
        pod = await self._client.find("Pod", request.name, request.namespace)
        owner = eviction.concerns(pod) if pod is not None else ""
        instance = await self._lookout.instance(request.namespace, owner) if owner else None
        if pod is None or instance is None:
            return
        answer = eviction.review(pod, instance, await self._lookout.installation())
        if answer.names_node and not request.dry_run:
            mark: Object = {"status": {"evacuationNodeName": spec(pod)["nodeName"]}}
            if eviction.by_descheduler(_sent(request)):
                mark["metadata"] = {"annotations": {EVICTION_SOURCE_ANNOTATION: "descheduler"}}
            await self._client.patch("VirtualMachineInstance", owner, request.namespace, mark)
        _judge(answer.refused)


def _sent(request: AdmissionRequest) -> Object:
    assert request.object is not None
    return request.object


def _old(request: AdmissionRequest) -> Object:
    assert request.old_object is not None
    return request.old_object


def _judge(refused: admission.Refused | None) -> None:
    if refused is None:
        return
    causes: list[dict[str, Any]] = [
        {"reason": "FieldValueInvalid", "message": each.message, "field": each.field}
        for each in refused.causes or (refused,)
        if each.field
    ]
    raise Refusal(refused.message, refused.code, refused.reason, causes)
