"""Real guests in real QEMU: their beats, their rate, and that nothing of them is left."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from support.machine import processes_naming, until
from whimbrel_lab.hypervisor import GuestSpec, GuestState, HostSpec, HypervisorError
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor

pytestmark = pytest.mark.libvirt

MIB = 1024**2
HOST = HostSpec("n1", 100 * MIB)
GUEST = GuestSpec(
    "shop/db1", 64 * MIB, touched_bytes=48 * MIB, working_set_bytes=16 * MIB, dirty_bytes_per_second=8 * MIB
)
ONE_LAB = """
import asyncio, pathlib, sys
from whimbrel_lab.hypervisor import GuestSpec, HostSpec
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor

async def main():
    lab = LibvirtHypervisor([HostSpec("n1", 1 << 20)], pathlib.Path(sys.argv[1]))
    await lab.start()
    await lab.start_guest("n1", GuestSpec("db1", 64 << 20, 1 << 20, 0, 0))
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_guest_that_goes_on_to_something_else_writes_at_its_later_rate(workdir: Path) -> None:
    lab = LibvirtHypervisor([HOST], workdir)
    try:
        await lab.start()
        await lab.start_guest("n1", replace(GUEST, later_dirty_bytes_per_second=32 * MIB, changes_after_s=2.4))
        reports = [await lab.beats(GUEST.name)]

        async def written_for(frames: int) -> None:
            since = reports[-1].beats

            async def passed() -> bool:
                return (await lab.beats(GUEST.name)).beats >= since + 12 * frames

            await until(passed)
            reports.append(await lab.beats(GUEST.name))

        for _ in range(4):
            await written_for(10)

        rates = [
            (late.written_bytes - early.written_bytes) / ((late.beats - early.beats) * late.interval_ms / 1000)
            for early, late in pairwise(reports)
        ]
        assert rates[0] < 16 * MIB
        assert rates[-1] == pytest.approx(32 * MIB, rel=0.2)
        assert reports[-1].memory_intact
    finally:
        await lab.stop()


async def test_a_guest_beats_keeps_its_rate_and_ends_when_stopped(workdir: Path) -> None:
    lab = LibvirtHypervisor([HOST], workdir)
    try:
        await lab.start()
        await lab.start_guest("n1", GUEST)

        async def first_frame() -> bool:
            return (await lab.beats(GUEST.name)).written_bytes > 0

        await until(first_frame)
        begun = await lab.beats(GUEST.name)
        sampled = await lab.dirty_rate("n1", GUEST.name)
        resident = await lab.resident_bytes("n1", GUEST.name)
        nobody = await lab.resident_bytes("n1", "nobody")

        async def swept_twice() -> bool:
            return (await lab.beats(GUEST.name)).sweeps >= 2

        await until(swept_twice)
        ended = await lab.beats(GUEST.name)
        running = await lab.guest_state("n1", GUEST.name)
        await lab.stop_guest("n1", GUEST.name)

        seconds = (ended.beats - begun.beats) * ended.interval_ms / 1000
        assert (ended.written_bytes - begun.written_bytes) / seconds == pytest.approx(8 * MIB, rel=0.15)
        assert sampled is not None
        assert 2 * MIB <= sampled <= 16 * MIB
        assert resident is not None
        assert resident >= GUEST.touched_bytes
        assert nobody is None
        assert (ended.restarts, ended.memory_intact) == (0, True)
        assert running == GuestState.RUNNING
        assert await lab.guest_state("n1", GUEST.name) == GuestState.ABSENT
    finally:
        await lab.stop()


async def test_a_guest_that_cannot_be_is_refused_with_its_field(workdir: Path) -> None:
    lab = LibvirtHypervisor([HOST], workdir)
    try:
        await lab.start()
        with pytest.raises(HypervisorError, match="shop/db1: touched_bytes is 67108864, must be from 4096 to 62914560"):
            await lab.start_guest("n1", GuestSpec(GUEST.name, 64 * MIB, 64 * MIB, 0, 0))
        with pytest.raises(HypervisorError, match="host n9 is unknown"):
            await lab.start_guest("n9", GUEST)
    finally:
        await lab.stop()


async def test_stopping_leaves_no_process_and_no_file(workdir: Path) -> None:
    lab = LibvirtHypervisor([HOST], workdir)
    await lab.start()
    await lab.start_guest("n1", GUEST)
    while_running = processes_naming(str(workdir))

    await lab.stop()
    await lab.stop()

    assert len(while_running) >= 2
    assert processes_naming(str(workdir)) == []
    assert os.listdir(workdir) == []


async def test_a_failed_start_says_why_and_leaves_nothing(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = workdir / "libvirtd"
    broken.write_text("#!/bin/sh\necho no disk left\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{workdir}:{os.environ['PATH']}")
    lab = LibvirtHypervisor([HOST], workdir)

    with pytest.raises(HypervisorError, match=r"host n1: libvirtd ended.*no disk left"):
        await lab.start()

    broken.unlink()
    assert processes_naming(str(workdir)) == []
    assert os.listdir(workdir) == []


async def test_a_killed_lab_takes_its_daemons_guests_and_files_along(workdir: Path) -> None:
    lab = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", ONE_LAB, str(workdir)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert lab.stdout is not None
        assert lab.stdout.readline() == b"up\n"
        assert len(processes_naming(str(workdir))) >= 3
    finally:
        os.kill(lab.pid, signal.SIGKILL)
        lab.communicate()

    async def gone() -> bool:
        return not processes_naming(str(workdir)) and not os.listdir(workdir)

    await until(gone)
