"""Hosts: their limits hold whoever migrates, one that fails loses nothing but time, and the ladder is climbed on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import (
    MIB,
    STUN,
    Object,
    guests,
    hosts,
    landed,
    plan,
    profile,
    scene,
    topology,
)
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.simulation.world import Change
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.topology import LabGuest, LabHost

pytestmark = pytest.mark.lab

SLOW = {"bandwidth": {"maxMbps": 100}}
SMALL_LINKS = {"minMbps": 160}


def job(pod: Object) -> bool:
    """Whether it is a launcher that a migration made."""
    return "kubevirt.io/migrationJobUID" in (pod["metadata"].get("labels") or {})


def unfinished(history: Iterator[Change]) -> Iterator[dict[str, Object]]:
    """The migrations in flight, by name, at every revision."""
    held: dict[str, Object] = {}
    for change in history:
        if change.after is None or member(change.after, "status", "phase") in ("Succeeded", "Failed"):
            held.pop(change.key.name, None)
        else:
            held[change.key.name] = dict(change.after)
        yield held


async def test_a_target_that_fails_in_mid_move_costs_an_attempt_and_the_next_goes_elsewhere(
    tmp_path: Path, server: Endpoint | None
) -> None:
    async with scene(topology(guests(1, touched_mib=32)), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile(), plan(migration=SLOW))
        await stage.until(lambda: stage.copying("vm-1"), "vm-1 is being copied")
        first = stage.moves()["vm-1"]["spec"]["attempt"]["targetNode"]

        await stage.lab.fail_node(first)
        await stage.until(lambda: member(stage.moves()["vm-1"], "status", "history"), "the attempt has ended")
        # A launcher on a dead node cannot end, and KubeVirt waits for it: the administrator takes it away.
        dead = next(pod for pod in stage.lab.items("Pod") if member(pod, "spec", "nodeName") == first and job(pod))
        await stage.lab.client.delete("Pod", dead["metadata"]["name"], stage.lab.namespace, grace_period_s=0)
        status = await stage.until_phase("Succeeded", "Failed")

        assert status["phase"] == "Succeeded", stage.report()
        move = stage.moves()["vm-1"]["status"]
        assert move["receipt"]["attempts"] == 2
        assert move["history"][0]["outcome"] == "Failed"
        assert move["history"][0]["targetNode"] == first
        other = {"node-2": "node-3", "node-3": "node-2"}[first]
        assert landed(stage) == {"vm-1": (other, other)}
        await stage.until_at_rest()


async def test_no_limit_is_ever_exceeded_and_the_migrations_of_others_count(
    tmp_path: Path, server: Endpoint | None
) -> None:
    limits = {"parallelMigrationsPerCluster": 3, "parallelOutboundMigrationsPerNode": 3}
    machines = (*guests(6), LabGuest("theirs", "node-2", memory_bytes=64 * MIB, touched_bytes=16 * MIB))
    async with scene(topology(machines, hosts(4), migrations=limits), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile(out=3, into=1))
        stage.lab.stall_pods("node-3")
        foreign = await stage.lab.create_foreign_migration("theirs", node="node-3")

        await stage.apply(plan(target={"nodeNames": ["node-2", "node-4"]}))
        await stage.until(lambda: len(landed(stage)) >= 4, "four have moved beside the foreign migration")
        assert member(stage.lab.read("VirtualMachineInstanceMigration", foreign["metadata"]["name"]), "status", "phase")
        stage.lab.resume_pods("node-3")
        await stage.until_phase("Succeeded")

        at_once = arriving = 0
        for held in unfinished(stage.witness.of(MIGRATIONS)):
            at_once = max(at_once, len(held))
            targets = [member(each, "spec", "addedNodeSelector", "kubernetes.io/hostname") for each in held.values()]
            arriving = max(arriving, *(targets.count(node) for node in targets), 0)
        assert at_once == 3, "the cluster's limit is used, and not exceeded"
        assert arriving == 1
        assert await stage.witness.judged() == []
        assert stage.witness.checker.attempts.total() == 6


async def test_most_converge_one_needs_its_stun_and_one_says_every_reason_why_it_stays(
    tmp_path: Path, server: Endpoint | None
) -> None:
    link = 40_000_000
    rare = "Cascadelake-Server"
    nodes = [
        LabHost("node-1", link_bytes_per_second=link, cpu_models=("Haswell", rare)),
        *(LabHost(name, link_bytes_per_second=link, cpu_models=("Haswell",)) for name in ("node-2", "node-3")),
    ]
    machines = (
        *guests(2, touched_mib=8),
        LabGuest(
            "busy",
            "node-1",
            memory_bytes=18 * MIB,
            touched_bytes=16 * MIB,
            working_set_bytes=16 * MIB,
            dirty_bytes_per_second=80 * MIB,
        ),
        LabGuest("stuck", "node-1", cpu_model=rare, blocker="SharedDisk"),
    )
    async with scene(topology(machines, nodes), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile(link_mbps=320))
        await stage.apply(
            plan(
                virtualMachines={"onNodes": {"names": ["node-1"]}, "nonMigratable": "Leave"},
                migration={"bandwidth": SMALL_LINKS, "disruption": STUN, "attempts": 3},
            )
        )
        status = await stage.until_phase("Succeeded", "Failed", within_s=60)
        await stage.until_at_rest()

        assert status["phase"] == "Succeeded", stage.report()
        moves = stage.moves()
        assert sorted(landed(stage)) == ["busy", "vm-1", "vm-2"]
        assert all(said == found != "node-1" for said, found in landed(stage).values())
        busy = moves["busy"]["status"]
        assert busy["attempt"]["rung"] == "Stun"
        assert [(old["rung"], old["reason"]) for old in busy["history"]] == [
            ("PreCopy", "NotConverged"),
            ("Stun", "Verified"),
        ]
        assert busy["receipt"]["downtimeMs"]["source"] == "PausedMode"
        felt = await stage.lab.hypervisor.beats(stage.lab.guest_name("busy"))
        assert 0 < felt.longest_gap_ms <= STUN["maxDowntimeMs"]
        assert felt.restarts == 0
        stuck = moves["stuck"]["status"]
        assert stuck["phase"] == "Skipped"
        assert stage.lab.node_of("stuck") == "node-1"
        assert len({verdict["code"] for verdict in stuck["verdicts"]}) >= 2
        assert all(verdict["remedy"] and verdict["field"] for verdict in stuck["verdicts"])
        assert stage.condition("Finished")["reason"] == "SomeLeft"
