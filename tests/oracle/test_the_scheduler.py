"""The scheduler as oracle: where preflight says that a launcher may go, a real kube-scheduler binds it, and nowhere else."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.builders import CAPABILITIES, KUBEVIRT_1_5, a_kubevirt, a_plan, a_profile, a_snapshot, an_instance
from support.oracle_cases import CASE, Case, case_of, one_of_a_pair
from support.scheduler_oracle import Answers, Oracle
from support.shared_server import shared_server
from whimbrel.domain.guests import GuestVolume
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight import Assessment, assess
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

BATCH = 50
SHARE = range(25)
"""The seeds of every run."""
ALL = os.environ.get("WHIMBREL_ORACLE_SEEDS", "25:525")
"""First seed and the one after the last of `make oracle`."""

JUDGED = {
    "HostTainted", "NodeAffinityMismatch", "NodeSelectorMismatch", "InsufficientMemory", "InsufficientCpu", "NoPodSlot",
    "InsufficientResource", "PodAffinity", "PodAntiAffinity", "TopologySpread", "AttachLimitReached", "QuotaExceeded",
    "LimitRangeViolated",
}  # fmt: skip
"""What is asked of the scheduler and of admission: each blocks somebody in the many clusters."""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Endpoint]:
    """A control plane for nobody else."""
    with shared_server(()) as endpoint:
        yield endpoint


def assessed(case: Case, answers: Answers) -> tuple[str, Assessment]:
    """UID of the case's guest, and what preflight says of it, from the objects that the control plane has stored."""
    instance = replace(
        an_instance("guest", case.namespace, uid=case.uid, node=case.source, node_selector=case.node_selector),
        volumes=tuple(GuestVolume(name, "persistentVolumeClaim", claim=name) for name in case.guest_claims),
    )
    records: list[Any] = [PROJECTIONS[resource](raw) for resource, found in answers.objects.items() for raw in found]
    snapshot = a_snapshot(
        instance, a_kubevirt(), a_profile(), *records, capabilities=CAPABILITIES if case.named else KUBEVIRT_1_5
    )
    plan = a_plan(target={"headroom": {"memoryPercent": 0}}).plan
    assert plan is not None
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    return instance.uid, assess([instance], plan.spec, hosts, ledger, snapshot)


def differences(case: Case, answers: Answers) -> list[str]:
    """Where preflight and the control plane disagree about a case."""
    uid, assessment = assessed(case, answers)
    everywhere = [reason for reason in assessment.reasons(uid) if reason.blocks and not reason.node]
    said = "; ".join(f"{reason.code}: {reason.found}, needed {reason.needed}" for reason in everywhere)
    found = []
    if bool(everywhere) != bool(answers.refusal):
        found.append(f"seed {case.seed}: admission says «{answers.refusal}», preflight says «{said}»")
    possible = {name for name in hosts_of(case) if not any(each.blocks for each in assessment.reasons_on(uid, name))}
    if not everywhere:
        assert possible == set(assessment.nodes(uid)), f"seed {case.seed}: the mask is not what the judges say"
    if not case.named:
        ((node, why),) = answers.nodes.items()
        if (node not in possible) if node else possible:
            found.append(f"seed {case.seed}: the scheduler says «{node or why}», preflight admits {sorted(possible)}")
        return found
    for name, why in answers.nodes.items():
        if (name in possible) == bool(why):
            reasons = "; ".join(
                f"{each.code}: {each.found}, needed {each.needed}" for each in assessment.reasons_on(uid, name)
            )
            found.append(f"seed {case.seed}, {name}: the scheduler says «{why or 'bound'}», preflight says «{reasons}»")
    return found


def blocking(case: Case, answers: Answers) -> set[str]:
    """The codes of what blocks the case's guest, anywhere."""
    uid, assessment = assessed(case, answers)
    reasons = [
        *assessment.reasons(uid),
        *(each for name in hosts_of(case) for each in assessment.reasons_on(uid, name)),
    ]
    return {reason.code for reason in reasons if reason.blocks}


def hosts_of(case: Case) -> list[str]:
    return [node["metadata"]["name"] for node in case.nodes]


async def disagreements(endpoint: Endpoint, seeds: range) -> tuple[str, set[str]]:
    """Everything that differs over these seeds, a line each; and the codes of all reasons that blocked somebody."""
    found: list[str] = []
    codes: set[str] = set()
    async with Oracle(endpoint) as oracle:
        for first in range(seeds.start, seeds.stop, BATCH):
            cases = [case_of(seed) for seed in range(first, min(first + BATCH, seeds.stop))]
            answers = await oracle.ask(cases)
            for case in cases:
                found += differences(case, answers[case.seed])
                codes |= blocking(case, answers[case.seed])
    return "\n".join(found), codes


def test_a_seed_always_makes_the_same_cluster() -> None:
    assert vars(case_of(7)) == vars(case_of(7))
    assert case_of(7).nodes[0]["metadata"]["labels"][CASE] == "7"


async def test_preflight_and_the_scheduler_agree(scheduler: Endpoint) -> None:
    differing, _ = await disagreements(scheduler, SHARE)

    assert not differing, differing


async def test_of_two_that_need_each_other_none_can_leave_first_unless_one_like_them_is_there_already(
    scheduler: Endpoint,
) -> None:
    """What the launcher leaves counts, so it is not the first of its group either: placement finds no order for a pair."""
    alone, awaited = one_of_a_pair(900_001, awaited=False), one_of_a_pair(900_002, awaited=True)

    async with Oracle(scheduler) as oracle:
        answers = await oracle.ask([alone, awaited])

    bound = {case.seed: [not answers[case.seed].nodes[name] for name in hosts_of(case)] for case in (alone, awaited)}
    assert bound == {900_001: [True, False, False], 900_002: [True, True, False]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_preflight_and_the_scheduler_agree_on_many_clusters(scheduler: Endpoint) -> None:
    first, last = map(int, ALL.split(":"))

    differing, codes = await disagreements(scheduler, range(first, last))

    assert not differing, differing
    assert JUDGED - codes == set(), "no cluster was refused for these"
