"""The building blocks of our kinds: base model, bounded strings, timestamps, selectors, conditions, CEL rules.

A rule that the API server can check with CEL is declared once with `Rule`; the same object validates in Python, with the
same words, because not every API server evaluates CEL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic.alias_generators import to_camel

from whimbrel.api.text import printable

MAX_NODES = 1000
MAX_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Rule:
    """A cross-field rule: the CEL expression for the server, the same check for Python, one message for both.

    `holds` receives the validated model. Transition rules (which need the old object) have no Python half.
    """

    expression: str
    message: str
    holds: Callable[[Any], bool] | None = None

    def as_schema(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        return {"rule": self.expression, "message": self.message}


def _rules_into_schema(schema: dict[str, Any], model: type[BaseModel]) -> None:
    rules: tuple[Rule, ...] = getattr(model, "RULES", ())
    if rules:
        schema["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]


class ApiModel(BaseModel):
    """Base of all models of our API: camelCase, frozen, tolerant of fields that a newer release added."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        json_schema_extra=_rules_into_schema,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keeps_rules(self) -> Self:
        for rule in self.RULES:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self

    def to_json(self) -> dict[str, Any]:
        """The JSON document as the API server stores it: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def format_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds and a Z, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_timestamp(value: object) -> object:
    return datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value


def _legible(value: object) -> object:
    """Escapes make a text longer, so what they are put in is cut again."""
    return printable(value)[:LONGEST_MESSAGE] if isinstance(value, str) and not value.isprintable() else value


Timestamp = Annotated[datetime, BeforeValidator(_parse_timestamp), PlainSerializer(format_timestamp, when_used="json")]

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Uid = Annotated[str, Field(max_length=64)]
Reason = Annotated[str, Field(max_length=128, pattern=r"^([A-Za-z][A-Za-z0-9]*)?$")]
LONGEST_MESSAGE = 4096
Message = Annotated[str, BeforeValidator(_legible), Field(max_length=LONGEST_MESSAGE)]
"""What the operator says, in which foreign text may occur."""
ShortText = Annotated[str, Field(max_length=256)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
LabelMap = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]


class SelectorOperator(StrEnum):
    """Operators of a label selector requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelSelectorRequirement(ApiModel):
    """One requirement of a label selector."""

    key: LabelKey = Field(description="The label's key.")
    operator: SelectorOperator = Field(description="How the key relates to the values.")
    values: tuple[LabelValue, ...] | None = Field(
        None, max_length=64, description="The values, for In and NotIn; absent for Exists and DoesNotExist."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values)",
            "values must be given for the operators In and NotIn, and must be absent for Exists and DoesNotExist",
            lambda r: bool(r.values) if r.operator in ("In", "NotIn") else r.values is None,
        ),
    )


class LabelSelector(ApiModel):
    """A Kubernetes label selector; all of its terms must match."""

    match_labels: LabelMap | None = Field(None, description="Labels that must be present with exactly these values.")
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = Field(
        None, max_length=32, description="Requirements on labels; all must hold."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.matchLabels) || has(self.matchExpressions)",
            "a selector needs matchLabels or matchExpressions",
            lambda s: s.match_labels is not None or s.match_expressions is not None,
        ),
    )


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """A condition in the shape of `metav1.Condition`."""

    type: ShortText = Field(description="The condition's type.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that this was judged on."
    )
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    reason: Reason = Field(description="A stable, machine-readable code for the reason.")
    message: Message = Field("", description="What happened, where, and what to do next.")


def conditions_field() -> Any:
    """The `conditions` field of a status: a list-map keyed by type."""
    return Field(
        (),
        max_length=16,
        description="Conditions, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


def names_field(description: str, max_items: int = MAX_NAMES) -> Any:
    """An optional set of object names."""
    return Field(
        None,
        min_length=1,
        max_length=max_items,
        description=description,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
