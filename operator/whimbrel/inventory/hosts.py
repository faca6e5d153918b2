"""Hosts: each Node with the HostProfile that applies to it.

The profile with the most matched selector keys wins, then the lexicographically smallest name; the winner applies whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.host_profile import HostCpu, HostMigration, HostProfileSpec
from whimbrel.domain.records import Node
from whimbrel.inventory.labels import carries
from whimbrel.inventory.snapshot import Snapshot

_NOTHING_DECLARED = HostCpu()


@dataclass(frozen=True, slots=True)
class Host:
    """A Node and what its profile declares. Without a profile it is neither source nor target."""

    node: Node
    profile_name: str
    profile: HostProfileSpec | None
    conflicts: tuple[str, ...] = ()
    """Names of other profiles that select the node too, best match first."""

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


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where one profile is in effect."""

    nodes: tuple[str, ...]
    """Names of the nodes that it applies to, sorted."""
    overridden: tuple[tuple[str, str], ...]
    """(node, winning profile) of the nodes that it selects and another profile has, sorted."""


def effective_hosts(snapshot: Snapshot) -> Mapping[str, Host]:
    """All hosts by node name, sorted. Invalid profiles apply nowhere."""
    ranked = _ranked(snapshot)
    hosts = {}
    for node in sorted(snapshot.nodes.values(), key=lambda node: node.name):
        matching = list(_matching(node, ranked))
        name, spec = matching[0] if matching else ("", None)
        hosts[node.name] = Host(node, name, spec, tuple(other for other, _ in matching[1:]))
    return hosts


def profile_coverage(snapshot: Snapshot) -> Mapping[str, Coverage]:
    """By profile name: the nodes that it applies to, and those that another profile has. Invalid ones cover nothing."""
    nodes: dict[str, list[str]] = {key.name: [] for key in sorted(snapshot.profiles)}
    overridden: dict[str, list[tuple[str, str]]] = {name: [] for name in nodes}
    for host in effective_hosts(snapshot).values():
        if host.profile_name:
            nodes[host.profile_name].append(host.name)
        for other in host.conflicts:
            overridden[other].append((host.name, host.profile_name))
    return {name: Coverage(tuple(nodes[name]), tuple(overridden[name])) for name in nodes}


def _ranked(snapshot: Snapshot) -> list[tuple[str, HostProfileSpec]]:
    """Valid profiles, the most specific first. A match is always of all keys, so their number ranks once for all nodes."""
    valid = [
        (record.key.name, record.profile.spec) for record in snapshot.profiles.values() if record.profile is not None
    ]
    return sorted(valid, key=lambda profile: (-len(profile[1].node_selector), profile[0]))


def _matching(node: Node, ranked: list[tuple[str, HostProfileSpec]]) -> Iterator[tuple[str, HostProfileSpec]]:
    return (profile for profile in ranked if carries(node.labels, profile[1].node_selector))
