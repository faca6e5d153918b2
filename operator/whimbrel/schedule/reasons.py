"""Reasons of this room: what a move waits for, beside whatever preflight says of it. For the reference page, and for quotes.

The constraints give these codes with words for the case at hand; a test holds that each code has a class here.
"""

from whimbrel.preflight import PreflightReason, where
from whimbrel.preflight.family import PreflightWarning


class WaitReason(PreflightReason):
    """Base of what only holds a move back for a while."""

    transient = True


class ClaimedByPlan(PreflightWarning):
    """Another plan has this virtual machine: the older of two that select it, or the one that has begun to move it."""

    transient = True
    evidence = "kubectl get migrationplans -A --sort-by=.metadata.creationTimestamp; kubectl get vmove -A"
    remedy = "It goes on when {found} is done with it; to have it now, exclude it there, or cancel or delete that plan."


class OutboundLimit(WaitReason):
    """As many migrations leave its host as the HostProfile there allows."""

    example = "HostProfile gold allows 2 migrations out of node-1 at once."
    evidence = where.PROFILES
    remedy = "Nothing is to be done; to move more at once, raise migration.limits.parallelOutbound of that HostProfile."


class InboundLimit(WaitReason):
    """As many migrations come to its target as the HostProfile there allows."""

    example = "HostProfile gold allows 2 migrations into node-2 at once."
    evidence = where.PROFILES
    remedy = "Nothing is to be done; to move more at once, raise migration.limits.parallelInbound of that HostProfile."


class ClusterLimit(WaitReason):
    """As many migrations are in flight as KubeVirt allows in the cluster, everybody's counted."""

    example = "KubeVirt allows 5 migrations at once, all are in use."
    evidence = where.KUBEVIRT
    remedy = (
        "Nothing is to be done; to move more at once, raise spec.configuration.migrations.parallelMigrationsPerCluster "
        "of the KubeVirt object."
    )


class KubeVirtOutboundLimit(WaitReason):
    """As many migrations leave its host as KubeVirt allows for one node, everybody's counted."""

    example = "KubeVirt allows 2 migrations out of node-1 at once, all are in use."
    evidence = where.KUBEVIRT
    remedy = (
        "Nothing is to be done; to move more at once, raise "
        "spec.configuration.migrations.parallelOutboundMigrationsPerNode of the KubeVirt object."
    )


class PolicyLimit(WaitReason):
    """As many MigrationPolicies of Whimbrel's are there as it ever makes, 50, and this attempt needs another configuration."""

    example = "There are 50 MigrationPolicies of Whimbrel's, all in use, and it needs another one."
    evidence = "kubectl get migrationpolicies -l whimbrel.dev/managed=true"
    remedy = (
        "Nothing is to be done: it begins when moves under other configurations have ended. Plans with the same ladder, "
        "bandwidth and maxDowntimeMs, and hosts with the same link, share them."
    )


class WaitsForItsTurn(WaitReason):
    """Its target has not room yet for all that are to come: others have to leave it, or come to it, before."""

    example = "node-2 has not room for all that are to come. First shop/db2 has to leave it."
    evidence = where.MOVES
    remedy = "Nothing is to be done; where it lasts, see what holds up those that leave its target."


class RetryDelay(WaitReason):
    """An attempt failed, and the next one follows after 5 s, doubled each time."""

    example = "Attempt 1 failed (MigrationFailed); the next follows shortly."
    evidence = "kubectl get vmove NAME -n NAMESPACE -o yaml; status.history has what became of each attempt"
    remedy = "Nothing is to be done; see status.history for why the last attempt failed."


class Refused(WaitReason):
    """The API server, or KubeVirt's admission, did not accept the migration; it is tried again a little later."""

    example = "The API server did not accept the migration: in-flight migration detected"
    evidence = "The words of the refusal stand in the plan's status.waits"
    remedy = "See to what those words say."


class SourceChanged(WaitReason):
    """It runs on another host than the one that it was quoted from: it moved by other means meanwhile."""

    example = "It runs on node-3, was quoted from node-1."
    evidence = where.INSTANCE
    remedy = "Nothing is to be done: the next outlook quotes it anew, from where it is."


class FieldNotServed(WaitReason):
    """Its attempt was specified for a newer KubeVirt than the one that is there now."""

    example = "As specified it needs addedNodeSelector of the migration, which this KubeVirt does not know."
    evidence = where.MIGRATION_SCHEMA
    remedy = "Nothing is to be done: the next outlook specifies it anew, with what this KubeVirt knows."


class NotPermitted(WaitReason):
    """The plan was edited, and does not permit any more what the attempt could do as it was specified."""

    example = "As specified it could switch to post-copy; the plan does not permit it any more."
    evidence = where.PLAN
    remedy = "Nothing is to be done: the next outlook specifies it anew, within what the plan permits."


class KubeVirtCapabilitiesUnknown(WaitReason):
    """KubeVirt's schemas have not been read, so it is not known what it can be told; not even a quote is made."""

    example = "KubeVirt's schemas have not been read, so it is not known what it can be told; the operator's /readyz says why."
    evidence = "The operator's /readyz says why; kubectl get crd virtualmachineinstancemigrations.kubevirt.io"
    remedy = (
        "Install KubeVirt, or give the operator the right to read its CustomResourceDefinitions: apply the chart's "
        "ClusterRole."
    )


class AbortNotCarriedOut(WaitReason):
    """An abort was asked for minutes ago, and KubeVirt has not carried it out."""

    transient = False
    example = "KubeVirt has not carried out the abort of shop/db1; look at virt-handler on node-1."
    evidence = where.MIGRATIONS
    remedy = (
        "Look at virt-handler on the source node (kubectl get pods -n kubevirt -l kubevirt.io=virt-handler -o wide) and at "
        "its log."
    )


class GuestLeftPaused(WaitReason):
    """A guest was not seen running again after its stun was ended, so no further guest is suspended."""

    transient = False
    example = (
        "shop/db1 is still paused (PausedByMigrationMonitor) after its migration was ended; no guest is suspended meanwhile. "
        "See whether it runs: virsh domstate in its launcher pod."
    )
    evidence = "kubectl get vmi NAME -n NAMESPACE -o yaml; status.migrationState and the condition Paused; virsh domstate there"
    remedy = "Let that guest run on by virsh resume in its launcher pod; the message has the command."


class NoTarget(PreflightReason):
    """No host was found for it, and nothing more is known of why."""

    example = "It cannot move: no host fits. Each verdict names the field, the values and the remedy."
    evidence = where.PLAN
    remedy = "It is looked at again at each outlook; if this lasts, see the operator's log."


ANOTHER_PLAN = "a plan of another namespace"


def plan_as_known(name: str, namespace: str) -> str:
    """A plan by its `namespace/name`, as far as a reader of that namespace may know it."""
    return name if name.partition("/")[0] == namespace else ANOTHER_PLAN


def claimed_by(owner: str) -> ClaimedByPlan:
    """That another plan has a virtual machine; `owner` as the reader may know it."""
    return ClaimedByPlan("MigrationPlan", owner, "a virtual machine that no other plan has")


REASONS: tuple[type[PreflightReason], ...] = (
    ClaimedByPlan,
    OutboundLimit,
    InboundLimit,
    ClusterLimit,
    KubeVirtOutboundLimit,
    PolicyLimit,
    WaitsForItsTurn,
    RetryDelay,
    Refused,
    SourceChanged,
    FieldNotServed,
    NotPermitted,
    KubeVirtCapabilitiesUnknown,
    AbortNotCarriedOut,
    GuestLeftPaused,
    NoTarget,
)
