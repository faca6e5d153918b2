"""The lab's launcher carries out what KubeVirt's monitors want of a hypervisor, and says what became of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from whimbrel.simulation.kubevirt.monitor import Rules
from whimbrel.simulation.kubevirt.stall_options import StallOptions
from whimbrel_lab.clock import LabClock
from whimbrel_lab.hypervisor import GuestSpec, HostSpec, HypervisorError, JobProgress, MigrationJob, MigrationOptions
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.kubevirt import launcher
from whimbrel_lab.kubevirt.launcher import Reports, Verdict

MIB = 1024 * 1024
BUSY = GuestSpec("busy", 256 * MIB, 256 * MIB, 64 * MIB, 400 * MIB)
"""Its rest takes one second of a link of 64 MiB/s."""
WITH_DEVICES = Rules(20, allow_workload_disruption=True, passes_devices_through=True)
DETECTING = Rules(1000, max_downtime_ms=1200, stall=StallOptions(stall_progress_timeout_s=4))


class Reluctant:
    """A job that refuses the first so many limits above QEMU's own."""

    def __init__(self, job: MigrationJob, refusals: int) -> None:
        self.refusals, self.limits = refusals, list[int]()
        self._job = job
        self.suspend, self.start_post_copy, self.abort = job.suspend, job.start_post_copy, job.abort
        self.wait = job.wait

    async def progress(self) -> JobProgress | None:
        return await self._job.progress()

    async def limit_downtime(self, milliseconds: int) -> None:
        self.limits.append(milliseconds)
        if milliseconds > 300 and self.refusals:
            self.refusals -= 1
            raise HypervisorError("not now")
        await self._job.limit_downtime(milliseconds)


@pytest.fixture
def clock() -> LabClock:
    return LabClock(scale=40.0)


@pytest.fixture
async def hypervisor(clock: LabClock) -> AsyncIterator[ModelHypervisor]:
    made = ModelHypervisor([HostSpec(name, 64 * MIB) for name in ("one", "two")], clock)
    await made.start_guest("one", BUSY)
    yield made
    await made.stop()


async def follow(job: MigrationJob, rules: Rules, clock: LabClock) -> tuple[Verdict, list[str]]:
    """A job to its end; and what the launcher said of its mode and of aborts on the way."""
    said: list[str] = []

    async def say(text: str) -> None:
        said.append(text)

    return await launcher.follow(job, rules, clock, asyncio.Event(), Reports(say, say, lambda _: None)), said


async def test_a_guest_with_devices_of_its_host_is_stopped_by_a_raised_downtime_limit_at_its_deadline(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    job = Reluctant(await hypervisor.migrate("one", "two", "busy", MigrationOptions()), refusals=0)

    verdict, said = await follow(job, WITH_DEVICES, clock)

    assert verdict.outcome.completed
    assert (said, job.limits) == (["Paused"], [40_000])


async def test_a_stalled_guest_is_moved_by_the_limit_that_was_configured(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    job = Reluctant(await hypervisor.migrate("one", "two", "busy", MigrationOptions()), refusals=0)

    verdict, said = await follow(job, DETECTING, clock)

    assert verdict.outcome.completed
    assert job.limits == [300, 1200]
    assert said in (["Paused"], [])
    assert (await hypervisor.beats("busy")).longest_gap_ms <= 1300


async def test_a_limit_that_the_hypervisor_refuses_is_tried_again(hypervisor: ModelHypervisor, clock: LabClock) -> None:
    job = Reluctant(await hypervisor.migrate("one", "two", "busy", MigrationOptions()), refusals=2)

    verdict, _ = await follow(job, DETECTING, clock)

    assert verdict.outcome.completed
    assert job.limits == [300, 1200, 1200, 1200]


async def test_a_stalled_guest_that_cannot_fit_is_given_up(hypervisor: ModelHypervisor, clock: LabClock) -> None:
    rules = Rules(1000, max_downtime_ms=600, stall=StallOptions(stall_progress_timeout_s=4))
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions())

    verdict, said = await follow(job, rules, clock)

    assert (verdict.outcome.completed, verdict.outcome.aborted) == (False, True)
    assert said == ["Aborting"]
