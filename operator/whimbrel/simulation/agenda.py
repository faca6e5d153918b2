"""A virtual clock: things to do at times, done in order; nothing happens in between.

What is due at the same instant is done in the order in which it was entered, so that a run can be repeated exactly.
"""

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """What happens when. `seconds` is the present and moves only forward, by `step`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._entries: list[tuple[float, int, Action]] = []
        self._entered = 0

    def at(self, seconds: float, action: Action) -> None:
        """Enters something for a time; one that has passed means as soon as possible."""
        self._entered += 1
        heapq.heappush(self._entries, (max(seconds, self.seconds), self._entered, action))

    def after(self, seconds: float, action: Action) -> None:
        """Enters something for so many seconds from now."""
        self.at(self.seconds + seconds, action)

    def next_at(self) -> float | None:
        """When the next thing is due; None when nothing ever will be."""
        return self._entries[0][0] if self._entries else None

    def step(self) -> None:
        """Moves on to the next thing and does it."""
        self.seconds, _, action = heapq.heappop(self._entries)
        action()


class Alarm:
    """One action that is due at the earliest of the times it was asked for, and then no more until asked again."""

    def __init__(self, agenda: Agenda, action: Action) -> None:
        self._agenda = agenda
        self._action = action
        self._due: float | None = None

    def at(self, seconds: float) -> None:
        """Asks for the action at that time at the latest."""
        seconds = max(seconds, self._agenda.seconds)
        if self._due is None or seconds < self._due:
            self._due = seconds
            self._agenda.at(seconds, self._ring)

    def after(self, seconds: float) -> None:
        """Asks for the action in so many seconds at the latest."""
        self.at(self._agenda.seconds + seconds)

    def cancel(self) -> None:
        """Nothing is due any more."""
        self._due = None

    def _ring(self) -> None:
        if self._due is not None and self._due <= self._agenda.seconds:
            self._due = None
            self._action()
