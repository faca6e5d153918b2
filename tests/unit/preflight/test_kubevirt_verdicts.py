"""KubeVirt's own verdicts on a guest: each cause is said once, with its remedy, and what they leave out is seen elsewhere."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from support.builders import a_cluster, a_kubevirt, an_instance
from whimbrel.domain.guests import GuestHardware
from whimbrel.domain.records import Condition, Instance
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, causes, guest
from whimbrel.preflight.assessment import candidate


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def judged(instance: Instance, *others: Any) -> list[PreflightReason]:
    snapshot = a_cluster(instance, *others)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(guest.judge(guest.demand(asked)))


@pytest.mark.parametrize("reason", [each for each in causes.REMEDIES if each != causes.RESERVATION])
def test_each_reason_of_kubevirts_own_has_a_remedy_and_is_passed_on(reason: str) -> None:
    (found,) = judged(an_instance(live_migratable=Condition("False", reason, "because {of} it")))

    assert (found.code, found.found) == ("NotLiveMigratable", f"{reason}: because {{of}} it")
    assert found.cure() == causes.REMEDIES[reason]


def test_causes_that_the_first_verdict_masks_are_each_said_with_their_own_remedy() -> None:
    first = Condition("False", "InterfaceNotLiveMigratable", "no masquerade, sorry")
    every = Condition(
        "False",
        "NotMigratable",
        'InterfaceNotLiveMigratable: no masquerade, sorry, CPUModeLiveMigratable: the node "n" does not allow it, '
        "NoTSCFrequencyNotLiveMigratable: cannot migrate: timers might be inconsistent",
    )

    found = judged(replace(an_instance(live_migratable=first), storage_live_migratable=every))

    assert [(each.code, each.field, each.found) for each in found] == [
        ("NotLiveMigratable", causes.LIVE, "InterfaceNotLiveMigratable: no masquerade, sorry"),
        ("NotLiveMigratable", causes.STORAGE, 'CPUModeLiveMigratable: the node "n" does not allow it'),
        (
            "NotLiveMigratable",
            causes.STORAGE,
            "NoTSCFrequencyNotLiveMigratable: cannot migrate: timers might be inconsistent",
        ),
    ]
    assert [each.cure() for each in found] == [causes.REMEDIES[each.found.partition(":")[0]] for each in found]


@pytest.mark.parametrize("live", [None, Condition("Unknown")])
def test_what_the_second_verdict_lists_blocks_where_there_is_no_first_one(live: Condition | None) -> None:
    listed = Condition("False", "NotMigratable", "NoTSCFrequencyNotLiveMigratable: none")

    found = judged(replace(an_instance(live_migratable=live), storage_live_migratable=listed))

    assert codes(found) == ["LiveMigratableUnknown", "NotLiveMigratable"]


def test_a_reason_that_a_newer_kubevirt_gives_is_passed_on_in_its_own_words() -> None:
    (found,) = judged(an_instance(live_migratable=Condition("False", "NewNotLiveMigratable", "no {luck}")))

    assert found.cure() == "Mend what KubeVirt names: NewNotLiveMigratable: no {luck}."


def test_a_guest_that_holds_a_lun_by_persistent_reservation_stays() -> None:
    words = "DisksOfSomeKind: none, PersistentReservationNotLiveMigratable: VMI uses SCSI persistent reservation"
    holding = replace(an_instance(), storage_live_migratable=Condition("False", "NotMigratable", words))

    found = judged(holding)

    assert codes(found) == ["StorageNotLiveMigratable", "PersistentReservation"]
    assert [each.blocks for each in found] == [False, True]


@pytest.mark.parametrize(
    "told",
    [
        {"live_migratable": Condition("False", causes.RESERVATION, "VMI uses SCSI persitent reservation")},
        {"storage_live_migratable": Condition("False", "NotMigratable", f"{causes.RESERVATION}: VMI uses it")},
        {"storage_live_migratable": Condition("False", causes.RESERVATION)},
        {"hardware": GuestHardware(reserved_luns=("quorum",))},
    ],
)
def test_a_persistent_reservation_is_seen_in_the_spec_and_in_either_verdict(told: dict[str, Any]) -> None:
    (found,) = judged(replace(an_instance(), **told))

    assert (found.code, found.blocks) == ("PersistentReservation", True)


def test_of_a_persistent_reservation_the_disk_is_named_where_the_spec_tells_it() -> None:
    listed = Condition("False", "NotMigratable", f"{causes.RESERVATION}: VMI uses it")
    holding = replace(
        an_instance(), storage_live_migratable=listed, hardware=GuestHardware(reserved_luns=("quorum", "log"))
    )

    fields = [each.field for each in judged(holding)]

    assert fields == [f"spec.domain.devices.disks[{name}].lun.reservation" for name in ("quorum", "log")]


def test_a_guest_whose_selinux_context_nobody_told_waits_unless_none_need_match() -> None:
    untold = replace(an_instance(), selinux_told=False)

    (found,) = judged(untold)

    assert (found.code, found.blocks, found.transient) == ("SelinuxContextUnknown", True, True)
    assert judged(untold, replace(a_kubevirt(), matches_selinux_level=False)) == []


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Condition("True"), []),
        (
            Condition("False", "NotMigratable", "HostDeviceNotLiveMigratable: VMI uses a PCI host devices"),
            ["StorageNotLiveMigratable"],
        ),
        (Condition("Unknown", "NotMigratable", "PersistentReservationNotLiveMigratable: VMI uses it"), []),
    ],
)
def test_what_only_keeps_its_storage_from_moving_does_not_block_a_plain_move(
    verdict: Condition, expected: list[str]
) -> None:
    found = judged(replace(an_instance(), storage_live_migratable=verdict))

    assert codes(found) == expected
    assert not any(reason.blocks for reason in found)
