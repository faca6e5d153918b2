"""Nothing starts but what was approved, whenever the approval comes, and whenever the world changes."""

from typing import Any

import pytest

from support.stage import STUN, Stage
from whimbrel.api.quote import Quote
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATIONS, VIRTUAL_MACHINES
from whimbrel.schedule.quoting import says_as_quoted
from whimbrel.simulation.topology import GuestShape

PLAN = Key("default", "plan")


def quoted(stage: Stage) -> str:
    return str(stage.status_of()["quote"]["hash"])


def target(stage: Stage) -> str:
    return str(stage.move()["spec"]["attempt"]["targetNode"])


def between_outlooks(stage: Stage) -> None:
    stage.outlook_due = False
    stage.settle()


def see_that_it_asks_again(stage: Stage, approved: str) -> None:
    assert not stage.world.objects(MIGRATIONS) or not stage.migrations()
    stage.outlook_due = True
    stage.seconds += 20
    stage.settle()
    assert stage.status_of()["phase"] == "AwaitingApproval"
    assert quoted(stage) != approved
    stage.approve(PLAN, quoted(stage))
    stage.seconds += 20
    stage.settle()
    assert len(stage.migrations()) == 1


def test_an_approval_that_comes_when_the_moves_were_quoted_anew_starts_none_of_them() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()
    first = quoted(stage)
    stage.node(target(stage), unschedulable=True)
    stage.tick()

    stage.approve(PLAN, first)
    between_outlooks(stage)

    see_that_it_asks_again(stage, first)


def test_an_approval_that_comes_with_the_change_starts_nothing_either() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()
    first = quoted(stage)
    stage.node(target(stage), unschedulable=True)
    stage.approve(PLAN, first)

    stage.tick()
    between_outlooks(stage)

    see_that_it_asks_again(stage, first)


def test_what_waits_approved_and_is_quoted_anew_does_not_start_when_a_slot_comes_free() -> None:
    guests = [GuestShape("db1", "node-1"), GuestShape("x", "node-1")]
    stage = Stage(*guests, migrations={"parallelMigrationsPerCluster": 1})
    stage.plan(virtualMachines={"names": ["db1"]}, approval="Manual")
    stage.foreign_migration("x")
    stage.settle()
    first = quoted(stage)
    stage.approve(PLAN, first)
    stage.settle()
    stage.node(target(stage), unschedulable=True)
    stage.tick()

    stage.outlook_due = False
    stage.hand_off("x", to="node-3")
    stage.copy("x")
    stage.arrive("x")
    stage.settle()

    assert not stage.migrations("db1")


def test_a_machine_that_came_to_match_after_the_quote_is_not_moved_on_its_approval() -> None:
    stage = Stage(GuestShape("db1", "node-1", labels={"app": "x"}), GuestShape("db2", "node-1", labels={"app": "y"}))
    stage.plan(approval="Manual", virtualMachines={"selector": {"matchLabels": {"app": "x"}}})
    stage.settle()
    first = quoted(stage)
    for resource in (VIRTUAL_MACHINES, INSTANCES):
        stage.edit(resource, Key("default", "db2"), "metadata", "labels", value={"app": "x"})
    stage.tick()

    stage.approve(PLAN, first)
    between_outlooks(stage)

    assert not stage.world.objects(MIGRATIONS)


def test_an_approved_plan_that_needs_a_policy_starts_without_waiting_for_a_second_outlook() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()
    stage.approve(PLAN, quoted(stage))

    stage.tick()
    assert not stage.world.objects(MIGRATIONS)
    between_outlooks(stage)

    assert len(stage.migrations()) == 1


@pytest.mark.parametrize(
    "different",
    [
        {"instanceUID": "another"},
        {"sourceNode": "node-2"},
        {"targetNode": "node-9"},
        {"viaNode": "node-9"},
        {"rungs": ["PreCopy"]},
        {"targetChosenBy": "Scheduler"},
        {"budgetMs": 2000},
        {"unattendedDowntimeMs": 2000},
        {"targetNode": ""},
    ],
)
def test_a_move_that_is_not_what_its_line_of_the_approved_quote_says_waits_for_the_outlook(
    different: dict[str, Any],
) -> None:
    stage = Stage()
    stage.told(dirty_mib=20, in_use_mib=1024)
    stage.plan(approval="Manual", migration={"ladder": [{"rung": "Stun"}], "disruption": STUN})
    stage.settle()
    stage.approve(PLAN, quoted(stage))
    quote = stage.status_of()["quote"]
    (line,) = quote["moves"]
    (move,) = stage.snapshot().moves.values()

    def says(quote: dict[str, Any]) -> bool:
        return says_as_quoted(Quote.model_validate(quote), [move.move.spec])

    assert says(quote)
    attempt = move.move.spec.attempt
    assert attempt is not None
    elsewhere = attempt.model_copy(update={"allowed_nodes": ("node-2", "node-3")})
    assert not says_as_quoted(Quote.model_validate(quote), [move.move.spec.model_copy(update={"attempt": elsewhere})])
    assert not says({**quote, "moves": [{**line, **different}]})
    assert not says({**quote, "omitted": 1})
    assert not says({**quote, "moves": [line, {**line, "instanceUID": "another"}]})
