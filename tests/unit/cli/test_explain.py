"""`explain`: the matrix of a plan, one virtual machine in full, conflicts in words – from what the operator wrote."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from support.plugin_server import Server
from whimbrel.cli.main import main

PLANS = "/apis/whimbrel.dev/v1alpha1/namespaces/shop/migrationplans"
MOVES = "/apis/whimbrel.dev/v1alpha1/namespaces/shop/virtualmachinemoves"
CONFLICT = "shop/a and shop/b must stay apart, and only node-3 has the huge pages both need."
ATTEMPT = {
    "rung": "PreCopy",
    "sourceNode": "node-1",
    "targetNode": "node-2",
    "targetHostname": "node-2",
    "configuration": {"bandwidthBytesPerSecond": 1, "completionTimeoutPerGib": 1},
    "deadlineSeconds": 15,
    "forecast": {"durationSeconds": 5, "bytes": 99614720},
}


def a_move(name: str, attempt: Any = None, notes: Any = (), refusals: Any = (), **status: Any) -> dict[str, Any]:
    instance = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "memoryBytes": 99614720}
    quoted = {"notes": list(notes), "refusals": list(refusals), **({"attempt": attempt} if attempt else {})}
    return {
        "metadata": {"namespace": "shop", "name": f"empty-{name}", "ownerReferences": [{"uid": "plan-uid"}]},
        "spec": {"instance": instance, **quoted},
        "status": status,
    }


def verdict(code: str, node: str = "", **more: Any) -> dict[str, Any]:
    return {"judgement": "Block", "code": code, "node": node, "field": "f", "found": "x", "needed": "y", **more}


STUCK = a_move(
    "stuck",
    phase="Blocked",
    reason="CpuModelMissing",
    message="It cannot move.",
    verdicts=[
        verdict("SourceNode", "node-1"),
        verdict(
            "CpuModelMissing", "node-2", field="cpu.model", found="Haswell", needed="Skylake", remedy="Move to another."
        ),
        verdict("HostCordoned", "node-2", remedy="Uncordon node-2."),
        verdict(
            "CpuModelMissing", "node-3", field="cpu.model", found="Haswell", needed="Skylake", remedy="Move to another."
        ),
    ],
)
NOTE = {"judgement": "Warn", "code": "AnnotationUnknown", "field": "annotations", "found": "Nevr", "needed": "Never"}
MOVABLE = a_move("web", ATTEMPT, [NOTE], phase="Waiting")
PINNED = a_move("pinned", phase="Blocked", verdicts=[verdict("NotLiveMigratable")])


def a_plan(conflicts: Any = None) -> dict[str, Any]:
    quote = {"hash": "4f", "virtualMachines": 3, "movable": 1, "durationSeconds": 5, "moves": []}
    return {
        "metadata": {"namespace": "shop", "name": "empty", "uid": "plan-uid", "generation": 2},
        "spec": {"virtualMachines": {"onNodes": {"names": ["node-1"]}}},
        "status": {
            "observedGeneration": 2,
            "phase": "Blocked",
            "message": "2 of 3 cannot move.",
            "quote": quote | ({"conflicts": conflicts} if conflicts else {}),
        },
    }


@pytest.fixture
def ask(
    serve: Callable[[Mapping[str, Any]], Server],
    kubeconfig: Callable[[Server], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """What the plugin says; stderr where it fails."""

    def asked(*words: str, plan: Any = None, moves: Any = (STUCK, MOVABLE, PINNED)) -> str:
        server = serve({f"{PLANS}/empty": plan or a_plan(), MOVES: list(moves)})
        code = main(["explain", *words, *kubeconfig(server)])
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    return asked


def test_the_matrix_says_of_each_virtual_machine_what_is_known_of_each_host(ask: Callable[..., str]) -> None:
    lines = ask("plan/empty").splitlines()

    assert lines[0] == "Plan shop/empty: Blocked. 2 of 3 cannot move."
    assert re.fullmatch(r"VM +PHASE +ANYWHERE +node-1 +node-2 +node-3", lines[2])
    assert re.fullmatch(r"shop/pinned +Blocked +NotLiveMigratable +- +- +-", lines[3])
    assert re.fullmatch(r"shop/stuck +Blocked +- +here +CpuModelMissing, HostCordoned +CpuModelMissing", lines[4])
    assert re.fullmatch(r"shop/web +Waiting +- +here +target +-", lines[5])


@pytest.mark.parametrize("name", ["empty", "plan/empty", "mplan/empty"])
def test_a_plan_is_named_as_kubectl_names_things_or_plainly(name: str, ask: Callable[..., str]) -> None:
    assert "Plan shop/empty" in ask(name)


def test_more_hosts_than_columns_are_told_in_words(ask: Callable[..., str]) -> None:
    wide = a_move("wide", phase="Blocked", verdicts=[verdict("HostCordoned", f"node-{n}") for n in range(1, 10)])

    out = ask("plan/empty", moves=[wide])

    assert re.search(r"VM +PHASE +ANYWHERE +BY HOST", out)
    assert "HostCordoned: node-1, node-2, node-3, node-4 and 5 more" in out


def test_hosts_that_are_only_counted_are_told_in_words(ask: Callable[..., str]) -> None:
    many = verdict("HostCordoned", "node-1", furtherNodes=["node-2", "node-3", "node-4", "node-5"], nodeCount=99)
    far = a_move("far", phase="Blocked", verdicts=[many, verdict("HostTainted", "node-200", nodeCount=1)])

    out = ask("plan/empty", moves=[far])

    assert "HostCordoned: node-1, node-2, node-3, node-4 and 95 more; HostTainted: node-200" in out
    assert "HostCordoned [node-1, node-2, node-3, node-4, node-5 and 94 more]" in ask("plan/empty", "far", moves=[far])


def test_of_a_move_that_can_be_is_told_what_keeps_it_from_other_hosts(ask: Callable[..., str]) -> None:
    refused = verdict("HostCordoned", "node-3", nodeCount=1, remedy="Uncordon node-3.")
    web = a_move("web", ATTEMPT, refusals=[refused], phase="Waiting")

    assert re.search(r"shop/web +Waiting +- +here +target +HostCordoned", ask("plan/empty", moves=[web]))
    assert "Where shop/web cannot go:\n  HostCordoned [node-3]  f: found x, needed y\n      Uncordon node-3." in ask(
        "plan/empty", "web", moves=[web]
    )


def test_a_virtual_machine_that_cannot_move_is_shown_where_it_is(ask: Callable[..., str]) -> None:
    pinned = json.loads(json.dumps(PINNED))
    pinned["spec"]["instance"]["node"] = "node-1"

    assert re.search(r"shop/pinned +Blocked +NotLiveMigratable +here", ask("plan/empty", moves=[pinned]))


def test_reasons_that_were_not_written_down_are_counted(ask: Callable[..., str]) -> None:
    lost = a_move("lost", phase="Blocked", verdicts=[verdict("HostCordoned", "node-2")], verdictsOmitted=3)

    assert "and 3 further reasons" in ask("plan/empty", "lost", moves=[lost])


@pytest.mark.parametrize("vm", ["stuck", "shop/stuck"])
def test_one_virtual_machine_is_told_of_with_all_reasons_and_remedies(vm: str, ask: Callable[..., str]) -> None:
    out = ask("plan/empty", vm)

    assert out.startswith("shop/stuck: Blocked. It cannot move.")
    assert "CpuModelMissing [node-2, node-3]  cpu.model: found Haswell, needed Skylake\n      Move to another." in out
    assert "HostCordoned [node-2]  f: found x, needed y\n      Uncordon node-2." in out


def test_what_is_to_be_known_of_a_move_that_can_be_is_told(ask: Callable[..., str]) -> None:
    out = ask("plan/empty", "web")

    assert out.startswith("shop/web: Waiting, node-1 to node-2.")
    assert "Of shop/web is to be known:\n  AnnotationUnknown  annotations: found Nevr, needed Never" in out


def test_a_conflict_is_told_in_words(ask: Callable[..., str]) -> None:
    plan = a_plan([{"message": CONFLICT, "virtualMachines": ["shop/a", "shop/b"]}])

    assert f"Conflict: {CONFLICT}" in ask("plan/empty", plan=plan)


def test_a_virtual_machine_is_told_of_the_conflicts_that_it_has_part_in(ask: Callable[..., str]) -> None:
    plan = a_plan(
        [
            {"message": CONFLICT, "virtualMachines": ["shop/stuck"]},
            {"message": "of others", "virtualMachines": ["shop/web"]},
        ]
    )

    out = ask("plan/empty", "stuck", plan=plan)

    assert f"Conflict: {CONFLICT}" in out
    assert "of others" not in out


def test_programs_get_all_of_it(ask: Callable[..., str]) -> None:
    whole = json.loads(ask("plan/empty", "-o", "json"))
    one = json.loads(ask("plan/empty", "stuck", "-o", "json"))

    assert whole["hosts"] == ["node-1", "node-2", "node-3"]
    assert whole["virtualMachines"][1]["byHost"]["node-2"] == ["CpuModelMissing", "HostCordoned"]
    assert len(one["verdicts"]) == 4


def test_a_virtual_machine_that_the_plan_does_not_move_is_told_with_those_it_does(ask: Callable[..., str]) -> None:
    assert "has no move of shop/other (it has: shop/pinned, shop/stuck, shop/web)" in ask("plan/empty", "other")


def test_a_plan_with_nothing_to_explain_says_so(ask: Callable[..., str]) -> None:
    assert "has nothing to explain yet" in ask("plan/empty", moves=[])


def test_the_plan_is_summed_up_by_reason_with_the_first_names(ask: Callable[..., str]) -> None:
    plan = a_plan()
    plan["status"]["quote"]["blocked"] = [
        {"reason": "CpuModelMissing", "count": 7, "virtualMachines": ["shop/stuck", "shop/other"]}
    ]

    assert "  CpuModelMissing  7  shop/stuck, shop/other and 5 more" in ask("plan/empty", plan=plan)
