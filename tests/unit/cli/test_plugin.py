"""The plugin as a person calls it, against a small API server on loopback."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.plugin_server import Server
from whimbrel.api.virtual_machine_move import Judgement, Verdict
from whimbrel.cli.main import VERBS, main
from whimbrel.cli.quote import telling

PLANS = "/apis/whimbrel.dev/v1alpha1/namespaces/shop/migrationplans"
MOVES = "/apis/whimbrel.dev/v1alpha1/namespaces/shop/virtualmachinemoves"

ATTEMPT: dict[str, Any] = {
    "rung": "PreCopy",
    "sourceNode": "node-a",
    "targetNode": "node-b",
    "targetHostname": "node-b",
    "configuration": {"bandwidthBytesPerSecond": 19922944, "completionTimeoutPerGib": 15},
    "deadlineSeconds": 15,
    "forecast": {"durationSeconds": 5, "bytes": 99614720, "durationP50Seconds": 14, "durationP90Seconds": 21},
}


def a_plan(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": "empty", "uid": "plan-uid", "generation": 2},
        "spec": {"virtualMachines": {"onNodes": {"names": ["node-a"]}}, "approval": "Manual", **spec},
        "status": {
            "observedGeneration": 2,
            "phase": "AwaitingApproval",
            "quote": {
                "hash": "4f0c",
                "virtualMachines": 2,
                "movable": 1,
                "durationSeconds": 5,
                "durationP50Seconds": 14,
                "durationP90Seconds": 21,
                "moves": [
                    {
                        "virtualMachine": "shop/web",
                        "sourceNode": "node-a",
                        "targetNode": "node-b",
                        "durationSeconds": 5,
                        "durationP50Seconds": 14,
                        "durationP90Seconds": 21,
                        "rung": "Stun",
                        "chancePercent": 62,
                        "skipped": ["PreCopy: the guest dirties memory faster than is copied (chance 0 %)."],
                        "attendedDowntimeMs": 8000,
                        "rungs": ["PreCopy", "Stun"],
                        "budgetMs": 5000,
                        "unattendedDowntimeMs": 9000,
                    },
                    {"virtualMachine": "shop/licences", "sourceNode": "node-a", "reasons": ["CpuModelMissing"]},
                ],
            },
        },
    }


def a_move(name: str, owner: str = "plan-uid", **status: Any) -> dict[str, Any]:
    instance = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "memoryBytes": 99614720}
    return {
        "metadata": {"namespace": "shop", "name": f"empty-{name}", "ownerReferences": [{"uid": owner}]},
        "spec": {"instance": instance, "planGeneration": 2, "attempt": ATTEMPT},
        "status": status,
    }


@pytest.fixture
def server(serve: Callable[[Mapping[str, Any]], Server]) -> Server:
    return serve({f"{PLANS}/empty": a_plan(), MOVES: {"metadata": {}, "items": []}})


@pytest.fixture
def options(server: Server, kubeconfig: Callable[[Server], list[str]]) -> list[str]:
    return kubeconfig(server)


def test_the_quote_tells_what_moves_and_every_reason_of_what_cannot(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.objects[MOVES]["items"] = [
        a_move(
            "licences",
            verdicts=[
                {
                    "code": "CpuModelMissing",
                    "node": node,
                    "field": "cpu.model",
                    "found": "Skylake",
                    "remedy": "Move on.",
                }
                for node in ("node-b", "node-c")
            ],
        ),
        a_move("stranger", owner="another-plan", verdicts=[{"code": "NotRunning"}]),
    ]

    assert main(["quote", "empty", *options]) == 0

    out = capsys.readouterr().out
    assert "1 of 2 virtual machines can move, in 14 to 21 s (AwaitingApproval)" in out
    assert (
        "shop/web        node-a   node-b   14 to 21 s, chance 62 %   Stun   PreCopy → Stun   8.0 s         9.0 s" in out
    )
    assert "Passed over, by the forecast:\n  web: PreCopy: the guest dirties memory faster than is copied" in out
    assert "CpuModelMissing [node-b, node-c]  cpu.model: found Skylake\n      Move on." in out
    assert "stranger" not in out


@pytest.mark.parametrize("read", [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_quote_as_a_document(
    options: list[str], capsys: pytest.CaptureFixture[str], read: tuple[str, Any]
) -> None:
    output, parse = read

    assert main(["quote", "empty", "-o", output, *options]) == 0

    document = parse(capsys.readouterr().out)
    assert document["plan"] == "shop/empty"
    assert document["approved"] is False
    assert document["quote"]["hash"] == "4f0c"


def test_a_quote_of_an_older_spec_is_never_shown(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.objects[f"{PLANS}/empty"]["metadata"]["generation"] = 3

    assert main(["quote", "empty", *options]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "has no quote of its present form yet" in captured.err


def test_what_nobody_has_told_of_guests_is_said_beside_what_is_foretold(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = {**ATTEMPT, "forecast": {**ATTEMPT["forecast"], "missing": ["no dirty-rate sample"]}}
    moves = [a_move("web"), a_move("mail"), a_move("known"), a_move("gone", phase="Succeeded")]
    for each in (moves[0], moves[1], moves[3]):
        each["spec"]["attempt"] = lacking
    server.objects[MOVES]["items"] = moves

    assert main(["quote", "empty", *options]) == 0

    out = capsys.readouterr().out
    assert "so that the forecast is an estimate:\n  mail, web: no dirty-rate sample\n" in out


def test_a_rung_that_is_withheld_is_told_once_for_all_machines_with_the_same_reason(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = server.objects[f"{PLANS}/empty"]["status"]["quote"]["moves"]
    lines[0]["withheld"] = ["Stun: It has local disks."]
    lines += [
        {"virtualMachine": "shop/mail", "targetNode": "node-b", "withheld": ["Stun: It has local disks."]},
        {"virtualMachine": "other/db", "targetNode": "node-b", "withheld": ["Stun: The deadline is too long."]},
    ]

    assert main(["quote", "empty", *options]) == 0

    below = capsys.readouterr().out.partition("do not get:\n")[2].splitlines()
    assert below[:2] == ["  web, mail: Stun: It has local disks.", "  other/db: Stun: The deadline is too long."]


@pytest.mark.parametrize(("attended_ms", "told"), [(8000, False), (14_000, True)])
def test_a_pause_that_nothing_cuts_short_is_told_for_what_it_is(
    attended_ms: int, told: bool, server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = server.objects[f"{PLANS}/empty"]["status"]["quote"]["moves"]
    lines[0] |= {"budgetMs": 5000, "attendedDowntimeMs": attended_ms, "unattendedDowntimeMs": 14_000}

    assert main(["quote", "empty", *options]) == 0

    assert ("PAUSE UP TO of web is KubeVirt's own limit" in capsys.readouterr().out) == told


def test_a_target_that_the_scheduler_chooses_is_called_expected(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = server.objects[f"{PLANS}/empty"]["status"]["quote"]["moves"]
    assert main(["quote", "empty", *options]) == 0
    assert "expected" not in capsys.readouterr().out

    lines[0]["targetChosenBy"] = "Scheduler"
    assert main(["quote", "empty", *options]) == 0

    shown = capsys.readouterr().out
    assert "node-b (expected)" in shown
    assert "cannot be told where to migrate to" in shown


def test_what_is_to_be_known_of_those_that_can_move_is_told_once_with_whom_it_is_about(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    note = {"judgement": "Warn", "code": "SourceNotCordoned", "remedy": "Cordon it first (kubectl cordon node-a)."}
    server.objects[MOVES]["items"] = moves = [a_move(f"web-{number}", phase="Waiting") for number in range(8)]
    for each in moves:
        each["spec"]["notes"] = [note]
    moves[0]["status"]["phase"] = "Succeeded"

    assert main(["quote", "empty", *options]) == 0

    told = capsys.readouterr().out
    assert "  SourceNotCordoned: web-1, web-2, web-3, web-4, web-5, web-6 and 1 more\n" in told
    assert told.count("Cordon it first") == 1


def test_why_one_cannot_move_leaves_out_warnings_and_its_own_host_as_a_target() -> None:
    def a_verdict(code: str, node: str = "", judgement: Judgement = Judgement.BLOCK) -> Verdict:
        return Verdict(judgement=judgement, code=code, node=node)

    missing = a_verdict("CpuModelMissing", "node-b")
    said = [
        a_verdict("SourceNotCordoned", judgement=Judgement.WARN),
        a_verdict("HostCordoned", "node-a"),
        a_verdict("SourceNode", "node-a"),
    ]

    assert telling([*said, missing]) == (missing,)
    assert telling(said) == tuple(said[1:])


def test_a_quote_that_withholds_nothing_does_not_speak_of_it(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quote", "empty", *options]) == 0

    assert "not offered" not in capsys.readouterr().out


def test_a_quote_says_in_words_why_not_all_can_be_placed(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = "shop/db and shop/web cannot all be placed: node-2 has 8.0 GiB of memory free."
    plan = server.objects[f"{PLANS}/empty"]
    plan["status"]["quote"]["conflicts"] = [{"virtualMachines": ["shop/db", "shop/web"], "message": words}]
    plan["status"]["quote"]["conflictsOmitted"] = 2

    assert main(["quote", "empty", *options]) == 0

    said = capsys.readouterr().out
    assert f"  {words}\n  and 2 more" in said


@pytest.mark.parametrize(
    ("movable", "text"),
    [
        (3, "shop/empty: of 5 virtual machines, 3 not begun yet can move, in 14 to 21 s (Running)."),
        (0, "shop/empty: of 5 virtual machines, none not begun yet can move (Running)."),
    ],
)
def test_the_quote_of_a_plan_under_way_counts_as_movable_what_has_not_begun(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str], movable: int, text: str
) -> None:
    status = server.objects[f"{PLANS}/empty"]["status"]
    status |= {"startedAt": "2026-01-01T10:00:00Z", "phase": "Running"}
    status["quote"] |= {"virtualMachines": 5, "movable": movable}

    assert main(["quote", "empty", *options]) == 0

    assert text in capsys.readouterr().out


def test_the_quote_of_a_finished_plan_promises_nothing(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"startedAt": "2026-01-01T10:00:00Z", "finishedAt": "2026-01-01T11:00:00Z"}
    server.objects[f"{PLANS}/empty"]["status"] |= {**times, "phase": "Succeeded"}

    assert main(["quote", "empty", *options]) == 0

    out = capsys.readouterr().out
    assert "nothing of it is left to move (Succeeded)" in out
    assert "can move" not in out.splitlines()[0]


def test_why_there_is_no_quote_is_told_once(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = "No HostProfile covers node-a."
    conditions = [
        {
            "type": kind,
            "status": "False",
            "reason": "Incomplete",
            "message": said,
            "lastTransitionTime": "2026-01-01T10:00:00Z",
        }
        for kind in ("Ready", "Quoted", "Approved")
    ]
    status = server.objects[f"{PLANS}/empty"]["status"]
    del status["quote"]
    status |= {"phase": "Blocked", "message": said, "conditions": conditions}

    assert main(["quote", "empty", *options]) == 1

    assert capsys.readouterr().err == f"kubectl whimbrel quote: plan shop/empty has no quote: {said}\n"


def test_an_approval_names_the_hash_of_the_quote_that_was_shown(server: Server, options: list[str]) -> None:
    assert main(["approve", "empty", "--yes", *options]) == 0

    [(path, content_type, body)] = server.patches
    assert path == f"{PLANS}/empty"
    assert content_type == "application/merge-patch+json"
    assert body["metadata"]["annotations"] == {"whimbrel.dev/approve": "4f0c"}
    assert body["metadata"]["uid"] == "plan-uid"


def test_nothing_is_approved_where_nobody_can_be_asked(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["approve", "empty", *options]) == 1

    assert server.patches == []
    assert "--yes" in capsys.readouterr().err


def test_a_plan_that_needs_no_approval_is_left_alone(server: Server, options: list[str]) -> None:
    server.objects[f"{PLANS}/empty"] = a_plan(approval="Automatic")

    assert main(["approve", "empty", "--yes", *options]) == 0

    assert server.patches == []


def test_a_receipt_puts_the_fact_beside_the_forecast(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = {
        "node": "node-b",
        "durationMs": {"value": 6000, "tolerance": 1000, "source": "KubeVirtTimestamps"},
        "bytes": {"value": 104857600, "source": "LastSample"},
        "downtimeMs": {"source": "NotMeasured"},
        "attempts": 1,
    }
    in_vain = {"number": 1, "rung": "Stun", "outcome": "Aborted", "pausedMs": 4000}
    throttled = {"number": 1, "rung": "AutoConverge", "outcome": "Failed", "startedAt": "2026-01-05T01:00:00Z"}
    server.objects[MOVES]["items"] = [
        a_move("web", phase="Succeeded", reason="Verified", receipt=receipt, history=[in_vain]),
        a_move("cache", phase="Failed", reason="NotConverged", history=[throttled]),
        a_move("licences", phase="Skipped", reason="CpuModelMissing", message="It stays."),
        a_move("mail", phase="Moving", reason="Started", message="node-a to node-b, PreCopy."),
    ]

    assert main(["receipt", "empty", *options]) == 0

    out = capsys.readouterr().out
    assert "3 of 4 moves have ended" in out
    assert "1 may have been throttled" in out
    assert "6.0 s ±1.0 s" in out
    assert "14 to 21 s" in out
    assert "≥ 100 MiB" in out
    assert "not measured" in out
    assert "shop/licences: It stays." in out
    assert "failed attempts suspended guests for up to 4.0 s" in out
    assert "shop/mail: " not in out


def test_a_plan_that_is_not_there_is_told_with_what_to_do(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receipt", "nothing", *options]) == 1

    assert "plan shop/nothing is not there. List what there is: kubectl get mplan" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_told_with_what_to_do(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = Path(options[1]).read_text().replace(server.url, "http://127.0.0.1:1")
    Path(options[1]).write_text(text)

    assert main(["quote", "empty", *options]) == 1

    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err


def test_a_missing_permission_is_told_with_what_to_do(
    server: Server, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.objects[f"{PLANS}/empty"] = 403

    assert main(["quote", "empty", *options]) == 1

    assert "Ask for a role on migrationplans.whimbrel.dev" in capsys.readouterr().err


def test_a_context_that_does_not_exist_is_told_with_what_to_do(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quote", "empty", "--context", "elsewhere", *options]) == 1

    assert "--context" in capsys.readouterr().err


def test_wrong_usage_ends_with_two() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quote"])

    assert ended.value.code == 2


def test_the_version_needs_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-o", "json", "--kubeconfig", "nowhere"]) == 0

    assert json.loads(capsys.readouterr().out)["api"] == "whimbrel.dev/v1alpha1"


def test_every_verb_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    out = capsys.readouterr().out
    assert [verb.name for verb in VERBS if verb.name not in out] == []
