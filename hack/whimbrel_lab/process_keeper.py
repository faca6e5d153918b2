"""The keeper: one small process that owns a lab's child processes and outlives the lab by an instant.

Run as a script by `whimbrel_lab.processes`, never imported; standard library only, so that it starts at once. It adopts
what its children leave behind (daemons included), and when its input ends, because the lab stopped it or died, it ends
every descendant and removes the folders it was given.

Orders and answers are JSON, one per line. Orders: spawn, signal, remove, stop. Answers: spawned, failed, exited.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _noted)
    children: set[int] = set()
    folders: list[str] = []
    grace_s = 0.0
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready and signal.SIGTERM in os.read(wake_read, 4096):
            break
        for pid, status in _reaped():
            if pid in children:
                children.discard(pid)
                _answer(exited=pid, status=status)
        if 0 not in ready:
            continue
        received = os.read(0, 65536)
        if not received:
            break
        *lines, pending = (pending + received).split(b"\n")
        stopping = False
        for order in map(json.loads, lines):
            match order["order"]:
                case "spawn":
                    _spawn(libc, children, order)
                case "signal" if order["pid"] in children:
                    os.kill(order["pid"], order["number"])
                case "remove":
                    folders.append(order["folder"])
                case "stop":
                    grace_s = order["grace_s"]
                    stopping = True
        if stopping:
            break
    _end_everything(grace_s)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _noted(_number: int, _frame: object) -> None:
    """Nothing to do: the wake-up pipe has the number."""


def _answer(**fields: Any) -> None:
    try:
        os.write(1, json.dumps(fields).encode() + b"\n")
    except OSError:
        return  # the lab is gone; the end of our input says so too


def _spawn(libc: ctypes.CDLL, children: set[int], order: dict[str, Any]) -> None:
    error_read, error_write = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        _become(libc, order, error_write)
    os.close(error_write)
    with os.fdopen(error_read, "rb") as errors:
        problem = errors.read().decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        _answer(failed=order["id"], problem=problem)
    else:
        children.add(pid)
        _answer(spawned=order["id"], pid=pid)


def _become(libc: ctypes.CDLL, order: dict[str, Any], errors: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        log = os.open(order["log"] or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if order["cwd"]:
            os.chdir(order["cwd"])
        environment = order["environment"]
        os.execvpe(order["argv"][0], order["argv"], os.environ if environment is None else environment)
    except BaseException as problem:
        os.write(errors, f"{order['argv'][0]}: {problem}".encode())
    os._exit(127)


def _reaped() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _descendants() -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue  # ended meanwhile
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: set[int] = set()
    level = [os.getpid()]
    while level:
        level = [child for parent in level for child in children.get(parent, [])]
        found.update(level)
    return found


def _signal_all(number: int) -> None:
    for pid in _descendants():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _end_everything(grace_s: float) -> None:
    give_up = time.monotonic() + grace_s
    if grace_s > 0:
        _signal_all(signal.SIGTERM)
    while time.monotonic() < give_up and _alive():
        time.sleep(0.02)
    while _alive():
        _signal_all(signal.SIGKILL)
        time.sleep(0.005)


def _alive() -> bool:
    for _ in _reaped():
        continue
    return bool(_descendants())


if __name__ == "__main__":
    main()
