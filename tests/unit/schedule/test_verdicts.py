"""Reasons as they are stored: bounded, shared, and rewritten only for news."""

import json

from whimbrel.api.virtual_machine_move import Judgement, Verdict
from whimbrel.domain.verdict import Reason
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
