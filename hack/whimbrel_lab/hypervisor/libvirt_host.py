"""One lab host: a session libvirtd of its own, with its own identity, folders and socket.

libvirtd started by root is always the system daemon, so root's lab runs it as `nobody`, with the one capability that QEMU
needs for post-copy. Used by libvirt.py.
"""

import asyncio
import glob
import os
import pwd
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from whimbrel_lab.hypervisor import HostSpec, HypervisorError
from whimbrel_lab.hypervisor.libvirt_client import Connection, Domain, LibvirtError
from whimbrel_lab.processes import ChildProcess, ProcessKeeper

Result = TypeVar("Result")

LONGEST_FOLDER = 40
"""A QEMU monitor socket's path adds up to 63 characters to it, and unix(7) allows 107."""
UNPRIVILEGED_USER = "nobody"
READY_S = 30.0
POLL_S = 0.02
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where daemons are: an ordinary user's PATH on Debian lacks the sbin folders."""
DRIVER = "libvirt/connection-driver/libvirt_driver_qemu.so"

LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
log_level = 3
log_outputs = "3:file:{folder}/libvirtd.log"
"""
QEMU_CONF = """\
stdio_handler = "file"
clear_emulator_capabilities = 0
"""
CAP_SYS_PTRACE = 19
UNPRIVILEGED_USERFAULTFD = Path("/proc/sys/vm/unprivileged_userfaultfd")


def find(program: str) -> str | None:
    """The path of a system program, sbin folders included."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":" + SYSTEM_PATH)


def missing_programs() -> list[str]:
    """What of libvirt and QEMU is not installed, by Debian's package names."""
    packages = {
        "libvirt-daemon": find("libvirtd") is not None,
        "libvirt-daemon-driver-qemu": bool(glob.glob(f"/usr/lib/*/{DRIVER}") + glob.glob(f"/usr/lib*/{DRIVER}")),
        "qemu-system-x86": find("qemu-system-x86_64") is not None,
    }
    if os.geteuid() == 0:
        packages["util-linux"] = find("setpriv") is not None
    return [package for package, there in packages.items() if not there]


def nameless_user() -> bool:
    """Whether we run as a user id without an account, which libvirt refuses to serve."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return False


def hands_on_ptrace() -> bool:
    """Whether this is root's lab, with the capability to trace others: its holder may use userfaultfd for kernel faults."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> CAP_SYS_PTRACE & 1)


def post_copy_obstacle() -> str | None:
    """Why QEMU cannot do post-copy here; None where it can."""
    try:
        allowed = UNPRIVILEGED_USERFAULTFD.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return "this kernel has no userfaultfd"
    if allowed or hands_on_ptrace():
        return None
    return "vm.unprivileged_userfaultfd is 0; set it to 1 with sysctl to permit post-copy, or run the lab as root"


def give_away(path: Path) -> None:
    """Let the daemons' user own a file or folder; nothing to do for an ordinary user."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
        os.chown(path, user.pw_uid, user.pw_gid)


class Host:
    """A daemon and the connection to it. `folder` must exist, short-named and empty; calls block in `threads`."""

    def __init__(self, spec: HostSpec, folder: Path, threads: Executor) -> None:
        self.spec = spec
        self.folder = folder
        self._threads = threads
        self.uri = f"qemu+unix:///session?socket={folder}/r/libvirt/libvirt-sock"
        self._process: ChildProcess | None = None
        self._connection: Connection | None = None

    async def on_connection(self, call: Callable[[Connection], Result]) -> Result:
        """The blocking call's result; raises HypervisorError when the daemon does not run."""
        if self._connection is None:
            raise HypervisorError(f"host {self.spec.name}: its libvirtd does not run")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, self._connection)

    async def on_domain(self, name: str, call: Callable[[Domain], Result]) -> Result:
        """The same with a domain; raises LibvirtError NO_DOMAIN when there is none of this name."""

        def found(connection: Connection) -> Result:
            with connection.domain(name) as domain:
                return call(domain)

        return await self.on_connection(found)

    async def on_domain_alone(self, name: str, call: Callable[[Domain], Result]) -> Result:
        """For a call that lasts: on a connection of its own, since others on the same one would wait for it."""

        def found() -> Result:
            connection = Connection(self.uri)
            try:
                with connection.domain(name) as domain:
                    return call(domain)
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self._threads, found)

    async def start(self, keeper: ProcessKeeper) -> None:
        """Until the daemon answers; raises HypervisorError with the end of its log when it does not."""
        environment = self._prepare()
        libvirtd = find("libvirtd")
        if libvirtd is None:
            raise HypervisorError("libvirtd is not installed")
        command = [libvirtd, "-f", f"{self.folder}/c/libvirt/libvirtd.conf"]
        if os.geteuid() == 0:
            command[:0] = [
                find("setpriv") or "setpriv",
                f"--reuid={UNPRIVILEGED_USER}", "--regid=nogroup", "--clear-groups", "--pdeathsig=keep",
                *(("--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace") if hands_on_ptrace() else ()), "--",
            ]  # fmt: skip
        self._process = await keeper.spawn(
            command, environment=environment, cwd=self.folder, log=self.folder / "output.log"
        )
        try:
            await asyncio.wait_for(self._connect(self._process), READY_S)
        except TimeoutError:
            raise HypervisorError(f"host {self.spec.name}: no answer in {READY_S:.0f} s. {self._log()}") from None

    def close(self) -> None:
        """Drop the connection; the keeper ends the daemon."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self) -> dict[str, str]:
        folders = {"XDG_RUNTIME_DIR": "r", "XDG_CONFIG_HOME": "c", "XDG_CACHE_HOME": "k", "XDG_DATA_HOME": "d"}
        for name in (*folders.values(), "c/libvirt"):
            (self.folder / name).mkdir(mode=0o700)
        identity = uuid.uuid4()
        (self.folder / "c/libvirt/libvirtd.conf").write_text(
            LIBVIRTD_CONF.format(host_uuid=identity, folder=self.folder)
        )
        (self.folder / "c/libvirt/qemu.conf").write_text(QEMU_CONF)
        for path in (self.folder, *self.folder.rglob("*")):
            give_away(path)
        return {
            "PATH": SYSTEM_PATH,
            "HOME": str(self.folder),
            **{variable: str(self.folder / name) for variable, name in folders.items()},
        }

    async def _connect(self, process: ChildProcess) -> None:
        socket = self.folder / "r/libvirt/libvirt-sock"
        while True:
            if process.exit_code is not None:
                raise HypervisorError(f"host {self.spec.name}: libvirtd ended. {self._log()}")
            if socket.exists():
                try:
                    self._connection = await asyncio.get_running_loop().run_in_executor(
                        self._threads, Connection, self.uri
                    )
                    return
                except LibvirtError:
                    pass  # bound, but not yet listening
            await asyncio.sleep(POLL_S)

    def _log(self) -> str:
        lines: list[str] = []
        for name in ("output.log", "libvirtd.log"):
            if (self.folder / name).exists():
                lines += (self.folder / name).read_text(errors="replace").splitlines()[-5:]
        return "Its last words: " + " / ".join(lines) if lines else "It wrote no log."
