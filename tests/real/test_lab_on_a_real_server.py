"""The lab on a real API server: the stand-in's KubeVirt, with kube-scheduler binding the launcher pods."""

import pytest

from whimbrel_lab import fleet
from whimbrel_lab.controlplane.real.plane import DEFINITION, RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.kubevirt.client import Client
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import simple

pytestmark = pytest.mark.control_plane


async def test_a_virtual_machine_moves_and_nothing_of_the_lab_is_left(api_server: Endpoint) -> None:
    for _ in range(2):
        async with Lab(simple(2, 1), control_plane=RealControlPlane(USERS.values(), api_server)) as lab:
            migration = await lab.create_foreign_migration("vm-01", node="node-2")

            assert await lab.ended(migration) == "Succeeded"
            assert lab.node_of("vm-01") == "node-2"


async def test_webhooks_that_a_killed_lab_left_are_swept(api_server: Endpoint) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    left = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "lab-of-somebody"},
    }
    async with Client(api_server.access()) as client:
        await client.send("POST", path, left)
        plane = RealControlPlane(USERS.values(), api_server)
        await plane.start()

        await plane.stop()

        names = [each["metadata"]["name"] for each in (await client.send("GET", path))["items"]]
    assert [each for each in names if each.startswith("lab-")] == []


async def test_a_definition_that_somebody_changed_is_loaded_again_and_an_unchanged_one_is_not(
    api_server: Endpoint,
) -> None:
    plane = RealControlPlane(USERS.values(), api_server)
    await plane.start()
    try:
        definitions = fleet.definitions()
        name = definitions[0]["metadata"]["name"]

        async def version() -> str:
            return str((await plane.client.get(DEFINITION, name))["metadata"]["resourceVersion"])

        await plane.load(definitions)
        loaded = await version()
        await plane.load(definitions)
        again = await version()
        await plane.client.patch(DEFINITION, name, "", {"spec": {"names": {"shortNames": ["somebodys"]}}})
        await plane.load(definitions)
        mended = await plane.client.get(DEFINITION, name)
    finally:
        await plane.stop()

    assert again == loaded
    assert mended["spec"]["names"].get("shortNames") == definitions[0]["spec"]["names"].get("shortNames")
