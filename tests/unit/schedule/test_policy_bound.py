"""Never more than fifty MigrationPolicies of ours: who needs another one waits."""

from dataclasses import replace

from support.builders import CAPABILITIES, a_cluster, a_move, a_plan, a_policy, an_attempt, an_instance
from whimbrel.domain.records import Instance, Policy
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle.evidence import migration_key
from whimbrel.schedule.admit import Held, Start, admit
from whimbrel.schedule.candidate import Candidate, Circumstances
from whimbrel.schedule.constraints import policies

PLAN = a_plan()


def a_candidate(instance: Instance | None = None) -> Candidate:
    guest = instance or an_instance()
    move = a_move(PLAN, guest, attempt=an_attempt(source="node-1", target="node-2"))
    assert move.move.spec.attempt is not None
    assert PLAN.plan is not None
    of = (PLAN, PLAN.plan.spec, move, move.move.spec.attempt, guest, migration_key(move, 1))
    return Candidate.of(*of, CAPABILITIES, begun=False)


def circumstances(snapshot: Snapshot) -> Circumstances:
    return Circumstances(snapshot.now, snapshot, effective_hosts(snapshot), {}, {})


def test_a_fifty_first_policy_waits_and_whoever_shares_one_does_not() -> None:
    candidate = a_candidate()
    own = a_policy(candidate.attempt.policy_name, ours=True)
    others = [a_policy(f"whimbrel-{i}", ours=True) for i in range(50)]
    foreign = [a_policy(f"theirs-{i}") for i in range(100)]

    def held_by(*present: Policy) -> str | None:
        snapshot = a_cluster(PLAN, candidate.instance, *present)
        wait = policies.blocks(candidate, Ledger.of(snapshot), circumstances(snapshot))
        return wait.reason if wait is not None else None

    assert held_by(*others) == "PolicyLimit"
    assert held_by(*others[1:]) is None
    assert held_by(*others[1:], *foreign) is None
    assert held_by(*others[1:], own) is None


def test_policies_that_are_about_to_be_made_count() -> None:
    first, second = a_candidate(), a_candidate(an_instance("db2"))
    second = replace(second, attempt=second.attempt.model_copy(update={"policy_name": "whimbrel-other"}))
    others = [a_policy(f"whimbrel-{i}", ours=True) for i in range(49)]
    snapshot = a_cluster(PLAN, first.instance, second.instance, *others)

    verdicts = admit([first, second], Ledger.of(snapshot), circumstances(snapshot))

    assert [type(verdict) for verdict in verdicts] == [Start, Held]
    assert isinstance(verdicts[1], Held)
    assert verdicts[1].wait.reason == "PolicyLimit"
