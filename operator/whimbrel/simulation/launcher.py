"""The launcher's monitor and a copy of the fluid model: what it sees of that, and what becomes of it.

Used by whoever drives one: the node agents of a simulation, and benches.
"""

from whimbrel.simulation import fluid
from whimbrel.simulation.fluid import Copy, Stage
from whimbrel.simulation.kubevirt.monitor import Action, Look, Watch


def look_at(copy: Copy, bytes_per_second: float, elapsed_s: float) -> Look:
    """What the launcher sees of a copy that has this rate."""
    return Look(
        elapsed_s=elapsed_s,
        remaining_bytes=int(copy.remaining_bytes),
        bytes_per_second=int(bytes_per_second),
        iteration=copy.iteration,
        round_bytes=int(copy.began_with_bytes),
        stopped=copy.stands_still and copy.stage is not Stage.POST_COPY,
    )


def done_to(copy: Copy, action: Action, watch: Watch) -> Copy:
    """The copy after what the monitor does, aborts apart."""
    match action:
        case Action.SUSPEND:
            return fluid.suspend(copy)
        case Action.POST_COPY:
            return fluid.post_copy(copy)
        case Action.LIMIT_DOWNTIME:
            return fluid.limit_downtime(copy, watch.downtime_ms / 1000)
    return copy
