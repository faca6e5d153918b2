"""What Whimbrel reads out of KubeVirt's own definitions, release by release.

They are not ours to bring along: WHIMBREL_KUBEVIRT_CRDS names a folder that holds them as `vX.Y.Z.yaml`.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from whimbrel.domain.records import Capabilities
from whimbrel.inventory.projections.capabilities import project

FOLDER = os.environ.get("WHIMBREL_KUBEVIRT_CRDS", "")
FIRST = {"selectors", "allowAutoConverge", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"}
WITH_STUN = FIRST | {"allowWorkloadDisruption"}
NEWEST = WITH_STUN | {"maxDowntimeMs", "experimental"}
RELEASES: dict[str, tuple[bool, set[str]]] = {
    "v1.3.1": (False, FIRST),
    "v1.4.1": (False, FIRST),
    "v1.5.3": (False, WITH_STUN),
    "v1.6.6": (True, WITH_STUN),
    "v1.7.4": (True, WITH_STUN),
    "v1.8.4": (True, WITH_STUN),
    "v1.9.0": (True, NEWEST),
}
"""Whether a migration can name its target, and what a policy may say."""

pytestmark = pytest.mark.skipif(not FOLDER, reason="WHIMBREL_KUBEVIRT_CRDS names no folder of KubeVirt's definitions")


def served(release: str) -> dict[str, dict[str, Any]]:
    """By group and version the OpenAPI v3 document that an API server makes of a release's definitions."""
    schemas: dict[str, dict[str, Any]] = defaultdict(dict)
    for definition in yaml.safe_load_all((Path(FOLDER) / f"{release}.yaml").read_text()):
        group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
        for version in definition["spec"]["versions"]:
            identity = {"group": group, "version": version["name"], "kind": kind}
            schema = {**version["schema"]["openAPIV3Schema"], "x-kubernetes-group-version-kind": [identity]}
            schemas[f"{group}/{version['name']}"][kind] = schema
    return {name: {"components": {"schemas": held}} for name, held in schemas.items()}


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_says_what_it_can_do(release: str) -> None:
    documents = served(release)
    names_target, fields = RELEASES[release]

    found = project(documents["kubevirt.io/v1"], documents["migrations.kubevirt.io/v1alpha1"])

    assert found == Capabilities(added_node_selector=names_target, policy_fields=frozenset(fields))
