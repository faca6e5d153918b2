"""Figures of the benches: goals, promises, the record of before, and the table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel_lab.bench.figures import Figure, quantile, read_record, shown, table, write_record


def test_a_figure_above_its_goal_breaks_nothing_unless_it_is_a_promise() -> None:
    slow = Figure("p50", "reaction", 120.0, limit=100.0)
    costly = Figure("writes", "writes", 7.0, limit=6.0, holds=True)

    assert (slow.met, slow.broken) == (False, False)
    assert (costly.met, costly.broken) == (False, True)


def test_a_promise_with_a_generous_bound_is_broken_only_beyond_it() -> None:
    within = Figure("memory", "memory", 130.0, limit=120.0, holds=True, bound=150.0)
    beyond = Figure("memory", "memory", 151.0, limit=120.0, holds=True, bound=150.0)

    assert (within.met, within.broken) == (False, False)
    assert beyond.broken


def test_a_figure_without_a_goal_is_neither_met_nor_broken() -> None:
    figure = Figure("cpu", "processor time", 3.0, holds=True)

    assert (figure.met, figure.broken) == (None, False)


def test_figures_that_were_not_taken_this_time_stay_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "before.json"

    write_record([Figure("a", "a", 1.0), Figure("b", "b", 2.0)], {"cores": 2.0}, path)
    write_record([Figure("b", "b", 3.0)], {"cores": 4.0}, path)

    record = read_record(path)
    assert record.figures == {"a": 1.0, "b": 3.0}
    assert record.machine == {"cores": 4.0}


def test_nothing_is_known_of_before_where_nothing_was_recorded(tmp_path: Path) -> None:
    record = read_record(tmp_path / "absent.json")

    assert (record.figures, record.machine) == ({}, {})


def test_a_file_that_is_no_record_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text("[1, 2]")

    with pytest.raises(ValueError, match=r"before\.json is no record of figures; write it anew with --record"):
        read_record(path)


def test_the_table_shows_now_beside_before_and_says_what_is_missed_and_broken() -> None:
    lines = table(
        [
            Figure("fine", "a fine figure", 5.0, "ms", "≤ 6 ms", 6.0),
            Figure("missed", "a missed one", 1234.0, "ms", "≤ 6 ms", 6.0),
            Figure("broken", "a broken one", 7.25, goal="≤ 6", limit=6.0, holds=True),
            Figure("plain", "one without a goal", 2.0),
        ],
        {"fine": 4.5},
    ).splitlines()

    assert lines[2].split() == ["a", "fine", "figure", "5", "ms", "4.5", "ms", "≤", "6", "ms", "yes"]
    assert lines[3].split() == ["a", "missed", "one", "1234", "ms", "–", "≤", "6", "ms", "NO"]
    assert lines[4].endswith("NO – BROKEN")
    assert lines[5].split() == ["one", "without", "a", "goal", "2", "–", "–"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 ms"), (3.14159, "3.14 ms"), (99.96, "100 ms"), (123.456, "123 ms"), (-1.5, "-1.5 ms")]
)
def test_numbers_are_shown_with_three_digits_or_so(value: float, text: str) -> None:
    assert shown(value, "ms") == text


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_one_of_the_values_and_covers_its_share_but_no_smaller_one_does(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
