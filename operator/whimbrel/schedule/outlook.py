"""The quote: for each selected virtual machine its target, rungs, duration and pauses, or every reason why it cannot move.

A quote keeps the targets that moves already have while they are still possible, so it is stable across restarts.
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
    Verdict,
    VirtualMachineMoveSpec,
)
from whimbrel.domain.records import Instance, Key, Plan
from whimbrel.domain.verdict import Reason
from whimbrel.forecast import admitted_rate, pass_seconds
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Load, Offer, Withheld, next_offer, offers, withheld
from whimbrel.ladder.attachment import reserved_labels
from whimbrel.ladder.policy import is_wanted, label_pairs_needed, policy_name, resolve
from whimbrel.placement import (
    Conflict,
    Placement,
    Request,
    capacity_reasons,
    conflicting,
    no_way,
    place,
    planned,
    undecided,
)
from whimbrel.preflight import Assessment, assess

MAX_VERDICTS = 64
MAX_NOTES = 16
STALL_DETECTION = "MigrationStallDetection"


ALREADY_THERE = "AlreadyThere"
UNDECIDED = undecided().code


class AlreadyThere(Reason):
    """It runs on a node that the plan's target admits, and the plan does not ask for it to leave that node."""

    remedy = "Nothing is to be done; to move it all the same, select it by virtualMachines.onNodes."


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
        """One pass over memory: a floor."""
        return pass_seconds(self.instance.memory_bytes, self.rate_bytes_per_second) if self.target else 0

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

    def verdicts(self) -> tuple[Verdict, ...]:
        """The reasons as they stand in the move's status."""
        return tuple(_verdict(reason) for reason in self.reasons[:MAX_VERDICTS])


def _verdict(reason: Reason) -> Verdict:
    return Verdict(
        judgement=reason.judgement,
        code=reason.code,
        node=reason.node,
        field=reason.field[:256],
        found=reason.found[:256],
        needed=reason.needed[:256],
        remedy=reason.cure()[:4096],
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What one plan asks to be quoted."""

    plan_uid: str
    spec: MigrationPlanSpec
    instances: Sequence[Instance]
    keep: Mapping[str, str]
    """Instance UID → target that it already has."""
    on_their_way: frozenset[str] = frozenset()
    """UIDs of instances that have reached a detour."""
    far_travelled: frozenset[str] = frozenset()
    """Those of them that have made so many detours that no further one is planned."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """One line for each instance of a plan, in the order of their keys, and why not all can be placed."""

    lines: tuple[Line, ...]
    conflicts: tuple[Conflict, ...] = ()
    """Those that name an instance of the plan."""


def quote(
    instances: Sequence[Instance],
    spec: MigrationPlanSpec,
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    keep: Mapping[str, str],
) -> tuple[Line, ...]:
    """The lines of instances that no other plan is quoted with."""
    alone = Asked("", spec, instances, keep)
    return quotes([alone], hosts, ledger, snapshot, {instance.uid: "" for instance in instances})[""].lines


def quotes(
    asked: Sequence[Asked],
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    claims: Mapping[str, str],
) -> Mapping[str, Quoted]:
    """What is quoted, by UID of the plan: all plans are placed together, each with what it has a claim to.

    `claims`: instance UID → UID of the plan that has it. Dry runs, and what another plan has, are placed afterwards, on
    what the others leave. Not to be asked before it is known what KubeVirt can be told.
    """
    desks = [_Desk.of(each, hosts, ledger, snapshot) for each in asked]
    first = [
        request
        for desk in desks
        for request in desk.requests
        if claims.get(request.instance.uid) == desk.asked.plan_uid
    ]
    together = place(first, hosts, ledger)
    after = planned([request.instance for request in first], together.targets, ledger)
    quoted = {}
    for desk in desks:
        rest = [r for r in desk.requests if claims.get(r.instance.uid) != desk.asked.plan_uid]
        own = {request.instance.uid for request in rest}
        apart, ledger_after = Placement({}), after
        if rest:
            others = [request.instance for request in first if request.instance.uid not in own]
            ledger_before = planned(others, together.targets, ledger)
            apart = place(rest, hosts, ledger_before)
            ledger_after = planned([request.instance for request in rest], apart.targets, ledger_before)
        quoted[desk.asked.plan_uid] = desk.quoted(together, apart, own, hosts, ledger_after, snapshot)
    return quoted


@dataclass(frozen=True, slots=True)
class _Desk:
    """One plan while it is quoted."""

    asked: Asked
    assessment: Assessment
    there: frozenset[str]
    """UIDs of instances that are where the plan wants them."""
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, asked: Asked, hosts: Mapping[str, Host], ledger: Ledger, snapshot: Snapshot) -> "_Desk":
        assessment = assess(asked.instances, asked.spec, hosts, ledger, snapshot)
        there = frozenset(
            i.uid
            for i in asked.instances
            if i.uid not in asked.on_their_way and _is_there(i, asked.spec, hosts, assessment)
        )
        requests = tuple(
            Request(instance, assessment, asked.keep.get(instance.uid, ""))
            for instance in asked.instances
            if instance.uid not in there
        )
        return cls(asked, assessment, there, requests)

    def quoted(
        self,
        together: Placement,
        apart: Placement,
        own: Set[str],
        hosts: Mapping[str, Host],
        after: Ledger,
        snapshot: Snapshot,
    ) -> Quoted:
        """The lines of the plan. `own`: UIDs of those that were placed apart from all other plans."""
        spec = self.asked.spec
        stall_detection = snapshot.kubevirt is not None and STALL_DETECTION in snapshot.kubevirt.feature_gates
        disruption = snapshot.capabilities is not None and snapshot.capabilities.workload_disruption
        lines = []
        for instance in sorted(self.asked.instances, key=lambda instance: instance.key):
            placed = apart if instance.uid in own else together
            detour = placed.detours.get(instance.uid, "")
            final = placed.targets.get(instance.uid, "")
            if detour and (self.assessment.landing(instance.uid) or instance.uid in self.asked.far_travelled):
                detour = final = ""
            target = detour or final
            source, host = hosts.get(instance.node), hosts.get(target)
            if instance.uid in self.there:
                lines.append(_settled(instance))
            elif host is None or host.migration is None or source is None or source.migration is None:
                lines.append(_unplaced(instance, self.assessment, placed, after))
            else:
                lines.append(
                    _line(
                        instance,
                        spec,
                        source.migration,
                        host,
                        host.migration,
                        self.assessment,
                        final=final if detour else "",
                        in_turn=instance.uid not in placed.later,
                        stall_detection=stall_detection,
                        workload_disruption=disruption,
                    )
                )
        unplaced = {line.instance.uid for line in lines if line.target is None}
        conflicts = [c for c in (*together.conflicts, *apart.conflicts) if not unplaced.isdisjoint(c.guests)]
        conflicts.sort(key=lambda conflict: (len(conflict.guests) == 1, conflict.guests))
        return Quoted(tuple(lines), tuple(conflicts))


def _is_there(instance: Instance, spec: MigrationPlanSpec, hosts: Mapping[str, Host], assessment: Assessment) -> bool:
    host, target = hosts.get(instance.node), spec.target
    chosen = target.node_names is not None or target.node_selector is not None
    return chosen and spec.virtual_machines.on_nodes is None and host is not None and assessment.terms.admits(host)


def _settled(instance: Instance) -> Line:
    reason = AlreadyThere("status.nodeName", instance.node, "a node that spec.target admits")
    return Line(instance, None, (), 0, (reason,), capacity_only=False)


def _unplaced(instance: Instance, assessment: Assessment, placed: Placement, after: Ledger) -> Line:
    """A line without a target: what is wrong with each host by itself, or why there is no place beside the others."""
    reasons: tuple[Reason, ...] = assessment.reasons(instance.uid, MAX_VERDICTS)
    elsewhere = assessment.suitable(instance.uid) & ~assessment.bit(instance.node)
    if elsewhere:
        conflict = placed.explained.get(instance.uid)
        if conflict is not None:
            reasons = (conflicting(conflict), *reasons)
        elif instance.uid in placed.stuck or instance.uid in placed.targets:
            words = placed.stuck.get(instance.uid, f"{instance.key} would have to make a further detour")
            reasons = (no_way(words), *reasons)
        elif instance.uid in placed.undecided:
            reasons = (undecided(), *reasons)
        if assessment.mask(instance.uid):
            reasons += capacity_reasons(instance, assessment, after, MAX_VERDICTS)
    return Line(instance, None, (), 0, reasons, capacity_only=bool(elsewhere))


def _line(
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
        configuration=offer.configuration,
        policy_name=policy_name(offer.configuration, pairs) if needed else "",
        policy_labels=pairs if needed else 0,
        deadline_seconds=offer.deadline_seconds,
        previous_migration_uid=instance.migration.migration_uid if instance.migration is not None else "",
        forecast=Forecast(
            duration_seconds=line.duration_s,
            bytes=instance.memory_bytes,
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
            agent_connected=instance.agent_connected,
        ),
        attempt=attempt_for(line, 1, (), snapshot),
        rungs=line.rungs,
        notes=tuple(_verdict(reason) for reason in line.notes[:MAX_NOTES]),
    )


def still_says(stored: VirtualMachineMoveSpec, quoted: VirtualMachineMoveSpec) -> bool:
    """Whether a stored move says what the quote says. That something has become known meanwhile is not worth a write: the
    first move on a path would cost one for each that waits to follow it.
    """
    if stored == quoted:
        return True
    notes = tuple(note for note in stored.notes if note in quoted.notes or note.judgement != Judgement.UNKNOWN)
    return stored.model_copy(update={"notes": notes}) == quoted


def quote_hash(plan: Plan, lines: Iterable[Line]) -> str:
    """SHA-256 over canonical JSON of the plan's generation and each line's UID, verdict, target, rungs and bounds."""
    rows = sorted(
        [
            line.instance.uid,
            sorted({reason.code for reason in line.reasons if reason.blocks}),
            line.target.node.name if line.target is not None else "",
            [str(rung) for rung in line.rungs],
            line.budget_ms,
            line.unattended_downtime_ms,
            *([line.allowed_nodes] if line.allowed_nodes else []),
            *([line.final] if line.final else []),
        ]
        for line in lines
    )
    document = json.dumps([plan.generation, rows], separators=(",", ":"))
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
