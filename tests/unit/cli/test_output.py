"""What is printed: no tenant's text commands the terminal, and programs get the very same document."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.cli.output import FORMATS, Answer, render

EVIL = "\x1b[2J\x07a\nb\u202e\x9b\U000e0041ü"
ANSWER = Answer(
    document={EVIL: [EVIL, 1, None], "plain": "Größe"},
    title="first line\nsecond line",
    headers=("NAME", "WHY"),
    rows=[("db1", EVIL), ("Failed", "x")],
    notes=[f"db1:\n  found {EVIL.replace(chr(10), '')}"],
)


@pytest.mark.parametrize("output_format", FORMATS)
def test_nothing_that_a_terminal_obeys_is_printed(output_format: str) -> None:
    text = render(ANSWER, output_format, colour=False)

    assert all(line.isprintable() for line in text.split("\n"))


def test_lines_of_ours_stay_lines_and_those_of_others_stay_in_their_cell() -> None:
    lines = render(ANSWER, "table", colour=False).split("\n")

    assert lines[:2] == ["first line", "second line"]
    assert lines[4] == r"db1      \x1b[2J\x07a\nb\u202e\x9b\U000e0041ü"
    assert lines[-2:] == ["db1:", r"  found \x1b[2J\x07ab\u202e\x9b\U000e0041ü"]


def test_colours_of_ours_are_printed() -> None:
    assert "\x1b[31mFailed\x1b[0m" in render(ANSWER, "table", colour=True)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_programs_get_the_same_document(value: Any) -> None:
    document = {"value": value}

    assert json.loads(render(Answer(document), "json", colour=False)) == document
    assert yaml.safe_load(render(Answer(document), "yaml", colour=False)) == document
