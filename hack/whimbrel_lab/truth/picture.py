"""A picture of a recording: how long each move was foretold to take against how long it took, both logarithmic. Pure.

A bar reaches from the median to the 90th percentile that was named; the dashed line is where forecast and fact are equal.
"""

from collections.abc import Iterator, Sequence
from math import log10

from whimbrel_lab.truth.judging import Judgement
from whimbrel_lab.truth.scenes import Split

SIDE, LEFT, TOP, BOTTOM, RIGHT = 420, 60, 40, 50, 20
"""Pixels: of the square, and around it."""
TICKS_S = (0.5, 1, 2, 5, 10, 20, 50)
NEVER_MOVED, MOVED_ONCE = "#1f6f8b", "#c2571a"
STYLE = "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.equal{stroke:#888;stroke-dasharray:4 3}"


def picture(judged: Sequence[Judgement]) -> str:
    """An SVG of all moves that ended by themselves and had a number named beforehand."""
    shown = [each for each in judged if each.time_error is not None]
    width, height, middle = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM, LEFT + SIDE / 2
    first, last = TICKS_S[0], TICKS_S[-1]
    title = f"{len(shown)} live migrations of real QEMU guests"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">',
            f"<title>{title}</title><style>{STYLE}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *_grid(),
            f'<path class="equal" d="M{_x(first)} {_y(first)}L{_x(last)} {_y(last)}"/>',
            *(mark for each in shown for mark in _marks(each)),
            f'<text x="{middle}" y="{TOP + SIDE + 38}" text-anchor="middle">seconds that the move took</text>',
            f'<text transform="translate(16 {TOP + SIDE / 2})rotate(-90)" text-anchor="middle">seconds foretold</text>',
            f'<text x="{LEFT}" y="16">{title}</text>',
            f'<text x="{LEFT}" y="32"><tspan fill="{NEVER_MOVED}">never moved</tspan>, <tspan fill="{MOVED_ONCE}">moved '
            "once before</tspan>; filled: held out; bars: to the 90th percentile</text>",
            "</svg>\n",
        )
    )


def _grid() -> Iterator[str]:
    first, last = TICKS_S[0], TICKS_S[-1]
    for tick in TICKS_S:
        x, y = _x(tick), _y(tick)
        yield f'<path class="grid" d="M{x} {_y(first)}V{_y(last)}M{_x(first)} {y}H{_x(last)}"/>'
        yield f'<text x="{x}" y="{TOP + SIDE + 16}" text-anchor="middle">{tick:g}</text>'
        yield f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{tick:g}</text>'


def _marks(each: Judgement) -> Iterator[str]:
    said_s, most_s, took_s = each.said.duration_p50_s, each.said.duration_p90_s, each.trial.duration_s
    if said_s is None or most_s is None:
        return
    colour = NEVER_MOVED if each.trial.earlier is None else MOVED_ONCE
    fill = colour if each.trial.scene.split is Split.HELD_OUT else "#fff"
    yield f'<path stroke="{colour}" d="M{_x(took_s)} {_y(said_s)}V{_y(most_s)}"/>'
    yield f'<circle cx="{_x(took_s)}" cy="{_y(said_s)}" r="3" stroke="{colour}" fill="{fill}"/>'


def _x(seconds: float) -> str:
    return f"{LEFT + _along(seconds):.1f}"


def _y(seconds: float) -> str:
    return f"{TOP + SIDE - _along(seconds):.1f}"


def _along(seconds: float) -> float:
    low, high = log10(TICKS_S[0]), log10(TICKS_S[-1])
    return SIDE * (min(max(log10(seconds), low), high) - low) / (high - low)
