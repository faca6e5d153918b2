"""KubeVirt's own limits: a migration above them waits in KubeVirt's queue without a word, behind everybody else's."""

from functools import lru_cache

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits for a free slot of the cluster and of the source, everybody's migrations counted."""
    kubevirt = circumstances.kubevirt
    if kubevirt is None:
        return None
    cluster_limit = kubevirt.parallel_migrations_per_cluster
    if ledger.in_flight >= cluster_limit:
        return _cluster_full(cluster_limit)
    node_limit = kubevirt.parallel_outbound_per_node
    if ledger.outbound_of_kubevirt(candidate.instance.node) >= node_limit:
        return _node_full(candidate.instance.node, node_limit)
    return None


# Said of thousands at each event, so put into words once.


@lru_cache(maxsize=16)
def _cluster_full(limit: int) -> Wait:
    return Wait("ClusterLimit", f"KubeVirt allows {limit} migrations at once, all are in use.")


@lru_cache(maxsize=1024)
def _node_full(node: str, limit: int) -> Wait:
    return Wait("KubeVirtOutboundLimit", f"KubeVirt allows {limit} migrations out of {node} at once, all are in use.")
