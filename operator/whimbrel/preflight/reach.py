"""Reach: where the scheduler could put a guest when KubeVirt cannot be told a target (before 1.6).

Errs on the safe side. A host is out of reach only for certain: KubeVirt takes no guests there, it is cordoned, the guest is on
it, or the guest's own node selector, architecture or named CPU model, which KubeVirt always turns into selectors, keep it
away. Taints, affinity, room and selectors by host-model, which are not known for certain, keep nobody away.
"""

from collections.abc import Collection

from whimbrel.api.text import listed
from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import SCHEDULABLE_LABEL, Host
from whimbrel.preflight import cpu, node_selector
from whimbrel.preflight.family import Reach
from whimbrel.preflight.lineup import Lineup, Terms

_MOST_SHOWN = 6
_NOT_NAMED = frozenset({"", "host-model", "host-passthrough"})


class Surroundings:
    """All hosts, seen once for all guests of one assessment. `permitted` narrows what the plan allows; None: it does not."""

    __slots__ = ("_allowed", "_lineup", "_open", "_texts")

    def __init__(self, lineup: Lineup, permitted: Collection[str] | None = None) -> None:
        self._lineup = lineup.common
        self._allowed = lineup.wanted & self._lineup.classes(_enabled).get(True, 0)
        if permitted is not None:
            self._allowed &= sum(lineup.bit(name) for name in set(permitted))
        self._open = self._lineup.classes(_open).get(True, 0) & self._lineup.carrying(SCHEDULABLE_LABEL, "true")
        self._texts: dict[tuple[int, int], Reach] = {}

    def of(self, instance: Instance) -> Reach:
        """The reach of a guest."""
        possible = self._possible(instance)
        known = (possible & self._allowed, possible & self._open & ~self._allowed)
        if known not in self._texts:
            allowed, stray = (self._lineup.names(mask) for mask in known)
            self._texts[known] = Reach(allowed, listed(stray, _MOST_SHOWN))
        return self._texts[known]

    def _possible(self, instance: Instance) -> int:
        """The hosts that nothing of the guest's own keeps it away from for certain."""
        own = instance.cpu
        model = "" if own.model in _NOT_NAMED else own.model
        features = frozenset(name for name, policy in own.features if policy in cpu.NEEDED_POLICIES)
        asked = cpu.Demand(instance.architecture, model, False, features if model else frozenset(), frozenset())
        selected = node_selector.mask(tuple(sorted(instance.node_selector.items())), self._lineup)
        return cpu.mask(asked, self._lineup) & selected & ~self._lineup.bit(instance.node)


def _enabled(host: Host, _terms: Terms) -> bool:
    return host.enabled


def _open(host: Host, _terms: Terms) -> bool:
    return not host.node.unschedulable
