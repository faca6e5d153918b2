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


def test_what_a_tenant_wrote_is_shown_as_it_is_and_commands_no_terminal() -> None:
    reason = TooBig(field="memory", found="\x1b[2Jmuch\nOK: fits\u202e", needed="2", node="node-1")

    assert reason.found == r"\x1b[2Jmuch\nOK: fits\u202e"
    assert reason.cure() == r"Give node-1 more of memory: it has \x1b[2Jmuch\nOK: fits\u202e, 2 are needed."
    assert reason == TooBig(field="memory", found=reason.found, needed="2", node="node-1")


def test_the_cure_names_the_values() -> None:
    reason = TooBig(field="memory", found="1", needed="2", node="node-1")

    assert reason.cure() == "Give node-1 more of memory: it has 1, 2 are needed."
