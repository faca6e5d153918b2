"""What holds whatever happens: the same decisions from the same facts, one write per object, bounded attempts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.stage import STUN, Stage, emptying
from whimbrel.domain.decision import Create, Delete
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS
from whimbrel.engine import decide
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.simulation.topology import GuestShape

GUESTS = ("a", "b", "stuck")
ATTEMPTS = 3


def the_other_way_round(snapshot: Snapshot) -> Snapshot:
    """The same facts in another order."""
    members = {f.name: getattr(snapshot, f.name) for f in fields(snapshot)}
    return replace(snapshot, **{k: dict(reversed(v.items())) for k, v in members.items() if isinstance(v, Mapping)})


def is_under_way(stage: Stage, vm: str) -> bool:
    return any((m.get("status") or {}).get("phase") not in ("Succeeded", "Failed") for m in stage.migrations(vm))


def state(stage: Stage, vm: str) -> Mapping[str, Any]:
    """The migration state of an instance, if it is of the migration that is under way."""
    if not is_under_way(stage, vm):
        return {}
    found = stage.body(INSTANCES, Key("default", vm))["status"].get("migrationState") or {}
    return found if found.get("migrationUid") == stage.unfinished(vm)["metadata"]["uid"] else {}


def hand_off(stage: Stage, vm: str) -> None:
    if is_under_way(stage, vm) and not state(stage, vm) and stage.unfinished(vm)["spec"].get("addedNodeSelector"):
        stage.hand_off(vm)


def hand_off_wrongly(stage: Stage, vm: str) -> None:
    if is_under_way(stage, vm) and not state(stage, vm) and stage.unfinished(vm)["spec"].get("addedNodeSelector"):
        stage.hand_off(vm, configuration={"allowPostCopy": True, "completionTimeoutPerGiB": 150})


def copy(stage: Stage, vm: str) -> None:
    if state(stage, vm):
        stage.copy(vm)


def arrive(stage: Stage, vm: str) -> None:
    if state(stage, vm).get("startTimestamp"):
        stage.arrive(vm)


def miss_the_deadline(stage: Stage, vm: str) -> None:
    if state(stage, vm).get("startTimestamp"):
        stage.fail(vm, abortStatus="Succeeded")


def end_early(stage: Stage, vm: str) -> None:
    if is_under_way(stage, vm) and not state(stage, vm):
        stage.lose_target(vm)


def carry_out_abort(stage: Stage, vm: str) -> None:
    if is_under_way(stage, vm) and stage.unfinished(vm)["metadata"].get("deletionTimestamp"):
        (stage.carry_out_abort if state(stage, vm) else stage.lose_target)(vm)


def migrate_by_hand(stage: Stage, vm: str) -> None:
    if not is_under_way(stage, vm):
        stage.foreign_migration(vm, name=f"by-hand-{vm}-{stage.world.version}")


def cordon(stage: Stage, _vm: str) -> None:
    stage.node("node-2", unschedulable=True)


def suspend(stage: Stage, _vm: str) -> None:
    plan = stage.world.get(MIGRATION_PLANS, Key("default", "plan"))
    if plan is not None and not (plan.get("status") or {}).get("finishedAt"):
        stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "suspend", value=not plan["spec"].get("suspend"))


def delete_plan(stage: Stage, _vm: str) -> None:
    if stage.world.get(MIGRATION_PLANS, Key("default", "plan")) is not None:
        stage.delete(MIGRATION_PLANS, Key("default", "plan"))


def time_passes(stage: Stage, _vm: str) -> None:
    stage.seconds += 30


def rest(stage: Stage, _vm: str) -> None:
    stage.outlook_due = False


def look_out(stage: Stage, _vm: str) -> None:
    stage.outlook_due = True


Act = Callable[[Stage, str], None]
USUAL: Sequence[Act] = (
    hand_off,
    copy,
    arrive,
    miss_the_deadline,
    end_early,
    carry_out_abort,
    time_passes,
    rest,
    look_out,
)
UNUSUAL: Sequence[Act] = (hand_off_wrongly, migrate_by_hand, cordon, suspend, delete_plan)
acts = st.lists(
    st.tuples(st.sampled_from([*USUAL, *USUAL, *UNUSUAL]), st.sampled_from(GUESTS)), min_size=4, max_size=24
)


def a_stage() -> Stage:
    stage = Stage(
        GuestShape("a", "node-1"), GuestShape("b", "node-1"), GuestShape("stuck", "node-1", live_migratable=False)
    )
    stage.plan(**emptying(migration={"attempts": ATTEMPTS, "disruption": STUN}))
    stage.plan("second", virtualMachines={"names": ["a"]}, target={"nodeNames": ["node-3"]})
    return stage


@settings(max_examples=15, deadline=None)
@given(acts)
def test_the_same_facts_in_another_order_give_the_same_decisions(history: list[tuple[Act, str]]) -> None:
    stage = a_stage()

    for act, vm in history:
        act(stage, vm)
        snapshot = stage.snapshot()
        assert decide(the_other_way_round(snapshot)) == decide(snapshot)
        stage.tick()


@settings(max_examples=15, deadline=None)
@given(acts)
def test_at_most_one_write_for_an_object_at_a_time_and_every_history_comes_to_rest(
    history: list[tuple[Act, str]],
) -> None:
    stage = a_stage()

    for act, vm in history:
        act(stage, vm)
        written = [(write.resource, write.key) for write in stage.tick().writes]
        assert max(Counter(written).values(), default=1) == 1

    stage.outlook_due = True
    stage.settle()
    stage.outlook_due = False
    assert stage.settle() == []


@settings(max_examples=15, deadline=None)
@given(acts)
def test_one_migration_per_virtual_machine_and_never_more_than_the_attempts_and_others_stay_untouched(
    history: list[tuple[Act, str]],
) -> None:
    stage = a_stage()

    for act, vm in history:
        act(stage, vm)
        stage.tick()
        for guest in GUESTS:
            unfinished = [
                m
                for m in stage.migrations(guest)
                if (m.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            ]
            assert len(unfinished) <= 1

    created = Counter(
        write.body["metadata"]["labels"]["whimbrel.dev/plan-uid"] + write.body["spec"]["vmiName"]
        for write in stage.written
        if isinstance(write, Create) and write.resource == MIGRATIONS
    )
    assert max(created.values(), default=0) <= ATTEMPTS
    assert not any("by-hand" in w.key.name for w in stage.written if isinstance(w, Delete))
    assert not stage.migrations("stuck") or all("by-hand" in m["metadata"]["name"] for m in stage.migrations("stuck"))
