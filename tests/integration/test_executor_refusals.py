"""A migration that the server refuses is not asked for without end."""

from support.executor_bench import M1, Bench, creation
from whimbrel.domain.resources import MIGRATIONS
from whimbrel_lab.controlplane.embedded import Fault


async def refusals_s(bench: Bench, count: int, *, pause_s: float = 600.0) -> list[float]:
    """How long the creation of a migration waits after each of so many attempts, one in ten minutes."""
    waits = []
    for _ in range(count):
        bench.now += pause_s
        bench.executor.prune()
        assert (await bench.send(creation())).failed == 1
        refusal = bench.store.snapshot(bench.began).refusals[M1]
        waits.append((refusal.until - bench.began).total_seconds())
    return waits


async def test_a_migration_that_is_refused_again_and_again_waits_longer_each_time(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", status=403, times=None))

    assert await refusals_s(bench, 8) == [15, 30, 60, 120, 240, 480, 600, 600]


async def test_a_migration_that_was_created_has_its_refusals_forgotten(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", status=403, times=2))
    assert await refusals_s(bench, 2) == [15, 30]

    bench.now += 600
    assert (await bench.send(creation())).done == 1
    await bench.api.delete(MIGRATIONS, M1, bench.store.records(MIGRATIONS)[M1].uid)
    bench.cluster.faults.add(Fault(verb="create", status=403))

    assert await refusals_s(bench, 1) == [15]


async def test_a_migration_that_was_not_refused_for_twenty_minutes_begins_anew(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", status=403, times=None))

    assert await refusals_s(bench, 2, pause_s=1199) == [15, 30]
    assert await refusals_s(bench, 2, pause_s=1200) == [15, 15]


async def test_a_server_that_is_ill_does_not_prolong_the_wait(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", status=503, times=None))

    assert await refusals_s(bench, 3) == [15, 15, 15]
