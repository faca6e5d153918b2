"""The chart: exactly the permissions that the operator needs, and a pod that can do nothing else.

The templates themselves are rendered by helm alone; what they grant is data in charts/whimbrel/files.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from whimbrel.kube.access import needs

CHART = Path(__file__).resolve().parents[2] / "charts" / "whimbrel"

FOLLOW = ("list", "watch")
READ = ("get", *FOLLOW)
CLUSTER = {
    ("whimbrel.dev", "migrationplans"): {*READ, "patch"},
    ("whimbrel.dev", "migrationplans/finalizers"): {"update"},
    ("whimbrel.dev", "migrationplans/status"): {"update"},
    ("whimbrel.dev", "hostprofiles"): {*READ},
    ("whimbrel.dev", "hostprofiles/status"): {"update"},
    ("whimbrel.dev", "virtualmachinemoves"): {*READ, "create", "update", "delete"},
    ("whimbrel.dev", "virtualmachinemoves/status"): {"update"},
    ("kubevirt.io", "virtualmachines"): {*FOLLOW},
    ("kubevirt.io", "virtualmachineinstances"): {*READ, "patch"},
    ("kubevirt.io", "virtualmachineinstancemigrations"): {*READ, "create", "delete"},
    ("kubevirt.io", "kubevirts"): {*FOLLOW},
    ("migrations.kubevirt.io", "migrationpolicies"): {*READ, "create", "delete"},
    ("", "nodes"): {*FOLLOW},
    ("", "namespaces"): {*FOLLOW},
    ("", "pods"): {*FOLLOW},
    ("", "persistentvolumeclaims"): {*FOLLOW},
    ("", "persistentvolumes"): {*FOLLOW},
    ("", "resourcequotas"): {*FOLLOW},
    ("", "limitranges"): {*FOLLOW},
    ("storage.k8s.io", "csinodes"): {*FOLLOW},
    ("storage.k8s.io", "volumeattachments"): {*FOLLOW},
    ("k8s.cni.cncf.io", "network-attachment-definitions"): {*FOLLOW},
    ("events.k8s.io", "events"): {"create"},
}
"""All that the operator may do in the whole cluster; a change here is a change that users must be told of."""

NOT_ASKED_FOR = {
    ("whimbrel.dev", "migrationplans", "get"),
    ("whimbrel.dev", "hostprofiles", "get"),
    ("whimbrel.dev", "virtualmachinemoves", "get"),
    ("migrations.kubevirt.io", "migrationpolicies", "get"),
    ("whimbrel.dev", "migrationplans/finalizers", "update"),
}
"""What the operator is ready without: reading again what a write was refused for, and the right that a server with
OwnerReferencesPermissionEnforcement wants to see for `blockOwnerDeletion`."""


def rules(name: str) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((CHART / "files" / name).read_text())
    assert isinstance(loaded, list)
    return loaded


def granted(name: str) -> dict[tuple[str, str], set[str]]:
    """(group, resource) → verbs."""
    out: dict[tuple[str, str], set[str]] = {}
    for rule in rules(name):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                out.setdefault((group, resource), set()).update(rule["verbs"])
    return out


def template(name: str) -> str:
    return (CHART / "templates" / name).read_text()


def test_the_operator_may_do_in_the_cluster_exactly_what_it_needs() -> None:
    assert granted("cluster-role-rules.yaml") == CLUSTER


def test_nothing_is_granted_in_the_cluster_that_the_operator_does_not_use() -> None:
    given = {(group, resource, verb) for (group, resource), verbs in CLUSTER.items() for verb in verbs}
    used = {
        (need.resource.group, "/".join(filter(None, (need.resource.plural, need.subresource))), need.verb)
        for need in needs("whimbrel-system")
    }

    assert given - used - NOT_ASKED_FOR == set()


def test_the_operator_may_touch_leases_in_its_own_namespace_alone() -> None:
    assert granted("own-namespace-role-rules.yaml") == {("coordination.k8s.io", "leases"): {"get", "create", "update"}}


def test_the_operator_reads_of_all_configuration_in_kubevirts_namespace_only_the_public_ca() -> None:
    assert rules("kubevirt-namespace-role-rules.yaml") == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kubevirt-ca"], "verbs": ["get"]}
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in (CHART / "files").glob("*-rules.yaml")))
def test_no_rule_has_a_wildcard_and_every_rules_file_is_granted_by_the_template(name: str) -> None:
    assert not [rule for rule in rules(name) if "*" in rule["apiGroups"] + rule["resources"] + rule["verbs"]]
    assert f'.Files.Get "files/{name}"' in template("rbac.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "type: RuntimeDefault",
        "path: /healthz",
        "path: /readyz",
        "fieldPath: metadata.name",
        "fieldPath: metadata.namespace",
    ],
)
def test_the_pod_is_confined_and_probed(line: str) -> None:
    assert line in {text.strip() for text in template("deployment.yaml").splitlines()}


def test_the_schema_knows_every_value_and_only_those() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        known = schema["properties"][name]
        if known.get("additionalProperties") is False:
            assert set(known["properties"]) == set(value)


def test_a_template_asks_for_no_value_that_does_not_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    paths = {
        path.rstrip(".")
        for file in (CHART / "templates").iterdir()
        for path in re.findall(r"\.Values\.([A-Za-z.]+)", file.read_text())
    }

    def exists(path: str) -> bool:
        node: Any = values
        for step in path.split("."):
            if not isinstance(node, dict) or step not in node:
                return False
            node = node[step]
        return True

    assert paths
    assert {path for path in paths if not exists(path)} == set()


@pytest.mark.parametrize("path", sorted((CHART / "templates").iterdir()), ids=lambda path: path.name)
def test_every_block_of_a_template_is_closed(path: Path) -> None:
    words = re.findall(r"\{\{-?\s*(if|with|range|define|end)\b", path.read_text())

    assert words.count("end") == len(words) - words.count("end")
