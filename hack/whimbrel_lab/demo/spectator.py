"""A hypervisor that is looked on: everything is the real one's doing, only its jobs can be asked by name.

KubeVirt samples a migration every five seconds, too seldom for a table that people watch. Used by the demo alone.
"""

from dataclasses import dataclass

from whimbrel_lab.hypervisor import (
    BeatReport,
    GuestSpec,
    GuestState,
    Hypervisor,
    MigrationJob,
    MigrationOptions,
)


@dataclass(slots=True)
class Sent:
    """What was sent for one guest: by ended jobs, and by the last one so far."""

    earlier_bytes: int = 0
    last_bytes: int = 0


class Spectator:
    """Implements Hypervisor by handing everything on."""

    def __init__(self, real: Hypervisor) -> None:
        self._real = real
        self._jobs: dict[str, MigrationJob] = {}
        self._sent: dict[str, Sent] = {}

    async def percents(self) -> dict[str, int]:
        """Share of each migrating guest's memory that is copied, by the hypervisor's job info of this moment."""
        found = {}
        for name, job in list(self._jobs.items()):
            progress = await job.progress()
            if progress is None or not progress.total_bytes or progress.remaining_bytes is None:
                continue
            share = 1 - progress.remaining_bytes / progress.total_bytes
            found[name] = max(0, min(99, int(share * 100)))
            sent = self._sent[name]
            sent.last_bytes = max(sent.last_bytes, progress.processed_bytes or 0)
        return found

    def sent_bytes(self, name: str) -> int | None:
        """Bytes sent for a guest in all its migrations, by the last job info of each; None where it never migrated."""
        sent = self._sent.get(name)
        return sent.earlier_bytes + sent.last_bytes if sent else None

    async def start(self) -> None:
        await self._real.start()

    async def stop(self) -> None:
        await self._real.stop()

    async def start_guest(self, host: str, guest: GuestSpec) -> None:
        await self._real.start_guest(host, guest)

    async def stop_guest(self, host: str, name: str) -> None:
        await self._real.stop_guest(host, name)

    async def set_link(self, host: str, bytes_per_second: float) -> None:
        await self._real.set_link(host, bytes_per_second)

    async def guest_state(self, host: str, name: str) -> GuestState:
        return await self._real.guest_state(host, name)

    async def dirty_rate(self, host: str, name: str) -> int | None:
        return await self._real.dirty_rate(host, name)

    async def resident_bytes(self, host: str, name: str) -> int | None:
        return await self._real.resident_bytes(host, name)

    async def migrate(self, source: str, target: str, name: str, options: MigrationOptions) -> MigrationJob:
        job = await self._real.migrate(source, target, name, options)
        sent = self._sent.setdefault(name, Sent())
        sent.earlier_bytes, sent.last_bytes = sent.earlier_bytes + sent.last_bytes, 0
        self._jobs[name] = job
        return job

    async def reset_beats(self, name: str) -> None:
        await self._real.reset_beats(name)

    async def beats(self, name: str) -> BeatReport:
        return await self._real.beats(name)
