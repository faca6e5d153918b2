"""What can hold a move back, one constraint at a time, and who goes first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.builders import (
    CAPABILITIES,
    KUBEVIRT_1_4,
    KUBEVIRT_1_5,
    NOW,
    a_cluster,
    a_kubevirt,
    a_launcher,
    a_migration,
    a_migration_state,
    a_move,
    a_node,
    a_plan,
    a_profile,
    an_attempt,
    an_instance,
)
from whimbrel.domain.quotas import Quota
from whimbrel.domain.records import Capabilities, Condition, Instance, Key, Plan
from whimbrel.domain.scheduling import Admission, Container
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Refusal, Snapshot
from whimbrel.lifecycle.evidence import migration_key
from whimbrel.schedule.admit import Held, Start, admit
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait
from whimbrel.schedule.constraints import (
    CONSTRAINTS,
    capabilities,
    claims,
    fitness,
    foreign_migration,
    guest_left_paused,
    host_slots,
    kubevirt_health,
    kubevirt_slots,
    refusals,
    retry_delay,
    turn,
)

PLAN = a_plan()


def a_candidate(
    instance: Instance | None = None,
    plan: Plan = PLAN,
    *,
    target: str = "node-2",
    allowed: Sequence[str] = (),
    rung: str = "PreCopy",
    begun: bool = False,
    served: Capabilities | None = CAPABILITIES,
    status: Mapping[str, Any] | None = None,
) -> Candidate:
    """A move from node-1 to node-2 that waits for its turn."""
    guest = instance or an_instance()
    attempt = {**an_attempt(source="node-1", target=target, rung=rung), "allowedNodes": list(allowed)}
    move = a_move(plan, guest, attempt=attempt, status=status)
    assert move.move.spec.attempt is not None
    assert plan.plan is not None
    of = (plan, plan.plan.spec, move, move.move.spec.attempt, guest, migration_key(move, 1))
    return Candidate.of(*of, served, begun=begun)


def circumstances(snapshot: Snapshot, owners: Mapping[str, str] | None = None) -> Circumstances:
    return Circumstances(snapshot.now, snapshot, effective_hosts(snapshot), owners or {}, {"older": "default/older"})


def blocks(
    constraint: Any, candidate: Candidate, snapshot: Snapshot, owners: Mapping[str, str] | None = None
) -> Wait | None:
    found: Wait | None = constraint.blocks(candidate, Ledger.of(snapshot), circumstances(snapshot, owners))
    return found


def reason(constraint: Any, candidate: Candidate, snapshot: Snapshot) -> str | None:
    wait = blocks(constraint, candidate, snapshot)
    return wait.reason if wait is not None else None


def test_in_a_healthy_cluster_nothing_holds_a_move_back() -> None:
    candidate = a_candidate()
    snapshot = a_cluster(PLAN, candidate.instance)

    ledger, around = Ledger.of(snapshot), circumstances(snapshot)

    assert [constraint(candidate, ledger, around) for constraint in CONSTRAINTS] == [None] * len(CONSTRAINTS)


def test_a_virtual_machine_that_an_older_plan_has_is_left_to_it() -> None:
    candidate = a_candidate()
    snapshot = a_cluster(PLAN, candidate.instance)

    wait = blocks(claims, candidate, snapshot, {candidate.instance.uid: "older"})

    assert wait is not None
    assert wait.reason == "ClaimedByPlan"
    assert "default/older" in wait.message
    assert blocks(claims, candidate, snapshot, {candidate.instance.uid: PLAN.uid}) is None


def test_a_plan_of_another_namespace_that_has_a_virtual_machine_is_not_named() -> None:
    candidate = a_candidate(plan=replace(PLAN, key=Key("shop", "plan")))
    snapshot = a_cluster(PLAN, candidate.instance)

    wait = blocks(claims, candidate, snapshot, {candidate.instance.uid: "older"})

    assert wait is not None
    assert wait.message == ("A plan of another namespace has this virtual machine; it goes on when that plan is done.")


@pytest.mark.parametrize(
    ("kubevirt", "expected"),
    [
        (a_kubevirt(phase="Deploying"), "KubeVirtNotDeployed"),
        (a_kubevirt(phase=""), "KubeVirtNotDeployed"),
        (a_kubevirt(updating=True), "KubeVirtUpdating"),
        (a_kubevirt(version="v1.6.0"), None),
        (a_kubevirt(version=""), "KubeVirtVersionUnknown"),
        (a_kubevirt(), None),
    ],
)
def test_nothing_starts_while_kubevirt_is_not_well(kubevirt: Any, expected: str | None) -> None:
    candidate = a_candidate()

    assert reason(kubevirt_health, candidate, a_cluster(candidate.instance, kubevirt)) == expected


def test_without_kubevirt_nothing_starts() -> None:
    assert reason(kubevirt_health, a_candidate(), Snapshot(NOW)) == "KubeVirtMissing"


def test_while_a_guest_is_left_paused_no_other_is_suspended_and_what_needs_no_stun_goes_on() -> None:
    stunned = a_migration_state("old", mode="Paused", failed=True, completed=True, abort_status="Succeeded")
    paused = Condition("True", "PausedByMigrationMonitor")
    left = an_instance("db9", migration=stunned, paused=paused)
    elsewhere = an_instance("db9", "payroll", migration=stunned, paused=paused)

    plain, suspending = a_candidate(), a_candidate(rung="Stun")

    assert reason(guest_left_paused, suspending, a_cluster(suspending.instance)) is None
    assert reason(guest_left_paused, plain, a_cluster(plain.instance, left)) is None
    here = blocks(guest_left_paused, suspending, a_cluster(suspending.instance, left))
    assert here is not None
    assert here.reason == "GuestLeftPaused"
    assert here.message.startswith("default/db9 is still paused (PausedByMigrationMonitor)")
    assert here.message.endswith("virsh resume default_db9")
    unnamed = blocks(guest_left_paused, suspending, a_cluster(suspending.instance, elsewhere))
    assert unnamed is not None
    assert "payroll" not in unnamed.message


def test_somebody_elses_migration_of_the_same_guest_comes_first() -> None:
    instance = an_instance()

    running, ended = a_migration(instance), a_migration(instance, phase="Failed")

    assert reason(foreign_migration, a_candidate(instance), a_cluster(instance, running)) == "ForeignMigration"
    assert reason(foreign_migration, a_candidate(instance), a_cluster(instance, ended)) is None


def test_a_launcher_that_has_not_ended_holds_the_next_attempt_up_and_one_that_has_does_not() -> None:
    instance = an_instance(active_pods=[("old", "node-3"), ("new", "node-1")])
    lingering = a_launcher(instance, node="node-3", migration_uid="earlier")
    ended = a_launcher(instance, node="node-3", migration_uid="earlier", phase="Succeeded")
    source = a_launcher(instance)

    assert (
        reason(foreign_migration, a_candidate(instance), a_cluster(instance, source, lingering)) == "SeveralLaunchers"
    )
    assert reason(foreign_migration, a_candidate(instance), a_cluster(instance, source, ended)) is None


def test_a_refused_create_is_not_repeated_before_its_time() -> None:
    candidate = a_candidate()
    refusal = Refusal("in-flight migration detected", NOW + timedelta(seconds=15))
    snapshot = a_cluster(candidate.instance, refusals={candidate.migration_key: refusal})
    later = a_cluster(candidate.instance, now=refusal.until, refusals={candidate.migration_key: refusal})

    wait = blocks(refusals, candidate, snapshot)

    assert wait == Wait("Refused", wait.message if wait else "", refusal.until)
    assert "in-flight migration detected" in wait.message
    assert blocks(refusals, candidate, later) is None


def failed(ended_at: datetime, *reasons: str) -> dict[str, Any]:
    stamp = ended_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "history": [
            {"number": n, "rung": "PreCopy", "outcome": "Failed", "reason": why, "endedAt": stamp}
            for n, why in enumerate(reasons, 1)
        ]
    }


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 5), (2, 10), (3, 20), (4, 40)])
def test_each_failure_doubles_the_delay_before_the_next_attempt(failures: int, delay_s: int) -> None:
    candidate = a_candidate(status=failed(NOW, *["MigrationFailed"] * failures))

    wait = blocks(retry_delay, candidate, a_cluster(candidate.instance))

    assert wait is not None
    assert wait.until == NOW + timedelta(seconds=delay_s)
    assert blocks(retry_delay, candidate, a_cluster(candidate.instance, now=wait.until)) is None


def test_an_attempt_that_only_did_not_converge_climbs_at_once() -> None:
    candidate = a_candidate(status=failed(NOW, "MigrationFailed", "NotConverged"))

    assert blocks(retry_delay, candidate, a_cluster(candidate.instance)) is None


def test_a_guest_that_has_moved_meanwhile_does_not_start_from_where_it_was() -> None:
    instance = an_instance(node="node-3")

    assert reason(fitness, a_candidate(instance), a_cluster(instance)) == "SourceChanged"


def test_a_target_that_does_not_fit_any_more_is_told_with_field_value_and_remedy() -> None:
    instance = an_instance()
    nodes = [a_node("node-1"), a_node("node-2", unschedulable=True)]

    wait = blocks(fitness, a_candidate(instance), a_cluster(instance, *nodes))

    assert wait is not None
    assert wait.reason == "HostCordoned"
    assert "uncordon" in wait.message


def others(count: int, source: str = "node-1", target: str = "node-3") -> list[Any]:
    """Other guests with migrations in flight, nobody's in particular."""
    records: list[Any] = []
    for number in range(count):
        uid = f"uid-{source}-{target}-{number}"
        instance = an_instance(
            f"other-{source}-{target}-{number}", node=source, migration=a_migration_state(uid, source, target)
        )
        records += [instance, a_migration(instance, uid=uid, target=target)]
    return records


@pytest.mark.parametrize(
    ("constraint", "limits", "busy", "expected"),
    [
        (kubevirt_slots, [a_kubevirt(per_cluster=2)], others(2, "node-3", "node-2"), "ClusterLimit"),
        (kubevirt_slots, [a_kubevirt(per_cluster=3)], others(2, "node-3", "node-2"), None),
        (kubevirt_slots, [a_kubevirt(outbound_per_node=1)], others(1), "KubeVirtOutboundLimit"),
        (kubevirt_slots, [a_kubevirt(outbound_per_node=1)], others(1, "node-3"), None),
        (host_slots, [a_profile(outbound=2)], others(2), "OutboundLimit"),
        (host_slots, [a_profile(outbound=3)], others(2), None),
        (host_slots, [a_profile(inbound=2)], others(2, "node-3", "node-2"), "InboundLimit"),
        (host_slots, [a_profile(inbound=3)], others(2, "node-3", "node-2"), None),
    ],
)
def test_every_limit_counts_everybodys_migrations(
    constraint: Any, limits: list[Any], busy: list[Any], expected: str | None
) -> None:
    candidate = a_candidate()

    assert reason(constraint, candidate, a_cluster(candidate.instance, *limits, *busy)) == expected


def crowd(snapshot: Snapshot, *candidates: Candidate) -> Circumstances:
    return replace(circumstances(snapshot), crowded=turn.crowded(candidates, Ledger.of(snapshot)))


def big(name: str, node: str, namespace: str = "default") -> Candidate:
    """A move of 8 GiB from that node, to node-2 unless it is there."""
    guest = an_instance(name, namespace, node=node, memory_bytes=8 * 1024**3)
    return a_candidate(guest, target="node-3" if node == "node-2" else "node-2")


def turns(*candidates: Candidate, more: Sequence[Any] = ()) -> list[str]:
    """What each is told on hosts of 12 GiB."""
    nodes = [a_node(f"node-{n}", memory_bytes=12 * 1024**3) for n in (1, 2, 3, 4)]
    snapshot = a_cluster(*nodes, *(candidate.instance for candidate in candidates), *more)
    ledger, around = Ledger.of(snapshot), crowd(snapshot, *candidates)
    waits = (turn.blocks(candidate, ledger, around) for candidate in candidates)
    return [wait.message if wait is not None else "" for wait in waits]


def test_who_waits_for_room_is_told_whose_departure_it_waits_for() -> None:
    assert turns(big("a", "node-1"), big("b", "node-2")) == [
        "node-2 has not room for all that are to come. First default/b has to leave it.",
        "",
    ]


def test_a_departure_that_is_under_way_is_told_too() -> None:
    guest = an_instance(
        "b", node="node-2", memory_bytes=8 * 1024**3, migration=a_migration_state("m", "node-2", "node-3")
    )

    assert turns(big("a", "node-1"), more=[guest, a_migration(guest, uid="m", target="node-3")]) == [
        "node-2 has not room for all that are to come. First default/b has to leave it."
    ]


def test_virtual_machines_of_other_namespaces_are_counted_and_not_named() -> None:
    shared = (big("b", "node-2"), big("c", "node-2", "bank"), big("d", "node-2", "shop"))

    message = turns(big("a", "node-1"), *shared)[0]

    assert message == (
        "node-2 has not room for all that are to come. First default/b and 2 virtual machines of other namespaces have to "
        "leave it."
    )


def test_who_shares_a_target_without_room_for_all_is_told_with_whom() -> None:
    assert turns(big("a", "node-1"), big("b", "node-3"), big("c", "node-4", "bank"))[0] == (
        "node-2 has not room for all that are to come. The next outlook says whether default/b and a virtual machine of "
        "another namespace or this one comes first."
    )


def test_no_more_than_a_few_names_are_told() -> None:
    message = turns(big("a", "node-1"), *(big(f"b{n}", "node-2") for n in range(9)))[0]

    assert message.count("default/") == 5
    assert "and 4 more have to leave it" in message


def test_where_there_is_room_for_all_nobody_waits_for_a_turn() -> None:
    assert turns(big("a", "node-1")) == [""]


# Admission


def verdicts(snapshot: Snapshot, *candidates: Candidate) -> list[tuple[str, str]]:
    found = admit(candidates, Ledger.of(snapshot), circumstances(snapshot))
    return [(v.candidate.instance.key.name, v.wait.reason if isinstance(v, Held) else "Start") for v in found]


def test_the_biggest_goes_first_and_each_start_takes_its_slot_from_the_next() -> None:
    small, big = an_instance("small"), an_instance("big", memory_bytes=8 * 1024**3)
    snapshot = a_cluster(small, big, a_profile(outbound=1))

    assert verdicts(snapshot, a_candidate(small), a_candidate(big)) == [("big", "Start"), ("small", "OutboundLimit")]


def test_each_start_takes_its_second_launcher_from_the_quota_of_its_namespace() -> None:
    guests = [an_instance("big", memory_bytes=8 * 1024**3), an_instance("small")]
    launchers = [replace(a_launcher(guest), admission=Admission((Container((), ()),))) for guest in guests]
    quota = Quota(Key("default", "pods"), "uid-quota", (("pods", 3),), (("pods", 2),), ())
    snapshot = a_cluster(*guests, *launchers, quota, a_profile(outbound=2))

    order = verdicts(snapshot, *(a_candidate(guest) for guest in guests))

    assert order == [("big", "Start"), ("small", "QuotaTakenByMoves")]


def test_what_has_begun_to_start_keeps_its_turn_before_bigger_ones_and_older_plans() -> None:
    older = a_plan("older", created_at=NOW - timedelta(days=9))
    small, big = an_instance("small"), an_instance("big", memory_bytes=8 * 1024**3)
    snapshot = a_cluster(small, big, a_profile(outbound=1))

    order = verdicts(snapshot, a_candidate(big, older), a_candidate(small, begun=True))

    assert order == [("small", "Start"), ("big", "OutboundLimit")]


def test_the_older_plan_goes_first() -> None:
    older = a_plan("older", created_at=NOW - timedelta(days=9))
    one, two = an_instance("one"), an_instance("two")
    snapshot = a_cluster(one, two, a_profile(outbound=1))

    assert verdicts(snapshot, a_candidate(one), a_candidate(two, older))[0] == ("two", "Start")


def test_two_guests_do_not_start_into_room_for_one() -> None:
    one, two = (an_instance(name, memory_bytes=8 * 1024**3) for name in ("one", "two"))
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=12 * 1024**3)]
    snapshot = a_cluster(one, two, *nodes)

    assert verdicts(snapshot, a_candidate(one), a_candidate(two)) == [("one", "Start"), ("two", "InsufficientMemory")]


def test_a_start_names_its_candidate() -> None:
    candidate = a_candidate()
    snapshot = a_cluster(candidate.instance)

    assert admit([candidate], Ledger.of(snapshot), circumstances(snapshot)) == [Start(candidate)]


def test_nothing_starts_before_it_is_known_what_kubevirt_can_be_told() -> None:
    candidate = a_candidate(served=None)

    unread = a_cluster(candidate.instance, capabilities=None)

    assert reason(capabilities, candidate, unread) == "KubeVirtCapabilitiesUnknown"


def test_what_was_specified_for_a_newer_kubevirt_does_not_start() -> None:
    naming = a_candidate(served=KUBEVIRT_1_5)

    wait = blocks(capabilities, naming, a_cluster(naming.instance))
    assert wait is not None
    assert wait.reason == "FieldNotServed"
    assert "addedNodeSelector" in wait.message


@pytest.mark.parametrize(("served", "expected"), [(KUBEVIRT_1_4, "FieldNotServed"), (KUBEVIRT_1_5, None)])
def test_a_guest_is_suspended_only_by_a_kubevirt_that_knows_how(served: Capabilities, expected: str | None) -> None:
    stun = a_candidate(allowed=["node-2", "node-3"], rung="Stun", served=served)

    assert reason(capabilities, stun, a_cluster(stun.instance)) == expected


def test_a_node_that_could_be_picked_after_the_quote_holds_the_move_back() -> None:
    candidate = a_candidate(allowed=["node-2"])

    assert (
        reason(fitness, candidate, a_cluster(candidate.instance, capabilities=KUBEVIRT_1_5))
        == "TargetSelectionUnsupported"
    )


def test_where_the_scheduler_chooses_every_node_that_it_may_choose_needs_a_free_slot() -> None:
    other, candidate = an_instance("other", node="node-1"), a_candidate(allowed=["node-2", "node-3"])
    profile = a_profile(outbound=5, inbound=1)

    def held_by(target: str) -> str | None:
        busy = a_migration(other, "foreign", target=target)
        return reason(host_slots, candidate, a_cluster(candidate.instance, other, busy, profile))

    assert held_by("node-2") == "InboundLimit"
    assert held_by("node-3") == "InboundLimit"
    assert held_by("node-1") is None
