"""When moves in flight, and their plan, will have ended: what the report shows, from samples and forecasts.

Times are reckoned from the newest sample, so that they change only when there is news; and never lie in the past. Called by
`engine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.records import Key, Plan
from whimbrel.forecast import progress
from whimbrel.lifecycle.evidence import IN_FLIGHT, Evidence
from whimbrel.schedule.outlook import expected_s
from whimbrel.schedule.survey import Survey
from whimbrel.schedule.watching import arrival, watched

MAX_ACTIVE = 32
"""Moves in flight that a report shows."""
LATE_S = 2.0
"""So much after its end a migration may be told to have ended."""
LONGEST_S = 30 * 86_400.0
"""What would take longer has no arrival."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A copy in flight as last sampled. The times are None where it is not known to end."""

    sampled_at: datetime
    p50_at: datetime | None
    p90_at: datetime | None
    percent: int
    """Of what was and will be sent."""


@dataclass(frozen=True, slots=True)
class PlanArrival:
    """When the last move of a plan will have ended."""

    p50_at: datetime
    p90_at: datetime


def arrivals(plan: Plan, seen: Survey) -> Mapping[Key, Arrival]:
    """By key of the move, for the first of the plan's moves that are in flight."""
    found = dict[Key, Arrival]()
    for move in islice(seen.in_flight_of(plan), MAX_ACTIVE):
        told = _arrival(seen.evidence[move.key], seen.phases[move.key], seen)
        if told is not None:
            found[move.key] = told
    return found


def _arrival(evidence: Evidence, phase: MovePhase, seen: Survey) -> Arrival | None:
    if phase not in (MovePhase.COPYING, MovePhase.STUNNED, MovePhase.POST_COPY):
        return None
    copy = watched(evidence, seen.snapshot)
    left = arrival(copy, phase) if copy is not None else None
    if copy is None or copy.seen is None or left is None:
        return None
    at, share = copy.seen.at, progress(copy.seen.sent_bytes, left.will_send_bytes)
    p50_at, p90_at, now = _later(at, left.p50_s), _later(at, left.p90_s), seen.snapshot.now
    if p90_at is not None and p90_at + timedelta(seconds=LATE_S) < now:
        p50_at = p90_at = None  # it should have been there: of when it will be its samples tell nothing
    return Arrival(at, _no_earlier(p50_at, now), _no_earlier(p90_at, now), int(100 * share))


def _no_earlier(at: datetime | None, now: datetime) -> datetime | None:
    return None if at is None else max(at, now.replace(microsecond=0))


def plan_arrival(plan: Plan, known: Mapping[Key, Arrival], seen: Survey) -> PlanArrival | None:
    """None unless copies run that tell of their end, and everything else that is still to move has a forecast."""
    if not known:
        return None
    since = max(each.sampled_at for each in known.values())
    ways = list[tuple[str, str, float, float]]()
    for move in seen.moves_of(plan):
        evidence, phase = seen.evidence[move.key], seen.phases[move.key]
        attempt = evidence.attempt
        if attempt is None or (phase not in IN_FLIGHT and phase is not MovePhase.WAITING):
            continue
        said = attempt.forecast
        rest = _rest_s(known.get(move.key), said.duration_p50_seconds, said.duration_p90_seconds, since)
        if rest is None:
            return None
        ways.append((attempt.source_node, evidence.target_node, *rest))
    p50_at, p90_at = (_later(since, seconds) for seconds in expected_s(ways, seen.hosts))
    return None if p50_at is None or p90_at is None else PlanArrival(p50_at, p90_at)


def _rest_s(known: Arrival | None, p50_s: int | None, p90_s: int | None, since: datetime) -> tuple[float, float] | None:
    """Seconds that a move still takes, p50 and p90; of one that does not copy yet all that was expected of it."""
    if known is not None:
        if known.p50_at is None or known.p90_at is None:
            return None
        return max(0.0, (known.p50_at - since).total_seconds()), max(0.0, (known.p90_at - since).total_seconds())
    return None if p50_s is None or p90_s is None else (float(p50_s), float(p90_s))


def _later(at: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None or seconds > LONGEST_S else (at + timedelta(seconds=seconds)).replace(microsecond=0)
