"""How often each client asked an API server for what: counted by the embedded one, read from a real one's audit log."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True, order=True)
class RequestKey:
    """`client` is the token's user, or the first word of the user agent; `resource` is plural.group."""

    client: str
    verb: str
    resource: str
    subresource: str


class Counters:
    """Requests since the start by client, verb, resource and subresource; refused requests count too."""

    def __init__(self) -> None:
        self._requests: Counter[RequestKey] = Counter()

    def count(self, key: RequestKey) -> None:
        self._requests[key] += 1

    def snapshot(self) -> Counter[RequestKey]:
        """The counts as they are now."""
        return Counter(self._requests)

    def since(self, before: Counter[RequestKey]) -> Counter[RequestKey]:
        """What was counted after a snapshot."""
        return self._requests - before


def writes(counts: Counter[RequestKey], without: Iterable[str] = ()) -> int:
    """How many of the counted requests were writes, some resources (plural.group) apart."""
    left_out = set(without)
    return sum(count for key, count in counts.items() if key.verb in WRITES and key.resource not in left_out)
