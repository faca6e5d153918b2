"""Figures as people read them."""

import pytest

from whimbrel.api.virtual_machine_move import Measure
from whimbrel.cli import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_a_duration_is_told_in_the_units_that_matter(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (340, "340 ms"), (2100, "2.1 s"), (59_999, "60.0 s"), (200_000, "3 min 20 s")]
)
def test_a_pause_is_told_in_the_units_that_matter(value: float | None, text: str) -> None:
    assert words.milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (524_288, "512 KiB"), (96 * 2**20, "96 MiB"), (2**36, "64.0 GiB")]
)
def test_a_size_is_told_in_the_units_that_matter(value: int | None, text: str) -> None:
    assert words.size(value) == text


def test_what_was_not_measured_is_said_to_be_so_and_never_shown_as_zero() -> None:
    assert words.measured_ms(Measure.model_validate({"source": "NotMeasured"})) == "not measured"
    assert words.measured_bytes(None) == "not measured"


def test_a_measured_time_comes_with_its_tolerance() -> None:
    measure = Measure.model_validate({"value": 7000, "tolerance": 1000, "source": "KubeVirtTimestamps"})

    assert words.measured_ms(measure) == "7.0 s ±1.0 s"
