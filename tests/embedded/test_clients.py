"""Kopf against watches that the embedded server breaks on purpose."""

from typing import Any

from support.kopf_operator import Operator
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault


async def test_kopf_lists_again_after_a_410_and_goes_on_after_a_closed_watch(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget("a"))

    async with Operator(plane.access(), "default") as operator:
        await operator.next()
        plane.faults.add(Fault(watch="gone", resource="widgets.example.com"))
        relisted = await operator.next()
        plane.faults.add(Fault(watch="close", resource="widgets.example.com"))
        await client.create(widgets, build.widget("b"))
        resumed = await operator.next()

    assert (relisted, resumed) == ((None, "a"), ("ADDED", "b"))
