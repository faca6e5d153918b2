"""Kopf feeds MigrationPlans and HostProfiles into the Store: `on.event` only, in a thread and an event loop of its own.

Kopf cancels foreign tasks of its loop when it stops, and stops when a list or watch answers 403 or 404; here either costs a
restart with back-off and nothing else. What Kopf misses, a list of both kinds mends each minute.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from whimbrel.domain.resources import HOST_PROFILES, MIGRATION_PLANS, Resource
from whimbrel.kube.client import Connection
from whimbrel.kube.reflector import Backoff
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.kopf")

LOGIN_LIFETIME = timedelta(minutes=5)
"""Kopf logs in again before tokens can expire: a burst of 401 answers ends it."""
STOP_TIMEOUT_S = 8.0
Feed = Callable[[Resource, str | None, Mapping[str, Any]], None]


def registry_for(feed: Feed, login: Callable[[], kopf.ConnectionInfo]) -> kopf.OperatorRegistry:
    """The few registrations: two event handlers that pass on what they are given, and one login."""
    registry = kopf.OperatorRegistry()

    def register(resource: Resource) -> None:
        @kopf.on.event(
            resource.group, resource.version, resource.plural, id=f"feed-{resource.plural}", registry=registry
        )
        async def pass_on(event: kopf.RawEvent, **_: Any) -> None:
            feed(resource, event["type"], event["object"])

    register(MIGRATION_PLANS)
    register(HOST_PROFILES)

    async def authenticate(**_: Any) -> kopf.ConnectionInfo:
        return await asyncio.to_thread(login)

    kopf.on.login(id="login", registry=registry)(authenticate)
    return registry


def settings_of() -> kopf.OperatorSettings:
    """Kopf's settings: no own finalizers, events, scans or peering; short timeouts."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (1, 2, 4, 8)
    settings.networking.enforce_retry_after = True
    settings.execution.default_backoff = 15
    # Kopf would end the whole process so long after a stop, and this process outlives its Kopf.
    settings.process.ultimate_exiting_timeout = None
    return settings


def connection_info(connection: Connection, token: str, now: datetime) -> kopf.ConnectionInfo:
    """What Kopf must know to be the same user of the same server as we are."""
    configuration = connection.configuration
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=None if configuration.ssl_ca_cert else configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme="Bearer" if token else None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
        trust_env=True,
        expiration=now + LOGIN_LIFETIME,
    )


def _leftover(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks that Kopf leaves behind when it stops, sometimes with an error nobody asks for."""
    log.debug("%s: %r", context.get("message"), context.get("exception"))


class KopfFeed:
    """Runs Kopf again and again, from the moment that its kinds are served."""

    def __init__(
        self,
        connection: Connection,
        store: Store,
        telemetry: Telemetry,
        served: Callable[[], bool],
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.problem = ""
        """Why Kopf does not run, or empty."""
        self._connection, self._store, self._telemetry, self._served = connection, store, telemetry, served
        self._backoff = Backoff(1.0, 30.0, rng or random.Random())
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Whether the kinds are served may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; then Kopf is stopped and its thread awaited."""
        while True:
            while not self._served():
                self.problem = "its kinds are not served yet"
                self._changed.clear()
                await self._changed.wait()
            self.problem = ""
            began = asyncio.get_running_loop().time()
            why = await self._run_once()
            if asyncio.get_running_loop().time() - began > 60:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            self.problem = f"Kopf ended ({why or 'without a word'}) and is started again"
            self._telemetry.kopf_restarts.inc()
            log.warning(
                "%s in %.1f s; plans and profiles come by the list each minute meanwhile.", self.problem, wait_s
            )
            await asyncio.sleep(wait_s)

    async def _run_once(self) -> str:
        """One life of Kopf; answers what it died of."""
        loop = asyncio.get_running_loop()
        stop, ended = threading.Event(), asyncio.Event()
        failure: list[str] = []

        def feed(resource: Resource, kind: str | None, raw: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(self._take, resource, kind, dict(raw))

        def login() -> kopf.ConnectionInfo:
            token = asyncio.run_coroutine_threadsafe(self._connection.bearer_token(), loop).result(30)
            return connection_info(self._connection, token, datetime.now(UTC))

        async def operate() -> None:
            asyncio.get_running_loop().set_exception_handler(_leftover)
            try:
                await kopf.operator(
                    registry=registry_for(feed, login),
                    settings=settings_of(),
                    standalone=True,
                    clusterwide=True,
                    stop_flag=stop,
                )
            finally:
                stop.set()  # a thread of Kopf's waits for this flag, and the event loop for that thread

        def live() -> None:
            try:
                asyncio.run(operate())
            except BaseException as error:  # whatever Kopf dies of is this thread's business alone
                failure.append(f"{type(error).__name__}: {error}")
            finally:
                with contextlib.suppress(RuntimeError):  # our loop may be closed by now
                    loop.call_soon_threadsafe(ended.set)

        thread = threading.Thread(target=live, name="kopf", daemon=True)
        thread.start()
        try:
            await ended.wait()
        finally:
            stop.set()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await ended.wait()
                thread.join(1)
            except TimeoutError:
                log.warning("Kopf did not stop in %g s and is left behind.", STOP_TIMEOUT_S)
        return failure[0] if failure else ""

    def _take(self, resource: Resource, kind: str | None, raw: Mapping[str, Any]) -> None:
        if kind == "DELETED":
            self._store.remove(resource, raw)
        else:
            self._store.apply(resource, raw)
