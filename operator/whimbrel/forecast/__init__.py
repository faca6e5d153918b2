"""What a migration will take. So far a floor only: one pass over memory at the rate that admission guarantees."""

from whimbrel.forecast.floor import admitted_rate, pass_seconds, time_budget_units

__all__ = ["admitted_rate", "pass_seconds", "time_budget_units"]
