"""Rules between the guests that are placed together: who must keep apart, by the anti-affinity of their launchers.

Preflight judges rules between pods by who is where now. Guests that move are somewhere else afterwards: among themselves the
rules go into the problem, and only towards everybody else they say which hosts suit. Called by `placement.posing`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from whimbrel.domain.records import Instance, Labels, Pod
from whimbrel.domain.scheduling import PodTerm
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.neighbours import Neighbours, is_about_itself, labels_to_come
from whimbrel.placement.problem import Apart
from whimbrel.preflight import Assessment, pod_affinity

MOST_HOLDERS = 16
"""Of a rule between two different groups so many of each are planned for; the rest is left to the check before each start."""


@dataclass(frozen=True, slots=True)
class _Mover:
    """A guest that is placed, and the launcher that its target launcher will resemble."""

    instance: Instance
    launcher: Pod
    labels: Labels


class Between:
    """The rules between pods as they concern some guests that are placed together."""

    def __init__(self, instances: Iterable[Instance], ledger: Ledger) -> None:
        """Looks the launchers over once."""
        around = ledger.neighbours
        launchers = ((instance, ledger.source_launcher(instance)) for instance in instances)
        ruled = bool(around.crowds.keeping_away)
        self._movers = {
            instance.uid: _Mover(instance, launcher, labels_to_come(instance, launcher) if ruled else {})
            for instance, launcher in launchers
            if launcher is not None
        }
        self._others: Neighbours | None = around.without(frozenset(self._movers)) if ruled else None

    def admitted(self, uid: str, assessment: Assessment, now: int) -> int:
        """The hosts that the rules admit a guest to; `now`: by preflight, while all the others are where they are."""
        mover = self._movers.get(uid)
        if mover is None or self._others is None:
            return now
        rules = mover.launcher.scheduling
        if rules is not None and rules.affinity:
            return now  # whom it must be near may move as well: what holds now is the safe side
        kept_apart = pod_affinity.among(mover.instance, mover.launcher, self._others)
        return assessment.mask_by(pod_affinity, kept_apart) & ~self._own_domains(mover, assessment)

    def _own_domains(self, mover: _Mover, assessment: Assessment) -> int:
        """Other hosts in the domains that its own launcher keeps its successor out of: it is there until that has come."""
        if self._others is None:
            return 0
        rules, space = mover.launcher.scheduling, mover.launcher.key.namespace
        mask = 0
        for term in rules.anti_affinity if rules is not None else ():
            if not is_about_itself(term) and self._others.matches_itself((term,), space, mover.labels):
                home = assessment.bit(mover.instance.node)
                mask |= sum(domain & ~home for domain in assessment.domains(term.topology_key) if domain & home)
        return mask

    def rules(self, assessment: Assessment) -> Iterator[Apart]:
        """Who must keep apart from whom among them."""
        if self._others is None:
            return
        holders: dict[PodTerm, list[str]] = {}
        for uid, mover in self._movers.items():
            for term in mover.launcher.scheduling.anti_affinity if mover.launcher.scheduling is not None else ():
                if not is_about_itself(term):
                    holders.setdefault(term, []).append(uid)
        by_space = self._by_space()
        for term, holding in holders.items():
            meant = [
                uid
                for namespace, group in by_space.items()
                if self._others.crowds.looks_at(term, namespace)
                for uid in group
                if term.selector is not None and term.selector.selects(self._movers[uid].labels)
            ]
            domains = assessment.domains(term.topology_key)
            for guests in _groups(holding, meant):
                yield Apart(guests, domains)

    def _by_space(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for uid, mover in self._movers.items():
            found.setdefault(mover.launcher.key.namespace, []).append(uid)
        return found


def _groups(holding: Sequence[str], meant: Sequence[str]) -> Iterator[frozenset[str]]:
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
