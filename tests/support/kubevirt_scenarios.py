"""The words in which the scenarios of KubeVirt's contract speak: policies, launchers, events, and what was seen on the way.

They look at the cluster through its API alone, so that they read the same whoever plays virt-controller.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from whimbrel.simulation.kubevirt.values import clone, final
from whimbrel_lab.controlplane.admission import AdmissionRequest, Refusal, Webhook
from whimbrel_lab.kubevirt.client import Client, RequestRefused
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import INSTANCE, MIGRATION, Lab

Object = dict[str, Any]
MIB = 1024**2
PHASES = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"]
SLOT_PHASES = frozenset(PHASES[1:6])
"""Phases in which a migration takes a slot."""
BUSY: Object = {"dirty_bytes_per_second": 30 * MIB, "working_set_bytes": 32 * MIB}
"""A guest that rewrites its memory faster than a link of 10 MiB/s carries it."""
LAUNCHER = "kubevirt.io/created-by"
JOB = "kubevirt.io/migrationJobUID"
TARGET_NODE = "kubevirt.io/migrationTargetNodeName"
FINALIZER = "kubevirt.io/migrationJobFinalize"
UNSCHEDULABLE_TIMEOUT = "kubevirt.io/migrationUnschedulablePodTimeoutSeconds"
PENDING_TIMEOUT = "kubevirt.io/migrationPendingPodTimeoutSeconds"
ABORTED = "Live migration has been aborted"


def phases_of(document: Object) -> list[str]:
    """The phases that an object notes as entered, in its own order."""
    return [each["phase"] for each in document["status"].get("phaseTransitionTimestamps") or ()]


def condition_of(document: Object | None, kind: str) -> Object:
    """A condition by its type, empty where there is none."""
    for each in ((document or {}).get("status") or {}).get("conditions") or ():
        if each["type"] == kind:
            found: Object = each
            return found
    return {}


def instance_of(lab: Lab, name: str) -> Object:
    """An instance, which has to be there."""
    found = lab.read(INSTANCE, name)
    assert found is not None, f"there is no instance {name}"
    return found


def migration_of(lab: Lab, migration: Object) -> Object:
    """A migration as it is now, which has to be there."""
    found = lab.read(MIGRATION, migration["metadata"]["name"])
    assert found is not None, f"there is no migration {migration['metadata']['name']}"
    return found


async def events_of(lab: Lab, reason: str, about: Object | None = None) -> list[str]:
    """Messages of the events with a reason, about one object if it is given."""
    found, _ = await lab.client.list("Event", lab.namespace)
    wanted = about["metadata"]["uid"] if about else None
    return [
        each["message"]
        for each in found
        if each["reason"] == reason and wanted in (None, each["involvedObject"].get("uid"))
    ]


async def told(lab: Lab, reason: str, text: str, about: Object, within_s: float = 10.0) -> None:
    """Until an event about an object says this."""

    async def said() -> bool:
        return any(text in each for each in await events_of(lab, reason, about))

    await lab.wait_until(said, within_s, f"an event {reason} about {about['metadata']['name']}: {text}")


def launchers_of(lab: Lab, name: str) -> list[Object]:
    """All launcher pods of an instance."""
    return [each for each in lab.items("Pod", lab.namespace) if each["metadata"].get("annotations", {}).get(
        "kubevirt.io/domain") == name]  # fmt: skip


def target_pod(lab: Lab, migration: Object) -> Object | None:
    """The target pod of a migration."""
    wanted = migration["metadata"]["uid"]
    return next(
        (each for each in lab.items("Pod", lab.namespace) if each["metadata"]["labels"].get(JOB) == wanted), None
    )


def configuration_of(lab: Lab, name: str) -> Object:
    """The effective configuration that an instance shows."""
    shown: Object = dict(lab.state_of(name)["migrationConfiguration"])  # type: ignore[call-overload]
    return shown


def a_policy(
    name: str, instance: dict[str, str] | None, namespace: dict[str, str] | None = None, **spec: Any
) -> Object:
    """A MigrationPolicy; with None for a selector it has none of that kind."""
    selectors: Object = {}
    if instance is not None:
        selectors["virtualMachineInstanceSelector"] = instance
    if namespace is not None:
        selectors["namespaceSelector"] = namespace
    return {
        "apiVersion": "migrations.kubevirt.io/v1alpha1",
        "kind": "MigrationPolicy",
        "metadata": {"name": name},
        "spec": {"selectors": selectors, **spec},
    }


async def apply_policies(lab: Lab, *policies: Object) -> None:
    """Create them, and wait until the lab's own caches know them."""
    for policy in policies:
        await lab.client.create(policy)
    known = lab.standin.cluster.policies.objects
    await lab.wait_until(
        lambda: all(("", each["metadata"]["name"]) in known for each in policies), 5, "the policies are known"
    )


async def refuse_pods(lab: Lab, message: str) -> Callable[[], Awaitable[None]]:
    """From now on the API server refuses new pods with this; returns how to end that."""

    def refuse(_request: AdmissionRequest) -> None:
        raise Refusal(message)

    return await lab.plane.register((Webhook("no-pods.lab.whimbrel.dev", "pods", ("CREATE",), refuse),))


async def moved(lab: Lab, name: str, **options: Any) -> Object:
    """A migration of an instance that has succeeded; as it is afterwards."""
    migration = await lab.create_foreign_migration(name, **options)
    end = await lab.ended(migration)
    about = (
        lab.read(MIGRATION, migration["metadata"]["name"]),
        lab.state_of(name),
        await events_of(lab, "FailedMigration"),
    )
    assert end == "Succeeded", f"{end}: {about}"
    return migration_of(lab, migration)


async def settled(lab: Lab, name: str) -> None:
    """Until an instance has one live launcher, is Ready and free for its next migration.

    Virt-controller fails a migration whose predecessor it has not yet seen to be over; it has once that lost its finalizer.
    """

    def at_rest() -> bool:
        instance = instance_of(lab, name)
        live = [each for each in launchers_of(lab, name) if each["status"].get("phase") not in ("Succeeded", "Failed")]
        ready = all(condition_of(each, "Ready").get("status") == "True" for each in (instance, *live))
        held = [each for each in lab.migrations_of(name) if final(each) and each["metadata"].get("finalizers")]
        return len(live) == 1 and ready and not held and TARGET_NODE not in instance["metadata"]["labels"]

    await lab.wait_until(at_rest, 15, f"{name} is settled")


async def as_handler(lab: Lab, name: str, change: Callable[[Object], None]) -> None:
    """Change an instance as virt-handler may, again after a conflict."""
    async with Client(lab.plane.access(USERS["handler"])) as client:
        while True:
            instance = clone(await client.get(INSTANCE, name, lab.namespace))
            change(instance)
            with contextlib.suppress(RequestRefused):
                await client.replace(instance)
                return


@dataclass(slots=True)
class History:
    """Every version of every instance and migration since the beginning, in the order in which a watcher saw them."""

    versions: list[Object] = field(default_factory=list)

    def of(self, kind: str, name: str) -> list[Object]:
        """All versions of one object."""
        return [each for each in self.versions if (each["kind"], each["metadata"]["name"]) == (kind, name)]

    def states(self, name: str, member: str) -> list[Any]:
        """The values that a member of an instance's migration state had, without repetitions."""
        seen: list[Any] = []
        for version in self.of(INSTANCE, name):
            value = (version.get("status", {}).get("migrationState") or {}).get(member)
            if not seen or seen[-1] != value:
                seen.append(value)
        return seen


@asynccontextmanager
async def history(lab: Lab) -> AsyncIterator[History]:
    """Follow instances and migrations from now on."""
    seen = History()

    async def follow(kind: str, version: str) -> None:
        async for change, document in lab.client.watch(kind, version):
            if change in ("ADDED", "MODIFIED"):
                document.setdefault("kind", kind)
                seen.versions.append(document)

    tasks = []
    for kind in (INSTANCE, MIGRATION):
        _, version = await lab.client.list(kind)
        tasks.append(asyncio.create_task(follow(kind, version)))
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
