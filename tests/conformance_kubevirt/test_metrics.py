"""virt-handler's metrics of migrations and of guests that run, as a client of the cluster reads them (contract §9.1, §9.3)."""

import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]
REMAINING = "kubevirt_vmi_migration_data_remaining_bytes"
SERIES = (
    "kubevirt_vmi_migration_data_bytes_total",
    REMAINING,
    "kubevirt_vmi_migration_data_processed_bytes",
    "kubevirt_vmi_migration_dirty_memory_rate_bytes",
    "kubevirt_vmi_migration_memory_transfer_rate_bytes",
)


async def scraped(lab: Lab, node: str) -> list[str]:
    """The lines of a node's metrics, verified as KubeVirt's own clients do."""
    bundle = (await lab.client.get("ConfigMap", "kubevirt-ca", "kubevirt"))["data"]["ca-bundle"]
    trusted = ssl.create_default_context(cadata=bundle)
    pod = lab.read("Pod", f"virt-handler-{node}", "kubevirt") or {}
    (port,) = [each["containerPort"] for each in pod["spec"]["containers"][0]["ports"] if each["name"] == "metrics"]
    async with aiohttp.ClientSession() as session:
        url = f"https://{pod['status']['podIP']}:{port}/metrics"
        async with session.get(url, ssl=trusted, server_hostname="virt-handler.kubevirt.svc") as answer:
            return (await answer.text()).splitlines()


def samples(lab: Lab, lines: list[str], series: str = REMAINING) -> list[tuple[int, int]]:
    """(timestamp, value) of a series of vm-1 on node-1, in the order of the scrape."""
    start = f'{series}{{namespace="{lab.namespace}",name="vm-1",node="node-1"}} '
    found = [line.removeprefix(start).split() for line in lines if line.startswith(start)]
    return [(int(moment), int(value)) for value, moment in found]


async def test_one_scrape_holds_several_samples_and_the_next_repeats_them(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")
    first: list[tuple[int, int]] = []

    async def sampled() -> bool:
        first[:] = samples(lab, await scraped(lab, "node-1"))
        return len(first) >= 2

    await lab.wait_until(sampled, 40)
    second = samples(lab, await scraped(lab, "node-1"))

    assert set(first) <= set(second)
    assert len({moment for moment, _ in first}) == len(first)
    in_order = [value for _, value in sorted(second)]
    assert in_order == sorted(in_order, reverse=True)
    assert {name for name in SERIES if samples(lab, await scraped(lab, "node-1"), name)} == set(SERIES)
    assert samples(lab, await scraped(lab, "node-2")) == []

    await lab.delete_migration(migration)
    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 15)
    assert samples(lab, await scraped(lab, "node-1")) == []


async def test_a_running_guest_has_no_series_of_a_migration(make_lab: MakeLab) -> None:
    lab = await make_lab()

    assert samples(lab, await scraped(lab, "node-1")) == []


async def test_dirty_rates_are_shown_for_guests_that_do_not_migrate(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"dirty_bytes_per_second": 3 * 1024**2})

    (line,) = [each for each in await scraped(lab, "node-1") if each.startswith("kubevirt_vmi_dirty_rate_bytes")]

    assert f'{{node="node-1",namespace="{lab.namespace}",name="vm-1",' in line
    assert 'kubernetes_vmi_label_app="app-1"' in line
    assert line.endswith("} 3145728")


async def test_resident_memory_is_shown_for_all_guests_that_run_also_while_they_migrate(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)

    async def resident(node: str) -> list[str]:
        lines = await scraped(lab, node)
        return [each for each in lines if each.startswith("kubevirt_vmi_memory_resident_bytes{")]

    async def rates() -> list[str]:
        return [each for each in await scraped(lab, "node-1") if each.startswith("kubevirt_vmi_dirty_rate_bytes")]

    (before,) = await resident("node-1")
    await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    async def copying() -> bool:
        return not await rates()

    await lab.wait_until(copying, 15)
    assert f'{{node="node-1",namespace="{lab.namespace}",name="vm-1",' in before
    (during,) = await resident("node-1")
    assert int(during.rsplit(" ", 1)[1]) == int(before.rsplit(" ", 1)[1]) > 0
    assert await resident("node-2") == []


async def test_the_metrics_certificate_names_no_address(make_lab: MakeLab) -> None:
    lab = await make_lab()
    bundle = (await lab.client.get("ConfigMap", "kubevirt-ca", "kubevirt"))["data"]["ca-bundle"]
    address, port = lab.standin.metrics.endpoint("node-1")

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://{address}:{port}/metrics", ssl=ssl.create_default_context(cadata=bundle))
