"""Selection: which guests a plan means, and what in the plan means nothing in this cluster.

Terms are intersected. Names and labels are those of the VirtualMachine; a guest without one is known by its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from whimbrel.api.migration_plan import Exclusion, MigrationPlanSpec, NodeTerm, VirtualMachines
from whimbrel.api.text import listed
from whimbrel.domain.records import Instance, Key, Labels, Plan
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.labels import carries, matches
from whimbrel.inventory.snapshot import Snapshot

_ENDED = ("Succeeded", "Failed")
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class SelectionProblem:
    """Something in a plan that only the cluster can contradict. It moves nothing until it is mended."""

    code: str
    field: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What a plan means at this instant."""

    instances: tuple[Instance, ...] = ()
    """Sorted by key."""
    not_running: tuple[Key, ...] = ()
    """Virtual machines that are selected but have no running instance, sorted."""
    problems: tuple[SelectionProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    key: Key
    labels: Labels
    instance: Instance | None


class Roster:
    """All that plans choose from in a snapshot, looked at once for all of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Looks at nothing yet."""
        self.snapshot = snapshot

    @cached_property
    def _by_namespace(self) -> Mapping[str, list[_Candidate]]:
        found: dict[str, list[_Candidate]] = {}
        for candidate in _candidates(self.snapshot):
            found.setdefault(candidate.key.namespace, []).append(candidate)
        return found

    def scope(self, namespaces: Iterable[str]) -> list[_Candidate]:
        """What is in these namespaces, sorted by key."""
        return [candidate for name in sorted(namespaces) for candidate in self._by_namespace.get(name, ())]

    @cached_property
    def profile_problems(self) -> tuple[SelectionProblem, ...]:
        """What is wrong with the HostProfiles, for every plan."""
        return tuple(_profile_problems(self.snapshot))


def select(plan: Plan, snapshot: Snapshot, roster: Roster | None = None) -> Selection:
    """What the plan means. A plan that breaks a rule of the schema means nothing.

    `roster`: that of the snapshot, where several plans are asked.
    """
    if plan.plan is None:
        return Selection()
    roster = roster or Roster(snapshot)
    spec = plan.plan.spec
    namespaces = _namespaces(plan.key.namespace, spec.virtual_machines, snapshot)
    scope = roster.scope(namespaces)
    on_nodes = _nodes(spec.virtual_machines.on_nodes, snapshot)
    chosen = list(_chosen(scope, spec.virtual_machines, on_nodes))
    problems = (
        *_namespace_problems(spec.virtual_machines, snapshot, namespaces),
        *_machine_problems(spec.virtual_machines, scope, namespaces),
        *_node_problems(spec, snapshot),
        *_empty_problem(spec.virtual_machines, chosen),
        *roster.profile_problems,
    )
    return Selection(
        instances=tuple(candidate.instance for candidate in chosen if candidate.instance is not None),
        not_running=tuple(candidate.key for candidate in chosen if candidate.instance is None),
        problems=tuple(dict.fromkeys(problems)),
    )


def _candidates(snapshot: Snapshot) -> Iterator[_Candidate]:
    """VirtualMachines with their living instances, and instances that no known VirtualMachine owns; sorted by key."""
    living = {key: instance for key, instance in snapshot.instances.items() if instance.phase not in _ENDED}
    machines = snapshot.virtual_machines
    owned = {Key(key.namespace, instance.owner_vm): instance for key, instance in living.items() if instance.owner_vm}
    bare = {key for key, instance in living.items() if Key(key.namespace, instance.owner_vm) not in machines}
    for key in sorted({*machines, *bare}):
        if key in bare:
            yield _Candidate(key, living[key].labels, living[key])
        else:
            yield _Candidate(key, machines[key].labels, owned.get(key))


def _namespaces(own: str, term: VirtualMachines, snapshot: Snapshot) -> frozenset[str]:
    if term.namespaces is None:
        return frozenset({own})
    if term.namespaces.names is not None:
        return frozenset(term.namespaces.names)
    selector = term.namespaces.selector
    return frozenset(
        key.name for key, namespace in snapshot.namespaces.items() if selector and matches(selector, namespace.labels)
    )


def _nodes(term: NodeTerm | None, snapshot: Snapshot) -> frozenset[str] | None:
    """Names of the nodes that `onNodes` means; None for all."""
    if term is None:
        return None
    if term.names is not None:
        return frozenset(term.names)
    return frozenset(_carrying(term.node_selector or {}, snapshot))


def _carrying(wanted: Mapping[str, str], snapshot: Snapshot) -> Iterator[str]:
    return (node.name for node in snapshot.nodes.values() if carries(node.labels, wanted))


def _chosen(scope: list[_Candidate], term: VirtualMachines, on_nodes: frozenset[str] | None) -> Iterator[_Candidate]:
    names = None if term.names is None else frozenset(term.names)
    excluded = frozenset(term.exclude.names or ()) if term.exclude is not None else frozenset()
    for candidate in scope:
        if names is not None and candidate.key.name not in names:
            continue
        if term.selector is not None and not matches(term.selector, candidate.labels):
            continue
        if on_nodes is not None and (candidate.instance is None or candidate.instance.node not in on_nodes):
            continue
        if candidate.key.name not in excluded and not _excluded_by_label(candidate, term.exclude):
            yield candidate


def _excluded_by_label(candidate: _Candidate, term: Exclusion | None) -> bool:
    """Either term of an exclusion leaves a virtual machine out: it errs on the side of leaving it alone."""
    return term is not None and term.selector is not None and matches(term.selector, candidate.labels)


def _namespace_problems(
    term: VirtualMachines, snapshot: Snapshot, namespaces: frozenset[str]
) -> Iterator[SelectionProblem]:
    if term.namespaces is None:
        return
    if term.namespaces.names is not None:
        yield from _unknown(
            "UnknownNamespace", "namespace", "spec.virtualMachines.namespaces.names", term.namespaces.names,
            lambda name: Key("", name) in snapshot.namespaces,
        )  # fmt: skip
    elif not namespaces:
        yield _no_match("spec.virtualMachines.namespaces.selector", "no namespace has these labels")


def _machine_problems(
    term: VirtualMachines, scope: list[_Candidate], namespaces: frozenset[str]
) -> Iterator[SelectionProblem]:
    there = {candidate.key.name for candidate in scope}
    where = f"virtual machine in {listed(sorted(namespaces), _MOST_NAMED) or 'no namespace'}"
    named = (("names", term.names), ("exclude.names", term.exclude.names if term.exclude else None))
    for field, names in named:
        yield from _unknown(
            "UnknownVirtualMachine", where, f"spec.virtualMachines.{field}", names or (), lambda name: name in there
        )
    if term.selector is not None and not any(matches(term.selector, candidate.labels) for candidate in scope):
        yield _no_match(
            "spec.virtualMachines.selector",
            f"no virtual machine in {listed(sorted(namespaces), _MOST_NAMED) or 'no namespace'} has these labels",
        )


def _node_problems(spec: MigrationPlanSpec, snapshot: Snapshot) -> Iterator[SelectionProblem]:
    on_nodes = spec.virtual_machines.on_nodes
    named = (
        ("spec.virtualMachines.onNodes.names", on_nodes.names if on_nodes else None),
        ("spec.target.nodeNames", spec.target.node_names),
        ("spec.target.excludeNodes", spec.target.exclude_nodes),
    )
    for field, names in named:
        yield from _unknown("UnknownNode", "node", field, names or (), lambda name: Key("", name) in snapshot.nodes)
    selected = (
        ("spec.virtualMachines.onNodes.nodeSelector", on_nodes.node_selector if on_nodes else None),
        ("spec.target.nodeSelector", spec.target.node_selector),
    )
    for field, selector in selected:
        if selector is not None and not any(_carrying(selector, snapshot)):
            yield _no_match(field, "no node has these labels")


def _empty_problem(term: VirtualMachines, chosen: list[_Candidate]) -> Iterator[SelectionProblem]:
    """All terms together mean nothing, though each alone may mean something."""
    terms = [name for name, value in (("names", term.names), ("selector", term.selector), ("onNodes", term.on_nodes),
                                      ("exclude", term.exclude)) if value is not None]  # fmt: skip
    if not chosen:
        yield _no_match("spec.virtualMachines", f"no virtual machine meets {' and '.join(terms)}")


def _profile_problems(snapshot: Snapshot) -> Iterator[SelectionProblem]:
    hosts = effective_hosts(snapshot).values()
    if any(host.migration is not None for host in hosts):
        return
    broken = sorted({host.profile_name for host in hosts if host.error})
    remedy = (
        "Create a HostProfile whose nodeSelector matches your nodes (an empty one matches all) with "
        "migration.enabled: true."
    )
    if not snapshot.profiles:
        message = "there is no HostProfile, so no node may be source or target"
    elif broken:
        message = (
            f"no node may be source or target, because these HostProfiles break a rule: {listed(broken, _MOST_NAMED)}"
        )
        remedy = "Correct them; the condition Ready of each says which rule it breaks."
    else:
        message = "no HostProfile selects any node"
    yield SelectionProblem("NoHostProfile", "HostProfile.spec.nodeSelector", message, remedy)


def _unknown(
    code: str, kind: str, field: str, names: tuple[str, ...], exists: Callable[[str], bool]
) -> Iterator[SelectionProblem]:
    missing = sorted({name for name in names if not exists(name)})
    if missing:
        yield SelectionProblem(
            code,
            field,
            f"there is no {kind} named {listed(missing, _MOST_NAMED)}",
            f"Correct or remove the names in {field}.",
        )


def _no_match(field: str, message: str) -> SelectionProblem:
    return SelectionProblem("NoMatch", field, message, f"Change {field}, or label what it should match.")
