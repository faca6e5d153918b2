"""What KubeVirt can be told is read from the server, and kept current without reading much."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from support.raw_objects import FIRST_POLICY_FIELDS, SPEC_FIELDS, a_kubevirt, a_migration, a_namespace, definition
from support.waiting import WaitingStore
from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import KUBEVIRTS, MIGRATION_POLICIES, MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.capabilities_reader import CapabilitiesReader
from whimbrel.kube.client import Connection
from whimbrel.kube.errors import Invalid
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab import fleet
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane

OLD = (
    definition(MIGRATIONS, status=False, fields=("vmiName",)),
    definition(MIGRATION_POLICIES, status=False, fields=FIRST_POLICY_FIELDS),
)
NEW = tuple(definition(kind, status=False, fields=fields) for kind, fields in SPEC_FIELDS.items())


@pytest.fixture
def reader(api: KubeApi, store: WaitingStore) -> CapabilitiesReader:
    return CapabilitiesReader(api, store)


@pytest.fixture
def documents_read(telemetry: Telemetry) -> Callable[[], int]:
    """How many OpenAPI documents were read so far, the index included."""

    def count() -> int:
        labels = {"verb": "get", "kind": "OpenAPI", "code": "200"}
        return int(telemetry.registry.get_sample_value("whimbrel_api_requests_total", labels) or 0)

    return count


@pytest.fixture
async def running(api: KubeApi, store: WaitingStore) -> AsyncIterator[CapabilitiesReader]:
    """A reader that by itself would look again in an hour."""
    reader = CapabilitiesReader(api, store, interval_s=3600, retry_s=0.02, on_state=store.changed.set)
    task = asyncio.create_task(reader.run())
    yield reader
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_an_old_release_cannot_be_told_is_known(
    bare_cluster: EmbeddedControlPlane, reader: CapabilitiesReader, store: WaitingStore
) -> None:
    await bare_cluster.load(OLD)

    await reader.read_once()

    assert store.capabilities == Capabilities(added_node_selector=False, policy_fields=frozenset(FIRST_POLICY_FIELDS))
    assert reader.problem == ""


@pytest.mark.parametrize(
    ("version", "names_target", "suspends"),
    [("v1.4.1", False, False), ("v1.5.3", False, True), ("v1.6.0", True, True), ("", True, True)],
)
async def test_the_lab_serves_what_its_release_can_be_told(
    bare_cluster: EmbeddedControlPlane,
    reader: CapabilitiesReader,
    store: WaitingStore,
    version: str,
    names_target: bool,
    suspends: bool,
) -> None:
    await bare_cluster.load(fleet.definitions(version=version))

    await reader.read_once()

    assert store.capabilities is not None
    assert store.capabilities.added_node_selector is names_target
    assert store.capabilities.workload_disruption is suspends
    assert store.capabilities.policy_fields >= set(FIRST_POLICY_FIELDS)


async def test_documents_are_read_again_only_when_they_changed(
    bare_cluster: EmbeddedControlPlane,
    reader: CapabilitiesReader,
    store: WaitingStore,
    documents_read: Callable[[], int],
) -> None:
    await bare_cluster.load(OLD)
    await reader.read_once()
    generation = store.generation

    await reader.read_once()

    assert documents_read() == 4  # index and two documents, then the index alone
    assert store.generation == generation
    await bare_cluster.load(NEW)
    await reader.read_once()
    assert documents_read() == 7
    assert store.capabilities is not None
    assert store.capabilities.added_node_selector
    assert store.capabilities.workload_disruption


async def test_an_absent_kubevirt_is_named_and_noticed_when_it_comes(
    bare_cluster: EmbeddedControlPlane, running: CapabilitiesReader, store: WaitingStore
) -> None:
    await store.until(lambda: bool(running.problem))
    assert running.problem == "apis/kubevirt.io/v1 is not among them"
    assert store.capabilities is None

    await bare_cluster.load(NEW)
    await store.until(lambda: store.capabilities is not None)
    assert running.problem == ""


async def test_an_upgrade_of_kubevirt_is_noticed_at_once(
    bare_cluster: EmbeddedControlPlane, running: CapabilitiesReader, store: WaitingStore
) -> None:
    await bare_cluster.load(OLD)
    await store.until(lambda: store.capabilities is not None)
    await bare_cluster.load(NEW)

    upgraded = {**a_kubevirt(), "metadata": {**a_kubevirt()["metadata"], "uid": "u", "resourceVersion": "2"}}
    store.apply(KUBEVIRTS, upgraded)
    running.look()

    await store.until(lambda: store.capabilities is not None and store.capabilities.added_node_selector)


async def test_what_was_read_last_stays_in_force_while_nothing_can_be_read(
    bare_cluster: EmbeddedControlPlane, reader: CapabilitiesReader, store: WaitingStore
) -> None:
    await bare_cluster.load(NEW)
    await reader.read_once()
    before = store.capabilities

    await bare_cluster.stop()
    await reader.read_once()

    assert reader.problem.startswith("they cannot be read: the API server cannot be reached")
    assert store.capabilities == before


async def test_a_field_that_is_not_served_is_refused_and_not_dropped(
    bare_cluster: EmbeddedControlPlane, connection: Connection, api: KubeApi
) -> None:
    strict = definition(MIGRATIONS, status=False)
    vmi_name = {"type": "object", "properties": {"vmiName": {"type": "string"}}}
    strict["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": vmi_name}}
    await bare_cluster.load([a_namespace("shop"), strict])
    body = a_migration("moves", "db1")
    body["spec"]["addedNodeSelector"] = {"kubernetes.io/hostname": "node-2"}

    with pytest.raises(Invalid, match="addedNodeSelector"):
        await api.create(MIGRATIONS, "shop", body)
