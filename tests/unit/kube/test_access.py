"""What the operator asks for at the start is what the chart grants."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from whimbrel.domain.resources import EVENTS, INSTANCES, MIGRATIONS, VIRTUAL_MACHINE_MOVES
from whimbrel.kube.access import Need, needs, vital

FILES = Path(__file__).parents[3] / "charts" / "whimbrel" / "files"
OWN, KUBEVIRT = "whimbrel-system", "kubevirt"


def rules(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((FILES / name).read_text()) or []


GRANTED = {
    "": rules("cluster-role-rules.yaml"),
    OWN: rules("own-namespace-role-rules.yaml"),
    KUBEVIRT: rules("kubevirt-namespace-role-rules.yaml"),
}


def granted(need: Need) -> bool:
    resource = need.resource.plural + (f"/{need.subresource}" if need.subresource else "")
    return any(
        need.resource.group in rule["apiGroups"]
        and resource in rule["resources"]
        and need.verb in rule["verbs"]
        and need.name in rule.get("resourceNames", [need.name])
        for rule in GRANTED[""] + GRANTED[need.where]
    )


@pytest.mark.parametrize("need", needs(OWN, KUBEVIRT), ids=str)
def test_the_chart_grants(need: Need) -> None:
    assert granted(need)


def test_a_migration_hangs_on_what_is_done_to_kubevirts_kinds() -> None:
    lacking = [Need("delete", MIGRATIONS), Need("create", EVENTS), Need("patch", INSTANCES), Need("list", MIGRATIONS)]

    assert vital([*lacking, Need("create", VIRTUAL_MACHINE_MOVES)]) == (
        "delete virtualmachineinstancemigrations.kubevirt.io",
        "patch virtualmachineinstances.kubevirt.io",
    )
