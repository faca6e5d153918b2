"""The price of a refusal, paid on the model: every permission and every pause that is named for a guest that was refused.

The guest is moved once more by the whole operator, under the plan as the price changes it. A pause is tried at 15 % less as
well. (What a bandwidth does is asked by `forecasting`, and of real QEMU by `make bench-truth`.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whimbrel.api.ladder import MIN_DOWNTIME_MS, Migration
from whimbrel.domain.decision import Decisions
from whimbrel.engine import Engine
from whimbrel.forecast import CERTAIN, Knowledge
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder.price import PAUSING, Change
from whimbrel.schedule.weighing import load_of, priced
from whimbrel.simulation.topology import GuestShape
from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.forecasting import share
from whimbrel_lab.bench.laddering import SOURCE, TARGET, climb, draw

SEED = 2027
GUESTS, GUESTS_QUICK = 200, 20
CHEAPER = 0.85
TERMS: Sequence[Mapping[str, Any]] = (
    {"preset": "Gentle"},
    {"preset": "Gentle", "disruption": {"throttle": "Allowed"}},
    {
        "preset": "Balanced",
        "disruption": {"stun": "Allowed", "maxDowntimeMs": MIN_DOWNTIME_MS, "unattendedDowntimeMs": 60_000},
    },
    {"ladder": [{"rung": "PreCopy", "maxMebibytes": 2048, "maxDurationSeconds": 30}]},
)
"""Plans that permit little, so that many a guest is refused."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A change that was named, and whether the guest moved under it, within the pause that it permits."""

    change: Change
    did: bool
    did_for_less: bool | None
    """With 15 % less of the pause; None where the price is no pause, or the least that there is."""


def haggle(guest: GuestShape, terms: Mapping[str, Any]) -> Iterator[Paid]:
    """All that is named for this guest; nothing where it is not refused before anything begins."""
    engine, seen = Engine(), list[Snapshot]()

    def decide(snapshot: Snapshot) -> Decisions:
        seen[:] = [snapshot]
        return engine.decide(snapshot)

    tried = climb(guest, terms, decide=decide)
    if not tried.moved and tried.attempts == 0:
        for change in _named(seen[-1], Migration.model_validate(dict(terms))):
            yield _paid(guest, change)


def _named(snapshot: Snapshot, migration: Migration) -> tuple[Change, ...]:
    (instance,), hosts = snapshot.instances.values(), effective_hosts(snapshot)
    load = load_of(instance, hosts[SOURCE], hosts[TARGET], migration, snapshot, Knowledge.of((), snapshot.now))
    return priced(load, migration).changes if load is not None else ()


def _paid(guest: GuestShape, change: Change) -> Paid:
    pause_ms = change.migration.disruption.max_downtime_ms or 0
    less_ms = int(CHEAPER * pause_ms)
    cheaper = change.rung in PAUSING and less_ms >= MIN_DOWNTIME_MS
    return Paid(change, _does(guest, change.migration), _does(guest, _with_pause(change, less_ms)) if cheaper else None)


def _with_pause(change: Change, pause_ms: int) -> Migration:
    disruption = change.migration.disruption.model_copy(update={"max_downtime_ms": pause_ms})
    return change.migration.model_copy(update={"disruption": disruption})


def _does(guest: GuestShape, migration: Migration) -> bool:
    moved = climb(guest, migration.model_dump(mode="json", by_alias=True, exclude_none=True))
    return moved.moved and 1000 * moved.longest_pause_s <= (migration.disruption.max_downtime_ms or float("inf"))


async def measure(*, quick: bool = False) -> Sequence[Figure]:
    """The figures."""
    guests = [guest for guest, _terms in draw(SEED, GUESTS_QUICK if quick else GUESTS)]
    paid = [paid for number, guest in enumerate(guests) for paid in haggle(guest, TERMS[number % len(TERMS)])]
    sure = [each for each in paid if each.change.chance >= CERTAIN]
    likely = [each for each in paid if each.change.chance < CERTAIN]
    for_less = [each.did_for_less for each in sure if each.did_for_less is not None]
    return (
        Figure(
            "price_sure", f"permissions, pauses and bounds named as the price of a refusal ({len(sure)}): that do not",
            100 - share([each.did for each in sure]), "%", "10 %", 10.0,
        ),
        Figure(
            "price_likely", f"those with a chance beside them ({len(likely)}): that do",
            share([each.did for each in likely]), "%",
        ),
        Figure(
            "price_chance", "the chance that stood beside them, mean",
            share([each.change.chance for each in likely]), "%",
        ),
        Figure("price_for_less", "pauses of which 15 % less does as well", share(for_less), "%", "20 %", 20.0),
    )  # fmt: skip
