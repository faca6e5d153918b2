"""In an unchanged world what was quoted stands: outlook after outlook plans would else be quoted anew and never start."""

import random

import pytest

from support.stage import Stage
from whimbrel.domain.resources import MIGRATIONS, VIRTUAL_MACHINE_MOVES
from whimbrel.simulation.topology import GIB, GuestShape

FILLED_GIB = 60
"""Of 64: what a host has left is room for hardly any other guest."""
OUTLOOKS = 12


def _two_plans_that_exchange_two_halves(hosts: int, seed: int) -> Stage:
    dice = random.Random(seed)
    guests: list[GuestShape] = []
    for host in range(1, hosts + 1):
        left = FILLED_GIB
        while left >= 6:
            gib = dice.choice([size for size in (6, 8, 10, 12, 16, 20) if size <= left])
            name = f"v{len(guests):04}"
            guests.append(GuestShape(name, f"node-{host}", memory_bytes=gib * GIB, touched_bytes=GIB))
            left -= gib
    stage = Stage(*guests, hosts=hosts)
    names = [f"node-{number}" for number in range(1, hosts + 1)]
    here, there = names[: hosts // 2], names[hosts // 2 :]
    for plan, source, target in (("x", here, there), ("y", there, here)):
        machines = {"onNodes": {"names": source}, "nonMigratable": "Leave"}
        stage.plan(plan, virtualMachines=machines, target={"nodeNames": target})
    return stage


def _quoted(stage: Stage) -> tuple[object, ...]:
    """Where every move goes, as it is stored."""
    moves = stage.world.objects(VIRTUAL_MACHINE_MOVES).values()
    attempts = [move["spec"].get("attempt") or {} for move in moves]
    return tuple((attempt.get("targetNode"), attempt.get("finalNode")) for attempt in attempts)


@pytest.mark.parametrize(("hosts", "seed"), [(4, 11), (4, 24), (6, 4), (6, 17), (6, 32), (8, 14)])
def test_two_plans_that_exchange_guests_of_nearly_full_hosts_are_quoted_once_and_begin(hosts: int, seed: int) -> None:
    stage = _two_plans_that_exchange_two_halves(hosts, seed)
    seen: list[tuple[object, ...]] = []

    for _ in range(OUTLOOKS):
        stage.seconds += 10
        stage.tick()
        if not seen or _quoted(stage) != seen[-1]:
            seen.append(_quoted(stage))
        if stage.world.objects(MIGRATIONS):
            break

    assert len(set(seen)) == len(seen), "a quote came back that another one had replaced"
    assert stage.world.objects(MIGRATIONS)
