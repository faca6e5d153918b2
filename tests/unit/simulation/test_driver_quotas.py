"""A namespace's quota bounds how many of its guests move at once: each has two launchers meanwhile."""

from collections.abc import Mapping
from typing import Any

from support.invariants import Checker, at
from support.scenes import hosts, phases, see_it_through, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATION_PLANS, PODS, QUOTAS
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, Topology, a_plan
from whimbrel.simulation.world import Change, Object

QUOTA = Key("team", "launchers")
PLAN = Key("default", "drain")


class QuotaController:
    """Counts the pods of a namespace against a quota, at once, and remembers the most that there were.

    It refuses nobody: what would have been refused is seen in `most`.
    """

    def __init__(self, simulation: Simulation, pods: int) -> None:
        self.most = 0
        self._world, self._hard = simulation.world, {"pods": str(pods)}
        metadata = {"name": QUOTA.name, "namespace": QUOTA.namespace}
        self._world.create("setup", QUOTAS, {"metadata": metadata, "spec": {"hard": self._hard}})
        self._count()
        simulation.listeners.append(self._heard)

    def _heard(self, change: Change) -> None:
        if change.resource == PODS and change.key.namespace == QUOTA.namespace:
            self._count()

    def _count(self) -> None:
        pods = [body for key, body in self._world.objects(PODS).items() if key.namespace == QUOTA.namespace]
        used = sum(at(body, "status", "phase") not in ("Succeeded", "Failed") for body in pods)
        self.most = max(self.most, used)
        quota = self._world.get(QUOTAS, QUOTA)
        assert quota is not None
        status = {"hard": self._hard, "used": {"pods": str(used)}}
        self._world.replace_status("quota-controller", QUOTAS, QUOTA, {**quota, "status": status})


def a_team(pods: int, *more: GuestShape) -> tuple[Simulation, Checker, QuotaController]:
    """Four guests of one namespace on node-0, with as many slots; the namespace may have so many pods."""
    team = [GuestShape(f"vm-{number}", node="node-0", namespace="team", memory_bytes=4 * GIB) for number in range(4)]
    simulation, checker = simulate(Topology(hosts(3), [*team, *more]), outbound=9, inbound=9)
    return simulation, checker, QuotaController(simulation, pods)


def drained(simulation: Simulation) -> None:
    selected = {"onNodes": {"names": ["node-0"]}, "namespaces": {"names": ["team"]}}
    simulation.apply(a_plan(PLAN.name, {"virtualMachines": selected}))


def status(simulation: Simulation) -> Mapping[str, Any]:
    plan: Object | None = simulation.world.get(MIGRATION_PLANS, PLAN)
    assert plan is not None
    found: Mapping[str, Any] = plan["status"]
    return found


def test_with_room_for_one_more_launcher_the_guests_of_a_namespace_move_one_after_the_other() -> None:
    simulation, checker, quota = a_team(pods=5)
    drained(simulation)

    simulation.run(1)
    quoted = status(simulation)["quote"]
    see_it_through(simulation, checker)

    assert [move["targetNode"] for move in quoted["moves"]] == ["node-1", "node-2", "node-1", "node-2"]
    assert not quoted.get("blocked")
    assert set(phases(simulation).values()) == {"Succeeded"}
    assert quota.most == 5


def test_with_room_for_two_more_launchers_two_move_at_once() -> None:
    simulation, checker, quota = a_team(pods=6)
    drained(simulation)

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
    assert quota.most == 6


def test_a_full_quota_blocks_the_plan_before_anything_moves_and_a_raised_one_lets_it_go() -> None:
    simulation, checker, quota = a_team(pods=4)
    drained(simulation)

    simulation.run(60)

    assert status(simulation)["phase"] == "Blocked"
    assert [each["reason"] for each in status(simulation)["quote"]["blocked"]] == ["QuotaExceeded"]
    assert checker.writes["VirtualMachineInstanceMigration"] == 0
    assert quota.most == 4


def test_a_quota_taken_by_somebody_elses_move_holds_a_plan_back_until_that_has_ended() -> None:
    other = GuestShape("other", node="node-1", namespace="team", memory_bytes=32 * GIB, touched_bytes=30 * GIB)
    simulation, checker, quota = a_team(6, other)
    simulation.migrate(other.key)
    simulation.run(10)
    drained(simulation)

    simulation.run(10)
    meanwhile = status(simulation)
    see_it_through(simulation, checker)

    assert meanwhile["message"].startswith(
        "Nothing moves now. ResourceQuota launchers: spec.hard[pods]: found 6 of 6 used, needed 1 more. Wait until other moves"
    )
    assert quota.most == 6
