"""Rules between the guests that are placed together: who must keep apart, by the anti-affinity of their launchers, and who
must be near whom (`company`), or spread evenly (`evenness`).

Preflight judges rules between pods by who is where now. Guests that move are somewhere else afterwards: among themselves the
rules go into the problem, and only towards everybody else they say which hosts suit. Called by `placement.posing`.
"""

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from whimbrel.domain.records import Instance
from whimbrel.domain.scheduling import PodTerm
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.neighbours import is_about_itself
from whimbrel.placement.company import Company
from whimbrel.placement.evenness import Evenness
from whimbrel.placement.movers import Mover, Movers
from whimbrel.placement.problem import Apart, Rule
from whimbrel.preflight import Assessment, pod_affinity

MOST_HOLDERS = 16
"""Of a rule between two different groups so many of each are planned for; the rest is left to the check before each start."""


class Between:
    """The rules between pods as they concern some guests that are placed together."""

    def __init__(self, guests: Iterable[tuple[Instance, Assessment]], ledger: Ledger) -> None:
        """Looks the launchers over once."""
        listed = list(guests)
        self._movers = Movers((instance for instance, _ in listed), ledger)
        self._company = Company(self._movers)
        self._evenness = Evenness(self._movers, {instance.uid: assessment for instance, assessment in listed})
        self._ruled = bool(self._company or self._movers.everybody.crowds.keeping_away)
        self._masks: dict[pod_affinity.Demand, int] = {}

    def admitted(self, uid: str, assessment: Assessment, now: int) -> int:
        """The hosts that (anti-)affinity admits a guest to; `now`: by preflight, while all the others are where they are."""
        mover = self._movers.by_uid.get(uid)
        if mover is None or not self._ruled:
            return now
        near = self._company.admitted(mover, assessment) if mover.rules.affinity else -1
        staying = pod_affinity.among(mover.instance, mover.launcher, self._movers.others)
        if staying not in self._masks:
            self._masks[staying] = assessment.mask_by(pod_affinity, pod_affinity.Demand(apart=staying.apart))
        return self._masks[staying] & near & ~self._own_domains(mover, assessment)

    def spread(self, uid: str, assessment: Assessment, now: int) -> int:
        """The same of topology spread."""
        mover = self._movers.by_uid.get(uid)
        return now if mover is None else self._evenness.admitted(mover, assessment, now)

    def _own_domains(self, mover: Mover, assessment: Assessment) -> int:
        """Other hosts in the domains that its own launcher keeps its successor out of: it is there until that has come."""
        space, mask = mover.launcher.key.namespace, 0
        for term in mover.rules.anti_affinity:
            if not is_about_itself(term) and self._movers.others.matches_itself(
                (term,), space, self._movers.labels(mover.uid)
            ):
                home = assessment.bit(mover.instance.node)
                mask |= sum(domain & ~home for domain in assessment.domains(term.topology_key) if domain & home)
        return mask

    def rules(self, assessment: Assessment) -> Iterator[Rule]:
        """Who must keep apart from whom among them, who must be near whom, and who must be spread evenly."""
        for term, holding in self._keeping_away.items():
            domains = assessment.domains(term.topology_key)
            for guests in _groups(holding, self._movers.meant((term,))):
                yield Apart(guests, domains)
        yield from self._company.rules(assessment)
        yield from self._evenness.rules(assessment)

    @cached_property
    def _keeping_away(self) -> dict[PodTerm, list[str]]:
        """Who holds each term of anti-affinity."""
        holders: dict[PodTerm, list[str]] = {}
        for mover in self._movers if self._ruled else ():
            for term in mover.rules.anti_affinity:
                if not is_about_itself(term):
                    holders.setdefault(term, []).append(mover.uid)
        return holders


def _groups(holding: Collection[str], meant: Collection[str]) -> Iterator[frozenset[str]]:
    """Those that hold a rule and are meant by it keep apart as one group; a holder and one that is meant as a pair."""
    both = frozenset(holding) & frozenset(meant)
    if len(both) > 1:
        yield both
    pairs = dict.fromkeys(
        frozenset((holder, other))
        for holder in sorted(holding)[:MOST_HOLDERS]
        for other in sorted(meant)[:MOST_HOLDERS]
        if holder != other and not {holder, other} <= both
    )
    yield from sorted(pairs, key=sorted)
