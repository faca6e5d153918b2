"""KubeVirt's heartbeat of a node: when virt-handler was last heard of. Asked by the families about source and target.

virt-handler writes it each minute, and KubeVirt takes a node whose heartbeat is older than five minutes out of service by the
label kubevirt.io/schedulable. A heartbeat that says nothing is *unknown*, never fresh: absent, no time, or further ahead of
our clock than clocks differ. Then that label and the node's own Ready stand, so it blocks nothing by itself.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from whimbrel.domain.records import Node

FIELD = "metadata.annotations[kubevirt.io/heartbeat]"
LIMIT = timedelta(minutes=5)
"""How old it may be, as KubeVirt itself judges it (KubeVirt contract §10); as far ahead, and it is no evidence either."""
NEEDED = "at most 5 minutes old"


class Heartbeat(StrEnum):
    """How a node's heartbeat stands; the value says what was found."""

    FRESH = NEEDED
    STALE = "older than 5 minutes"
    ABSENT = "absent, or no time"
    AHEAD = "more than 5 minutes ahead of the clock"

    @property
    def unknown(self) -> bool:
        """Whether it tells nothing of virt-handler."""
        return self in (Heartbeat.ABSENT, Heartbeat.AHEAD)


def of(node: Node, now: datetime) -> Heartbeat:
    """How the node's newest heartbeat stands."""
    if node.heartbeat_at is None:
        return Heartbeat.ABSENT
    age = now - node.heartbeat_at
    if age > LIMIT:
        return Heartbeat.STALE
    return Heartbeat.AHEAD if -age > LIMIT else Heartbeat.FRESH
