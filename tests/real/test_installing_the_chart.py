"""Installing, upgrading and uninstalling on a cluster, by Helm and without: nobody's plans are ever lost on the way.

The cluster is of this file's own, with KubeVirt's definitions and without Whimbrel. Nobody runs its pods.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from support.chart_values import VALUES
from support.definitions import ROOT, definitions, least, put
from support.shared_server import shared_server
from support.shell import Shell, commands
from whimbrel.api.migration_plan import FINALIZER
from whimbrel_lab import fleet
from whimbrel_lab.chart import rendered
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

SET = "helm {} whimbrel charts/whimbrel --namespace whimbrel {}"
INSTALL, UPGRADE = SET.format("install", "--create-namespace"), SET.format("upgrade", "")
UNINSTALL = "helm uninstall whimbrel --ignore-not-found --namespace"
RELEASES = "helm list --all-namespaces --all --short"
SOMEBODY_ELSES = "exists and cannot be imported into the current release"
NAMES = sorted(each["metadata"]["name"] for each in definitions())
NAMESPACES = "/api/v1/namespaces"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLANS = "/apis/whimbrel.dev/v1alpha1/namespaces/default/migrationplans"
PROFILES = "/apis/whimbrel.dev/v1alpha1/hostprofiles"
PAGE = ROOT / "docs" / "install.md"
WAITS_FOR_PODS = "rollout status"
OURS = tuple(f"{DEFINITIONS}/{name}" for name in NAMES)
NOT_FOUND = 404
WITHIN_S = 30.0


class Cluster(Shell):
    """A shell, and what the API server itself says."""

    def __init__(self, endpoint: Endpoint, folder: Path, api: RawClient) -> None:
        super().__init__(endpoint, folder)
        self.api = api

    async def definitions(self) -> list[str]:
        """Whimbrel's definitions, all of which are served."""
        found = (await self.api.get(DEFINITIONS)).body["items"]
        ours = [each for each in found if each["spec"]["group"] == "whimbrel.dev"]
        for each in ours:
            assert {now["type"]: now["status"] for now in each["status"]["conditions"]}["Established"] == "True"
        return sorted(each["metadata"]["name"] for each in ours)

    async def plans(self) -> int:
        return len((await self.api.get(PLANS)).body["items"])

    async def deployment(self) -> dict[str, object]:
        spec: dict[str, object] = (await self.api.get("/apis/apps/v1/namespaces/whimbrel/deployments/whimbrel")).body[
            "spec"
        ]
        return spec

    async def a_plan(self) -> None:
        """A user's plan."""
        answer = await self.api.create(PLANS, least("MigrationPlan"))
        assert answer.code == 201, answer.text

    async def gone(self, *paths: str) -> None:
        """Take objects away, and wait until they are."""
        await asyncio.gather(*(self.api.delete(path) for path in paths))
        async with asyncio.timeout(WITHIN_S):
            for path in paths:
                while (await self.api.get(path)).code != NOT_FOUND:
                    pass  # each request takes its time


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    kubevirt = [each for each in fleet.definitions() if "kubevirt.io" in each["spec"]["group"]]
    with shared_server(kubevirt) as endpoint:
        yield endpoint


@pytest.fixture
async def cluster(server: Endpoint, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster without a release and without plans; definitions and namespaces may be there."""
    access = server.access()
    async with RawClient(access.url, access.token, tls=access.tls) as api:
        for name in ("kubevirt", "virtualization"):
            await api.create(NAMESPACES, {"metadata": {"name": name}})
        opened = Cluster(server, tmp_path, api)
        yield opened
        await api.delete(PLANS)
        await api.delete(PROFILES)
        await opened(f"{UNINSTALL} whimbrel; {UNINSTALL} movers")


def as_written(heading: str) -> str:
    """The page's commands under a heading, without those that wait for pods."""
    return "\n".join(line for line in commands(PAGE, heading).splitlines() if WAITS_FOR_PODS not in line)


async def test_without_helm_in_the_cluster_the_pages_commands_install_all_of_it(cluster: Cluster) -> None:
    await cluster.gone(f"{NAMESPACES}/whimbrel", *OURS)

    await cluster(as_written("Without Helm in the cluster"))

    assert await cluster.definitions() == NAMES
    assert await cluster(RELEASES) == ""
    account = "system:serviceaccount:whimbrel:whimbrel"
    asked = f"kubectl auth can-i create virtualmachineinstancemigrations.kubevirt.io --as {account} --all-namespaces"
    assert await cluster(asked) == "yes\n"

    # A server that never listed a kind deletes its definition with long pauses between its tries.
    assert await cluster("kubectl get mplan,hprof,vmove --all-namespaces --output name") == ""
    again = as_written("Without Helm in the cluster").replace("kubectl create", "kubectl get")
    assert "created" not in await cluster(again)
    await cluster(again.replace("kubectl apply", "kubectl delete"))
    assert await cluster.definitions() == []


async def test_by_helm_it_is_installed_as_written_changed_and_uninstalled_and_the_plans_stay(cluster: Cluster) -> None:
    await cluster.gone(*OURS)

    await cluster(as_written("With Helm"))
    there = await cluster("helm get manifest whimbrel --namespace whimbrel | kubectl get --output name -f -")
    assert len(there.split()) == len(await rendered("whimbrel"))
    assert await cluster.definitions() == NAMES
    assert "image: registry.example.com/whimbrel:0.1.0" in yaml.safe_dump(await cluster.deployment())
    await cluster.a_plan()
    await cluster("kubectl apply -f examples/host-profile.yaml")

    await cluster(f"{UPGRADE} --set replicaCount=1")
    assert (await cluster.deployment())["replicas"] == 1
    assert await cluster("kubectl get poddisruptionbudgets --namespace whimbrel --output name") == ""

    said = await cluster("helm uninstall whimbrel --namespace whimbrel")
    assert [name for name in NAMES if f"[CustomResourceDefinition] {name}" not in said] == []
    assert await cluster.definitions() == NAMES
    assert await cluster.plans() == 1
    assert await cluster("kubectl get clusterroles whimbrel --ignore-not-found --output name") == ""

    elsewhere = INSTALL.replace("--namespace whimbrel", "--namespace movers")
    assert SOMEBODY_ELSES in (await cluster.attempt(elsewhere)).problems
    await cluster(f"{elsewhere} --take-ownership")
    assert await cluster.plans() == 1


async def test_definitions_change_hands_between_kubectl_and_a_release_as_told_and_the_plans_stay(
    cluster: Cluster,
) -> None:
    await cluster("kubectl create -f crds/ || kubectl replace -f crds/")
    await cluster.a_plan()

    refused = await cluster.attempt(INSTALL)
    assert (refused.code, SOMEBODY_ELSES in refused.problems) == (1, True)
    assert await cluster(RELEASES) == ""

    await cluster(f"{INSTALL} --set crds.install=false")
    assert SOMEBODY_ELSES in (await cluster.attempt(f"{UPGRADE} --set crds.install=true")).problems
    await cluster(f"{UPGRADE} --set crds.install=true --take-ownership")

    await cluster("kubectl replace -f crds/")
    await cluster(f"{UPGRADE} --set crds.install=false")
    assert await cluster.definitions() == NAMES
    assert await cluster.plans() == 1


async def test_without_kubevirts_namespace_nothing_is_installed_and_the_refusal_says_what_to_set(
    cluster: Cluster,
) -> None:
    said = await cluster.attempt(f"{INSTALL} --set kubevirtNamespace=elsewhere")

    assert (
        "there is no namespace elsewhere: install KubeVirt first, or set kubevirtNamespace to where it is"
        in said.problems
    )
    assert await cluster(RELEASES) == ""


NOT_SERVED = {"PrometheusRule"}
"""Of the Prometheus operator, which is not here; asked for by a value of its own, and seen in tests/data/chart."""


@pytest.mark.parametrize("name", VALUES)
async def test_the_server_accepts_every_rendered_object_and_knows_every_field(name: str, cluster: Cluster) -> None:
    await cluster.api.create(NAMESPACES, {"metadata": {"name": "whimbrel"}})
    objects = [each for each in await rendered("whimbrel", VALUES[name], "a" * 53) if each["kind"] not in NOT_SERVED]

    said = await cluster.attempt("kubectl create --dry-run=server --validate=strict -f -", yaml.safe_dump_all(objects))

    refused = [line for line in said.problems.splitlines() if "AlreadyExists" not in line]
    assert refused == []


async def test_the_pages_way_out_releases_a_plan_whose_operator_is_gone(cluster: Cluster) -> None:
    await cluster("kubectl create -f crds/ || kubectl replace -f crds/")
    held = put(least("MigrationPlan"), ("metadata", "finalizers"), [FINALIZER])
    assert (await cluster.api.create(PLANS, held)).code == 201
    labels = {"whimbrel.dev/vmim": "some", "whimbrel.dev/policy-0": "some", "app": "db"}
    instance = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "db-1", "labels": labels},
    }
    await cluster("kubectl create -f -", yaml.safe_dump({**instance, "spec": {"domain": {"devices": {}}}}))
    await cluster("kubectl delete mplan --all --all-namespaces --wait=false")
    assert await cluster.plans() == 1

    steps = as_written("The operator is gone and a plan does not go away").replace("-n NAMESPACE", "-n default")
    await cluster(steps.replace("vmi NAME", "vmi db-1").replace("mplan NAME", "mplan least"))

    assert await cluster.plans() == 0
    assert await cluster("kubectl get vmi db-1 -o jsonpath={.metadata.labels}") == '{"app":"db"}'
    await cluster("kubectl delete vmi db-1")
