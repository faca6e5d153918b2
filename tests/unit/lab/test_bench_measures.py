"""What the benches make of what they see: pairing, slopes, bounds – and that their scenes are what they say."""

from collections import Counter
from math import inf

import pytest

from whimbrel.domain.resources import MIGRATION_PLANS, NODES, VIRTUAL_MACHINE_MOVES, Resource
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS
from whimbrel_lab.bench import __main__ as command
from whimbrel_lab.bench import deciding, hosts, memory, moving, overruling
from whimbrel_lab.bench.deciding import EVENTS, Decided, Standstill
from whimbrel_lab.bench.moving import Moved, Reactions, writes_figures
from whimbrel_lab.bench.operator_process import MIB, Resident
from whimbrel_lab.controlplane.embedded import RequestKey, service_account

OPERATOR = service_account("whimbrel", "whimbrel").name


def requests(**resources: int) -> Counter[RequestKey]:
    return Counter({RequestKey(OPERATOR, "update", name, ""): count for name, count in resources.items()})


def test_each_create_answers_the_oldest_end_that_has_none_yet() -> None:
    reactions = Reactions()

    reactions.asked(0.0)  # the first migrations follow no end
    reactions.ended(10.0)
    reactions.ended(11.0)
    reactions.asked(10.5)
    reactions.asked(12.0)
    reactions.ended(13.0)  # nothing waits any more

    assert reactions.seconds == [0.5, 1.0]


def test_writes_per_move_are_the_slope_between_two_plans_and_the_rest_is_the_plans_own() -> None:
    few = Moved(10, requests(virtualmachinemoves=69), ())
    many = Moved(40, requests(virtualmachinemoves=249), ())

    figures = {figure.key: figure for figure in writes_figures(few, many)}

    assert figures["writes.per_move"].value == 6
    assert figures["writes.per_plan"].value == 9
    assert not figures["writes.per_move"].broken


def test_events_leases_and_questions_do_not_count_as_writes() -> None:
    told = dict.fromkeys(moving.APART, 100)

    moved = Moved(1, requests(virtualmachinemoves=2, **told), ())

    assert moved.writes == 2


def test_a_seventh_write_for_each_move_breaks_the_promise() -> None:
    figures = writes_figures(Moved(10, requests(pods=79), ()), Moved(40, requests(pods=289), ()))

    assert next(figures).broken


def test_only_what_the_operator_asks_for_is_counted() -> None:
    others = Counter({RequestKey("system:serviceaccount:kubevirt:controller", "update", "pods", ""): 5})

    assert moving.of_operator(requests(pods=3) + others) == requests(pods=3)


def an_instance(migration: str, **state: object) -> dict[str, object]:
    return {"status": {"migrationState": {"migrationUid": migration, **state}}}


def test_a_dangerous_configuration_is_answered_by_the_delete_of_its_own_migration_and_too_late_if_kubevirt_may_act() -> (
    None
):
    noticed = overruling.Noticed()
    dangerous = {"migrationConfiguration": {"allowPostCopy": True}}

    for migration in ("soon", "late", "never"):
        noticed.instance(an_instance(migration, **dangerous), 10.0)
        noticed.instance(an_instance(migration, **dangerous, startTimestamp="2026-03-01T12:00:00Z"), 11.0)
    noticed.instance(an_instance("harmless", migrationConfiguration={"allowPostCopy": False}), 10.0)
    for migration, at, phase in (
        ("soon", 10.25, "PreparingTarget"),
        ("late", 13.0, "Running"),
        ("never", 14.0, "Failed"),
    ):
        noticed.deletion({"metadata": {"uid": migration}, "status": {"phase": phase}}, at)

    figures = {figure.key: figure.value for figure in overruling.figures(noticed, beside=4)}
    assert figures == {
        "overruled.p50": 3000.0,
        "overruled.p99": inf,
        "overruled.longest": inf,
        "overruled.late": 2,
    }


def test_all_machines_that_a_plan_selects_run_on_the_host_that_it_empties() -> None:
    guests = moving.topology({"many": 5, "still": 4}).guests

    assert {guest.host for guest in guests if guest.labels["group"] == "many"} == {"node-1"}
    assert "node-1" not in {guest.host for guest in guests if guest.labels["group"] == "still"}


def test_memory_is_held_against_a_base_and_so_much_for_each_machine() -> None:
    found = {1_000: Resident(100 * MIB, 110 * MIB), 10_000: Resident(176 * MIB, 180 * MIB)}

    figures = {figure.key: figure for figure in memory.memory_figures(found)}

    assert figures["memory.1000"].met
    assert figures["memory.10000"].broken
    assert figures["memory.slope_10000"].value == pytest.approx(76 * 1024 / 9_000)


def test_the_watched_cluster_has_two_pods_and_one_machine_for_each_instance() -> None:
    kinds = Counter(document["kind"] for document in memory.objects(memory.topology(7)))

    assert (kinds["VirtualMachine"], kinds["VirtualMachineInstance"], kinds["Pod"]) == (7, 7, 14)


def test_growth_is_the_exponent_between_the_two_largest_sizes() -> None:
    found = {100: Decided(100, 1, 1, 1), 1_000: Decided(1_000, 1, 2, 1), 10_000: Decided(10_000, 100, 20, 1)}

    figures = {figure.key: figure for figure in deciding.decision_figures(found)}

    assert figures["decide.10000.tick_growth"].value == pytest.approx(2)
    assert figures["decide.10000.outlook_growth"].value == pytest.approx(1)


def test_the_scene_of_the_decisions_comes_to_rest_with_every_move_made_and_nothing_left_to_write() -> None:
    scene = Standstill(45)

    scene.settle()

    assert len(scene.store.records(VIRTUAL_MACHINE_MOVES)) == 45
    assert scene.tick(outlook_due=True).writes == ()
    assert set(FIELDS) == set(PROJECTIONS)


@pytest.mark.parametrize("resource", EVENTS, ids=lambda resource: resource.kind)
def test_each_event_that_is_timed_changes_what_a_decision_sees_and_another_object_each_time(resource: Resource) -> None:
    scene = Standstill(5)
    scene.settle()
    before = dict(scene.store.records(resource))

    for number in range(3):
        scene.happen(resource, number)

    after = scene.store.records(resource)
    changed = [key for key in after if after[key] is not before[key]]
    assert len(changed) == min(3, len(after))


def test_each_machine_may_have_a_plan_of_its_own() -> None:
    scene = Standstill(5, hosts=3, apart=True)
    scene.settle()

    assert len(scene.store.records(MIGRATION_PLANS)) == len(scene.store.records(VIRTUAL_MACHINE_MOVES)) == 5
    assert len(scene.store.records(NODES)) == 6


def test_figures_of_quick_runs_are_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--record"]) == 2
    assert "record whole figures" in capsys.readouterr().err


def test_the_scene_of_the_hosts_has_one_unmovable_machine_in_a_hundred_and_every_list_has_its_pages() -> None:
    world = hosts.a_world(600)

    whole_s, alone_s = hosts.time_evacuations(hosts.a_snapshot(world))
    report = hosts.time_report(hosts.Pages(world))

    assert 0 < alone_s <= whole_s
    assert set(report) == {"read", "judge", "json", "html", hosts.TOTAL}


def test_only_the_report_of_a_whole_cluster_holds_a_promise() -> None:
    slow = {figure.key: figure for figure in hosts.host_figures(10_000, 2.0, 1.0, {hosts.TOTAL: 61.0})}
    quick = hosts.host_figures(1_000, 2.0, 1.0, {hosts.TOTAL: 61.0}, quick=True)

    assert [key for key, figure in slow.items() if figure.broken] == ["hosts.10000.report"]
    assert [figure.key for figure in quick if figure.met is not None] == []
