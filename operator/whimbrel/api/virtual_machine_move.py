"""VirtualMachineMove: one virtual machine's journey under one plan. Written by the operator alone.

Its spec is the specification of attempt 1 as it was quoted; the specification of a further attempt stands in the status,
beside the outcome of the attempt before it. Phases are derived from evidence; only decisions and outcomes are stored.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from whimbrel.api.definition import PrinterColumn, ResourceDefinition
from whimbrel.api.forecast import Forecast
from whimbrel.api.ladder import Compression, Rung
from whimbrel.api.scalars import (
    ApiModel,
    Condition,
    Message,
    Reason,
    ShortText,
    Timestamp,
    Uid,
    conditions_field,
)


class MovePhase(StrEnum):
    """Phases of a move. Those in flight are derived and shown in the plan's status; the others are stored."""

    BLOCKED = "Blocked"
    WAITING = "Waiting"
    STARTING = "Starting"
    COPYING = "Copying"
    STUNNED = "Stunned"
    POST_COPY = "PostCopy"
    ABORTING = "Aborting"
    VERIFYING = "Verifying"
    MOVING = "Moving"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    UNVERIFIED = "Unverified"

    # Equal to its text, so hashed like it; that of Enum is a Python function, and each tick asks for thousands.
    __hash__ = str.__hash__


TERMINAL_PHASES = frozenset(
    {MovePhase.SUCCEEDED, MovePhase.FAILED, MovePhase.SKIPPED, MovePhase.CANCELLED, MovePhase.UNVERIFIED}
)


class InstanceReference(ApiModel):
    """The VirtualMachineInstance that moves."""

    namespace: ShortText = Field(description="Its namespace.")
    name: ShortText = Field(description="Its name.")
    uid: Uid = Field(description="Its UID; another instance of the same name is another guest.")
    memory_bytes: int = Field(ge=0, description="Guest memory in bytes.")
    node: ShortText = Field("", description="Node that it ran on when this was quoted.")
    agent_connected: bool = Field(False, description="Whether the guest agent answered when this was quoted.")


class KubeVirtConfiguration(ApiModel):
    """The configuration of KubeVirt that an attempt must run under."""

    bandwidth_bytes_per_second: int = Field(ge=0, description="Cap on the rate, whole MiB/s in bytes; 0 is unlimited.")
    completion_timeout_per_gib: int = Field(
        ge=0, description="Seconds per started 10^9 bytes, KubeVirt's unit; 0 is never."
    )
    allow_auto_converge: bool = Field(False, description="Whether KubeVirt may throttle the guest.")
    allow_post_copy: bool = Field(False, description="Whether KubeVirt may switch to post-copy.")
    allow_workload_disruption: bool = Field(
        False, description="Whether KubeVirt may suspend the guest at the deadline."
    )
    max_downtime_ms: int | None = Field(
        None,
        ge=1,
        le=2_000_000,
        description="Longest last step in milliseconds that KubeVirt may allow the hypervisor; absent where KubeVirt's stall "
        "detection is off, which then leaves the hypervisor's own 300.",
    )
    stall_window_seconds: int | None = Field(
        None, ge=1, description="After so many seconds without progress KubeVirt acts; absent: KubeVirt's own 40."
    )
    compression: Compression | None = Field(None, description="How memory is compressed; absent: not by this attempt.")

    @property
    def under_stall_detection(self) -> bool:
        """Whether it was made for a KubeVirt whose stall detection is on: a pause is then the hypervisor's last step."""
        return self.max_downtime_ms is not None


MAX_ALLOWED_NODES = 256
"""Bound of what a move remembers where the scheduler chooses the target; 10 000 moves may remember it."""
MOST_LABEL_PAIRS = 64
"""Bound of the reserved labels that an instance is burdened with, whatever they would have to outbid."""


class AttemptSpec(ApiModel):
    """The specification of one attempt: all that is needed to begin it, and to judge it afterwards."""

    number: int = Field(1, ge=1, le=100, description="Number of the attempt, from 1.")
    rung: Rung = Field(description="Rung of the ladder.")
    source_node: ShortText = Field(description="Node that the virtual machine runs on.")
    target_node: ShortText = Field(description="Node that it goes to, or is expected to go to: see `allowedNodes`.")
    target_hostname: ShortText = Field(description="Value of the target's label kubernetes.io/hostname.")
    allowed_nodes: tuple[ShortText, ...] = Field(
        (),
        max_length=MAX_ALLOWED_NODES,
        description="Nodes that it may land on where KubeVirt cannot be told a target (before 1.6) and `targetNode` is only "
        "the expected one; empty where it can.",
    )
    detour: bool = Field(
        False,
        description="Whether the target is a stop on the way: no order of moves leads to the place it will have directly. A "
        "further attempt follows, which `attempts` of the plan does not count.",
    )
    final_node: ShortText = Field(
        "", description="Node that it is to have in the end, where the target is, or was, a stop on the way."
    )
    configuration: KubeVirtConfiguration = Field(description="The configuration of KubeVirt that it must run under.")
    policy_name: ShortText = Field(
        "",
        description="MigrationPolicy that carries the configuration; empty when KubeVirt's own already is the wanted one.",
    )
    policy_labels: int = Field(
        0, ge=0, le=MOST_LABEL_PAIRS, description="How many reserved label pairs attach the policy."
    )
    deadline_seconds: int = Field(ge=0, description="KubeVirt's completion deadline for this attempt in seconds.")
    most_bytes: int | None = Field(None, ge=1, description="Most bytes that it may send; absent: unlimited.")
    unschedulable_timeout_seconds: int | None = Field(
        None,
        ge=1,
        description="Seconds after which KubeVirt gives up a target pod that is not placed; absent: its own limit.",
    )
    pending_timeout_seconds: int | None = Field(
        None,
        ge=1,
        description="Seconds after which KubeVirt gives up a target pod that does not run; absent: its own limit.",
    )
    previous_migration_uid: Uid = Field(
        "", alias="previousMigrationUID", description="migrationUid that the instance showed when this was decided."
    )
    forecast: Forecast = Field(description="What is expected of the attempt.")

    @property
    def names_target(self) -> bool:
        """Whether its migration says where to; otherwise the scheduler chooses among the allowed nodes."""
        return not self.allowed_nodes

    @property
    def stays_on(self) -> str:
        """Node that it is to have in the end; empty where that is not known."""
        return self.final_node or ("" if self.detour else self.target_node)

    @property
    def landing_nodes(self) -> tuple[str, ...]:
        """Every node that it may land on."""
        return self.allowed_nodes or (self.target_node,)


class Judgement(StrEnum):
    """What a verdict means; what passes has none."""

    BLOCK = "Block"
    WARN = "Warn"
    UNKNOWN = "Unknown"


class Verdict(ApiModel):
    """One reason why a virtual machine cannot move, or what is to be known of its move beforehand."""

    judgement: Judgement = Field(
        Judgement.BLOCK,
        description="Block: it cannot move. Warn: it can, with this consequence. Unknown: what decides is not known.",
    )
    code: Reason = Field(description="Stable code of the reason.")
    node: ShortText = Field(
        "", description="First node that it is about, and `found` and `remedy` with it; empty when it holds everywhere."
    )
    further_nodes: tuple[ShortText, ...] = Field(
        (), max_length=4, description="The next nodes that it holds on, by name; `found` may differ there."
    )
    node_count: int = Field(0, ge=0, description="How many nodes it holds on, those not named included.")
    field: ShortText = Field("", description="Field that decides.")
    found: ShortText = Field("", description="Value found.")
    needed: ShortText = Field("", description="Value needed.")
    remedy: Message = Field("", description="What to do about it.")

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that are named."""
        return (self.node, *self.further_nodes) if self.node else ()

    @property
    def nodes_unnamed(self) -> int:
        """How many more there are. Verdicts of an older release have no count."""
        return max(0, self.node_count - len(self.nodes))


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ABORTED = "Aborted"
    CANCELLED = "Cancelled"
    NAME_TAKEN = "NameTaken"
    UNVERIFIED = "Unverified"


IN_VAIN = frozenset({AttemptOutcome.FAILED, AttemptOutcome.ABORTED, AttemptOutcome.CANCELLED})
"""Outcomes after which the guest is where it was."""


class SeenPoint(ApiModel):
    """A point of the guest's dirty curve, as a migration has shown it: what the next forecast of this guest goes by."""

    window_ms: int = Field(ge=1, description="Length of the window in milliseconds.")
    distinct_bytes: int = Field(ge=0, description="Distinct bytes that the guest dirtied within it.")
    at_most: bool = Field(False, description="Whether it was no more than that, and may have been less.")


class AttemptRecord(ApiModel):
    """What became of an attempt."""

    number: int = Field(ge=1, description="Number of the attempt.")
    rung: Rung = Field(description="Rung of the ladder.")
    target_node: ShortText = Field("", description="Node that it went to.")
    migration_uid: Uid = Field("", alias="migrationUID", description="UID of the VirtualMachineInstanceMigration.")
    outcome: AttemptOutcome = Field(description="How it ended.")
    reason: Reason = Field("", description="Stable code of the reason.")
    message: Message = Field("", description="What happened.")
    started_at: Timestamp | None = Field(None, description="KubeVirt's start time.")
    ended_at: Timestamp | None = Field(None, description="KubeVirt's end time, else when the end was seen.")
    start_up_seconds: int | None = Field(
        None, ge=0, description="From the migration's create to KubeVirt's start; absent where it was not seen."
    )
    asked_bytes_per_second: int | None = Field(
        None, ge=0, description="Rate that it was permitted; absent where the samples say nothing of the rate."
    )
    bytes_per_second: int | None = Field(None, ge=0, description="Rate that it reached, by the samples.")
    sent_bytes: int | None = Field(None, ge=0, description="Bytes sent, by the last sample.")
    paused_ms: int | None = Field(
        None,
        ge=0,
        description="How long the guest was suspended by it in milliseconds, ± 1000, by KubeVirt's mode Paused; absent where "
        "it was not, or nobody tells.",
    )
    seen: tuple[SeenPoint, ...] = Field(
        (), max_length=4, description="What it has shown of how the guest dirties its memory."
    )

    @property
    def may_have_throttled(self) -> bool:
        """Whether it copied with leave to throttle; how far it did nobody tells."""
        return self.rung is Rung.AUTO_CONVERGE and self.started_at is not None


class AbortRecord(ApiModel):
    """That, and why, an attempt was asked to end."""

    number: int = Field(ge=1, description="Number of the attempt.")
    migration_uid: Uid = Field("", alias="migrationUID", description="UID of the VirtualMachineInstanceMigration.")
    reason: Reason = Field(description="Stable code of the reason.")
    message: Message = Field("", description="Why.")
    requested_at: Timestamp = Field(description="When.")


class MeasureSource(StrEnum):
    """By what a figure of a receipt was measured."""

    KUBEVIRT_TIMESTAMPS = "KubeVirtTimestamps"
    LAST_SAMPLE = "LastSample"
    PAUSED_MODE = "PausedMode"
    CONFIGURATION = "Configuration"
    NOT_MEASURED = "NotMeasured"


class Measure(ApiModel):
    """One figure of a receipt with its source. No value where it was not measured: never an estimate."""

    value: int | None = Field(None, ge=0, description="The figure, in the unit of its field's name.")
    tolerance: int | None = Field(None, ge=0, description="Plus or minus, in the same unit.")
    source: MeasureSource = Field(description="By what it was measured.")


class Receipt(ApiModel):
    """What a finished move came to; compare the forecast in the specification."""

    node: ShortText = Field("", description="Node that the virtual machine runs on.")
    duration_ms: Measure = Field(
        description="From KubeVirt's start to its end of the successful attempt, in milliseconds."
    )
    bytes: Measure = Field(description="Bytes sent by the successful attempt.")
    downtime_ms: Measure = Field(
        description="How long the guest stood still for the successful attempt, in milliseconds; for others: `history`."
    )
    attempts: int = Field(ge=0, description="How many migrations were begun.")
    rung: Rung | None = Field(None, description="Rung of the successful attempt.")
    rate_bytes_per_second: Measure = Field(
        default=Measure(source=MeasureSource.NOT_MEASURED), description="Rate of the successful attempt."
    )
    link_share_percent: Measure = Field(
        default=Measure(source=MeasureSource.NOT_MEASURED),
        description="That rate as a share of the migration link, the slower one of both ends.",
    )
    throttle_seconds: Measure = Field(
        default=Measure(source=MeasureSource.NOT_MEASURED),
        description="What all attempts cost the guest: throttle times seconds. 0 where no attempt that copied was permitted to "
        "throttle; KubeVirt tells nothing of those that were.",
    )


class VirtualMachineMoveSpec(ApiModel):
    """What was quoted: the virtual machine and attempt 1."""

    instance: InstanceReference = Field(description="The VirtualMachineInstance that moves.")
    attempt: AttemptSpec | None = Field(None, description="Attempt 1; absent while the virtual machine cannot move.")
    rungs: tuple[Rung, ...] = Field((), max_length=8, description="Rungs that may be tried, in this order.")
    notes: tuple[Verdict, ...] = Field(
        (), max_length=16, description="Warnings about this move, and what is not known of it."
    )
    refusals: tuple[Verdict, ...] = Field(
        (),
        max_length=16,
        description="What kept it from going to other nodes when it was quoted, one entry for each code, field and need; the "
        "most frequent first. Where texts would grow long, later entries have no values and remedies. While it cannot move, "
        "`status.verdicts` has all.",
    )
    refusals_omitted: int = Field(0, ge=0, description="How many further entries there would be.")


class VirtualMachineMoveStatus(ApiModel):
    """Decisions and outcomes."""

    phase: MovePhase = Field(MovePhase.WAITING, description="Stored phase.")
    reason: Reason = Field("", description="Stable code of why it is in this phase.")
    message: Message = Field("", description="What happened and what to do next.")
    verdicts: tuple[Verdict, ...] = Field(
        (),
        max_length=64,
        description="All reasons why it cannot move. What several nodes have in common is one entry with the first of them.",
    )
    verdicts_omitted: int = Field(0, ge=0, description="How many further reasons there are.")
    attempt: AttemptSpec | None = Field(None, description="The specification of the further attempt, from number 2 on.")
    abort: AbortRecord | None = Field(None, description="The abort that was asked for, if any.")
    history: tuple[AttemptRecord, ...] = Field((), max_length=16, description="What became of earlier attempts.")
    receipt: Receipt | None = Field(None, description="What the finished move came to.")
    finished_at: Timestamp | None = Field(None, description="When the move ended.")
    conditions: tuple[Condition, ...] = conditions_field()


class VirtualMachineMove(ApiModel):
    """One virtual machine's journey under one MigrationPlan. Written by Whimbrel; read it, do not edit it."""

    spec: VirtualMachineMoveSpec = Field(description="What was quoted.")
    status: VirtualMachineMoveStatus = Field(default=VirtualMachineMoveStatus(), description="Decisions and outcomes.")

    CRD: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="VirtualMachineMove",
        plural="virtualmachinemoves",
        singular="virtualmachinemove",
        short_names=("vmove",),
        scope="Namespaced",
        status_defaults=(("phase", "Waiting"),),
        printer_columns=(
            PrinterColumn("VM", ".spec.instance.name"),
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("From", ".spec.attempt.sourceNode"),
            PrinterColumn("To", ".spec.attempt.targetNode"),
            PrinterColumn("Quoted-s", ".spec.attempt.forecast.durationP50Seconds", "integer"),
            PrinterColumn("Duration-ms", ".status.receipt.durationMs.value", "integer"),
            PrinterColumn("Downtime-ms", ".status.receipt.downtimeMs.value", "integer"),
            PrinterColumn("Attempts", ".status.receipt.attempts", "integer"),
            PrinterColumn("Reason", ".status.reason"),
            PrinterColumn("Namespace-VM", ".spec.instance.namespace", priority=1),
            PrinterColumn("Message", ".status.message", priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
