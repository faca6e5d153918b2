"""What a preflight family is, and what it is told: the shapes that the files of this room share.

A family maps an instance to its `demand` and a host to its `supply`, both hashable values, and judges the two. Whatever
is equal is judged once. Called by `preflight.assessment`.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.records import Instance, Migration, Pod
from whimbrel.domain.verdict import Reason
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight.lineup import Lineup, Terms

ANOTHER_POD = "a pod of another namespace"
"""Stands for the name of a pod that the owner of a guest may know nothing of."""


class PreflightReason(Reason):
    """Base of all reasons of this room."""

    evidence: ClassVar[str] = ""
    """Where to see it for oneself: one of `preflight.where`, or words. For the reference page; a test asks for it."""
    remedies: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What to do instead of `remedy`, by what was found up to a colon, where causes are mended in different places."""
    example: ClassVar[str] = ""
    """Of what it says, for the reference page, where neither the blocker corpus nor docgen makes one."""
    transient: ClassVar[bool] = False
    """True: it passes without anybody's doing, so the virtual machine waits instead of being blocked."""

    def cure(self) -> str:
        """The remedy for what was found."""
        return self.remedies.get(self.found.partition(":")[0]) or Reason.cure(self)


class PreflightWarning(PreflightReason):
    """Base of the reasons that announce a consequence and keep nobody from moving."""

    judgement = Judgement.WARN
    blocks = False


class PreflightUnknown(PreflightReason):
    """Base of the reasons that something decisive is not known. They say how to supply it, and block only where they say so."""

    judgement = Judgement.UNKNOWN
    blocks = False


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the scheduler could put a guest (`preflight.reach`); equal for all guests on one host that ask for the same."""

    allowed: tuple[str, ...]
    """Names of the hosts that it may land on, those that take nobody just now included."""
    stray: str
    """Hosts that the scheduler could pick and that are not allowed, listed; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that a plan wants to move, with what the cluster says of it."""

    instance: Instance
    source: Host | None
    """None where its node is not in the snapshot."""
    migration: Migration | None
    """Its unfinished migration, anybody's."""
    launchers: tuple[Pod, ...]
    """Its launchers that have not ended."""
    requests: PodDemand
    """What its launcher takes of a node, with what is beside it."""
    holder: Pod | None
    """What holds its hotplugged volumes beside its launcher, or what stands in for it; None: it has none."""
    template: Pod | None
    """The launcher that it runs in, which the target launcher will resemble; None where it is not known."""
    ledger: Ledger
    """For what is around the target launcher. Read by `demand` alone."""
    snapshot: Snapshot
    """For what belongs to the guest: its claims, networks, namespace. Read by `demand` alone."""
    reach: Reach | None
    """Where the scheduler could put it; None where its migration names a target."""
    evacuated: bool = False
    """Whether the plan empties its node."""

    @property
    def names_target(self) -> bool:
        """Whether its migration will name its target; the same for all plans."""
        return self.reach is None


class GuestFamily(Protocol):
    """Rules about the guest where it is: what fails here fails for every target."""

    @property
    def REASONS(self) -> tuple[type[PreflightReason], ...]:  # noqa: N802 - a constant of the module
        """The reasons that it may give."""

    @property
    def OF_THE_PLAN(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether a plan's terms have a say (`reach`, `evacuated`); else what is found holds for all plans of a tick."""

    def demand(self, candidate: Candidate) -> Hashable:
        """What the rules look at; equal for all guests of one class."""

    def judge(self, demand: Any) -> Iterator[PreflightReason]:
        """Every reason against moving it at all."""


class HostFamily(Protocol):
    """Rules about a guest and a target."""

    @property
    def REASONS(self) -> tuple[type[PreflightReason], ...]:  # noqa: N802 - a constant of the module
        """The reasons that it may give."""

    @property
    def OF_THE_PLAN(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether a plan's terms have a say in the demand, the supply or the mask; else what is found out is found out
        once for all plans of a tick.
        """

    @property
    def OF_THE_MOMENT(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether the answer changes as machines come and go; placement then counts for itself."""

    @property
    def NEEDS(self) -> str:  # noqa: N802 - a constant of the module
        """What a host must have for the family's sake, as in "no host has the … it needs"; empty: it must take the guest."""

    def demand(self, candidate: Candidate, home: Any) -> Hashable:
        """What the guest needs; `home` is what its source host supplies, None where that is unknown."""

    def supply(self, host: Host, terms: Terms) -> Hashable:
        """What the host offers under the plan's terms."""

    def mask(self, demand: Any, lineup: Lineup) -> int:
        """The hosts that nothing blocks; equal to asking `judge` about each."""

    def judge(self, demand: Any, supply: Any) -> Iterator[PreflightReason]:
        """Every reason against this guest on this host."""
