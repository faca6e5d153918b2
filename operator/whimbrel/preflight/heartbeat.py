"""KubeVirt's heartbeat of a node: when virt-handler was last heard of. Asked by the families about source and target."""

from datetime import datetime, timedelta

from whimbrel.domain.records import Node

FIELD = "metadata.annotations[kubevirt.io/heartbeat]"
STALE_AFTER = timedelta(minutes=5)
"""As KubeVirt itself judges it (KubeVirt contract §10)."""
FOUND = "older than 5 minutes"
NEEDED = "at most 5 minutes old"


def stale(node: Node, now: datetime) -> bool:
    """Whether the newest heartbeat is too old; a node without one says nothing of virt-handler."""
    return node.heartbeat_at is not None and now - node.heartbeat_at > STALE_AFTER
