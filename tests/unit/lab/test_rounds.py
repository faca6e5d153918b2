"""What a round of a real migration began with, as far as polls of libvirt tell."""

from whimbrel_lab.hypervisor.libvirt_job import Rounds

MIB = 1024**2


def told(*polls: tuple[int, int, int], within_limit: int = 6) -> list[int]:
    """By polls of (iteration, MiB processed, MiB remaining), in MiB."""
    rounds = Rounds()
    found = [
        rounds.began_with(iteration, processed * MIB, left * MIB, within_limit * MIB)
        for iteration, processed, left in polls
    ]
    return [(each or 0) // MIB for each in found]


def test_a_round_that_is_seen_while_it_runs_began_with_what_it_has_sent_beside_what_it_has_left() -> None:
    """Between the polls 20 went: of the old round's 12 all but the last 6, which the new one took along, so 14 of that."""
    assert told((3, 100, 12), (4, 120, 24)) == [12, 38]


def test_polls_of_a_real_guest_with_a_working_set_of_20_mib_tell_20_mib() -> None:
    polls = [(3, 50, 10), (4, 58, 16), (4, 66, 8), (5, 74, 14), (5, 82, 6), (6, 90, 12), (7, 98, 18)]

    assert told(*polls)[1:] == [20] * 6


def test_it_stays_what_it_was_until_the_next_round() -> None:
    assert told((2, 100, 12), (3, 120, 24), (3, 130, 14), (3, 140, 4), (4, 150, 20))[1:] == [38, 38, 38, 30]


def test_where_a_whole_round_was_missed_or_free_memory_went_over_it_is_what_remains() -> None:
    assert told((2, 100, 12), (4, 150, 24)) == [12, 24]
    assert told((1, 100, 5000), (2, 120, 24)) == [5000, 24]


def test_nobody_knows_where_libvirt_does_not_say() -> None:
    assert Rounds().began_with(None, 1, 1, 0) is None
    assert Rounds().began_with(1, None, 1, 0) is None
