"""The limits that HostProfiles declare for both ends, everybody's migrations counted.

Where the scheduler chooses the target, each node that it may choose needs a free slot.
"""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits for a free outbound slot of the source and a free inbound slot of wherever it may land."""
    source, landing = candidate.instance.node, candidate.attempt.landing_nodes
    for node, used, direction in (
        (source, ledger.outbound(source), "out of"),
        *((target, ledger.inbound(target), "into") for target in landing),
    ):
        host = circumstances.hosts.get(node)
        if host is None or host.migration is None:
            continue
        limits = host.migration.limits
        limit = limits.parallel_outbound if direction == "out of" else limits.parallel_inbound
        if used >= limit:
            message = f"HostProfile {host.profile_name} allows {limit} migrations {direction} {node} at once."
            return Wait("OutboundLimit" if direction == "out of" else "InboundLimit", message)
    return None
