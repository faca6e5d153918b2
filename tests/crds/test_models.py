"""What the models accept and refuse, with the words a user reads. The API server's CEL says the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from whimbrel.api import KINDS, HostProfile, MigrationPlan
from whimbrel.api.scalars import ApiModel, Rule

ROOT = Path(__file__).resolve().parents[2]
BY_KIND: dict[str, type[BaseModel]] = {model.__name__: model for model in KINDS}
NAMES = {"virtualMachines": {"names": ["db1"]}}


def plan(**spec: Any) -> MigrationPlan:
    return MigrationPlan.model_validate({"spec": NAMES | spec})


def profile(**spec: Any) -> HostProfile:
    return HostProfile.model_validate({"spec": {"nodeSelector": {}, "migration": {"enabled": True}} | spec})


def stun(**consent: Any) -> dict[str, Any]:
    return {"disruption": {"stun": "Allowed", "maxDowntimeMs": 2000, "unattendedDowntimeMs": 9000} | consent}


def rule_holders(model: type[BaseModel] = ApiModel) -> list[type[ApiModel]]:
    below = [child for sub in model.__subclasses__() for child in [sub, *rule_holders(sub)]]
    return [child for child in below if issubclass(child, ApiModel) and child.RULES]


ACCEPTED_PLANS: dict[str, dict[str, Any]] = {
    "names": {},
    "a label selector": {"virtualMachines": {"selector": {"matchLabels": {"app": "db"}}}},
    "an expression": {"virtualMachines": {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}},
    "all that runs on a node": {"virtualMachines": {"onNodes": {"names": ["node-1"]}, "nonMigratable": "Leave"}},
    "nodes by label": {"virtualMachines": {"onNodes": {"nodeSelector": {"rack": "1"}}}},
    "other namespaces": {"virtualMachines": {"names": ["a"], "namespaces": {"names": ["prod"]}}},
    "an exclusion": {"virtualMachines": {"names": ["a", "b"], "exclude": {"names": ["b"]}}},
    "targets by name": {"target": {"nodeNames": ["node-2"], "headroom": {"memoryPercent": 10}}},
    "targets by label": {"target": {"nodeSelector": {"rack": "2"}, "excludeNodes": ["node-9"]}},
    "a cap on the rate": {"migration": {"bandwidth": {"maxMbps": 500}, "attempts": 1}},
    "consent to a stun": {"migration": stun()},
    "approval by hand": {"approval": "Manual", "suspend": True, "dryRun": True},
}

REFUSED_PLANS: list[tuple[dict[str, Any], str, str]] = [
    ({"virtualMachines": {}}, "virtualMachines", "at least one of names, selector and onNodes"),
    ({"virtualMachines": {"names": []}}, "virtualMachines.names", "at least 1 item"),
    ({"virtualMachines": {"names": ["Upper"]}}, "virtualMachines.names.0", "pattern"),
    ({"virtualMachines": {"names": ["x" * 254]}}, "virtualMachines.names.0", "at most 253"),
    ({"virtualMachines": {"selector": {}}}, "virtualMachines.selector", "needs matchLabels or matchExpressions"),
    (
        {"virtualMachines": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        "virtualMachines.selector.matchExpressions.0",
        "values must be given for the operators In and NotIn",
    ),
    (
        {"virtualMachines": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}},
        "virtualMachines.selector.matchExpressions.0",
        "must be absent for Exists",
    ),
    (
        {"virtualMachines": {"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}},
        "virtualMachines.selector.matchExpressions.0.operator",
        "'In', 'NotIn', 'Exists' or 'DoesNotExist'",
    ),
    (
        {"virtualMachines": {"names": ["a"], "namespaces": {}}},
        "virtualMachines.namespaces",
        "exactly one of names and selector",
    ),
    (
        {"virtualMachines": {"onNodes": {"names": ["a"], "nodeSelector": {"b": "c"}}}},
        "virtualMachines.onNodes",
        "exactly one of names and nodeSelector",
    ),
    ({"virtualMachines": {"names": ["a"], "exclude": {}}}, "virtualMachines.exclude", "needs names or selector"),
    (
        {"virtualMachines": {"names": ["a"], "nonMigratable": "Ignore"}},
        "virtualMachines.nonMigratable",
        "'Block' or 'Leave'",
    ),
    (
        {"target": {"nodeNames": ["a"], "nodeSelector": {"b": "c"}}},
        "target",
        "nodeNames or nodeSelector, not both",
    ),
    ({"target": {"headroom": {"memoryPercent": 91}}}, "target.headroom.memoryPercent", "less than or equal to 90"),
    ({"migration": {"attempts": 0}}, "migration.attempts", "greater than or equal to 1"),
    ({"migration": {"attempts": 11}}, "migration.attempts", "less than or equal to 10"),
    ({"migration": {"bandwidth": {"maxMbps": 8}}}, "migration.bandwidth.maxMbps", "greater than or equal to 9"),
    ({"migration": {"bandwidth": {"minMbps": 8}}}, "migration.bandwidth.minMbps", "greater than or equal to 9"),
    ({"migration": stun(maxDowntimeMs=1999)}, "migration.disruption.maxDowntimeMs", "greater than or equal to 2000"),
    ({"migration": stun(maxDowntimeMs=None)}, "migration.disruption", "both needed with stun: Allowed"),
    ({"migration": stun(unattendedDowntimeMs=None)}, "migration.disruption", "both needed with stun: Allowed"),
    ({"migration": stun(stun="Never")}, "migration.disruption", "act on nothing with stun: Never"),
    (
        {"migration": stun(maxDowntimeMs=9000, unattendedDowntimeMs=3000)},
        "migration.disruption",
        "unattendedDowntimeMs must not be less than maxDowntimeMs",
    ),
    ({"approval": "Maybe"}, "approval", "'Automatic' or 'Manual'"),
    ({"suspend": "perhaps"}, "suspend", "boolean"),
]

REFUSED_PROFILES: list[tuple[dict[str, Any], str, str]] = [
    ({"nodeSelector": None}, "nodeSelector", "dictionary"),
    ({"migration": {}}, "migration.enabled", "required"),
    ({"migration": {"enabled": True, "limits": {"parallelOutbound": 0}}}, "migration.limits.parallelOutbound", "1"),
    ({"migration": {"enabled": True, "limits": {"parallelInbound": 65}}}, "migration.limits.parallelInbound", "64"),
    ({"migration": {"enabled": True, "network": {"linkSpeedMbps": 9}}}, "migration.network.linkSpeedMbps", "10"),
    (
        {"migration": {"enabled": True, "network": {"subnets": ["10.20.0.0/24", "10.20.0.0/33"]}}},
        "migration.network.subnets.1",
        "'10.20.0.0/33' is not a subnet",
    ),
    ({"migration": {"enabled": True, "network": {"subnets": []}}}, "migration.network.subnets", "at least 1 item"),
    (
        {"migration": {"enabled": True, "network": {"mtu": 575}}},
        "migration.network.mtu",
        "greater than or equal to 576",
    ),
    ({"migration": {"enabled": True, "limits": {"sharePercent": 0}}}, "migration.limits.sharePercent", "1"),
    ({"nodeSelector": {"rack": "x" * 64}}, "nodeSelector.rack", "at most 63"),
]


def places(problem: ValidationError) -> dict[str, str]:
    """Field → message, as an operator's condition shows it."""
    return {".".join(map(str, error["loc"])): error["msg"] for error in problem.errors()}


@pytest.mark.parametrize("spec", ACCEPTED_PLANS.values(), ids=ACCEPTED_PLANS.keys())
def test_a_plan_that_means_something_is_accepted_and_comes_back_as_it_was_said(spec: dict[str, Any]) -> None:
    accepted = plan(**spec)

    assert MigrationPlan.model_validate(accepted.to_json()) == accepted


@pytest.mark.parametrize(("spec", "field", "message"), REFUSED_PLANS)
def test_a_plan_that_means_nothing_is_refused_at_the_field_in_words(
    spec: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        plan(**spec)

    found = places(refusal.value)
    assert f"spec.{field}" in found
    assert message in found[f"spec.{field}"]


@pytest.mark.parametrize(("spec", "field", "message"), REFUSED_PROFILES)
def test_a_profile_that_means_nothing_is_refused_at_the_field(spec: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        profile(**spec)

    found = places(refusal.value)
    assert f"spec.{field}" in found
    assert message in found[f"spec.{field}"]


def test_a_profile_with_only_a_selector_and_enabled_works() -> None:
    limits = profile().spec.migration.limits

    assert (limits.parallel_outbound, limits.parallel_inbound) == (2, 2)


def test_consent_is_never_implied() -> None:
    disruption = plan().spec.migration.disruption

    assert disruption.to_json() == {"throttle": "Never", "stun": "Never", "postCopy": "Never"}


@pytest.mark.parametrize("model", rule_holders(), ids=lambda model: model.__name__)
def test_a_rule_that_needs_no_old_object_is_checked_in_python_too(model: type[ApiModel]) -> None:
    def halves(rule: Rule) -> tuple[bool, bool]:
        return "oldSelf" in rule.expression, rule.holds is not None

    assert {halves(rule) for rule in model.RULES} <= {(True, False), (False, True)}


def test_every_example_is_accepted() -> None:
    documents = [
        (path.name, document)
        for path in sorted((ROOT / "examples").rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and document["apiVersion"].startswith("whimbrel.dev/")
    ]

    for name, document in documents:
        kind = BY_KIND.get(document["kind"])
        assert kind, f"{name}: no kind {document['kind']}"
        parsed = kind.model_validate(document)
        assert unknown(document["spec"], parsed.model_dump(mode="json", by_alias=True)["spec"]) == [], name


def unknown(said: Any, understood: Any, path: str = "spec") -> list[str]:
    """Fields of an example that the model does not know, and a server would prune in silence."""
    if isinstance(said, list) and isinstance(understood, list):
        pairs = zip(said, understood, strict=True)
        return [line for index, (a, b) in enumerate(pairs) for line in unknown(a, b, f"{path}[{index}]")]
    if not (isinstance(said, dict) and isinstance(understood, dict)):
        return []
    missing = [f"{path}.{key}" for key in said if key not in understood]
    return missing + [
        line for key in said.keys() & understood.keys() for line in unknown(said[key], understood[key], f"{path}.{key}")
    ]


def test_a_misspelt_field_of_an_example_would_be_noticed() -> None:
    assert unknown({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}) == ["spec.a[0].c"]
