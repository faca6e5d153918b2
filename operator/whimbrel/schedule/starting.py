"""From admitted to begun: policy, then labels, then the migration; one write at a time, each answered before the next."""

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.decision import Delete, Write
from whimbrel.domain.records import Key, Policy
from whimbrel.domain.resources import MIGRATION_POLICIES
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder.attachment import create_policy, labels_of, labels_off, labels_on, reserved_labels
from whimbrel.ladder.policy import is_wanted, policy_labels
from whimbrel.lifecycle import writes
from whimbrel.schedule.candidate import Candidate


def next_write(candidate: Candidate, snapshot: Snapshot) -> Write | None:
    """The next write of a start; None where somebody else's policy has our policy's name, which is never touched, or
    where it is not known what may be written.
    """
    attempt, instance, capabilities = candidate.attempt, candidate.instance, snapshot.capabilities
    if capabilities is None:
        return None
    wanted = labels_of(attempt, candidate.migration_key)
    if attempt.policy_name:
        policy = snapshot.policies.get(Key("", attempt.policy_name))
        if policy is None:
            return create_policy(attempt, capabilities)
        if not _is_sound(policy, attempt):
            return Delete(MIGRATION_POLICIES, policy.key, policy.uid, "was edited") if policy.ours else None
    if reserved_labels(instance) != wanted:
        return labels_on(instance, wanted) if wanted else labels_off(instance)
    return writes.create_migration(candidate.move, attempt, wanted)


def _is_sound(policy: Policy, attempt: AttemptSpec) -> bool:
    """Whether a stored policy still says what its name stands for."""
    return (
        policy.ours
        and dict(policy.instance_pairs or {}) == policy_labels(attempt.policy_name, attempt.policy_labels)
        and not policy.namespace_pairs
        and is_wanted(attempt.configuration, policy.configuration)
    )
