"""Simulated clusters for tests: a few hosts, guests on the first ones, a profile for all, the engine as it ships."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.invariants import FINISHED_MOVE, MANAGED, OPERATOR, RESERVED, Checker, at
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINE_MOVES,
)
from whimbrel.engine import Engine
from whimbrel.lifecycle.guard import overdue_stuns
from whimbrel.simulation.driver import Faults, Order, Timing
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GuestShape, HostShape, Topology, a_profile
from whimbrel.simulation.world import Object

MOST_NEWS = 2
"""What is said of hosts after a plan's end: a node that was lost stops being heard of only minutes later."""
STUN = {"disruption": {"stun": "Allowed", "maxDowntimeMs": 5000, "unattendedDowntimeMs": 60000}}


def hosts(count: int, **shape: Any) -> list[HostShape]:
    """node-0, node-1, …"""
    return [HostShape(f"node-{number}", **shape) for number in range(count)]


def guests(count: int, on: Sequence[str] = ("node-0",), **shape: Any) -> list[GuestShape]:
    """vm-0, vm-1, …, dealt out over the nodes."""
    return [GuestShape(f"vm-{number}", node=on[number % len(on)], **shape) for number in range(count)]


def empty(node: str, **spec: Any) -> Mapping[str, Any]:
    """The spec of a plan that empties a node and leaves what cannot move."""
    return {"virtualMachines": {"onNodes": {"names": [node]}, "nonMigratable": "Leave"}, **spec}


def simulate(
    topology: Topology,
    *,
    faults: Faults = Faults(),  # noqa: B008 – frozen
    timing: Timing = Timing(),  # noqa: B008 – frozen
    order: Order = tuple,
    outbound: int = 2,
    inbound: int = 2,
    link_mbps: int = 10_000,
    grace_s: float = 1.0,
) -> tuple[Simulation, Checker]:
    """A running simulation and the checker that watches it."""
    profile = a_profile(link_mbps=link_mbps, outbound=outbound, inbound=inbound)
    simulation = Simulation(
        topology, Engine().decide, overdue_stuns, profiles=[profile], timing=timing, faults=faults, order=order
    )
    checker = Checker(simulation.world, grace_s=grace_s)
    checker.begin()
    simulation.listeners.append(checker.observe)
    return simulation, checker


def later(simulation: Simulation, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
    """Something that people or fate do at that time."""
    simulation.at(seconds, lambda: act(*arguments))


def see_it_through(simulation: Simulation, checker: Checker, limit_s: float = 7200) -> None:
    """Runs until every plan is finished, and asserts all that must hold then, and for two resyncs after."""
    end = simulation.now_s + limit_s
    while not (simulation.run_until_finished(600) or selects_nothing(simulation)) and simulation.now_s < end:
        continue
    assert simulation.finished or selects_nothing(simulation), (
        f"not finished after {limit_s} s: {unfinished(simulation)}"
    )
    simulation.run(15)
    quiet_from = len(simulation.world.history)
    simulation.run(130)
    written = [change for change in simulation.world.history[quiet_from:] if change.actor == OPERATOR]
    late = [change for change in written if change.resource is not HOST_PROFILES]
    assert len(written) - len(late) <= MOST_NEWS, "invariant 16: a HostProfile is written again and again"
    assert not late, f"invariant 16: {late[0].verb} {late[0].resource.kind} {late[0].key} after the end"
    assert checker.broken == []
    assert left_behind(simulation) == []
    assert unexplained(simulation) == []


def selects_nothing(simulation: Simulation) -> bool:
    """Whether all that is unfinished is plans without a single move, which say what to correct."""
    with_moves = {at(body, "metadata", "ownerReferences")[0]["uid"] for body in moves(simulation).values()}
    return all(
        at(body, "status", "phase") == "Pending"
        and at(body, "status", "message")
        and body["metadata"]["uid"] not in with_moves
        for body in simulation.world.objects(MIGRATION_PLANS).values()
        if not at(body, "status", "finishedAt")
    )


def unfinished(simulation: Simulation) -> list[str]:
    """Plans and moves that are not finished, and what they say."""
    documents = [*simulation.world.objects(MIGRATION_PLANS).items(), *moves(simulation).items()]
    return [
        f"{key}: {at(body, 'status', 'phase')} {at(body, 'status', 'reason')} {at(body, 'status', 'message')}"
        for key, body in documents
        if not at(body, "status", "finishedAt")
    ]


def left_behind(simulation: Simulation) -> list[str]:
    """What of ours is still there although nothing is in flight.

    KubeVirt deletes a migration whose instance is gone, and leaves its own finalizer on: that is not ours to take off.
    """
    world = simulation.world
    left = [str(key) for key, body in world.objects(MIGRATION_POLICIES).items() if ours(body)]
    for key, body in world.objects(MIGRATIONS).items():
        orphaned = (
            bool(at(body, "metadata", "deletionTimestamp"))
            and world.get(INSTANCES, Key(key.namespace, body["spec"]["vmiName"])) is None
        )
        left += [f"{key} in flight"] if ours(body) and not ended(body) and not orphaned else []
    for key, body in world.objects(INSTANCES).items():
        left += [
            f"{key}: label {label}" for label in at(body, "metadata", "labels") or {} if label.startswith(RESERVED)
        ]
    left += [
        f"{key}: finalizer"
        for key, body in world.objects(MIGRATION_PLANS).items()
        if at(body, "metadata", "finalizers") and at(body, "status", "finishedAt")
    ]
    return left


def unexplained(simulation: Simulation) -> list[str]:
    """Ends without an explanation."""
    dumb = []
    for key, body in moves(simulation).items():
        status = body.get("status") or {}
        if status.get("phase") not in FINISHED_MOVE:
            dumb.append(f"{key} is {status.get('phase')} although its plan is finished")
        elif not status.get("message") and not status.get("verdicts"):
            dumb.append(f"{key} is {status.get('phase')} without a message")
    for key, body in simulation.world.objects(MIGRATION_PLANS).items():
        if selects_nothing(simulation) and not at(body, "status", "finishedAt"):
            continue
        told = [each for each in at(body, "status", "conditions") or () if each["type"] == "Finished"]
        if not told or told[0]["status"] != "True" or not told[0]["reason"] or not at(body, "status", "message"):
            dumb.append(f"{key} does not say how it finished")
    return dumb


def moves(simulation: Simulation) -> Mapping[Key, Object]:
    """All moves."""
    return simulation.world.objects(VIRTUAL_MACHINE_MOVES)


def phases(simulation: Simulation) -> dict[str, str]:
    """Phase of the move of each virtual machine."""
    return {
        f"{at(body, 'spec', 'instance', 'name')}": str(at(body, "status", "phase"))
        for body in moves(simulation).values()
    }


def nodes(simulation: Simulation) -> dict[str, str]:
    """Node of each instance."""
    return {key.name: str(at(body, "status", "nodeName")) for key, body in simulation.world.objects(INSTANCES).items()}


def ours(body: Object) -> bool:
    """Whether an object carries our mark."""
    return MANAGED in (at(body, "metadata", "labels") or {})


def ended(body: Object) -> bool:
    """Whether a migration or a pod has ended."""
    return at(body, "status", "phase") in ("Succeeded", "Failed")
