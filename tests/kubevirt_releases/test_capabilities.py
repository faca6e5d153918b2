"""What Whimbrel reads out of KubeVirt's own definitions, release by release, as a real API server publishes them.

They are not ours to bring along: WHIMBREL_KUBEVIRT_CRDS names a folder that holds them as `vX.Y.Z.yaml`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.kubevirt_releases import definitions_of
from support.raw_objects import a_migration, a_namespace
from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.capabilities_reader import CapabilitiesReader
from whimbrel.kube.client import connect
from whimbrel.kube.errors import Invalid
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = [pytest.mark.control_plane, pytest.mark.asyncio(loop_scope="module")]

FIRST = {"selectors", "allowAutoConverge", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"}
WITH_STUN = FIRST | {"allowWorkloadDisruption"}
NEWEST = WITH_STUN | {"maxDowntimeMs", "experimental", "experimental.compression", "experimental.stallDetector"}
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
NOBODY = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "nobody", "namespace": "shop"},
}
"""An account to which nothing was granted."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(api_server: Endpoint) -> AsyncIterator[RealControlPlane]:
    """The run's server: releases replace each other in it."""
    server = RealControlPlane(endpoint=api_server)
    await server.start()
    await server.load([a_namespace("shop"), NOBODY])
    yield server
    await server.stop()


@pytest.mark.parametrize("release", RELEASES)
async def test_an_account_without_any_right_learns_what_the_release_can_be_told(
    plane: RealControlPlane, tmp_path: Path, release: str
) -> None:
    await plane.load(definitions_of(release))
    kubeconfig = write_kubeconfig(tmp_path / "nobody", await plane.account("shop", "nobody"))
    store, telemetry = Store(PROJECTIONS), Telemetry()

    async with KubeApi((await connect(str(kubeconfig))).configuration, telemetry) as api:
        reader = CapabilitiesReader(api, store)
        await reader.read_once()

    names_target, fields = RELEASES[release]
    assert reader.problem == ""
    assert store.capabilities == Capabilities(added_node_selector=names_target, policy_fields=frozenset(fields))


@pytest.mark.parametrize("release", ["v1.5.3", "v1.6.6"])
async def test_a_target_that_the_release_would_drop_is_refused(
    plane: RealControlPlane, tmp_path: Path, release: str
) -> None:
    await plane.load(definitions_of(release))
    kubeconfig = write_kubeconfig(tmp_path / "admin", plane.access())
    body = a_migration(f"moves-{release.replace('.', '-')}")
    body["spec"]["addedNodeSelector"] = {"kubernetes.io/hostname": "node-2"}

    async with KubeApi((await connect(str(kubeconfig))).configuration, Telemetry()) as api:
        if RELEASES[release][0]:
            assert (await api.create(MIGRATIONS, "shop", body))["spec"] == body["spec"]
        else:
            with pytest.raises(Invalid, match=r'unknown field "spec\.addedNodeSelector"'):
                await api.create(MIGRATIONS, "shop", body)
