"""The model hypervisor behaves like libvirt and QEMU as far as KubeVirt's parts and the demo's report can see."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from whimbrel_lab.clock import LabClock
from whimbrel_lab.hypervisor import GuestSpec, GuestState, HostSpec, Hypervisor, HypervisorError, MigrationOptions
from whimbrel_lab.hypervisor.model import ModelHypervisor

MIB = 1024 * 1024
SCALE = 200.0
QUIET = GuestSpec("quiet", 512 * MIB, 512 * MIB, 0, 0)
BUSY = GuestSpec("busy", 512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)


@pytest.fixture
def clock() -> LabClock:
    return LabClock(scale=SCALE)


@pytest.fixture
async def hypervisor(clock: LabClock) -> AsyncIterator[ModelHypervisor]:
    made = ModelHypervisor([HostSpec(name, 64 * MIB) for name in ("one", "two", "three")], clock)
    await made.start()
    yield made
    await made.stop()


def test_it_is_a_hypervisor(clock: LabClock) -> None:
    model: Hypervisor = ModelHypervisor([], clock)

    assert model is not None


async def test_a_quiet_guest_arrives_and_is_gone_from_its_source(hypervisor: ModelHypervisor, clock: LabClock) -> None:
    await hypervisor.start_guest("one", QUIET)
    began = clock.monotonic()

    job = await hypervisor.migrate("one", "two", "quiet", MigrationOptions())
    assert await hypervisor.guest_state("two", "quiet") is GuestState.INCOMING
    outcome = await job.wait()

    assert outcome.completed
    assert clock.monotonic() - began >= 8.0
    assert await hypervisor.guest_state("one", "quiet") is GuestState.ABSENT
    assert await hypervisor.guest_state("two", "quiet") is GuestState.RUNNING
    assert await job.progress() is None
    beats = await hypervisor.beats("quiet")
    assert 0 < beats.longest_gap_ms < 100
    assert beats.restarts == 0


async def test_progress_counts_up_to_the_memory_and_the_cap_holds(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", QUIET)

    job = await hypervisor.migrate("one", "two", "quiet", MigrationOptions(bandwidth_bytes_per_second=16 * MIB))
    progress = await job.progress()

    assert progress is not None
    assert progress.total_bytes == 512 * MIB
    assert progress.transfer_bytes_per_second == 16 * MIB
    assert progress.remaining_bytes is not None
    assert progress.remaining_bytes <= 512 * MIB


async def test_a_suspended_guest_moves_and_its_beats_show_the_pause(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", BUSY)
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions())
    await clock.sleep(12)

    await job.suspend()
    assert await hypervisor.guest_state("one", "busy") is GuestState.PAUSED
    outcome = await job.wait()

    assert outcome.completed
    assert 700 <= (await hypervisor.beats("busy")).longest_gap_ms <= 2100


async def test_a_raised_downtime_limit_moves_a_guest_that_would_not_move_by_itself(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", BUSY)
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions())
    await clock.sleep(30)
    before = await job.progress()

    await job.limit_downtime(1200)
    outcome = await job.wait()

    assert before is not None
    assert before.stopped is False
    assert outcome.completed
    assert 900 <= (await hypervisor.beats("busy")).longest_gap_ms <= 1300


async def test_while_a_raised_limit_holds_the_guest_it_is_stopped_and_an_abort_comes_too_late(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", BUSY)
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions(bandwidth_bytes_per_second=4 * MIB))
    await hypervisor.set_link("two", MIB)

    await job.limit_downtime(2_000_000)
    progress = await job.progress()
    state = await hypervisor.guest_state("one", "busy")
    await job.abort()
    await hypervisor.set_link("two", 1000 * MIB)
    outcome = await job.wait()

    assert progress is not None
    assert progress.stopped
    assert state is GuestState.PAUSED
    assert (outcome.completed, outcome.aborted) == (True, False)


async def test_progress_says_what_the_round_began_with(hypervisor: ModelHypervisor, clock: LabClock) -> None:
    await hypervisor.start_guest("one", BUSY)
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions())

    first = await job.progress()
    await clock.sleep(20)
    later = await job.progress()

    assert first is not None
    assert later is not None
    assert (first.iteration, first.round_bytes) == (1, 512 * MIB)
    assert later.iteration is not None
    assert later.iteration > 2
    assert later.round_bytes == 64 * MIB


async def test_a_compressed_migration_is_over_sooner_by_the_guests_own_ratio(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", replace(QUIET, zstd_ratio=4.0))
    began = clock.monotonic()

    await (await hypervisor.migrate("one", "two", "quiet", MigrationOptions(zstd=True))).wait()

    assert 2.0 <= clock.monotonic() - began < 6.0


async def test_an_abort_lets_a_suspended_guest_run_again_on_its_source_after_one_to_two_seconds(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", BUSY)
    job = await hypervisor.migrate("one", "two", "busy", MigrationOptions(bandwidth_bytes_per_second=8 * MIB))
    await clock.sleep(1)
    await job.suspend()

    await job.abort()
    assert await hypervisor.guest_state("one", "busy") is GuestState.PAUSED
    assert await hypervisor.guest_state("two", "busy") is GuestState.ABSENT
    outcome = await job.wait()

    assert (outcome.completed, outcome.aborted) == (False, True)
    assert await hypervisor.guest_state("one", "busy") is GuestState.RUNNING
    assert (await hypervisor.beats("busy")).longest_gap_ms >= 1200


async def test_the_resume_after_an_abort_takes_as_long_in_every_run_of_the_same_seed() -> None:
    async def resume_ms(seed: int) -> float:
        clock = LabClock(scale=SCALE)
        model = ModelHypervisor([HostSpec("one", 8 * MIB), HostSpec("two", 8 * MIB)], clock, seed=seed)
        await model.start_guest("one", BUSY)
        job = await model.migrate("one", "two", "busy", MigrationOptions())
        await job.abort()
        before = clock.monotonic()
        await job.wait()
        await model.stop()
        return clock.monotonic() - before

    first, again = await resume_ms(3), await resume_ms(3)

    assert min(first, again) >= 1.1
    assert abs(first - again) < 0.05 * SCALE


async def test_post_copy_goes_on_at_the_target_and_cannot_be_aborted(
    hypervisor: ModelHypervisor, clock: LabClock
) -> None:
    await hypervisor.start_guest("one", BUSY)
    options = MigrationOptions(bandwidth_bytes_per_second=8 * MIB, allow_post_copy=True)
    job = await hypervisor.migrate("one", "two", "busy", options)
    await job.start_post_copy()

    assert await hypervisor.guest_state("two", "busy") is GuestState.RUNNING
    with pytest.raises(HypervisorError, match="post-copy cannot be aborted"):
        await job.abort()
    outcome = await job.wait()

    assert outcome.completed
    assert (await hypervisor.beats("busy")).longest_gap_ms < 100


async def test_post_copy_is_refused_where_the_machine_cannot(clock: LabClock) -> None:
    model = ModelHypervisor([HostSpec("one", MIB), HostSpec("two", MIB)], clock, can_post_copy=False)
    await model.start_guest("one", BUSY)
    job = await model.migrate("one", "two", "busy", MigrationOptions(allow_post_copy=True))

    with pytest.raises(HypervisorError, match="Postcopy is not supported"):
        await job.start_post_copy()

    await model.stop()
    assert not (await job.wait()).completed


async def test_an_injected_failure_ends_the_next_migration_only(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", QUIET)
    hypervisor.fail_next("quiet", "unable to connect to server: Connection refused", after_s=2.0)

    first = await (await hypervisor.migrate("one", "two", "quiet", MigrationOptions())).wait()
    second = await (await hypervisor.migrate("one", "two", "quiet", MigrationOptions())).wait()

    assert (first.completed, first.aborted, first.reason) == (
        False,
        False,
        "unable to connect to server: Connection refused",
    )
    assert second.completed


async def test_refusals_name_guest_and_host(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", QUIET)

    with pytest.raises(HypervisorError, match="quiet: no such domain on host two"):
        await hypervisor.migrate("two", "one", "quiet", MigrationOptions())
    with pytest.raises(HypervisorError, match="host nowhere cannot be a target"):
        await hypervisor.migrate("one", "nowhere", "quiet", MigrationOptions())
    with pytest.raises(HypervisorError, match="runs already, on one"):
        await hypervisor.start_guest("two", QUIET)
    await hypervisor.migrate("one", "two", "quiet", MigrationOptions())
    with pytest.raises(HypervisorError, match="another migration job"):
        await hypervisor.migrate("one", "three", "quiet", MigrationOptions())


async def test_stopping_the_target_ends_the_migration_and_leaves_the_guest_on_its_source(
    hypervisor: ModelHypervisor,
) -> None:
    await hypervisor.start_guest("one", QUIET)
    job = await hypervisor.migrate("one", "two", "quiet", MigrationOptions())

    await hypervisor.stop_guest("two", "quiet")

    assert not (await job.wait()).completed
    assert await hypervisor.guest_state("one", "quiet") is GuestState.RUNNING


async def test_stopping_the_guest_ends_its_migration(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", QUIET)
    job = await hypervisor.migrate("one", "two", "quiet", MigrationOptions())

    await hypervisor.stop_guest("one", "quiet")

    assert not (await job.wait()).completed
    with pytest.raises(HypervisorError, match="no such guest"):
        await hypervisor.beats("quiet")


async def test_the_dirty_rate_is_what_one_second_of_sampling_shows(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", BUSY)

    assert await hypervisor.dirty_rate("one", "busy") == 64 * MIB
    assert await hypervisor.dirty_rate("two", "busy") is None


async def test_resident_memory_is_what_is_not_zero_also_while_the_guest_migrates(hypervisor: ModelHypervisor) -> None:
    await hypervisor.start_guest("one", BUSY)
    await hypervisor.migrate("one", "two", "busy", MigrationOptions())

    assert await hypervisor.resident_bytes("one", "busy") == BUSY.touched_bytes
    assert await hypervisor.resident_bytes("two", "busy") is None


async def test_a_thousand_guests_migrate_two_at_a_time_without_ticking() -> None:
    clock = LabClock(scale=20000.0)
    names = [f"host-{n}" for n in range(50)]
    model = ModelHypervisor([HostSpec(name, 1000 * MIB) for name in names], clock)
    for n in range(1000):
        await model.start_guest(names[n % 25], GuestSpec(f"vm-{n}", 1024 * MIB, 512 * MIB, 8 * MIB, 4 * MIB))

    async def move(n: int) -> bool:
        job = await model.migrate(names[n % 25], names[25 + n % 25], f"vm-{n}", MigrationOptions())
        return (await job.wait()).completed

    for first in range(0, 1000, 50):
        assert all(await asyncio.gather(*(move(n) for n in range(first, first + 50))))
    await model.stop()
