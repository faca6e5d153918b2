"""A move that waits for its turn, and the circumstances that decide about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from whimbrel.api.ladder import Migration
from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.records import Capabilities, Instance, Key, KubeVirt, Move, Plan
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.snapshot import Refusal, Snapshot
from whimbrel.ladder.consent import exceeds
from whimbrel.ladder.served import spared, unserved
from whimbrel.lifecycle.left_paused import LeftPaused, left_paused
from whimbrel.preflight import PreflightReason, platform


@dataclass(frozen=True, slots=True)
class Candidate:
    """A move whose current attempt has not begun."""

    plan_uid: str
    plan_key: Key
    spec: MigrationPlanSpec
    move: Move
    attempt: AttemptSpec
    instance: Instance
    migration_key: Key
    begun: bool
    """Whether its labels are set already: it holds its slots, whoever else waits."""
    beyond: tuple[str, ...]
    """What it could do, as specified, that the plan does not permit."""
    lacking: tuple[str, ...] | None
    """What it needs, as specified, that this KubeVirt cannot be told; None: not known."""
    turn: tuple[bool, datetime, str, int, Key]
    """Who asks before whom: what has begun, because it holds its slots; then older plans, then larger guests."""
    in_turn: bool = False
    """Whether an outlook of this very tick found that nobody has to come to its target before it."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        spec: MigrationPlanSpec,
        move: Move,
        attempt: AttemptSpec,
        instance: Instance,
        migration_key: Key,
        capabilities: Capabilities | None,
        *,
        begun: bool,
        in_turn: bool = False,
        permitted: Migration | None = None,
    ) -> "Candidate":
        """A candidate, with what can be said of it whoever else waits.

        `permitted`: the plan's terms, less what its owner forbids; None: he forbids nothing.
        """
        lacking = None if capabilities is None else unserved(attempt, capabilities)
        passes_through = spared(instance, capabilities)
        beyond = exceeds(attempt, permitted or spec.migration, passes_devices_through=passes_through)
        turn = (not begun, plan.created_at, plan.uid, -instance.memory_bytes, move.key)
        return cls(
            plan.uid, plan.key, spec, move, attempt, instance, migration_key, begun, beyond, lacking, turn, in_turn
        )


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who has to do with a target that has not room for all that are to come before others have left. Both sorted."""

    leaving: tuple[Key, ...]
    """Keys of the instances that leave it."""
    coming: tuple[Key, ...]
    """Keys of those that are to come."""


@dataclass(frozen=True)
class Circumstances:
    """What constraints look at beside the ledger."""

    now: datetime
    snapshot: Snapshot
    hosts: Mapping[str, Host]
    claims: Mapping[str, str]
    """UID of the instance → UID of the plan that has it."""
    plan_names: Mapping[str, str]
    """UID of a plan → `namespace/name`."""
    crowded: Mapping[str, Crowd] = field(default_factory=dict)
    """By name the targets that have not room for all that are to come before others have left."""

    @cached_property
    def kubevirt(self) -> KubeVirt | None:
        """The KubeVirt installation."""
        return self.snapshot.kubevirt

    @cached_property
    def against_platform(self) -> PreflightReason | None:
        """The first reason to leave KubeVirt alone just now."""
        reasons = platform.judge(platform.read(self.snapshot))
        return next((reason for reason in reasons if reason.blocks), None)

    @cached_property
    def left_paused(self) -> tuple[LeftPaused, ...]:
        """Guests that were not seen running again after their stun was ended."""
        return left_paused(self.snapshot.instances, self.snapshot.migrations, self.now)

    @property
    def refusals(self) -> Mapping[Key, Refusal]:
        """Creates that the API server did not accept."""
        return self.snapshot.refusals


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a move does not start now; `until` where only time decides."""

    reason: str
    message: str
    until: datetime | None = None


UNKNOWN_CAPABILITIES = Wait(
    "KubeVirtCapabilitiesUnknown",
    "KubeVirt's schemas have not been read, so it is not known what it can be told; the operator's /readyz says why.",
)
"""Not even a quote is made then: what a rung is and where a guest may land depends on the release."""
