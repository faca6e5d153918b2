"""What a migration will take. So far a floor only: one pass over memory at the rate that admission guarantees."""

from whimbrel.domain.quantities import time_budget_units
from whimbrel.inventory.rates import admitted_rate, pass_seconds

__all__ = ["admitted_rate", "pass_seconds", "time_budget_units"]
