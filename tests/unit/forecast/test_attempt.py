"""One attempt under KubeVirt's time budget, against the fluid model under KubeVirt's convergence monitor."""

import random

import pytest

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import AtDeadline, DirtyCurve, Disks, Ending, Terms, deadline_seconds
from whimbrel.forecast.attempt import EARLIEST_ACT_S, LATEST_ACT_S, attempt
from whimbrel.forecast.path import Pace
from whimbrel.forecast.pre_copy import first_round_bytes
from whimbrel.simulation.fluid import Memory, Stage
from whimbrel.simulation.kubevirt.monitor import Rules
from whimbrel_lab.bench.oracle import Case, migrate

BUSY = DirtyCurve(200.0 * MIB, 400.0 * MIB)
PACE = Pace(100.0 * MIB, 1000.0 * MIB)
FIRST = 1000.0 * MIB


def test_an_attempt_that_does_not_end_is_aborted_after_its_deadline() -> None:
    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s=60))

    assert run.ending is Ending.ABORTED
    assert 60 + EARLIEST_ACT_S <= run.seconds <= 60 + LATEST_ACT_S
    assert run.wire_bytes == pytest.approx(61.4 * 100 * MIB)
    assert run.downtime_bound_s == 0


def test_without_a_deadline_it_never_ends() -> None:
    assert attempt(FIRST, BUSY, PACE, Terms()).ending is Ending.NEVER


def test_a_suspended_guest_waits_for_what_is_left_and_what_it_dirtied_at_the_capped_rate() -> None:
    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s=60, at_deadline=AtDeadline.SUSPEND))

    assert run.ending is Ending.STUNNED
    assert 3.0 < run.seconds - 61 < 4.0
    assert 4.0 <= run.downtime_bound_s < 4.1  # a whole round of 200 MiB, and the working set of 200 MiB


def test_a_stun_that_takes_longer_than_another_deadline_is_aborted_with_the_guest_suspended_all_the_while() -> None:
    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s=2, at_deadline=AtDeadline.SUSPEND))

    assert run.ending is Ending.STUN_ABORTED
    assert run.downtime_bound_s >= 2 + 2.1
    assert run.wire_bytes <= (2 + 1.4 + 2) * 100 * MIB


def test_no_cap_holds_after_the_switch_to_post_copy() -> None:
    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s=60, at_deadline=AtDeadline.POST_COPY))

    assert run.ending is Ending.POST_COPIED
    assert run.seconds < 61.2 + 0.5
    assert run.downtime_bound_s < 0.1


def test_with_a_passed_through_device_the_pause_is_at_the_uncapped_rate() -> None:
    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s=60, at_deadline=AtDeadline.RAISE_DOWNTIME))

    assert run.ending is Ending.STUNNED
    assert run.downtime_bound_s < 0.5


def test_local_disks_are_copied_before_memory_and_take_from_the_deadline() -> None:
    quiet = DirtyCurve(0, 0)
    disks = Disks(5000.0 * MIB, 100.0 * MIB, 50.0 * MIB)

    with_them = attempt(FIRST, quiet, PACE, Terms(), disks)
    too_late = attempt(FIRST, quiet, PACE, Terms(deadline_s=105), disks)
    not_even_begun = attempt(FIRST, quiet, PACE, Terms(deadline_s=50), disks)

    assert with_them.seconds == pytest.approx(100 + 10, rel=0.01)
    assert with_them.wire_bytes == pytest.approx((10_000 + 1000) * MIB)
    assert too_late.ending is not_even_begun.ending is Ending.ABORTED
    assert not_even_begun.wire_bytes == pytest.approx(51.4 * 100 * MIB)


@pytest.mark.parametrize("at_deadline", list(AtDeadline))
@pytest.mark.parametrize("deadline_s", [0.0, 30.0])
def test_disks_written_as_fast_as_copied_never_arrive(at_deadline: AtDeadline, deadline_s: float) -> None:
    disks = Disks(5000.0 * MIB, 100.0 * MIB, 100.0 * MIB)

    run = attempt(FIRST, BUSY, PACE, Terms(deadline_s, at_deadline), disks)

    assert run.ending is not Ending.IN_TIME
    assert (run.ending is Ending.NEVER) == (deadline_s == 0 or at_deadline is AtDeadline.POST_COPY)
    assert run.downtime_bound_s < 33


@pytest.mark.parametrize(
    ("per_gib", "memory", "deadline_s"), [(150, 128 * MIB, 150), (150, 64 << 30, 10_350), (0, 1, 0)]
)
def test_the_deadline_is_kubevirts_seconds_times_started_billions_of_bytes(
    per_gib: int, memory: int, deadline_s: int
) -> None:
    assert deadline_seconds(per_gib, memory) == deadline_s


def test_attempts_end_as_the_fluid_model_ends_them_and_no_guest_stands_still_for_longer() -> None:
    dice, compared = random.Random(11), dict.fromkeys(Ending, 0)
    for _ in range(300):
        size = MIB * 2 ** dice.uniform(9, 14)
        rate = MIB * 2 ** dice.uniform(5, 10)
        memory = Memory(size, size * 0.8, size * 0.8 * 2 ** dice.uniform(-6, 0), rate * 2 ** dice.uniform(-3, 3))
        case = Case(memory, rate, 4 * rate, 1.0, rate, 0.0)
        deadline_s = max(1, round(size / rate * dice.uniform(0.5, 4)))
        at_deadline = dice.choice((AtDeadline.ABORT, AtDeadline.SUSPEND, AtDeadline.POST_COPY))
        rules = Rules(
            deadline_s,
            allow_workload_disruption=at_deadline is not AtDeadline.ABORT,
            allow_post_copy=at_deadline is AtDeadline.POST_COPY,
        )

        fact = migrate(case, rate, rules, dice.uniform(0, 0.4)).copy
        curve = DirtyCurve(memory.working_set_bytes, memory.dirty_bytes_per_second)
        first = first_round_bytes(memory.size_bytes, memory.touched_bytes)
        run = attempt(first, curve, Pace(rate, 4 * rate), Terms(deadline_s, at_deadline))

        if abs(fact.elapsed_s - deadline_s - 1.2) < 0.5 and run.ending is not Ending.ABORTED:
            continue  # at the very deadline both are right
        compared[run.ending] += 1
        assert run.seconds == pytest.approx(fact.elapsed_s, rel=0.3, abs=0.5)
        assert (run.ending in {Ending.ABORTED, Ending.STUN_ABORTED}) == (fact.stage is not Stage.DONE) or (
            fact.suspended and abs(fact.blackout_s - deadline_s) < 0.5 * deadline_s
        )
        assert fact.blackout_s <= run.downtime_bound_s + 0.001 or run.ending is Ending.IN_TIME
    assert all(compared[ending] >= 5 for ending in (Ending.IN_TIME, Ending.ABORTED, Ending.STUNNED, Ending.POST_COPIED))
