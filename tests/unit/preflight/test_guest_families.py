"""Families whose reasons hold for every target: guest, in flight, source."""

from collections.abc import Iterable
from typing import Any

import pytest

from support.builders import (
    a_cluster,
    a_launcher,
    a_migration,
    a_node,
    a_profile,
    an_instance,
)
from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.domain.records import Condition, Instance
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, guest, in_flight, source
from whimbrel.preflight.assessment import candidate


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def judged(family: Any, instance: Instance, *others: Any) -> list[PreflightReason]:
    snapshot = a_cluster(instance, *others)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), "", None)
    return list(family.judge(family.demand(asked)))


@pytest.mark.parametrize("family", [guest, in_flight, source])
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


@pytest.mark.parametrize("reason", list(guest.REMEDIES))
def test_each_reason_of_kubevirts_own_has_a_remedy_and_is_passed_on(reason: str) -> None:
    (found,) = judged(guest, an_instance(live_migratable=Condition("False", reason, "because {of} it")))

    assert found.found == f"{reason}: because {{of}} it"
    assert found.cure() == guest.REMEDIES[reason]


def test_a_reason_that_a_newer_kubevirt_gives_is_passed_on_in_its_own_words() -> None:
    (found,) = judged(guest, an_instance(live_migratable=Condition("False", "NewNotLiveMigratable", "no {luck}")))

    assert found.cure() == "Mend what KubeVirt names: NewNotLiveMigratable: no {luck}."


def test_a_guest_that_somebody_else_moves_waits() -> None:
    instance = an_instance()

    (found,) = judged(in_flight, instance, a_migration(instance, "theirs"))

    assert found.code == "ForeignMigration"
    assert found.transient
    assert "default/theirs" in found.cure()


def test_a_guest_whose_node_is_being_evacuated_waits() -> None:
    (found,) = judged(in_flight, an_instance(evacuation_node="node-1"))

    assert (found.code, found.found) == ("ForeignMigration", "evacuation of node-1")


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


def test_a_guest_leaves_only_a_host_whose_profile_enables_migration() -> None:
    disabled = judged(source, an_instance(), a_node("node-1"), a_profile("off", enabled=False))
    without = judged(source, an_instance(), a_node("node-1"), a_profile(node_selector={"no": "such"}))

    assert codes(disabled) == codes(without) == ["SourceNotEnabled"]
    assert disabled[0].found == "node-1: HostProfile off says false"
    assert without[0].found == "node-1: no HostProfile"


def test_a_guest_on_a_node_that_nobody_knows_stays() -> None:
    assert codes(judged(source, an_instance(node="gone"))) == ["SourceUnknown"]


def test_nothing_is_said_of_the_source_of_a_guest_that_has_none() -> None:
    assert judged(source, an_instance(node="", phase="Pending")) == []
