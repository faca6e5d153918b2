"""Figures as people read them. Pure; used by the verbs and by the lab's demo."""

from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import Measure, MeasureSource
from whimbrel.domain.quantities import MIB

NOTHING = "-"


def seconds(value_s: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`; `-` where there is no value."""
    if value_s is None:
        return NOTHING
    whole = round(value_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 >= 60 else f"{whole // 3600} h"


def expected(p50_s: float | None, p90_s: float | None) -> str:
    """`14 to 21 s`: as likely longer as shorter than the one, one chance in ten of longer than the other; `uncertain`."""
    if p50_s is None or p90_s is None:
        return "uncertain"
    low, high = seconds(p50_s), seconds(p90_s)
    if low == high:
        return low
    return f"{low.removesuffix(' s')} to {high}" if p90_s < 60 else f"{low} to {high}"


def milliseconds(value_ms: float | None) -> str:
    """`340 ms`, `2.1 s`, `3 min 20 s`."""
    if value_ms is None:
        return NOTHING
    if value_ms < 1000:
        return f"{round(value_ms)} ms"
    return f"{value_ms / 1000:.1f} s" if value_ms < 60_000 else seconds(value_ms / 1000)


def size(value_bytes: float | None) -> str:
    """`512 KiB`, `96 MiB`, `64.0 GiB`."""
    if value_bytes is None:
        return NOTHING
    if value_bytes < MIB:
        return f"{value_bytes / 1024:.0f} KiB"
    if value_bytes < 1024 * MIB:
        return f"{value_bytes / MIB:.0f} MiB"
    return f"{value_bytes / MIB / 1024:.1f} GiB"


def shortened(text: str, most: int) -> str:
    """The text, cut at a blank where it is longer."""
    if len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"


_SOURCES = {
    MeasureSource.KUBEVIRT_TIMESTAMPS: "KubeVirt's times",
    MeasureSource.LAST_SAMPLE: "last sample",
    MeasureSource.PAUSED_MODE: "KubeVirt's mode Paused",
    MeasureSource.CONFIGURATION: "the configuration",
    MeasureSource.NOT_MEASURED: "not measured",
}


def how_long(quote: Quote) -> str:
    """How long a plan takes: `in 30 to 40 s`; with a move of which nobody can tell, at least what copying takes."""
    if quote.duration_p50_seconds is None:
        return f"in at least {seconds(quote.duration_seconds)}"
    return f"in {expected(quote.duration_p50_seconds, quote.duration_p90_seconds)}"


def measured_ms(measure: Measure | None) -> str:
    """A measured time with its tolerance, or that it was not measured."""
    if measure is None or measure.value is None:
        return _SOURCES[MeasureSource.NOT_MEASURED]
    return milliseconds(measure.value) + (f" ±{milliseconds(measure.tolerance)}" if measure.tolerance else "")


def measured_bytes(measure: Measure | None) -> str:
    """A measured size, or that it was not measured; of what was sent after the last sample nobody tells."""
    if measure is None or measure.value is None:
        return _SOURCES[MeasureSource.NOT_MEASURED]
    return f"≥ {size(measure.value)}" if measure.source is MeasureSource.LAST_SAMPLE else size(measure.value)


def source(measure: Measure) -> str:
    """By what a figure was measured."""
    return _SOURCES[measure.source]
