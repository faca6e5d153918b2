"""Progress and readings of guests come from virt-handlers over HTTPS, and only from those that prove who they are."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.raw_objects import a_kubevirt, a_migration, a_namespace, a_plan, an_instance
from support.waiting import WaitingStore
from whimbrel.domain.naming import LABEL_MANAGED
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, KUBEVIRTS, MIGRATION_PLANS, MIGRATIONS, PODS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.metrics_reader import MetricsReader
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane

DB = Key("shop", "db1")
NOW = datetime.now(UTC)


class Authority:
    """A CA, and certificates of its own making."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubevirt.io")])
        self.certificate = self._signed(self.name, self.key.public_key(), ca=True, name="")

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, name: str, folder: Path) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), ca=False, name=name)
        path = folder / f"{name}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(self, subject: x509.Name, key: Any, *, ca: bool, name: str) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if name:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


Serve = Callable[[ssl.SSLContext, str], Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a virt-handler's /metrics with that text; answers its port."""
    runners: list[web.AppRunner] = []

    async def start(context: ssl.SSLContext, text: str) -> int:
        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=text)

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


def a_handler(port: int, node: str = "node-1") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"virt-handler-{node}",
            "namespace": "kubevirt",
            "uid": f"pod-{node}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubevirt.io": "virt-handler"},
        },
        "spec": {
            "nodeName": node,
            "containers": [
                {"name": "virt-handler", "ports": [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]}
            ],
        },
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }


def seen(raw: dict[str, Any], uid: str) -> dict[str, Any]:
    """As the server would show it."""
    metadata = {"uid": uid, "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return raw | {"metadata": raw["metadata"] | metadata}


def in_flight(store: WaitingStore, port: int) -> None:
    """Our migration of db1 runs on node-1, and there is a virt-handler at that port."""
    instance = seen(an_instance("db1"), "vmi")
    instance["status"]["migrationState"] = {
        "migrationUid": "vmim",
        "sourceNode": "node-1",
        "startTimestamp": (NOW - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    store.apply(INSTANCES, instance)
    store.apply(MIGRATIONS, seen(a_migration("m1", labels={LABEL_MANAGED: "true"}), "vmim"))
    store.apply(KUBEVIRTS, seen(a_kubevirt(), "kv"))
    store.apply(PODS, a_handler(port))


def exposition(name: str = "db1") -> str:
    stamp = int(datetime.now(UTC).timestamp() * 1000)
    return f'kubevirt_vmi_migration_data_remaining_bytes{{namespace="shop",name="{name}",node="node-1"}} 1024 {stamp}\n'


@pytest.fixture
async def authority(cluster: EmbeddedControlPlane) -> Authority:
    authority = Authority()
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubevirt-ca", "namespace": "kubevirt"},
        "data": {"ca-bundle": authority.pem},
    }
    await cluster.load([a_namespace("kubevirt"), config_map])
    return authority


async def read(reader: MetricsReader) -> None:
    async with aiohttp.ClientSession() as session:
        await reader.read_once(session)


async def test_progress_of_our_migration_is_in_the_next_snapshot(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    in_flight(store, await serve(authority.server("virt-handler.kubevirt.svc", tmp_path), exposition()))

    await read(reader := MetricsReader(api, store, telemetry))

    assert reader.problem == ""
    assert store.snapshot(datetime.now(UTC)).samples[DB].remaining_bytes == 1024


@pytest.mark.parametrize("impostor", ["another name", "another authority"])
async def test_who_cannot_prove_to_be_virt_handler_is_not_believed(
    api: KubeApi,
    store: WaitingStore,
    telemetry: Telemetry,
    authority: Authority,
    serve: Serve,
    tmp_path: Path,
    impostor: str,
) -> None:
    signer = authority if impostor == "another name" else Authority()
    name = "virt-handler.evil.svc" if impostor == "another name" else "virt-handler.kubevirt.svc"
    in_flight(store, await serve(signer.server(name, tmp_path), exposition()))

    await read(reader := MetricsReader(api, store, telemetry))

    assert "node-1" in reader.problem
    assert not store.snapshot(datetime.now(UTC)).samples


async def test_without_the_ca_nothing_is_read_and_the_reason_is_told(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, telemetry: Telemetry
) -> None:
    in_flight(store, 1)

    await read(reader := MetricsReader(api, store, telemetry))

    assert reader.problem.startswith("ConfigMap kubevirt/kubevirt-ca (virt-handler's CA):")


async def test_a_virt_handler_that_is_down_costs_only_its_own_samples(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority
) -> None:
    in_flight(store, 1)

    await read(reader := MetricsReader(api, store, telemetry))

    assert reader.problem.startswith("virt-handler of node-1 at 127.0.0.1:1:")


def at_rest(store: WaitingStore, *ports: int) -> None:
    """A guest runs on each node, node-1 first, with a virt-handler at each port; nothing migrates."""
    store.apply(KUBEVIRTS, seen(a_kubevirt(), "kv"))
    for number, port in enumerate(ports, start=1):
        store.apply(INSTANCES, seen(an_instance(f"db{number}", f"node-{number}"), f"vmi-{number}"))
        store.apply(PODS, a_handler(port, f"node-{number}"))


def resident(value: int, number: int = 1) -> str:
    labels = f'node="node-{number}",namespace="shop",name="db{number}"'
    return f"kubevirt_vmi_memory_resident_bytes{{{labels}}} {value}\n"


async def test_nothing_is_read_where_nobody_plans_and_nothing_of_ours_is_in_flight(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority
) -> None:
    at_rest(store, 1)

    await read(reader := MetricsReader(api, store, telemetry))

    assert reader.problem == ""


async def test_guests_at_rest_are_read_where_somebody_plans(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    context = authority.server("virt-handler.kubevirt.svc", tmp_path)
    at_rest(store, await serve(context, resident(5) + resident(6, 2)), 1)
    store.apply(MIGRATION_PLANS, seen(a_plan("evening"), "plan"))

    await read(reader := MetricsReader(api, store, telemetry))

    told = store.snapshot(datetime.now(UTC)).readings
    assert {key: each.resident_bytes.value for key, each in told.items() if each.resident_bytes} == {DB: 5.0}
    assert reader.problem.startswith("virt-handler of node-2"), "one that is down keeps nobody from being read"


async def test_a_node_at_rest_is_not_asked_again_at_once_whether_it_answered_or_not(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    context = authority.server("virt-handler.kubevirt.svc", tmp_path)
    at_rest(store, await serve(context, resident(5)), 1)
    store.apply(MIGRATION_PLANS, seen(a_plan("evening"), "plan"))
    reader = MetricsReader(api, store, telemetry)

    await read(reader)
    await read(reader)

    def counted(result: str) -> float | None:
        return telemetry.registry.get_sample_value("whimbrel_handler_scrapes_total", {"result": result})

    assert (counted("ok"), counted("failed")) == (1, 1)


async def test_the_course_of_a_migration_and_its_guests_memory_come_with_its_progress(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    series = 'kubevirt_vmi_migration_data_remaining_bytes{namespace="shop",name="db1",node="node-1"}'
    ring = "".join(f"{series} {left} {now_ms - 1000 * left}\n" for left in (5, 1, 10))
    context = authority.server("virt-handler.kubevirt.svc", tmp_path)
    in_flight(store, await serve(context, ring + resident(7)))

    reader = MetricsReader(api, store, telemetry)
    await read(reader)
    await read(reader)

    snapshot = store.snapshot(datetime.now(UTC))
    assert [each.remaining_bytes for each in snapshot.courses[DB]] == [10, 5, 1]
    assert snapshot.samples[DB].remaining_bytes == 1
    assert snapshot.readings[DB].resident_bytes is not None


async def test_the_reader_runs_until_it_is_stopped(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    in_flight(store, await serve(authority.server("virt-handler.kubevirt.svc", tmp_path), exposition()))
    beats = asyncio.Queue[None]()
    reader = MetricsReader(api, store, telemetry, interval_s=0.01, beat=lambda: beats.put_nowait(None))
    running = asyncio.create_task(reader.run())

    async with asyncio.timeout(10):
        for _ in range(3):
            await beats.get()

    running.cancel()
    assert store.snapshot(datetime.now(UTC)).samples


async def test_who_is_about_to_decide_has_what_a_read_told_that_began_since(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    port = await serve(authority.server("virt-handler.kubevirt.svc", tmp_path), resident(5) + resident(6, 2))
    reader = MetricsReader(api, store, telemetry, interval_s=3600)
    running = asyncio.create_task(reader.run())
    await reader.read_anew(10)  # of a cluster in which nothing is to be read
    at_rest(store, port, 1)
    store.apply(MIGRATION_PLANS, seen(a_plan("evening"), "plan"))

    await reader.read_anew(10)

    running.cancel()
    assert store.snapshot(datetime.now(UTC)).readings


async def test_who_is_about_to_decide_waits_no_longer_than_he_says(
    api: KubeApi, store: WaitingStore, telemetry: Telemetry
) -> None:
    async with asyncio.timeout(10):
        await MetricsReader(api, store, telemetry).read_anew(0.01)
