"""Somebody's migrations in a simulated cluster whose KubeVirt has the gate MigrationStallDetection on, or off."""

from collections.abc import Mapping
from typing import Any

import pytest

from support.scenes import hosts, nodes, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_POLICIES
from whimbrel.simulation import fluid
from whimbrel.simulation.run import USER, Simulation
from whimbrel.simulation.topology import GIB, MIB, GuestShape, Topology

VM = Key("default", "vm")
LINK = 1_250_000_000
GATES = ("MigrationStallDetection",)
AT_WORK_S = 0.01
"""What the guest dirties while the launcher hears of a round's begin takes no longer than this."""
BRIEF = {"stallDetector": {"stallProgressTimeout": 5}}


def migrated(working_set_mib: int, gates: tuple[str, ...] = GATES, **policy: Any) -> tuple[Simulation, list[str]]:
    """A guest that rewrites a working set faster than its link carries it, after ten minutes; and the modes it went through."""
    busy = {"memory_bytes": 4 * GIB, "touched_bytes": 3 * GIB, "dirty_mib_per_second": 8000}
    guest = GuestShape("vm", node="node-0", working_set_mib=working_set_mib, **busy)  # type: ignore[arg-type]
    simulation, _ = simulate(Topology(hosts(2), [guest], feature_gates=gates))
    spec = {"selectors": {"virtualMachineInstanceSelector": {}}, "completionTimeoutPerGiB": 20, **policy}
    simulation.world.create(USER, MIGRATION_POLICIES, {"metadata": {"name": "everybody"}, "spec": spec})
    modes: list[str] = []

    def follow(change: Any) -> None:
        mode = state_of(simulation).get("mode")
        if change.resource == INSTANCES and mode and (not modes or modes[-1] != mode):
            modes.append(mode)

    simulation.listeners.append(follow)
    simulation.migrate(VM)
    simulation.run(600)
    return simulation, modes


def state_of(simulation: Simulation) -> Mapping[str, Any]:
    body = simulation.world.get(INSTANCES, VM) or {}
    found: Mapping[str, Any] = (body.get("status") or {}).get("migrationState") or {}
    return found


@pytest.mark.parametrize("working_set_mib", [400, 1000])
def test_a_guest_whose_rest_goes_over_within_the_configured_downtime_is_moved_by_a_raised_limit(
    working_set_mib: int,
) -> None:
    simulation, modes = migrated(working_set_mib, maxDowntimeMs=900, experimental=BRIEF)

    assert nodes(simulation) == {"vm": "node-1"}
    assert modes in (["PreCopy"], ["PreCopy", "Paused"])
    (blackout,) = simulation.agents.blackouts
    assert blackout.seconds == pytest.approx(working_set_mib * MIB / LINK + fluid.DEVICE_STATE_S, abs=AT_WORK_S)
    assert blackout.seconds <= 0.9 + fluid.DEVICE_STATE_S


def test_a_guest_whose_rest_takes_more_than_half_as_long_again_is_given_up_once_it_has_stalled() -> None:
    simulation, modes = migrated(1700, maxDowntimeMs=900, experimental=BRIEF)

    assert nodes(simulation) == {"vm": "node-0"}
    assert (modes, state_of(simulation)["abortStatus"]) == (["PreCopy"], "Succeeded")
    assert simulation.agents.blackouts == []
    began, ended = (str(state_of(simulation)[each])[-6:-1] for each in ("startTimestamp", "endTimestamp"))
    assert "00:00" < began < ended < "00:30"  # the deadline itself is at 100 s


def test_a_guest_a_little_over_the_configured_downtime_gets_the_limit_and_is_given_up_when_that_does_not_do() -> None:
    """KubeVirt tries, but sets the configured limit, under which this guest never fits; it waits a minute for that."""
    simulation, modes = migrated(1200, maxDowntimeMs=900, experimental=BRIEF)

    assert nodes(simulation) == {"vm": "node-0"}
    assert (modes, state_of(simulation)["abortStatus"]) == (["PreCopy"], "Succeeded")


def test_with_disruption_allowed_it_is_stopped_for_as_long_as_it_takes() -> None:
    simulation, modes = migrated(1700, allowWorkloadDisruption=True, experimental=BRIEF)

    assert nodes(simulation) == {"vm": "node-1"}
    assert modes == ["PreCopy", "Paused"]
    assert simulation.agents.blackouts[0].seconds == pytest.approx(
        1700 * MIB / LINK + fluid.DEVICE_STATE_S, abs=AT_WORK_S
    )


def test_with_post_copy_allowed_it_goes_on_at_the_target() -> None:
    simulation, modes = migrated(1700, allowPostCopy=True, experimental=BRIEF)

    assert nodes(simulation) == {"vm": "node-1"}
    assert modes == ["PreCopy", "PostCopy"]


def test_without_the_gate_a_policys_downtime_changes_nothing() -> None:
    simulation, modes = migrated(400, gates=())

    assert nodes(simulation) == {"vm": "node-0"}
    assert modes == ["PreCopy"]
