"""The lines of a quote: for each virtual machine its target, rungs, duration and pauses, or every reason why it cannot move.

`together` finds the targets; here is what follows from them: the move's specification, the hash that an approval names.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil, sqrt

from whimbrel.api.ladder import Migration, Rung
from whimbrel.api.virtual_machine_move import (
    AttemptRecord,
    AttemptSpec,
    InstanceReference,
    Judgement,
    VirtualMachineMoveSpec,
)
from whimbrel.domain.records import Instance, Key
from whimbrel.domain.verdict import Reason
from whimbrel.forecast import pass_seconds
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Choice, Ladder, Load, Withheld
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
from whimbrel.schedule import weighing
from whimbrel.schedule.standing import as_it_stood
from whimbrel.schedule.verdicts import MAX_NOTES, MAX_REFUSALS, refusals, verdict

ALREADY_THERE = "AlreadyThere"
UNDECIDED = undecided().code


NO_TERMS = Migration()


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
    reasons: tuple[Reason, ...]
    capacity_only: bool
    """Whether only capacity is missing, which other moves of the plan may free."""
    load: Load | None = None
    """What is to be moved, and how fast; None where it has no target."""
    terms: Migration = NO_TERMS
    """How hard the plan permits to try, the same in all its lines; what the guest's owner forbids is known to the load."""
    price: str = ""
    """What would make it possible, where no rung of the ladder is worth an attempt."""
    foretold: str = ""
    """The node where it has a place, where nothing but a forecast keeps it from going there."""
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
    def ladder(self) -> Ladder:
        """What the plan permits and this KubeVirt can do; empty where it has no target."""
        return weighing.rungs_of(self.load, self.terms) if self.load is not None else Ladder(())

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """Rungs that the plan permits and that are not offered."""
        return self.ladder.withheld

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Rungs that may be tried, in the plan's order."""
        return tuple(offer.rung for offer in self.ladder.offers)

    def choice(self, history: tuple[AttemptRecord, ...] = (), stood: Rung | None = None) -> Choice:
        """The rung of the attempt after these; `stood`: the one that was quoted for it before."""
        return weighing.chosen(self.load, self.terms, history, stood) if self.load is not None else Choice(None)

    @property
    def duration_s(self) -> int:
        """One pass over memory and local disks: a floor."""
        return pass_seconds(self.instance.copied_bytes, self.load.reached_bytes_per_second) if self.load else 0

    @property
    def budget_ms(self) -> int | None:
        """Longest suspension that may be caused; None where the guest is never suspended."""
        return max((o.budget_ms for o in self.ladder.offers if o.budget_ms is not None), default=None)

    @property
    def attended_downtime_ms(self) -> int | None:
        """Longest suspension while an operator is alive."""
        return max(
            (o.attended_downtime_ms for o in self.ladder.offers if o.attended_downtime_ms is not None), default=None
        )

    @property
    def unattended_downtime_ms(self) -> int | None:
        """Longest suspension if no operator is alive."""
        return max(
            (o.unattended_downtime_ms for o in self.ladder.offers if o.unattended_downtime_ms is not None), default=None
        )


def settled_line(instance: Instance) -> Line:
    """A line of a virtual machine that is where the plan wants it."""
    return Line(instance, None, (already_there(instance.node),), capacity_only=False)


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
    return Line(instance, None, reasons, capacity_only=bool(elsewhere), anywhere=anywhere)


def placed_line(
    instance: Instance,
    load: Load,
    terms: Migration,
    target: Host,
    assessment: Assessment,
    *,
    final: str,
    in_turn: bool,
) -> Line:
    """A line with a target. `final`: where it will end, if the target is a stop on its way."""
    return Line(
        instance,
        target,
        (),
        capacity_only=False,
        load=load,
        terms=terms,
        allowed_nodes=assessment.landing(instance.uid),
        final=final,
        in_turn=in_turn,
        notes=assessment.notes(instance.uid, target.name),
        refused=assessment.refusals(instance.uid, instance.node),
    )


def refused_line(
    instance: Instance, load: Load, terms: Migration, choice: Choice, assessment: Assessment, *, node: str, final: str
) -> Line:
    """A line of a guest that has a place on that node, and that no rung is likely to bring there."""
    price = weighing.price_in_words(load, terms)
    return Line(
        instance,
        None,
        (weighing.refused(choice, price),),
        capacity_only=False,
        load=load,
        terms=terms,
        price=price,
        foretold=node,
        allowed_nodes=assessment.landing(instance.uid),
        final=final,
        anywhere=True,
    )


def attempt_for(
    line: Line,
    number: int,
    history: tuple[AttemptRecord, ...],
    snapshot: Snapshot,
    stood: AttemptSpec | None = None,
) -> AttemptSpec | None:
    """The specification of the next attempt of a line; None where it has no target, or no rung is worth an attempt.

    `stood`: how this attempt was specified before. What was expected of it stands as long as it is still about true.
    """
    if line.target is None or line.load is None:
        return None
    instance = line.instance
    choice = line.choice(history, stood.rung if stood is not None else None)
    offer = choice.offer
    if offer is None:
        return None
    kubevirt = snapshot.kubevirt
    foreign = [policy for policy in snapshot.policies.values() if not policy.ours]
    pairs = label_pairs_needed(foreign)
    own = reserved_labels(instance)
    labels = {key: value for key, value in instance.labels.items() if key not in own}
    namespace = snapshot.namespaces.get(Key("", instance.key.namespace))
    namespace_labels = namespace.labels if namespace is not None else {}
    without_us = resolve(kubevirt.configuration, foreign, labels, namespace_labels) if kubevirt is not None else None
    needed = without_us is None or not is_wanted(offer.configuration, without_us)
    fresh = AttemptSpec(
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
        most_bytes=offer.most_wire_bytes,
        unschedulable_timeout_seconds=line.terms.unschedulable_timeout_seconds,
        pending_timeout_seconds=line.terms.pending_timeout_seconds,
        previous_migration_uid=instance.migration.migration_uid if instance.migration is not None else "",
        forecast=weighing.forecast_of(instance, line.load, choice, snapshot),
    )
    return fresh if stood is None else as_it_stood(stood, fresh)


def move_spec(line: Line, attempt: AttemptSpec | None) -> VirtualMachineMoveSpec:
    """The quoted move of a line with the specification of its first attempt."""
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
        attempt=attempt,
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
    """SHA-256 over canonical JSON of the plan's generation and terms, and each line's UID, verdict, target, rungs and bounds.
    The terms are named beside the generation because a plan that is deleted and made anew counts from one again.

    Nothing in it is a forecast: an approval permits what may be done, and to what of it a forecast leads changes by the minute.
    """
    lines = tuple(lines)
    terms = next((line.terms for line in lines if line.load is not None), NO_TERMS)
    rows = sorted(
        [
            line.instance.uid,
            [] if line.foretold else sorted(line.codes),
            line.target.node.name if line.target is not None else line.foretold,
            [str(rung) for rung in line.rungs],
            line.budget_ms,
            line.unattended_downtime_ms,
            *([line.allowed_nodes] if line.allowed_nodes else []),
            *([line.final] if line.final else []),
        ]
        for line in lines
    )
    told = terms.model_dump_json(by_alias=True, exclude_unset=True)
    document = json.dumps([generation, told, rows], separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()


def duration_floor_s(lines: Iterable[Line], hosts: Mapping[str, Host]) -> int:
    """A floor of the whole plan's duration: the longest move, or the busiest node's moves shared by its slots."""
    ways = ((line.instance.node, line.target.node.name, line.duration_s) for line in lines if line.target is not None)
    return ceil(busiest_s(ways, hosts))


def expected_s(ways: Sequence[tuple[str, str, float, float]], hosts: Mapping[str, Host]) -> tuple[float, float]:
    """p50 and p90 of all these moves: (source, target, p50, p90), in seconds. They are taken to be late or early independently
    of each other, so that their reserves add up by squares.
    """
    middle_s = busiest_s(((source, target, p50) for source, target, p50, _p90 in ways), hosts)
    squares = ((source, target, (p90 - p50) ** 2) for source, target, p50, p90 in ways)
    return middle_s, middle_s + sqrt(busiest_s(squares, hosts))


def busiest_s(ways: Iterable[tuple[str, str, float]], hosts: Mapping[str, Host]) -> float:
    """Of moves as (source, target, seconds) the longest, or what the busiest node's add up to, shared by its slots."""
    out: dict[str, float] = defaultdict(float)
    into: dict[str, float] = defaultdict(float)
    longest = 0.0
    for source, target, duration_s in ways:
        out[source] += duration_s
        into[target] += duration_s
        longest = max(longest, duration_s)
    for sums, slots in ((out, "parallel_outbound"), (into, "parallel_inbound")):
        for node, total in sums.items():
            host = hosts.get(node)
            migration = host.migration if host is not None else None
            longest = max(longest, total / getattr(migration.limits, slots) if migration else total)
    return longest
