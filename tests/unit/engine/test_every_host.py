"""Every host, always: who keeps it from being emptied is found without any plan, written once, and said once."""

from typing import Any

import pytest

from support.stage import Stage, emptying
from whimbrel.domain.decision import Announcement, HostOutlook
from whimbrel.domain.records import Key
from whimbrel.domain.resources import HOST_PROFILES, INSTANCES, VIRTUAL_MACHINES
from whimbrel.simulation.topology import GIB, GuestShape, a_profile, apply
from whimbrel.status.evacuation import REASON

STUCK = GuestShape("stuck", "node-1", live_migratable=False)
NEW = GuestShape("new", "node-2", live_migratable=False)
ALL = Key("", "all")


def evacuation(stage: Stage) -> Any:
    return stage.body(HOST_PROFILES, ALL)["status"].get("evacuation")


def said(stage: Stage) -> list[Announcement]:
    return [each for each in stage.announced if each.reason == REASON]


def a_stage(*guests: GuestShape, starting: str = "", **options: Any) -> Stage:
    """A stage that has settled; the guest named `starting` does not run yet."""
    stage = Stage(*guests, **options)
    if starting:
        phase(stage, starting, "Scheduled")
    stage.settle()
    return stage


def movable() -> list[Any]:
    """The conditions of a guest that can move."""
    other = Stage(GuestShape("db1", "node-1")).body(INSTANCES, Key("default", "db1"))
    conditions: list[Any] = other["status"]["conditions"]
    return conditions


def phase(stage: Stage, vm: str, value: str) -> None:
    stage.edit(INSTANCES, Key("default", vm), "status", "phase", value=value)


def test_without_any_plan_each_host_is_told_of_and_the_profile_says_who_blocks() -> None:
    stage = Stage(GuestShape("db1", "node-1"), STUCK)

    hosts = stage.tick().hosts

    assert hosts == (
        HostOutlook("node-1", False, 4, ("default/stuck",)),
        HostOutlook("node-2", True, 0, ()),
        HostOutlook("node-3", True, 0, ()),
    )
    assert evacuation(stage) == {
        "hosts": 3,
        "evacuable": 2,
        "blocked": [{"node": "node-1", "virtualMachine": "default/stuck", "code": "NotLiveMigratable"}],
        "omitted": 0,
        "cleared": [],
    }


def test_it_is_written_once_and_then_there_is_silence() -> None:
    stage = a_stage(GuestShape("db1", "node-1"), STUCK)

    for _ in range(5):
        stage.seconds += 30
        stage.settle()

    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]
    assert said(stage) == []


def test_a_host_whose_guests_only_wait_cannot_be_emptied_now_and_nothing_is_written_of_it() -> None:
    stage = a_stage(GuestShape("db1", "node-1"))
    before = evacuation(stage)
    stage.denied = ("create virtualmachineinstancemigrations.kubevirt.io",)

    hosts = stage.tick().hosts
    stage.settle()

    assert hosts is not None
    assert [host.evacuable for host in hosts] == [False, True, True]
    assert [host.blockers for host in hosts] == [(), (), ()]
    assert evacuation(stage) == before
    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]


def test_what_changes_without_changing_who_blocks_is_not_written() -> None:
    stage = a_stage(
        GuestShape("db1", "node-1"), GuestShape("db2", "node-1"), GuestShape("db3", "node-1"), STUCK, starting="db3"
    )
    before = stage.tick().hosts

    phase(stage, "db3", "Running")
    stage.settle()

    after = stage.tick().hosts
    assert before is not None
    assert after is not None
    assert after[0].seconds > before[0].seconds
    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]


def test_a_new_blocker_is_written_and_said_once_on_its_virtual_machine() -> None:
    stage = a_stage(GuestShape("db1", "node-1"), STUCK, NEW, starting="new")

    phase(stage, "new", "Running")
    for _ in range(3):
        stage.settle()

    (event,) = said(stage)
    assert (event.resource, event.key, event.warning) == (VIRTUAL_MACHINES, Key("default", "new"), True)
    assert event.message.startswith("node-2 cannot be emptied while this virtual machine is on it. NotLiveMigratable:")
    assert event.behind == ALL
    assert [row["virtualMachine"] for row in evacuation(stage)["blocked"]] == ["default/stuck", "default/new"]
    assert len(stage.kinds(HOST_PROFILES)) == 2


def test_the_event_for_an_owner_spells_no_name_of_another_namespace() -> None:
    big = {"memory_bytes": 40 * GIB, "touched_bytes": GIB}
    stage = a_stage(
        GuestShape("till", "node-1", "bank", **big), GuestShape("site", "node-1", **big), hosts=2, starting="site"
    )

    phase(stage, "site", "Running")
    stage.settle()

    (event,) = said(stage)
    assert (event.key, "bank" in event.message) == (Key("default", "site"), False)
    assert "default/site and a virtual machine of another namespace cannot all be placed" in event.message


def test_a_restart_says_nothing_again() -> None:
    stage = a_stage(STUCK, NEW, starting="new")
    phase(stage, "new", "Running")
    stage.settle()
    stage.announced.clear()

    stage.settle()  # the engine remembers nothing but what is written

    assert said(stage) == []


def test_another_reason_for_the_same_blocker_is_not_worth_a_write() -> None:
    stage = a_stage(STUCK)

    stage.edit(VIRTUAL_MACHINES, STUCK.key, "metadata", "annotations", value={"whimbrel.dev/migration": "Never"})
    stage.edit(INSTANCES, STUCK.key, "status", "conditions", value=movable())
    stage.settle()

    hosts = stage.tick().hosts
    assert hosts is not None
    assert [each.blockers for each in hosts] == [("default/stuck",), (), ()]
    assert [row["code"] for row in evacuation(stage)["blocked"]] == ["NotLiveMigratable"]
    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]


def test_a_blocker_that_goes_and_comes_back_within_the_hour_is_written_and_not_said_again() -> None:
    stage = a_stage(STUCK, NEW, starting="new")
    phase(stage, "new", "Running")
    stage.settle()
    stage.announced.clear()

    for _ in range(3):
        phase(stage, "new", "Scheduled")
        stage.seconds += 1200
        stage.settle()
        assert [row["virtualMachine"] for row in evacuation(stage)["cleared"]] == ["default/new"]
        phase(stage, "new", "Running")
        stage.seconds += 1200
        stage.settle()
        assert [row["virtualMachine"] for row in evacuation(stage)["blocked"]] == ["default/stuck", "default/new"]
        assert evacuation(stage)["cleared"] == []

    assert said(stage) == []


def test_one_that_comes_back_after_more_than_an_hour_is_news_and_its_absence_costs_no_further_write() -> None:
    stage = a_stage(STUCK, NEW, starting="new")
    phase(stage, "new", "Running")
    stage.settle()
    phase(stage, "new", "Scheduled")
    stage.settle()
    stage.announced.clear()
    before = len(stage.kinds(HOST_PROFILES))

    stage.seconds += 3601
    stage.settle()
    assert len(stage.kinds(HOST_PROFILES)) == before
    phase(stage, "new", "Running")
    stage.settle()

    assert [event.key for event in said(stage)] == [NEW.key]


def test_a_blocker_that_came_to_another_host_is_written_and_not_said_again() -> None:
    stage = a_stage(STUCK)

    stage.edit(INSTANCES, Key("default", "stuck"), "status", "nodeName", value="node-3")
    stage.settle()

    assert [row["node"] for row in evacuation(stage)["blocked"]] == ["node-3"]
    assert said(stage) == []


def test_a_blocker_that_came_under_another_profile_is_not_new_either() -> None:
    stage = Stage(STUCK)
    apply(stage.world, a_profile("third", node_selector={"kubernetes.io/hostname": "node-3"}))
    stage.settle()

    stage.edit(INSTANCES, Key("default", "stuck"), "status", "nodeName", value="node-3")
    stage.settle()

    third = stage.body(HOST_PROFILES, Key("", "third"))["status"]["evacuation"]
    assert [row["virtualMachine"] for row in third["blocked"]] == ["default/stuck"]
    assert evacuation(stage)["blocked"] == []
    assert said(stage) == []


def test_between_two_outlooks_nobody_looks_and_what_is_stored_stands() -> None:
    stage = a_stage(STUCK, NEW, starting="new")
    stage.outlook_due = False
    phase(stage, "new", "Running")

    decisions = stage.tick()

    assert decisions.hosts is None
    assert decisions.wake_after_s == 10.0
    assert len(evacuation(stage)["blocked"]) == 1


def test_before_it_is_known_what_kubevirt_can_be_told_nobody_is_judged() -> None:
    stage = Stage(STUCK, capabilities=None)

    assert stage.tick().hosts is None
    assert evacuation(stage) is None


def test_a_host_that_is_not_enabled_is_shown_and_its_profile_says_nothing_of_evacuation() -> None:
    stage = Stage(STUCK, NEW, profile={"enabled": False})
    stage.remembers = True
    phase(stage, "new", "Scheduled")
    stage.settle()

    phase(stage, "new", "Running")
    hosts = stage.tick().hosts

    assert hosts is not None
    assert [(host.node, host.enabled, host.blockers) for host in hosts] == [
        ("node-1", False, ("default/stuck",)),
        ("node-2", False, ("default/new",)),
        ("node-3", False, ()),
    ]
    assert sum(host.appeared for host in hosts) == 0, "nobody expects of these that they can be emptied"
    assert evacuation(stage) is None


def appeared(stage: Stage) -> int:
    """How many new blockers one more tick counts, on whatever host."""
    hosts = stage.tick().hosts
    assert hosts is not None
    return sum(host.appeared for host in hosts)


@pytest.mark.parametrize("remembers", [True, False])
def test_one_blocker_that_takes_anothers_place_is_counted_as_new_once(remembers: bool) -> None:
    stage = a_stage(STUCK, GuestShape("new", "node-1", live_migratable=False), starting="new")
    stage.remembers = remembers
    assert appeared(stage) == 0

    phase(stage, "stuck", "Succeeded")
    phase(stage, "new", "Running")

    assert appeared(stage) == 1
    assert appeared(stage) == 0


def test_who_blocked_before_anybody_looked_is_not_counted_as_new() -> None:
    stage = Stage(STUCK)

    assert appeared(stage) == 0


def test_who_blocks_when_its_host_is_enabled_is_not_new() -> None:
    stage = Stage(STUCK, profile={"enabled": False})
    stage.remembers = True
    stage.settle()

    stage.edit(HOST_PROFILES, ALL, "spec", "migration", "enabled", value=True)

    assert appeared(stage) == 0
    stage.settle()
    assert said(stage) == []


def test_a_plan_that_empties_a_host_writes_nothing_into_the_profile() -> None:
    stage = a_stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan(**emptying())
    stage.copying()
    stage.arrive()

    stage.settle()

    assert stage.outcome() == ("Succeeded", "Verified")
    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]


def test_a_new_blocker_beyond_those_that_the_status_names_is_counted_and_said_once_by_a_process_that_goes_on() -> None:
    guests = [GuestShape(f"vm-{n:03}", "node-1", memory_bytes=2**28, live_migratable=False) for n in range(103)]
    stage = Stage(*guests, GuestShape("zz-new", "node-1", live_migratable=False))
    stage.remembers = True
    phase(stage, "zz-new", "Scheduled")
    phase(stage, "vm-102", "Scheduled")
    stage.settle()

    phase(stage, "zz-new", "Running")
    count = appeared(stage)
    stage.settle()

    assert count == 1
    assert [event.key.name for event in said(stage)] == ["zz-new"]
    phase(stage, "zz-new", "Succeeded")
    phase(stage, "vm-102", "Running")
    assert appeared(stage) == 1
    assert [event.key.name for event in said(stage)] == ["zz-new", "vm-102"], (
        "though the status says the same as before"
    )


def test_beyond_those_that_the_status_names_too_who_comes_back_within_an_hour_is_no_news() -> None:
    guests = [GuestShape(f"vm-{n:03}", "node-1", memory_bytes=2**28, live_migratable=False) for n in range(101)]
    stage = Stage(*guests, GuestShape("zz-late", "node-1", live_migratable=False))
    stage.remembers = True
    stage.settle()
    phase(stage, "zz-late", "Scheduled")
    stage.settle()

    phase(stage, "zz-late", "Running")
    soon = appeared(stage)
    phase(stage, "zz-late", "Scheduled")
    stage.settle()
    stage.seconds += 3700
    stage.settle()
    phase(stage, "zz-late", "Running")
    later = appeared(stage)

    assert (soon, later) == (0, 1)
    assert [event.key.name for event in said(stage)] == ["zz-late"]


def test_more_blockers_than_the_status_holds_are_counted_and_those_beyond_are_not_taken_for_new() -> None:
    stage = Stage(*(GuestShape(f"vm-{n:03}", "node-1", memory_bytes=2**28, live_migratable=False) for n in range(103)))
    stage.settle()
    first = evacuation(stage)

    phase(stage, "vm-000", "Succeeded")
    stage.settle()

    assert (len(first["blocked"]), first["omitted"]) == (100, 3)
    assert evacuation(stage)["omitted"] == 2
    assert evacuation(stage)["blocked"][-1]["virtualMachine"] == "default/vm-100"
    assert said(stage) == []
