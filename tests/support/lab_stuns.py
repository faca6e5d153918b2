"""A guest that is suspended because it will be done in time, as was foretold, and whose link then lets it down.

Three stories, told on the model and on real QEMU: the guard ends it, the follower's guard ends it, and nobody is left to.
What must hold is asserted here; `stage` has a lab of `centre()` and no operator yet.
"""

import re
from collections.abc import Sequence
from typing import Any

from support.invariants import OPERATOR
from support.lab_history import member
from support.lab_scenarios import MIB, Object, Scene, hosts, landed, plan, profile, topology
from support.machine import until
from support.operator_process import OperatorProcess
from whimbrel.domain.resources import MIGRATIONS
from whimbrel_lab.hypervisor import BeatReport, GuestState
from whimbrel_lab.topology import LabGuest, Topology

LINK_BYTES_PER_SECOND = 40_000_000
LINK_MBPS = 320
NO_LINK_BYTES_PER_SECOND = MIB
"""So slow that what is left of a stun would take half a minute; libvirt knows no smaller limit."""
CONSENT: Object = {"stun": "Allowed", "maxDowntimeMs": 3000, "unattendedDowntimeMs": 6500}
"""For a suspension after four seconds of copying, of a second or so if nothing goes wrong."""
EARLY_MS = 1400
"""How much of the budget the guard may leave unused: it takes a suspension to begin as early as KubeVirt's times permit."""
NAME = "restless"
RESTLESS = LabGuest(
    NAME,
    "node-1",
    memory_bytes=64 * MIB,
    touched_bytes=28 * MIB,
    working_set_bytes=20 * MIB,
    dirty_bytes_per_second=80 * MIB,
)
_SCRAPED = re.compile(r'^whimbrel_handler_scrapes_total\{result="ok"\} [1-9]', re.MULTILINE)


def centre() -> Topology:
    """Three hosts, and the guest on the first of them."""
    return topology([RESTLESS], hosts(3, LINK_BYTES_PER_SECOND))


async def cut_short_and_moved_by_the_next_rung(stage: Scene) -> None:
    """The guard keeps the budget; the guest, back at home, goes by post-copy once its link is well again."""
    quoted = await _let_down(stage, await stage.operator(), "Stun", "PostCopy")

    felt = await _runs_again_at_home(stage)
    await _set_links(stage, LINK_BYTES_PER_SECOND)
    status = await stage.until_phase("Succeeded", "Failed")
    await stage.until_at_rest()

    assert CONSENT["maxDowntimeMs"] - EARLY_MS <= felt.longest_gap_ms <= quoted["attendedDowntimeMs"], felt
    assert _history(stage) == [("Stun", "StunBudgetExceeded"), ("PostCopy", "Verified")]
    assert status["phase"] == "Succeeded", stage.report()
    assert all(said == found != "node-1" for said, found in landed(stage).values())
    await _is_intact(stage)


async def cut_short_by_the_follower_of_a_dead_leader(stage: Scene) -> OperatorProcess:
    """A guard that leads nothing keeps the budget; answers it, as long as the lease is still the dead one's."""
    leader, follower = await stage.operator("whimbrel-a"), await stage.operator("whimbrel-b")
    quoted = await _let_down(stage, leader, "Stun", killed=[leader])

    felt = await _runs_again_at_home(stage)

    assert "role: follower of whimbrel-a" in (await follower.answer())[1], "the lease of the dead has not expired"
    assert follower.said().count("Ended the migration") == 1
    assert CONSENT["maxDowntimeMs"] - EARLY_MS <= felt.longest_gap_ms <= quoted["attendedDowntimeMs"], felt
    await _is_intact(stage)
    return follower


async def ended_by_kubevirt_alone(stage: Scene) -> None:
    """No operator is alive: KubeVirt gives up one further deadline later, and an operator that comes back says so."""
    operator = await stage.operator()
    quoted = await _let_down(stage, operator, "Stun", killed=[operator])

    felt = await _runs_again_at_home(stage)
    await operator.start()
    await stage.until_phase("Failed")
    await stage.until_at_rest()

    further_deadline_ms = 1000 * int(stage.moves()[NAME]["spec"]["attempt"]["deadlineSeconds"])
    assert further_deadline_ms <= felt.longest_gap_ms <= quoted["unattendedDowntimeMs"], felt
    assert quoted["unattendedDowntimeMs"] <= CONSENT["unattendedDowntimeMs"]
    assert not any(change.actor == OPERATOR and change.verb == "delete" for change in stage.witness.of(MIGRATIONS))
    assert _history(stage) == [("Stun", "NotConverged")]
    assert "KubeVirt ended the attempt" in stage.moves()[NAME]["status"]["message"]
    await _is_intact(stage)


async def _let_down(
    stage: Scene, operator: OperatorProcess, *rungs: str, killed: Sequence[OperatorProcess] = ()
) -> Object:
    """Until the guest is suspended, within its budget by all that is known; then the links let it down, and these are killed.

    The operator is asked whether it knows the guest before it gets a plan of these rungs. Answers the quoted line.
    """
    await stage.apply(profile(LINK_MBPS, out=1, into=1))

    async def read() -> bool:
        return _SCRAPED.search((await operator.answer("/metrics"))[1]) is not None

    await operator.until(read, "it has read what the guest does")
    disruption = {**CONSENT, **({"postCopy": "Allowed"} if "PostCopy" in rungs else {})}
    terms = {"ladder": [{"rung": rung} for rung in rungs], "disruption": disruption, "attempts": len(rungs)}
    await stage.apply(plan(migration=terms))
    await stage.until(lambda: stage.lab.state_of(NAME).get("mode") == "Paused", "the guest is suspended")
    await _set_links(stage, NO_LINK_BYTES_PER_SECOND)
    for each in killed:
        await each.kill()
    (line,) = stage.status()["quote"]["moves"]
    assert line["rung"] == "Stun"
    assert line["downtimeBoundMs"] <= CONSENT["maxDowntimeMs"]
    return dict(line)


async def _set_links(stage: Scene, bytes_per_second: float) -> None:
    for host in stage.lab.topology.hosts:
        await stage.lab.hypervisor.set_link(host.name, bytes_per_second)


async def _runs_again_at_home(stage: Scene) -> BeatReport:
    """Until its migration has failed; what the guest says of its suspension then."""
    await stage.until(lambda: stage.lab.state_of(NAME).get("failed"), "its migration is over")
    assert await stage.lab.hypervisor.guest_state("node-1", NAME) is GuestState.RUNNING
    assert stage.lab.node_of(NAME) == "node-1"
    return await stage.lab.hypervisor.beats(NAME)


async def _is_intact(stage: Scene) -> None:
    """The guest never restarted, and finds its memory as it left it when it looks at all of it after now."""
    hypervisor = stage.lab.hypervisor
    before = (await hypervisor.beats(NAME)).sweeps

    async def swept() -> bool:
        return (await hypervisor.beats(NAME)).sweeps >= before + 2

    await until(swept)
    felt = await hypervisor.beats(NAME)
    assert (felt.restarts, felt.memory_intact) == (0, True)
    print(felt)


def _history(stage: Scene) -> list[tuple[Any, Any]]:
    """Rung and reason of each attempt that has ended."""
    return [(old["rung"], old["reason"]) for old in member(stage.moves()[NAME], "status", "history") or ()]
