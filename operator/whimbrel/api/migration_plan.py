"""MigrationPlan: which virtual machines move, where to, how hard. The user's intent and its outcome.

Only fields that act exist. Read by `inventory`, written (status only) by the executor.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from whimbrel.api.definition import PrinterColumn, ResourceDefinition
from whimbrel.api.ladder import Migration, Rung
from whimbrel.api.quote import Quote
from whimbrel.api.scalars import (
    MAX_NODES,
    ApiModel,
    Condition,
    LabelMap,
    LabelSelector,
    Message,
    ObjectName,
    Reason,
    Rule,
    ShortText,
    Timestamp,
    conditions_field,
    names_field,
)
from whimbrel.api.virtual_machine_move import MovePhase

APPROVE_ANNOTATION = "whimbrel.dev/approve"
FINALIZER = "whimbrel.dev/migrations-in-flight"


class NonMigratable(StrEnum):
    """What a selected virtual machine that cannot move means for the rest."""

    BLOCK = "Block"
    LEAVE = "Leave"


class Approval(StrEnum):
    """Whether a quote needs a person's yes before anything moves."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Strategy(StrEnum):
    """What to prefer among hosts that all do."""

    SPREAD = "Spread"
    PACK = "Pack"


class NamespaceTerm(ApiModel):
    """Namespaces by name or by label."""

    names: tuple[ObjectName, ...] | None = names_field("Names of namespaces.", 100)
    selector: LabelSelector | None = Field(None, description="Labels of namespaces.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.names) != has(self.selector)",
            "namespaces needs exactly one of names and selector",
            lambda t: (t.names is None) != (t.selector is None),
        ),
    )


class NodeTerm(ApiModel):
    """Nodes by name or by label."""

    names: tuple[ObjectName, ...] | None = names_field("Names of nodes.", MAX_NODES)
    node_selector: LabelMap | None = Field(None, min_length=1, description="Labels that the nodes carry.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.names) != has(self.nodeSelector)",
            "onNodes needs exactly one of names and nodeSelector",
            lambda t: (t.names is None) != (t.node_selector is None),
        ),
    )


class Exclusion(ApiModel):
    """Virtual machines that a plan leaves out although its other terms select them."""

    names: tuple[ObjectName, ...] | None = names_field("Names of virtual machines to leave out.")
    selector: LabelSelector | None = Field(None, description="Labels of virtual machines to leave out.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.names) || has(self.selector)",
            "exclude needs names or selector",
            lambda e: e.names is not None or e.selector is not None,
        ),
    )


class VirtualMachines(ApiModel):
    """Which virtual machines move. The terms are intersected."""

    names: tuple[ObjectName, ...] | None = names_field("Names of virtual machines.")
    selector: LabelSelector | None = Field(
        None, description="Labels of the VirtualMachine; a bare VirtualMachineInstance is selected by its own labels."
    )
    namespaces: NamespaceTerm | None = Field(
        None, description="Namespaces to look in. Absent: the plan's own namespace only."
    )
    on_nodes: NodeTerm | None = Field(None, description="Only virtual machines that run on these nodes when quoted.")
    exclude: Exclusion | None = Field(None, description="Virtual machines to leave out.")
    non_migratable: NonMigratable = Field(
        NonMigratable.BLOCK,
        description="Block: no move starts while a selected virtual machine cannot move. Leave: it is skipped.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.names) || has(self.selector) || has(self.onNodes)",
            "virtualMachines needs at least one of names, selector and onNodes",
            lambda v: v.names is not None or v.selector is not None or v.on_nodes is not None,
        ),
    )


class Headroom(ApiModel):
    """What stays free on every target."""

    memory_percent: int = Field(
        0,
        ge=0,
        le=90,
        description="Percent of a target's allocatable memory that must stay unrequested after arrivals.",
    )
    host_failures: int = Field(
        0,
        ge=0,
        le=16,
        description="So many hosts the cluster must be able to lose afterwards: of memory and of CPU, what all hosts have "
        "free is no less than what the so many largest hold for virtual machines. Of plans that are quoted together the "
        "greatest number holds.",
    )


class Target(ApiModel):
    """Where virtual machines may go."""

    node_names: tuple[ObjectName, ...] | None = names_field("Only these nodes may be targets.", MAX_NODES)
    node_selector: LabelMap | None = Field(
        None, min_length=1, description="Only nodes with these labels may be targets."
    )
    exclude_nodes: tuple[ObjectName, ...] | None = names_field("Nodes that may not be targets.", MAX_NODES)
    strategy: Strategy = Field(
        Strategy.SPREAD,
        description="Among targets that all do. Spread: the one with most memory left. Pack: the one with least.",
    )
    headroom: Headroom = Field(default=Headroom(), description="What stays free on every target.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.nodeNames) && has(self.nodeSelector))",
            "target takes nodeNames or nodeSelector, not both",
            lambda t: t.node_names is None or t.node_selector is None,
        ),
    )


class MigrationPlanSpec(ApiModel):
    """The intent."""

    virtual_machines: VirtualMachines = Field(description="Which virtual machines move.")
    target: Target = Field(
        default=Target(),
        description="Where they may go. Absent: any enabled node. What runs on a node named here already stays, unless it is "
        "selected by onNodes.",
    )
    migration: Migration = Field(default=Migration(), description="How hard to try.")
    approval: Approval = Field(
        Approval.AUTOMATIC,
        description="Manual: nothing moves until the annotation whimbrel.dev/approve names the hash of the quote.",
    )
    suspend: bool = Field(False, description="True: nothing new starts; moves in flight finish.")
    dry_run: bool = Field(False, description="True: quote only; nothing moves.")


class PlanPhase(StrEnum):
    """A plan's state in one word; the conditions say more."""

    PENDING = "Pending"
    BLOCKED = "Blocked"
    AWAITING_APPROVAL = "AwaitingApproval"
    QUOTED = "Quoted"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CANCELLING = "Cancelling"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Counts(ApiModel):
    """How many moves are in which state."""

    total: int = Field(0, ge=0, description="All moves.")
    waiting: int = Field(0, ge=0, description="Not begun, or waiting for a further attempt.")
    active: int = Field(0, ge=0, description="In flight.")
    blocked: int = Field(0, ge=0, description="Cannot move for now.")
    succeeded: int = Field(0, ge=0, description="Moved and verified.")
    failed: int = Field(0, ge=0, description="All attempts spent, or lost.")
    skipped: int = Field(0, ge=0, description="Cannot move and left where they are.")
    cancelled: int = Field(0, ge=0, description="Cancelled before they moved.")
    unverified: int = Field(0, ge=0, description="Moved, but not verified.")


class ActiveMove(ApiModel):
    """Progress of one move in flight."""

    virtual_machine: ShortText = Field(description="Namespace and name of the virtual machine, `namespace/name`.")
    source_node: ShortText = Field("", description="Where it runs.")
    target_node: ShortText = Field("", description="Where it goes.")
    phase: MovePhase = Field(description="Phase of the move.")
    rung: Rung = Field(description="Rung of this attempt.")
    attempt: int = Field(ge=1, description="Number of this attempt.")
    percent: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Share of all that the copy will have sent by its end, by its forecast; without one, of its memory. "
        "Never goes back within an attempt.",
    )
    remaining_mib: int | None = Field(None, ge=0, description="MiB still to copy, by the last sample.")
    eta_p50: Timestamp | None = Field(
        None, alias="etaP50", description="When the copy will end, by its samples: as likely later as sooner."
    )
    eta_p90: Timestamp | None = Field(
        None, alias="etaP90", description="The same, with one chance in ten of being later."
    )


class WaitSummary(ApiModel):
    """How many moves wait for one reason."""

    reason: Reason = Field(description="Stable code of the reason.")
    count: int = Field(ge=1, description="How many moves wait for it.")
    message: Message = Field("", description="What the first of them waits for.")


class PlanReceipt(ApiModel):
    """What a finished plan came to, fact beside forecast. Facts are what was measured; it says how much was not."""

    duration_seconds: int = Field(ge=0, description="From the first start to the last end.")
    quoted_p50_seconds: int | None = Field(None, ge=0, description="What was expected of that when it was quoted.")
    quoted_p90_seconds: int | None = Field(None, ge=0, description="The same, with one chance in ten of taking longer.")
    moved: int = Field(0, ge=0, description="Virtual machines that moved and were verified.")
    bytes: int = Field(0, ge=0, description="Bytes that their successful attempts sent, as far as measured.")
    wasted_bytes: int = Field(
        0, ge=0, description="Bytes that attempts sent which did not move their guest, as far as measured."
    )
    wasted_unmeasured: int = Field(
        0, ge=0, description="Attempts that copied without moving their guest, and whose bytes nobody measured."
    )
    bytes_unmeasured: int = Field(0, ge=0, description="Moved virtual machines whose bytes nobody measured.")
    longest_downtime_ms: int | None = Field(
        None,
        ge=0,
        description="Longest that a virtual machine is known to have been suspended at a time, in milliseconds, by attempts "
        "that failed as well.",
    )
    downtime_unmeasured: int = Field(0, ge=0, description="Moved virtual machines whose downtime nobody measured.")
    attempts: int = Field(0, ge=0, description="Migrations that were begun.")
    p90_held: int = Field(0, ge=0, description="Of the moves with a forecast those that took no longer than its p90.")
    p90_missed: int = Field(0, ge=0, description="Those that took longer.")


class MigrationPlanStatus(ApiModel):
    """The outcome, written by the operator alone."""

    observed_generation: int | None = Field(None, ge=0, description="Generation of the spec that this status is of.")
    phase: PlanPhase = Field(PlanPhase.PENDING, description="The plan's state in one word.")
    message: Message = Field("", description="The most important thing to know now.")
    progress: ShortText = Field("", description="Finished of all moves, `n/m`.")
    percent: int = Field(0, ge=0, le=100, description="Share of the work that is done; never goes back.")
    reported_at: Timestamp | None = Field(None, description="When progress was last reported; at most every 15 s.")
    started_at: Timestamp | None = Field(None, description="When the first move began.")
    finished_at: Timestamp | None = Field(None, description="When the last move ended.")
    quote: Quote | None = Field(None, description="What will happen, before anything moves.")
    moves: Counts = Field(default=Counts(), description="How many moves are in which state.")
    active: tuple[ActiveMove, ...] = Field((), max_length=32, description="The first 32 moves in flight.")
    eta_p50: Timestamp | None = Field(
        None,
        alias="etaP50",
        description="When the last move will have ended, while copies run that tell of it and all others have a forecast.",
    )
    eta_p90: Timestamp | None = Field(
        None, alias="etaP90", description="The same, with one chance in ten of being later."
    )
    receipt: PlanReceipt | None = Field(None, description="What the finished plan came to, fact beside forecast.")
    waits: tuple[WaitSummary, ...] = Field((), max_length=16, description="Why moves wait, by reason.")
    conditions: tuple[Condition, ...] = conditions_field()


class MigrationPlan(ApiModel):
    """Moves running virtual machines to other nodes without stopping them."""

    spec: MigrationPlanSpec = Field(description="The intent.")
    status: MigrationPlanStatus = Field(default=MigrationPlanStatus(), description="The outcome.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(oldSelf.status) || !has(oldSelf.status.finishedAt) || self.spec == oldSelf.spec",
            "the spec is frozen because this plan has finished; create a new plan",
        ),
    )

    CRD: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="MigrationPlan",
        plural="migrationplans",
        singular="migrationplan",
        short_names=("mplan",),
        scope="Namespaced",
        printer_columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Progress", ".status.progress"),
            PrinterColumn("Percent", ".status.percent", "integer"),
            PrinterColumn("ETA", ".status.etaP50"),
            PrinterColumn("Message", ".status.message"),
            PrinterColumn("Quote", ".status.quote.hash", priority=1),
            PrinterColumn("Failed", ".status.moves.failed", "integer", priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
