"""The operator, wired: who feeds the store, who decides, who writes, and how all of it ends.

Everything runs in one event loop, Kopf apart. A defect in any part ends the process loudly; a restart is cheap and quiet.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    OPTIONAL_KINDS,
    OWN_KINDS,
    VIRTUAL_MACHINE_MOVES,
    WATCHED_BY_REFLECTORS,
)
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.kube import access
from whimbrel.kube.api import WRITE_TIMEOUT_S, KubeApi
from whimbrel.kube.capabilities_reader import CapabilitiesReader
from whimbrel.kube.client import Connection
from whimbrel.kube.errors import ApiError
from whimbrel.kube.lease import USUAL_TIMING, Elector, LeaseLost, Timing
from whimbrel.kube.metrics_reader import MetricsReader
from whimbrel.kube.prometheus import PrometheusReader, Source
from whimbrel.kube.recorder import EventRecorder
from whimbrel.kube.reflector import FOREIGN_KINDS_PACE, OWN_KINDS_PACE, Pace, Reflector, State
from whimbrel.kube.scrape_targets import NODES_AT_A_TIME
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import overdue_stuns
from whimbrel.runtime import memory
from whimbrel.runtime.executor import Executor
from whimbrel.runtime.guard import StunGuard
from whimbrel.runtime.health import Health, Problem, Pulse, access_problems, reflector_problems, schema_problem
from whimbrel.runtime.kopf_feed import KopfFeed
from whimbrel.runtime.loop import Decide, DecisionLoop
from whimbrel.runtime.queue import CoalescingQueue

log = logging.getLogger("whimbrel")

LISTS_AT_ONCE = 2
ACCESS_REVIEW_S, MISSING_ACCESS_REVIEW_S = 600.0, 5.0
"""Who lacks a permission is not ready: its grant is noticed soon."""
FIRST_LOOK_S = 2.0
DRAIN_S = WRITE_TIMEOUT_S + 2.0
TAKE_OVER_KINDS = (MIGRATION_PLANS, HOST_PROFILES, VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS)
"""Kinds that the leader before us may have written an instant ago: listed anew before our first decision."""
FIRST_READ_S = 5.0
"""Decisions wait so long at a start for the first readings of guests. A follower has them when it takes over."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    namespace: str
    """Of the Lease."""
    identity: str
    lease_name: str = "whimbrel"
    leader_election: bool = True
    health_address: str = ""
    health_port: int = 8080
    metrics_interval_s: float = 5.0
    prometheus: Source | None = None
    """Where readings of guests come from instead of each virt-handler."""
    lease_timing: Timing = USUAL_TIMING
    pace: Pace = FOREIGN_KINDS_PACE
    own_kinds_pace: Pace = OWN_KINDS_PACE


class Operator:
    """One replica. `run` lives from start to end; everything else may be looked at meanwhile."""

    def __init__(self, connection: Connection, settings: Settings, decide: Decide) -> None:
        self.settings = settings
        telemetry = self.telemetry = Telemetry()
        pulse = self.pulse = Pulse(telemetry)
        api = self.api = KubeApi(connection.configuration, telemetry)
        self.queue, self._guard_queue = CoalescingQueue(), CoalescingQueue()
        self.store = Store(
            PROJECTIONS, self._changed, lambda resource: telemetry.unreadable.labels(resource.kind).inc()
        )
        self.health = Health(telemetry, pulse, self.problems, self.role, self._counts)
        turns = asyncio.Semaphore(LISTS_AT_ONCE)
        self.reflectors = {
            resource: Reflector(
                api,
                self.store,
                resource,
                telemetry,
                pace=settings.own_kinds_pace if resource in OWN_KINDS else settings.pace,
                watching=resource not in (MIGRATION_PLANS, HOST_PROFILES),
                optional=resource in OPTIONAL_KINDS,
                on_state=self._looked,
                turns=turns,
            )
            for resource in (*WATCHED_BY_REFLECTORS, MIGRATION_PLANS, HOST_PROFILES)
        }
        self.elector = Elector(
            api,
            Key(settings.namespace, settings.lease_name),
            settings.identity,
            timing=settings.lease_timing,
            on_change=self._lease_changed,
        )
        self.recorder = EventRecorder(api, telemetry, settings.identity)
        self.executor = Executor(api, self.store, telemetry, self.recorder, self._remaining_lease)
        self.loop = DecisionLoop(
            self.store,
            self.queue,
            decide,
            self.executor,
            self.gate,
            telemetry,
            beat=pulse.register("the decision loop", limit_s=300),
        )
        self.guard = StunGuard(
            api,
            self.store,
            self._guard_queue,
            overdue_stuns,
            telemetry,
            beat=pulse.register("the stun guard", limit_s=120),
        )
        self.metrics_reader = MetricsReader(
            api,
            self.store,
            telemetry,
            interval_s=settings.metrics_interval_s,
            nodes_at_a_time=NODES_AT_A_TIME if settings.prometheus is None else 0,
            beat=pulse.register("the metrics reader", limit_s=120 + 10 * settings.metrics_interval_s),
        )
        self.prometheus_reader: PrometheusReader | None = None
        if settings.prometheus is not None:
            self.prometheus_reader = PrometheusReader(
                settings.prometheus,
                self.store,
                telemetry,
                beat=pulse.register("the reader of Prometheus", limit_s=180),
            )
        self.capabilities_reader = CapabilitiesReader(
            api,
            self.store,
            on_state=self._looked,
            beat=pulse.register("the reader of KubeVirt's schemas", limit_s=300),
        )
        self.kopf_feed = KopfFeed(connection, self.store, telemetry, self._own_kinds_served)
        self._missing_access: tuple[access.Need, ...] = ()
        self._warm = False
        self._led = asyncio.Event()
        self._led_at = 0.0

    # What the parts ask of each other

    def gate(self) -> bool:
        """Whether this replica may decide at this instant: it leads, and what it knows is whole and fresh."""
        return (
            self._warm
            and self._remaining_lease() > 0
            and all(reflector.fresh for reflector in self.reflectors.values())
        )

    def role(self) -> str:
        """leader, follower of somebody, or what keeps us from knowing."""
        if not self.settings.leader_election:
            return "leader (no election)"
        if self.elector.leading:
            return "leader"
        return f"follower of {self.elector.holder}" if self.elector.holder else "follower, nobody leads"

    def problems(self) -> list[Problem]:
        """Everything that is missing."""
        found = reflector_problems(self.reflectors.values()) + access_problems(self._missing_access)
        if self.reflectors[KUBEVIRTS].synced and not self.store.records(KUBEVIRTS):
            found.append(
                Problem(
                    "there is no KubeVirt object, so KubeVirt does not run",
                    "Create one, as KubeVirt's installation guide says",
                )
            )
        kubevirt_served = all(self.reflectors[kind].state is State.SYNCED for kind in (MIGRATIONS, MIGRATION_POLICIES))
        if kubevirt_served and self.store.capabilities is None:
            found.append(schema_problem(self.capabilities_reader.problem))
        if self.settings.leader_election and self.elector.problem:
            found.append(
                Problem(
                    f"the Lease {self.elector.key} cannot be used ({self.elector.problem})",
                    "Check that its namespace exists and that the Role of Whimbrel's chart is bound there",
                )
            )
        if self._own_kinds_served() and self.kopf_feed.problem:
            found.append(Problem(self.kopf_feed.problem, "Plans and profiles are listed each minute meanwhile"))
        if self.loop.problem:
            found.append(Problem(f"deciding fails ({self.loop.problem})", "Please report this with the log"))
        return found

    # Life

    async def run(self, stop: asyncio.Event) -> int:
        """Until `stop`, or until the lease is lost or a part breaks; answers the exit code."""
        await self.health.start(self.settings.health_address, self.settings.health_port)
        log.info("Started as %s; health on port %d.", self.settings.identity, self.health.port)
        electing = _named("elector", self.elector.run()) if self.settings.leader_election else None
        if electing is None:
            self._led.set()
        else:
            # A list that begins after we lead need not be taken twice.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.elector.looked.wait(), FIRST_LOOK_S)
        background = [_named(name, coroutine) for name, coroutine in self._parts()]
        deciding = _named("decision loop", self.loop.run())
        stopping = _named("stop", stop.wait())
        watched = [*background, deciding, stopping] + ([electing] if electing else [])
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await self._drain(deciding, electing)
                return 0
            self.executor.close()
            _report(task for task in watched if task.done())
            return 1
        finally:
            self.executor.close()
            for task in watched:
                task.cancel()
            await asyncio.gather(*watched, return_exceptions=True)
            await self.health.close()
            await self.api.close()

    def _parts(self) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        for resource, reflector in self.reflectors.items():
            yield f"reflector of {resource.plural}", reflector.run()
        yield "stun guard", self.guard.run()
        yield "reader of KubeVirt's schemas", self.capabilities_reader.run()
        yield "metrics reader", self.metrics_reader.run()
        if self.prometheus_reader is not None:
            yield "reader of Prometheus", self.prometheus_reader.run()
        yield "event recorder", self.recorder.run()
        yield "kopf feed", self.kopf_feed.run()
        yield "pulse", self.pulse.run()
        yield "readiness", self.health.tell()
        yield "access", self._review_access()
        yield "take-over", self._take_over()

    async def _drain(self, deciding: asyncio.Task[None], electing: asyncio.Task[None] | None) -> None:
        """Decides no more, lets writes in flight finish, hands the lease over."""
        log.info("Stopping: writes in flight may finish.")
        self.loop.stop()
        self.executor.close()
        await asyncio.wait([deciding], timeout=DRAIN_S)
        await self.recorder.flush(2.0)
        if electing is not None:
            electing.cancel()
            await asyncio.gather(electing, return_exceptions=True)
            await self.elector.release()

    async def _take_over(self) -> None:
        """Once we lead, reads again what the leader before us may have written an instant ago; then opens the gate."""
        for reflector in self.reflectors.values():
            await reflector.wait_synced()
        memory.give_back()
        await self.metrics_reader.read_anew(FIRST_READ_S)
        await self._led.wait()
        for resource in TAKE_OVER_KINDS:
            reflector = self.reflectors[resource]
            while reflector.list_began_at < self._led_at:
                try:
                    await reflector.list_once("take-over")
                except ApiError as error:
                    log.debug("%s could not be listed to take over: %s", resource.kind, error)
                    await asyncio.sleep(1.0)
        self._warm = True
        self.queue.notify()
        await asyncio.Event().wait()

    async def _review_access(self) -> None:
        while True:
            kubevirts = self.store.records(KUBEVIRTS)
            needs = access.needs(self.settings.namespace, min(kubevirts).namespace if kubevirts else "")
            self._missing_access = await access.missing(self.api, needs)
            self.store.lack(access.vital(self._missing_access))
            self._looked()
            await asyncio.sleep(MISSING_ACCESS_REVIEW_S if self._missing_access else ACCESS_REVIEW_S)

    def _changed(self) -> None:
        self.queue.notify()
        self._guard_queue.notify()
        self.capabilities_reader.look()

    def _looked(self) -> None:
        """A reflector or a permission is not as it was: readiness, Kopf and the gate may be concerned."""
        self.health.look()
        self.kopf_feed.look()
        self.queue.notify()

    def _lease_changed(self) -> None:
        leading = self.elector.leading
        self.telemetry.leader.set(leading)
        if leading and not self._led.is_set():
            self._led_at = time.monotonic()
            self._led.set()
        self.health.look()
        self.queue.notify()

    def _remaining_lease(self) -> float:
        return self.elector.remaining() if self.settings.leader_election else float("inf")

    def _own_kinds_served(self) -> bool:
        return all(self.reflectors[kind].state is State.SYNCED for kind in (MIGRATION_PLANS, HOST_PROFILES))

    def _counts(self) -> dict[str, object]:
        return {
            **self.store.counts(),
            "generation": self.store.generation,
            "unreadable": len(self.store.unreadable),
            "role": self.role(),
        }


def _named(name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine, name=name)


def _report(ended: Iterable[asyncio.Task[Any]]) -> None:
    for task in ended:
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, LeaseLost):
            log.error("Lost the lease: %s. Ending without another write; a restart follows on as a follower.", error)
        else:
            log.critical("The %s has ended; so does the process.", task.get_name(), exc_info=error)
