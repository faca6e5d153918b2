"""Hand-offs under somebody else's MigrationPolicy, which would have guests switched to post-copy without their plan's consent.

How soon the operator asks for the end of such a migration, while many others are in flight or wait. Read at the server: the
write that shows the configuration on the instance, and the DELETE.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from whimbrel.domain import naming
from whimbrel.domain.quantities import MBPS
from whimbrel.simulation.kubevirt.values import Object, final, labels, migration_state, phase, status, uid
from whimbrel_lab.bench.figures import Figure, quantile
from whimbrel_lab.bench.moving import MIGRATIONS, a_profile, state_of, with_slots
from whimbrel_lab.bench.operator_process import BenchFailed, operator
from whimbrel_lab.controlplane.embedded.storage import Change
from whimbrel_lab.lab import MIGRATION, Lab, LabError
from whimbrel_lab.topology import MIB, NAMESPACE, LabGuest, LabHost, Topology

INSTANCES = "virtualmachineinstances.kubevirt.io"
OVERRULED, OVERRULED_AT_ONCE, BESIDE = 120, 20, 40
QUICK = 30, 10, 10
SLOT_MBPS = 250
"""What Whimbrel leaves each migration at least."""
P99_GOAL_MS = 500.0
EARLIEST_ACT_S = 2.0
"""After the begin of the copy: these guests' deadline is one second, and KubeVirt acts no earlier than one after it."""
BIDS = 48
"""Label pairs of each guest that a foreign policy may select by."""
LIMIT_S = 180.0


@dataclass(slots=True)
class Noticed:
    """Instants by the server's clock, by UID of the migration."""

    shown: dict[str, float] = field(default_factory=dict)
    """When the dangerous configuration was first to be seen on the instance."""
    began: dict[str, float] = field(default_factory=dict)
    """When the begin of its copy was first to be seen there."""
    deleted: dict[str, float] = field(default_factory=dict)

    def instance(self, body: Object, at: float) -> None:
        """An instance was written."""
        state = migration_state(body)
        migration = str(state.get("migrationUid") or "")
        if (state.get("migrationConfiguration") or {}).get("allowPostCopy"):
            self.shown.setdefault(migration, at)
        if state.get("startTimestamp"):
            self.began.setdefault(migration, at)

    def deletion(self, body: Object, at: float) -> None:
        """A migration was asked to end, or was forgotten after its end, which says nothing."""
        if not final(body):
            self.deleted.setdefault(uid(body), at)

    @property
    def seconds(self) -> list[float]:
        """From each sight to the DELETE that answered it; infinite where none did."""
        return [self.deleted.get(migration, inf) - at for migration, at in self.shown.items()]

    @property
    def too_late(self) -> int:
        """How many were asked to end when KubeVirt could have acted already."""
        return sum(
            self.deleted.get(migration, inf) >= self.began[migration] + EARLIEST_ACT_S
            for migration in self.shown
            if migration in self.began
        )


class _Rival:
    """Somebody whose policies always outbid ours: each migration that is created finds one with more pairs than it has."""

    def __init__(self, lab: Lab) -> None:
        self.noticed = Noticed()
        self._lab = lab
        self._bid = 0
        self._bidding: set[asyncio.Task[Object]] = set()
        lab.storage.observe(self._changed)

    def _changed(self, resource: str, change: Change) -> None:
        at, body = time.perf_counter(), change.record.object
        if resource == INSTANCES and change.type != "DELETED":
            self.noticed.instance(body, at)
        elif resource == MIGRATIONS and change.type == "ADDED":
            self._outbid(str(body["spec"]["vmiName"]))
        elif resource == MIGRATIONS and (change.type == "DELETED" or body["metadata"].get("deletionTimestamp")):
            self.noticed.deletion(change.previous.object if change.previous is not None else body, at)

    def _outbid(self, instance: str) -> None:
        """Its target pod takes longer to start than this policy to be there."""
        held = labels(self._lab.read("VirtualMachineInstance", instance) or {})
        ours = sum(key.startswith(naming.LABEL_POLICY.format("")) for key in held)
        if held.get("group") == "overruled" and self._bid <= ours:
            self._bid = ours + 1
            task = asyncio.create_task(self._lab.client.create(a_policy(self._bid)))
            self._bidding.add(task)
            task.add_done_callback(self._bidding.discard)


def a_policy(pairs: int) -> Object:
    """Somebody's policy for all that are to be overruled, by so many label pairs."""
    return {
        "apiVersion": "migrations.kubevirt.io/v1alpha1",
        "kind": "MigrationPolicy",
        "metadata": {"name": f"somebody-{pairs}"},
        "spec": {
            "selectors": {"virtualMachineInstanceSelector": dict(list(_bids().items())[:pairs])},
            "allowPostCopy": True,
            "completionTimeoutPerGiB": 1,
            "bandwidthPerMigration": "64Mi",
        },
    }


def _bids() -> dict[str, str]:
    return {f"bid-{number:02}": "on" for number in range(BIDS)}


def topology(overruled: int, at_once: int, beside: int) -> Topology:
    """Machines of two groups on the first two of six hosts; each takes longer to copy than it is looked at."""
    link = max(at_once, beside) * SLOT_MBPS * MBPS
    hosts = [
        LabHost(f"node-{number}", memory_bytes=2**42, pods=5000, cpu=5000, link_bytes_per_second=link)
        for number in range(1, 7)
    ]
    guests = [
        LabGuest(
            f"overruled-{number:03}", "node-1", memory_bytes=800 * MIB, touched_bytes=700 * MIB,
            labels={"group": "overruled", **_bids()},
        )
        for number in range(overruled)
    ]  # fmt: skip
    guests += [
        LabGuest(
            f"beside-{number:03}", "node-2", memory_bytes=8192 * MIB, touched_bytes=6000 * MIB,
            labels={"group": "beside"},
        )
        for number in range(beside)
    ]  # fmt: skip
    return with_slots(hosts, guests, at_once + beside)


def a_plan(group: str) -> Object:
    """Moves a group to hosts where nobody is; one attempt for each, which permits nothing."""
    return {
        "apiVersion": "whimbrel.dev/v1alpha1",
        "kind": "MigrationPlan",
        "metadata": {"name": group, "namespace": NAMESPACE},
        "spec": {
            "virtualMachines": {"selector": {"matchLabels": {"group": group}}},
            "target": {"nodeNames": [f"node-{number}" for number in range(3, 7)]},
            "migration": {"attempts": 1, "ladder": [{"rung": "PreCopy"}]},
        },
    }


async def measure(*, quick: bool) -> Sequence[Figure]:
    """From the sight of the configuration to the DELETE: p50, p99, the longest, and how many were too long."""
    overruled, at_once, beside = QUICK if quick else (OVERRULED, OVERRULED_AT_ONCE, BESIDE)
    lab = Lab(topology(overruled, at_once, beside))
    async with lab, operator(await lab.kubeconfig_for("whimbrel"), lab.folder / "operator.log"):
        rival = _Rival(lab)
        await lab.client.create(a_profile(max(at_once, beside), SLOT_MBPS * max(at_once, beside)))
        await lab.client.create(a_plan("beside"))
        await _until(lab, lambda: _running(lab) >= beside, f"{beside} are being copied beside")
        await lab.client.create(a_plan("overruled"))
        await _until(lab, lambda: _is_over(lab), f"{overruled} attempts have ended")
        still_beside = _running(lab)
    if len(rival.noticed.shown) != overruled:
        raise BenchFailed(f"{len(rival.noticed.shown)} of {overruled} hand-offs were overruled")
    if still_beside != beside:
        raise BenchFailed(f"of {beside} migrations beside, {still_beside} were in flight until the end")
    return list(figures(rival.noticed, beside))


def figures(noticed: Noticed, beside: int) -> Iterator[Figure]:
    """The table's lines."""
    title = f"post-copy permitted by somebody → DELETE, {len(noticed.shown)} hand-offs, {beside} moves beside"
    p50, p99 = (1000 * quantile(noticed.seconds, share) for share in (0.5, 0.99))
    yield Figure("overruled.p50", f"{title}: p50", p50, "ms")
    yield Figure("overruled.p99", f"{title}: p99", p99, "ms", f"≤ {P99_GOAL_MS:g} ms", P99_GOAL_MS)
    yield Figure("overruled.longest", "the longest of them", 1000 * max(noticed.seconds), "ms")
    yield Figure("overruled.late", "of them, after KubeVirt could have acted", noticed.too_late, "", "0", 0)


def _is_over(lab: Lab) -> bool:
    return bool(status(lab.read("MigrationPlan", "overruled") or {}).get("finishedAt"))


def _running(lab: Lab) -> int:
    return sum(phase(migration) == "Running" for migration in lab.items(MIGRATION))


async def _until(lab: Lab, condition: Callable[[], bool], what: str) -> None:
    try:
        await lab.wait_until(condition, LIMIT_S, what)
    except LabError as problem:
        raise BenchFailed(f"{problem}\n{state_of(lab, 'overruled')}") from problem
