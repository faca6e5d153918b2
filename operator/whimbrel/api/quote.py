"""The quote of a MigrationPlan, as it stands in its status: what will happen, before anything moves."""

from enum import StrEnum

from pydantic import Field

from whimbrel.api.forecast import Convergence
from whimbrel.api.ladder import Rung
from whimbrel.api.scalars import ApiModel, Message, Reason, ShortText, Uid


class TargetChoice(StrEnum):
    """Who chooses the node that a virtual machine goes to."""

    WHIMBREL = "Whimbrel"
    SCHEDULER = "Scheduler"


class QuotedMove(ApiModel):
    """One line of the quote."""

    virtual_machine: ShortText = Field(description="Namespace and name of the virtual machine, `namespace/name`.")
    instance_uid: Uid = Field("", alias="instanceUID", description="UID of the instance that is quoted.")
    source_node: ShortText = Field("", description="Where it runs.")
    target_node: ShortText = Field("", description="Where it will go; empty when it cannot move.")
    via_node: ShortText = Field(
        "", description="A stop on the way, where no order of moves leads to the target directly; empty: there is none."
    )
    target_chosen_by: TargetChoice | None = Field(
        None,
        description="`Scheduler` where KubeVirt cannot be told a target (before 1.6): `targetNode` is then only expected; "
        "`allowedNodes` of the VirtualMachineMove has all nodes where it may land.",
    )
    duration_seconds: int | None = Field(
        None,
        ge=0,
        description="Memory divided by the admitted rate: a floor, not a forecast. Only memory that was never used is faster.",
    )
    rung: Rung | None = Field(None, description="Rung of the next attempt: the first that is likely to do.")
    convergence: Convergence | None = Field(None, description="Whether pre-copy ends by itself, deadlines apart.")
    chance_percent: int | None = Field(
        None, ge=0, le=100, description="How likely that attempt moves it within what the plan permits."
    )
    duration_p50_seconds: int | None = Field(
        None, ge=0, description="Expected duration of that attempt, start-up included: as likely longer as shorter."
    )
    duration_p90_seconds: int | None = Field(
        None, ge=0, description="The same, with one chance in ten of taking longer."
    )
    bytes_p50: int | None = Field(None, ge=0, description="Bytes expected to go over the network.")
    downtime_bound_ms: int | None = Field(
        None, ge=0, description="Longest that it stands still in that attempt, in milliseconds."
    )
    rungs: tuple[Rung, ...] = Field((), max_length=8, description="Rungs that may be tried, in this order.")
    budget_ms: int | None = Field(None, ge=0, description="Longest suspension that the plan accepts, in milliseconds.")
    attended_downtime_ms: int | None = Field(
        None, ge=0, description="Longest suspension while an operator is alive to cut it short, in milliseconds."
    )
    unattended_downtime_ms: int | None = Field(
        None, ge=0, description="Longest suspension if no operator is alive, in milliseconds."
    )
    withheld: tuple[Message, ...] = Field(
        (),
        max_length=8,
        description="What the plan permits and it does not get, each with the rung and the reason: rungs, compression.",
    )
    skipped: tuple[Message, ...] = Field(
        (),
        max_length=8,
        description="Rungs that come before that of the next attempt and would not do, each with the reason.",
    )
    price: Message = Field(
        "", description="What would make it possible, where no rung that is permitted is likely to move it."
    )
    reasons: tuple[Reason, ...] = Field((), max_length=32, description="Codes of all reasons why it cannot move.")


class BlockedSummary(ApiModel):
    """How many virtual machines cannot move for one reason."""

    reason: Reason = Field(description="Stable code of the reason.")
    count: int = Field(ge=1, description="How many it keeps where they are; one with several reasons counts for each.")
    virtual_machines: tuple[ShortText, ...] = Field(
        (), max_length=5, description="The first of them, `namespace/name`."
    )


class PlacementConflict(ApiModel):
    """Virtual machines that cannot all be placed: none of them, and none of the rules, could be left out of it.

    Of one that has a place and no order of moves that leads there, what it is stuck behind.
    """

    virtual_machines: tuple[ShortText, ...] = Field(
        min_length=1, max_length=16, description="The first of them, `namespace/name`."
    )
    omitted: int = Field(0, ge=0, description="How many further virtual machines are in it.")
    message: Message = Field(description="The virtual machines and the rules in words.")


class Quote(ApiModel):
    """What will happen, before anything moves."""

    hash: ShortText = Field(description="SHA-256 of the quote; what an approval names.")
    virtual_machines: int = Field(ge=0, description="How many virtual machines are selected.")
    movable: int = Field(ge=0, description="How many of them can move.")
    not_running: int = Field(0, ge=0, description="How many of them do not run, so that nothing can move.")
    duration_seconds: int = Field(
        ge=0, description="At least this long for the whole plan: the busiest link's or slot's share. A floor."
    )
    duration_p50_seconds: int | None = Field(
        None,
        ge=0,
        description="Expected duration of the whole plan from the forecasts of its moves; absent where one has no number.",
    )
    duration_p90_seconds: int | None = Field(
        None, ge=0, description="The same, with one chance in ten of taking longer."
    )
    moves: tuple[QuotedMove, ...] = Field(
        (), max_length=100, description="The first 100 lines; VirtualMachineMoves have all."
    )
    omitted: int = Field(0, ge=0, description="How many further lines there are.")
    blocked: tuple[BlockedSummary, ...] = Field(
        (), max_length=32, description="What keeps virtual machines where they are, the most frequent reason first."
    )
    conflicts: tuple[PlacementConflict, ...] = Field(
        (),
        max_length=16,
        description="Why not all can be placed: the first minimal sets of virtual machines and rules that cannot be had "
        "together, and those that no order of moves leads to their place. No two name the same virtual machine.",
    )
    conflicts_omitted: int = Field(0, ge=0, description="How many further conflicts there are.")
    undecided: int = Field(
        0,
        ge=0,
        description="Virtual machines for which the search found neither a place nor a proof that there is none.",
    )
