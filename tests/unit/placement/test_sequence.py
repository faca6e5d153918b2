"""The order of moves: every state in between is possible; swaps and cycles go by way of a detour host."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.placements import Judge, a_guest, a_problem, a_random_problem, a_room
from whimbrel.placement import Apart, Problem, Sequence, Step, sequence, solve


def _full(*names: str) -> list[object]:
    return [a_room(name, memory=0, allocatable=(4, 100)) for name in names]


def _cycle(length: int, *spare: object) -> tuple[Problem, dict[str, int]]:
    """Full hosts each of whose only guest has to go to the next one. It could go to a spare host as well, but that is the
    only one for the guest of one more host.
    """
    names = "abcdef"[:length]
    rooms = [*_full(*names), *spare]
    guests = [
        a_guest(f"vm-{name}", memory=4, source=number, hosts=1 << (number + 1) % length | len(spare) * (1 << length))
        for number, name in enumerate(names)
    ]
    cycle = {f"uid-vm-{name}": (number + 1) % length for number, name in enumerate(names)}
    if spare:
        rooms += _full("z")
        guests.append(a_guest("vm-z", memory=4, source=length + 1, hosts=1 << length))
        cycle["uid-vm-z"] = length
    return a_problem(rooms, guests), cycle  # type: ignore[arg-type]


def _told(problem: Problem, order: Sequence) -> list[str]:
    names = {guest.uid: guest.name for guest in problem.guests}
    return [
        f"{names[step.guest]} to {problem.rooms[step.target].name}{' for now' if step.detour else ''}"
        for step in order.steps
    ]


def test_who_needs_the_room_of_another_moves_after_it() -> None:
    rooms = [*_full("a", "b"), a_room("c", memory=4)]
    guests = [a_guest("first", memory=4, source=1, hosts=0b100), a_guest("second", memory=4, source=0, hosts=0b110)]
    problem = a_problem(rooms, guests)  # type: ignore[arg-type]

    order = sequence(problem, {"uid-second": 1, "uid-first": 2})

    assert _told(problem, order) == ["first to c", "second to b"]


def test_two_full_hosts_swap_their_guests_by_way_of_a_third() -> None:
    problem, swap = _cycle(2, a_room("spare", memory=4))

    order = sequence(problem, swap)

    assert _told(problem, order) == ["vm-a to spare for now", "vm-b to a", "vm-a to b", "vm-z to spare"]
    assert order.stuck == ()


def test_a_cycle_of_three_needs_one_detour() -> None:
    problem, cycle = _cycle(3, a_room("spare", memory=4))

    order = sequence(problem, cycle)

    assert order.stuck == ()
    assert len(order.steps) == 5
    assert [step.detour for step in order.steps].count(True) == 1


def test_a_swap_without_a_spare_host_is_stuck_and_says_so() -> None:
    problem, swap = _cycle(2)

    order = sequence(problem, swap)

    assert order.steps == ()
    assert [stuck.words for stuck in order.stuck] == [
        "vm-a can go to b only after vm-b, and no host that the plan admits can take one of them in between",
        "vm-b can go to a only after vm-a, and no host that the plan admits can take one of them in between",
    ]


def test_a_spare_host_that_does_not_suit_is_no_detour() -> None:
    guests = [a_guest("vm-a", memory=4, source=0, hosts=0b010), a_guest("vm-b", memory=4, source=1, hosts=0b001)]
    problem = a_problem([*_full("a", "b"), a_room("spare", memory=9)], guests)  # type: ignore[arg-type]

    assert len(sequence(problem, {"uid-vm-a": 1, "uid-vm-b": 0}).stuck) == 2


def test_several_small_guests_make_way_for_a_big_one() -> None:
    guests = [
        a_guest("big", memory=4, source=0, hosts=0b0010),
        a_guest("small-1", memory=2, source=1, hosts=0b0101),
        a_guest("small-2", memory=2, source=1, hosts=0b0101),
        a_guest("at-z", memory=4, source=3, hosts=0b0100),
    ]
    problem = a_problem([*_full("a", "b"), a_room("spare", memory=4), *_full("z")], guests)  # type: ignore[list-item]

    order = sequence(problem, {"uid-big": 1, "uid-small-1": 0, "uid-small-2": 0, "uid-at-z": 2})

    assert order.stuck == ()
    assert [step.detour for step in order.steps] == [True, True, False, False, False, False]


def test_who_went_aside_stays_there_where_that_is_as_good() -> None:
    guests = [
        a_guest("big", memory=4, source=0, hosts=0b010),
        *(a_guest(f"small-{number}", memory=1, source=1, hosts=0b101) for number in range(4)),
        *(a_guest(f"other-{number}", memory=1, source=3, hosts=0b10000) for number in range(6)),
    ]
    rooms = [*_full("a", "b"), a_room("c", memory=4), a_room("d", memory=0), a_room("e", memory=9)]
    problem = a_problem(rooms, guests)  # type: ignore[arg-type]
    assignment = {"uid-big": 1} | {f"uid-small-{n}": 0 for n in range(4)} | {f"uid-other-{n}": 4 for n in range(6)}

    order = sequence(problem, assignment)

    assert order.stuck == ()
    assert len(order.steps) == len(guests)
    assert set(order.rerouted.values()) == {2}


def test_of_as_few_moves_those_are_made_that_copy_least_memory() -> None:
    guests = [
        a_guest("big", memory=4, source=0, hosts=0b0110),
        a_guest("small", memory=1, source=1, hosts=0b0101),
        a_guest("at-z", memory=4, source=3, hosts=0b0100),
    ]
    rooms = [*_full("a"), a_room("b", memory=3, allocatable=(4, 100)), a_room("spare", memory=4), *_full("z")]
    problem = a_problem(rooms, guests)  # type: ignore[arg-type]

    order = sequence(problem, {"uid-big": 1, "uid-small": 0, "uid-at-z": 2})

    assert _told(problem, order) == ["small to spare for now", "big to b", "small to a", "at-z to spare"]


def test_guests_that_must_stay_apart_are_apart_in_every_state_in_between() -> None:
    guests = [a_guest("x", source=0, hosts=0b010), a_guest("y", source=1, hosts=0b100)]
    rule = Apart(frozenset({"uid-x", "uid-y"}), (0b001, 0b010, 0b100))
    problem = a_problem([a_room("a"), a_room("b"), a_room("c")], guests, rule)

    assert _told(problem, sequence(problem, {"uid-x": 1, "uid-y": 2})) == ["y to c", "x to b"]


def test_swapping_guests_that_must_stay_apart_takes_a_detour_too() -> None:
    guests = [
        a_guest("x", source=0, hosts=0b0110),
        a_guest("y", source=1, hosts=0b0001),
        a_guest("w", memory=10, source=3, hosts=0b0100),
    ]
    rule = Apart(frozenset({"uid-x", "uid-y"}), (0b0001, 0b0010, 0b0100))
    problem = a_problem([a_room("a"), a_room("b"), a_room("c"), a_room("d")], guests, rule)

    order = sequence(problem, {"uid-x": 1, "uid-y": 0, "uid-w": 2})

    assert _told(problem, order) == ["x to c for now", "y to a", "x to b", "w to c"]


@settings(max_examples=150, deadline=None)
@example(375_819)
@given(st.integers(10_000, 1_000_000))
def test_every_step_is_possible_where_those_before_it_led(seed: int) -> None:
    problem = a_random_problem(seed, running=True)
    assignment = solve(problem).assignment
    sources = {guest.uid: guest.source for guest in problem.guests}
    order = sequence(problem, assignment)

    places = {uid: source for uid, source in sources.items() if source is not None}
    for step in order.steps:
        _possible(problem, places, step)
        assert places[step.guest] == step.source
        places[step.guest] = step.target

    stuck = {stuck.guest for stuck in order.stuck}
    assert stuck.isdisjoint(step.guest for step in order.steps), "who does not get there does not begin"
    for uid, room in assignment.items():
        assert uid in stuck or places[uid] == order.rerouted.get(uid, room)
    arrived = frozenset(uid for uid, place in places.items() if place != sources[uid])
    assert not Judge(problem).wrong(places, arrived) or order.stuck


def _possible(problem: Problem, places: dict[str, int], step: Step) -> None:
    """Only this one arrives; whatever else is wrong was so before anything moved."""
    guest = next(guest for guest in problem.guests if guest.uid == step.guest)
    judge = Judge(problem)
    assert step.target in judge.hosts(guest)
    assert not judge.refuses(places, step.guest, step.target)
    after = places | {step.guest: step.target}
    assert not Judge(replace(problem, rules=())).wrong(after, frozenset({step.guest}))


@pytest.mark.parametrize("length", [2, 3, 4, 6])
def test_a_cycle_of_any_length_is_resolved_with_one_spare_host(length: int) -> None:
    problem, cycle = _cycle(length, a_room("spare", memory=4))

    order = sequence(problem, cycle)

    assert order.stuck == ()
    assert len(order.steps) == length + 2
