"""Kubernetes quantities and network rates as integers in base units: bytes, millicores, bytes per second.

Source of the syntax: Kubernetes API conventions for resource.Quantity. Exact: parsed with rationals, rounded up.
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

MIB = 1024 * 1024
GB = 1_000_000_000
MBPS = 125_000
"""Bytes per second of one Mbit/s."""

_QUANTITY = re.compile(r"^([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$")
_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9),
    "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip


_BINARY = ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki"))


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity such as `1536Mi`, `250m` or `1e3`. Raises ValueError on anything else."""
    match = _QUANTITY.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity (expected something like 512Mi, 1.5 or 250m)")
    number, exponent, suffix = match.groups()
    value = Fraction(number) * _SUFFIXES[suffix or ""]
    return value * Fraction(10) ** int(exponent[1:]) if exponent else value


def bytes_of(text: str | int | None) -> int:
    """Whole bytes of a memory quantity, rounded up; 0 for an absent one."""
    return 0 if text is None else ceil(parse_quantity(str(text)))


def millicores_of(text: str | int | None) -> int:
    """Millicores of a CPU quantity, rounded up; 0 for an absent one."""
    return 0 if text is None else ceil(parse_quantity(str(text)) * 1000)


def written(amount: int) -> str:
    """A whole amount as a Kubernetes quantity, exactly, with the largest binary unit that divides it."""
    for exponent, unit in _BINARY:
        if amount and amount % 2**exponent == 0:
            return f"{amount // 2**exponent}{unit}"
    return str(amount)


def bytes_per_second_of_mbps(mbps: int) -> int:
    """Bytes per second of a network rate in Mbit/s (decimal megabits)."""
    return mbps * MBPS


def whole_mib(value_bytes: int) -> int:
    """The value rounded down to whole MiB, at least one: KubeVirt hands libvirt whole MiB/s, at least 1."""
    return max(1, value_bytes // MIB) * MIB


def time_budget_units(memory_bytes: int) -> int:
    """KubeVirt's unit of time budgets: started 10^9 bytes of memory, at least one.

    KubeVirt multiplies `completionTimeoutPerGiB` by this (decimal gigabytes rounded up, in spite of the name; source:
    virt-launcher's migration size). Copied local disks add to it there; they are not known here.
    """
    return max(1, ceil(memory_bytes / GB))


_PREFERRED = (100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900, 1000)
"""Twenty to the decade, each some 12 % more than the one before (ISO 3's R20, rounded)."""


def preferred(value: int) -> int:
    """The least preferred number that is not less; up to 100 every whole number is one."""
    decade = 10 ** max(0, len(str(value)) - 3)
    return value if value <= 100 else next(step * decade for step in _PREFERRED if step * decade >= value)
