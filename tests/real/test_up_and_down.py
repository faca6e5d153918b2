"""The real control plane as a person starts it: ready soon, and nothing of it is left, however it ends."""

import asyncio
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from whimbrel_lab.controlplane.real import binaries, server
from whimbrel_lab.controlplane.real.server import ApiServer, ControlPlaneFailed

pytestmark = pytest.mark.control_plane

READY_WITHIN_S = 10.0
GONE_WITHIN_S = 15.0
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def programs_of(folder: Path) -> list[str]:
    """The control plane's programs that run for this folder, by what the kernel says of each process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended meanwhile
        if Path(words[0]).name in PROGRAMS and any(str(folder) in word for word in words):
            found.append(Path(words[0]).name)
    return sorted(found)


def what_is_left(folder: Path) -> list[str]:
    """Programs that run for this folder, and the folder itself."""
    return [*programs_of(folder), *([str(folder)] if folder.exists() else [])]


@asynccontextmanager
async def lab_up(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`up --control-plane real` with one virtual machine, from the moment on when it says what to try."""
    command = [sys.executable, "-m", "whimbrel_lab", "up", "--control-plane", "real", "--hypervisor", "model"]
    command += ["--vms", "1", "--hosts", "2", "--kubeconfig", str(folder / "kubeconfig")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=folder)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"Ctrl-C ends the lab" not in await process.stdout.readline():
                assert not process.stdout.at_eof(), "it ended before it was up"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_gone(folder: Path) -> None:
    async with asyncio.timeout(GONE_WITHIN_S):
        while True:
            if not what_is_left(folder):
                return
            await asyncio.sleep(0.05)


def folder_of(kubeconfig: Path) -> Path:
    """The lab's folder: its processes name it."""
    port = re.search(r"https://127\.0\.0\.1:(\d+)", kubeconfig.read_text())
    assert port is not None
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "cmdline").is_file():
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if f"--secure-port={port[1]}" in words:
                return Path(next(word for word in words if word.startswith("--cert-dir=")).removeprefix("--cert-dir="))
    raise AssertionError("no API server listens on the kubeconfig's port")


async def test_kubectl_reads_and_moves_in_a_lab_that_was_started_by_hand(tmp_path: Path) -> None:
    async with lab_up(tmp_path) as lab:
        migration = """{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": "by-hand"}, "spec": {"vmiName": "vm-01"}}"""
        await kubectl(tmp_path, "create", "-f", "-", given=migration)
        done = await kubectl(
            tmp_path, "wait", "vmim/by-hand", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s"
        )
        nodes = await kubectl(tmp_path, "get", "vmi", "vm-01", "-o", "jsonpath={.status.nodeName}")
        folder = folder_of(tmp_path / "kubeconfig")

        lab.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(lab.wait(), GONE_WITHIN_S)

    assert "condition met" in done
    assert nodes == "node-2"
    assert code == 0
    assert what_is_left(folder) == []


async def test_a_lab_that_is_killed_leaves_no_process_and_no_key_behind(tmp_path: Path) -> None:
    async with lab_up(tmp_path) as lab:
        folder = folder_of(tmp_path / "kubeconfig")
        before = programs_of(folder)
        readable = [each.name for each in folder.glob("*.key") if stat.S_IMODE(each.stat().st_mode) != 0o600]

        lab.kill()
        await lab.wait()
        await until_gone(folder)

    assert before == sorted(PROGRAMS)
    assert readable == []


async def test_the_server_is_ready_within_ten_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    async with ApiServer(folder=tmp_path):
        took_s = time.monotonic() - began

    assert took_s <= READY_WITHIN_S
    assert programs_of(tmp_path) == []


async def test_a_program_that_ends_at_once_is_told_with_its_last_words_and_the_others_are_ended(tmp_path: Path) -> None:
    (tmp_path / "etcd").write_text("in the way of etcd's folder")

    with pytest.raises(ControlPlaneFailed, match=r"(?s)etcd ended with .*etcd"):
        async with ApiServer(folder=tmp_path):
            pass

    assert programs_of(tmp_path) == []


@pytest.mark.parametrize("name", ["kube-scheduler", "kube-controller-manager"])
async def test_a_scheduler_or_controllers_that_end_at_once_fail_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method = {"kube-scheduler": "_scheduler", "kube-controller-manager": "_controller_manager"}[name]
    monkeypatch.setattr(ApiServer, method, lambda _self, program, _folder: [program, "--no-such-flag"])

    with pytest.raises(ControlPlaneFailed, match=rf"(?s){name} ended with 1.*no-such-flag"):
        async with ApiServer(folder=tmp_path):
            pass

    assert programs_of(tmp_path) == []


async def test_ports_that_somebody_took_meanwhile_are_replaced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_ports = server.free_ports
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        answers = iter([[taken, *free_ports(2)], free_ports(3)])
        monkeypatch.setattr(server, "free_ports", lambda _count: next(answers))

        async with ApiServer(folder=tmp_path) as up:
            assert str(taken) not in up.endpoint.etcd_url

        monkeypatch.setattr(server, "free_ports", free_ports)
        with pytest.raises(ControlPlaneFailed, match=r"(?s)kube-apiserver ended with .*already in use"):
            async with ApiServer(folder=tmp_path, port=taken):
                pass

    assert programs_of(tmp_path) == []


async def kubectl(folder: Path, *words: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        binaries.find("kubectl"), "--kubeconfig", folder / "kubeconfig", *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate(given.encode())
    assert process.returncode == 0, said.decode()
    return said.decode()
