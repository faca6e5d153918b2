"""Kubernetes quantities: their value in base units, and the one form that Go would write.

Used where resources are added up and where a policy's bandwidth is copied into an instance's status.
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(10**3),
    "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
}  # fmt: skip


@lru_cache(maxsize=4096)
def exact(text: str) -> Fraction:
    """The quantity's exact value; raises ValueError for text that is none."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity: write a number with an optional suffix such as Mi, G or m")
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number * _DECIMAL[suffix]
    return number * Fraction(10) ** int(suffix[1:])


def value(quantity: str | int | float | None) -> int:
    """The value in base units, rounded up as Quantity.Value does; 0 for an absent one."""
    return 0 if quantity is None else ceil(exact(str(quantity)))


def milli(quantity: str | int | float | None) -> int:
    """The value in thousandths, rounded up: CPU in millicores; 0 for an absent one."""
    return 0 if quantity is None else ceil(exact(str(quantity)) * 1000)


def binary(count: int) -> str:
    """The form that Go writes for a number of bytes counted in powers of two: the largest suffix without a rest."""
    if count == 0:
        return "0"
    return next((f"{count // unit}{name}" for name, unit in reversed(_BINARY.items()) if count % unit == 0), str(count))


def canonical(quantity: str | int | float) -> str:
    """The form that Go writes: the largest suffix of the same family that leaves a whole number."""
    text = str(quantity)
    number = exact(text)
    suffix = (_FORM.fullmatch(text) or [None, None, ""])[2] or ""
    if number == 0:
        return "0"
    if suffix in _BINARY:
        for name, factor in reversed(_BINARY.items()):
            if number % factor == 0:
                return f"{number / factor}{name}"
        return str(ceil(number))
    for name, unit in reversed(_DECIMAL.items()):
        if number % unit == 0:
            return f"{number / unit}{name}"
    return f"{ceil(number / _DECIMAL['n'])}n"
