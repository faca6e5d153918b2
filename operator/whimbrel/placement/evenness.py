"""Topology spread among the guests that are placed together, where the scheduler really asks for it.

Where KubeVirt names the target it hardly ever does (`preflight.topology_spread`): constraints that ignore node affinity, and
such with `minDomains`. Without that selector it always does. A constraint is planned ahead where all that it counts and that
move are held by it themselves, as the replicas of one application are; else what holds now is the safe side. Called by
`placement.between`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from whimbrel.placement.movers import Mover, Movers
from whimbrel.placement.problem import EvenSpread
from whimbrel.preflight import Assessment, topology_spread
from whimbrel.preflight.topology_spread import Enforced

_NEVER_ENOUGH = 1 << 30
"""Domains where each node is judged by itself: the others count as empty."""


class Evenness:
    """Spread constraints as they concern some guests that are placed together."""

    def __init__(self, movers: Movers, assessments: Mapping[str, Assessment]) -> None:
        """`assessments`: by UID of the guest."""
        self._movers = movers
        self._named = {uid: not assessment.landing(uid) for uid, assessment in assessments.items()}
        self._masks: dict[object, int] = {}
        self._held: dict[str, tuple[Enforced, ...]] = {}
        """By UID, the constraints of those who have any that is enforced."""
        holders: dict[Enforced, set[str]] = {}
        for mover in movers if any(mover.rules.spread for mover in movers) else ():
            found = topology_spread.enforced(
                mover.instance, mover.launcher, movers.everybody, named=self._named[mover.uid]
            )
            for each in found:
                holders.setdefault(each, set()).add(mover.uid)
            if found:
                self._held[mover.uid] = found
        self._planned = {each: frozenset(held) for each, held in holders.items() if self._is_closed(each, held)}

    def _is_closed(self, each: Enforced, holders: set[str]) -> bool:
        """Whether it counts those who hold it, and nobody else that moves; one that moves by itself finds what is now."""
        selector = each.constraint.selector
        return (
            len(holders) > 1
            and selector is not None
            and self._movers.selected(each.namespace, selector) == holders
            and all(selector.selects(self._movers.labels(uid)) for uid in holders)
        )

    def admitted(self, mover: Mover, assessment: Assessment, now: int) -> int:
        """The hosts that a guest's constraints admit it to, those left out that are planned; `now`: with all of them."""
        planned = frozenset(each.constraint for each in self._held.get(mover.uid, ()) if each in self._planned)
        if not planned:
            return now
        found = topology_spread.among(
            mover.instance, mover.launcher, self._movers.everybody, named=self._named[mover.uid]
        )
        if (found, planned) not in self._masks:
            rest = replace(
                found,
                crowded=tuple(each for each in found.crowded if each.constraint not in planned),
                full=tuple(each for each in found.full if each[0] not in planned),
            )
            self._masks[found, planned] = assessment.mask_by(topology_spread, rest)
        return self._masks[found, planned]

    def rules(self, assessment: Assessment) -> Iterator[EvenSpread]:
        """One for each constraint that is planned."""
        for each, guests in self._planned.items():
            yield self._rule(each, guests, assessment)

    def _rule(self, each: Enforced, guests: frozenset[str], assessment: Assessment) -> EvenSpread:
        constraint = each.constraint
        assert constraint.selector is not None
        masks: dict[str, int] = {}
        for node in each.counted.nodes:
            domain = each.domain(node) or ""
            masks[domain] = masks.get(domain, 0) | assessment.bit(node)
        fixed = dict.fromkeys(masks, 0)
        for node, pods in self._movers.others.counts(each.namespace, constraint.selector).items():
            if (domain := each.domain(node) or "") in fixed:
                fixed[domain] += pods
        values = sorted(masks)
        return EvenSpread(
            guests,
            tuple(masks[value] for value in values),
            constraint.max_skew,
            tuple(fixed[value] for value in values),
            _NEVER_ENOUGH if each.by_node else constraint.min_domains,
            partial(_words, each),
        )


def _words(each: Enforced) -> str:
    where = "each node" if each.by_node else f"each {each.constraint.topology_key}"
    return f"pods with {each.constraint.selector} must be spread evenly over {where}, with a skew of {each.constraint.max_skew}"
