"""A real kubectl: what people and scripts type must work on both servers."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api_servers import Server
from whimbrel_lab.controlplane.real import binaries

pytestmark = pytest.mark.kubectl
Kubectl = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def kubectl(server: Server, tmp_path: Path) -> Kubectl:
    """Run kubectl with arguments and documents on its standard input; (exit code, everything that it said).

    The embedded server's warnings of what it does not check are left out: they are what `test_deviations` is about.
    """
    program = binaries.find("kubectl")
    server.kubeconfig(tmp_path)
    environment = {
        **os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "KUBECACHEDIR": str(tmp_path)
    }  # fmt: skip

    async def run(*arguments: str, documents: list[dict[str, Any]] | None = None) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
        text = yaml.safe_dump_all(documents) if documents else ""
        try:
            async with asyncio.timeout(20):
                said, _ = await process.communicate(text.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        lines = said.decode().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("Warning: embedded control plane")]
        return process.returncode or 0, "".join(kept)

    return run


async def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl, build: Any) -> None:
    said = [
        (await kubectl("apply", "-f", "-", documents=[build.widget(size=size), build.config_map()]))[1]
        for size in (1, 2, 2)
    ]

    assert said == [
        "widget.example.com/one created\nconfigmap/one created\n",
        "widget.example.com/one configured\nconfigmap/one unchanged\n",
        "widget.example.com/one unchanged\nconfigmap/one unchanged\n",
    ]


async def test_apply_shows_what_the_schema_refuses(kubectl: Kubectl, build: Any) -> None:
    unknown, said_unknown = await kubectl("apply", "-f", "-", documents=[build.widget(surprise=1)])
    invalid, said_invalid = await kubectl("apply", "-f", "-", documents=[build.widget(size=0, color="Green")])

    assert (unknown, 'unknown field "spec.surprise"' in said_unknown) == (1, True)
    assert (invalid, 'Unsupported value: "Green": supported values: "Red", "Blue"' in said_invalid) == (1, True)


async def test_get_shows_the_printer_columns(kubectl: Kubectl, build: Any) -> None:
    await kubectl("apply", "-f", "-", documents=[build.widget(size=7)])

    table = (await kubectl("get", "wd"))[1].split("\n")
    value = (await kubectl("get", "widget", "one", "-o", "jsonpath={.spec.size}"))[1]
    listed = json.loads((await kubectl("get", "wd,cm", "-o", "json"))[1])
    missing = await kubectl("get", "wd", "none")

    assert table[0].split() == ["NAME", "SIZE", "READY", "AT", "AGE"]
    assert table[1].split()[:2] == ["one", "7"]
    assert value == "7"
    assert [item["kind"] for item in listed["items"]] == ["Widget"]
    assert missing == (1, 'Error from server (NotFound): widgets.example.com "none" not found\n')


async def test_label_annotate_patch_and_wait(kubectl: Kubectl, build: Any) -> None:
    await kubectl("apply", "-f", "-", documents=[build.widget()])

    labelled = await kubectl("label", "wd", "one", "app=x")
    annotated = await kubectl("annotate", "wd", "one", "whimbrel.dev/approve=hash")
    patched = await kubectl("patch", "wd", "one", "--type=merge", "-p", '{"spec":{"size":5}}')
    status = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    await kubectl("patch", "wd", "one", "--subresource=status", "--type=merge", "-p", status)
    waited = await kubectl("wait", "wd/one", "--for=condition=Ready", "--timeout=5s")
    by_value = await kubectl("wait", "wd/one", "--for=jsonpath={.spec.size}=5", "--timeout=5s")
    selected = await kubectl("get", "wd", "-l", "app=x", "-o", "name")

    assert [code for code, _ in (labelled, annotated, patched)] == [0, 0, 0]
    assert waited == (0, "widget.example.com/one condition met\n")
    assert by_value == (0, "widget.example.com/one condition met\n")
    assert selected == (0, "widget.example.com/one\n")


async def test_create_replace_describe_and_delete(server: Server, kubectl: Kubectl, build: Any) -> None:
    team = server.unique("team")
    created = [
        await kubectl("create", "-f", "-", documents=[build.widget()]),
        await kubectl("create", "namespace", team),
        await kubectl("create", "configmap", "settings", "--from-literal=a=b"),
        await kubectl("create", "serviceaccount", "bot"),
    ]
    replaced = await kubectl("replace", "-f", "-", documents=[build.widget(size=3)])
    described = (await kubectl("describe", "wd", "one"))[1]
    deleted = await kubectl("delete", "wd", "one", "--wait")
    namespace = await kubectl("delete", "ns", team, "--wait=false")

    assert [code for code, _ in created] == [0, 0, 0, 0]
    assert replaced == (0, "widget.example.com/one replaced\n")
    assert "Size:   3" in described
    assert deleted[0] == 0
    assert namespace == (0, f'namespace "{team}" deleted\n')


async def test_a_definition_can_be_applied_waited_for_explained_and_deleted(kubectl: Kubectl, build: Any) -> None:
    applied = await kubectl("apply", "-f", "-", documents=[build.definition(kind="Leaflet")])
    waited = await kubectl("wait", "--for=condition=Established", "crd/leaflets.example.com", "--timeout=5s")
    explained = (await kubectl("explain", "widget.spec"))[1]
    listed = (await kubectl("api-resources", "--api-group=example.com", "-o", "name"))[1]
    deleted = await kubectl("delete", "crd", "leaflets.example.com", "--wait=false")

    assert (applied[0], waited[0], deleted[0]) == (0, 0, 0)
    assert "color" in explained
    assert {"gadgets.example.com", "widgets.example.com"} <= set(listed.split())


async def test_a_node_is_cordoned_and_drained(server: Server, kubectl: Kubectl, build: Any) -> None:
    name = server.unique("n")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    pod = build.pod(nodeName=name, terminationGracePeriodSeconds=0)
    server.forget_later(f"/api/v1/nodes/{name}")
    await kubectl("apply", "-f", "-", documents=[node, pod])

    cordoned = await kubectl("cordon", name)
    drained, said = await kubectl("drain", name, "--force", "--timeout=10s")
    pods = await kubectl("get", "pods")
    shown = (await kubectl("get", "node", name))[1]

    assert cordoned == (0, f"node/{name} cordoned\n")
    assert (drained, f"node/{name} drained" in said) == (0, True)
    assert "No resources found" in pods[1]
    assert "SchedulingDisabled" in shown


async def test_can_i_asks_the_authorizer(kubectl: Kubectl) -> None:
    assert await kubectl("auth", "can-i", "delete", "widgets") == (0, "yes\n")
