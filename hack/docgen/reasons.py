"""The page of reasons: why a virtual machine cannot move, by code, with the cause and the cure."""

import inspect
from collections.abc import Iterable

from whimbrel.domain.verdict import Reason


def page(reasons: Iterable[type[Reason]]) -> str:
    """The page as Markdown; the docstring of a reason is its cause, `remedy` its cure."""
    lines = [
        "# Reasons",
        "",
        "Why a virtual machine cannot move. Each stands in `status.verdicts` of its VirtualMachineMove with the field that "
        "decides, the value found and the value needed; the codes alone stand in the plan's quote. Codes are stable. "
        "In a cure, words in braces are filled in with the values.",
        "",
        "| Code | Cause | Cure |",
        "| --- | --- | --- |",
    ]
    for reason in sorted(reasons, key=lambda each: each.__name__):
        cause = " ".join((inspect.getdoc(reason) or "").split())
        lines.append(f"| `{reason.__name__}` | {_cell(cause)} | {_cell(reason.remedy)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
