"""The quote: for each virtual machine a target and what it will take, or every reason why not; and its hash."""

from dataclasses import replace
from typing import Any

import pytest

from support.builders import (
    GIB,
    MIB,
    NOW,
    a_cluster,
    a_kubevirt,
    a_migration_state,
    a_node,
    a_plan,
    a_policy,
    a_profile,
    an_instance,
)
from whimbrel.api.virtual_machine_move import VirtualMachineMoveSpec
from whimbrel.domain.records import Condition, Instance, MigrationConfiguration, Plan
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.schedule.outlook import Line, attempt_for, duration_floor_s, move_spec, quote_hash, still_says
from whimbrel.schedule.together import quote

BROKEN = Condition("False", "DisksNotLiveMigratable", "not shared")
STUN = {"disruption": {"stun": "Allowed", "maxDowntimeMs": 5000, "unattendedDowntimeMs": 60_000}}


def lines(snapshot: Snapshot, plan: Plan | None = None, keep: dict[str, str] | None = None) -> tuple[Line, ...]:
    asked = plan or a_plan()
    assert asked.plan is not None
    instances = list(snapshot.instances.values())
    return quote(instances, asked.plan.spec, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, keep or {})


def one(snapshot: Snapshot, plan: Plan | None = None, keep: dict[str, str] | None = None) -> Line:
    (line,) = lines(snapshot, plan, keep)
    return line


def quoted_move(line: Line, snapshot: Snapshot) -> VirtualMachineMoveSpec:
    return move_spec(line, attempt_for(line, 1, (), snapshot))


def target(line: Line) -> str:
    return line.target.name if line.target is not None else ""


def test_a_line_says_where_to_how_fast_and_how_long_at_least() -> None:
    line = one(a_cluster(an_instance()))

    assert line.load is not None
    assert (target(line), line.load.rate_bytes_per_second, line.duration_s) == ("node-2", 59 * MIB, 18)
    assert line.reasons == ()


def test_a_target_chosen_before_is_kept_while_it_is_possible() -> None:
    assert target(one(a_cluster(an_instance()), keep={"uid-default-db1": "node-3"})) == "node-3"


def test_a_target_chosen_before_that_is_impossible_now_is_replaced() -> None:
    nodes = [a_node("node-1"), a_node("node-2"), a_node("node-3", ready=False)]

    assert target(one(a_cluster(an_instance(), *nodes), keep={"uid-default-db1": "node-3"})) == "node-2"


def test_a_guest_that_cannot_move_has_reasons_and_no_target_duration_or_pause() -> None:
    line = one(a_cluster(an_instance(live_migratable=BROKEN)))

    assert [reason.code for reason in line.reasons] == ["NotLiveMigratable", "SourceNotCordoned"]
    assert (line.target, line.duration_s, line.budget_ms, line.unattended_downtime_ms) == (None, 0, None, None)
    assert not line.capacity_only


def test_a_guest_that_only_lacks_room_says_what_each_host_lacks() -> None:
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=GIB)]

    line = one(a_cluster(an_instance(memory_bytes=4 * GIB), *nodes))

    assert target(line) == ""
    assert {reason.code for reason in line.reasons} >= {"InsufficientMemory"}


def test_the_second_of_two_that_find_room_for_one_only_lacks_capacity() -> None:
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=6 * GIB)]
    guests = [an_instance(name, memory_bytes=4 * GIB) for name in ("a", "b")]

    first, second = lines(a_cluster(*guests, *nodes))

    assert (target(first), target(second)) == ("node-2", "")
    assert second.capacity_only
    assert second.reasons


def test_a_line_with_consent_shows_both_rungs_and_the_worst_pauses() -> None:
    line = one(a_cluster(an_instance()), a_plan(migration=STUN))

    assert [str(rung) for rung in line.rungs] == ["PreCopy", "Stun"]
    assert line.budget_ms == 5000
    assert line.unattended_downtime_ms is not None
    assert line.unattended_downtime_ms <= 60_000


# The specification of an attempt


def an_attempt_of(snapshot: Snapshot, **plan: Any) -> Any:
    found = attempt_for(one(snapshot, a_plan(**plan)), 1, (), snapshot)
    assert found is not None
    return found


def test_an_attempt_remembers_the_migration_that_the_instance_showed_before() -> None:
    instance = an_instance(migration=a_migration_state("earlier", completed=True))

    assert an_attempt_of(a_cluster(instance)).previous_migration_uid == "earlier"


def test_an_attempt_needs_one_more_label_than_the_most_specific_foreign_policy_has() -> None:
    greedy = a_policy(instance_pairs={"a": "1", "b": "2"}, namespace_pairs={"c": "3"})

    assert an_attempt_of(a_cluster(an_instance(), greedy)).policy_labels == 4
    assert an_attempt_of(a_cluster(an_instance())).policy_labels == 1


def wanted_configuration() -> MigrationConfiguration:
    plain = an_attempt_of(a_cluster(an_instance())).configuration
    return MigrationConfiguration(
        bandwidth_bytes_per_second=plain.bandwidth_bytes_per_second,
        completion_timeout_per_gib=plain.completion_timeout_per_gib,
        allow_auto_converge=False,
        allow_post_copy=False,
        allow_workload_disruption=False,
    )


def test_no_policy_is_needed_where_the_cluster_or_a_foreign_policy_already_says_what_is_wanted() -> None:
    by_cluster = a_cluster(an_instance(), a_kubevirt(configuration=wanted_configuration()))
    by_policy = a_cluster(an_instance(), a_policy(instance_pairs={}, configuration=wanted_configuration()))

    assert an_attempt_of(by_cluster).policy_name == ""
    assert an_attempt_of(by_policy).policy_name == ""
    assert an_attempt_of(a_cluster(an_instance())).policy_name != ""


def test_our_own_labels_on_an_instance_do_not_count_as_the_clusters_wish() -> None:
    labels = {"whimbrel.dev/policy-0": "whimbrel-x", "whimbrel.dev/vmim": "whimbrel-db1-1"}
    ours = a_policy("whimbrel-x", ours=True, instance_pairs={"whimbrel.dev/policy-0": "whimbrel-x"},
                    configuration=wanted_configuration())  # fmt: skip

    assert an_attempt_of(a_cluster(an_instance(labels=labels), ours)).policy_name != ""


def test_a_plans_bandwidth_reaches_the_attempt() -> None:
    attempt = an_attempt_of(a_cluster(an_instance()), migration={"bandwidth": {"minMbps": 100, "maxMbps": 100}})

    assert attempt.configuration.bandwidth_bytes_per_second == 11 * MIB


def test_a_blocked_guest_has_a_move_without_an_attempt() -> None:
    snapshot = a_cluster(an_instance(live_migratable=BROKEN))

    spec = quoted_move(one(snapshot), snapshot)

    assert spec.attempt is None
    assert spec.rungs == ()


# The hash


def a_hash(snapshot: Snapshot, plan: Plan | None = None) -> str:
    return quote_hash((plan or a_plan()).generation, lines(snapshot, plan))


def guests() -> list[Instance]:
    return [an_instance(name) for name in ("a", "b", "c")]


def test_the_hash_does_not_depend_on_the_order_of_the_facts() -> None:
    found = lines(a_cluster(*guests()))

    assert quote_hash(1, found) == quote_hash(1, reversed(found))
    assert a_hash(a_cluster(*guests())) == a_hash(a_cluster(*reversed(guests())))


@pytest.mark.parametrize(
    "changed",
    [
        a_cluster(*guests()[:2]),
        a_cluster(*guests()[:2], an_instance("c", uid="restarted")),
        a_cluster(*guests()[:2], an_instance("c", live_migratable=BROKEN)),
        a_cluster(*guests(), a_node("node-1"), a_node("node-3")),
    ],
    ids=["one guest fewer", "another guest of that name", "another verdict", "another target"],
)
def test_the_hash_changes_with_what_is_approved(changed: Snapshot) -> None:
    assert a_hash(changed) != a_hash(a_cluster(*guests()))


def test_the_hash_changes_with_the_plan_and_with_the_pauses_that_it_permits() -> None:
    snapshot, plan = a_cluster(*guests()), a_plan(migration=STUN)
    harder = {"disruption": {**STUN["disruption"], "maxDowntimeMs": 6000}}

    hashes = {
        a_hash(snapshot, plan),
        a_hash(snapshot, replace(plan, generation=2)),
        a_hash(snapshot, a_plan(migration=harder)),
        a_hash(snapshot, a_plan()),
    }

    assert len(hashes) == 4


def test_the_hash_stays_though_what_nobody_approves_changes() -> None:
    later = a_cluster(*guests()[:2], an_instance("c", agent_connected=True, labels={"app": "x"}, resource_version="9"))

    assert a_hash(later) == a_hash(a_cluster(*guests()))


def test_a_whole_plan_takes_at_least_as_long_as_its_busiest_end() -> None:
    snapshot = a_cluster(*guests(), a_profile(outbound=2, inbound=2))
    found = lines(snapshot)

    assert [line.duration_s for line in found] == [18, 18, 18]
    assert duration_floor_s(found, effective_hosts(snapshot)) == 27


def test_local_disks_that_are_copied_take_their_time_too() -> None:
    def floor_s(**disks: int | None) -> int:
        snapshot = a_cluster(replace(an_instance(), **disks))
        return duration_floor_s(lines(snapshot), effective_hosts(snapshot))

    memory_alone = floor_s()
    assert floor_s(local_disk_bytes=GIB) == floor_s(local_disk_bytes=None, told_disk_bytes=GIB) > memory_alone
    assert abs(floor_s(local_disk_bytes=GIB) - 2 * memory_alone) <= 1
    assert floor_s(local_disk_bytes=None) == memory_alone


def test_a_plan_that_moves_nothing_takes_no_time() -> None:
    snapshot = a_cluster(an_instance(live_migratable=BROKEN))

    assert duration_floor_s(lines(snapshot), effective_hosts(snapshot)) == 0


def test_that_a_path_has_become_known_is_not_worth_a_write() -> None:
    waiting, arrived = (
        an_instance(),
        an_instance("first", node="node-2", migration=a_migration_state("m", completed=True, ended_at=NOW)),
    )
    before, after = a_cluster(waiting), a_cluster(waiting, arrived)
    there = {waiting.uid: "node-2"}
    stored, quoted = (quoted_move(lines(snapshot, keep=there)[0], snapshot) for snapshot in (before, after))

    assert {note.code for note in stored.notes} - {note.code for note in quoted.notes} == {"ReachabilityUnknown"}
    assert still_says(stored, quoted)
    assert not still_says(quoted, stored)
    assert not still_says(stored, quoted.model_copy(update={"rungs": ()}))


def test_a_move_that_an_earlier_release_stored_without_its_source_is_not_written_for_that() -> None:
    snapshot = a_cluster(an_instance())
    quoted = quoted_move(one(snapshot), snapshot)
    stored = quoted.model_copy(update={"instance": quoted.instance.model_copy(update={"node": ""}), "refusals": ()})

    assert stored != quoted
    assert still_says(stored, quoted)


# What refuses it elsewhere


def test_what_keeps_a_guest_that_can_move_from_other_hosts_is_quoted_with_it() -> None:
    snapshot = a_cluster(an_instance(), a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True))

    (refusal,) = quoted_move(one(snapshot), snapshot).refusals

    assert (refusal.code, refusal.nodes, refusal.node_count) == ("HostCordoned", ("node-3",), 1)


def test_a_guest_that_may_not_move_at_all_is_told_what_refuses_it_on_hosts_as_well() -> None:
    nodes = [a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True)]

    line = one(a_cluster(an_instance(live_migratable=BROKEN), *nodes))

    assert [reason.code for reason in line.reasons if reason.blocks] == ["NotLiveMigratable", "HostCordoned"]


def test_what_refuses_a_guest_on_some_hosts_does_not_count_as_what_keeps_it_where_others_would_take_it() -> None:
    nodes = [a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True)]
    guest = an_instance(live_migratable=BROKEN)
    full = [a_node("node-1"), a_node("node-3", unschedulable=True)]

    assert one(a_cluster(guest, *nodes)).codes == ("NotLiveMigratable",)
    assert one(a_cluster(guest, *full)).codes == ("NotLiveMigratable", "HostCordoned")


def test_an_approval_outlasts_a_cordon_that_changes_nothing_for_the_plan() -> None:
    plan, guest = a_plan(), an_instance(live_migratable=BROKEN)
    before, after = (
        a_cluster(guest, a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=cordoned))
        for cordoned in (False, True)
    )

    assert quote_hash(1, lines(before, plan)) == quote_hash(1, lines(after, plan))


def test_what_keeps_a_guest_from_other_hosts_is_not_worth_a_write() -> None:
    before, after = (
        a_cluster(an_instance(), a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=cordoned))
        for cordoned in (False, True)
    )
    stored, quoted = (quoted_move(one(snapshot), snapshot) for snapshot in (before, after))

    assert stored != quoted
    assert still_says(stored, quoted)
