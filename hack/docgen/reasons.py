"""The page of reasons: what stands against a move or is to be known of it: cause, evidence, remedy and an example by code."""

import inspect
from collections.abc import Iterable, Mapping

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.preflight import PreflightReason


def page(reasons: Iterable[type[PreflightReason]], examples: Mapping[str, PreflightReason]) -> str:
    """The page as Markdown; the docstring of a reason is its cause. A reason without one of these examples has its own."""
    ordered = sorted(reasons, key=lambda each: each.__name__)
    lines = [
        "# Reasons",
        "",
        "Why a virtual machine cannot move, and what is to be known of a move beforehand. Each stands in `status.verdicts` of "
        "its VirtualMachineMove with the field that decides, the value found and the value needed. What keeps one that can "
        "move from other nodes stands in `spec.refusals`, what is to be known of its move in `spec.notes`. What several nodes "
        "have in common is one entry, with the first of them and their number. The codes alone stand in the plan's quote. "
        "Codes are stable. In a remedy, words in braces are filled in with the values.",
        "",
        "What holds a move back only until it may start stands in the plan's `status.waits`, with how many moves wait for it: "
        "limits, turns, claims of other plans, and whatever of the others is true at that moment.",
        "",
        "Judgement: with `Block` the virtual machine cannot move, with `Warn` it can, with this consequence, and with "
        "`Unknown` what decides is not known; *blocks* says which of those keep it from moving as well. What *passes by "
        "itself* makes the virtual machine wait; whatever else blocks needs somebody to mend it.",
        "",
        "The examples are what preflight says of the [blocker corpus](../../tests/data/README.md), what the other rooms say of "
        "small cases, and for what only holds a move back the words of `status.waits`; words in capitals are for you to fill "
        "in.",
        "",
        "| Code | Judgement | Passes by itself | Cause |",
        "| --- | --- | --- | --- |",
    ]
    for reason in ordered:
        name = reason.__name__
        lines.append(
            f"| [`{name}`](#{name.lower()}) | {_judgement(reason)} | {_passes(reason)} | {_cell(_cause(reason))} |"
        )
    for reason in ordered:
        lines += ["", *_section(reason, examples.get(reason.__name__))]
    return "\n".join(lines) + "\n"


def _section(reason: type[PreflightReason], example: PreflightReason | None) -> Iterable[str]:
    yield f"## {reason.__name__}"
    yield ""
    yield f"- **Cause**: {_cause(reason)}"
    yield f"- **Evidence**: {_evidence(reason.evidence)}"
    yield f"- **Remedy**: {reason.remedy}"
    for found, remedy in reason.remedies.items():
        yield f"  - `{found}`: {remedy}"
    if example is not None:
        at = f" at {example.node}" if example.node else ""
        cure = "" if example.cure() == reason.remedy else f" {example.cure()}"
        yield f"- **Example**: `{example.field}`{at}: found `{example.found}`, needed `{example.needed}`.{cure}"
    elif reason.example:
        yield f"- **Example**: {reason.example}"


def _cause(reason: type[PreflightReason]) -> str:
    return " ".join((inspect.getdoc(reason) or "").split())


def _evidence(text: str) -> str:
    """Commands in the type of code, words as they are."""
    parts = (f"`{part}`" if part.startswith("kubectl") else part for part in text.split("; "))
    return "; ".join(parts) or "–"


def _passes(reason: type[PreflightReason]) -> str:
    return "yes" if reason.transient else "no"


def _judgement(reason: type[PreflightReason]) -> str:
    """What it is, and that it blocks where the judgement alone does not say so."""
    word = f"`{reason.judgement.value}`"
    return f"{word}, blocks" if reason.blocks and reason.judgement is not Judgement.BLOCK else word


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
