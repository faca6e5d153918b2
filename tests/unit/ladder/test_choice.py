"""The choice of the rung: gentle first, one higher after each attempt that did not converge."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from whimbrel.api.migration_plan import Disruption, Permission
from whimbrel.api.virtual_machine_move import AttemptOutcome, AttemptRecord, Rung
from whimbrel.domain.quantities import MIB
from whimbrel.ladder import Load, next_offer, offers

GIB = 1024**3
BOTH = offers(
    Load(2 * GIB, 596 * MIB),
    Disruption(stun=Permission.ALLOWED, max_downtime_ms=5000, unattended_downtime_ms=60_000),
)
GENTLE = BOTH[:1]


def history(*ends: tuple[Rung, str]) -> tuple[AttemptRecord, ...]:
    return tuple(
        AttemptRecord(number=number, rung=rung, outcome=AttemptOutcome.FAILED, reason=reason)
        for number, (rung, reason) in enumerate(ends, 1)
    )


def test_the_first_attempt_is_the_gentlest() -> None:
    assert next_offer(BOTH, ()).rung == Rung.PRE_COPY


def test_what_did_not_converge_is_tried_harder() -> None:
    assert next_offer(BOTH, history((Rung.PRE_COPY, "NotConverged"))).rung == Rung.STUN


def test_what_failed_for_another_reason_is_tried_again_as_it_was() -> None:
    assert next_offer(BOTH, history((Rung.PRE_COPY, "TargetNotPrepared"))).rung == Rung.PRE_COPY
    assert next_offer(BOTH, history((Rung.STUN, "MigrationFailed"))).rung == Rung.STUN


def test_there_is_nothing_harder_than_the_last_rung() -> None:
    assert next_offer(BOTH, history((Rung.STUN, "NotConverged"))).rung == Rung.STUN
    assert next_offer(GENTLE, history((Rung.PRE_COPY, "NotConverged"))).rung == Rung.PRE_COPY


def test_a_rung_whose_consent_was_taken_back_is_left() -> None:
    assert next_offer(GENTLE, history((Rung.STUN, "MigrationFailed"))).rung == Rung.PRE_COPY


ends = st.lists(
    st.tuples(st.sampled_from(list(Rung)), st.sampled_from(["NotConverged", "MigrationFailed", "NameTaken"])),
    max_size=10,
)


@given(ends, st.sampled_from([BOTH, GENTLE]))
def test_only_what_is_offered_is_ever_chosen(past: Sequence[tuple[Rung, str]], available: tuple[object, ...]) -> None:
    assert next_offer(available, history(*past)) in available  # type: ignore[arg-type]
