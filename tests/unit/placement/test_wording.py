"""The sentences of a conflict: what each family of preflight calls its part of a host must read as English in them."""

from support.placements import a_problem, a_room
from whimbrel.placement import Fact, Guest, solve
from whimbrel.preflight import BY_HOST

NEEDED = """\
only n1 has the compatible processor both need
only n1 has the compatible processor it needs
only n1 has the devices both need
only n1 has the devices it needs
only n1 has the free migration bandwidth both need
only n1 has the free migration bandwidth it needs
only n1 has the free places for volumes both need
only n1 has the free places for volumes it needs
only n1 has the migration network both need
only n1 has the migration network it needs
only n1 has the neighbourhood of pods both need
only n1 has the neighbourhood of pods it needs
only n1 has the networks both need
only n1 has the networks it needs
only n1 has the node features both need
only n1 has the node features it needs
only n1 has the node labels both need
only n1 has the node labels it needs
only n1 has the node-affinity labels both need
only n1 has the node-affinity labels it needs
only n1 has the place for an even spread both need
only n1 has the place for an even spread it needs
only n1 has the processor both need
only n1 has the processor it needs
only n1 has the render GPU both need
only n1 has the render GPU it needs
only n1 has the room both need
only n1 has the room it needs
only n1 has the way to the volumes both need
only n1 has the way to the volumes it needs
"""


def test_what_each_family_needs_of_a_host_reads_as_a_sentence() -> None:
    said = []
    for needs in sorted({family.NEEDS for family in BY_HOST} - {""}):
        pair = [Guest(name, name, (9, 1), (Fact(needs, 0b01),)) for name in ("vm-a", "vm-b")]
        several = a_problem([a_room("n1"), a_room("n2")], pair)
        one = a_problem(
            [a_room("n1", memory=0), a_room("n2"), a_room("n3")], [Guest("u", "it", (1, 1), (Fact(needs, 1),))]
        )
        for problem in (several, one):
            (conflict,) = solve(problem).conflicts
            said.append(conflict.words.partition(": ")[2].partition(", and")[0])

    assert said == NEEDED.splitlines()
