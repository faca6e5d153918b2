"""The stun guard: no guest of ours stays suspended for longer than its plan accepted."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import NOW, a_migration, a_migration_state, an_instance
from whimbrel.domain.naming import (
    ANNOTATION_BUDGET_MS,
    ANNOTATION_DEADLINE_S,
    ANNOTATION_LAST_STEP_MS,
    ANNOTATION_STUN,
    LABEL_ATTEMPT,
    LABEL_INSTANCE_UID,
    LABEL_MANAGED,
    LABEL_PLAN_UID,
    migration_name,
)
from whimbrel.domain.records import Instance, Migration, MigrationConfiguration, MigrationState
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.guard import FIRST_RESUME_S, GuardVerdict, attended_downtime_ms, overdue_stuns

UID = "uid-of-the-migration"
OURS = {LABEL_MANAGED: "true", LABEL_PLAN_UID: "plan", LABEL_INSTANCE_UID: "guest", LABEL_ATTEMPT: "1"}
OUR_NAME = migration_name("plan", "db1", "guest", 1)
KUBEVIRT_SUSPENDS_NO_EARLIER_THAN_S = 1.0


def consent(deadline_s: int = 30, budget_ms: int = 5000) -> dict[str, str]:
    return {ANNOTATION_STUN: "Allowed", ANNOTATION_DEADLINE_S: str(deadline_s), ANNOTATION_BUDGET_MS: str(budget_ms)}


def judged(
    state: MigrationState,
    now: datetime,
    annotations: Mapping[str, str] | None = None,
    *,
    phase: str = "Running",
    deleting: bool = False,
    labels: Mapping[str, str] = OURS,
    name: str = OUR_NAME,
    first_seen: datetime | None = None,
    samples: Sequence[MigrationSample] = (),
    resume_s: float = FIRST_RESUME_S,
) -> GuardVerdict:
    instance: Instance = an_instance(migration=state)
    migration: Migration = a_migration(
        instance, name, uid=UID, phase=phase, deleting=deleting, labels=labels, annotations=annotations or {}
    )
    seen = {UID: first_seen} if first_seen is not None else {}
    told = {instance.key: samples}
    return overdue_stuns({migration.key: migration}, {instance.key: instance}, now, seen, told, resume_s)


def paused(started_at: datetime | None = NOW) -> MigrationState:
    return a_migration_state(UID, mode="Paused", started_at=started_at)


budgets = st.integers(2000, 600_000)
deadlines = st.integers(1, 300)  # the effective configuration of these migrations has 300 s
resumes = st.floats(1, 30)
starts = st.integers(-100_000, 100_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(starts, deadlines, budgets, resumes)
def test_with_the_guard_alive_a_guest_runs_again_within_the_attended_downtime(
    started_at: datetime, deadline_s: int, budget_ms: int, resume_s: float
) -> None:
    terms = consent(deadline_s, budget_ms)
    suspended_at = started_at + timedelta(seconds=deadline_s + KUBEVIRT_SUSPENDS_NO_EARLIER_THAN_S)

    verdict = judged(paused(started_at), suspended_at, terms, resume_s=resume_s)

    if verdict.deletes:  # the guest will take longer to run again than the whole pause that was quoted
        assert 1000 * resume_s >= attended_downtime_ms(budget_ms)
        return
    assert verdict.wake_after_s is not None
    abort_at = suspended_at + timedelta(seconds=verdict.wake_after_s, microseconds=1)
    assert judged(paused(started_at), abort_at, terms, resume_s=resume_s).deletes
    stood_still_s = (abort_at - suspended_at).total_seconds() + resume_s
    quoted_ms = min(attended_downtime_ms(budget_ms, resume_s), attended_downtime_ms(budget_ms))
    assert stood_still_s <= max(quoted_ms, 1000 * resume_s) / 1000 + 1e-5


@given(budgets, resumes)
def test_a_budget_of_twice_the_resume_time_holds_even_for_a_cut(budget_ms: int, resume_s: float) -> None:
    attended_ms = attended_downtime_ms(budget_ms, resume_s)

    if budget_ms >= 2000 * resume_s:
        assert attended_ms == budget_ms
    else:
        assert attended_ms - 1 < budget_ms + 1000 * resume_s <= attended_ms


def test_the_quote_reckons_with_three_seconds_until_a_guest_runs_again() -> None:
    assert [attended_downtime_ms(budget) for budget in (2000, 5999, 6000, 60_000)] == [5000, 8999, 6000, 60_000]


@given(starts, deadlines, budgets, resumes, st.integers(0, 10_000_000))
def test_a_stun_that_was_consented_to_is_never_cut_short_before_its_time(
    started_at: datetime, deadline_s: int, budget_ms: int, resume_s: float, early_ms: int
) -> None:
    copied_ms = budget_ms - 1000 * resume_s if budget_ms >= 2000 * resume_s else budget_ms
    # A guest that takes longer to run again than was quoted is cut as much earlier.
    copied_ms = max(0.0, min(copied_ms, attended_downtime_ms(budget_ms) - 1000 * resume_s))
    last_moment = started_at + timedelta(seconds=deadline_s + 1, milliseconds=copied_ms)

    verdict = judged(
        paused(started_at),
        last_moment - timedelta(milliseconds=early_ms + 1),
        consent(deadline_s, budget_ms),
        resume_s=resume_s,
    )

    assert verdict.deletes == ()
    assert verdict.wake_after_s is not None
    assert verdict.wake_after_s > 0


def test_a_budget_of_two_seconds_leaves_the_guest_two_seconds_to_arrive() -> None:
    suspended_at = NOW + timedelta(seconds=31)

    assert judged(paused(), suspended_at + timedelta(seconds=1.9), consent(30, 2000)).deletes == ()
    assert judged(paused(), suspended_at + timedelta(seconds=2), consent(30, 2000)).deletes


@given(starts, st.integers(-1_000_000, 1_000_000))
def test_a_suspension_without_consent_ends_at_once_whatever_the_clocks_say(started_at: datetime, seconds: int) -> None:
    verdict = judged(paused(started_at), NOW + timedelta(seconds=seconds))

    assert [delete.uid for delete in verdict.deletes] == [UID]


@given(
    st.sampled_from(["PreCopy", "PostCopy", ""]),
    st.integers(0, 10_000_000),
    st.sampled_from([{}, consent(), consent(1, 2000)]),
)
def test_only_a_suspended_guest_is_cut_short_and_never_one_in_post_copy(
    mode: str, seconds: int, annotations: dict[str, str]
) -> None:
    verdict = judged(a_migration_state(UID, mode=mode), NOW + timedelta(seconds=seconds), annotations)

    assert verdict.deletes == ()
    assert mode != "PostCopy" or verdict == GuardVerdict((), None)


@pytest.mark.parametrize(
    "broken",
    [
        {ANNOTATION_STUN: "Never"},
        {ANNOTATION_DEADLINE_S: "soon"},
        {ANNOTATION_DEADLINE_S: "-5"},
        {ANNOTATION_BUDGET_MS: ""},
        {ANNOTATION_BUDGET_MS: "5s"},
    ],
)
def test_a_consent_that_cannot_be_read_is_none(broken: dict[str, str]) -> None:
    assert judged(paused(), NOW, {**consent(), **broken}).deletes


def test_a_suspension_whose_begin_cannot_be_told_ends_at_once() -> None:
    assert judged(paused(started_at=None), NOW, consent()).deletes


@pytest.mark.parametrize(
    "state",
    [
        a_migration_state("of-another-migration", mode="Paused"),
        a_migration_state(UID, mode="Paused", completed=True),
        a_migration_state(UID, mode="Paused", abort_requested=True),
    ],
)
def test_what_is_over_or_not_of_this_migration_or_being_aborted_already_is_left(state: MigrationState) -> None:
    assert judged(state, NOW + timedelta(hours=1)).deletes == ()


def test_somebody_elses_migration_is_never_touched() -> None:
    assert judged(paused(), NOW + timedelta(hours=1), labels={}).deletes == ()


def test_a_migration_that_ends_already_is_not_deleted_again() -> None:
    assert judged(paused(), NOW + timedelta(hours=1), deleting=True).deletes == ()
    assert judged(paused(), NOW + timedelta(hours=1), phase="Failed").deletes == ()


def test_the_guard_holds_after_a_restart_because_all_that_it_needs_stands_on_the_migration() -> None:
    late = NOW + timedelta(seconds=30 + 1 + 5)

    before, after = (
        judged(paused(), late - timedelta(seconds=1), consent(30, 8000)),
        judged(paused(), late, consent(30, 8000)),
    )

    assert (before.deletes, before.wake_after_s) == ((), 1.0)
    assert len(after.deletes) == 1


def test_the_guard_wakes_for_the_first_of_several() -> None:
    first, second = an_instance("a", migration=paused()), an_instance("b", migration=paused())
    migrations = [
        a_migration(
            instance,
            migration_name("plan", instance.key.name, "guest", 1),
            uid=UID,
            labels=OURS,
            annotations=consent(30, budget),
        )
        for instance, budget in ((first, 10_000), (second, 6000))
    ]

    verdict = overdue_stuns(
        {m.key: m for m in migrations}, {i.key: i for i in (first, second)}, NOW + timedelta(seconds=31)
    )

    assert (verdict.deletes, verdict.wake_after_s) == ((), 3.0)


def test_a_guest_that_is_gone_needs_no_guard() -> None:
    migration = a_migration(an_instance(), uid=UID, labels={LABEL_MANAGED: "true"})

    assert overdue_stuns({migration.key: migration}, {}, NOW) == GuardVerdict((), None)


@given(starts, deadlines, budgets, st.integers(0, 100_000))
def test_a_pause_that_was_seen_before_it_could_be_computed_is_cut_short_in_time(
    started_at: datetime, deadline_s: int, budget_ms: int, early_s: int
) -> None:
    seen = started_at + timedelta(seconds=deadline_s + KUBEVIRT_SUSPENDS_NO_EARLIER_THAN_S - early_s)

    at_the_latest = seen + timedelta(milliseconds=attended_downtime_ms(budget_ms) - FIRST_RESUME_S * 1000)
    verdict = judged(paused(started_at), max(at_the_latest, seen), consent(deadline_s, budget_ms), first_seen=seen)

    assert [delete.uid for delete in verdict.deletes] == [UID]


def test_a_shorter_effective_deadline_moves_the_earliest_pause() -> None:
    shorter = MigrationConfiguration(completion_timeout_per_gib=8, allow_workload_disruption=True)
    state = a_migration_state(UID, mode="Paused", started_at=NOW, configuration=shorter)

    verdict = judged(state, NOW + timedelta(seconds=30), consent(300, 5000))

    assert [delete.uid for delete in verdict.deletes] == [UID]


def test_a_pause_that_is_due_and_that_the_watch_has_not_told_of_is_looked_for_live() -> None:
    copying = a_migration_state(UID, mode="PreCopy", started_at=NOW)

    early = judged(copying, NOW + timedelta(seconds=30), consent(30, 5000))
    due = judged(copying, NOW + timedelta(seconds=31), consent(30, 5000))

    assert early.reads == ()
    assert [str(key) for key in due.reads] == ["default/db1"]
    assert due.wake_after_s == 1.0


def test_a_migration_that_merely_carries_our_label_is_nobodys_business() -> None:
    verdict = judged(paused(), NOW + timedelta(seconds=600), consent(30, 5000), name="by-hand")

    assert verdict.deletes == ()


LAST_STEP = {ANNOTATION_LAST_STEP_MS: "300", ANNOTATION_DEADLINE_S: "30"}


def test_the_hypervisors_last_step_under_stall_detection_is_let_be_for_as_long_as_it_may_take() -> None:
    seen = NOW + timedelta(seconds=12)

    soon = judged(paused(), seen + timedelta(seconds=3), LAST_STEP, first_seen=seen)

    assert soon.deletes == ()
    assert soon.suspended == (UID,)


def test_a_pause_under_stall_detection_that_is_no_last_step_ends() -> None:
    """As where KubeVirt's stall detection was switched off before the copy began: then it suspends after all."""
    seen = NOW + timedelta(seconds=31)

    assert judged(paused(), seen + timedelta(seconds=20), LAST_STEP, first_seen=seen).deletes


def test_a_stun_under_stall_detection_that_turns_out_a_suspension_is_cut_short_within_its_budget() -> None:
    told = {**consent(30, 5000), ANNOTATION_LAST_STEP_MS: "300"}

    assert judged(paused(), NOW + timedelta(seconds=32), told).deletes == ()
    assert judged(paused(), NOW + timedelta(seconds=37), told).deletes
