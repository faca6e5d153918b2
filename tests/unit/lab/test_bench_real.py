"""What the bench on a real server makes of its audit log."""

import pytest

from whimbrel_lab.bench.real import MIGRATIONS, OPERATOR, Run, cost_figures
from whimbrel_lab.controlplane.real.audit import Request

CONTROLLER = "system:serviceaccount:kubevirt:kubevirt-controller"


def a_request(
    second: float, verb: str, resource: str, user: str = OPERATOR, phase: str = "", subresource: str = ""
) -> Request:
    at = f"2026-03-01T12:00:{second:09.6f}Z"
    answer = {"status": {"phase": phase}} if phase else {}
    return Request(
        user=user, agent="", verb=verb, resource=resource, subresource=subresource, namespace="shop", name="m", code=200,
        at=at, path="/", answered_at=at, answer=answer,
    )  # fmt: skip


def a_run(moved: int, *requests: Request) -> Run:
    mine = tuple(each for each in requests if each.user == OPERATOR)
    return Run(moved, 10.0, mine, requests, 1.0)


def test_the_reaction_is_from_the_end_of_a_migration_to_the_next_create_of_the_operators() -> None:
    run = a_run(
        2,
        a_request(1, "create", MIGRATIONS),
        a_request(2, "update", MIGRATIONS, CONTROLLER, "Running", "status"),
        a_request(3, "update", MIGRATIONS, CONTROLLER, "Succeeded", "status"),
        a_request(3.1, "update", MIGRATIONS, CONTROLLER, "Succeeded", "status"),
        a_request(3.25, "create", MIGRATIONS, "jane"),
        a_request(3.5, "create", MIGRATIONS),
    )

    assert run.reactions_s == pytest.approx([0.5])


def test_a_write_more_for_each_machine_of_a_larger_plan_breaks_the_promise() -> None:
    few = a_run(10, *(a_request(1, "update", "moves") for _ in range(60)))
    flat = a_run(100, *(a_request(1, "update", "moves") for _ in range(600)))
    steep = a_run(100, *(a_request(1, "update", "moves") for _ in range(700)))

    assert not [figure for figure in cost_figures([few, flat]) if figure.broken]
    assert [figure.key for figure in cost_figures([few, steep]) if figure.broken] == ["real.writes.100"]


def test_two_reads_for_each_machine_break_the_promise() -> None:
    few = a_run(10, *(a_request(1, "get", "instances") for _ in range(20)))
    many = a_run(100, *(a_request(1, "get", "instances") for _ in range(200)))

    assert [figure.key for figure in cost_figures([few, many]) if figure.broken] == ["real.reads.100"]


def test_what_comes_with_time_is_not_counted_for_a_machine() -> None:
    report = a_request(1, "update", "migrationplans.whimbrel.dev", subresource="status")
    run = a_run(
        1, report, a_request(1, "list", "pods"), a_request(1, "get", "/openapi/v3"), a_request(1, "get", "pods")
    )

    assert (run.writes.total(), run.reports) == (0, 1)
    assert (run.reads.total(), run.looks) == (1, 2)


def test_events_and_leases_are_set_apart() -> None:
    run = a_run(1, a_request(1, "create", "events.events.k8s.io"), a_request(1, "update", "leases.coordination.k8s.io"))

    assert run.writes.total() == 0
