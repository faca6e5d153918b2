"""Reasons: a refusal is a value with a stable code and a cure with the values filled in."""

from dataclasses import dataclass
from typing import ClassVar

from whimbrel.domain.verdict import Reason


@dataclass(frozen=True, slots=True)
class TooBig(Reason):
    """An example."""

    remedy: ClassVar[str] = "Give {node} more of {field}: it has {found}, {needed} are needed."


def test_the_code_of_a_reason_is_its_name() -> None:
    assert TooBig(field="memory", found="1", needed="2").code == "TooBig"


def test_the_cure_names_the_values() -> None:
    reason = TooBig(field="memory", found="1", needed="2", node="node-1")

    assert reason.cure() == "Give node-1 more of memory: it has 1, 2 are needed."
