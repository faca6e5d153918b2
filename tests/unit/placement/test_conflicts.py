"""Conflicts: small, irreducible, and in words that a person can act on."""

from collections.abc import Sequence

import pytest

from support.placements import a_guest, a_problem, a_room
from whimbrel.placement import Apart, Fact, Guest, Kind, Problem, Room, Together, solve
from whimbrel.placement.conflicts import shrink
from whimbrel.placement.wording import names

GIB = 1 << 30
EACH_OF_THREE = (0b001, 0b010, 0b100)


def _needing(name: str, what: str, hosts: int, **more: int) -> Guest:
    return Guest(f"uid-{name}", name, (GIB, 1), (Fact(what, hosts),), **more)  # type: ignore[arg-type]


def _words(problem: Problem) -> list[str]:
    return [conflict.words for conflict in solve(problem).conflicts]


def test_two_that_must_stay_apart_and_have_but_one_host_are_a_conflict() -> None:
    rooms = [Room(f"host-{number}", (64 * GIB, 99), (64 * GIB, 99)) for number in (1, 2, 3)]
    guests = [
        _needing("vm-a", "huge pages", 0b100),
        _needing("vm-b", "huge pages", 0b100),
        _needing("vm-c", "disk", 0b111),
    ]
    problem = a_problem(rooms, guests, Apart(frozenset(guest.uid for guest in guests), EACH_OF_THREE))

    assert _words(problem) == [
        "vm-a and vm-b cannot all be placed: vm-a and vm-b must stay apart, "
        "and only host-3 has the huge pages both need."
    ]
    assert set(solve(problem).assignment) == {"uid-vm-c", "uid-vm-a"}


def test_a_guest_that_no_host_suits_is_a_conflict_of_its_own() -> None:
    rooms = [a_room("host-1"), a_room("host-2")]
    facts = (Fact("processor", 0b01), Fact("network", 0b10), Fact("disk", 0b11))
    problem = a_problem(rooms, [Guest("u", "vm", (1, 1), facts)])

    (conflict,) = solve(problem).conflicts

    assert [member.number for member in conflict.members if member.kind is Kind.FACT] == [0, 1]
    assert conflict.words == (
        "vm cannot be placed: only host-1 has the processor it needs, and only host-2 has the network it needs."
    )


def test_want_of_memory_names_the_hosts_and_what_they_have() -> None:
    rooms = [Room("host-1", (12 * GIB, 99), (64 * GIB, 99)), Room("host-2", (64 * GIB, 99), (64 * GIB, 99))]
    problem = a_problem(rooms, [Guest("u", "vm", (16 * GIB, 1), (Fact("graphics card", 0b01),))])

    assert _words(problem) == [
        "vm cannot be placed: only host-1 has the graphics card it needs, and host-1 has 12.0 GiB of memory free."
    ]


def test_headroom_is_named_where_only_headroom_stands_against_it() -> None:
    rooms = [Room("host-1", (12 * GIB, 99), (20 * GIB, 99))]
    problem = a_problem(rooms, [Guest("u", "vm", (10 * GIB, 1), headroom_percent=20)])

    assert _words(problem) == [
        "vm cannot be placed: host-1 has 12.0 GiB of memory free, and 20 % of a target's memory must stay free."
    ]


def test_disjoint_conflicts_are_all_listed_and_the_others_are_placed() -> None:
    rooms = [a_room(f"host-{number}") for number in (1, 2, 3)]
    guests = [a_guest(name, hosts=hosts) for name, hosts in (("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 7))]
    pairs = [Apart(frozenset({"uid-a", "uid-b"}), EACH_OF_THREE), Apart(frozenset({"uid-c", "uid-d"}), EACH_OF_THREE)]

    solution = solve(a_problem(rooms, guests, *pairs))

    assert [conflict.guests for conflict in solution.conflicts] == [("uid-a", "uid-b"), ("uid-c", "uid-d")]
    assert set(solution.assignment) == {"uid-a", "uid-c", "uid-e"}


def test_rules_between_guests_are_told_in_the_words_that_they_bring() -> None:
    rooms = [a_room("host-1"), a_room("host-2")]
    both = frozenset({"uid-a", "uid-b"})
    guests = [a_guest("a", hosts=1), a_guest("b", hosts=2)]
    told = Together(both, both, (1, 2), words=lambda: "app and cache share a host")

    assert "app and cache share a host" in _words(a_problem(rooms, guests, told))[0]
    assert "must run where a partner runs" in _words(a_problem(rooms, guests, Together(both, both, (1, 2))))[0]


def test_a_cluster_that_cannot_lose_a_host_is_a_conflict() -> None:
    problem = a_problem([a_room("host-1")], [a_guest("a")], host_failures=1)

    assert _words(problem) == ["a cannot be placed: the cluster must be able to lose 1 host."]


def test_in_a_large_cluster_want_of_room_is_one_member_per_resource() -> None:
    rooms = [a_room(f"host-{number:02d}", memory=4) for number in range(30)]

    assert _words(a_problem(rooms, [a_guest("big", memory=5)])) == [
        "big cannot be placed: the hosts have not enough memory free."
    ]


def test_equal_guests_for_too_few_hosts_are_found_in_conflict_among_many_others() -> None:
    """Seven of which three fit on a host, and two hosts with the hardware, beside hundreds that do not care."""
    rooms = [a_room(f"host-{number:02d}", memory=100) for number in range(40)]
    needy = [a_guest(f"needy-{number}", memory=30, hosts=0b11) for number in range(7)]
    others = [a_guest(f"other-{number}", memory=2) for number in range(300)]

    solution = solve(a_problem(rooms, needy + others))

    assert [len(conflict.guests) for conflict in solution.conflicts] == [7]
    assert len(solution.assignment) == 306


@pytest.mark.parametrize("hosts", [5, 30, 100])
@pytest.mark.parametrize("sizes", [(6,), (6, 7)])
def test_one_guest_more_than_hosts_that_take_one_each_is_a_conflict_however_many(
    hosts: int, sizes: tuple[int, ...]
) -> None:
    guests = [a_guest(f"vm-{number:03d}", memory=sizes[number % len(sizes)]) for number in range(hosts + 1)]

    solution = solve(a_problem([a_room(f"host-{number:03d}") for number in range(hosts)], guests))

    assert [len(conflict.guests) for conflict in solution.conflicts] == [hosts + 1]
    assert len(solution.assignment) == hosts


@pytest.mark.parametrize("hosts", [5, 30, 100])
def test_more_guests_that_must_stay_apart_than_hosts_are_a_conflict_that_counts_the_hosts(hosts: int) -> None:
    guests = [a_guest(f"vm-{number:03d}") for number in range(hosts + 1)]
    apart = Apart(frozenset(guest.uid for guest in guests), tuple(1 << number for number in range(hosts)))

    words = _words(a_problem([a_room(f"host-{number:03d}") for number in range(hosts)], guests, apart))

    assert len(words) == 1
    assert words[0].endswith(f"must stay apart, and there are only {hosts} hosts for that.")


def test_of_equal_guests_one_is_asked_about() -> None:
    asked: list[int] = []

    def more_than_sixty(some: Sequence[int]) -> bool:
        asked.append(len(some))
        return len(some) > 60

    assert len(shrink(range(61), more_than_sixty, lambda _: "equal") or ()) == 61
    assert len(asked) < 15


def test_shrinking_leaves_exactly_what_is_needed() -> None:
    assert shrink(range(100), lambda some: {3, 50, 99} <= set(some)) == [3, 50, 99]
    assert shrink(range(9), lambda some: None) is None


def test_many_names_are_counted_and_not_listed() -> None:
    assert names(["a"]) == "a"
    assert names(["a", "b", "c"]) == "a, b and c"
    assert names(["a", "b"], 3) == "a, b and 3 more"
    assert names([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
