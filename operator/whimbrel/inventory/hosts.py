"""Hosts: each Node with the HostProfile that applies to it.

A profile that names the node wins, then the one with the most matched selector keys, then the lexicographically smallest name;
the winner applies whole. A profile that breaks a rule wins as if it did not, and its nodes are then not enabled: a less
specific one that took over would enable what somebody meant to keep out.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from whimbrel.api.host_profile import HostCpu, HostMigration, HostProfileSpec
from whimbrel.domain.records import Node, Profile
from whimbrel.inventory.labels import carries
from whimbrel.inventory.snapshot import Snapshot

SCHEDULABLE_LABEL = "kubevirt.io/schedulable"
"""Label by which KubeVirt says that virt-handler is well there (KubeVirt contract §10)."""
_NOTHING_DECLARED = HostCpu()


@dataclass(frozen=True, slots=True)
class Host:
    """A Node and what its profile declares. Without a profile it is neither source nor target."""

    node: Node
    profile_name: str
    profile: HostProfileSpec | None
    """None where no profile selects the node, and where the one that does breaks a rule."""
    conflicts: tuple[str, ...] = ()
    """Names of other profiles that select the node too, best match first."""
    error: str = ""
    """Which rule the profile breaks, or empty."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def migration(self) -> HostMigration | None:
        """What the profile says about live migration."""
        return self.profile.migration if self.profile is not None else None

    @property
    def cpu(self) -> HostCpu:
        """What the profile says about the processor; nothing without a profile."""
        return self.profile.cpu if self.profile is not None else _NOTHING_DECLARED

    @property
    def enabled(self) -> bool:
        """Whether plans may use it as source and target."""
        return self.migration is not None and self.migration.enabled

    @property
    def takes_guests(self) -> bool:
        """Whether guests can be started there at all, whatever room it has."""
        node = self.node
        return node.ready and not node.unschedulable and node.labels.get(SCHEDULABLE_LABEL) == "true"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where one profile is in effect."""

    nodes: tuple[str, ...]
    """Names of the nodes that it applies to, sorted."""
    overridden: tuple[tuple[str, str], ...]
    """(node, winning profile) of the nodes that it selects and another profile has, sorted."""


def effective_hosts(snapshot: Snapshot) -> Mapping[str, Host]:
    """All hosts by node name, sorted."""
    ranked = _ranked(snapshot)
    hosts = {}
    for node in sorted(snapshot.nodes.values(), key=lambda node: node.name):
        matching = list(_matching(node, ranked))
        best = matching[0] if matching else None
        spec = best.profile.spec if best is not None and best.profile is not None else None
        hosts[node.name] = Host(
            node,
            profile_name=best.key.name if best is not None else "",
            profile=spec,
            conflicts=tuple(other.key.name for other in matching[1:]),
            error=best.error if best is not None else "",
        )
    return hosts


def profile_coverage(snapshot: Snapshot) -> Mapping[str, Coverage]:
    """By profile name: the nodes that it applies to, and those that another profile has. One that breaks a rule keeps its
    nodes from being enabled: they are its own as well.
    """
    nodes: dict[str, list[str]] = {key.name: [] for key in sorted(snapshot.profiles)}
    overridden: dict[str, list[tuple[str, str]]] = {name: [] for name in nodes}
    for host in effective_hosts(snapshot).values():
        if host.profile_name:
            nodes[host.profile_name].append(host.name)
        for other in host.conflicts:
            overridden[other].append((host.name, host.profile_name))
    return {name: Coverage(tuple(nodes[name]), tuple(overridden[name])) for name in nodes}


@dataclass(frozen=True, slots=True)
class _Selecting:
    """A profile's selection, ready to be asked about many nodes."""

    record: Profile
    names: Set[str] | None
    labels: Mapping[str, str]

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """The smallest wins. A match is always of all keys, so their number ranks once for all nodes."""
        return (self.record.selection is not None, self.names is None, -len(self.labels), self.record.key.name)

    def selects(self, node: Node) -> bool:
        """Whether it selects the node."""
        return (self.names is None or node.name in self.names) and carries(node.labels, self.labels)


def _ranked(snapshot: Snapshot) -> list[_Selecting]:
    """All profiles, the most specific first.

    Before all others goes one of which nobody can tell which nodes it means: it may mean any, and may mean to keep it out. The
    API server stores no such object by the CRD of this release.
    """
    return sorted(map(_selecting, snapshot.profiles.values()), key=lambda profile: profile.rank)


def _selecting(record: Profile) -> _Selecting:
    selection = record.selection
    if selection is None:
        return _Selecting(record, None, {})
    names = frozenset(selection.node_names) if selection.node_names is not None else None
    return _Selecting(record, names, selection.node_selector)


def _matching(node: Node, ranked: list[_Selecting]) -> Iterator[Profile]:
    return (profile.record for profile in ranked if profile.selects(node))
