"""Who must be near whom among the guests that are placed together, by the required affinity of their launchers.

The scheduler asks it of each launcher when it binds it: a pod that all terms select must be in the domain, and the launcher
that the guest leaves may be that pod. So two guests that each need the other cannot leave together where nobody stays: the
first of them would arrive without company. Called by `placement.between`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from whimbrel.domain.scheduling import PodTerm
from whimbrel.placement.movers import Mover, Movers
from whimbrel.placement.problem import Together
from whimbrel.preflight import Assessment, pod_affinity

Terms = tuple[PodTerm, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Guests that ask for the same company, part of which moves as well."""

    bound: frozenset[str]
    partners: frozenset[str]


class Company:
    """Required affinity as it concerns some guests that are placed together."""

    def __init__(self, movers: Movers) -> None:
        """Looks for partners among those that move once for each distinct set of terms."""
        self._movers = movers
        self._masks: dict[object, int] = {}
        holders: dict[Terms, set[str]] = {}
        for mover in movers:
            if mover.rules.affinity:
                holders.setdefault(mover.rules.affinity, set()).add(mover.uid)
        self._groups: Mapping[Terms, _Group] = dict(self._planned(holders))

    def __bool__(self) -> bool:
        """Whether any partner of anybody moves."""
        return bool(self._groups)

    def _planned(self, holders: Mapping[Terms, set[str]]) -> Iterator[tuple[Terms, _Group]]:
        """Those who have a partner that moves. For the others holds what holds now, their own launchers included."""
        for terms, holding in holders.items():
            partners = self._movers.meant(terms)
            first = {uid for uid in holding & partners if self._counts_nowhere(terms, self._movers.by_uid[uid])}
            bound = frozenset(holding - first)
            if partners and bound and (len(partners) > 1 or partners != bound):
                yield terms, _Group(bound, partners)

    def _counts_nowhere(self, terms: Terms, mover: Mover) -> bool:
        """Whether its node is in no domain: its launcher is not seen there, so it may be the first of its group, which may
        go anywhere. A rule that holds only while nobody else is there is left to what holds now.
        """
        node = self._movers.everybody.nodes.get(mover.instance.node)
        return node is None or not any(term.topology_key in node.labels for term in terms)

    def admitted(self, mover: Mover, assessment: Assessment) -> int:
        """The hosts that its affinity admits a guest to, whatever the rules between those that move say."""
        terms = mover.rules.affinity
        group = self._groups.get(terms)
        if group is not None and mover.uid in group.bound:
            wanted: pod_affinity.Demand | Terms = terms
        else:
            wanted = pod_affinity.among(mover.instance, mover.launcher, self._movers.everybody)
        if wanted not in self._masks:
            near = (
                wanted.near
                if isinstance(wanted, pod_affinity.Demand)
                else tuple(pod_affinity.Near(term.topology_key, None, term) for term in wanted)
            )
            self._masks[wanted] = assessment.mask_by(pod_affinity, pod_affinity.Demand(near=near))
        return self._masks[wanted]

    def rules(self, assessment: Assessment) -> Iterator[Together]:
        """One for each term."""
        for terms, group in self._groups.items():
            staying = self._movers.others.holding_all(terms)
            for term in terms:
                values = self._movers.others.crowds.domains(term.topology_key, staying).values
                near = pod_affinity.Near(term.topology_key, values, term)
                yield Together(
                    group.bound,
                    group.partners,
                    assessment.domains(term.topology_key),
                    assessment.mask_by(pod_affinity, pod_affinity.Demand(near=(near,))),
                    partial(_words, term),
                )


def _words(term: PodTerm) -> str:
    return f"affinity asks for a pod with {term.selector or 'nothing'} in the same {term.topology_key}"
