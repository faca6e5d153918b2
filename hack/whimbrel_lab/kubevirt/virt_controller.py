"""KubeVirt's own virt-controller as a process, in place of the stand-in's controller: for who brings the program.

The rest of KubeVirt – virt-api's webhooks, virt-handlers, kubelets, metrics – stays the stand-in's. Used by the conformance
suite to hold the stand-in to the real thing.
"""

import asyncio
from pathlib import Path

from whimbrel.simulation.kubevirt.launchers import LAUNCHER_IMAGE
from whimbrel.simulation.kubevirt.values import spec
from whimbrel_lab.certs import authority
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.users import Access
from whimbrel_lab.errors import LabError
from whimbrel_lab.kubevirt.client import Client
from whimbrel_lab.processes import ChildProcess, ProcessKeeper, free_ports
from whimbrel_lab.topology import INSTALL_NAMESPACE

LEASE = "virt-controller"
LEADS_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1
LAST_WORDS = 12


class VirtControllerFailed(LabError):
    """The program ended or did not begin to lead; the text holds its last words."""


class VirtController:
    """One process; `access` is the identity that it acts under."""

    def __init__(self, program: Path, access: Access, folder: Path) -> None:
        self._program = program
        self._access = access
        self._folder = folder
        self._keeper = ProcessKeeper()
        self._child: ChildProcess | None = None

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self._folder / "virt-controller.log"

    async def start(self, client: Client) -> None:
        """Returns once it leads; its controllers begin a moment later."""
        await self._keeper.start()
        kubeconfig = write_kubeconfig(self._folder / "virt-controller.kubeconfig", self._access)
        certificates = self._folder / "virt-controller"  # watched: nothing else may be written there, not even its log
        certificates.mkdir(exist_ok=True)
        certificate, key = authority().server_files(certificates, "server", ["localhost"], ["127.0.0.1"])
        argv: list[str | Path] = [
            self._program, f"--kubeconfig={kubeconfig}", "--listen=127.0.0.1", f"--port={free_ports(1)[0]}",
            f"--launcher-image={LAUNCHER_IMAGE}", f"--prom-cert-file={certificate}",
            f"--prom-key-file={key}",
        ]  # fmt: skip
        self._child = await self._keeper.spawn(argv, cwd=self._folder, log=self.log)
        loop = asyncio.get_running_loop()
        end = loop.time() + LEADS_WITHIN_S
        while not await _led(client):
            if self._child.exit_code is not None or loop.time() > end:
                raise VirtControllerFailed(f"{self._program}: does not lead. Its last words:\n{self._last_words()}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def stop(self) -> None:
        """End the process; safe to call twice."""
        await self._keeper.stop()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join(lines[-LAST_WORDS:]) or "It said nothing."


async def _led(client: Client) -> bool:
    lease = await client.find("Lease", LEASE, INSTALL_NAMESPACE)
    return bool(spec(lease or {}).get("holderIdentity"))
