"""`/healthz`, `/readyz`, `/metrics`, `/debug/snapshot`, and the one log line that says what keeps us from working.

Health: the loops are alive. Readiness: everything that deciding needs is there; each missing thing says how to get it.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from whimbrel.domain.resources import OWN_KINDS, Resource
from whimbrel.kube.access import Need
from whimbrel.kube.reflector import State
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.health")

LAG_PERIOD_S = 0.5
LOOK_PERIOD_S = 5.0
SETTLE_S = 1.0
"""Readiness is told to the log once it has been the same for so long."""


class Followed(Protocol):
    """What health wants to know of a reflector."""

    resource: Resource
    state: State
    detail: str
    synced: bool

    @property
    def fresh(self) -> bool:
        """Whether the store may be believed about this kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is missing, and what to do about it."""

    what: str
    remedy: str
    passing: bool = False
    """Whether it is no fault but only not done yet; not worth a log line."""

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


def reflector_problems(reflectors: Iterable[Followed]) -> list[Problem]:
    """What reflectors cannot see, put together by cause."""
    by_state: dict[State, list[Followed]] = {}
    for reflector in reflectors:
        if reflector.state not in (State.SYNCED, State.ABSENT):
            by_state.setdefault(reflector.state, []).append(reflector)
        elif not reflector.fresh:
            by_state.setdefault(State.UNREACHABLE, []).append(reflector)
    problems: list[Problem] = []
    missing = by_state.get(State.MISSING, ())
    if ours := [held.resource for held in missing if held.resource in OWN_KINDS]:
        problems.append(
            Problem(
                f"{_plurals(ours)} are not served",
                "Install Whimbrel's CRDs: kubectl apply -f crds/, or helm upgrade --install with the chart",
            )
        )
    if theirs := [held.resource for held in missing if held.resource not in OWN_KINDS]:
        problems.append(
            Problem(
                f"{_plurals(theirs)} are not served",
                "Install KubeVirt (https://kubevirt.io/user-guide/cluster_admin/installation/)",
            )
        )
    if forbidden := [held.resource for held in by_state.get(State.FORBIDDEN, ())]:
        problems.append(
            Problem(
                f"the service account may not list and watch {_plurals(forbidden)}",
                "Apply the ClusterRole and its binding of Whimbrel's chart",
            )
        )
    if unauthorized := by_state.get(State.UNAUTHORIZED):
        problems.append(
            Problem(
                f"the API server does not accept our credentials ({unauthorized[0].detail})",
                "Check the service account's token, or the user of the kubeconfig",
            )
        )
    if unreachable := by_state.get(State.UNREACHABLE):
        reason = unreachable[0].detail or "nothing was heard for some minutes"
        problems.append(
            Problem(
                f"{_plurals([held.resource for held in unreachable])} cannot be watched ({reason})",
                "Check the API server and the network between; this is tried again all the time",
            )
        )
    if starting := [held.resource for held in by_state.get(State.STARTING, ())]:
        what = f"{_plurals(starting)} are being listed"
        problems.append(Problem(what, "This takes some seconds at the start", passing=True))
    return problems


def access_problems(missing: Iterable[Need]) -> list[Problem]:
    """Permissions that are missing, in one sentence."""
    needs = [str(need) for need in missing if need.verb not in ("list", "watch")]
    if not needs:
        return []
    return [
        Problem(
            f"the service account may not {', '.join(needs)}",
            "Apply the ClusterRole, the Role and their bindings of Whimbrel's chart",
        )
    ]


def schema_problem(why: str) -> Problem:
    """What KubeVirt can be told is not known; `why` is empty while nothing went wrong yet."""
    if not why:
        return Problem("KubeVirt's schemas are being read", "This takes a moment at the start", passing=True)
    return Problem(
        f"KubeVirt's schemas in the API server's OpenAPI documents are not known, so nothing starts ({why})",
        "Check that the ClusterRole system:discovery is bound to system:authenticated; this is tried again all the time",
    )


def _plurals(resources: Iterable[Resource]) -> str:
    return ", ".join(f"{held.plural}.{held.group}" if held.group else held.plural for held in resources)


class Pulse:
    """When each loop was seen last, and how late the event loop is."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._limits: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self.lag_s = 0.0

    def register(self, name: str, limit_s: float) -> Callable[[], None]:
        """A loop that must be seen at least every `limit_s`; it calls what is returned."""
        self._limits[name] = limit_s

        def beat() -> None:
            self._seen[name] = self._clock()

        beat()
        return beat

    async def run(self) -> None:
        """Measures how late the event loop wakes, until cancelled."""
        while True:
            began = self._clock()
            await asyncio.sleep(LAG_PERIOD_S)
            self.lag_s = max(0.0, self._clock() - began - LAG_PERIOD_S)
            self._telemetry.loop_lag.set(self.lag_s)

    def stalled(self) -> list[str]:
        """Loops that were not seen for too long."""
        now = self._clock()
        return [
            f"{name} was seen {now - self._seen[name]:.0f} s ago (limit {limit_s:.0f} s)"
            for name, limit_s in self._limits.items()
            if now - self._seen[name] > limit_s
        ]


class Health:
    """The HTTP endpoints. `problems` and `role` are asked at each request."""

    def __init__(
        self,
        telemetry: Telemetry,
        pulse: Pulse,
        problems: Callable[[], list[Problem]],
        role: Callable[[], str],
        counts: Callable[[], Mapping[str, object]],
    ) -> None:
        self._telemetry, self._pulse = telemetry, pulse
        self._problems, self._role, self._counts = problems, role, counts
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()
        self.port = 0

    def look(self) -> None:
        """Something that readiness depends on may have changed."""
        self._changed.set()

    async def start(self, address: str, port: int) -> None:
        """Listens; port 0 picks a free one, to be read from `port`."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/debug/snapshot", self._snapshot)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, reuse_address=True)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def tell(self) -> None:
        """Writes one log line whenever what is missing has changed and stayed so for a moment; until cancelled."""
        told: str | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_PERIOD_S):
                    await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(SETTLE_S)
            if self._changed.is_set():
                continue
            problems = self._problems()
            line = " ".join(f"{problem}." for problem in problems if not problem.passing)
            if line == told or (problems and not line):
                continue
            if line:
                log.warning("Not ready: %s", line)
            else:
                log.info("Ready: everything that is needed is there (%s).", self._role())
            told = line

    async def _healthz(self, _: web.Request) -> web.Response:
        stalled = self._pulse.stalled()
        if stalled:
            return web.Response(status=500, text="".join(f"stalled: {line}\n" for line in stalled))
        return web.Response(text=f"ok (event loop {self._pulse.lag_s * 1000:.0f} ms late)\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        problems = self._problems()
        status = 503 if problems else 200
        if "application/json" in request.headers.get("Accept", ""):
            body = {
                "ready": not problems,
                "role": self._role(),
                "problems": [{"what": problem.what, "remedy": problem.remedy} for problem in problems],
            }
            return web.json_response(body, status=status)
        lines = [f"missing: {problem}." for problem in problems] or ["ok"]
        return web.Response(status=status, text="\n".join([*lines, f"role: {self._role()}"]) + "\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        for kind, count in self._counts().items():
            if isinstance(count, int):
                self._telemetry.records.labels(kind).set(count)
        body = generate_latest(self._telemetry.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _snapshot(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self._counts()), dumps=lambda value: json.dumps(value, indent=2))
