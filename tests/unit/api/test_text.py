"""Foreign text: what is not to be seen is escaped, and everything else is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.api.scalars import LONGEST_MESSAGE
from whimbrel.api.text import printable, printable_lines
from whimbrel.api.virtual_machine_move import VirtualMachineMoveStatus


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\r\tc\x7f", r"a\nb\r\tc\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202ecba\u2066x\u2069", r"abc\u202ecba\u2066x\u2069"),
        ("a\u2028b\ufeff\u200b", r"a\u2028b\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_line_ends_and_marks_of_direction_are_shown_as_escapes(hidden: str, shown: str) -> None:
    assert printable(hidden) == shown


@pytest.mark.parametrize("text", ["", "db1 in shop", "Größe 5 µs – 日本語 עברית 😀", r"C:\new"])
def test_text_that_can_be_seen_is_left_alone(text: str) -> None:
    assert printable(text) is text


@given(st.text())
def test_the_result_can_always_be_seen_and_twice_is_as_good_as_once(text: str) -> None:
    once = printable(text)

    assert once.isprintable()
    assert printable(once) == once
    assert printable_lines(text).count("\n") == text.count("\n")


def test_a_message_of_a_status_is_escaped_and_stays_within_its_bound() -> None:
    status = VirtualMachineMoveStatus(message="\x1b" * LONGEST_MESSAGE)

    assert status.message == (r"\x1b" * LONGEST_MESSAGE)[:LONGEST_MESSAGE]
