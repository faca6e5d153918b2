"""Reasons as they are stored: bounded, shared, and rewritten only for news."""

import json

from whimbrel.api.virtual_machine_move import Judgement, Verdict
from whimbrel.domain.verdict import Reason
from whimbrel.placement import conflicting, no_way
from whimbrel.preflight.capacity import InsufficientMemory
from whimbrel.preflight.target import HostCordoned, HostTainted
from whimbrel.schedule.verdicts import MAX_VERDICTS, refusals, same_verdicts, verdict, verdicts_of


def cordoned(count: int, node: str = "node-2") -> Reason:
    return HostCordoned("spec.unschedulable", "true", "false", node, ("node-3",), count)


def lacking(count: int, node: str = "node-2") -> Reason:
    return InsufficientMemory("status.allocatable.memory", "1 GiB", "4 GiB", node, (), count)


TAINTED = HostTainted("spec.taints", "a:NoSchedule", "no such taint", "node-9", (), 1)


def test_a_verdict_counts_the_nodes_that_it_holds_on() -> None:
    everywhere, one, many = Reason("f", "x", "y"), Reason("f", "x", "y", "node-1"), cordoned(40)

    assert [verdict(each).node_count for each in (everywhere, one, many)] == [0, 1, 40]
    assert (verdict(many).nodes, verdict(many).nodes_unnamed) == (("node-2", "node-3"), 38)


def test_a_verdict_of_an_older_release_reads_as_one_of_its_node() -> None:
    old = Verdict.model_validate({"code": "HostCordoned", "node": "node-2"})

    assert (old.judgement, old.nodes, old.nodes_unnamed) == (Judgement.BLOCK, ("node-2",), 0)


def test_no_more_verdicts_are_stored_than_fit() -> None:
    many = [Reason(f"spec.field{number}", "x", "y") for number in range(MAX_VERDICTS + 5)]

    assert len(verdicts_of(many)) == MAX_VERDICTS


def test_what_refuses_a_machine_stays_small_and_names_every_code() -> None:
    names = tuple(f"worker-{number}.rack-12.building-7.example.org" for number in range(4))
    reasons = tuple(
        HostTainted(f"spec.taints[{n}]", "x" * 200, "y" * 100, "worker.example.org", names, 900) for n in range(16)
    )

    told = refusals(reasons)

    assert len(json.dumps([each.to_json() for each in told])) <= 4096
    assert [each.field for each in told] == [reason.field for reason in reasons]
    assert told[0].remedy
    assert told[-1].remedy == ""
    assert {each.node_count for each in told} == {900}


def test_a_usual_number_of_refusals_keeps_all_its_texts_within_two_kibibytes() -> None:
    told = refusals((cordoned(40), lacking(7), TAINTED))

    assert all(each.remedy and each.found for each in told)
    assert len(json.dumps([each.to_json() for each in told])) <= 2048


def test_for_a_machine_that_cannot_move_it_is_news_how_many_nodes_are_left() -> None:
    before, after = verdicts_of([cordoned(40)]), verdicts_of([cordoned(39)])

    assert same_verdicts(before, before)
    assert not same_verdicts(before, after)
    assert not same_verdicts(before, verdicts_of([cordoned(40), TAINTED]))


def test_that_a_node_has_more_or_less_room_now_is_no_news() -> None:
    assert same_verdicts(verdicts_of([lacking(40)]), verdicts_of([lacking(3, "node-7")]))
    assert not same_verdicts(verdicts_of([lacking(40)]), verdicts_of([cordoned(40)]))


def conflict(who: str, free: str) -> Reason:
    return conflicting(
        f"{who} cannot all be placed: and node-2 has {free} of memory free, and node-2 has 3 of pods free."
    )


def test_whom_a_machine_is_in_conflict_with_is_news_and_how_much_room_there_is_is_not() -> None:
    before = verdicts_of([conflict("a and b", "23.7 GiB")])

    assert same_verdicts(before, verdicts_of([conflict("a and b", "7.1 GiB")]))
    assert same_verdicts(
        before, verdicts_of([conflicting(conflict("a and b", "0.0 GiB").found.replace("has 3 ", "has 12 "))])
    )
    assert not same_verdicts(before, verdicts_of([conflict("a and c", "23.7 GiB")]))
    assert not same_verdicts(
        before, verdicts_of([conflicting(conflict("a and b", "1m").found.replace("node-2", "node-3"))])
    )


def test_behind_whom_a_machine_is_stuck_is_news() -> None:
    before = verdicts_of([no_way("a can go to node-2 only after b")])

    assert same_verdicts(before, verdicts_of([no_way("a can go to node-2 only after b")]))
    assert not same_verdicts(before, verdicts_of([no_way("a can go to node-2 only after c")]))


def test_where_a_long_conflict_is_cut_off_is_no_news() -> None:
    who = ", ".join(f"shop/machine-{number}" for number in range(9))
    for name in ("x" * 14, "x" * 19, "x" * 40):
        told, now = (verdicts_of([conflict(f"{who}, shop/{name}", free)]) for free in ("9.1 GiB", "109.1 GiB"))

        assert len(now[0].found) == 256
        assert told != now
        assert same_verdicts(told, now)
        assert not same_verdicts(told, verdicts_of([conflict(f"shop/a, {who}, shop/{name}", "9.1 GiB")]))
