"""What is expected of an attempt before it begins: part of a move's specification and of the quote.

Written by the operator alone. Numbers are absent where nobody can tell: that convergence is uncertain is an answer.
"""

from enum import StrEnum

from pydantic import Field

from whimbrel.api.ladder import Rung
from whimbrel.api.scalars import ApiModel, Message, Timestamp


class Convergence(StrEnum):
    """Whether pre-copy ends by itself, deadlines apart."""

    CONVERGES = "Converges"
    DOES_NOT = "DoesNot"
    UNCERTAIN = "Uncertain"


class SkippedRung(ApiModel):
    """A rung that the plan permits and that is passed over."""

    rung: Rung = Field(description="Rung of the ladder.")
    reason: Message = Field(description="Why it would not do, in words.")


class Forecast(ApiModel):
    """What was expected of an attempt before it began."""

    duration_seconds: int = Field(
        ge=0, description="Memory and local disks divided by the admitted rate: a floor, start-up apart."
    )
    bytes: int = Field(ge=0, description="Bytes of one pass over memory and local disks.")
    convergence: Convergence | None = Field(None, description="Whether pre-copy ends by itself, deadlines apart.")
    duration_p50_seconds: int | None = Field(
        None,
        ge=0,
        description="From the migration's create to its end, start-up included: as likely longer as shorter.",
    )
    duration_p90_seconds: int | None = Field(
        None, ge=0, description="The same, with one chance in ten of taking longer."
    )
    bytes_p50: int | None = Field(None, ge=0, description="Bytes that go over the network: as likely more as less.")
    bytes_p90: int | None = Field(None, ge=0, description="The same, with one chance in ten of being more.")
    chance_percent: int | None = Field(
        None, ge=0, le=100, description="How likely this attempt moves the guest within what the plan permits."
    )
    downtime_bound_ms: int | None = Field(
        None,
        ge=0,
        description="Longest that the guest stands still in milliseconds; of a stun that is no more than the budget.",
    )
    throttle_seconds: int | None = Field(
        None, ge=0, description="What throttling costs the guest at most: throttle times seconds."
    )
    budget_ms: int | None = Field(None, ge=0, description="Longest suspension that is accepted, in milliseconds.")
    attended_downtime_ms: int | None = Field(
        None,
        ge=0,
        description="Longest suspension while an operator is alive, in milliseconds: the budget, or with a short one as long "
        "as a guest needs to run again on top.",
    )
    unattended_downtime_ms: int | None = Field(
        None, ge=0, description="Longest suspension if no operator is alive, in milliseconds."
    )
    missing: tuple[Message, ...] = Field(
        (), max_length=8, description="What was not known, so that the forecast is wider than it could be."
    )
    skipped: tuple[SkippedRung, ...] = Field(
        (), max_length=8, description="Rungs before this one that are passed over, with the reason."
    )
    made_at: Timestamp | None = Field(None, description="When it was made.")
