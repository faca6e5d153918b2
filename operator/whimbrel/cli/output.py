"""What a verb answers, and how it is printed: a table for people, JSON or YAML for programs.

The document of an answer is stable and complete; the table may leave things out. Called by `main`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

FORMATS = ("table", "json", "yaml")

_COLOURS = {
    "Succeeded": "32", "Running": "36", "Moving": "36", "Failed": "31", "Blocked": "33", "Skipped": "33",
    "Cancelled": "33", "Unverified": "31",
}  # fmt: skip
"""ANSI colours (ECMA-48 SGR) of the words that people look for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`document` is what programs get; `title`, `headers`, `rows` and `notes` are what people get."""

    document: Mapping[str, Any]
    title: str = ""
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()


def render(answer: Answer, output_format: str, colour: bool) -> str:
    """The answer as text, without a last newline."""
    if output_format == "json":
        return json.dumps(answer.document, indent=2, ensure_ascii=False)
    if output_format == "yaml":
        return yaml.safe_dump(dict(answer.document), sort_keys=False, allow_unicode=True).rstrip("\n")
    parts = [answer.title] if answer.title else []
    if answer.headers:
        parts.append(columns(answer.headers, answer.rows, colour))
    return "\n\n".join([*parts, *answer.notes])


def columns(headers: Sequence[str], rows: Sequence[Sequence[str]], colour: bool) -> str:
    """Left-aligned columns, three blanks apart, as kubectl prints them."""
    widths = [max(len(line[i]) for line in (headers, *rows)) for i in range(len(headers))]

    def padded(line: Sequence[str], paint: bool) -> str:
        cells = (
            _painted(cell, width) if paint else cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        )
        return "   ".join(cells).rstrip()

    return "\n".join([padded(headers, False), *(padded(row, colour) for row in rows)])


def _painted(cell: str, width: int) -> str:
    code = _COLOURS.get(cell)
    return f"\x1b[{code}m{cell}\x1b[0m".ljust(width + len(code) + 7) if code else cell.ljust(width)
