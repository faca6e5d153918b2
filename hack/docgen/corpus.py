"""The blocker corpus: what preflight must say of a world, as data. `tests/data/README.md` tells how a class is written.

`base.yaml` is a world in which a guest may move from node-1 to node-2; each case changes some of its objects and names the
codes that must come of it. Cases compose: the reference page takes its examples from single ones, the tests combine them.
"""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.domain.records import Capabilities, Instance, Plan
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS, Snapshot
from whimbrel.preflight import BY_HOST, PreflightReason, assess, recheck

Json = dict[str, Any]
Place = tuple[str, ...]

FOLDER = Path(__file__).resolve().parents[2] / "tests/data/blockers"
TARGET = "node-2"
VIEW = "view"
"""The entry that is no object: the time, what KubeVirt can be told, what may not be read or done."""
IDENTITIES = ("name", "type", "key", "volumeName")
"""Members by which an entry of a list is known; two lists merge entry by entry where both have the same one."""

_RESOURCES = {resource.kind: resource for resource in FIELDS}
_AT_HOST = frozenset(reason.__name__ for family in BY_HOST for reason in family.REASONS)
_POLICY_FIELDS = frozenset({"selectors", "allowAutoConverge", "allowPostCopy", "allowWorkloadDisruption"})


@dataclass(frozen=True)
class Case:
    """A class of blockers, or of worlds in which nothing blocks."""

    name: str
    file: str
    expect: frozenset[str]
    """Codes that must be found, and no others."""
    change: Mapping[str, Any] = field(compare=False)
    """By name of the object what is merged into it; None removes it."""

    @cached_property
    def writes(self) -> Mapping[Place, object]:
        """Every leaf that it sets, with its value."""
        return dict(_leaves((), self.change))

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Kinds of the objects that it changes or adds, as fields of a snapshot."""
        objects = (_base().get(name) or made for name, made in self.change.items() if name != VIEW)
        return frozenset(FIELDS[_RESOURCES[each["kind"]]] for each in objects if each)

    @property
    def unread(self) -> frozenset[str]:
        """Kinds that may not be read."""
        return frozenset((self.change.get(VIEW) or {}).get("unread", ()))

    def contradicts(self, other: "Case") -> bool:
        """Whether both set a member differently, one removes or replaces what the other sets something in, or one changes
        what the other may not read.
        """
        if self.kinds & other.unread or other.kinds & self.unread:
            return True
        for path, value in self.writes.items():
            for also, said in other.writes.items():
                shared = min(len(path), len(also))
                if path[:shared] == also[:shared] and (len(path) != len(also) or value != said):
                    return True
        return False


@dataclass(frozen=True, slots=True)
class Found:
    """What preflight says of the guest on the target, by both of its entrances."""

    assessed: tuple[PreflightReason, ...]
    rechecked: tuple[PreflightReason, ...]
    """Blocking ones alone."""
    admitted: bool
    """Whether the assessment lets it start there now."""

    @property
    def codes(self) -> frozenset[str]:
        """Codes of everything that was said."""
        return frozenset(reason.code for reason in (*self.assessed, *self.rechecked))


def cases(folder: Path = FOLDER) -> tuple[Case, ...]:
    """All cases of all files beside the base, in the order of files and lines."""
    return tuple(
        Case(entry["name"], path.name, frozenset(entry["expect"]), entry["change"])
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "base.yaml"
        for entry in yaml.safe_load(path.read_text())
    )


@cache
def _base() -> Json:
    loaded: Json = yaml.safe_load((FOLDER / "base.yaml").read_text())
    return loaded


def world(combined: Iterable[Case]) -> Json:
    """The base with these cases merged in, raw objects by name."""
    merged = copy.deepcopy(_base())
    for case in combined:
        merged = _merged(merged, copy.deepcopy(dict(case.change)))
    return merged


def expected(combined: Collection[Case]) -> frozenset[str]:
    """The codes of all together; where one takes the target away, nothing is said of it but that it is missing."""
    codes = frozenset(code for case in combined for code in case.expect)
    gone = any(case.change.get("target", ...) is None for case in combined)
    return codes - _AT_HOST | (codes & {"HostMissing"}) if gone else codes


def look(objects: Json) -> tuple[Snapshot, Instance, MigrationPlanSpec]:
    """A world as the operator would see it, with the guest and the plan that is asked about."""
    view = objects[VIEW]
    unread = frozenset(view["unread"])
    filed: dict[str, Any] = {name: {} for name in FIELDS.values()}
    for name, raw in objects.items():
        if name == VIEW:
            continue
        resource = _RESOURCES[raw["kind"]]
        record = PROJECTIONS[resource](raw)
        if record is None:
            raise ValueError(f"{name} is no {resource.kind} that can be read")
        if FIELDS[resource] not in unread:
            filed[FIELDS[resource]][record.key] = record
    snapshot = Snapshot(
        now=datetime.fromisoformat(view["now"]),
        unread=unread,
        denied=tuple(view["denied"]),
        capabilities=Capabilities(view["addedNodeSelector"], _POLICY_FIELDS),
        **filed,
    )
    (instance,) = (each for each in filed["instances"].values() if each.uid == objects["instance"]["metadata"]["uid"])
    plan: Plan = next(iter(filed["plans"].values()))
    if plan.plan is None:
        raise ValueError(plan.error)
    return snapshot, instance, plan.plan.spec


def judge(combined: Sequence[Case]) -> Found:
    """What preflight says of the base with these cases merged in."""
    snapshot, instance, spec = look(world(combined))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    assessment = assess([instance], spec, hosts, ledger, snapshot)
    everywhere = tuple(reason for reason in assessment.reasons(instance.uid) if not reason.node)
    named = snapshot.capabilities is not None and snapshot.capabilities.added_node_selector
    rechecked = recheck(instance, TARGET, spec, hosts, ledger, snapshot, () if named else (TARGET,))
    return Found(
        assessed=everywhere + assessment.reasons_on(instance.uid, TARGET),
        rechecked=rechecked,
        admitted=assessment.movable(instance.uid) and TARGET in assessment.nodes(instance.uid),
    )


def examples(known: Iterable[Case]) -> Mapping[str, PreflightReason]:
    """By code what is said where it is all that is said, or first said."""
    chosen: dict[str, PreflightReason] = {}
    for case in sorted(known, key=lambda case: len(case.expect)):
        found = judge([case])
        for reason in (*found.assessed, *found.rechecked):
            if reason.code in case.expect:
                chosen.setdefault(reason.code, reason)
    return chosen


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        merged = {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
        return {name: value for name, value in merged.items() if value is not None}
    if isinstance(old, list) and isinstance(new, list) and (identity := _identity(old + new)):
        entries = {entry[identity]: entry for entry in old}
        for entry in new:
            entries[entry[identity]] = _merged(entries.get(entry[identity]), entry)
        return list(entries.values())
    return _merged({}, new) if isinstance(new, Mapping) else new


def _identity(entries: list[Any]) -> str:
    if not entries or not all(isinstance(entry, Mapping) for entry in entries):
        return ""
    return next((name for name in IDENTITIES if all(name in entry for entry in entries)), "")


def _leaves(path: Place, value: Any) -> Iterable[tuple[Place, object]]:
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from _leaves((*path, str(name)), member)
    elif isinstance(value, list) and (identity := _identity(value)):
        for entry in value:
            for name, member in entry.items():
                yield from _leaves((*path, f"{identity}={entry[identity]}", name), member)
    else:
        yield path, value
