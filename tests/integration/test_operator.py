"""The whole operator against a server: start, readiness, leading and following, and how it ends."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from support.raw_objects import a_kubevirt, a_migration, a_namespace, a_plan, kubevirt_definitions, own_definitions
from whimbrel.domain.decision import Create, Decisions
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    LEASES,
    MIGRATION_PLANS,
    MIGRATIONS,
    OPTIONAL_KINDS,
    WATCHED_BY_REFLECTORS,
)
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.kube.api import KubeApi
from whimbrel.kube.client import Connection, connect
from whimbrel.kube.lease import Timing
from whimbrel.kube.prometheus import Source
from whimbrel.kube.reflector import Pace
from whimbrel.runtime.app import Operator, Settings
from whimbrel.runtime.loop import Decide
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault, service_account

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def what_kopf_leaves_open_is_collected_here() -> Iterator[None]:
    """Kopf does not close its HTTP session when its operator dies; no other test shall be blamed for it."""
    yield
    gc.collect()


BRISK = Pace(relist_s=3600, idle_s=30, first_backoff_s=0.02, last_backoff_s=0.1)
LEASE = Key("shop", "whimbrel")


class Replica:
    """An operator with its task; every decision's snapshot is kept."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        decide: Decide,
        *,
        own_relist_s: float = 0.3,
        prometheus: Source | None = None,
    ) -> None:
        self.snapshots: list[Snapshot] = []
        self.ticked = asyncio.Event()

        def noted(snapshot: Snapshot) -> Decisions:
            self.snapshots.append(snapshot)
            self.ticked.set()
            return decide(snapshot)

        settings = Settings(
            namespace="shop",
            identity=name,
            health_address="127.0.0.1",
            health_port=0,
            prometheus=prometheus,
            pace=BRISK,
            own_kinds_pace=Pace(relist_s=own_relist_s, first_backoff_s=0.02, last_backoff_s=0.1),
            lease_timing=Timing(duration_s=12.0, renew_deadline_s=8.0, retry_s=0.1),
        )
        self.operator = Operator(connection, settings, noted)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.operator.run(self.stop))

    async def until(self, condition: Callable[[], bool], within_s: float = 15.0) -> None:
        """Looks every few milliseconds, since conditions are about many parts at once."""
        async with asyncio.timeout(within_s):
            while not condition():
                if self.task.done():
                    raise AssertionError(f"the operator has ended with {self.task.result()}")
                await asyncio.sleep(0.01)

    async def decides(self) -> None:
        async with asyncio.timeout(15):
            await self.ticked.wait()

    async def ready(self) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.operator.health.port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async def end(self) -> int:
        self.stop.set()
        async with asyncio.timeout(30):
            return await self.task


def nothing(snapshot: Snapshot) -> Decisions:
    return Decisions()


Start = Callable[..., Replica]


@pytest.fixture
async def start(connection: Connection) -> AsyncIterator[Start]:
    replicas: list[Replica] = []

    def launch(
        name: str = "one",
        decide: Decide = nothing,
        *,
        own_relist_s: float = 0.3,
        connection: Connection = connection,
        prometheus: Source | None = None,
    ) -> Replica:
        replicas.append(Replica(connection, name, decide, own_relist_s=own_relist_s, prometheus=prometheus))
        return replicas[-1]

    yield launch
    for replica in replicas:
        if not replica.task.done():
            await replica.end()


@pytest.fixture
async def whole_cluster(cluster: EmbeddedControlPlane) -> EmbeddedControlPlane:
    await cluster.load([a_namespace("kubevirt"), a_kubevirt()])
    return cluster


async def test_without_crds_it_says_so_and_recovers_when_they_appear(
    bare_cluster: EmbeddedControlPlane, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "whimbrel")
    replica = start()
    await replica.until(lambda: len(replica.operator.problems()) == 2 and replica.operator.elector.leading)
    await replica.until(lambda: any("Not ready" in message for message in caplog.messages))

    status, text = await replica.ready()
    assert status == 503
    assert "migrationplans.whimbrel.dev" in text
    assert "Install KubeVirt" in text
    assert not replica.snapshots, "nothing is decided on a world that is not whole"

    await bare_cluster.load([*own_definitions(), *kubevirt_definitions()])
    await replica.until(
        lambda: [str(problem)[:31] for problem in replica.operator.problems()] == ["there is no KubeVirt object, so"]
    )
    await bare_cluster.load([a_namespace("kubevirt"), a_kubevirt()])
    await replica.until(lambda: not replica.operator.problems())

    assert (await replica.ready())[0] == 200
    await replica.decides()
    await replica.until(lambda: any(message.startswith("Ready:") for message in caplog.messages))
    assert len([message for message in caplog.messages if message.startswith("Not ready")]) <= 2


async def test_a_plan_reaches_the_decision_through_kopf(whole_cluster: EmbeddedControlPlane, start: Start) -> None:
    replica = start(own_relist_s=3600)
    await replica.decides()
    kopf_watches = lambda: [  # noqa: E731
        key for key in whole_cluster.counters.snapshot() if key.verb == "watch" and "migrationplans" in key.resource
    ]
    await replica.until(lambda: bool(kopf_watches()))

    await whole_cluster.load([a_plan("p1")])
    await replica.until(lambda: Key("shop", "p1") in replica.operator.store.records(MIGRATION_PLANS))

    found = await replica.operator.api.get(MIGRATION_PLANS, Key("shop", "p1"))
    await replica.operator.api.delete(MIGRATION_PLANS, Key("shop", "p1"), found["metadata"]["uid"])
    await replica.until(lambda: Key("shop", "p1") not in replica.operator.store.records(MIGRATION_PLANS))


async def test_a_first_start_lists_each_kind_once(whole_cluster: EmbeddedControlPlane, start: Start) -> None:
    before = whole_cluster.counters.snapshot()
    replica = start(own_relist_s=3600)
    await replica.decides()

    lists = {
        key.resource: count
        for key, count in whole_cluster.counters.since(before).items()
        if key.verb == "list" and key.client.startswith("whimbrel")
    }
    assert set(lists.values()) == {1}
    assert len(lists) == len({*WATCHED_BY_REFLECTORS, MIGRATION_PLANS, HOST_PROFILES} - OPTIONAL_KINDS)


async def test_kopf_leaves_no_trace_on_plans(whole_cluster: EmbeddedControlPlane, start: Start) -> None:
    await whole_cluster.load([a_plan("p1")])
    replica = start()
    await replica.until(lambda: Key("shop", "p1") in replica.operator.store.records(MIGRATION_PLANS))
    before = (await replica.operator.api.get(MIGRATION_PLANS, Key("shop", "p1")))["metadata"]

    await replica.end()

    after = whole_cluster.storage.get("migrationplans.whimbrel.dev", "shop", "p1")
    assert after is not None
    assert after.object["metadata"]["resourceVersion"] == before["resourceVersion"]


async def test_kopf_dies_and_is_started_again_while_plans_come_by_the_list(
    whole_cluster: EmbeddedControlPlane, start: Start
) -> None:
    replica = start(own_relist_s=0.2)
    await replica.decides()
    resource = "migrationplans.whimbrel.dev"
    whole_cluster.faults.add(Fault(verb="watch", resource=resource, watch="close"))
    whole_cluster.faults.add(Fault(verb="watch", resource=resource, status=404))
    await whole_cluster.load([a_plan("p1")])

    await replica.until(lambda: "Kopf ended" in replica.operator.kopf_feed.problem, within_s=30)
    await whole_cluster.load([a_plan("p2")])

    await replica.until(lambda: Key("shop", "p2") in replica.operator.store.records(MIGRATION_PLANS))
    await replica.until(lambda: not replica.operator.kopf_feed.problem)
    assert not replica.task.done()


async def test_what_is_decided_is_written_and_seen_by_the_next_decision(
    whole_cluster: EmbeddedControlPlane, start: Start
) -> None:
    def decide(snapshot: Snapshot) -> Decisions:
        if snapshot.migrations:
            return Decisions()
        return Decisions((Create(MIGRATIONS, Key("shop", "m1"), a_migration("m1"), "attempt 1"),))

    replica = start(decide=decide)
    await replica.until(lambda: any(snapshot.migrations for snapshot in replica.snapshots))

    creates = sum(
        count
        for key, count in whole_cluster.counters.snapshot().items()
        if key.verb == "create" and "migrations" in key.resource and key.client.startswith("whimbrel")
    )
    assert creates == 1


async def test_the_end_lets_writes_in_flight_finish_and_releases_the_lease(
    whole_cluster: EmbeddedControlPlane, start: Start, api: KubeApi
) -> None:
    slow = whole_cluster.faults.add(
        Fault(verb="create", resource="virtualmachineinstancemigrations.kubevirt.io", latency_s=1.0)
    )

    def decide(snapshot: Snapshot) -> Decisions:
        name = f"m{len(snapshot.migrations)}"
        return Decisions((Create(MIGRATIONS, Key("shop", name), a_migration(name), "again and again"),))

    replica = start(decide=decide)
    await replica.until(lambda: slow.hits == 1)

    assert await replica.end() == 0

    assert (await api.get(MIGRATIONS, Key("shop", "m0")))["spec"]["vmiName"] == "db1"
    assert len((await api.list_page(MIGRATIONS)).items) == 1
    assert (await api.get(LEASES, LEASE))["spec"]["holderIdentity"] == ""


async def test_a_follower_is_warm_decides_nothing_and_takes_over_at_once(
    whole_cluster: EmbeddedControlPlane, start: Start
) -> None:
    first = start("one")
    await first.decides()
    second = start("two")
    await whole_cluster.load([a_migration("m1")])
    await second.until(lambda: Key("shop", "m1") in second.operator.store.records(MIGRATIONS))
    await second.until(lambda: second.operator.role() == "follower of one")
    assert not second.snapshots
    before = whole_cluster.counters.snapshot()

    assert await first.end() == 0
    await second.decides()

    assert second.operator.role() == "leader"
    listed = {key.resource for key in whole_cluster.counters.since(before) if key.verb == "list"}
    assert "virtualmachineinstancemigrations.kubevirt.io" in listed, "what the first wrote last may not be watched yet"


async def test_a_lost_lease_ends_the_process_without_releasing_it(
    whole_cluster: EmbeddedControlPlane, start: Start, api: KubeApi, caplog: pytest.LogCaptureFixture
) -> None:
    replica = start()
    await replica.decides()
    while True:
        lease = await api.get(LEASES, LEASE)
        lease["spec"]["holderIdentity"] = "thief"
        try:
            await api.replace(LEASES, LEASE, lease)
            break
        except Exception as error:
            assert "modified" in str(error)  # noqa: PT017

    async with asyncio.timeout(15):
        assert await replica.task == 1

    assert (await api.get(LEASES, LEASE))["spec"]["holderIdentity"] == "thief"
    assert any("Lost the lease: thief holds the Lease now" in message for message in caplog.messages)


async def test_a_defect_in_deciding_is_told_once_and_does_not_spin(
    whole_cluster: EmbeddedControlPlane, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def decide(snapshot: Snapshot) -> Decisions:
        if broken:
            raise ZeroDivisionError("a defect")
        return Decisions()

    replica = start(decide=decide)
    await replica.decides()
    await replica.until(lambda: bool(replica.operator.loop.problem))
    for number in range(20):
        await whole_cluster.load([a_migration(f"m{number}")])
    assert len(replica.snapshots) <= 2
    assert "deciding fails (ZeroDivisionError: a defect)" in (await replica.ready())[1]

    broken = False
    await replica.until(lambda: not replica.operator.loop.problem)

    assert len([record for record in caplog.records if record.getMessage().startswith("Deciding failed")]) == 1


async def test_a_missing_permission_to_write_is_told_before_it_is_needed(
    whole_cluster: EmbeddedControlPlane, start: Start, tmp_path: Path
) -> None:
    whole_cluster.tokens["secret"] = service_account("whimbrel-system", "whimbrel")
    whole_cluster.authorizer = lambda question: (
        question.verb != "create" or question.resource != "virtualmachineinstancemigrations"
    )
    kubeconfig = whole_cluster.write_kubeconfig(tmp_path / "token", token="secret")
    replica = start(connection=await connect(str(kubeconfig)))

    await replica.until(
        lambda: bool(replica.operator.problems()) and "may not create" in str(replica.operator.problems())
    )

    assert "virtualmachineinstancemigrations.kubevirt.io" in (await replica.ready())[1]
    snapshot = replica.operator.store.snapshot(datetime.now(UTC))
    assert snapshot.denied == ("create virtualmachineinstancemigrations.kubevirt.io",)
    whole_cluster.authorizer = lambda _: True
    await replica.until(lambda: not replica.operator.store.denied)


async def test_the_command_starts_leads_and_ends_on_sigterm(
    whole_cluster: EmbeddedControlPlane, api: KubeApi, tmp_path: Path
) -> None:
    kubeconfig = whole_cluster.write_kubeconfig(tmp_path / "config", namespace="shop")
    root = Path(__file__).parents[2] / "operator"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "whimbrel",
        *(
            "--kubeconfig",
            str(kubeconfig),
            "--health-port",
            "0",
            "--health-address",
            "127.0.0.1",
            "--log-format",
            "json",
        ),
        env={**os.environ, "PYTHONPATH": str(root), "POD_NAME": "whimbrel-0"},
        stderr=asyncio.subprocess.PIPE,
    )
    lines: list[str] = []
    assert process.stderr is not None
    try:
        async with asyncio.timeout(40):
            async for line in process.stderr:
                lines.append(line.decode())
                if "Ready: everything" in lines[-1]:
                    process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0, "".join(lines)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (await api.get(LEASES, LEASE))["spec"]["holderIdentity"] == ""
    assert all(line.startswith("{") for line in lines), "".join(lines)


async def test_a_prometheus_that_does_not_answer_keeps_it_from_nothing(
    whole_cluster: EmbeddedControlPlane, start: Start
) -> None:
    await whole_cluster.load([a_plan("evening")])
    replica = start(prometheus=Source("http://127.0.0.1:1"))
    reader = replica.operator.prometheus_reader
    assert reader is not None

    await replica.decides()
    await replica.until(lambda: bool(reader.problem))

    assert (await replica.ready())[0] == 200
    assert replica.snapshots[-1].readings == {}
