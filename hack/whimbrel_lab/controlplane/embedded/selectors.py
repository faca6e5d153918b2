"""Label and field selectors, parsed once per request into predicates over objects."""

import re
from collections.abc import Callable

from whimbrel_lab.controlplane.embedded.errors import Json, Object, bad_request
from whimbrel_lab.controlplane.embedded.kinds import Kind

Predicate = Callable[[Object], bool]
Labels = dict[str, str]

_SET = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([^\s!=<>]+)\s*(==|=|!=|<|>)\s*([^\s=!<>]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s!=,()<>]+)\s*$")
_SPLIT = re.compile(r",(?![^(]*\))")

_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    ),
}  # fmt: skip


def label_selector(text: str) -> Predicate | None:
    """The predicate of a `labelSelector` parameter, None when it selects everything."""
    tests = [_label_test(part) for part in _SPLIT.split(text) if part.strip()]
    if not tests:
        return None

    def matches(candidate: Object) -> bool:
        labels: Labels = candidate["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _label_test(part: str) -> Callable[[Labels], bool]:
    if found := _SET.match(part):
        key, operator, listed = found.groups()
        values = frozenset(each.strip() for each in listed.split(","))
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(part):
        key, operator, value = found.groups()
        return _comparison(key, operator, value)
    if found := _EXISTS.match(part):
        absent, key = found.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise bad_request(f"unable to parse requirement: found {part.strip()!r}, expected a label requirement")


def _comparison(key: str, operator: str, value: str) -> Callable[[Labels], bool]:
    if operator in ("=", "=="):
        return lambda labels: labels.get(key) == value
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    if not re.fullmatch(r"-?\d+", value):
        raise bad_request(f"for 'Gt', 'Lt' operators, the value must be an integer: {value!r}")
    bound = int(value)

    def compare(labels: Labels) -> bool:
        found = labels.get(key, "")
        if not re.fullmatch(r"-?\d+", found):
            return False
        return int(found) > bound if operator == ">" else int(found) < bound

    return compare


def query_of(selector: Object) -> str:
    """A LabelSelector object as a query string; an empty selector selects everything."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(term.get("values") or ())
        shapes = {
            "In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})",
            "Exists": key, "DoesNotExist": f"!{key}",
        }  # fmt: skip
        parts.append(shapes[term["operator"]])
    return ",".join(parts)


def field_selector(text: str, kind: Kind) -> Predicate | None:
    """The predicate of a `fieldSelector` parameter; 400 for a field that the kind does not offer."""
    tests: list[Predicate] = []
    allowed = ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.plural, ()), *kind.selectable)
    for part in text.split(","):
        if not part.strip():
            continue
        found = re.match(r"^\s*([^=!\s]+)\s*(!=|==|=)\s*(.*?)\s*$", part)
        if not found:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = found.groups()
        if path not in allowed:
            raise bad_request(
                f'Unable to find "{kind.group}/{kind.version}, Resource={kind.plural}" that match label '
                f'selector "", field selector "{text}": field label not supported: {path}'
            )
        tests.append(_field_test(path.split("."), operator == "!=", value))
    if not tests:
        return None
    return lambda candidate: all(test(candidate) for test in tests)


def _field_test(path: list[str], negated: bool, wanted: str) -> Predicate:
    if path == ["source"]:
        path = ["source", "component"]

    def test(candidate: Object) -> bool:
        value: Json = candidate
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return (_as_text(value, path) == wanted) != negated

    return test


def _as_text(value: Json, path: list[str]) -> str:
    if value is None:
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def both(left: Predicate | None, right: Predicate | None) -> Predicate | None:
    """The conjunction of two optional predicates."""
    if left is None or right is None:
        return left or right
    return lambda candidate: left(candidate) and right(candidate)
