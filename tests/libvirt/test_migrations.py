"""Real live migrations between session daemons: what KubeVirt's launcher relies on."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.machine import until
from whimbrel_lab.hypervisor import (
    BeatReport,
    GuestSpec,
    GuestState,
    HostSpec,
    HypervisorError,
    MigrationJob,
    MigrationOptions,
)
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor

pytestmark = pytest.mark.libvirt

MIB = 1024**2
LINK = 20 * MIB
CALM = GuestSpec("calm", 64 * MIB, touched_bytes=32 * MIB, working_set_bytes=8 * MIB, dirty_bytes_per_second=2 * MIB)
BUSY = GuestSpec("busy", 64 * MIB, touched_bytes=24 * MIB, working_set_bytes=20 * MIB, dirty_bytes_per_second=80 * MIB)


@pytest.fixture
async def lab(workdir: Path) -> AsyncIterator[LibvirtHypervisor]:
    started = LibvirtHypervisor([HostSpec("n1", LINK), HostSpec("n2", LINK)], workdir)
    await started.start()
    yield started
    await started.stop()


async def checked_all_memory(lab: LibvirtHypervisor, name: str) -> BeatReport:
    """The guest's report once it has checked each page after now."""
    sweeps = (await lab.beats(name)).sweeps

    async def swept() -> bool:
        return (await lab.beats(name)).sweeps >= sweeps + 2

    await until(swept)
    return await lab.beats(name)


async def reached_pass(job: MigrationJob, iteration: int) -> None:
    async def reached() -> bool:
        progress = await job.progress()
        assert progress is not None, "the migration is over"
        return (progress.iteration or 0) >= iteration

    await until(reached)


async def sent_bytes(job: MigrationJob) -> int:
    progress = await job.progress()
    assert progress is not None, "the migration is over"
    assert progress.processed_bytes is not None
    return progress.processed_bytes


async def test_a_guest_that_converges_moves_unharmed_at_the_rate_of_its_link(lab: LibvirtHypervisor) -> None:
    await lab.start_guest("n1", CALM)
    await lab.reset_beats("calm")

    begun = time.monotonic()
    job = await lab.migrate("n1", "n2", "calm", MigrationOptions())
    incoming = await lab.guest_state("n2", "calm")
    outcome = await job.wait()
    duration_s = time.monotonic() - begun
    report = await checked_all_memory(lab, "calm")

    assert (outcome.completed, outcome.aborted, outcome.reason) == (True, False, "")
    assert incoming == GuestState.INCOMING
    assert await lab.guest_state("n1", "calm") == GuestState.ABSENT
    assert await lab.guest_state("n2", "calm") == GuestState.RUNNING
    assert (report.restarts, report.memory_intact) == (0, True)
    assert report.longest_gap_ms < 1000
    assert 0.9 * CALM.touched_bytes / LINK < duration_s < 15
    assert await job.progress() is None
    await job.abort()
    assert await lab.guest_state("n2", "calm") == GuestState.RUNNING


async def test_a_guest_that_dirties_faster_than_its_link_moves_only_by_a_stun(lab: LibvirtHypervisor) -> None:
    await lab.start_guest("n1", BUSY)
    job = await lab.migrate("n1", "n2", "busy", MigrationOptions())
    await reached_pass(job, 3)
    await lab.reset_beats("busy")

    await job.suspend()
    stunned = await lab.guest_state("n1", "busy")
    outcome = await job.wait()
    report = await checked_all_memory(lab, "busy")

    assert stunned == GuestState.PAUSED
    assert outcome.completed
    assert await lab.guest_state("n2", "busy") == GuestState.RUNNING
    assert (report.restarts, report.memory_intact) == (0, True)
    assert 100 < report.longest_gap_ms < 10_000


async def test_a_stunned_guest_runs_again_at_home_when_its_migration_is_aborted(lab: LibvirtHypervisor) -> None:
    await lab.start_guest("n1", BUSY)
    job = await lab.migrate("n1", "n2", "busy", MigrationOptions())
    with pytest.raises(HypervisorError, match="post-copy was not allowed"):
        await job.start_post_copy()
    await reached_pass(job, 2)

    await job.suspend()
    stunned = await lab.guest_state("n1", "busy")
    await job.abort()
    outcome = await job.wait()
    report = await checked_all_memory(lab, "busy")

    assert stunned == GuestState.PAUSED
    assert (outcome.completed, outcome.aborted) == (False, True)
    assert await lab.guest_state("n1", "busy") == GuestState.RUNNING
    assert await lab.guest_state("n2", "busy") == GuestState.ABSENT
    assert (report.restarts, report.memory_intact) == (0, True)


async def test_a_raised_downtime_limit_ends_a_migration_that_would_not_end_by_itself(lab: LibvirtHypervisor) -> None:
    await lab.start_guest("n1", BUSY)
    job = await lab.migrate("n1", "n2", "busy", MigrationOptions())
    await reached_pass(job, 4)
    running = await job.progress()
    await lab.reset_beats("busy")

    await job.limit_downtime(5000)
    outcome = await job.wait()
    report = await checked_all_memory(lab, "busy")

    assert running is not None
    assert not running.stopped
    assert running.remaining_bytes is not None
    assert running.round_bytes is not None
    assert running.remaining_bytes <= running.round_bytes <= BUSY.memory_bytes
    assert outcome.completed
    assert await lab.guest_state("n2", "busy") == GuestState.RUNNING
    assert (report.restarts, report.memory_intact) == (0, True)
    assert 10 < report.longest_gap_ms < 5000


@pytest.mark.post_copy
async def test_a_guest_that_dirties_faster_than_its_link_goes_on_at_the_target_by_post_copy(
    lab: LibvirtHypervisor,
) -> None:
    await lab.start_guest("n1", BUSY)
    job = await lab.migrate("n1", "n2", "busy", MigrationOptions(allow_post_copy=True))
    await reached_pass(job, 3)
    await lab.reset_beats("busy")

    await job.start_post_copy()
    outcome = await job.wait()
    report = await checked_all_memory(lab, "busy")

    assert (outcome.completed, outcome.reason) == (True, "")
    assert await lab.guest_state("n1", "busy") == GuestState.ABSENT
    assert await lab.guest_state("n2", "busy") == GuestState.RUNNING
    assert (report.restarts, report.memory_intact) == (0, True)
    assert report.longest_gap_ms < 1000


async def test_a_link_that_is_slowed_while_a_guest_is_stunned_prolongs_the_stun(lab: LibvirtHypervisor) -> None:
    await lab.start_guest("n1", BUSY)
    job = await lab.migrate("n1", "n2", "busy", MigrationOptions())
    await reached_pass(job, 2)
    await lab.reset_beats("busy")

    await job.suspend()
    await lab.set_link("n2", MIB)
    slowed, begun = await sent_bytes(job), time.monotonic()

    async def two_mebibytes_more() -> bool:
        return await sent_bytes(job) >= slowed + 2 * MIB

    await until(two_mebibytes_more)
    took_s = time.monotonic() - begun
    stunned = await lab.guest_state("n1", "busy")
    await lab.set_link("n2", LINK)
    outcome = await job.wait()
    report = await checked_all_memory(lab, "busy")

    assert took_s > 1.5
    assert stunned == GuestState.PAUSED
    assert outcome.completed
    assert (report.restarts, report.memory_intact) == (0, True)
    assert report.longest_gap_ms > 1000 * took_s
    with pytest.raises(HypervisorError, match="host n9 is unknown"):
        await lab.set_link("n9", LINK)


async def test_two_migrations_share_a_link_and_a_refused_third_takes_nothing(lab: LibvirtHypervisor) -> None:
    names = ["a", "b"]
    for name in names:
        await lab.start_guest(
            "n1", GuestSpec(name, 64 * MIB, touched_bytes=32 * MIB, working_set_bytes=0, dirty_bytes_per_second=0)
        )

    begun = time.monotonic()
    jobs = [await lab.migrate("n1", "n2", name, MigrationOptions()) for name in names]
    with pytest.raises(HypervisorError, match=r"guest a: migration of a from n1 to n2 still runs"):
        await lab.migrate("n1", "n2", "a", MigrationOptions())
    with pytest.raises(HypervisorError, match="guest nobody: is not on n1"):
        await lab.migrate("n1", "n2", "nobody", MigrationOptions())
    outcomes = [await job.wait() for job in jobs]
    duration_s = time.monotonic() - begun

    assert all(outcome.completed for outcome in outcomes)
    assert duration_s > 0.9 * 2 * 32 * MIB / LINK


async def test_a_migration_s_own_limit_holds_below_its_link(lab: LibvirtHypervisor) -> None:
    guest = GuestSpec("small", 64 * MIB, touched_bytes=16 * MIB, working_set_bytes=0, dirty_bytes_per_second=0)
    await lab.start_guest("n1", guest)

    begun = time.monotonic()
    job = await lab.migrate("n1", "n2", "small", MigrationOptions(bandwidth_bytes_per_second=8 * MIB))
    await job.wait()

    assert time.monotonic() - begun > 0.9 * 16 / 8
