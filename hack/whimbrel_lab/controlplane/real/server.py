"""`ApiServer`: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes on loopback.

One for a whole test run; `plane.RealControlPlane` is one lab's use of it. What the lab leaves out of a real cluster:
nobody runs the pods (the stand-in's kubelets say that they run), and the admission plug-ins that suppose a kubelet and a
node controller are off.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import yaml

from whimbrel_lab.certs import authority, private_file, signing_keys
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.controlplane.real.audit import AuditLog
from whimbrel_lab.controlplane.real.binaries import BinariesMissing
from whimbrel_lab.controlplane.users import ADMINISTRATOR, MASTERS, Access, User
from whimbrel_lab.errors import LabError
from whimbrel_lab.processes import ChildProcess, ProcessKeeper, free_ports

READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05
END_WITHIN_S = 10.0
LAST_WORDS = 12
PORT_TAKEN = "address already in use"
"""What a program says of a port that somebody else has taken since it was found free."""
CONTROLLER_MANAGER = User("system:kube-controller-manager", (MASTERS, "system:authenticated"))
SCHEDULER = User("system:kube-scheduler")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ISSUER = "https://kubernetes.default.svc"
CONTROLLERS = (
    "garbage-collector-controller", "namespace-controller", "serviceaccount-controller", "resourcequota-controller",
    "clusterrole-aggregation-controller",
)  # fmt: skip
ENABLED_PLUGINS = ("OwnerReferencesPermissionEnforcement",)
"""Off by default, on in OpenShift: an owner reference that holds up a deletion needs a right of its own."""
DISABLED_PLUGINS = ("ServiceAccount", "TaintNodesByCondition")
"""They suppose a token controller's and a node controller's answer before a pod or a node is of use."""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {
            "level": "RequestResponse",
            "verbs": ["create", "update", "patch", "delete"],
            "resources": [{"group": group} for group in ("kubevirt.io", "migrations.kubevirt.io", "whimbrel.dev")],
        },
        {"level": "Metadata"},
    ],
}
"""Writes of the kinds that a plan is about are kept whole: what was sent, and which version came of it."""


class ControlPlaneFailed(LabError):
    """A program of the control plane ended or did not become ready; the text holds its last words."""


class _PortTaken(ControlPlaneFailed):
    """A port that was free is not any more."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running API server as others use it; plain values, good in any thread and event loop."""

    url: str
    authority: str
    tokens: Mapping[str, str]
    """Static tokens by the user's name; only identities of the lab have one."""
    audit_log: Path
    etcd_url: str
    folder: Path

    def access(self, user: User = ADMINISTRATOR) -> Access:
        """How an identity of the lab reaches it. Raises KeyError for one that has no static token."""
        return Access(self.url, self.tokens[user.name], self.authority)


class ApiServer:
    """An async context manager; `users` are the identities that get a static token. Raises BinariesMissing at the start."""

    def __init__(self, users: Iterable[User] = (), *, folder: Path | None = None, port: int = 0) -> None:
        self._users = {each.name: each for each in (ADMINISTRATOR, CONTROLLER_MANAGER, SCHEDULER, *users)}
        self._folder = folder
        self._port = port
        self._stack = AsyncExitStack()
        self._keeper: ProcessKeeper
        self._children: dict[str, ChildProcess] = {}
        self.endpoint: Endpoint

    async def start(self) -> None:
        """Come up: API server ready, controllers and scheduler running. All or nothing."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the processes, the API server before its etcd (it would hang without); safe to call twice."""
        try:
            await self._end_children()
        finally:  # the keeper ends what is left
            await self._stack.aclose()

    async def _end_children(self) -> None:
        etcd = self._children.get("etcd")
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if (child := self._children.pop(name, None)) is not None:
                orphaned = etcd is None or etcd.exit_code is not None  # then the API server would wait for it in vain
                await child.end(0.0 if orphaned else END_WITHIN_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> None:
        if lacking := binaries.obstacle(PROGRAMS):
            raise BinariesMissing(f"{lacking}. `make control-plane` builds what is missing.")
        paths = {name: binaries.find(name) for name in PROGRAMS}
        self._keeper = await self._stack.enter_async_context(ProcessKeeper())
        folder = self._folder or self._own_folder()
        folder.mkdir(parents=True, exist_ok=True)
        is_new = not (folder / "etcd").exists()
        try:
            await self._serve(paths, folder)
        except _PortTaken as taken:
            if self._port and taken.name == "kube-apiserver":
                raise  # the port was asked for
            await self._end_children()
            for name in paths:  # or else the last words of this attempt are taken for those of the next
                (folder / f"{name}.log").unlink(missing_ok=True)
            if is_new:
                shutil.rmtree(folder / "etcd", ignore_errors=True)
            await self._serve(paths, folder)
        await self._set_to_work(paths, folder)

    def _own_folder(self) -> Path:
        """It goes with the processes, also when the lab is killed: keys and logs are in it."""
        folder = Path(tempfile.mkdtemp(prefix="whimbrel-lab-"))
        self._keeper.remove_at_end(folder)
        return folder

    async def _serve(self, paths: Mapping[str, Path], folder: Path) -> None:
        """etcd and the API server, on ports that are free now."""
        etcd_port, peer_port, free_port = free_ports(3)
        port = self._port or free_port
        self.endpoint = self._prepare(folder, port, etcd_port)
        etcd: list[str | Path] = [
            paths["etcd"], "--name=lab", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={self.endpoint.etcd_url}", f"--advertise-client-urls={self.endpoint.etcd_url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=lab=http://127.0.0.1:{peer_port}",
        ]  # fmt: skip
        await self._spawn("etcd", etcd, folder)
        await self._spawn("kube-apiserver", self._api_server(paths["kube-apiserver"], folder, port), folder)
        await self._until("kube-apiserver is ready", self._api_server_is_ready, "kube-apiserver")

    async def _set_to_work(self, paths: Mapping[str, Path], folder: Path) -> None:
        """The controllers and the scheduler, until each has done or begun something."""
        audit = AuditLog(self.endpoint.audit_log)
        await asyncio.gather(
            self._spawn(
                "kube-controller-manager", self._controller_manager(paths["kube-controller-manager"], folder), folder
            ),
            self._spawn("kube-scheduler", self._scheduler(paths["kube-scheduler"], folder), folder),
        )

        async def scheduler_watches() -> str:
            """By the API server's own record."""
            audit.read()
            sign = (SCHEDULER.name, "watch", "pods")
            watches = any((each.user, each.verb, each.resource) == sign for each in audit.requests)
            return "" if watches else "it watches no pods"

        await self._until("the controllers work", self._controllers_work, "kube-controller-manager")
        await self._until("kube-scheduler works", scheduler_watches, "kube-scheduler")

    def _prepare(self, folder: Path, port: int, etcd_port: int) -> Endpoint:
        issuer = authority("whimbrel-lab")
        issuer.server_files(folder, "api", ["localhost", "kubernetes.default.svc"], ["127.0.0.1"])
        signing_keys(folder)
        tokens = {name: secrets.token_urlsafe(32) for name in self._users}
        lines = [
            f'{tokens[each.name]},{each.name},{each.name},"{",".join(each.groups)}"' for each in self._users.values()
        ]
        private_file(folder / "tokens.csv", "\n".join(lines).encode() + b"\n")
        private_file(folder / "audit-policy.yaml", yaml.safe_dump(AUDIT_POLICY).encode())
        etcd_url = f"http://127.0.0.1:{etcd_port}"
        return Endpoint(f"https://127.0.0.1:{port}", issuer.bundle, tokens, folder / "audit.log", etcd_url, folder)

    def _api_server(self, program: Path, folder: Path, port: int) -> list[str | Path]:
        return [
            program, f"--etcd-servers={self.endpoint.etcd_url}", "--bind-address=127.0.0.1", f"--secure-port={port}",
            f"--cert-dir={folder}", f"--tls-cert-file={folder / 'api.crt'}", f"--tls-private-key-file={folder / 'api.key'}",
            f"--service-account-issuer={ISSUER}", f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}", f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--anonymous-auth=true",
            f"--enable-admission-plugins={','.join(ENABLED_PLUGINS)}",
            f"--disable-admission-plugins={','.join(DISABLED_PLUGINS)}",
            f"--audit-policy-file={folder / 'audit-policy.yaml'}", f"--audit-log-path={self.endpoint.audit_log}",
            "--audit-log-maxsize=100000", "--audit-log-batch-buffer-size=1", "--shutdown-delay-duration=0s",
            "--endpoint-reconciler-type=none", "--enable-aggregator-routing=false", "--profiling=false",
        ]  # fmt: skip

    def _controller_manager(self, program: Path, folder: Path) -> list[str | Path]:
        kubeconfig = write_kubeconfig(folder / "controllers.kubeconfig", self.endpoint.access(CONTROLLER_MANAGER))
        return [
            program, f"--kubeconfig={kubeconfig}", f"--controllers={','.join(CONTROLLERS)}", "--leader-elect=false",
            "--secure-port=0", "--namespace-sync-period=30s", "--kube-api-qps=200", "--kube-api-burst=400",
        ]  # fmt: skip

    def _scheduler(self, program: Path, folder: Path) -> list[str | Path]:
        kubeconfig = write_kubeconfig(folder / "scheduler.kubeconfig", self.endpoint.access(SCHEDULER))
        configuration = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 200, "burst": 400},
            "leaderElection": {"leaderElect": False},
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 2,
        }
        path = private_file(folder / "scheduler.yaml", yaml.safe_dump(configuration).encode())
        return [program, f"--config={path}", "--secure-port=0"]

    async def _spawn(self, name: str, command: list[str | Path], folder: Path) -> None:
        self._children[name] = await self._keeper.spawn(command, log=folder / f"{name}.log")

    async def _until(self, what: str, answer: Callable[[], Awaitable[str]], name: str) -> None:
        """Until a sign that a program works is there, which is when `answer` is empty; all of them must run meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + READY_WITHIN_S
        while True:
            self._check_children()
            try:
                said = await answer()
            except (aiohttp.ClientError, TimeoutError) as problem:
                said = repr(problem)
            if not said:
                return
            if loop.time() > end:
                text = f"after {READY_WITHIN_S:g} s it is still not so that {what}: {said}"
                raise ControlPlaneFailed(f"{text}\n{self.last_words(name)}")
            await asyncio.sleep(LOOK_EVERY_S)

    def _check_children(self) -> None:
        for name, child in self._children.items():
            if child.exit_code is None:
                continue
            words = self.last_words(name)
            text = f"{name} ended with {child.exit_code}:\n{words}"
            raise _PortTaken(name, text) if PORT_TAKEN in words else ControlPlaneFailed(text)

    async def _api_server_is_ready(self) -> str:
        code, text = await self._get("/readyz")
        return "" if code == 200 else text

    async def _controllers_work(self) -> str:
        """The account is made by one of them."""
        code, text = await self._get("/api/v1/namespaces/default/serviceaccounts/default")
        return "" if code == 200 else text

    async def _get(self, path: str) -> tuple[int, str]:
        access = self.endpoint.access()
        async with (
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {access.token}"},
                connector=aiohttp.TCPConnector(ssl=access.tls or True),
                timeout=aiohttp.ClientTimeout(2),
            ) as session,
            session.get(f"{access.url}{path}") as answer,
        ):
            return answer.status, await answer.text()

    def last_words(self, name: str) -> str:
        """The end of a program's log."""
        path = self.endpoint.folder / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        return "\n".join(lines[-LAST_WORDS:]) or "It said nothing."
