"""What a migration will take: duration, bytes, downtime and convergence, each with its uncertainty; and its floor.

The quote and the ladder use its floor (`admitted_rate`, `pass_seconds`, `time_budget_units`) so far. The rest is held
against the lab's fluid model and real QEMU by the benches, and is what they are to ask next: `guest` checks what the cluster
told, `predict` forecasts an attempt, `chance` says how likely it stays within what is permitted, `price` what a refusal would
cost; `sighting`, `eta` and `progress` follow a running one, `pause_if_suspended_now` and `pause_in_all_s` are for whoever
suspends guests.
"""

from whimbrel.domain.quantities import time_budget_units
from whimbrel.forecast.arrival import Eta, eta, eta_of_rest, progress
from whimbrel.forecast.attempt import AtDeadline, Disks, Ending, Terms, deadline_seconds
from whimbrel.forecast.curve import CurvePoint, DirtyCurve
from whimbrel.forecast.odds import chance, fits
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import Convergence, Prediction, predict, unattended_downtime_ms
from whimbrel.forecast.prices import Price, bandwidth_that_does, pause_that_does, price
from whimbrel.forecast.readings import Guest, Reading, guest
from whimbrel.forecast.samples import Sighting, point_of_finished, sighting
from whimbrel.forecast.spread import Spread, exactly
from whimbrel.forecast.stun import Pause, pause_if_suspended_now, pause_in_all_s
from whimbrel.inventory.rates import admitted_rate, pass_seconds

__all__ = [
    "AtDeadline",
    "Convergence",
    "CurvePoint",
    "DirtyCurve",
    "Disks",
    "Ending",
    "Eta",
    "Guest",
    "Path",
    "Pause",
    "Prediction",
    "Price",
    "Reading",
    "Sighting",
    "Spread",
    "Terms",
    "admitted_rate",
    "bandwidth_that_does",
    "chance",
    "deadline_seconds",
    "eta",
    "eta_of_rest",
    "exactly",
    "fits",
    "guest",
    "pass_seconds",
    "pause_if_suspended_now",
    "pause_in_all_s",
    "pause_that_does",
    "point_of_finished",
    "predict",
    "price",
    "progress",
    "sighting",
    "time_budget_units",
    "unattended_downtime_ms",
]
