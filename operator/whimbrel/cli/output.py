"""What a verb answers, and how it is printed: a table for people, JSON or YAML for programs.

The document of an answer is stable and complete; the table may leave things out. Nothing that a cluster's tenants wrote reaches
the terminal as a control character. Called by `main`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from whimbrel.api.text import printable, printable_lines

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
        return _as_json(answer.document)
    if output_format == "yaml":
        return _as_yaml(answer.document)
    parts = [printable_lines(answer.title)] if answer.title else []
    if answer.headers:
        parts.append(columns(answer.headers, [tuple(map(printable, row)) for row in answer.rows], colour))
    return "\n\n".join([*parts, *map(printable_lines, answer.notes)])


def _as_json(document: Mapping[str, Any]) -> str:
    """The same document whichever way a character in a string is written; those that are not to be seen as escapes."""
    written = json.dumps(document, indent=2, ensure_ascii=False)
    if all(line.isprintable() for line in written.split("\n")):
        return written
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in written)


def _as_yaml(document: Mapping[str, Any]) -> str:
    """YAML's own idea of what can be printed is wider than ours, so any doubt is written in ASCII."""
    written = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
    if not all(line.isprintable() for line in written.split("\n")):
        written = yaml.safe_dump(dict(document), sort_keys=False)
    return written.rstrip("\n")


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
