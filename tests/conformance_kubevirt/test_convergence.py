"""A guest that never converges: what the launcher's monitor does at the deadline (contract §5.2, §5.3)."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from support.kubevirt_scenarios import ABORTED, BUSY, a_policy, apply_policies, history
from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]
AT_THE_DEADLINE: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "nothing allowed: given up": ({}, ["PreCopy"], "Failed"),
    "disruption allowed: stopped": ({"allowWorkloadDisruption": True}, ["PreCopy", "Paused"], "Succeeded"),
    "post-copy allowed: switched over": ({"allowPostCopy": True}, ["PreCopy", "PostCopy"], "Succeeded"),
    "post-copy without disruption: given up": (
        {"allowPostCopy": True, "allowWorkloadDisruption": False}, ["PreCopy"], "Failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AT_THE_DEADLINE)
async def test_at_the_deadline(make_lab: MakeLab, case: str) -> None:
    allowed, modes, end = AT_THE_DEADLINE[case]
    lab = await make_lab(link_mib=10, of_guest=BUSY)
    await apply_policies(lab, a_policy("one", {}, completionTimeoutPerGiB=6, **allowed))

    async with history(lab) as seen:
        migration = await lab.create_foreign_migration("vm-1")
        assert await lab.ended(migration, 60) == end

    assert [each for each in seen.states("vm-1", "mode") if each] == modes
    state = lab.state_of("vm-1")
    if end == "Failed":
        assert (state["failureReason"], state["abortStatus"]) == (ABORTED, "Succeeded")
        assert "abortRequested" not in state
    began, over = (datetime.fromisoformat(str(state[each])) for each in ("startTimestamp", "endTimestamp"))
    assert (over - began).total_seconds() >= 6


async def test_a_stop_that_is_too_long_is_given_up_at_twice_the_deadline(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=4, of_guest=BUSY)
    await apply_policies(lab, a_policy("stun", {}, allowWorkloadDisruption=True, completionTimeoutPerGiB=2))

    async with history(lab) as seen:
        migration = await lab.create_foreign_migration("vm-1")
        assert await lab.ended(migration, 60) == "Failed"

    assert [each for each in seen.states("vm-1", "mode") if each] == ["PreCopy", "Paused"]
    state = lab.state_of("vm-1")
    assert (state["failureReason"], state["abortStatus"]) == (ABORTED, "Succeeded")
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"


async def test_a_budget_of_zero_never_ends(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=10, of_guest=BUSY, migrations={"completionTimeoutPerGiB": 0})

    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    began_s = lab.clock.monotonic()
    await lab.wait_until(lambda: lab.clock.monotonic() - began_s > 5, 20)
    assert lab.state_of("vm-1")["mode"] == "PreCopy"
    assert "endTimestamp" not in lab.state_of("vm-1")
    await lab.delete_migration(migration)
