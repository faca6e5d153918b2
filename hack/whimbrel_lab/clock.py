"""The lab's clock: wall time that may run faster than the wall.

Every wait and every timestamp of the KubeVirt stand-in and of the model hypervisor comes from one `LabClock`, so that a
scenario of minutes passes in seconds and still agrees with itself.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class LabClock:
    """Lab time = start + scale x real time since the start. With scale 1 it is the wall clock."""

    scale: float = 1.0
    _started_wall: datetime = field(default_factory=lambda: datetime.now(UTC))
    _started_monotonic: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """The lab's time as an aware datetime in UTC."""
        return self._started_wall + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Lab seconds since the clock was made; never goes back."""
        return (time.monotonic() - self._started_monotonic) * self.scale

    async def sleep(self, lab_seconds: float) -> None:
        """Wait for that many lab seconds."""
        await asyncio.sleep(max(0.0, lab_seconds) / self.scale)
