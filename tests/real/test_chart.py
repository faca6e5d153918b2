"""The chart as Helm renders it: what each value does, and what is refused. No cluster is asked.

`RENEW_GOLDEN=1 .venv/bin/python -m pytest tests/real/test_chart.py -k rendered` renews tests/data/chart/.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.chart_values import VALUES
from support.definitions import DATA, ROOT, Object, definitions, documents
from whimbrel_lab.chart import CHART, HelmFailed, helm, rendered

pytestmark = pytest.mark.control_plane

DEFINITION = "CustomResourceDefinition"
NAMESPACE = "whimbrel-system"


WRONG: dict[str, tuple[Object, list[str]]] = {
    "of another type": (
        {
            "replicaCount": "two",
            "imagePullSecrets": ["registry"],
            "crds": {"install": "no"},
            "rbac": {"create": 1},
            "serviceAccount": {"annotations": {"a": 1}},
            "podLabels": {"a": True},
            "nodeSelector": [],
            "tolerations": {},
            "priorityClassName": 5,
        },
        [
            "at '/replicaCount': got string, want integer",
            "at '/imagePullSecrets/0': got string, want object",
            "at '/crds/install': got string, want boolean",
            "at '/rbac/create': got number, want boolean",
            "at '/serviceAccount/annotations/a': got number, want string",
            "at '/podLabels/a': got boolean, want string",
            "at '/nodeSelector': got array, want object",
            "at '/tolerations': got object, want array",
            "at '/priorityClassName': got number, want string",
        ],
    ),
    "too small": (
        {
            "replicaCount": 0,
            "image": {"repository": "", "digest": "latest", "pullPolicy": "Sometimes"},
            "kubevirtNamespace": "",
            "prometheusRule": {"compareWith": "soon"},
            "prometheus": {"url": "prometheus:9090", "caConfigMap": {"key": ""}},
            "terminationGracePeriodSeconds": 5,
        },
        [
            "at '/replicaCount': minimum: got 0, want 1",
            "at '/image/repository': minLength: got 0, want 1",
            "at '/image/digest': 'latest' does not match pattern",
            "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
            "at '/kubevirtNamespace': minLength: got 0, want 1",
            "at '/prometheusRule/compareWith': 'soon' does not match pattern",
            "at '/prometheus/url': 'prometheus:9090' does not match pattern",
            "at '/prometheus/caConfigMap/key': minLength: got 0, want 1",
            "at '/terminationGracePeriodSeconds': minimum: got 5, want 10",
        ],
    ),
    "too large or unknown": (
        {
            "replicaCount": 6,
            "replicas": 2,
            "image": {"name": "x"},
            "kubevirtNamespace": "a" * 64,
            "crds": {"enabled": True},
            "podDisruptionBudget": {"minAvailable": 1},
            "prometheusRule": {"for": "1m"},
        },
        [
            "at '/replicaCount': maximum: got 6, want 5",
            "at '': additional properties 'replicas' not allowed",
            "at '/image': additional properties 'name' not allowed",
            "at '/kubevirtNamespace': maxLength: got 64, want 63",
            "at '/crds': additional properties 'enabled' not allowed",
            "at '/podDisruptionBudget': additional properties 'minAvailable' not allowed",
            "at '/prometheusRule': additional properties 'for' not allowed",
        ],
    ),
}
"""What is wrong → values, and what Helm says of each."""


def named(objects: list[Object], kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in objects if each["kind"] == kind]


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all values that are no map, or an empty one."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name}".lstrip("."))
    else:
        yield path


@pytest.mark.parametrize("name", VALUES)
async def test_helm_finds_nothing_to_criticise(name: str) -> None:
    said = await helm("lint", CHART, "--strict", values=VALUES[name])

    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("name", VALUES)
async def test_what_is_rendered_is_what_was_looked_at(name: str) -> None:
    golden = DATA / "chart" / f"{name}.yaml"
    objects = [each for each in await rendered(NAMESPACE, VALUES[name]) if each["kind"] != DEFINITION]
    if os.environ.get("RENEW_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(yaml.safe_dump_all(objects, sort_keys=False, width=120))

    assert objects == documents(golden)


def test_every_value_of_the_chart_is_changed_in_one_of_the_sets() -> None:
    stated = documents(CHART / "values.yaml")[0]
    changed = {path for each in VALUES.values() for path in leaves(each)}

    untouched = [
        path for path in leaves(stated) if not any(each == path or each.startswith(f"{path}.") for each in changed)
    ]

    assert untouched == []


async def test_the_definitions_come_with_the_chart_unless_they_come_from_elsewhere() -> None:
    with_definitions = [each for each in await rendered(NAMESPACE) if each["kind"] == DEFINITION]
    without = await rendered(NAMESPACE, {"crds": {"install": False}})

    assert with_definitions == definitions()
    assert named(without, DEFINITION) == []


async def test_helms_own_folder_for_definitions_which_it_never_upgrades_stays_empty() -> None:
    assert (await helm("show", "crds", CHART)).strip() == ""


async def test_one_replica_alone_has_no_disruption_budget_that_would_never_let_its_node_be_drained() -> None:
    assert named(await rendered(NAMESPACE, {"replicaCount": 1}), "PodDisruptionBudget") == []
    assert named(await rendered(NAMESPACE, {"replicaCount": 2}), "PodDisruptionBudget") == ["whimbrel"]


async def test_a_digest_wins_over_a_tag_and_a_tag_over_the_charts_own_release() -> None:
    async def pulled(**image: str) -> str:
        objects = await rendered(NAMESPACE, {"image": image})
        (deployment,) = (each for each in objects if each["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    digest = f"sha256:{'a' * 64}"

    assert await pulled() == "whimbrel:0.1.0"
    assert await pulled(repository="registry.example.com/whimbrel", tag="main") == "registry.example.com/whimbrel:main"
    assert await pulled(tag="main", digest=digest) == f"whimbrel@{digest}"


async def test_a_release_of_any_name_says_in_its_names_that_it_is_whimbrel() -> None:
    objects = await rendered(NAMESPACE, {"crds": {"install": False}}, "production")

    names = {each["metadata"]["name"] for each in objects}
    assert names == {"production-whimbrel", "production-whimbrel-kubevirt-ca"}


@pytest.mark.parametrize("values", WRONG, ids=str)
async def test_values_that_mean_nothing_are_refused_by_name_before_anything_is_installed(values: str) -> None:
    with pytest.raises(HelmFailed) as refusal:
        await rendered(NAMESPACE, WRONG[values][0])

    assert [line for line in WRONG[values][1] if line not in str(refusal.value)] == []


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in (ROOT / "tests" / "data" / "chart").glob("*.yaml")} == set(VALUES)
