"""KubeVirt's own limits: a migration above them waits in KubeVirt's queue without a word, behind everybody else's."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits for a free slot of the cluster and of the source, everybody's migrations counted."""
    kubevirt = circumstances.kubevirt
    if kubevirt is None:
        return None
    cluster_limit = kubevirt.parallel_migrations_per_cluster
    if ledger.in_flight >= cluster_limit:
        return Wait("ClusterLimit", f"KubeVirt allows {cluster_limit} migrations at once, all are in use.")
    node_limit = kubevirt.parallel_outbound_per_node
    if ledger.outbound_of_kubevirt(candidate.instance.node) >= node_limit:
        message = f"KubeVirt allows {node_limit} migrations out of {candidate.instance.node} at once, all are in use."
        return Wait("KubeVirtOutboundLimit", message)
    return None
