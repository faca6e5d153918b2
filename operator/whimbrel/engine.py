"""One tick: from a snapshot of the cluster to all writes that it calls for.

Pure: no clock, no I/O, no randomness; the same snapshot gives the same decisions, whatever its order. Called by
`runtime.loop`, by what-if questions and by the simulation alike.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from whimbrel.api.migration_plan import FINALIZER, MigrationPlanStatus, WaitSummary
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.decision import Announcement, Decisions, HostOutlook, Write
from whimbrel.domain.records import Key, Plan
from whimbrel.domain.resources import Resource
from whimbrel.inventory.hosts import profile_coverage
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import IN_FLIGHT
from whimbrel.lifecycle.needs import LookAgain
from whimbrel.preflight import Findings, findings
from whimbrel.preflight.undeclared import wanted
from whimbrel.schedule.admit import Held, Start, admit
from whimbrel.schedule.candidate import Circumstances, Wait
from whimbrel.schedule.coming import Ahead, coming
from whimbrel.schedule.constraints.turn import crowded
from whimbrel.schedule.docket import docket
from whimbrel.schedule.evacuation import Evacuation, appraise, evacuations
from whimbrel.schedule.following import follow
from whimbrel.schedule.review import Gate, Known, Review, review
from whimbrel.schedule.starting import next_write
from whimbrel.schedule.survey import OUTLOOK_INTERVAL_S, Survey, rests, still_chooses, survey
from whimbrel.schedule.sweeping import sweep
from whimbrel.schedule.together import Quoted, quotes
from whimbrel.status import course as courses
from whimbrel.status import evacuation as evacuated
from whimbrel.status.arrivals import arrivals, plan_arrival
from whimbrel.status.plan import Course, Tracked, report
from whimbrel.status.profile import profile_status
from whimbrel.status.score import score

ABORT_LIMIT_S = 300
"""An abort that takes longer than this is reported as not carried out."""
ACTIVE_INTERVAL_S = 5.0
"""While moves are in flight a tick happens at least this often, for limits that only time reaches."""


class _Outbox:
    """Collects the decisions of a tick; the first write on an object wins, a later tick decides about the second.

    What is put together belongs together: an announcement behind a write that lost is not made, or it would be made twice.
    """

    def __init__(self) -> None:
        self.writes: dict[tuple[Resource, Key], Write] = {}
        self.announcements: list[Announcement] = []
        self.wakes: list[float] = []

    def put(self, items: Iterable[Write | Announcement | LookAgain]) -> None:
        lost = False
        for item in items:
            match item:
                case Announcement():
                    if not lost:
                        self.announcements.append(item)
                case LookAgain(after_s):
                    self.wakes.append(after_s)
                case _:
                    lost = self.writes.setdefault((item.resource, item.key), item) is not item

    def decisions(self) -> Decisions:
        return Decisions(tuple(self.writes.values()), tuple(self.announcements), min(self.wakes, default=None))


class Engine:
    """Decides tick after tick, and looks anew only at what has changed since the tick before.

    Warm equals cold: the decisions are those of a new Engine, which `decide` asks. It keeps what the last tick saw of each
    move, no more; not for several threads at once.
    """

    def __init__(self) -> None:
        self._seen: Survey | None = None
        self._known: Mapping[str, Known] = {}

    def decide(self, snapshot: Snapshot) -> Decisions:
        """All writes that the snapshot calls for, and when to look again."""
        seen = self._seen = survey(snapshot, self._seen)
        found = findings(seen.hosts, seen.ledger, snapshot)
        decisions, reviews = _decided(seen, self._known, found)
        self._known = {uid: known for uid, each in reviews.items() if (known := each.known or self._known.get(uid))}
        return decisions


def decide(snapshot: Snapshot) -> Decisions:
    """The same, by somebody who has seen no snapshot before."""
    return Engine().decide(snapshot)


def _decided(seen: Survey, known: Mapping[str, Known], found: Findings) -> tuple[Decisions, Mapping[str, Review]]:
    snapshot, box, ahead = seen.snapshot, _Outbox(), Ahead(seen)
    for plan in seen.plans:
        for move in seen.in_flight_of(plan):
            box.put(follow(plan, seen.evidence[move.key], seen, ahead))
            box.put([LookAgain(ACTIVE_INTERVAL_S)])
    reviews = _reviews(seen, ahead, known, found)
    for reviewed in reviews.values():
        box.put(reviewed.writes)
    starting, waits = _start(reviews, seen, box)
    box.put(sweep(seen, starting))
    if any(rests(plan, snapshot) for plan in seen.plans if still_chooses(plan)):
        box.put([LookAgain(OUTLOOK_INTERVAL_S)])
    for plan in seen.plans:
        held = (*waits.get(plan.uid, ()), *_stuck_aborts(plan, seen))
        box.put(_plan_status(plan, reviews.get(plan.uid), held, starting, seen))
        box.put(_release(plan, seen))
    hosts = _hosts(seen, box, found)
    judged = score(snapshot.moves.values()) if snapshot.outlook_due else None
    return replace(box.decisions(), hosts=hosts, score=judged), reviews


def _hosts(seen: Survey, box: _Outbox, known: Findings) -> tuple[HostOutlook, ...] | None:
    """Every host, always, with or without a plan: can it be emptied? The status of the profiles, and figures to watch."""
    snapshot = seen.snapshot
    found: tuple[Evacuation, ...] | None = None
    if not snapshot.outlook_due:
        box.put([LookAgain(OUTLOOK_INTERVAL_S)])  # whatever changed is looked at by the next outlook
    elif snapshot.capabilities is not None:
        assessment = appraise(snapshot, seen.hosts, seen.ledger, known)
        found = evacuations(snapshot, seen.hosts, seen.ledger, assessment)
    by_host = None if found is None else {each.host: each for each in found}
    needed = None if found is None else wanted(snapshot, seen.hosts)
    coverage = profile_coverage(snapshot)
    for key in sorted(snapshot.profiles):
        record = snapshot.profiles[key]
        evacuation = evacuated.of_profile(record, coverage[key.name], by_host, snapshot.now)
        write = profile_status(record, coverage[key.name], evacuation, snapshot.now, needed)
        news = evacuated.newcomers(record, coverage[key.name], by_host, snapshot)
        box.put([*([] if write is None else [write]), *news])
    return None if found is None else evacuated.figures(found, seen.hosts, snapshot)


def _reviews(seen: Survey, ahead: Ahead, before: Mapping[str, Known], found: Findings) -> Mapping[str, Review]:
    """What is to be quoted is quoted together, so that no plan counts on room that another one takes.

    Counted beforehand is what is to come to its target without being quoted: of plans whose quote stands, what waits; of
    all, what is just about to begin, and what goes on to a further attempt at this tick.
    """
    choosing = [(plan, plan.plan.spec) for plan in seen.plans if plan.plan is not None and still_chooses(plan)]
    dockets = {plan.uid: docket(plan, spec, seen) for plan, spec in choosing}
    asked = [found.asked for found in dockets.values() if found is not None]
    quoted: Mapping[str, Quoted] = {}
    if asked:
        quoted_now = {instance.uid for each in asked for instance in each.instances}
        reserved = [
            (instance, attempt.target_node)
            for plan, _ in choosing
            for instance, attempt in coming(plan, seen)
            if instance.uid not in quoted_now or dockets[plan.uid] is None
        ]
        reserved += ahead.specified
        ledger = seen.ledger.copy() if reserved else seen.ledger
        for instance, target in reserved:
            ledger.reserve_arrival(instance, target)
        quoted = quotes(asked, seen.hosts, ledger, seen.snapshot, seen.claims, found)
    return {
        plan.uid: review(plan, spec, plan.status, seen, dockets[plan.uid], quoted.get(plan.uid), before.get(plan.uid))
        for plan, spec in choosing
    }


def _start(
    reviews: Mapping[str, Review], seen: Survey, box: _Outbox
) -> tuple[frozenset[str], Mapping[str, tuple[Wait, ...]]]:
    """Admit what waits; names of the migrations whose labels must stay, and per plan why moves wait."""
    candidates = [candidate for reviewed in reviews.values() for candidate in reviewed.candidates]
    names = {plan.uid: str(plan.key) for plan in seen.plans}
    circumstances = Circumstances(
        seen.snapshot.now, seen.snapshot, seen.hosts, seen.claims, names, crowded(candidates, seen.ledger)
    )
    starting, waits = set(), dict[str, list[Wait]]()
    for verdict in admit(candidates, seen.ledger.copy(), circumstances):
        match verdict:
            case Start(candidate):
                starting.add(candidate.migration_key.name)
                write = next_write(candidate, seen.snapshot)
                box.put([] if write is None else [write])
            case Held(candidate, wait):
                waits.setdefault(candidate.plan_uid, []).append(wait)
                if wait.until is not None:
                    box.put([LookAgain(max(0.1, (wait.until - seen.snapshot.now).total_seconds()))])
    for evidence in seen.evidence.values():
        if evidence.migration is not None and not evidence.migration.final and evidence.state is None:
            starting.add(evidence.migration_key.name)
    return frozenset(starting), {uid: tuple(held) for uid, held in waits.items()}


def _plan_status(
    plan: Plan, reviewed: Review | None, waits: tuple[Wait, ...], starting: Set[str], seen: Survey
) -> Iterable[Write | Announcement | LookAgain]:
    moves = tuple(_tracked(plan, seen))
    stored = plan.status
    moving = any(t.phase in IN_FLIGHT or t.evidence.migration_key.name in starting for t in moves)
    course = _course(plan, stored, reviewed, moves, waits, moving=moving)
    if course is None:
        return
    quote = reviewed.quote if reviewed is not None else stored.quote
    not_running = quote.not_running if quote is not None else 0
    told = {tracked.evidence.move.key: tracked.arrival for tracked in moves if tracked.arrival is not None}
    write, announcement, wake = report(
        plan, stored, course, quote, moves, not_running, _summaries(waits), seen.snapshot.now,
        plan_arrival(plan, told, seen),
    )  # fmt: skip
    if write is not None:
        yield write
    if announcement is not None:
        yield announcement
    if wake is not None:
        yield LookAgain(wake)


def _tracked(plan: Plan, seen: Survey) -> Iterable[Tracked]:
    told = arrivals(plan, seen)
    for move in seen.moves_of(plan):
        evidence, sample = seen.evidence[move.key], seen.snapshot.samples.get(move.instance_key)
        began = evidence.state.started_at if evidence.state is not None else None
        if sample is not None and (began is None or sample.sampled_at < began):
            sample = None  # of the migration before
        yield Tracked(evidence, seen.phases[move.key], sample, told.get(move.key))


def _course(
    plan: Plan,
    stored: MigrationPlanStatus,
    reviewed: Review | None,
    moves: tuple[Tracked, ...],
    waits: tuple[Wait, ...],
    *,
    moving: bool,
) -> Course | None:
    """Where the plan stands; None where its status must stay as it is."""
    if plan.deleting:
        return courses.cancelling(stored) if _in_flight(moves) else None
    if stored.finished_at is not None:
        return courses.frozen(stored) if stored.observed_generation != plan.generation else None
    if plan.plan is None:
        invalid = courses.invalid(plan)
        return invalid if invalid.message != plan.reported_error else None
    if reviewed is None or (reviewed.gate == Gate.QUOTING and _quoted_before(plan, stored)):
        return None
    if reviewed.gate == Gate.UNKNOWN_CAPABILITIES and stored.quote is not None:
        return None  # it would claim that the old quote is of this generation
    return courses.course(reviewed, plan.plan.spec, moves, waits, moving=moving)


def _stuck_aborts(plan: Plan, seen: Survey) -> Iterable[Wait]:
    """Aborts that were asked for long ago and that KubeVirt has not carried out."""
    for move in seen.in_flight_of(plan):
        abort = move.move.status.abort
        if seen.phases[move.key] != MovePhase.ABORTING or abort is None:
            continue
        if (seen.snapshot.now - abort.requested_at).total_seconds() >= ABORT_LIMIT_S:
            source = seen.evidence[move.key].instance
            node = source.node if source is not None else "its node"
            message = f"KubeVirt has not carried out the abort of {move.instance_key}; look at virt-handler on {node}."
            yield Wait("AbortNotCarriedOut", message)


def _quoted_before(plan: Plan, stored: MigrationPlanStatus) -> bool:
    """Whether a quote of this spec stands: making it anew is no transition, its outcome may be."""
    return stored.quote is not None and stored.started_at is None and stored.observed_generation == plan.generation


def _release(plan: Plan, seen: Survey) -> Iterable[Write]:
    """The finalizer goes when the plan is over and nothing of it is in flight."""
    over = plan.deleting or plan.status.finished_at is not None
    if (
        over
        and FINALIZER in plan.finalizers
        and not seen.has_unfinished(plan)
        and not _in_flight(tuple(_tracked(plan, seen)))
    ):
        yield writes.remove_finalizer(plan)


def _in_flight(moves: Iterable[Tracked]) -> bool:
    """Whether anything of a plan is under way, an attempt that is just about to begin included."""
    return any(
        tracked.phase in IN_FLIGHT or tracked.evidence.label_on_instance == tracked.evidence.migration_key.name
        for tracked in moves
    )


def _summaries(waits: tuple[Wait, ...]) -> tuple[WaitSummary, ...]:
    first = {wait.reason: wait.message for wait in reversed(waits)}
    counts = Counter(wait.reason for wait in waits)
    return tuple(
        WaitSummary(reason=reason, count=counts[reason], message=first[reason][:4096]) for reason in sorted(counts)[:16]
    )
