"""The lines of a quote: for each virtual machine its target, rungs, duration and pauses, or every reason why it cannot move.

`together` finds the targets; here is what follows from them: the move's specification, the hash that an approval names.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil

from whimbrel.api.host_profile import HostMigration
from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.api.virtual_machine_move import (
    AttemptRecord,
    AttemptSpec,
    Forecast,
    InstanceReference,
    Judgement,
    Rung,
    VirtualMachineMoveSpec,
)
from whimbrel.domain.records import Instance, Key
from whimbrel.domain.verdict import Reason
from whimbrel.forecast import admitted_rate, pass_seconds
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Load, Offer, Withheld, next_offer, offers, withheld
from whimbrel.ladder.attachment import reserved_labels
from whimbrel.ladder.policy import is_wanted, label_pairs_needed, policy_name, resolve
from whimbrel.placement import (
    COUNTED,
    Placement,
    capacity_reasons,
    conflicting,
    no_way,
    undecided,
)
from whimbrel.preflight import Assessment, PreflightReason, where
from whimbrel.schedule.verdicts import MAX_NOTES, MAX_REFUSALS, refusals, verdict

ALREADY_THERE = "AlreadyThere"
UNDECIDED = undecided().code


class AlreadyThere(PreflightReason):
    """It runs on a node that the plan's target admits, and the plan does not ask for it to leave that node."""

    evidence = where.PLAN
    remedy = "Nothing is to be done; to move it all the same, select it by virtualMachines.onNodes."


def already_there(node: str) -> AlreadyThere:
    """That a virtual machine runs on a node that the target admits."""
    return AlreadyThere("status.nodeName", node, "a node that spec.target admits")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a quote. Without a target it cannot move now; `reasons` then says why, completely."""

    instance: Instance
    target: Host | None
    offers: tuple[Offer, ...]
    rate_bytes_per_second: int
    reasons: tuple[Reason, ...]
    capacity_only: bool
    """Whether only capacity is missing, which other moves of the plan may free."""
    withheld: tuple[Withheld, ...] = ()
    """Rungs that the plan permits and that are not offered."""
    allowed_nodes: tuple[str, ...] = ()
    """Where it may land if KubeVirt cannot be told the target; empty where it can."""
    final: str = ""
    """The node that it will have, where the target is a stop on the way: no order of moves leads there directly."""
    in_turn: bool = True
    """Whether it may start before others have left its target."""
    notes: tuple[Reason, ...] = ()
    """What is to be known of the move beforehand, where it has a target."""
    ends_here: bool = False
    """Whether it has come to a stop on its way, cannot go on, and is as well there."""
    refused: tuple[Reason, ...] = ()
    """What keeps it from other hosts, where it has a target; without one that is among `reasons`."""
    anywhere: bool = False
    """Whether some host would take it, did nothing stand against moving it at all; what others lack does not keep it then."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of what keeps it where it is, the first ones first."""
        keeping = (each for each in self.reasons if each.blocks and not (each.node and self.anywhere))
        return tuple(dict.fromkeys(each.code for each in keeping))

    @property
    def settled(self) -> bool:
        """Whether it need not move: it is where the plan wants it."""
        return any(reason.code == ALREADY_THERE for reason in self.reasons)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Rungs that may be tried, from gentle to hard."""
        return tuple(offer.rung for offer in self.offers)

    @property
    def duration_s(self) -> int:
        """One pass over memory and local disks: a floor."""
        return pass_seconds(self.instance.copied_bytes, self.rate_bytes_per_second) if self.target else 0

    @property
    def budget_ms(self) -> int | None:
        """Longest suspension that may be caused; None where the guest is never suspended."""
        return max((o.budget_ms for o in self.offers if o.budget_ms is not None), default=None)

    @property
    def unattended_downtime_ms(self) -> int | None:
        """Longest suspension if no operator is alive."""
        return max(
            (o.unattended_downtime_ms for o in self.offers if o.unattended_downtime_ms is not None), default=None
        )


def settled_line(instance: Instance) -> Line:
    """A line of a virtual machine that is where the plan wants it."""
    return Line(instance, None, (), 0, (already_there(instance.node),), capacity_only=False)


def unplaced_line(
    instance: Instance, assessment: Assessment, placed: Placement, after: Ledger, readable: Set[str]
) -> Line:
    """A line without a target: what is wrong with each host by itself, or why there is no place beside the others.

    `readable`: UIDs of the virtual machines that may be named. `after`: the ledger when all have arrived.
    """
    refused: tuple[Reason, ...] = assessment.refusals(instance.uid, instance.node)
    if assessment.mask(instance.uid):
        refused = tuple(each for each in refused if each.code not in COUNTED)
        refused += capacity_reasons(instance, assessment, after)
    reasons: tuple[Reason, ...] = (*assessment.everywhere(instance.uid), *refused)
    elsewhere = assessment.suitable(instance.uid) & ~assessment.bit(instance.node)
    if elsewhere:
        conflict = placed.explained.get(instance.uid)
        if conflict is not None:
            reasons = (conflicting(conflict.told(readable)), *reasons)
        elif instance.uid in placed.stuck or instance.uid in placed.targets:
            stuck = placed.stuck.get(instance.uid)
            words = stuck.told(readable) if stuck else f"{instance.key} would have to make a further detour"
            reasons = (no_way(words), *reasons)
        elif instance.uid in placed.undecided:
            reasons = (undecided(), *reasons)
    anywhere = assessment.lasting(instance.uid) and assessment.free(instance.uid) != 0
    return Line(instance, None, (), 0, reasons, capacity_only=bool(elsewhere), anywhere=anywhere)


def placed_line(
    instance: Instance,
    spec: MigrationPlanSpec,
    source: HostMigration,
    target: Host,
    at_target: HostMigration,
    assessment: Assessment,
    *,
    final: str,
    in_turn: bool,
    stall_detection: bool,
    workload_disruption: bool,
) -> Line:
    """A line with a target. `final`: where it will end, if the target is a stop on its way."""
    rate = admitted_rate(source, at_target, spec.migration.bandwidth.max_mbps)
    disruption = spec.migration.disruption
    load = Load(instance.memory_bytes, rate, instance.local_disk_bytes, stall_detection, workload_disruption)
    return Line(
        instance,
        target,
        offers(load, disruption),
        rate,
        (),
        capacity_only=False,
        withheld=withheld(load, disruption),
        allowed_nodes=assessment.landing(instance.uid),
        final=final,
        in_turn=in_turn,
        notes=assessment.notes(instance.uid, target.name),
        refused=assessment.refusals(instance.uid, instance.node),
    )


def attempt_for(line: Line, number: int, history: tuple[AttemptRecord, ...], snapshot: Snapshot) -> AttemptSpec | None:
    """The specification of the next attempt of a line; None where it has no target."""
    if line.target is None:
        return None
    instance = line.instance
    offer = next_offer(line.offers, history)
    kubevirt = snapshot.kubevirt
    foreign = [policy for policy in snapshot.policies.values() if not policy.ours]
    pairs = label_pairs_needed(foreign)
    own = reserved_labels(instance)
    labels = {key: value for key, value in instance.labels.items() if key not in own}
    namespace = snapshot.namespaces.get(Key("", instance.key.namespace))
    namespace_labels = namespace.labels if namespace is not None else {}
    without_us = resolve(kubevirt.configuration, foreign, labels, namespace_labels) if kubevirt is not None else None
    needed = without_us is None or not is_wanted(offer.configuration, without_us)
    return AttemptSpec(
        number=number,
        rung=offer.rung,
        source_node=instance.node,
        target_node=line.target.node.name,
        target_hostname=line.target.node.hostname,
        allowed_nodes=line.allowed_nodes,
        detour=bool(line.final),
        final_node=line.final,
        configuration=offer.configuration,
        policy_name=policy_name(offer.configuration, pairs) if needed else "",
        policy_labels=pairs if needed else 0,
        deadline_seconds=offer.deadline_seconds,
        previous_migration_uid=instance.migration.migration_uid if instance.migration is not None else "",
        forecast=Forecast(
            duration_seconds=line.duration_s,
            bytes=instance.copied_bytes,
            budget_ms=offer.budget_ms,
            unattended_downtime_ms=offer.unattended_downtime_ms,
        ),
    )


def move_spec(line: Line, snapshot: Snapshot) -> VirtualMachineMoveSpec:
    """The quoted move of a line."""
    instance = line.instance
    return VirtualMachineMoveSpec(
        instance=InstanceReference(
            namespace=instance.key.namespace,
            name=instance.key.name,
            uid=instance.uid,
            memory_bytes=instance.memory_bytes,
            node=instance.node,
            agent_connected=instance.agent_connected,
        ),
        attempt=attempt_for(line, 1, (), snapshot),
        rungs=line.rungs,
        notes=tuple(map(verdict, line.notes[:MAX_NOTES])),
        refusals=refusals(line.refused),
        refusals_omitted=max(0, len(line.refused) - MAX_REFUSALS),
    )


def still_says(stored: VirtualMachineMoveSpec, quoted: VirtualMachineMoveSpec) -> bool:
    """Whether a stored move says what the quote says.

    Not worth a write is that something has become known meanwhile: the first move on a path would cost one for each that
    waits to follow it. Nor is what keeps it from other hosts: one node that is cordoned would cost one for each move of each
    plan, and hold up their starts. Nor what an earlier release did not store.
    """
    if stored == quoted:
        return True
    notes = tuple(note for note in stored.notes if note in quoted.notes or note.judgement != Judgement.UNKNOWN)
    update: dict[str, object] = {
        "notes": notes,
        "refusals": quoted.refusals,
        "refusals_omitted": quoted.refusals_omitted,
    }
    if not stored.instance.node:
        update["instance"] = stored.instance.model_copy(update={"node": quoted.instance.node})
    return stored.model_copy(update=update) == quoted


def quote_hash(generation: int, lines: Iterable[Line]) -> str:
    """SHA-256 over canonical JSON of the plan's generation and each line's UID, verdict, target, rungs and bounds."""
    rows = sorted(
        [
            line.instance.uid,
            sorted(line.codes),
            line.target.node.name if line.target is not None else "",
            [str(rung) for rung in line.rungs],
            line.budget_ms,
            line.unattended_downtime_ms,
            *([line.allowed_nodes] if line.allowed_nodes else []),
            *([line.final] if line.final else []),
        ]
        for line in lines
    )
    document = json.dumps([generation, rows], separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()


def duration_floor_s(lines: Sequence[Line], hosts: Mapping[str, Host]) -> int:
    """A floor of the whole plan's duration: the longest move, or the busiest node's moves shared by its slots."""
    out: dict[str, int] = defaultdict(int)
    into: dict[str, int] = defaultdict(int)
    for line in lines:
        if line.target is not None:
            out[line.instance.node] += line.duration_s
            into[line.target.node.name] += line.duration_s
    floors = [line.duration_s for line in lines]
    for node, total in out.items():
        migration = hosts[node].migration
        floors.append(ceil(total / migration.limits.parallel_outbound) if migration else total)
    for node, total in into.items():
        migration = hosts[node].migration
        floors.append(ceil(total / migration.limits.parallel_inbound) if migration else total)
    return max(floors, default=0)
