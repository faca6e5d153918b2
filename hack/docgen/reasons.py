"""The page of reasons: what stands against a move or is to be known of it, by code, with cause, cure and judgement."""

import inspect
from collections.abc import Iterable

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.preflight import PreflightReason


def page(reasons: Iterable[type[PreflightReason]]) -> str:
    """The page as Markdown; the docstring of a reason is its cause, `remedy` its cure."""
    lines = [
        "# Reasons",
        "",
        "Why a virtual machine cannot move, and what is to be known of a move beforehand. Each stands in `status.verdicts` of "
        "its VirtualMachineMove with the field that decides, the value found and the value needed; the codes alone stand in "
        "the plan's quote. Codes are stable. In a cure, words in braces are filled in with the values.",
        "",
        "Judgement: with `Block` the virtual machine cannot move, with `Warn` it can, with this consequence, and with "
        "`Unknown` what decides is not known; *blocks* says which of those keep it from moving as well. What *passes by "
        "itself* makes the virtual machine wait; whatever else blocks needs somebody to mend it.",
        "",
        "| Code | Judgement | Passes by itself | Cause | Cure |",
        "| --- | --- | --- | --- | --- |",
    ]
    for reason in sorted(reasons, key=lambda each: each.__name__):
        cause = " ".join((inspect.getdoc(reason) or "").split())
        passes = "yes" if reason.transient else "no"
        lines.append(
            f"| `{reason.__name__}` | {_judgement(reason)} | {passes} | {_cell(cause)} | {_cell(reason.remedy)} |"
        )
    return "\n".join(lines) + "\n"


def _judgement(reason: type[PreflightReason]) -> str:
    """What it is, and that it blocks where the judgement alone does not say so."""
    word = f"`{reason.judgement.value}`"
    return f"{word}, blocks" if reason.blocks and reason.judgement is not Judgement.BLOCK else word


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
