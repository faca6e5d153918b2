"""The operator as it is installed: by its service account's token, under the chart's roles, and nothing more than it needs.

One story in which every right is needed, since answers are lost and things are read again; the audit log tells what was
used. What is granted and not used, and what is asked for and not granted, fails.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.chart_roles import ACCOUNT, ACCOUNT_NAMESPACE
from support.lab_scenarios import OPERATOR_USER, Scene, guests, plan_of, profile, scene, topology
from support.lossy_proxy import LossyProxy, lossy_proxy
from whimbrel_lab import chart
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.kubevirt.standin import USERS

pytestmark = pytest.mark.control_plane

Right = tuple[str, str, str, str]
"""(verb, plural.group or plural.group/subresource, namespace or "" for the whole cluster, name or "" for all)."""
NOT_A_REQUEST: set[Right] = {("update", "migrationplans.whimbrel.dev/finalizers", "", "")}
"""Asked for by the server's admission itself; the last test of this file shows that it is needed."""
FORBIDDEN = 403
SLOW = {"bandwidth": {"maxMbps": 100}}
OWN = "/apis/whimbrel.dev/v1alpha1"
KUBEVIRT = "/apis/kubevirt.io/v1"


async def test_each_right_is_needed_and_none_is_missing(tmp_path: Path, api_server: Endpoint) -> None:
    async with scene(topology(guests(4, touched_mib=24)), tmp_path, server=api_server) as stage:
        account = await stage.lab.plane.account(ACCOUNT_NAMESPACE, ACCOUNT)
        async with lossy_proxy(stage.lab.plane.access()) as proxy:
            lose_an_answer_of_each_kind(proxy)
            kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", replace(account, url=proxy.url, authority=""))
            operator = await stage.operator_by(kubeconfig)
            await tell_the_story(stage)
            assert await operator.end() == 0

        assert proxy.still_to_lose == []
        granted = set(granted_rights(await chart.rendered(ACCOUNT_NAMESPACE)))
        used = set(used_rights(stage, {(namespace, name) for _, _, namespace, name in granted}))
        assert granted - used - NOT_A_REQUEST == set(), "granted and never used"
        assert used - granted == set(), "used and not granted by the chart"


def lose_an_answer_of_each_kind(proxy: LossyProxy) -> None:
    """Each write once: what became of it is then read."""
    anything = r"[^/]+"
    proxy.lose("create move", "POST", rf"{OWN}/namespaces/{anything}/virtualmachinemoves")
    proxy.lose("move's specification", "PUT", rf"{OWN}/namespaces/{anything}/virtualmachinemoves/{anything}")
    proxy.lose("move's status", "PUT", rf"{OWN}/namespaces/{anything}/virtualmachinemoves/{anything}/status")
    proxy.lose("delete move", "DELETE", rf"{OWN}/namespaces/{anything}/virtualmachinemoves/{anything}")
    proxy.lose("plan's finalizer", "PATCH", rf"{OWN}/namespaces/{anything}/migrationplans/{anything}")
    proxy.lose("plan's status", "PUT", rf"{OWN}/namespaces/{anything}/migrationplans/{anything}/status")
    proxy.lose("profile's status", "PUT", rf"{OWN}/hostprofiles/{anything}/status")
    proxy.lose("labels", "PATCH", rf"{KUBEVIRT}/namespaces/{anything}/virtualmachineinstances/{anything}")
    proxy.lose("migration", "POST", rf"{KUBEVIRT}/namespaces/{anything}/virtualmachineinstancemigrations")
    proxy.lose("abort", "DELETE", rf"{KUBEVIRT}/namespaces/{anything}/virtualmachineinstancemigrations/{anything}")
    proxy.lose("policy", "POST", r"/apis/migrations\.kubevirt\.io/v1alpha1/migrationpolicies")
    proxy.lose("end of a policy", "DELETE", rf"/apis/migrations\.kubevirt\.io/v1alpha1/migrationpolicies/{anything}")


async def tell_the_story(stage: Scene) -> None:
    """A quote that is changed twice, three moves, and a plan that is taken back in mid-move."""
    await stage.apply(profile(), plan_of("three", "vm-1", "vm-2", "vm-3", "vm-4", dryRun=True))
    await stage.until_phase("Quoted", name="three")
    names = {"virtualMachines": {"names": ["vm-1", "vm-2", "vm-3"]}, "migration": {"bandwidth": {"maxMbps": 400}}}
    await stage.change("MigrationPlan", "three", names)
    await stage.until(lambda: set(stage.moves("three")) == {"vm-1", "vm-2", "vm-3"}, "vm-4 is out of the plan")
    await stage.change("MigrationPlan", "three", {"dryRun": False})
    await stage.until_phase("Succeeded", name="three")
    await stage.until_at_rest()

    await stage.apply(plan_of("taken-back", "vm-4", migration=SLOW))
    await stage.until(lambda: stage.copying("vm-4"), "vm-4 is being copied")
    await stage.lab.client.delete("MigrationPlan", "taken-back", stage.lab.namespace)
    await stage.until(lambda: not stage.plan("taken-back"), "the plan is gone")
    await stage.until_at_rest()


def used_rights(stage: Scene, places: set[tuple[str, str]]) -> Iterator[Right]:
    """What the operator's account did with the server's consent, reviews of its own rights and discovery apart.

    In terms of what roles are granted for: a namespace counts where a Role is in it, a name where a rule names it.
    """
    only_there = {namespace for namespace, _ in places if namespace}
    log = stage.lab.plane.counters
    log.snapshot()
    for request in log.requests:  # type: ignore[attr-defined]
        if request.user != OPERATOR_USER or request.resource.startswith("/"):
            continue
        assert request.code != FORBIDDEN, f"{request.verb} {request.path}"
        if request.resource == "selfsubjectaccessreviews.authorization.k8s.io":
            continue  # system:basic-user grants it to everybody
        resource = request.resource + (f"/{request.subresource}" if request.subresource else "")
        namespace = request.namespace if request.namespace in only_there else ""
        yield request.verb, resource, namespace, request.name if (namespace, request.name) in places else ""


def granted_rights(documents: list[dict[str, Any]]) -> Iterator[Right]:
    """What the roles in the chart grant."""
    for document in documents:
        if document["kind"] not in ("ClusterRole", "Role"):
            continue
        for rule in document["rules"]:
            namespace = document["metadata"].get("namespace") or ""
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    plural, _, subresource = resource.partition("/")
                    name = f"{plural}.{group}" if group else plural
                    for verb in rule["verbs"]:
                        for only in rule.get("resourceNames") or ("",):
                            yield verb, f"{name}/{subresource}" if subresource else name, namespace, only


async def test_without_the_right_to_a_plans_finalizers_no_move_can_name_it_as_the_owner_whose_deletion_it_holds_up(
    tmp_path: Path, api_server: Endpoint
) -> None:
    plane = RealControlPlane(USERS.values(), api_server)
    await plane.start()
    try:
        documents = await chart.rendered(ACCOUNT_NAMESPACE)
        await plane.load([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNT_NAMESPACE}}])
        await plane.load(each for each in documents if each["kind"] in ("ServiceAccount", "ClusterRoleBinding"))
        (role,) = (each for each in documents if each["kind"] == "ClusterRole")
        made = await plane.client.create(
            {**plan_of("owner", "vm-1"), "metadata": {"name": "owner", "namespace": "default"}}
        )
        access = await plane.account(ACCOUNT_NAMESPACE, ACCOUNT)
        answers = {}
        for name, rules in (
            ("without", [rule for rule in role["rules"] if rule["resources"] != ["migrationplans/finalizers"]]),
            ("with", role["rules"]),
        ):
            await plane.load([{**role, "rules": rules}])
            await until_it_may(plane, name == "with")
            async with RawClient(access.url, access.token, tls=access.tls) as client:
                path = f"{OWN}/namespaces/default/virtualmachinemoves"
                answers[name] = await client.create(path, move_of(made), dryRun="All")
    finally:
        await plane.sweep()
        await plane.stop()

    assert answers["without"].code == 403
    assert "cannot set blockOwnerDeletion" in answers["without"].body["message"]
    assert answers["with"].code == 201


async def until_it_may(plane: RealControlPlane, expected: bool) -> None:
    """Until the server's authorizer has seen the role."""
    wanted = {"verb": "update", "group": "whimbrel.dev", "resource": "migrationplans", "subresource": "finalizers"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": OPERATOR_USER, "resourceAttributes": {**wanted, "namespace": "default"}},
    }
    async with asyncio.timeout(10):
        while True:
            answer = await plane.client.send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
            if answer["status"]["allowed"] is expected:
                return
            await asyncio.sleep(0.02)


def move_of(owner: dict[str, Any]) -> dict[str, Any]:
    """A move as the operator writes it, of a plan."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "whimbrel.dev/v1alpha1",
        "kind": "VirtualMachineMove",
        "metadata": {"name": "owned", "namespace": "default", "ownerReferences": [reference]},
        "spec": {"instance": {"namespace": "default", "name": "vm-1", "uid": "u-1", "memoryBytes": 1}},
    }
