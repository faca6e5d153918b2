"""The guests that are placed together, and the launchers that their target launchers will resemble.

Preflight judges rules between pods by who is where now. Guests that move are somewhere else afterwards, so `between`,
`company` and `evenness` ask here who moves and who stays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from whimbrel.domain.records import Instance, Labels, Pod
from whimbrel.domain.scheduling import PodTerm, Scheduling
from whimbrel.domain.selectors import LabelSelector
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.neighbours import Neighbours, labels_to_come

_NO_RULES = Scheduling()


@dataclass(frozen=True, slots=True)
class Mover:
    """A guest that is placed, and the launcher that it runs in."""

    instance: Instance
    launcher: Pod

    @property
    def uid(self) -> str:
        """UID of the guest."""
        return self.instance.uid

    @property
    def rules(self) -> Scheduling:
        """What its launcher asks of the scheduler."""
        return self.launcher.scheduling or _NO_RULES


class Movers:
    """Those of some guests whose launchers are known, by UID."""

    def __init__(self, instances: Iterable[Instance], ledger: Ledger) -> None:
        """Looks for the launchers once."""
        launchers = ((instance, ledger.source_launcher(instance)) for instance in instances)
        self.by_uid = {
            instance.uid: Mover(instance, launcher) for instance, launcher in launchers if launcher is not None
        }
        self.everybody = ledger.neighbours
        """The pods around, those that move included where they are now."""
        self._labels: dict[str, Labels] = {}

    def __iter__(self) -> Iterator[Mover]:
        """In no particular order."""
        return iter(self.by_uid.values())

    @cached_property
    def others(self) -> Neighbours:
        """The pods that stay where they are."""
        return self.everybody.without(frozenset(self.by_uid))

    def labels(self, uid: str) -> Labels:
        """The labels that the target launcher of a guest will have."""
        if uid not in self._labels:
            mover = self.by_uid[uid]
            self._labels[uid] = labels_to_come(mover.instance, mover.launcher)
        return self._labels[uid]

    def meant(self, terms: tuple[PodTerm, ...]) -> frozenset[str]:
        """UIDs of those whose launchers all of these terms select, before and after they have moved."""
        return frozenset(
            mover.uid
            for mover in self._of(self.everybody.crowds.matched(terms[0]))
            if self.everybody.matches_itself(terms, mover.launcher.key.namespace, self.labels(mover.uid))
        )

    def selected(self, namespace: str, selector: LabelSelector) -> frozenset[str]:
        """UIDs of those in a namespace whose launchers a selector selects now."""
        return frozenset(mover.uid for mover in self._of(self.everybody.crowds.selected(namespace, selector)))

    def _of(self, pods: Iterable[Pod]) -> Iterator[Mover]:
        for pod in pods:
            mover = self.by_uid.get(pod.instance_uid)
            if mover is not None and mover.launcher.uid == pod.uid:
                yield mover
