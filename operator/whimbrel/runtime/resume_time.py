"""How long guests take to run again after the stun guard decided to end their suspension, as measured by this replica.

Kept in memory: a restart begins anew. Called by the stun guard.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from whimbrel.domain.records import Instance, Key
from whimbrel.lifecycle.guard import FIRST_RESUME_S

LEAST_S, MOST_S = 1.0, 30.0
REMEMBERED = 20
REMEMBERED_S = 3600.0
"""One slow abort, perhaps of an API server that was away, must not shorten every pause for good."""


@dataclass(frozen=True, slots=True)
class _Cut:
    instance: Key
    decided_at: float


@dataclass(frozen=True, slots=True)
class _Measured:
    at: float
    took_s: float


_ASSUMED = _Measured(inf, FIRST_RESUME_S)


class ResumeTime:
    """The longest of the last measured times that are no older than an hour; the assumed one counts among them until there are
    enough.

    All times are monotonic, in seconds. What is measured ends with the news of the end, so it is rather too long.
    """

    def __init__(self) -> None:
        self._measured: deque[_Measured] = deque([_ASSUMED], maxlen=REMEMBERED)
        self._cuts: dict[str, _Cut] = {}

    @property
    def seconds(self) -> float:
        """The time to reckon with: at least 1 s, at most 30 s."""
        return max(each.took_s for each in self._measured)

    def decided(self, migration_uid: str, instance: Key, at: float) -> None:
        """The end of this guest's suspension was decided on; the first decision counts."""
        self._cuts.setdefault(migration_uid, _Cut(instance, at))

    def dropped(self, migration_uid: str) -> None:
        """The migration had been gone before: whoever ended it knows how long that took."""
        self._cuts.pop(migration_uid, None)

    def look(self, instances: Mapping[Key, Instance], at: float) -> None:
        """Measures what has ended. An abort that takes longer than 30 s counts as that; one that came too late does not."""
        recent = [each for each in self._measured if at - each.at <= REMEMBERED_S]
        self._measured = deque(recent or [_ASSUMED], maxlen=REMEMBERED)
        for uid, cut in list(self._cuts.items()):
            instance = instances.get(cut.instance)
            state = instance.migration if instance is not None else None
            if state is None or state.migration_uid != uid or (state.completed and not state.failed):
                del self._cuts[uid]
                continue
            ended = state.failed or state.ended_at is not None or state.abort_status == "Succeeded"
            took_s = at - cut.decided_at
            if ended or took_s >= MOST_S:
                del self._cuts[uid]
                self._measured.append(_Measured(at, min(MOST_S, max(LEAST_S, took_s))))
