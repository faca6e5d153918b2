"""The elector against a server: one leader at a time, quick hand-over, and an end of leading that nothing can delay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from whimbrel.domain.records import Key
from whimbrel.domain.resources import LEASES
from whimbrel.kube.api import KubeApi
from whimbrel.kube.lease import Elector, LeaseLost, Timing
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

KEY = Key("shop", "whimbrel")
QUICK = Timing(duration_s=1.0, renew_deadline_s=0.6, retry_s=0.1)


class Candidate:
    """An elector with its task, and an event at each change of leadership."""

    def __init__(self, api: KubeApi, name: str) -> None:
        self.changed = asyncio.Event()
        self.elector = Elector(api, KEY, name, timing=QUICK, on_change=self.changed.set)
        self.task = asyncio.create_task(self.elector.run())

    async def leads(self) -> None:
        async with asyncio.timeout(10):
            while not self.elector.leading:
                self.changed.clear()
                await self.changed.wait()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeaseLost):
            await self.task


@pytest.fixture
async def stand(api: KubeApi) -> AsyncIterator[Callable[[str], Candidate]]:
    candidates: list[Candidate] = []

    def start(name: str) -> Candidate:
        candidates.append(Candidate(api, name))
        return candidates[-1]

    yield start
    for candidate in candidates:
        await candidate.stop()


async def test_the_first_leads_and_the_second_follows(
    bare_cluster: EmbeddedControlPlane, api: KubeApi, stand: Callable[[str], Candidate]
) -> None:
    first = stand("first")
    await first.leads()
    second = stand("second")
    await asyncio.sleep(2 * QUICK.duration_s)  # longer than a lease that nobody renews

    assert first.elector.leading
    assert not second.elector.leading
    assert second.elector.remaining() == 0
    spec = (await api.get(LEASES, KEY))["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("first", 1)
    assert spec["renewTime"].endswith("Z")


async def test_a_released_lease_is_taken_over_at_once(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate], api: KubeApi
) -> None:
    first = stand("first")
    await first.leads()
    second = stand("second")

    await first.stop()
    await first.elector.release()

    assert first.elector.remaining() == 0
    await second.leads()
    assert (await api.get(LEASES, KEY))["spec"]["leaseTransitions"] == 1


async def test_a_renewal_whose_answer_nobody_waited_for_does_not_hinder_the_release(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate], api: KubeApi
) -> None:
    first = stand("first")
    await first.leads()
    await first.stop()
    unseen = await api.get(LEASES, KEY)
    await api.replace(LEASES, KEY, unseen | {"spec": unseen["spec"] | {"renewTime": "2026-01-01T00:00:00.000000Z"}})

    await first.elector.release()

    assert (await api.get(LEASES, KEY))["spec"]["holderIdentity"] == ""


async def test_a_killed_leader_is_replaced_when_its_lease_has_expired(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate]
) -> None:
    first = stand("first")
    await first.leads()
    second = stand("second")

    await first.stop()

    await second.leads()
    assert first.elector.remaining() == 0, "both believed that they lead"


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(latency_s=30.0), Fault(reset="before"), Fault(status=403)],
    ids=["unavailable", "hanging", "reset", "forbidden"],
)
async def test_a_leader_that_cannot_reach_the_server_ends_before_its_lease_does(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate], fault: Fault
) -> None:
    first = stand("first")
    await first.leads()
    fault.times, fault.hits = None, 0
    bare_cluster.faults.add(fault)

    with pytest.raises(LeaseLost):
        async with asyncio.timeout(QUICK.duration_s + 0.5):
            await first.task

    assert not first.elector.leading


async def test_a_lost_answer_to_a_renewal_is_no_loss(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate]
) -> None:
    first = stand("first")
    await first.leads()
    cut = bare_cluster.faults.add(Fault(verb="update", resource="leases.coordination.k8s.io", reset="after"))

    await asyncio.sleep(QUICK.duration_s)  # the lease is renewed several times in this

    assert cut.hits == 1
    assert first.elector.leading


async def test_a_stolen_lease_ends_leading(
    bare_cluster: EmbeddedControlPlane, api: KubeApi, stand: Callable[[str], Candidate]
) -> None:
    first = stand("first")
    await first.leads()
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(Exception):
                stolen = await api.get(LEASES, KEY)
                stolen["spec"]["holderIdentity"] = "thief"
                await api.replace(LEASES, KEY, stolen)
                break

    with pytest.raises(LeaseLost, match="thief holds the Lease now"):
        await first.task


async def test_a_deleted_lease_is_not_taken_while_its_leader_may_believe_in_it(
    bare_cluster: EmbeddedControlPlane, api: KubeApi, stand: Callable[[str], Candidate]
) -> None:
    first = stand("first")
    await first.leads()
    second = stand("second")
    async with asyncio.timeout(5):
        await second.elector.looked.wait()
    await first.stop()

    await api.delete(LEASES, KEY, (await api.get(LEASES, KEY))["metadata"]["uid"])

    await second.leads()
    assert first.elector.remaining() == 0, "both believed that they lead"


async def test_a_lease_that_may_not_be_written_is_a_problem_that_is_told(
    bare_cluster: EmbeddedControlPlane, stand: Callable[[str], Candidate]
) -> None:
    bare_cluster.faults.add(Fault(verb="create", status=403, message="leases is forbidden", times=None))
    first = stand("first")
    async with asyncio.timeout(5):
        await first.changed.wait()

    assert "leases is forbidden" in first.elector.problem

    bare_cluster.faults.clear()
    await first.leads()
    assert first.elector.problem == ""
