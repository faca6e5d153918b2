"""Families whose reasons hold for every target: platform, guest, owner, in flight, changing, source."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.builders import (
    NOW,
    a_cluster,
    a_kubevirt,
    a_launcher,
    a_migration,
    a_node,
    a_profile,
    a_snapshot,
    a_virtual_machine,
    an_instance,
)
from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.changes import Change
from whimbrel.domain.naming import ANNOTATION_GRAPHICS, ANNOTATION_MIGRATION, LABEL_PLAN_UID
from whimbrel.domain.records import Condition, Instance, KubeVirt, Node, Pod
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, changing, guest, in_flight, owner, platform, source
from whimbrel.preflight.assessment import candidate


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def judged(family: Any, instance: Instance, *others: Any) -> list[PreflightReason]:
    snapshot = a_cluster(instance, *others)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(family.judge(family.demand(asked)))


@pytest.mark.parametrize("family", [platform, guest, owner, in_flight, changing, source])
def test_nothing_is_said_against_a_guest_that_is_well(family: Any) -> None:
    assert judged(family, an_instance()) == []


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (an_instance(phase="Scheduling"), ["NotRunning"]),
        (an_instance(deleting=True), ["BeingDeleted"]),
        (an_instance(paused=Condition("True", "PausedByUser")), ["GuestPaused"]),
        (an_instance(paused=Condition("True", "PausedIOError")), ["GuestPaused"]),
        (an_instance(live_migratable=None), ["LiveMigratableUnknown"]),
        (an_instance(live_migratable=Condition("Unknown")), ["LiveMigratableUnknown"]),
        (an_instance(live_migratable=Condition("False", "DisksNotLiveMigratable", "PVC a")), ["NotLiveMigratable"]),
        (an_instance("x" * 64), ["NameTooLong"]),
        (an_instance("x" * 63), []),
    ],
)
def test_what_lies_in_the_guest_is_said(instance: Instance, expected: list[str]) -> None:
    assert codes(judged(guest, instance)) == expected


def test_every_reason_is_said_at_once() -> None:
    unwell = an_instance(
        "x" * 70, phase="Failed", deleting=True, paused=Condition("True", "PausedIOError"), live_migratable=None
    )

    assert codes(judged(guest, unwell)) == [
        "NotRunning",
        "BeingDeleted",
        "GuestPaused",
        "LiveMigratableUnknown",
        "NameTooLong",
    ]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("PausedByUser", "Somebody paused it"),
        ("PausedIOError", "Its storage failed it"),
        ("PausedAnew", "(PausedAnew)"),
    ],
)
def test_a_guest_that_a_user_paused_is_cured_otherwise_than_one_that_its_storage_stopped(
    reason: str, said: str
) -> None:
    (found,) = judged(guest, an_instance(paused=Condition("True", reason)))

    assert said in found.cure()


def test_the_owner_of_a_virtual_machine_may_forbid_moving_it() -> None:
    never = {ANNOTATION_MIGRATION: "Never"}

    (by_machine,) = judged(owner, an_instance(), a_virtual_machine(annotations=never))
    (by_instance,) = judged(owner, an_instance(annotations=never))

    assert (by_machine.code, by_machine.blocks) == ("ForbiddenByOwner", True)
    assert by_machine.field == "VirtualMachine.metadata.annotations[whimbrel.dev/migration]"
    assert by_instance.code == "ForbiddenByOwner"
    assert by_instance.field == "VirtualMachineInstance.metadata.annotations[whimbrel.dev/migration]"


def test_a_guest_that_no_virtual_machine_owns_is_not_forbidden_by_one_of_the_same_name() -> None:
    forbidden = a_virtual_machine(annotations={ANNOTATION_MIGRATION: "Never"})

    assert judged(owner, an_instance(owner_vm=""), forbidden) == []


@pytest.mark.parametrize("said", ["never", "NEVER", " Never\n"])
def test_a_veto_is_understood_in_any_case(said: str) -> None:
    (found,) = judged(owner, an_instance(), a_virtual_machine(annotations={ANNOTATION_MIGRATION: said}))

    assert (found.code, found.blocks) == ("ForbiddenByOwner", True)


@pytest.mark.parametrize(("said", "passed_on"), [("Always", "Always"), ("", "empty"), ("x" * 300, "x" * 63)])
def test_a_word_about_moving_it_that_means_nothing_is_taken_for_a_veto_until_it_is_clear(
    said: str, passed_on: str
) -> None:
    (found,) = judged(owner, an_instance(), a_virtual_machine(annotations={ANNOTATION_MIGRATION: said}))

    assert (found.code, found.blocks, found.transient) == ("MigrationAnnotationUnknown", True, False)
    assert (found.found, found.needed) == (passed_on, "Never")


def test_any_other_word_of_the_owner_that_means_nothing_is_warned_of() -> None:
    (found,) = judged(owner, an_instance(annotations={ANNOTATION_GRAPHICS: "Lavish"}))

    assert (found.code, found.blocks) == ("AnnotationUnknown", False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change.PROCESSORS, "HotplugInProgress"),
        (Change.MEMORY, "HotplugInProgress"),
        (Change.VOLUMES, "VolumeMigrationInProgress"),
        (Change.MIGRATED_VOLUMES, "VolumeMigrationInProgress"),
        (Change.BACKUP, "BackupInProgress"),
        (Change.UTILITY_VOLUMES, "UtilityVolumesAttached"),
        (Change.UPDATE, "WorkloadUpdateInProgress"),
    ],
)
def test_a_guest_that_kubevirt_is_changing_waits(change: Change, expected: str) -> None:
    (found,) = judged(changing, replace(an_instance(), changes=(change,)))

    assert (found.code, found.blocks, found.transient) == (expected, True, True)
    assert change.value in found.field


def test_every_change_under_way_is_said_at_once() -> None:
    assert len(judged(changing, replace(an_instance(), changes=tuple(Change)))) == len(Change)


def test_a_guest_that_somebody_else_moves_waits() -> None:
    instance = an_instance()

    (found,) = judged(in_flight, instance, a_migration(instance, "theirs"))

    assert found.code == "ForeignMigration"
    assert found.transient
    assert "default/theirs" in found.cure()


def test_a_guest_whose_node_is_being_evacuated_waits() -> None:
    (found,) = judged(in_flight, an_instance(evacuation_node="node-1"))

    assert (found.code, found.found) == ("ForeignMigration", "evacuation: of node-1")
    assert "delete" not in found.cure()
    assert "evacuate-cancel" in found.cure()


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [("External", "LiveMigrate", []), ("", "External", []), ("LiveMigrate", "External", ["ForeignMigration"])],
)
def test_an_eviction_that_kubevirt_leaves_to_others_keeps_nobody_from_moving_the_guest(
    own: str, default: str, expected: list[str]
) -> None:
    evicted = replace(an_instance(evacuation_node="node-1"), eviction_strategy=own)
    kubevirt = replace(a_kubevirt(), eviction_strategy=default)

    assert codes(judged(in_flight, evicted, kubevirt)) == expected


def test_a_guest_that_is_only_just_arriving_is_not_told_to_be_started() -> None:
    arriving = an_instance(phase="WaitingForSync")

    assert codes(judged(in_flight, arriving)) == ["ArrivingFromElsewhere"]
    assert judged(guest, arriving) == []


@pytest.mark.parametrize(
    ("kubevirt", "expected"),
    [
        (a_kubevirt(), []),
        (a_kubevirt(version="v1.3.0"), []),
        (a_kubevirt(phase="Deploying", updating=True), ["KubeVirtNotDeployed", "KubeVirtUpdating"]),
        (a_kubevirt(phase="", version=""), ["KubeVirtNotDeployed", "KubeVirtVersionUnknown"]),
        (a_kubevirt(version="v1.2.9"), ["KubeVirtTooOld"]),
        (a_kubevirt(version="v0.59.2"), ["KubeVirtTooOld"]),
        (a_kubevirt(version="v1.10.0-alpha.0"), ["KubeVirtUntested"]),
        (a_kubevirt(version="v0.0.0-a1b2c3"), ["KubeVirtUntested"]),
        (a_kubevirt(version="devel"), ["KubeVirtUntested"]),
    ],
)
def test_how_kubevirt_is_holds_for_every_guest(kubevirt: KubeVirt, expected: list[str]) -> None:
    assert codes(judged(platform, an_instance(), kubevirt)) == expected


def test_a_platform_that_is_not_well_makes_guests_wait_and_a_release_that_is_new_only_warns() -> None:
    (updating,) = judged(platform, an_instance(), a_kubevirt(updating=True))
    (old,) = judged(platform, an_instance(), a_kubevirt(version="v1.2.9"))
    (new,) = judged(platform, an_instance(), a_kubevirt(version="v2.0.0"))

    assert (updating.blocks, updating.transient) == (True, True)
    assert (old.blocks, old.transient) == (True, False)
    assert not new.blocks


def test_a_kubevirt_that_is_not_there_is_not_mistaken_for_one_that_may_not_be_read() -> None:
    absent, hidden = platform.read(a_snapshot()), platform.read(replace(a_snapshot(), unread=frozenset({"kubevirts"})))

    assert codes(platform.judge(absent)) == ["KubeVirtMissing"]
    assert codes(platform.judge(hidden)) == ["PlatformUnknown"]


def test_a_migration_of_ours_is_nobody_elses() -> None:
    instance = an_instance(evacuation_node="node-1")

    assert judged(in_flight, instance, a_migration(instance, labels={LABEL_PLAN_UID: "p"})) == []


def test_a_guest_with_a_launcher_left_over_waits_until_it_has_ended() -> None:
    instance = an_instance(node="node-2")
    former = a_launcher(instance, node="node-1")
    current = a_launcher(instance, node="node-2", migration_uid="done")
    ended = a_launcher(instance, node="node-1", phase="Succeeded")

    (found,) = judged(in_flight, instance, former, current)

    assert (found.code, found.transient) == ("SeveralLaunchers", True)
    assert judged(in_flight, instance, ended, current) == []


def test_the_target_launcher_of_a_migration_in_flight_is_not_left_over() -> None:
    instance = an_instance()
    migration = a_migration(instance, labels={LABEL_PLAN_UID: "p"})
    launchers = a_launcher(instance), a_launcher(instance, node="node-2", migration_uid=migration.uid)

    assert judged(in_flight, instance, migration, *launchers) == []


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (a_launcher(an_instance(), phase="Failed"), "none that runs"),
        (a_launcher(an_instance(), node="node-2"), "virt-launcher-db1 on node-2"),
        (a_launcher(an_instance(), node=""), "virt-launcher-db1 on no node"),
    ],
)
def test_a_guest_without_a_launcher_where_it_runs_waits(launcher: Pod, expected: str) -> None:
    (found,) = judged(in_flight, an_instance(), launcher)

    assert (found.code, found.blocks, found.transient) == ("LauncherUnknown", True, True)
    assert (found.found, found.needed) == (expected, "a launcher on node-1")


def test_of_a_launcher_nothing_is_said_where_pods_may_not_be_read_or_the_guest_does_not_run() -> None:
    instance = an_instance()
    blind = replace(a_cluster(instance), pods={}, unread=frozenset({"pods"}))
    asked = candidate(instance, effective_hosts(blind), Ledger.of(blind), blind, None)

    assert list(in_flight.judge(in_flight.demand(asked))) == []
    assert judged(in_flight, an_instance(phase="Scheduled"), a_launcher(an_instance(), phase="Failed")) == []


def test_a_move_between_clusters_that_does_not_get_on_makes_the_guest_wait() -> None:
    failure = Condition("True", "DecentralizedNotLiveMigratable", "x509 hostname error")

    (found,) = judged(in_flight, replace(an_instance(), decentralized_failure=failure))

    assert (found.code, found.transient) == ("DecentralizedMigrationFailing", True)
    assert "x509 hostname error" in found.cure()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"deleting": True}, ["KubeVirtBeingDeleted"]),
        ({"available": Condition("False", "DeploymentInProgress")}, ["KubeVirtUnavailable"]),
        ({"available": Condition("Unknown")}, ["KubeVirtUnavailable"]),
        ({"degraded": Condition("True", "DaemonSetNotReady")}, ["KubeVirtDegraded"]),
        ({"degraded": Condition("True"), "updating": True}, ["KubeVirtDegraded", "KubeVirtUpdating"]),
        ({"available": Condition("True"), "degraded": Condition("False")}, []),
    ],
)
def test_a_kubevirt_that_calls_itself_unwell_makes_guests_wait(told: dict[str, Any], expected: list[str]) -> None:
    found = judged(platform, an_instance(), replace(a_kubevirt(), **told))

    assert codes(found) == expected
    assert all(reason.transient for reason in found)


def test_a_guest_leaves_only_a_host_whose_profile_enables_migration() -> None:
    disabled = judged(source, an_instance(), a_profile("off", enabled=False))
    without = judged(source, an_instance(), a_profile(node_selector={"no": "such"}))

    assert codes(disabled) == codes(without) == ["SourceNotEnabled"]
    assert disabled[0].found == "node-1: HostProfile off says false"
    assert without[0].found == "node-1: no HostProfile"


def test_a_guest_on_a_node_that_nobody_knows_stays() -> None:
    assert codes(judged(source, an_instance(node="gone"))) == ["SourceUnknown"]


def test_a_guest_stays_while_the_virt_handler_that_must_send_it_is_not_heard_of() -> None:
    other = a_node("node-2")

    (found,) = judged(
        source, an_instance(), a_node("node-1", heartbeat_at=NOW - timedelta(minutes=5, seconds=1)), other
    )

    assert (found.code, found.blocks) == ("SourceHeartbeatStale", True)
    assert "node-1" in found.cure()
    assert judged(source, an_instance(), a_node("node-1", heartbeat_at=NOW - timedelta(minutes=5)), other) == []


def test_a_guest_stays_where_there_is_no_other_host() -> None:
    assert codes(judged(source, an_instance(), a_node("node-1"))) == ["NoOtherHost"]
    assert judged(source, an_instance(), a_node("node-1"), a_node("node-2")) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (a_node("node-1", ready=False), "SourceNotReady"),
        (a_node("node-1", labels={"kubevirt.io/schedulable": "false"}), "SourceNotSchedulable"),
        (a_node("node-1", without=["kubevirt.io/schedulable"]), "SourceNotSchedulable"),
    ],
)
def test_a_guest_stays_where_its_node_or_kubevirt_there_is_not_well(node: Node, expected: str) -> None:
    (found,) = judged(source, an_instance(), node, a_node("node-2"))

    assert (found.code, found.blocks) == (expected, True)
    assert "node-1" in found.cure()


@pytest.mark.parametrize("beaten", [None, NOW + timedelta(minutes=5, seconds=1)])
def test_a_heartbeat_that_tells_nothing_of_the_source_is_unknown_and_not_fresh(beaten: datetime | None) -> None:
    (found,) = judged(source, an_instance(), a_node("node-1", heartbeat_at=beaten), a_node("node-2"))

    assert (found.code, found.judgement, found.blocks) == ("SourceHeartbeatUnknown", Judgement.UNKNOWN, False)


def test_nothing_is_said_of_the_source_of_a_guest_that_has_none() -> None:
    assert judged(source, an_instance(node="", phase="Pending")) == []
