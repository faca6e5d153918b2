"""What plans share: the same verdicts as each plan by itself, and nothing in it that a plan has a say in."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import Any

import pytest

from docgen import corpus
from docgen.corpus import Case
from support.builders import a_cluster, a_launcher, a_plan, an_instance
from whimbrel.api.migration_plan import MigrationPlanSpec, Target
from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host, effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import BY_HOST, EVERYWHERE, Assessment, Findings, assess, findings
from whimbrel.preflight.assessment import candidate
from whimbrel.preflight.family import Candidate, GuestFamily, HostFamily
from whimbrel.preflight.lineup import Lineup, Terms

CASES = corpus.cases()
SEED = 20261126
WORLDS = 150
PLAN_TERMS = frozenset({"target", "bandwidth", "emptied", "headroom_percent", "admits"})
GUEST_TERMS = frozenset({"reach", "evacuated"})


def worlds() -> Iterator[tuple[Random, Sequence[Case]]]:
    """Random worlds with up to three things wrong with them."""
    dice = Random(SEED)
    found = 0
    while found < WORLDS:
        combined = dice.sample(CASES, dice.randint(1, 3))
        if not any(one.contradicts(other) for one, other in combinations(combined, 2)):
            found += 1
            yield dice, combined


def a_spec(dice: Random, hosts: Sequence[str]) -> MigrationPlanSpec:
    """A plan that asks for something or other."""
    some = dice.sample(hosts, dice.randint(1, len(hosts)))
    target = dice.choice(
        [
            {},
            {"nodeNames": some},
            {"nodeSelector": {"kubernetes.io/hostname": some[0]}},
            {"excludeNodes": some},
            {"nodeSelector": {"no": "such"}, "excludeNodes": some},
        ]
    )
    spec: dict[str, Any] = {
        "target": {**target, "headroom": {"memoryPercent": dice.choice([0, 10, 50])}},
        "migration": {"bandwidth": dice.choice([{}, {"minMbps": 40_000}, {"minMbps": 300, "maxMbps": 400}])},
        "virtual_machines": dice.choice([{"names": ["any"]}, {"onNodes": {"names": some}}]),
    }
    plan = a_plan(**spec).plan
    assert plan is not None
    return plan.spec


def told(assessment: Assessment, instance: Instance, hosts: Mapping[str, Host]) -> object:
    """Everything that an assessment says of a guest."""
    uid = instance.uid
    return (
        assessment.movable(uid),
        assessment.masks(uid),
        assessment.mask(uid),
        assessment.suitable(uid),
        assessment.landing(uid),
        assessment.everywhere(uid),
        assessment.reasons(uid),
        assessment.against(uid),
        [(assessment.reasons_on(uid, name), assessment.notes(uid, name)) for name in hosts],
    )


def test_what_several_plans_share_is_what_each_finds_by_itself() -> None:
    different = set()
    for dice, combined in worlds():
        snapshot, _, asked = corpus.look(corpus.world(combined))
        hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
        instances = list(snapshot.instances.values())
        known = findings(hosts, ledger, snapshot)
        for spec in (asked, *(a_spec(dice, list(hosts)) for _ in range(3))):
            shared = assess(instances, spec, hosts, ledger, snapshot, known)
            alone = assess(instances, spec, hosts, ledger, snapshot)
            for instance in instances:
                assert told(shared, instance, hosts) == told(alone, instance, hosts), [case.name for case in combined]
                different.add(alone.mask(instance.uid))

    assert len(different) > 2, "the plans ask for different things"


def test_findings_about_another_ledger_are_not_believed() -> None:
    guest, other = (an_instance(name, node="node-1") for name in ("a", "b"))
    snapshot = a_cluster(guest, other, a_launcher(guest), a_launcher(other))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    known, spec = findings(hosts, ledger, snapshot), a_spec(Random(1), list(hosts))
    assess([guest], spec, hosts, ledger, snapshot, known)
    filled = ledger.copy()
    for _ in range(1000):
        filled.reserve_arrival(other, "node-2")

    assert assess([guest], spec, hosts, filled, snapshot, known).masks(guest.uid) == (
        assess([guest], spec, hosts, filled, snapshot).masks(guest.uid)
    )


class Withholding:
    """Terms or a candidate that do not tell what is a plan's."""

    def __init__(self, real: object, withheld: frozenset[str]) -> None:
        self._real, self._withheld = real, withheld

    def __getattr__(self, name: str) -> Any:
        if name in self._withheld:
            raise AssertionError(f"it reads {name}, which is a plan's")
        return getattr(self._real, name)


def guests_of(snapshot: Snapshot, hosts: Mapping[str, Host], ledger: Ledger) -> Iterator[Candidate]:
    for instance in snapshot.instances.values():
        yield candidate(instance, hosts, ledger, snapshot, None)


@pytest.mark.parametrize("families", [(EVERYWHERE, ()), ((), BY_HOST)], ids=["everywhere", "by host"])
def test_no_family_that_plans_share_reads_what_is_a_plans(
    families: tuple[Sequence[GuestFamily], Sequence[HostFamily]],
) -> None:
    everywhere, by_host = families
    for case in CASES:
        snapshot, _, _ = corpus.look(corpus.world([case]))
        hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
        known = Findings(hosts, ledger, snapshot, everywhere, by_host)
        terms: Any = Withholding(known.lineup.terms, PLAN_TERMS)
        known.lineup.terms = terms
        for guest in guests_of(snapshot, hosts, ledger):
            withholding: Any = Withholding(guest, GUEST_TERMS)
            known.of(withholding)
        for family in by_host:
            if not family.OF_THE_PLAN:
                known.lineup.classes(family.supply)


@pytest.mark.parametrize(
    "family", [family for family in BY_HOST if family.OF_THE_PLAN], ids=lambda family: family.__name__
)
def test_a_family_says_that_a_plan_has_a_say_only_where_it_has(family: HostFamily) -> None:
    snapshot, instance, _ = corpus.look(corpus.world([]))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    terms: Any = Withholding(findings(hosts, ledger, snapshot).lineup.terms, PLAN_TERMS)

    with pytest.raises(AssertionError, match="which is a plan's"):
        family.supply(hosts[instance.node], terms)


def test_the_hosts_that_a_plan_wants_are_those_that_its_terms_admit() -> None:
    snapshot, _, _ = corpus.look(corpus.world([]))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    dice = Random(SEED)
    for _ in range(200):
        spec = a_spec(dice, list(hosts))
        emptied = frozenset(dice.sample(list(hosts), dice.randint(0, len(hosts))))
        terms = Terms(spec.target, ledger, snapshot, emptied=emptied)
        lineup = Lineup(hosts, terms)
        assert lineup.names(lineup.wanted) == tuple(name for name in sorted(hosts) if terms.admits(hosts[name]))


class Counting:
    """A family that counts how often it is asked."""

    REASONS = ()
    OF_THE_MOMENT = False
    NEEDS = "patience"

    def __init__(self, *, of_the_plan: bool) -> None:
        self.OF_THE_PLAN = of_the_plan
        self.guests = self.hosts = 0

    def demand(self, candidate: Candidate, home: object) -> str:
        """Each guest is a class of its own."""
        self.guests += 1
        return candidate.instance.uid

    def supply(self, host: Host, terms: Terms) -> str:
        """Each host is a class of its own."""
        self.hosts += 1
        return host.name

    def mask(self, demand: str, lineup: Lineup) -> int:
        """All hosts."""
        shared = lineup if self.OF_THE_PLAN else lineup.common
        return shared.by_class(demand, self.supply, self.judge)

    def judge(self, demand: str, supply: str) -> Iterator[Any]:
        """No reason."""
        yield from ()


@pytest.mark.parametrize(("of_the_plan", "times"), [(False, 1), (True, 10)])
def test_plans_look_once_at_hosts_that_they_ask_the_same_of_and_all_plans_once_at_what_none_has_a_say_in(
    of_the_plan: bool, times: int
) -> None:
    snapshot, instance, _ = corpus.look(corpus.world([]))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    family: Any = Counting(of_the_plan=of_the_plan)
    known = Findings(hosts, ledger, snapshot, (), [family])
    guest = candidate(instance, hosts, ledger, snapshot, None)

    for number in range(10):
        target = Target(exclude_nodes=(f"another-{number}",))
        for _ in range(2):
            Assessment.of([guest], known.lineup.under(Terms(target, ledger, snapshot)), known)

    assert family.guests == (2 * times if of_the_plan else times)
    assert family.hosts == times * len(hosts)
