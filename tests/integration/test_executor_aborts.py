"""No abort reaches a migration that has become irrevocable, however late our view of its instance is."""

from typing import Any

import pytest

from support.executor_bench import DB, M1, Bench
from support.raw_objects import a_migration, an_instance
from whimbrel.domain.decision import Delete
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel.runtime.executor import Outcome
from whimbrel_lab.controlplane.embedded import Fault


async def abortable(bench: Bench, state: dict[str, Any], *, of_another: bool = False) -> Delete:
    """The abort of a migration whose instance the store saw before its `state`."""
    uid = (await bench.loaded(MIGRATIONS, a_migration("m1")))["metadata"]["uid"]
    raw = an_instance("db1")
    await bench.loaded(INSTANCES, raw)
    state = {"migrationUid": "another" if of_another else uid, **state}
    await bench.cluster.load([raw | {"status": raw["status"] | {"migrationState": state}}])
    return Delete(MIGRATIONS, M1, uid, "cancelled", unless_post_copy=DB)


@pytest.mark.parametrize(
    "state", [{"mode": "PostCopy"}, {"mode": "PreCopy", "completed": True}], ids=["in post-copy", "completed"]
)
async def test_a_migration_that_became_irrevocable_unseen_is_not_aborted(bench: Bench, state: dict[str, Any]) -> None:
    abort = await abortable(bench, state)

    outcome = await bench.send(abort)

    assert outcome.failed == 1
    assert (await bench.api.get(MIGRATIONS, M1))["metadata"]["uid"] == abort.uid
    seen = bench.store.records(INSTANCES)[DB].migration
    assert (seen.mode, seen.completed) == (state["mode"], state.get("completed", False)), (
        "the live read is in the store"
    )


@pytest.mark.parametrize("of_another", [False, True], ids=["pre-copy", "post-copy of another migration"])
async def test_a_migration_that_is_not_in_post_copy_itself_is_aborted(bench: Bench, of_another: bool) -> None:
    abort = await abortable(bench, {"mode": "PostCopy" if of_another else "PreCopy"}, of_another=of_another)

    assert await bench.send(abort) == Outcome(done=1)
    assert M1 not in bench.store.records(MIGRATIONS)


async def test_a_migration_whose_instance_is_gone_is_aborted(bench: Bench) -> None:
    abort = await abortable(bench, {"mode": "PostCopy"})
    await bench.api.delete(INSTANCES, DB, bench.store.records(INSTANCES)[DB].uid)

    assert await bench.send(abort) == Outcome(done=1)
    assert DB not in bench.store.records(INSTANCES)


async def test_nothing_is_aborted_while_the_instance_cannot_be_read(bench: Bench) -> None:
    abort = await abortable(bench, {"mode": "PreCopy"})
    bench.cluster.faults.add(Fault(verb="get", status=503))

    assert (await bench.send(abort)).failed == 1
    assert (await bench.api.get(MIGRATIONS, M1))["metadata"]["uid"] == abort.uid


@pytest.mark.parametrize("ending", ["lease", "closed"])
async def test_nothing_is_aborted_when_the_end_came_during_the_live_read(bench: Bench, ending: str) -> None:
    abort = await abortable(bench, {"mode": "PreCopy"})
    read = bench.api.get

    async def slow_read(*args: Any, **options: Any) -> dict[str, Any]:
        answer = await read(*args, **options)
        if ending == "lease":
            bench.lease_s = 9.9
        else:
            bench.executor.close()
        return answer

    bench.api.get = slow_read  # type: ignore[method-assign]
    outcome = await bench.send(abort)

    assert outcome.failed == 1
    assert (await read(MIGRATIONS, M1))["metadata"]["uid"] == abort.uid
