"""A reflector keeps the store like the server, whatever happens between the two."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from support.raw_objects import a_migration, definition
from support.waiting import WaitingStore
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.reflector import Pace, Reflector, State
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

BRISK = Pace(relist_s=3600, idle_s=5, first_backoff_s=0.01, last_backoff_s=0.05, page_size=2)
Follow = Callable[..., Reflector]


@pytest.fixture
async def follow(api: KubeApi, store: WaitingStore, telemetry: Telemetry) -> AsyncIterator[Follow]:
    """Starts a reflector of migrations; all are stopped at the end."""
    running: list[asyncio.Task[None]] = []

    def start(pace: Pace = BRISK, *, watching: bool = True, optional: bool = False) -> Reflector:
        reflector = Reflector(
            api,
            store,
            MIGRATIONS,
            telemetry,
            pace=pace,
            watching=watching,
            optional=optional,
            on_state=store.changed.set,
            rng=random.Random(1),
        )
        running.append(asyncio.create_task(reflector.run()))
        return reflector

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def names(store: WaitingStore) -> set[str]:
    return {key.name for key in store.records(MIGRATIONS)}


async def delete(api: KubeApi, name: str) -> None:
    key = Key("shop", name)
    found = await api.get(MIGRATIONS, key)
    await api.delete(MIGRATIONS, key, found["metadata"]["uid"])


async def test_what_was_there_and_what_comes_and_goes_is_in_the_store(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, follow: Follow
) -> None:
    await cluster.load([a_migration(f"m{number}") for number in range(5)])
    reflector = follow()
    await reflector.wait_synced()
    assert names(store) == {"m0", "m1", "m2", "m3", "m4"}

    await delete(api, "m0")
    await cluster.load([a_migration("m5")])

    await store.until(lambda: names(store) == {"m1", "m2", "m3", "m4", "m5"})
    assert reflector.fresh


async def test_a_dropped_watch_is_taken_up_where_it_ended(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow()
    await reflector.wait_synced()
    await cluster.load([a_migration("m1")])
    await store.until(lambda: names(store) == {"m1"})
    before = cluster.counters.snapshot()

    cut = cluster.faults.add(
        Fault(verb="watch", resource="virtualmachineinstancemigrations.kubevirt.io", watch="close")
    )
    await cluster.load([a_migration("m2")])

    await store.until(lambda: names(store) == {"m1", "m2"})
    assert cut.hits == 1
    assert not [key for key in cluster.counters.since(before) if key.verb == "list"], "a cut is no reason to list"


@pytest.mark.parametrize("in_stream", [True, False], ids=["in the stream", "when it is opened again"])
async def test_after_410_a_list_finds_what_was_deleted_unseen(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, follow: Follow, in_stream: bool
) -> None:
    await cluster.load([a_migration("m1"), a_migration("m2")])
    reflector = follow()
    await reflector.wait_synced()
    cluster.faults.add(Fault(verb="watch", drop_events=True))
    await delete(api, "m1")

    if in_stream:
        cluster.faults.add(Fault(verb="watch", watch="gone"))
    else:
        cluster.faults.add(Fault(verb="watch", watch="close"))
        cluster.compact()
        cluster.faults.add(Fault(verb="watch", status=410))

    await store.until(lambda: names(store) == {"m2"})


async def test_a_periodic_list_mends_a_deletion_that_the_watch_lost(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, follow: Follow
) -> None:
    await cluster.load([a_migration("m1"), a_migration("m2")])
    reflector = follow(Pace(relist_s=0.2, page_size=2))
    await reflector.wait_synced()
    lost = cluster.faults.add(Fault(verb="watch", drop_events=True))

    await delete(api, "m1")

    await store.until(lambda: names(store) == {"m2"})
    assert lost.hits <= 1


async def test_without_a_watch_the_periodic_list_is_all_that_is_needed(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow(Pace(relist_s=0.05), watching=False)
    await reflector.wait_synced()

    await cluster.load([a_migration("m1")])

    await store.until(lambda: names(store) == {"m1"})


async def test_events_twice_and_old_ones_again_change_nothing(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow()
    await reflector.wait_synced()
    cluster.faults.add(Fault(verb="watch", duplicate_events=True, times=3))

    await cluster.load([a_migration("m1"), a_migration("m2"), a_migration("m3")])

    await store.until(lambda: len(names(store)) == 3)
    assert store.generation == 3


async def test_an_expired_continue_token_starts_the_list_again(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    await cluster.load([a_migration(f"m{number}") for number in range(5)])
    cluster.faults.add(Fault(verb="list", status=410, skip=1))

    reflector = follow()
    await reflector.wait_synced()

    assert len(names(store)) == 5


async def test_a_stream_that_falls_silent_is_opened_again_without_alarm(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow(replace(BRISK, idle_s=0.5))
    await reflector.wait_synced()
    stalled = cluster.faults.add(Fault(verb="watch", watch="stall"))

    await cluster.load([a_migration("m1")])

    await store.until(lambda: names(store) == {"m1"})
    assert stalled.hits == 1
    assert reflector.state is State.SYNCED


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault(status=403), State.FORBIDDEN),
        (Fault(status=401), State.UNAUTHORIZED),
        (Fault(status=503), State.UNREACHABLE),
        (Fault(reset="before"), State.UNREACHABLE),
    ],
    ids=["forbidden", "unauthorized", "unavailable", "reset"],
)
async def test_a_server_that_refuses_is_a_state_from_which_it_recovers(
    cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow, fault: Fault, state: State
) -> None:
    fault.verb, fault.times, fault.hits = "list", None, 0
    cluster.faults.add(fault)
    reflector = follow()
    await store.until(lambda: reflector.state is state)
    assert not reflector.synced

    cluster.faults.clear()

    await store.until(lambda: reflector.state is State.SYNCED)


async def test_a_kind_that_is_installed_later_is_found(
    bare_cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow()
    await store.until(lambda: reflector.state is State.MISSING)

    await bare_cluster.load([definition(MIGRATIONS, status=False), a_migration("m1")])

    await store.until(lambda: reflector.state is State.SYNCED)
    assert names(store) == {"m1"}


async def test_a_kind_that_need_not_be_there_keeps_nobody_waiting_and_is_found_when_it_comes(
    bare_cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow
) -> None:
    reflector = follow(replace(BRISK, absent_s=0.05), optional=True)
    await reflector.wait_synced()
    assert (reflector.state, reflector.fresh, names(store)) == (State.ABSENT, True, set())

    await bare_cluster.load([definition(MIGRATIONS, status=False), a_migration("m1")])

    await store.until(lambda: reflector.state is State.SYNCED)
    assert names(store) == {"m1"}


async def test_throttling_is_obeyed(cluster: EmbeddedControlPlane, store: WaitingStore, follow: Follow) -> None:
    cluster.faults.add(Fault(verb="list", status=429, retry_after_s=1))
    began = asyncio.get_running_loop().time()

    await follow().wait_synced()

    assert asyncio.get_running_loop().time() - began >= 1
