"""What KubeVirt's stall detector can be told: defaults, how its factors are written, and between which bounds they are.

KubeVirt 1.9 takes factors as text with at most three decimals. virt-api checks them in policies; virt-handler reads them when
a migration begins.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

DECIMALS = 3
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ENDLESS = re.compile(r"[+-]?inf(inity)?|nan|", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which values a factor is; `above_least` where the least itself is none."""

    least: float
    most: float = inf
    above_least: bool = False


FACTORS: Mapping[str, Bounds] = {
    "ewmaAlpha": Bounds(0, 1, above_least=True),
    "precopyPossibleFactor": Bounds(1),
    "patienceWindowDecayFactor": Bounds(0, 1),
    "completionTimeoutFactor": Bounds(1),
}
"""In the order in which virt-api looks at them."""


@dataclass(frozen=True, slots=True)
class StallOptions:
    """The options with their defaults; `stall_margin` is a share, where KubeVirt has a percentage."""

    stall_margin: float = 0.04
    stall_progress_timeout_s: int = 40
    switchover_timeout_s: int = 60
    ewma_alpha: float = 0.4
    precopy_possible_factor: float = 1.5
    patience_window_decay_factor: float = 0.5
    search_local_minima: bool = True
    completion_timeout_factor: float = 2.0


DEFAULTS = StallOptions()


def factor(text: str) -> float:
    """The number that a factor's text means; raises ValueError in virt-api's words."""
    text = text.strip()
    if _ENDLESS.fullmatch(text):
        raise ValueError(f'invalid factor "{text}"')
    unreadable = f'invalid factor "{text}": strconv.ParseFloat: parsing "{text}"'
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{unreadable}: invalid syntax")
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{unreadable}: value out of range")
    if abs(number - round(number, DECIMALS)) > 1e-9:
        raise ValueError(f'invalid factor "{text}": must have at most {DECIMALS} decimal places')
    return number


def objection(member: str, text: str) -> str:
    """Why virt-api refuses a factor; empty where it does not."""
    bounds = FACTORS[member]
    try:
        number = factor(text)
    except ValueError as invalid:
        return str(invalid)
    if bounds.above_least and number <= bounds.least:
        return f"must be greater than {bounds.least:g}"
    if number < bounds.least:
        return f"must be greater than or equal to {bounds.least:g}"
    return f"must be less than or equal to {bounds.most:g}" if number > bounds.most else ""


def options(stated: Mapping[str, Any]) -> StallOptions:
    """The options of an attempt from `experimental.stallDetector` of its configuration."""

    def number(member: str, default: float) -> float:
        return default if stated.get(member) is None else factor(str(stated[member]))

    def seconds(member: str, default: int) -> int:
        return default if stated.get(member) is None else int(stated[member])

    margin, searches = stated.get("stallMargin"), stated.get("searchLocalMinima")
    return StallOptions(
        stall_margin=DEFAULTS.stall_margin if margin is None else int(margin) / 100,
        stall_progress_timeout_s=seconds("stallProgressTimeout", DEFAULTS.stall_progress_timeout_s),
        switchover_timeout_s=seconds("switchoverTimeout", DEFAULTS.switchover_timeout_s),
        ewma_alpha=number("ewmaAlpha", DEFAULTS.ewma_alpha),
        precopy_possible_factor=number("precopyPossibleFactor", DEFAULTS.precopy_possible_factor),
        patience_window_decay_factor=number("patienceWindowDecayFactor", DEFAULTS.patience_window_decay_factor),
        search_local_minima=DEFAULTS.search_local_minima if searches is None else bool(searches),
        completion_timeout_factor=number("completionTimeoutFactor", DEFAULTS.completion_timeout_factor),
    )
