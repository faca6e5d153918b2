"""What the launcher does about a guest that has stalled, where KubeVirt has the alpha gate for it (contract §5.4).

The launcher is the stand-in's whoever plays virt-controller, so the scenarios are run on the stand-in alone.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from support.kubevirt_scenarios import (
    ABORTED,
    MIB,
    a_policy,
    apply_policies,
    configuration_of,
    history,
)
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]
GATE = {"feature_gates": ("MigrationStallDetection",), "link_mib": 10}
SOON = {"stallDetector": {"stallProgressTimeout": 4}}


def stalling(working_set_mib: int) -> dict[str, Any]:
    """A guest that rewrites so much faster than a link of 10 MiB/s carries it, whose rest takes a tenth of that in seconds."""
    return {"dirty_bytes_per_second": 60 * MIB, "working_set_bytes": working_set_mib * MIB}


def seconds(lab: Lab) -> float:
    """How long the migration took."""
    state = lab.state_of("vm-1")
    began, over = (datetime.fromisoformat(str(state[each])) for each in ("startTimestamp", "endTimestamp"))
    return (over - began).total_seconds()


async def test_a_stalled_guest_whose_rest_fits_the_configured_downtime_is_moved(make_stand_in: MakeLab) -> None:
    lab = await make_stand_in(of_guest=stalling(8), **GATE)
    await apply_policies(lab, a_policy("soft", {}, maxDowntimeMs=900, experimental=SOON))
    await lab.hypervisor.reset_beats("vm-1")

    async with history(lab) as seen:
        assert await lab.ended(await lab.create_foreign_migration("vm-1"), 60) == "Succeeded"

    assert lab.node_of("vm-1") != "node-1"
    assert seen.states("vm-1", "mode")[-1] in ("PreCopy", "Paused")
    assert 300 < (await lab.hypervisor.beats("vm-1")).longest_gap_ms <= 1000
    shown = configuration_of(lab, "vm-1")
    assert (shown["maxDowntimeMs"], shown["experimental"]) == (900, SOON)


async def test_without_the_gate_the_same_guest_has_no_end_before_its_deadline(make_stand_in: MakeLab) -> None:
    lab = await make_stand_in(of_guest=stalling(8), link_mib=10)
    await apply_policies(lab, a_policy("hopeless", {}, completionTimeoutPerGiB=15))

    assert await lab.ended(await lab.create_foreign_migration("vm-1"), 60) == "Failed"

    assert lab.node_of("vm-1") == "node-1"
    assert seconds(lab) >= 15


async def test_a_stalled_guest_beyond_one_and_a_half_times_that_is_given_up_long_before_the_deadline(
    make_stand_in: MakeLab,
) -> None:
    lab = await make_stand_in(of_guest=stalling(20), **GATE)
    await apply_policies(lab, a_policy("soft", {}, maxDowntimeMs=900, experimental=SOON))

    async with history(lab) as seen:
        assert await lab.ended(await lab.create_foreign_migration("vm-1"), 60) == "Failed"

    state = lab.state_of("vm-1")
    assert (state["failureReason"], state["abortStatus"]) == (ABORTED, "Succeeded")
    assert "abortRequested" not in state
    assert [each for each in seen.states("vm-1", "mode") if each] == ["PreCopy"]
    assert seconds(lab) < 60
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"


async def test_with_disruption_allowed_a_stalled_guest_is_stopped_for_as_long_as_it_takes(
    make_stand_in: MakeLab,
) -> None:
    lab = await make_stand_in(of_guest=stalling(20), **GATE)
    await apply_policies(lab, a_policy("hard", {}, allowWorkloadDisruption=True, experimental=SOON))
    await lab.hypervisor.reset_beats("vm-1")

    async with history(lab) as seen:
        assert await lab.ended(await lab.create_foreign_migration("vm-1"), 60) == "Succeeded"

    assert [each for each in seen.states("vm-1", "mode") if each] == ["PreCopy", "Paused"]
    assert (await lab.hypervisor.beats("vm-1")).longest_gap_ms >= 2000


async def test_a_compressed_migration_takes_half_as_long_unless_the_guests_processors_are_limited(
    make_stand_in: MakeLab,
) -> None:
    domain = {
        "devices": {
            "disks": [{"disk": {"bus": "virtio"}, "name": "data"}],
            "interfaces": [{"masquerade": {}, "name": "default"}],
        },
        "memory": {"guest": "64Mi"},
        "resources": {"limits": {"cpu": "1"}},
    }
    took = []
    for limited in (False, True):
        lab = await make_stand_in(
            link_mib=2, of_guest={"dirty_bytes_per_second": 0, "instance_spec": {"domain": domain} if limited else {}}
        )
        await apply_policies(lab, a_policy("packed", {}, experimental={"compression": "zstd"}))
        assert await lab.ended(await lab.create_foreign_migration("vm-1"), 90) == "Succeeded"
        took.append(seconds(lab))

    assert 11 <= took[0] <= 16
    assert took[1] >= 23


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"ewmaAlpha": "0"}, "must be greater than 0"),
        ({"completionTimeoutFactor": "1.2345"}, "must have at most 3 decimal places"),
        ({"stallMargin": 101}, "stallMargin"),
    ],
)
async def test_a_stall_detector_that_cannot_be_is_refused_also_where_the_gate_is_on(
    make_stand_in: MakeLab, stated: dict[str, Any], words: str
) -> None:
    lab = await make_stand_in(**GATE)

    with pytest.raises(RequestRefused, match=words):
        await lab.client.create(a_policy("wrong", {}, experimental={"stallDetector": stated}))
