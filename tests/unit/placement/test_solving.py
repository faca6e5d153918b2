"""Solving: everybody at once, within headroom and rules, with few moves, steady once chosen."""

import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.placements import Judge, a_guest, a_problem, a_random_problem, a_room, by_name
from whimbrel.api.migration_plan import Strategy
from whimbrel.placement import Apart, Effort, EvenSpread, Guest, Problem, Together, sequence, solve

EACH_OF_THREE = (0b001, 0b010, 0b100)


def test_guests_are_spread_over_the_hosts_with_most_room() -> None:
    rooms = [a_room("a", memory=12), a_room("b", memory=10)]
    guests = [a_guest("big", memory=5), a_guest("mid", memory=4), a_guest("small", memory=3)]

    solution = solve(a_problem(rooms, guests))

    assert by_name(a_problem(rooms, guests), solution.assignment) == {"big": "a", "mid": "b", "small": "a"}


def test_guests_are_packed_onto_as_few_hosts_as_have_the_room() -> None:
    rooms = [a_room("a", memory=12), a_room("b", memory=10), a_room("c", memory=11)]
    guests = [a_guest(name, memory=5, strategy=Strategy.PACK) for name in ("one", "two")]

    solution = solve(a_problem(rooms, guests))

    assert by_name(a_problem(rooms, guests), solution.assignment) == {"one": "b", "two": "b"}


def test_a_guest_whose_own_host_suits_it_is_not_moved() -> None:
    rooms = [a_room("a", memory=1), a_room("b", memory=50)]
    problem = a_problem(rooms, [a_guest("content", memory=4, source=0)])

    assert by_name(problem, solve(problem).assignment) == {"content": "a"}


def test_the_headroom_of_a_plan_stays_free_on_its_targets() -> None:
    rooms = [a_room("a", memory=10), a_room("b", memory=8)]
    fits = a_problem(rooms, [a_guest("vm", memory=8, headroom_percent=20)])
    does_not = a_problem(rooms, [a_guest("vm", memory=9, headroom_percent=20)])

    assert by_name(fits, solve(fits).assignment) == {"vm": "a"}
    assert not solve(does_not).feasible


def test_the_headroom_of_one_plan_is_kept_from_the_guests_of_another() -> None:
    careful, careless = a_guest("careful", memory=4, headroom_percent=50), a_guest("careless", memory=4)

    assert not solve(a_problem([a_room("a", memory=10)], [careful, careless])).feasible
    assert solve(a_problem([a_room("a", memory=16)], [careful, careless])).feasible


def test_a_cluster_that_must_be_able_to_lose_a_host_is_not_filled() -> None:
    rooms = [a_room("a", memory=8), a_room("b", memory=8)]
    half, more = [a_guest("x", memory=4), a_guest("y", memory=4)], [a_guest("x", memory=4), a_guest("y", memory=5)]

    assert solve(a_problem(rooms, half, host_failures=1)).feasible
    assert not solve(a_problem(rooms, more, host_failures=1)).feasible
    assert solve(a_problem(rooms, more)).feasible


def test_only_spare_hosts_count_for_those_of_a_lost_one() -> None:
    guests = [a_guest("x", memory=4, source=0, hosts=0b110)]
    rooms = [a_room("a", memory=8), a_room("b", memory=8), a_room("c", memory=8)]
    emptied = [a_room("a", memory=8, spare=False), a_room("b", memory=8), a_room("c", memory=3)]

    assert solve(a_problem(rooms, guests, host_failures=1)).feasible
    assert not solve(a_problem(emptied, guests, host_failures=1)).feasible
    assert solve(a_problem([*emptied[:2], a_room("c", memory=8)], guests, host_failures=1)).feasible


def test_a_guest_that_no_other_host_has_room_for_at_once_needs_a_host_that_has() -> None:
    """Enough is free in all, but in pieces."""
    rooms = [a_room("a", memory=8), a_room("b", memory=5), a_room("c", memory=5)]

    assert not solve(a_problem(rooms, [a_guest("big", memory=6)], host_failures=1)).feasible


def test_guests_that_must_stay_apart_get_hosts_of_their_own() -> None:
    rooms = [a_room("a", memory=30), a_room("b"), a_room("c")]
    guests = [a_guest(name) for name in ("x", "y", "z")]
    problem = a_problem(rooms, guests, Apart(frozenset(g.uid for g in guests), EACH_OF_THREE))

    assert sorted(by_name(problem, solve(problem).assignment).values()) == ["a", "b", "c"]


def test_guests_that_belong_together_arrive_together() -> None:
    rooms = [a_room("a", memory=4), a_room("b", memory=3), a_room("c", memory=9)]
    guests = [a_guest("app", memory=3), a_guest("cache", memory=3), a_guest("other", memory=3)]
    both = frozenset({"uid-app", "uid-cache"})
    problem = a_problem(rooms, guests, Together(both, both, EACH_OF_THREE))

    placed = by_name(problem, solve(problem).assignment)

    assert placed["app"] == placed["cache"] == "c"


def test_guests_are_spread_evenly_over_zones() -> None:
    rooms = [a_room("a", memory=40), a_room("b", memory=40), a_room("c", memory=2)]
    guests = [a_guest(f"web-{number}") for number in range(4)]
    rule = EvenSpread(frozenset(guest.uid for guest in guests), (0b011, 0b100))
    problem = a_problem(rooms, guests, rule)

    assert sorted(by_name(problem, solve(problem).assignment).values()) == ["a", "b", "c", "c"]


def test_somebody_moves_on_so_that_a_constrained_guest_finds_room() -> None:
    rooms = [a_room("a", memory=4), a_room("b", memory=4)]
    guests = [a_guest("anywhere", memory=4, keep=1), a_guest("only-b", memory=4, hosts=0b10)]
    problem = a_problem(rooms, guests)

    assert by_name(problem, solve(problem).assignment) == {"anywhere": "a", "only-b": "b"}


def test_room_that_others_leave_is_used_only_where_nothing_else_is_free() -> None:
    rooms = [a_room("a", memory=0), a_room("b", memory=1), a_room("c", memory=9)]
    guests = [a_guest("leaves", memory=8, hosts=0b110, source=0), a_guest("comes", memory=4, hosts=0b101, source=1)]
    problem = a_problem(rooms, guests)

    assert by_name(problem, solve(problem).assignment) == {"leaves": "c", "comes": "a"}


def test_without_steps_the_rest_is_undecided_and_the_others_are_placed() -> None:
    rooms = [a_room("a", memory=6), a_room("b", memory=6)]
    guests = [a_guest(f"vm-{number}", memory=4) for number in range(3)]

    solution = solve(a_problem(rooms, guests), Effort(repair=0, search=0, explain=0))

    assert (len(solution.assignment), len(solution.undecided), solution.conflicts) == (2, 1, ())


def test_rooms_out_of_order_and_unknown_guests_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted by name"):
        a_problem([a_room("b"), a_room("a")], [])
    with pytest.raises(ValueError, match="not in the problem: uid-x"):
        a_problem([a_room("a")], [], Apart(frozenset({"uid-x"}), (1,)))
    with pytest.raises(ValueError, match="same UID"):
        a_problem([a_room("a")], [a_guest("x"), a_guest("x")])


@settings(max_examples=100, deadline=None)
@given(st.integers(10_000, 1_000_000), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(seed: int, shuffler: Any) -> None:
    problem = a_random_problem(seed)
    guests, rules = list(problem.guests), list(problem.rules)
    shuffler.shuffle(guests)
    shuffler.shuffle(rules)

    turned = Problem.of(problem.resources, problem.rooms, guests, rules, problem.host_failures)

    assert repr(solve(turned)) == repr(solve(problem))


@settings(max_examples=100, deadline=None)
@given(st.integers(10_000, 1_000_000))
def test_an_unchanged_world_keeps_its_assignment(seed: int) -> None:
    problem = a_random_problem(seed)
    first = solve(problem)

    again = solve(_keeping(problem, first.assignment))

    if first.feasible:
        assert again.assignment == first.assignment


@settings(max_examples=100, deadline=None)
@given(st.integers(10_000, 1_000_000))
def test_whoever_is_assigned_can_go_there_while_the_others_stay(seed: int) -> None:
    problem = a_random_problem(seed, running=True)
    assignment = solve(problem, Effort(repair=50, search=50, explain=50)).assignment
    homes = {guest.uid: guest.source for guest in problem.guests}
    places = {uid: home for uid, home in homes.items() if home is not None} | dict(assignment)
    arrived = frozenset(uid for uid, room in assignment.items() if room != homes[uid])

    assert not Judge(problem).wrong(places, arrived)


def _keeping(problem: Problem, assignment: Any, *more: Guest) -> Problem:
    guests = [
        Guest(g.uid, g.name, g.demand, g.facts, g.source, g.headroom_percent, g.strategy, assignment.get(g.uid))
        for g in problem.guests
    ]
    return Problem.of(problem.resources, problem.rooms, [*guests, *more], problem.rules, problem.host_failures)


def _an_evacuation(hosts: int, guests_per_host: int, seed: int, percent_full: int = 80) -> Problem:
    """Half of the hosts are emptied onto the other half."""
    dice = random.Random(seed)
    half = hosts // 2
    onto = (1 << hosts) - (1 << half)
    guests = [
        a_guest(f"{number:05d}", memory=dice.randint(1, 16), hosts=onto, source=number % half)
        for number in range(hosts * guests_per_host)
    ]
    room = sum(guest.demand[0] for guest in guests) * 100 // percent_full // half
    cpu = 10 * guests_per_host
    rules = [Apart(frozenset(g.uid for g in guests[n : n + 3]), (1 << half, 2 << half)) for n in range(0, 30, 3)]
    return a_problem([a_room(f"{n:05d}", memory=room, cpu=cpu) for n in range(hosts)], guests, *rules)


@pytest.mark.parametrize(
    ("hosts", "percent_full", "newcomer"), [(20, 80, 30), (20, 97, 1), (100, 97, 1), (500, 80, 30)]
)
@pytest.mark.parametrize("seed", range(3))
def test_one_guest_more_leaves_almost_all_where_they_were_to_go(
    seed: int, hosts: int, percent_full: int, newcomer: int
) -> None:
    problem = _an_evacuation(hosts, 20, seed, percent_full)
    first = solve(problem)
    assert first.feasible

    one_more = a_guest("new", memory=newcomer, hosts=1 << (hosts - 1), source=0)
    after = solve(_keeping(problem, first.assignment, one_more))

    changed = sum(after.assignment[uid] != room for uid, room in first.assignment.items())
    assert after.feasible
    assert changed <= len(first.assignment) * 5 // 100


@pytest.mark.parametrize("percent_full", [80, 95, 99])
def test_hosts_are_emptied_with_one_move_a_guest_onto_hosts_that_become_nearly_full(percent_full: int) -> None:
    problem = _an_evacuation(100, 20, 7, percent_full)
    solution = solve(problem)

    order = sequence(problem, solution.assignment)

    assert solution.feasible
    assert len(order.steps) == len(problem.guests)


def _calls(problem: Problem) -> int:
    """How many functions are called to solve it: steps, not seconds."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        assert solve(problem).feasible
    finally:
        sys.setprofile(None)
    return count


def test_four_times_the_guests_and_hosts_take_little_more_than_four_times_the_steps() -> None:
    small, large = _calls(_an_evacuation(40, 10, 1)), _calls(_an_evacuation(160, 10, 1))

    assert large <= small * 4**1.2
