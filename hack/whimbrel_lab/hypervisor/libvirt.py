"""The real hypervisor: QEMU guests under session libvirtd daemons, and real live migrations between them.

One libvirtd per lab host, one QEMU (TCG: no KVM, no root) per guest, all on this machine. `available()` says whether it
has what that takes. Called by the KubeVirt stand-in and the demo through the Hypervisor protocol.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from whimbrel.simulation.links import shares
from whimbrel_lab.hypervisor import (
    BeatReport,
    GuestSpec,
    GuestState,
    HostSpec,
    HypervisorError,
    MigrationJob,
    MigrationOptions,
)
from whimbrel_lab.hypervisor import libvirt_client as client
from whimbrel_lab.hypervisor.guest import domain, image
from whimbrel_lab.hypervisor.guest.beats import BeatReader
from whimbrel_lab.hypervisor.libvirt_client import Connection, Domain, DomainState, ErrorCode, LibvirtError
from whimbrel_lab.hypervisor.libvirt_host import LONGEST_FOLDER, Host, find, give_away, missing_programs, nameless_user
from whimbrel_lab.hypervisor.libvirt_job import LibvirtJob
from whimbrel_lab.processes import ProcessKeeper

MEBIBYTE = 1024**2
THREADS = 64
"""Most libvirt calls at once; each running migration holds one."""
LISTEN_EVERY_S = 0.1
FIRST_BEAT_S = 60.0
SAMPLING_S = 1
SAMPLE_PAGES_PER_GIBIBYTE = 4096
"""QEMU's most. Its default of 512 suits guests of many GiB, and would look at 32 pages of a lab guest of 64 MiB."""


def available() -> str | None:
    """Why real guests cannot be had on this machine, with what to do; None when they can."""
    if not sys.platform.startswith("linux"):
        return f"libvirt and QEMU need Linux, this is {sys.platform}"
    missing = missing_programs()
    if image.assembler() is None:
        missing.append("binutils")
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})"
    if nameless_user():
        return f"libvirt needs an account, and user id {os.geteuid()} has none (see /etc/passwd)"
    if problem := client.missing():
        return f"libvirt's client library cannot be loaded: {problem} (apt-get install libvirt0)"
    return None


class LibvirtHypervisor:
    """Implements Hypervisor. `workdir` must have a short path; without it a folder in the system's temporary one."""

    def __init__(self, hosts: Sequence[HostSpec], workdir: Path | None = None) -> None:
        self._specs = tuple(hosts)
        self._links = {spec.name: float(spec.link_bytes_per_second) for spec in self._specs}
        self._workdir = workdir
        self._folder: Path | None = None
        self._keeper = ProcessKeeper()
        self._threads: ThreadPoolExecutor | None = None
        self._hosts: dict[str, Host] = {}
        self._readers: dict[str, BeatReader] = {}
        self._homes: dict[str, str] = {}
        self._jobs: dict[str, LibvirtJob] = {}
        self._sharing = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Raises HypervisorError, with nothing left behind, when a daemon does not come up."""
        if problem := available():
            raise HypervisorError(problem)
        try:
            await self._keeper.start()
            self._folder = self._private_folder()
            self._keeper.remove_at_end(self._folder)
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
            for number, spec in enumerate(self._specs):
                folder = self._folder / f"h{number}"
                folder.mkdir(mode=0o700)
                self._hosts[spec.name] = Host(spec, folder, self._threads)
            await asyncio.gather(*(host.start(self._keeper) for host in self._hosts.values()))
            self._in_background(self._listen())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._keeper.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(job.wait() for job in self._jobs.values()), return_exceptions=True)
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)
        for host in self._hosts.values():
            host.close()
        for reader in self._readers.values():
            reader.close()
        self._hosts.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def start_guest(self, host: str, guest: GuestSpec) -> None:
        """Until its first beat."""
        place = self._host(host)
        if (home := self._homes.get(guest.name)) is not None:
            raise HypervisorError(f"guest {guest.name} cannot be started on {host}: it is on {home}")
        kernel = image.kernel(guest)
        assert self._folder is not None
        path = self._folder / "g" / domain.name(guest.name)
        path.write_bytes(kernel)
        give_away(path)
        if (former := self._readers.pop(guest.name, None)) is not None:
            former.close()
        reader = self._readers[guest.name] = BeatReader()
        self._homes[guest.name] = host
        xml = domain.xml(guest, kernel=path, beats_port=reader.port, emulator=find("qemu-system-x86_64") or "")
        try:
            await place.on_connection(lambda connection: _start(connection, domain.name(guest.name), xml))
            await asyncio.wait_for(reader.first_beat(), FIRST_BEAT_S)
        except BaseException as problem:
            await self.stop_guest(host, guest.name)
            if isinstance(problem, TimeoutError | LibvirtError):
                cause = str(problem) or f"no beat within {FIRST_BEAT_S:.0f} s"
                raise HypervisorError(f"guest {guest.name} cannot be started on {host}: {cause}") from problem
            raise

    async def stop_guest(self, host: str, name: str) -> None:
        """Does nothing when the guest is not on that host."""
        try:
            await self._host(host).on_domain(domain.name(name), _remove)
        except LibvirtError as problem:
            if problem.code != ErrorCode.NO_DOMAIN:
                raise HypervisorError(f"guest {name} cannot be stopped on {host}: {problem}") from problem
        if self._homes.get(name) == host:
            del self._homes[name]
            self._readers[name].close()

    async def set_link(self, host: str, bytes_per_second: float) -> None:
        """At least 1 MiB/s for each migration, libvirt's smallest limit: no link of it is ever dead."""
        self._links[self._host(host).spec.name] = bytes_per_second
        await self._share_links()

    async def guest_state(self, host: str, name: str) -> GuestState:
        try:
            state = await self._host(host).on_domain(domain.name(name), Domain.state)
        except LibvirtError as problem:
            if problem.code == ErrorCode.NO_DOMAIN:
                return GuestState.ABSENT
            raise HypervisorError(f"guest {name} on {host}: {problem}") from problem
        match state:
            case DomainState.RUNNING | DomainState.BLOCKED:
                return GuestState.RUNNING
            case DomainState.PAUSED:
                job = self._jobs.get(name)
                return GuestState.INCOMING if job and job.flow.target == host else GuestState.PAUSED
            case _:
                return GuestState.ABSENT

    async def dirty_rate(self, host: str, name: str) -> int | None:
        """By page sampling; None while the guest migrates, as libvirt then refuses.

        Never the dirty bitmap: under TCG it crashes QEMU 7.2.
        """
        if name in self._jobs:
            return None
        place = self._host(host)

        async def ask(command: str, **arguments: int | str) -> dict[str, int | str]:
            answer = await place.on_domain(domain.name(name), lambda found: found.monitor(command, **arguments))
            return dict(answer or {})

        arguments: dict[str, int | str] = {
            "calc-time": SAMPLING_S,
            "mode": "page-sampling",
            "sample-pages": SAMPLE_PAGES_PER_GIBIBYTE,
        }
        try:
            with contextlib.suppress(HypervisorError):  # a sampling that somebody else began serves as well
                await ask("calc-dirty-rate", **arguments)
            for delay_s in (SAMPLING_S, *[SAMPLING_S / 4] * 8):
                await asyncio.sleep(delay_s)
                if name in self._jobs:
                    return None
                answer = await ask("query-dirty-rate")
                if answer.get("status") == "measured":
                    return int(answer["dirty-rate"]) * MEBIBYTE
        except HypervisorError:
            return None
        return None

    async def resident_bytes(self, host: str, name: str) -> int | None:
        """Resident set of its QEMU, also while it migrates."""
        try:
            return await self._host(host).on_domain(domain.name(name), Domain.resident_bytes)
        except LibvirtError:
            return None

    async def migrate(self, source: str, target: str, name: str, options: MigrationOptions) -> MigrationJob:
        here, there = self._host(source), self._host(target)
        if source == target:
            raise HypervisorError(f"guest {name}: source and target are both {source}")
        if name in self._jobs:
            raise HypervisorError(f"guest {name}: {self._jobs[name]} still runs")
        if self._homes.get(name) != source:
            raise HypervisorError(f"guest {name}: is not on {source}")

        def ended(moved: bool) -> None:
            del self._jobs[name]
            if moved:
                self._homes[name] = target
            self._in_background(self._share_links())

        job = self._jobs[name] = LibvirtJob(domain.name(name), here, there, options, ended)
        assert self._folder is not None
        try:
            await self._share_links()  # the others make room first
            await job.begin(f"{self._folder}/m/{next(self._numbers)}", self._rates()[name])
        finally:
            if not job.begun():
                self._jobs.pop(name, None)
        await self._share_links()  # what came or went while libvirt prepared this one
        return job

    async def reset_beats(self, name: str) -> None:
        self._reader(name).reset()

    async def beats(self, name: str) -> BeatReport:
        return self._reader(name).report()

    def _host(self, name: str) -> Host:
        if name not in self._hosts:
            raise HypervisorError(f"host {name} is unknown or not started (have {', '.join(self._hosts) or 'none'})")
        return self._hosts[name]

    def _reader(self, name: str) -> BeatReader:
        if name not in self._readers:
            raise HypervisorError(f"guest {name} was never started")
        return self._readers[name]

    def _private_folder(self) -> Path:
        if self._workdir is not None:
            folder = self._workdir.absolute()
            folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="wl-", dir=folder))
        else:
            usual = tempfile.gettempdir()
            folder = Path(tempfile.mkdtemp(prefix="wl-", dir=usual if len(usual) <= LONGEST_FOLDER // 2 else "/tmp"))
        if len(str(folder)) > LONGEST_FOLDER:
            folder.rmdir()
            raise HypervisorError(
                f"{folder}: too long for libvirt's sockets (at most {LONGEST_FOLDER} characters): choose a shorter workdir"
            )
        for path in (folder, folder / "g", folder / "m"):
            path.mkdir(mode=0o700, exist_ok=True)
            give_away(path)
        return folder

    def _rates(self) -> dict[str, int]:
        """MiB per second, libvirt's unit, rounded down so that no link is exceeded; never 0, which means unlimited."""
        rates = shares({name: job.flow for name, job in self._jobs.items()}, self._links)
        return {name: max(1, int(rate) // MEBIBYTE) for name, rate in rates.items()}

    async def _share_links(self) -> None:
        """Give each migration its present share; one at a time, so that an older view never wins."""
        async with self._sharing:
            rates = self._rates()
            jobs = [(job, rates[name]) for name, job in self._jobs.items()]
            await asyncio.gather(*(job.limit(rate) for job, rate in jobs))

    async def _listen(self) -> None:
        while True:
            for reader in self._readers.values():
                reader.read()
            await asyncio.sleep(LISTEN_EVERY_S)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _start(connection: Connection, name: str, xml: str) -> None:
    connection.define(xml)
    with connection.domain(name) as found:
        found.start()


def _remove(found: Domain) -> None:
    for step in (found.destroy, found.undefine):
        try:
            step()
        except LibvirtError as problem:
            if problem.code not in (ErrorCode.OPERATION_INVALID, ErrorCode.NO_DOMAIN):
                raise
