"""Where a pod fits: node selectors and affinity, taints, cordons, pod anti-affinity and affinity, and capacity.

As far as launcher pods need kube-scheduler. Among the nodes that fit, the one with the most memory left is taken, then
the first name. Resources are whole base units, CPU in millicores.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.values import condition_true, labels, name, namespace, spec, status

Resources = Mapping[str, int]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def requests(pod: Mapping[str, Any]) -> dict[str, int]:
    """What a pod takes from its node."""
    total: Counter[str] = Counter({"pods": 1})
    for container in spec(pod).get("containers") or ():
        for resource, quantity in ((container.get("resources") or {}).get("requests") or {}).items():
            total[resource] += amount(resource, quantity)
    return dict(total)


def allocatable(node: Mapping[str, Any]) -> dict[str, int]:
    """What a node offers."""
    return {key: amount(key, each) for key, each in (status(node).get("allocatable") or {}).items()}


def amount(resource: str, quantity: str | int) -> int:
    """A quantity in whole base units, CPU in millicores."""
    return quantities.milli(quantity) if resource == "cpu" else quantities.value(quantity)


def place(
    pod: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    used: Mapping[str, Resources],
    placed: Iterable[Mapping[str, Any]],
) -> tuple[str, str]:
    """(node, "") where the pod fits best, or ("", the scheduler's message).

    `used` maps a node's name to what its pods take; `placed` are the bound, unfinished pods that affinity looks at.
    """
    found = list(placed)
    asked = requests(pod)
    fitting: list[tuple[int, str]] = []
    why: Counter[str] = Counter()
    by_name = {name(each): each for each in nodes}
    for node in nodes:
        taken = used.get(name(node), {})
        reasons = misfits(pod, node, asked, taken, found, by_name)
        if reasons:
            why.update(reasons)
        else:
            left = allocatable(node).get("memory", 0) - taken.get("memory", 0)
            fitting.append((-left, name(node)))
    if fitting:
        return min(fitting)[1], ""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(why.items()))
    return "", f"0/{len(nodes)} nodes are available: {listed}."


def misfits(
    pod: Mapping[str, Any],
    node: Mapping[str, Any],
    asked: Resources,
    taken: Resources,
    placed: Iterable[Mapping[str, Any]] = (),
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Why a pod does not fit a node, in the scheduler's words; empty when it does."""
    reasons = []
    if not _selected(pod, node):
        reasons.append("node(s) didn't match Pod's node affinity/selector")
    if untolerated := _untolerated(pod, node):
        reasons.append(untolerated)
    offered = allocatable(node)
    for resource, count in sorted(asked.items()):
        if count > offered.get(resource, 0) - taken.get(resource, 0):
            reasons.append("Too many pods" if resource == "pods" else f"Insufficient {resource}")
    affinity = spec(pod).get("affinity") or {}
    apart = (affinity.get("podAntiAffinity") or {}).get(_REQUIRED) or ()
    near = (affinity.get("podAffinity") or {}).get(_REQUIRED) or ()
    if apart or near:
        others = list(placed)
        if any(_shares_domain(rule, pod, node, others, nodes or {}) for rule in apart):
            reasons.append("node(s) didn't match pod anti-affinity rules")
        if not all(_shares_domain(rule, pod, node, others, nodes or {}) for rule in near):
            reasons.append("node(s) didn't match pod affinity rules")
    return reasons


def looks_at_others(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has affinity rules of its virtual machine's own, beside never sharing a node with itself."""
    affinity = spec(pod).get("affinity") or {}
    rules = [*((affinity.get("podAntiAffinity") or {}).get(_REQUIRED) or ())]
    rules += (affinity.get("podAffinity") or {}).get(_REQUIRED) or ()
    return any("kubevirt.io/created-by" not in _match_labels(rule) for rule in rules)


def selects(selector: Mapping[str, Any] | None, found: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches labels; an absent one matches nothing."""
    if selector is None:
        return False
    if any(found.get(key) != wanted for key, wanted in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(each, found) for each in selector.get("matchExpressions") or ())


def _match_labels(rule: Mapping[str, Any]) -> Mapping[str, str]:
    return (rule.get("labelSelector") or {}).get("matchLabels") or {}


def _selected(pod: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    found = labels(node)
    if any(found.get(key) != wanted for key, wanted in (spec(pod).get("nodeSelector") or {}).items()):
        return False
    required = ((spec(pod).get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if not required:
        return True
    return any(_term(term, node) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    by_field = {"metadata.name": name(node)}
    return all(_expression(each, labels(node)) for each in expressions) and all(
        _expression(each, by_field) for each in fields
    )


def _expression(rule: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    key, operator = rule["key"], rule["operator"]
    wanted: Sequence[str] = rule.get("values") or []
    if operator == "In":
        return found.get(key) in wanted
    if operator == "NotIn":
        return found.get(key) not in wanted
    if operator == "Exists":
        return key in found
    if operator == "DoesNotExist":
        return key not in found
    if operator in ("Gt", "Lt"):
        try:
            here, bound = int(found[key]), int(wanted[0])
        except (KeyError, ValueError, IndexError):
            return False
        return here > bound if operator == "Gt" else here < bound
    return False


def _untolerated(pod: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    taints = list(spec(node).get("taints") or ())
    tolerations = spec(pod).get("tolerations") or ()
    if spec(node).get("unschedulable") and not _tolerated(_UNSCHEDULABLE_TAINT, tolerations):
        return "node(s) were unschedulable"
    if not condition_true(node, "Ready"):
        return "node(s) were not ready"
    for taint in taints:
        hard = taint.get("effect") in ("NoSchedule", "NoExecute")
        if hard and taint["key"] != _UNSCHEDULABLE_TAINT["key"] and not _tolerated(taint, tolerations):
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


def _tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    for each in tolerations:
        if each.get("effect") and each["effect"] != taint.get("effect"):
            continue
        if not each.get("key"):
            if each.get("operator") == "Exists":
                return True
            continue
        if each["key"] == taint["key"] and (
            each.get("operator") == "Exists" or each.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def _shares_domain(
    rule: Mapping[str, Any],
    pod: Mapping[str, Any],
    node: Mapping[str, Any],
    placed: Sequence[Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
) -> bool:
    """Whether a pod that the rule selects is already in the node's topology domain."""
    key = rule["topologyKey"]
    domain = labels(node).get(key)
    if domain is None:
        return False
    spaces = rule.get("namespaces") or (namespace(pod),)
    for other in placed:
        home = nodes.get(spec(other).get("nodeName") or "")
        if home is None or labels(home).get(key) != domain:
            continue
        if namespace(other) in spaces and selects(rule.get("labelSelector"), labels(other)):
            return True
    return False
