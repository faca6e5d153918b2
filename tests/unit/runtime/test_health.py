"""What is missing is said in words, with what to do about it."""

from dataclasses import dataclass

import aiohttp

from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, NODES, VIRTUAL_MACHINE_MOVES, Resource
from whimbrel.kube.access import Need, needs
from whimbrel.kube.reflector import State
from whimbrel.kube.telemetry import Telemetry
from whimbrel.runtime.health import Health, Problem, Pulse, access_problems, reflector_problems, schema_problem


@dataclass
class Seen:
    resource: Resource
    state: State
    detail: str = ""
    synced: bool = True
    fresh: bool = True


def texts(*seen: Seen) -> list[str]:
    return [str(problem) for problem in reflector_problems(seen)]


def test_nothing_is_missing_when_all_kinds_are_synced() -> None:
    assert texts(Seen(INSTANCES, State.SYNCED), Seen(NODES, State.SYNCED)) == []


def test_missing_kinds_of_ours_and_of_kubevirt_have_different_remedies() -> None:
    ours, theirs = texts(
        Seen(MIGRATION_PLANS, State.MISSING),
        Seen(INSTANCES, State.MISSING),
        Seen(VIRTUAL_MACHINE_MOVES, State.MISSING),
        Seen(MIGRATIONS, State.MISSING),
    )

    assert ours.startswith("migrationplans.whimbrel.dev, virtualmachinemoves.whimbrel.dev are not served.")
    assert "kubectl apply -f crds/" in ours
    assert theirs.startswith("virtualmachineinstances.kubevirt.io, virtualmachineinstancemigrations.kubevirt.io")
    assert "Install KubeVirt" in theirs


def test_a_missing_permission_names_the_kind_and_the_role() -> None:
    (text,) = texts(Seen(NODES, State.FORBIDDEN))

    assert text.startswith("the service account may not list and watch nodes.")
    assert "ClusterRole" in text


def test_silence_is_a_problem_even_if_all_was_well_once() -> None:
    (text,) = texts(Seen(NODES, State.SYNCED, fresh=False))

    assert text.startswith("nodes cannot be watched (nothing was heard for some minutes)")


def test_permissions_to_write_are_listed_with_group_and_subresource() -> None:
    (problem,) = access_problems([Need("update", MIGRATION_PLANS, "status"), Need("list", NODES)])

    assert problem.what == "the service account may not update migrationplans/status.whimbrel.dev"


def test_every_permission_that_is_asked_for_is_asked_for_once() -> None:
    asked = needs("whimbrel-system", "kubevirt")

    assert len(asked) == len(set(asked))
    assert "get configmaps/kubevirt-ca in namespace kubevirt" in {str(need) for need in asked}


def test_a_loop_that_was_not_seen_for_too_long_is_stalled() -> None:
    now = [0.0]
    pulse = Pulse(Telemetry(), clock=lambda: now[0])
    beat = pulse.register("the decision loop", limit_s=10)
    now[0] = 11.0

    assert pulse.stalled() == ["the decision loop was seen 11 s ago (limit 10 s)"]

    beat()
    assert pulse.stalled() == []


async def test_the_endpoints_answer_for_probes_people_and_machines() -> None:
    problems = [Problem("KubeVirt is missing", "Install it")]
    now = [0.0]
    pulse = Pulse(Telemetry(), clock=lambda: now[0])
    pulse.register("the stun guard", limit_s=10)
    health = Health(Telemetry(), pulse, lambda: problems, lambda: "leader", lambda: {"Node": 3, "role": "leader"})
    await health.start("127.0.0.1", 0)
    base = f"http://127.0.0.1:{health.port}"
    try:
        async with aiohttp.ClientSession() as session:

            async def get(path: str, **headers: str) -> tuple[int, str]:
                async with session.get(base + path, headers=headers) as response:
                    return response.status, await response.text()

            assert await get("/readyz") == (503, "missing: KubeVirt is missing. Install it.\nrole: leader\n")
            status, body = await get("/readyz", Accept="application/json")
            assert (status, '"remedy": "Install it"' in body) == (503, True)
            assert (await get("/healthz"))[0] == 200
            assert '"Node": 3' in (await get("/debug/snapshot"))[1]
            assert 'whimbrel_records{kind="Node"} 3.0' in (await get("/metrics"))[1]

            problems.clear()
            assert await get("/readyz") == (200, "ok\nrole: leader\n")
            now[0] = 60.0
            assert await get("/healthz") == (500, "stalled: the stun guard was seen 60 s ago (limit 10 s)\n")
    finally:
        await health.close()


def test_schemas_that_cannot_be_read_say_why_and_that_nothing_starts() -> None:
    problem = schema_problem("they cannot be read: forbidden")

    assert "so nothing starts (they cannot be read: forbidden)" in str(problem)
    assert "system:discovery" in problem.remedy
    assert not problem.passing


def test_schemas_that_are_only_being_read_are_no_fault() -> None:
    assert schema_problem("").passing
