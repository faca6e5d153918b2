"""An embedded API server with our CRDs and roughly KubeVirt's, and the operator's own client for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.executor_bench import Bench
from support.raw_objects import a_namespace, kubevirt_definitions, own_definitions
from support.waiting import WaitingStore
from whimbrel.kube.api import KubeApi
from whimbrel.kube.client import Connection, connect
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane


@pytest.fixture
async def bare_cluster() -> AsyncIterator[EmbeddedControlPlane]:
    """A cluster that knows neither us nor KubeVirt."""
    async with EmbeddedControlPlane(bookmark_interval_s=0.2) as server:
        await server.load([a_namespace("shop")])
        yield server


@pytest.fixture
async def cluster(bare_cluster: EmbeddedControlPlane) -> EmbeddedControlPlane:
    """A cluster with all kinds."""
    await bare_cluster.load([*own_definitions(), *kubevirt_definitions()])
    return bare_cluster


@pytest.fixture
async def connection(bare_cluster: EmbeddedControlPlane, tmp_path: Path) -> Connection:
    return await connect(str(bare_cluster.write_kubeconfig(tmp_path / "kubeconfig")))


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def api(connection: Connection, telemetry: Telemetry) -> AsyncIterator[KubeApi]:
    async with KubeApi(connection.configuration, telemetry) as client:
        yield client


@pytest.fixture
def store() -> WaitingStore:
    return WaitingStore()


@pytest.fixture
def bench(cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, telemetry: Telemetry) -> Bench:
    return Bench(cluster, api, store, telemetry)
