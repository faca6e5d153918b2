"""An executor on an embedded API server, with everything that it touches in reach."""

from datetime import UTC, datetime
from typing import Any

from support.raw_objects import a_migration
from support.waiting import WaitingStore
from whimbrel.domain.decision import Announcement, Create, Decisions, LiveGuard, Write
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.telemetry import Telemetry
from whimbrel.runtime.executor import Executor, Outcome
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane

DB = Key("shop", "db1")
M1 = Key("shop", "m1")


class Bench:
    """An executor with everything that it touches in reach."""

    def __init__(self, cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, telemetry: Telemetry) -> None:
        self.cluster, self.api, self.store = cluster, api, store
        self.lease_s = 15.0
        self.now = 100.0
        self.said: list[Announcement] = []
        self.began = datetime.now(UTC)
        self.executor = Executor(
            api,
            store,
            telemetry,
            self,
            lambda: self.lease_s,
            clock=lambda: self.now,
            utc_now=lambda: self.began,
            write_timeout_s=10,
        )

    def announce(self, announcement: Announcement) -> bool:
        self.said.append(announcement)
        return True

    async def send(self, *writes: Write) -> Outcome:
        return await self.executor.execute(Decisions(writes=writes))

    async def loaded(self, resource: Any, raw: dict[str, Any]) -> dict[str, Any]:
        """Creates an object behind the operator's back, and shows it to the store."""
        await self.cluster.load([raw])
        found = await self.api.get(resource, Key("shop", raw["metadata"]["name"]))
        self.store.apply(resource, found)
        return found


def creation(name: str = "m1", guard: LiveGuard | None = None) -> Create:
    return Create(MIGRATIONS, Key("shop", name), a_migration(name), "attempt 1", guard)
