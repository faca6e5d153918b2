"""Which host for which virtual machine. Greedy and deterministic; what was chosen before stays while it is possible.

Counts on the planned state: arrivals take their room as soon as they are planned, departures give none back before they
have happened. The outlook of this room is a hint; `preflight.recheck` speaks again just before a start.
"""

from whimbrel.placement.spread import capacity_reasons, place, planned

__all__ = ["capacity_reasons", "place", "planned"]
