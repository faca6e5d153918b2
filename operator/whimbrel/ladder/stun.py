"""Stun: pre-copy until a deadline, then suspend the guest while the rest is copied (KubeVirt's workload disruption).

Needs consent: a longest suspension (the stun guard cuts longer ones short by deleting the migration) and a longest
suspension when nobody guards, because KubeVirt by itself lets the guest stay suspended for one further deadline. Guests with
VFIO devices are not suspended but given any time for their last step, and so is every guest where KubeVirt's stall detection is
on: nothing can end that early, so it must be foretold to take half of the budget at most.
"""

from math import ceil

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.domain.quantities import time_budget_units
from whimbrel.forecast import AtDeadline, Terms, unattended_downtime_ms
from whimbrel.ladder.configuration import configuration
from whimbrel.ladder.deadlines import most_wire_bytes, on_grid, too_short
from whimbrel.ladder.rung import Load, Offer, Withheld
from whimbrel.lifecycle.guard import attended_downtime_ms

RUNG = Rung.STUN

STANDS_STILL = frozenset({AtDeadline.SUSPEND, AtDeadline.RAISE_DOWNTIME})
"""What KubeVirt does at a deadline by which the guest stands still."""

ROUNDS_BEFORE_STUN = 1.5
"""Passes over memory before the guest is suspended, where the unattended limit leaves room: then only what is dirtied
again is left, instead of memory that was never sent."""


SAMPLED_S = 20.0
"""Time after the first pass, where the unattended limit leaves room: two samples of later rounds at least, mostly three, by
which the pause is bounded before it begins."""


def offer(load: Load, step: LadderStep, disruption: Disruption) -> Offer | Withheld | None:
    """Withheld where KubeVirt cannot do it, where its deadline cannot be known, or where its shortest useful one exceeds
    the unattended limit or the step's bound.

    The shortest useful deadline is one pass over memory, in KubeVirt's units: suspending earlier would suspend the guest
    for memory that was never sent.
    """
    if disruption.stun != Permission.ALLOWED or disruption.max_downtime_ms is None:
        return None
    if obstacle := _obstacle(load):
        return Withheld(RUNG, obstacle)
    units, one_pass_s = time_budget_units(load.memory_bytes), load.pass_s()
    at_deadline = (
        AtDeadline.RAISE_DOWNTIME if load.passes_devices_through or load.stall_detection else AtDeadline.SUSPEND
    )
    least = ceil(one_pass_s / units)
    most = longest_deadline_s(disruption.unattended_downtime_ms or 0, at_deadline) // units
    if most < least:
        alone_ms = unattended_downtime_ms(Terms(least * units, at_deadline))
        return Withheld(
            RUNG,
            f"KubeVirt's shortest useful deadline is {least * units} s, so without an operator the guest could stand still "
            f"for {alone_ms} ms; raise disruption.unattendedDowntimeMs or the bandwidth.",
        )
    if step.max_duration_seconds is not None and step.max_duration_seconds // units < least:
        return Withheld(RUNG, too_short(load, step))
    wanted_s = max(ROUNDS_BEFORE_STUN * one_pass_s, one_pass_s + SAMPLED_S)
    per_gib = min(most, max(least, on_grid(ceil(wanted_s / units))))
    if step.max_duration_seconds is not None:
        per_gib = min(per_gib, step.max_duration_seconds // units)
    deadline_s = per_gib * units
    terms = Terms(deadline_s, at_deadline)
    unattended_ms = unattended_downtime_ms(terms)
    # Nothing aborts a raised downtime limit, and no suspension outlasts the one that KubeVirt ends by itself.
    attended_ms = attended_downtime_ms(disruption.max_downtime_ms)
    return Offer(
        rung=RUNG,
        configuration=configuration(load, per_gib, allow_workload_disruption=True),
        deadline_seconds=deadline_s,
        terms=terms,
        budget_ms=disruption.max_downtime_ms,
        attended_downtime_ms=min(attended_ms, unattended_ms)
        if terms.at_deadline is AtDeadline.SUSPEND
        else unattended_ms,
        unattended_downtime_ms=unattended_ms,
        most_wire_bytes=most_wire_bytes(step),
        most_attempts=step.max_attempts,
    )


def longest_deadline_s(unattended_ms: int, at_deadline: AtDeadline) -> int:
    """The longest deadline in whole seconds under which KubeVirt by itself keeps within this pause: the inverse of
    `unattended_downtime_ms`; 0: there is none.
    """
    least, most = 0, unattended_ms // 1000
    while least < most:
        middle = (least + most + 1) // 2
        fits = unattended_downtime_ms(Terms(middle, at_deadline)) <= unattended_ms
        least, most = (middle, most) if fits else (least, middle - 1)
    return least


def _obstacle(load: Load) -> str:
    """Why no budget could be kept, or KubeVirt cannot do it; empty where nothing is in the way."""
    if not load.workload_disruption:
        return (
            "This KubeVirt cannot suspend a guest for the rest of the copy (its MigrationPolicy has no "
            "allowWorkloadDisruption); KubeVirt 1.5 and later can."
        )
    units = time_budget_units(load.memory_bytes)
    if load.local_disk_bytes is None or time_budget_units(load.memory_bytes + load.local_disk_bytes) != units:
        return (
            "It has local disks (such as a container disk), which KubeVirt counts in its deadline with a size that it does "
            "not tell, so the length of a suspension could not be kept."
        )
    return ""


def most_downtime_ms(budget_ms: int | None, terms: Terms) -> int | None:
    """Longest pause with which a guest may be suspended under these terms; None where it never is. A pause that nothing can end
    is asked to be half of the budget.
    """
    if budget_ms is None or terms.at_deadline not in STANDS_STILL:
        return None
    return budget_ms // 2 if terms.at_deadline is AtDeadline.RAISE_DOWNTIME else budget_ms
