"""A hypervisor that only computes: guests and migrations of the fluid model on the lab's clock.

Thousands of guests cost nothing while they only run; migrations are computed at events, never in small ticks. What real
libvirt and QEMU showed on this kind of machine (resume after an abort) is built in; failures are injected by tests.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from whimbrel.simulation import fluid
from whimbrel.simulation.fluid import Copy, Memory, Stage
from whimbrel.simulation.network import Network
from whimbrel_lab.clock import LabClock
from whimbrel_lab.hypervisor import (
    BeatReport,
    GuestSpec,
    GuestState,
    HostSpec,
    HypervisorError,
    JobProgress,
    MigrationOptions,
    MigrationOutcome,
)

BEAT_INTERVAL_MS = 100.0
RESUME_S = (1.2, 2.1)
"""From the abort of a job to the guest running again: libvirt 9.0 and QEMU 7.2 took 1.24 to 2.07 s."""
ABORTED = "operation aborted: migration out job: canceled by client"
MIB = 1024 * 1024


@dataclass(slots=True)
class _Guest:
    spec: GuestSpec
    host: str
    started_at: float
    stood_still_s: float = 0.0
    longest_gap_s: float = 0.0

    def stood_still(self, seconds: float) -> None:
        self.stood_still_s += seconds
        self.longest_gap_s = max(self.longest_gap_s, seconds)


@dataclass(slots=True)
class _Job:
    """One migration; `ends_at` is when it will end without success, `outcome` how it has ended.

    From an abort on, `copy` is what there was of it then, and the network knows it no more.
    """

    name: str
    source: str
    target: str
    ends_at: float = inf
    failure: str = ""
    aborted_at: float = inf
    copy: Copy | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: MigrationOutcome | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    after_s: float


class ModelHypervisor:
    """All hosts of a lab in one object. Times are lab seconds; the seed varies how long aborted guests take to resume."""

    def __init__(
        self, hosts: Iterable[HostSpec], clock: LabClock, *, can_post_copy: bool = True, seed: int = 0
    ) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._network = Network({host.name: float(host.link_bytes_per_second) for host in self._hosts.values()})
        self._clock = clock
        self._can_post_copy = can_post_copy
        self._seed = seed
        self._guests: dict[str, _Guest] = {}
        self._jobs: dict[str, _Job] = {}
        self._failures: dict[str, _Failure] = {}
        self._aborts = 0
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Nothing runs until a migration begins."""

    async def stop(self) -> None:
        """Ends every guest; who waits for a migration is told so."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        for job in list(self._jobs.values()):
            stopped = MigrationOutcome(completed=False, reason="the hypervisor was stopped")
            self._end(job, stopped, self._clock.monotonic())
        self._guests.clear()

    def fail_next(self, name: str, reason: str, after_s: float = 0.0) -> None:
        """The guest's next migration ends with this reason so many lab seconds after its begin; its source runs on."""
        self._failures[name] = _Failure(reason, after_s)

    async def set_link(self, host: str, bytes_per_second: float) -> None:
        """Makes a host's link faster, slower, or dead (0)."""
        self._settle()
        self._network.set_link(host, bytes_per_second, self._clock.monotonic())
        self._changed.set()

    async def start_guest(self, host: str, guest: GuestSpec) -> None:
        """Raises HypervisorError for an unknown host and for a guest that runs already."""
        if host not in self._hosts:
            raise HypervisorError(f"{guest.name}: there is no host {host}; there are {', '.join(sorted(self._hosts))}")
        if guest.name in self._guests:
            raise HypervisorError(f"{guest.name}: runs already, on {self._guests[guest.name].host}")
        if guest.later_dirty_bytes_per_second is not None:
            raise HypervisorError(f"{guest.name}: guests of the model go on as they began")
        now = self._settle()
        self._guests[guest.name] = _Guest(guest, host, started_at=now)

    async def stop_guest(self, host: str, name: str) -> None:
        """Ends a guest with its migration, or, on the host that it only arrives at, the migration alone."""
        now = self._settle()
        job = self._jobs.get(name)
        guest = self._guests.get(name)
        if job is not None and host in (job.source, job.target):
            self._end_without_success(
                job, now, MigrationOutcome(completed=False, reason=f"domain {name} on host {host} was destroyed")
            )
        if guest is not None and guest.host == host:
            del self._guests[name]

    async def guest_state(self, host: str, name: str) -> GuestState:
        """What `virsh domstate` would say on that host."""
        now = self._settle()
        job = self._jobs.get(name)
        if job is not None and host == job.target and job.copy is None:
            after = self._copy(job, now).stage is Stage.POST_COPY
            return GuestState.RUNNING if after else GuestState.INCOMING
        guest = self._guests.get(name)
        if guest is None or guest.host != host:
            return GuestState.ABSENT
        if job is None:
            return GuestState.RUNNING
        gone = self._copy(job, now).stage is Stage.POST_COPY
        return GuestState.PAUSED if gone or self._copy(job, now).stands_still else GuestState.RUNNING

    async def dirty_rate(self, host: str, name: str) -> int | None:
        """Distinct bytes rewritten within one second, in whole MiB; None where no such guest runs."""
        guest = self._guests.get(name)
        now = self._settle()
        if guest is None or guest.host != host:
            return None
        job = self._jobs.get(name)
        rate = float(guest.spec.dirty_bytes_per_second)
        if job is not None:
            rate = self._copy(job, now).dirty_bytes_per_second
        return int(min(guest.spec.working_set_bytes, rate)) // MIB * MIB

    async def resident_bytes(self, host: str, name: str) -> int | None:
        """Memory that is not zero, without any overhead; None where no such guest runs."""
        guest = self._guests.get(name)
        self._settle()
        return guest.spec.touched_bytes if guest is not None and guest.host == host else None

    async def migrate(self, source: str, target: str, name: str, options: MigrationOptions) -> "ModelJob":
        """Begins a migration at once. Raises HypervisorError as libvirt would refuse: no such guest or host, a job runs."""
        now = self._settle()
        guest = self._guests.get(name)
        if guest is None or guest.host != source:
            raise HypervisorError(f"{name}: no such domain on host {source}")
        if target not in self._hosts or target == source:
            raise HypervisorError(f"{name}: host {target} cannot be a target of a migration from {source}")
        if name in self._jobs:
            raise HypervisorError(f"{name}: another migration job is already running on host {source}")
        job = _Job(name, source, target)
        if (failure := self._failures.pop(name, None)) is not None:
            job.ends_at, job.failure = now + failure.after_s, failure.reason
        spec = guest.spec
        memory = Memory(
            spec.memory_bytes, spec.touched_bytes, spec.working_set_bytes, spec.dirty_bytes_per_second, spec.zstd_ratio
        )
        compression = memory.zstd_ratio if options.zstd else 1.0
        copy = fluid.begin(memory, options.bandwidth_bytes_per_second, options.auto_converge, compression)
        self._jobs[name] = job
        self._network.begin(name, source, target, copy, now)
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch())
        self._changed.set()
        return ModelJob(self, job, options)

    async def reset_beats(self, name: str) -> None:
        """Forgets the longest gap so far."""
        self._settle()
        self._known(name).longest_gap_s = 0.0

    async def beats(self, name: str) -> BeatReport:
        """What the guest would have said; a blackout counts once it is over."""
        now = self._settle()
        guest = self._known(name)
        job = self._jobs.get(name)
        still = guest.stood_still_s + (self._blackout_s(job, now) if job is not None else 0.0)
        ran_s = max(0.0, now - guest.started_at - still)
        written = int(ran_s * guest.spec.dirty_bytes_per_second)
        return BeatReport(
            beats=int(ran_s * 1000 / BEAT_INTERVAL_MS),
            interval_ms=BEAT_INTERVAL_MS,
            longest_gap_ms=guest.longest_gap_s * 1000,
            restarts=0,
            memory_intact=True,
            sweeps=written // max(1, guest.spec.working_set_bytes),
            written_bytes=written,
        )

    def progress_of(self, job: _Job) -> JobProgress | None:
        """Job info as libvirt would give it; None when the job is over or being aborted."""
        now = self._settle()
        if job.outcome is not None or job.copy is not None:
            return None
        copy = self._copy(job, now)
        return JobProgress(
            total_bytes=int(copy.memory.size_bytes),
            processed_bytes=int(copy.sent_bytes),
            remaining_bytes=int(copy.remaining_bytes),
            transfer_bytes_per_second=int(self._network.rate(job.name)),
            dirty_bytes_per_second=int(copy.dirty_bytes_per_second),
            iteration=copy.iteration,
            round_bytes=int(copy.began_with_bytes),
            stopped=copy.stands_still and copy.stage is not Stage.POST_COPY,
        )

    def apply(self, job: _Job, change: Callable[[Copy], Copy]) -> None:
        """Does something to the copy; nothing when the job is over or being aborted."""
        now = self._settle()
        if job.outcome is None and job.copy is None:
            self._network.replace(job.name, change(self._copy(job, now)), now)
            self._changed.set()

    def start_post_copy(self, job: _Job, allowed: bool) -> None:
        """Raises HypervisorError where the migration was begun without post-copy or the machine cannot."""
        if not allowed or not self._can_post_copy:
            why = "the migration was not started with it" if not allowed else "Postcopy is not supported"
            raise HypervisorError(f"{job.name}: cannot switch to post-copy on host {job.source}: {why}")
        self.apply(job, fluid.post_copy)

    def abort(self, job: _Job) -> None:
        """The copy ends now, the verdict comes when the source runs again. Too late once the guest was stopped to move."""
        now = self._settle()
        if job.outcome is not None or job.copy is not None:
            return
        copy = self._copy(job, now)
        if copy.stage is Stage.POST_COPY:
            raise HypervisorError(
                f"{job.name}: a migration in post-copy cannot be aborted: the guest runs on {job.target}"
            )
        if copy.stage is not Stage.PRE_COPY:
            return
        self._network.remove(job.name, now)
        self._aborts += 1
        text = f"{self._seed}/{job.name}/{self._aborts}"
        share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32
        job.copy, job.aborted_at, job.failure = copy, now, ""
        job.ends_at = now + RESUME_S[0] + share * (RESUME_S[1] - RESUME_S[0])
        self._changed.set()

    def _known(self, name: str) -> _Guest:
        try:
            return self._guests[name]
        except KeyError:
            raise HypervisorError(f"{name}: no such guest runs on any host") from None

    def _copy(self, job: _Job, now: float) -> Copy:
        return job.copy if job.copy is not None else self._network.copy(job.name, now)

    def _blackout_s(self, job: _Job, now: float) -> float:
        """For how long the guest has been standing still on account of this job; 0 where it runs."""
        copy = self._copy(job, now)
        return copy.blackout_s + max(0.0, now - job.aborted_at) if copy.stands_still else 0.0

    def _settle(self) -> float:
        """Lets everything happen that is due, in its order; returns the time."""
        now = self._clock.monotonic()
        while True:
            early = min(self._jobs.values(), key=lambda job: job.ends_at, default=None)
            for ended in self._network.advance_to(now if early is None else min(now, early.ends_at)):
                job, guest = self._jobs[ended.name], self._guests[ended.name]
                guest.host = job.target
                guest.stood_still(ended.copy.blackout_s)
                self._end(job, MigrationOutcome(completed=True), ended.at)
            if early is None or early.ends_at > now:
                return now
            if early.outcome is not None:
                continue
            aborted = early.copy is not None
            if aborted or self._copy(early, early.ends_at).stage is Stage.PRE_COPY:
                outcome = MigrationOutcome(False, aborted=aborted, reason=ABORTED if aborted else early.failure)
                self._end_without_success(early, early.ends_at, outcome)
            else:
                early.ends_at = inf

    def _end_without_success(self, job: _Job, at: float, outcome: MigrationOutcome) -> None:
        self._guests[job.name].stood_still(self._blackout_s(job, at))
        self._end(job, outcome, at)

    def _end(self, job: _Job, outcome: MigrationOutcome, at: float) -> None:
        if job.name in self._network:
            self._network.remove(job.name, at)
        job.outcome = outcome
        del self._jobs[job.name]
        job.over.set()
        self._changed.set()

    async def _keep_watch(self) -> None:
        """Settles at each event, so that who waits for a job is told; sleeps for good while nothing runs."""
        while True:
            now = self._settle()
            next_at = min(self._network.next_change(), *(job.ends_at for job in self._jobs.values()), inf)
            self._changed.clear()
            delay = None if next_at == inf else max(0.0, next_at - now) / self._clock.scale
            try:
                await asyncio.wait_for(self._changed.wait(), delay)
            except TimeoutError:
                continue


class ModelJob:
    """One migration of the model; see the protocol `MigrationJob`."""

    def __init__(self, hypervisor: ModelHypervisor, job: _Job, options: MigrationOptions) -> None:
        self._hypervisor = hypervisor
        self._job = job
        self._options = options

    async def progress(self) -> JobProgress | None:
        """The latest job info, or None once it is over."""
        return self._hypervisor.progress_of(self._job)

    async def suspend(self) -> None:
        """The guest stands still on the source while the copy goes on."""
        self._hypervisor.apply(self._job, fluid.suspend)

    async def limit_downtime(self, milliseconds: int) -> None:
        """The guest is stopped as soon as what is pending goes over within this time."""
        self._hypervisor.apply(self._job, lambda copy: fluid.limit_downtime(copy, milliseconds / 1000))

    async def start_post_copy(self) -> None:
        """The guest goes on at the target."""
        self._hypervisor.start_post_copy(self._job, self._options.allow_post_copy)

    async def abort(self) -> None:
        """The source guest runs again 1.2 to 2.1 lab seconds later."""
        self._hypervisor.abort(self._job)

    async def wait(self) -> MigrationOutcome:
        """Until the job is over."""
        await self._job.over.wait()
        if self._job.outcome is None:
            raise HypervisorError(f"{self._job.name}: the migration ended without an outcome")
        return self._job.outcome
