"""Kubernetes quantities and network rates as whole numbers in base units."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.domain.quantities import (
    MIB,
    bytes_of,
    bytes_per_second_of_mbps,
    millicores_of,
    parse_quantity,
    preferred,
    whole_mib,
    written,
)

POWERS = {
    "": Fraction(1), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60), "m": Fraction(1, 10**3),
    "u": Fraction(1, 10**6), "n": Fraction(1, 10**9),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1536Mi", 1536 * MIB),
        ("1.5Gi", 1536 * MIB),
        ("64Mi", 67108864),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E", 10**18),
        ("0", 0),
    ],
)
def test_a_memory_quantity_is_as_many_bytes_as_kubernetes_says(text: str, expected: int) -> None:
    assert bytes_of(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("250m", 250), ("2", 2000), ("0.5", 500), ("1u", 1), ("100n", 1)])
def test_cpu_is_counted_in_millicores_and_rounded_up(text: str, expected: int) -> None:
    assert millicores_of(text) == expected


def test_what_is_absent_takes_nothing() -> None:
    assert (bytes_of(None), millicores_of(None)) == (0, 0)


@given(st.integers(0, 10**12), st.integers(0, 999), st.sampled_from(sorted(POWERS)))
def test_every_number_with_every_suffix_is_parsed_exactly(whole: int, thousandths: int, suffix: str) -> None:
    text = f"{whole}.{thousandths:03d}{suffix}"

    assert parse_quantity(text) == (Fraction(whole) + Fraction(thousandths, 1000)) * POWERS[suffix]


@given(st.integers(0, 10**6), st.integers(-9, 9))
def test_an_exponent_is_a_power_of_ten(number: int, exponent: int) -> None:
    assert parse_quantity(f"{number}e{exponent}") == Fraction(number) * Fraction(10) ** exponent


@given(st.integers(0, 2**63))
def test_bytes_survive_being_written_down(value: int) -> None:
    assert bytes_of(str(value)) == value == bytes_of(value)


@pytest.mark.parametrize("text", ["", "Gi", "1Gb", "1 Gi", "1.2.3", "abc", "1KI", "--1", "1e", "0x10"])
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        parse_quantity(text)


def test_network_rates_are_decimal_megabits() -> None:
    assert bytes_per_second_of_mbps(1000) == 125_000_000


@given(st.integers(0, 2**50))
def test_a_rate_in_whole_mebibytes_is_never_above_what_was_asked_and_never_none(value: int) -> None:
    rounded = whole_mib(value)

    assert rounded % MIB == 0
    assert rounded >= MIB
    assert rounded <= max(value, MIB)
    assert rounded > value - MIB


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "0"), (1000, "1000"), (1024, "1Ki"), (4500 * 2**20, "4500Mi"), (2**31, "2Gi"), (3 * 2**40, "3Ti")],
)
def test_an_amount_is_written_exactly_and_read_back_as_it_was(amount: int, expected: str) -> None:
    assert written(amount) == expected
    assert bytes_of(expected) == amount


@given(st.integers(1, 10**9))
def test_a_preferred_number_is_hardly_more_and_is_preferred_itself(value: int) -> None:
    found = preferred(value)

    assert value <= found <= value * 1.15
    assert preferred(found) == found


def test_preferred_numbers_are_few() -> None:
    assert len({preferred(value) for value in range(1000, 10_000)}) == 21
