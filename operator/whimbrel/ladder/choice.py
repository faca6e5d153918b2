"""Which rung the next attempt is made on: the first whose forecast ends within the plan's bounds.

Hopeless rungs are passed over beforehand, with the reason; where nothing fits the move is refused (`ladder.price`). Asked by
the outlook for a quote, and when an attempt has ended. Pure.
"""

from dataclasses import dataclass
from itertools import zip_longest

from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import AttemptRecord
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import AtDeadline, Convergence, Prediction, chance, longest_pause_ms, predict
from whimbrel.ladder.rung import Load, Offer, Withheld
from whimbrel.ladder.stun import STANDS_STILL, most_downtime_ms

CLIMBS = frozenset({"NotConverged", "CannotConverge", "PauseTooLong", "StunBudgetExceeded", "SentTooMuch"})
"""Reasons of a failed attempt after which a stronger rung may help; after any other the same rung is tried again."""
IN_VAIN = frozenset({"PauseTooLong", "StunBudgetExceeded", "SentTooMuch"})
"""Those of them after which the same rung would end the same way;"""
THROTTLED_IN_VAIN = IN_VAIN | {"CannotConverge"}
"""and those after which a rung that throttles would: its samples teach nothing, so no forecast knows better the next time."""
LIKELY = 0.5
"""A rung with this chance is taken: the gentler the better, as long as it is more likely to do than not."""
LIKELY_TO_STOP_IT = 0.8
"""A rung that stops its guest for the rest is quoted at no lower chance. Before it begins its pause must be bounded with a
certainty of 95 %, and samples of a copy seldom do that for a guest that was less likely to do (docs/reference/figures.md).
"""
NEARLY_SURE, GAIN = 0.85, 0.1
"""Before a rung that only throttles, one that is merely likely is passed over where that is surer by the gain: it copies as
this one does and slows the guest down only as far as it must, and an attempt in vain costs all that it has sent. Only for a
guest of which something is told; before rungs that stop a guest, or cannot be taken back, likely is enough."""
STAYS_BY = 0.15
"""A rung that was chosen before stays chosen down to so much lower a chance, so that a quote does not flap with its guest's
moods."""
SAMPLES_FROM_S = 17.0
"""So long after its first pass two samples of a copy's later rounds have been read, two seconds before: KubeVirt samples every
five seconds, and virt-handlers are read as often."""
HOPELESS = 0.25
"""Below this chance an attempt is begun on no account, and a running one is ended: three in four would be in vain."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the plan permits and this KubeVirt can do for one load, in the order in which it is tried."""

    offers: tuple[Offer, ...]
    withheld: tuple[Withheld, ...] = ()
    gives_up: bool = False
    """Whether the plan wants no attempt after its last rung did not converge."""
    order: tuple[Rung, ...] = ()
    """All rungs that the plan permits, those that are not offered as well."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The rung of the next attempt and what is expected of it; without an offer no rung is worth an attempt."""

    offer: Offer | None
    prediction: Prediction | None = None
    chance: float = 0.0
    skipped: tuple[Withheld, ...] = ()
    """Rungs that come before it, or all where none is taken, and why they would not do, or are not to be had."""


def choose(ladder: Ladder, load: Load, history: tuple[AttemptRecord, ...] = (), *, stood: Rung | None = None) -> Choice:
    """`history`: earlier attempts of this move; `stood`: the rung that was quoted for this very attempt before."""
    left = _not_ruled_out(ladder, history)
    if not left:
        return Choice(None, skipped=() if ladder.offers else ladder.withheld)
    weighed = list[tuple[Offer, float]]()
    for offer, following in zip_longest(left, left[1:]):
        found = 0.0 if _refuted(load, offer, history) else _chance(load, offer)
        weighed.append((offer, found))
        if offer.rung == stood and found >= _likely(offer) - STAYS_BY:
            return _chosen(load, weighed)
        if found >= _likely(offer) and not _throttling_is_surer(load, found, following):
            return _chosen(load, weighed)
    best = max(weighed, key=lambda each: each[1])
    if best[1] < _least(best[0], history) or _stops_its_guest(best[0]):
        return Choice(None, skipped=tuple(_passed_over(load, *each) for each in weighed))
    return _chosen(load, weighed[: weighed.index(best) + 1])


def _stops_its_guest(offer: Offer) -> bool:
    return offer.terms.at_deadline in STANDS_STILL


def _refuted(load: Load, offer: Offer, history: tuple[AttemptRecord, ...]) -> bool:
    """Whether the attempt before has shown that this rung does not do, and nothing else is told of the guest: then its forecast
    is the same as before.
    """
    plain = offer.terms.at_deadline is AtDeadline.ABORT and not offer.terms.may_throttle
    return _just_failed(offer, history) and plain and not load.guest.tells_how_it_writes


def _least(offer: Offer, history: tuple[AttemptRecord, ...]) -> float:
    """The chance below which the likeliest rung is not begun: one that has just failed to converge must be likely to, now."""
    return LIKELY if _just_failed(offer, history) else HOPELESS


def _just_failed(offer: Offer, history: tuple[AttemptRecord, ...]) -> bool:
    return bool(history) and history[-1].rung == offer.rung and history[-1].reason in CLIMBS


def _likely(offer: Offer) -> float:
    return LIKELY_TO_STOP_IT if _stops_its_guest(offer) else LIKELY


def _throttling_is_surer(load: Load, found: float, following: Offer | None) -> bool:
    if following is None or not following.terms.may_throttle or not load.guest.points or found >= NEARLY_SURE:
        return False
    return _chance(load, following) >= found + GAIN


def _chosen(load: Load, weighed: list[tuple[Offer, float]]) -> Choice:
    offer, found = weighed[-1]
    said = predict(load.guest, load.path_under(offer.terms), offer.terms, load.disks, load.start_up)
    return Choice(offer, said, found, tuple(_passed_over(load, *each) for each in weighed[:-1]))


def _not_ruled_out(ladder: Ladder, history: tuple[AttemptRecord, ...]) -> tuple[Offer, ...]:
    """What may still be tried: above a rung that did not converge, and no rung more often than its step permits.

    Above the last rung there is nothing: it is tried again, unless the ladder ends in GiveUp.
    """
    offers = ladder.offers
    spent = {
        offer.rung
        for offer in offers
        if offer.most_attempts is not None
        and sum(record.rung == offer.rung for record in history) >= offer.most_attempts
    }
    if history:
        last = history[-1]
        ranks = {rung: rank for rank, rung in enumerate(ladder.order or tuple(offer.rung for offer in offers))}
        at = ranks.get(last.rung, -1)
        above = tuple(offer for offer in offers if ranks[offer.rung] > at)
        offered = any(offer.rung == last.rung for offer in offers)
        if last.reason in CLIMBS and above and at >= 0:
            offers = above
        elif offered and (_in_vain(last, offers) or (last.reason in CLIMBS and ladder.gives_up)):
            return ()
        elif offered:
            offers = tuple(offer for offer in offers if ranks[offer.rung] >= at)
    return tuple(_with_patience(offer, history) for offer in offers if offer.rung not in spent)


def _in_vain(last: AttemptRecord, offers: tuple[Offer, ...]) -> bool:
    throttles = any(offer.rung == last.rung and offer.terms.may_throttle for offer in offers)
    return last.reason in (THROTTLED_IN_VAIN if throttles else IN_VAIN)


def _with_patience(offer: Offer, history: tuple[AttemptRecord, ...]) -> Offer:
    """A throttled copy that its deadline ended gets twice the time: how soon throttling bites is the hypervisor's secret, and
    samples of a throttled guest teach nothing of it.
    """
    ended = sum(record.rung == offer.rung and record.reason == "NotConverged" for record in history)
    return offer.with_longer_deadline(2**ended) if ended and offer.terms.may_throttle else offer


def _chance(load: Load, offer: Offer) -> float:
    return chance(
        load.guest,
        load.path_under(offer.terms),
        offer.terms,
        load.disks,
        load.start_up,
        most_downtime_ms=most_downtime_ms(offer.budget_ms, offer.terms),
        most_wire_bytes=offer.most_wire_bytes,
        looked_at_before=_looked_at_before(load, offer),
    )


def _looked_at_before(load: Load, offer: Offer) -> bool:
    """Whether samples of the copy tell, before the guest is suspended, how long that would be."""
    return load.sampled and offer.deadline_seconds >= load.pass_s() + SAMPLES_FROM_S


def _passed_over(load: Load, offer: Offer, found: float) -> Withheld:
    said = predict(load.guest, load.path_under(offer.terms), offer.terms, load.disks, load.start_up)
    percent = round(100 * found)
    permitted_ms = most_downtime_ms(offer.budget_ms, offer.terms)
    if permitted_ms is not None and found == 0 and not load.guest.tells_how_it_writes:
        longest_ms = longest_pause_ms(load.guest, load.path_under(offer.terms), offer.terms.device_state_s)
        why = (
            f"nobody tells how the guest writes, so it could stand still for {longest_ms} ms, and {permitted_ms} ms "
            "are permitted"
        )
    elif permitted_ms is not None and said.downtime_bound_ms > permitted_ms:
        why = f"the guest could stand still for {said.downtime_bound_ms} ms, and {permitted_ms} ms are permitted"
    elif permitted_ms is not None:
        why = f"what is left would not go over within the {permitted_ms} ms that it may stand still"
    elif offer.most_wire_bytes is not None and (said.bytes_p50 or 0) > offer.most_wire_bytes:
        why = (
            f"it would send {round((said.bytes_p50 or 0) / MIB)} MiB, and {offer.most_wire_bytes // MIB} are permitted"
        )
    elif found == 0 and not load.guest.tells_how_it_writes:
        why = "it did not converge in the attempt before, and nobody tells how the guest writes"
    elif said.convergence is Convergence.DOES_NOT:
        why = "the guest dirties memory faster than is copied"
    elif found >= LIKELY:
        why = f"it may not end within {offer.deadline_seconds} s, and the next rung is surer"
    else:
        why = f"it is not likely to end within {offer.deadline_seconds} s"
    asked = (
        f", {round(100 * LIKELY_TO_STOP_IT)} % are asked of a rung that stops its guest"
        if found >= LIKELY and _stops_its_guest(offer)
        else ""
    )
    return Withheld(offer.rung, f"{why} (chance {percent} %{asked}).")
