"""What a migration will take: duration, bytes, downtime and convergence, each with its uncertainty; and its floor.

`guest` checks what the cluster told, `predict` forecasts an attempt, `chance` says how likely it stays within what is
permitted, `bandwidth_price` what a refused one lacks; `sighting`, `eta` and `progress` follow a running one,
`pause_if_suspended_now` and `pause_in_all_s` are for whoever suspends guests. The ladder and the quote ask it; the benches hold
it against the lab's fluid model and real QEMU.
"""

from whimbrel.api.forecast import Convergence
from whimbrel.domain.quantities import time_budget_units
from whimbrel.domain.samples import Reading
from whimbrel.domain.suspension import pause_in_all_s
from whimbrel.forecast.arrival import Eta, chance_of_rest, eta, eta_of_rest, progress
from whimbrel.forecast.attempt import AtDeadline, Disks, Ending, Terms, deadline_seconds
from whimbrel.forecast.belief import rounded_up
from whimbrel.forecast.curve import CurvePoint, DirtyCurve
from whimbrel.forecast.knowledge import Knowledge
from whimbrel.forecast.odds import chance, fits
from whimbrel.forecast.path import UNKNOWN_ZSTD, ZSTD_BYTES_PER_SECOND, Path
from whimbrel.forecast.pre_copy import Ramp
from whimbrel.forecast.prediction import CERTAIN, POD_START_UP, Prediction, outcomes, predict, unattended_downtime_ms
from whimbrel.forecast.prices import BandwidthPrice, bandwidth_price, bandwidth_that_does, least
from whimbrel.forecast.readings import Guest, guest
from whimbrel.forecast.samples import SEEN_WHILE_MIGRATING, Sighting, point_of_finished, sighting
from whimbrel.forecast.spread import Spread, exactly, quantile
from whimbrel.forecast.steady import round_by_what_was_left
from whimbrel.forecast.stun import Pause, longest_pause_ms, pause_if_suspended_now
from whimbrel.inventory.rates import admitted_rate, pass_seconds, stream_rate

__all__ = [
    "CERTAIN",
    "POD_START_UP",
    "SEEN_WHILE_MIGRATING",
    "UNKNOWN_ZSTD",
    "ZSTD_BYTES_PER_SECOND",
    "AtDeadline",
    "BandwidthPrice",
    "Convergence",
    "CurvePoint",
    "DirtyCurve",
    "Disks",
    "Ending",
    "Eta",
    "Guest",
    "Knowledge",
    "Path",
    "Pause",
    "Prediction",
    "Ramp",
    "Reading",
    "Sighting",
    "Spread",
    "Terms",
    "admitted_rate",
    "bandwidth_price",
    "bandwidth_that_does",
    "chance",
    "chance_of_rest",
    "deadline_seconds",
    "eta",
    "eta_of_rest",
    "exactly",
    "fits",
    "guest",
    "least",
    "longest_pause_ms",
    "outcomes",
    "pass_seconds",
    "pause_if_suspended_now",
    "pause_in_all_s",
    "point_of_finished",
    "predict",
    "progress",
    "quantile",
    "round_by_what_was_left",
    "rounded_up",
    "sighting",
    "stream_rate",
    "time_budget_units",
    "unattended_downtime_ms",
]
