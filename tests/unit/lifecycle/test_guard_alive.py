"""While a guard is alive no guest stands still for longer than quoted, whenever KubeVirt suspends it and however it copies."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from support.builders import MIB, NOW, a_migration, a_migration_state, an_instance
from whimbrel.domain import naming
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.guard import attended_downtime_ms, overdue_stuns

UID = "uid-of-the-migration"
DEADLINE_S = 30
LABELS = {
    naming.LABEL_MANAGED: "true",
    naming.LABEL_PLAN_UID: "plan",
    naming.LABEL_INSTANCE_UID: "guest",
    naming.LABEL_ATTEMPT: "1",
}
RATE = 100 * MIB
LOOK_S = 0.5


class Stun:
    """A guest that KubeVirt suspends 1.0 to 1.4 s after the deadline; the start is told in whole seconds. All from NOW on."""

    def __init__(self, started_s: float, late_s: float, copy_s: float, budget_ms: int) -> None:
        self.told = NOW + timedelta(seconds=floor(started_s))
        self.suspended_s = started_s + DEADLINE_S + 1.0 + late_s
        self.arrives_s = self.suspended_s + copy_s
        self.budget_ms = budget_ms

    def sampled(self, at_s: float) -> Sequence[MigrationSample]:
        """What was sampled last: every five seconds, of the guest as it was then."""
        taken_s = at_s - at_s % 5
        left = int(max(0.0, self.arrives_s - taken_s) * RATE)
        return [MigrationSample(_at(taken_s), remaining_bytes=left, transfer_bytes_per_second=RATE)]

    def ends(self, at_s: float, seen_s: float | None, resume_s: float, samples: Sequence[MigrationSample]) -> bool:
        """Whether a guard that looks now deletes the migration."""
        instance = an_instance(migration=a_migration_state(UID, mode="Paused", started_at=self.told))
        terms = {
            naming.ANNOTATION_STUN: "Allowed",
            naming.ANNOTATION_DEADLINE_S: str(DEADLINE_S),
            naming.ANNOTATION_BUDGET_MS: str(self.budget_ms),
        }
        name = naming.migration_name("plan", "db1", "guest", 1)
        migration = a_migration(instance, name, uid=UID, labels=LABELS, annotations=terms)
        seen = {UID: _at(seen_s)} if seen_s is not None else {}
        told = {instance.key: samples}
        verdict = overdue_stuns({migration.key: migration}, {instance.key: instance}, _at(at_s), seen, told, resume_s)
        assert {delete.uid for delete in verdict.deletes} <= {UID}
        return bool(verdict.deletes)

    def stands_still_s(self, resumes_s: float, ends: Callable[[float], bool]) -> float:
        """How long, with guards that look every half second from the suspension on."""
        at_s = self.suspended_s
        while at_s < self.arrives_s:
            if ends(at_s):
                return at_s + resumes_s - self.suspended_s
            at_s += LOOK_S
        return self.arrives_s - self.suspended_s


def _at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


stuns = st.builds(Stun, st.floats(0, 10), st.floats(0, 0.4), st.floats(0.1, 200), st.integers(2000, 120_000))
resumes = st.floats(1, 30)


@given(stuns, resumes, st.floats(0, 1), st.booleans(), st.booleans())
def test_no_guest_stands_still_for_longer_than_the_attended_downtime(
    stun: Stun, resume_s: float, share: float, remembers: bool, sampling: bool
) -> None:
    """The guest runs again within the time that the guard reckons with; the guard may have been restarted."""

    def ends(at_s: float) -> bool:
        seen_s = stun.suspended_s if remembers else None
        return stun.ends(at_s, seen_s, resume_s, stun.sampled(at_s) if sampling else [])

    still_s = stun.stands_still_s(share * resume_s, ends)

    assert still_s <= attended_downtime_ms(stun.budget_ms, resume_s) / 1000 + LOOK_S


@given(stuns, resumes, resumes)
def test_of_two_guards_the_stricter_one_is_kept(stun: Stun, one_s: float, other_s: float) -> None:
    def ends(at_s: float) -> bool:
        return stun.ends(at_s, None, one_s, stun.sampled(at_s)) or stun.ends(at_s, stun.suspended_s, other_s, [])

    still_s = stun.stands_still_s(min(one_s, other_s), ends)

    assert still_s <= min(attended_downtime_ms(stun.budget_ms, each) for each in (one_s, other_s)) / 1000 + LOOK_S


@given(stuns, resumes)
def test_a_guest_that_arrives_within_its_budget_by_the_latest_begin_is_not_disturbed(
    stun: Stun, resume_s: float
) -> None:
    """Less the resume time that a long budget keeps back, and 1.4 s of which nobody knows whether the guest was suspended."""
    kept_back_ms = 1000 * resume_s if stun.budget_ms >= 2000 * resume_s else 0
    kept_back_ms = max(kept_back_ms, stun.budget_ms + 1000 * resume_s - attended_downtime_ms(stun.budget_ms))
    arrives_in_time = stun.arrives_s - stun.suspended_s < (stun.budget_ms - kept_back_ms) / 1000 - 1.4

    still_s = stun.stands_still_s(
        resume_s, lambda at_s: stun.ends(at_s, stun.suspended_s, resume_s, stun.sampled(at_s))
    )

    assert not arrives_in_time or still_s == stun.arrives_s - stun.suspended_s
