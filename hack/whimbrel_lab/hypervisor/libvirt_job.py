"""One live migration between two lab hosts, with the libvirt calls of KubeVirt's launcher.

Used by libvirt.py, which starts it and shares out the links. All states are libvirt's own; nothing is simulated.
"""

import asyncio
from collections.abc import Callable, Mapping

from whimbrel.simulation.links import Flow
from whimbrel_lab.hypervisor import HypervisorError, JobProgress, MigrationOptions, MigrationOutcome
from whimbrel_lab.hypervisor.libvirt_client import Domain, DomainState, ErrorCode, LibvirtError, Migrate, Typed
from whimbrel_lab.hypervisor.libvirt_host import Host, post_copy_obstacle

POLL_S = 0.02
ABORT_GUARD_S = 30.0
"""The launcher's own guard around an abort."""
RUNNING_GUARD_S = 10.0
USUAL_DOWNTIME_MS = 300
"""QEMU's own limit."""


class Rounds:
    """What remained when an iteration of QEMU's began, by what was polled: libvirt's events of it are not listened to.

    QEMU begins the next iteration once no more remains than goes over within the downtime limit, and takes that along. So of
    what was sent since the last poll, what had remained beyond that was the old one's, and the rest is the new one's. Where a
    whole iteration fell between two polls, it is what remains now.
    """

    def __init__(self) -> None:
        self._iteration: int | None = None
        self._processed = 0
        self._remaining = 0
        self._began_with = 0

    def began_with(
        self, iteration: int | None, processed: int | None, remaining: int | None, within_limit: int
    ) -> int | None:
        """The present iteration's, by this poll and those before; None where libvirt does not say. `within_limit`: how many
        bytes go over within the downtime limit.
        """
        if iteration is None or processed is None or remaining is None:
            return None
        if iteration != self._iteration:
            follows = self._iteration is not None and iteration == self._iteration + 1
            before = max(0, self._remaining - within_limit)
            self._began_with = remaining + (max(0, processed - self._processed - before) if follows else 0)
        self._iteration, self._processed, self._remaining = iteration, processed, remaining
        return max(self._began_with, remaining)


class LibvirtJob:
    """Implements MigrationJob. `on_end` is called once, before `wait` returns, with whether the guest moved."""

    def __init__(
        self, domain: str, source: Host, target: Host, options: MigrationOptions, on_end: Callable[[bool], None]
    ) -> None:
        self.flow = Flow(source.spec.name, target.spec.name, options.bandwidth_bytes_per_second)
        self._domain = domain
        self._source = source
        self._target = target
        self._options = options
        self._on_end = on_end
        self._limit_mebibytes = 0
        self._rounds = Rounds()
        self._downtime_ms = USUAL_DOWNTIME_MS
        self._aborting = False
        self._copying = False
        self._run: asyncio.Task[MigrationOutcome] | None = None

    def begun(self) -> bool:
        return self._run is not None

    def over(self) -> bool:
        return self._run is not None and self._run.done()

    async def begin(self, socket: str, limit_mebibytes: int) -> None:
        """Start, and return when the copy has begun; raises HypervisorError when libvirt refuses before."""
        self._limit_mebibytes = limit_mebibytes
        self._run = asyncio.create_task(self._migrate(socket, limit_mebibytes))
        while True:
            if self.over() or await self.progress() is not None:
                break
            await asyncio.sleep(POLL_S)
        if self.over() and not (outcome := self._run.result()).completed and not self._copying:
            raise HypervisorError(f"{self}: refused: {outcome.reason}")

    async def limit(self, mebibytes_per_second: int) -> None:
        """Set the rate. Quiet when the job is over; without effect before the copy has begun."""
        if mebibytes_per_second != self._limit_mebibytes and self._copying:
            self._limit_mebibytes = mebibytes_per_second
            await self._quietly(lambda domain: domain.limit_migration(mebibytes_per_second))

    async def progress(self) -> JobProgress | None:
        if self.over():
            return None
        try:
            found = await self._source.on_domain(self._domain, Domain.job_statistics)
            stopped = await self._source.on_domain(self._domain, Domain.stopped_to_migrate)
        except LibvirtError:
            return None  # it has just moved
        if not found.get("memory_total"):
            return None
        self._copying = True
        page_bytes = _number(found, "memory_page_size")
        dirty_pages = _number(found, "memory_dirty_rate")
        processed, remaining = _number(found, "memory_processed"), _number(found, "memory_remaining")
        iteration, rate = _number(found, "memory_iteration"), _number(found, "memory_bps")
        within_limit = (rate or 0) * self._downtime_ms // 1000
        return JobProgress(
            total_bytes=_number(found, "memory_total"),
            processed_bytes=processed,
            remaining_bytes=remaining,
            transfer_bytes_per_second=rate,
            dirty_bytes_per_second=None if dirty_pages is None or page_bytes is None else dirty_pages * page_bytes,
            iteration=iteration,
            round_bytes=self._rounds.began_with(iteration, processed, remaining, within_limit),
            stopped=stopped,
        )

    async def suspend(self) -> None:
        await self._quietly(Domain.suspend)

    async def limit_downtime(self, milliseconds: int) -> None:
        await self._quietly(lambda domain: domain.limit_downtime(milliseconds))
        self._downtime_ms = milliseconds

    async def start_post_copy(self) -> None:
        if self.over():
            return
        if not self._options.allow_post_copy:
            raise HypervisorError(f"{self}: post-copy was not allowed when it began")
        if obstacle := post_copy_obstacle():
            raise HypervisorError(f"{self}: post-copy is not possible: {obstacle}")
        await self._quietly(Domain.start_post_copy)

    async def abort(self) -> None:
        """Raises HypervisorError when libvirt refuses for longer than the launcher would wait."""
        self._aborting = True
        clock = asyncio.get_running_loop()
        give_up = clock.time() + ABORT_GUARD_S
        while not self.over():
            try:
                await self._source.on_domain(self._domain, Domain.abort_job)
                break
            except LibvirtError as problem:  # just beginning, or just about to end
                if clock.time() > give_up:
                    raise HypervisorError(f"{self}: cannot be aborted: {problem}") from problem
            await asyncio.sleep(POLL_S)

    async def wait(self) -> MigrationOutcome:
        if self._run is None:
            raise HypervisorError(f"{self}: was never begun")
        return await asyncio.shield(self._run)

    def __str__(self) -> str:
        return f"migration of {self._domain} from {self._source.spec.name} to {self._target.spec.name}"

    async def _migrate(self, socket: str, limit_mebibytes: int) -> MigrationOutcome:
        flags = Migrate.LIVE | Migrate.PEER2PEER | Migrate.PERSIST_DEST | Migrate.UNDEFINE_SOURCE | Migrate.UNSAFE
        if self._options.auto_converge:
            flags |= Migrate.AUTO_CONVERGE
        if self._options.allow_post_copy and post_copy_obstacle() is None:
            flags |= Migrate.POSTCOPY
        parameters: dict[str, int | str] = {"migrate_uri": f"unix://{socket}", "bandwidth": limit_mebibytes}
        completed = False
        try:
            await self._source.on_domain_alone(
                self._domain, lambda domain: domain.migrate(self._target.uri, parameters, flags)
            )
            completed = True
            reason = await self._not_running(self._target)
            return MigrationOutcome(True, reason=reason, sent_bytes=await self._sent_bytes())
        except HypervisorError as problem:
            paused = await self._not_running(self._source)
            reason = f"{problem}; {paused}" if paused else str(problem)
            return MigrationOutcome(False, aborted=self._aborting, reason=reason)
        finally:
            self._on_end(completed)

    async def _sent_bytes(self) -> int | None:
        try:
            found = await self._target.on_domain(self._domain, Domain.finished_job_statistics)
        except LibvirtError:
            return None  # whoever asked first has them
        return _number(found, "memory_processed")

    async def _not_running(self, host: Host) -> str:
        """Wait for the guest to run there; what is wrong if it does not, else empty."""
        clock = asyncio.get_running_loop()
        give_up = clock.time() + RUNNING_GUARD_S
        while True:
            try:
                state = await host.on_domain(self._domain, Domain.state)
            except HypervisorError as problem:
                return str(problem)
            if state in (DomainState.RUNNING, DomainState.BLOCKED):
                return ""
            if clock.time() > give_up:
                return f"the guest is {state.name.lower()} on {host.spec.name}"
            await asyncio.sleep(POLL_S)

    async def _quietly(self, call: Callable[[Domain], None]) -> None:
        """On the source; a failure matters only while the job runs."""
        if self.over():
            return
        try:
            await self._source.on_domain(self._domain, call)
        except LibvirtError as problem:
            if not self.over() and problem.code not in (ErrorCode.NO_DOMAIN, ErrorCode.OPERATION_INVALID):
                raise HypervisorError(f"{self}: {problem}") from problem


def _number(found: Mapping[str, Typed], name: str) -> int | None:
    value = found.get(name)
    return int(value) if value is not None else None
