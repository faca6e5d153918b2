"""The stun guard acts ahead of time where the samples of the copy foretell a pause beyond the budget, and only there."""

from collections.abc import Sequence
from datetime import timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import MIB, NOW, a_migration, a_migration_state, an_instance
from whimbrel.domain import naming
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.guard import GuardVerdict, overdue_stuns
from whimbrel.lifecycle.pause_estimate import estimated_pause_s

LABELS = {
    naming.LABEL_MANAGED: "true",
    naming.LABEL_PLAN_UID: "plan",
    naming.LABEL_INSTANCE_UID: "guest",
    naming.LABEL_ATTEMPT: "1",
}
UID = "uid-of-the-migration"
DEADLINE_S = 30
BEGAN = NOW + timedelta(seconds=DEADLINE_S + 1)
"""The earliest that KubeVirt can have suspended the guest."""
BUDGET_MS = 20_000


def sampled(
    at_s: float, remaining: int | None, rate: int | None = None, processed: int | None = None
) -> MigrationSample:
    """A sample of so many seconds after the suspension began at the earliest."""
    return MigrationSample(
        BEGAN + timedelta(seconds=at_s),
        processed_bytes=processed,
        remaining_bytes=remaining,
        transfer_bytes_per_second=rate,
    )


def looked(at_s: float, *samples: MigrationSample, budget_ms: int = BUDGET_MS, resume_s: float = 3.0) -> GuardVerdict:
    """What the guard says so many seconds after the suspension began at the earliest."""
    instance = an_instance(migration=a_migration_state(UID, mode="Paused", started_at=NOW))
    terms = {
        naming.ANNOTATION_STUN: "Allowed",
        naming.ANNOTATION_DEADLINE_S: str(DEADLINE_S),
        naming.ANNOTATION_BUDGET_MS: str(budget_ms),
    }
    name = naming.migration_name("plan", "db1", "guest", 1)
    migration = a_migration(instance, name, uid=UID, labels=LABELS, annotations=terms)
    now = BEGAN + timedelta(seconds=at_s)
    return overdue_stuns(
        {migration.key: migration}, {instance.key: instance}, now, {}, {instance.key: samples}, resume_s
    )


def test_a_pause_that_the_samples_foretell_beyond_the_budget_ends_at_once() -> None:
    verdict = looked(4, sampled(3, remaining=2000 * MIB, rate=100 * MIB))

    assert [delete.uid for delete in verdict.deletes] == [UID]
    assert "23.0 s" in verdict.deletes[0].why
    assert "20 s" in verdict.deletes[0].why


def test_a_pause_that_the_samples_foretell_within_the_budget_goes_on() -> None:
    assert looked(4, sampled(3, remaining=1500 * MIB, rate=100 * MIB)).deletes == ()


def test_a_guest_that_arrives_sooner_than_it_would_run_again_is_let_be() -> None:
    half_a_second_too_long = sampled(2, remaining=350 * MIB, rate=100 * MIB)

    assert looked(3, half_a_second_too_long, budget_ms=5000, resume_s=3).deletes == (), (
        "2.5 s to the end, 3 s for an abort"
    )
    assert looked(3, half_a_second_too_long, budget_ms=5000, resume_s=1).deletes


def test_the_hard_limit_holds_whatever_the_samples_promise() -> None:
    assert looked(17, sampled(15, remaining=MIB, rate=100 * MIB)).deletes


@pytest.mark.parametrize("at_s", [-100.0, -1.0, 0.0, 1.3])
def test_samples_from_before_the_suspension_say_nothing(at_s: float) -> None:
    assert looked(4, sampled(at_s, remaining=9000 * MIB, rate=MIB)).deletes == ()


def test_a_sample_from_the_future_says_nothing() -> None:
    assert looked(4, sampled(60, remaining=9000 * MIB, rate=MIB)).deletes == ()


@pytest.mark.parametrize(
    "sample",
    [
        sampled(3, remaining=None, rate=MIB),
        sampled(3, remaining=9000 * MIB),
        sampled(3, remaining=9000 * MIB, rate=0),
        sampled(3, remaining=-1, rate=MIB),
        sampled(3, remaining=10**400, rate=MIB),
        sampled(3, remaining=9000 * MIB, rate=-5),
    ],
)
def test_a_sample_that_makes_no_sense_leaves_the_hard_limit(sample: MigrationSample) -> None:
    assert looked(4, sample) == looked(4)


def test_the_rate_between_two_samples_does_where_none_is_told() -> None:
    samples = [sampled(2, remaining=3000 * MIB, processed=0), sampled(7, remaining=2500 * MIB, processed=500 * MIB)]

    assert estimated_pause_s(BEGAN, BEGAN, samples, BEGAN + timedelta(seconds=8)) == pytest.approx(7 + 25, abs=0.1)


def test_a_rate_that_dropped_for_an_instant_does_not_end_a_stun() -> None:
    samples = [
        sampled(2, remaining=1000 * MIB, rate=100 * MIB, processed=0),
        sampled(7, remaining=500 * MIB, rate=MIB, processed=500 * MIB),
    ]

    assert looked(8, *samples).deletes == ()


def test_a_copy_that_stands_still_ends_the_pause_at_once() -> None:
    samples = [sampled(2, remaining=1000 * MIB, rate=0, processed=MIB), sampled(7, 1000 * MIB, rate=0, processed=MIB)]

    assert estimated_pause_s(BEGAN, BEGAN, samples, BEGAN + timedelta(seconds=8)) == inf
    assert looked(8, *samples).deletes


counts = st.none() | st.integers(-(10**30), 10**30)
odd_samples = st.lists(
    st.builds(sampled, st.floats(-1e6, 1e6), remaining=counts, rate=counts, processed=counts), max_size=3
)


@given(odd_samples, st.floats(0, 100), st.integers(2000, 600_000), st.floats(1, 30))
def test_absurd_samples_never_raise_and_never_put_off_the_end(
    samples: Sequence[MigrationSample], at_s: float, budget_ms: int, resume_s: float
) -> None:
    with_samples = looked(at_s, *samples, budget_ms=budget_ms, resume_s=resume_s)
    without = looked(at_s, budget_ms=budget_ms, resume_s=resume_s)

    assert len(with_samples.deletes) >= len(without.deletes)


@given(
    st.floats(0, 1.4),
    st.floats(1, 400),
    st.integers(2000, 300_000),
    st.floats(1, 30),
    st.floats(0.1, 1.0),
    st.floats(0, 5),
)
def test_samples_only_shorten_a_pause(
    late_s: float, copy_s: float, budget_ms: int, resume_s: float, share: float, age_s: float
) -> None:
    """A guest of 100 MiB/s, suspended `late_s` after the earliest begin with so much left, looked at each second."""

    def ends_at(sampling: bool) -> float:
        at_s = late_s
        while at_s < late_s + copy_s:
            taken_s = max(late_s, at_s - age_s)
            left = int(max(0.0, late_s + copy_s - taken_s) * 100 * MIB)
            told = [sampled(taken_s, left, rate=100 * MIB)] if sampling else []
            if looked(at_s, *told, budget_ms=budget_ms, resume_s=resume_s).deletes:
                return at_s + resume_s
            at_s += share
        return late_s + copy_s

    assert ends_at(sampling=True) <= ends_at(sampling=False) + share + 0.2
