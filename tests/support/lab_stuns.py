"""A guest that is suspended because it will be done in time, as was foretold, and whose link then lets it down.

Told on the model and on real QEMU, with and without somebody alive who watches.
"""

import re
from typing import Any

from support.invariants import OPERATOR
from support.lab_history import member
from support.lab_scenarios import MIB, Object, Scene, hosts, plan, profile, topology
from support.operator_process import OperatorProcess
from whimbrel.domain.resources import MIGRATIONS
from whimbrel_lab.hypervisor import BeatReport, GuestState
from whimbrel_lab.topology import LabGuest, Topology

LINK_BYTES_PER_SECOND = 40_000_000
LINK_MBPS = 320
NO_LINK_BYTES_PER_SECOND = MIB
"""So slow that what is left of a stun would take half a minute; libvirt knows no smaller limit."""
CONSENT: Object = {"stun": "Allowed", "maxDowntimeMs": 3000, "unattendedDowntimeMs": 6500}
"""The guest is suspended for two seconds at most, if nothing goes wrong; and that after four seconds."""
RESTLESS = LabGuest(
    "restless",
    "node-1",
    memory_bytes=64 * MIB,
    touched_bytes=34 * MIB,
    working_set_bytes=28 * MIB,
    dirty_bytes_per_second=80 * MIB,
)
NAME = RESTLESS.name
_SCRAPED = re.compile(r'^whimbrel_handler_scrapes_total\{result="ok"\} [1-9]', re.MULTILINE)


def centre(**others: Any) -> Topology:
    """Three hosts, and the guest on the first of them."""
    return topology([RESTLESS], hosts(3, LINK_BYTES_PER_SECOND), **others)


async def begin(stage: Scene, operator: OperatorProcess, *rungs: str, **migration: Any) -> Object:
    """Has the operator see what the guest does, then applies a plan whose ladder is the stun and these rungs.

    Answers the guest's line of the quote once the guest is being copied.
    """
    await stage.apply(profile(LINK_MBPS, out=1, into=1))

    async def read() -> bool:
        return _SCRAPED.search((await operator.answer("/metrics"))[1]) is not None

    await operator.until(read, "it has read what the guest does")
    disruption = {**CONSENT, **({"postCopy": "Allowed"} if "PostCopy" in rungs else {})}
    terms = {"ladder": [{"rung": rung} for rung in ("Stun", *rungs)], "disruption": disruption, **migration}
    await stage.apply(plan(migration=terms))
    await stage.until(lambda: stage.copying(NAME), "the guest is being copied")
    (line,) = stage.status()["quote"]["moves"]
    assert line["downtimeBoundMs"] <= CONSENT["maxDowntimeMs"], line
    return dict(line)


async def suspended(stage: Scene) -> None:
    """Until KubeVirt has suspended the guest."""
    await stage.until(lambda: stage.lab.state_of(NAME).get("mode") == "Paused", "the guest is suspended")


async def set_links(stage: Scene, bytes_per_second: float) -> None:
    """All links of the lab."""
    for host in stage.lab.topology.hosts:
        await stage.lab.hypervisor.set_link(host.name, bytes_per_second)


async def runs_again_at_home(stage: Scene) -> BeatReport:
    """Until its migration has failed; what the guest says of its suspension then. It must run where it ran before."""
    await stage.until(lambda: stage.lab.state_of(NAME).get("failed"), "its migration is over")
    assert await stage.lab.hypervisor.guest_state("node-1", NAME) is GuestState.RUNNING
    assert stage.lab.node_of(NAME) == "node-1"
    return await stage.lab.hypervisor.beats(NAME)


def deadline_s(stage: Scene) -> int:
    """After so many seconds of copying KubeVirt suspends the guest, and after as many again it gives up."""
    return int(stage.moves()[NAME]["spec"]["attempt"]["deadlineSeconds"])


def was_cut_short(stage: Scene) -> bool:
    """Whether anybody of ours asked for the end of its migration."""
    return any(change.actor == OPERATOR and change.verb == "delete" for change in stage.witness.of(MIGRATIONS))


def history(stage: Scene) -> list[tuple[str, str]]:
    """Rung and reason of each attempt that has ended."""
    return [(old["rung"], old["reason"]) for old in member(stage.moves()[NAME], "status", "history") or ()]
