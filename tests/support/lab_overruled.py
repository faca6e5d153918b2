"""Somebody's MigrationPolicy that permits post-copy and wins over ours, because it comes between our check and the hand-off.

Told on the model and on real QEMU.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from support.invariants import OPERATOR
from support.lab_history import member
from support.lab_scenarios import MIB, Object, Scene, hosts, plan, profile, topology
from support.operator_process import OperatorProcess
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel_lab.topology import LabGuest, Topology

LINK_BYTES_PER_SECOND = 20_000_000
LINK_MBPS = 160
LABELS = {"example.com/team": "shop", "example.com/tier": "front"}
QUIET = LabGuest(
    "quiet",
    "node-1",
    memory_bytes=64 * MIB,
    touched_bytes=60 * MIB,
    working_set_bytes=MIB,
    dirty_bytes_per_second=MIB,
    labels=LABELS,
)
"""Its copy takes three seconds; under the foreign policy KubeVirt would switch to post-copy after two."""
NAME = QUIET.name
THEIRS = "allow-post-copy"
EARLIEST_ACT = timedelta(seconds=2)
"""After `startTimestamp`: the policy gives the guest a deadline of 1 s, and KubeVirt acts no earlier than a second after it."""


def centre() -> Topology:
    """Three hosts, and the guest on the first of them."""
    return topology([QUIET], hosts(3, LINK_BYTES_PER_SECOND))


async def overruled(stage: Scene, killed: Sequence[OperatorProcess] = (), **migration: Any) -> None:
    """A plan that permits nothing, whose first attempt is handed off under a policy that came when its migration was there.

    These operators do not live to see it.
    """
    targets = [host.name for host in stage.lab.topology.hosts[1:]]
    for node in targets:
        stage.lab.stall_pods(node)
    terms = {"bandwidth": {"minMbps": LINK_MBPS}, **migration}
    await stage.apply(profile(LINK_MBPS, out=1, into=1), plan(migration=terms))
    await stage.until(lambda: stage.in_flight(NAME), "the first attempt waits for its target")
    for each in killed:
        await each.kill()
    await stage.apply(
        {
            "apiVersion": "migrations.kubevirt.io/v1alpha1",
            "kind": "MigrationPolicy",
            "metadata": {"name": THEIRS},
            "spec": {
                "selectors": {"virtualMachineInstanceSelector": LABELS},
                "allowPostCopy": True,
                "completionTimeoutPerGiB": 1,
            },
        }
    )
    for node in targets:
        stage.lab.resume_pods(node)


def modes(stage: Scene) -> set[str]:
    """Every mode that any migration of the guest was ever in."""
    return {mode for state in _states(stage) if (mode := str(state.get("mode") or ""))}


def rulers(stage: Scene) -> list[str]:
    """The policy that each attempt was handed off under, in order."""
    found = {state["migrationUid"]: str(state.get("migrationPolicyName") or "") for state in _states(stage)}
    return list(found.values())


def aborted_in_time(stage: Scene) -> bool:
    """Whether the operator's DELETE came before KubeVirt could have acted."""
    asked = next(
        change
        for change in stage.witness.of(MIGRATIONS)
        if change.actor == OPERATOR and member(change.before, "metadata", "deletionTimestamp") is None
        if change.verb == "delete"
    )
    uid = member(asked.before, "metadata", "uid")
    started = [
        state["startTimestamp"] for state in _states(stage) if state["migrationUid"] == uid if "startTimestamp" in state
    ]
    return not started or asked.at < datetime.fromisoformat(started[0]) + EARLIEST_ACT


def _states(stage: Scene) -> list[Object]:
    found = [member(change.after, "status", "migrationState") for change in stage.witness.of(INSTANCES)]
    return [state for state in found if state and state.get("migrationUid")]
