"""The demo's eyes and its judgement."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from whimbrel.api import MigrationPlan, VirtualMachineMove
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel_lab.demo import data_centre, report, scenario, stage, table, view
from whimbrel_lab.demo.report import Witness
from whimbrel_lab.demo.show import Show
from whimbrel_lab.demo.view import Glimpse, Row
from whimbrel_lab.hypervisor import BeatReport

BUDGET_MS = 5000


def a_move(name: str = "web", phase: str = "Succeeded", rung: str = "PreCopy", **status: Any) -> VirtualMachineMove:
    attempt = {
        "rung": rung,
        "sourceNode": "node-a",
        "targetNode": "node-b",
        "targetHostname": "node-b",
        "configuration": {"bandwidthBytesPerSecond": 19922944, "completionTimeoutPerGib": 15},
        "deadlineSeconds": 15,
        "forecast": {
            "durationSeconds": 5,
            "bytes": 99614720,
            "durationP50Seconds": 14,
            "durationP90Seconds": 21,
            "bytesP50": 99614720,
            "downtimeBoundMs": BUDGET_MS,
            "budgetMs": BUDGET_MS,
        },
    }
    receipt = {
        "node": "node-b",
        "durationMs": {"value": 6000, "source": "KubeVirtTimestamps"},
        "bytes": {"value": 104857600, "source": "LastSample"},
        "downtimeMs": {"source": "NotMeasured"},
        "attempts": 1,
    }
    instance = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "memoryBytes": 99614720}
    if phase == "Succeeded":
        status = {"receipt": receipt, **status}
    return VirtualMachineMove.model_validate(
        {
            "spec": {"instance": instance, "planGeneration": 1, "attempt": attempt},
            "status": {"phase": phase, **status},
        }
    )


def a_plan() -> MigrationPlan:
    return MigrationPlan.model_validate(
        {
            "spec": {"virtualMachines": {"names": ["web"]}},
            "status": {
                "startedAt": "2026-01-01T10:00:00Z",
                "finishedAt": "2026-01-01T10:00:34Z",
                "quote": {
                    "hash": "x",
                    "virtualMachines": 1,
                    "movable": 1,
                    "durationSeconds": 18,
                    "durationP50Seconds": 30,
                    "durationP90Seconds": 40,
                },
            },
        }
    )


def a_skipped_move(name: str = "licences") -> VirtualMachineMove:
    verdicts = [
        {"code": "DisksNotLiveMigratable", "field": "status.conditions", "found": "False"},
        {"code": "CpuModelMissing", "node": "node-b", "found": "Skylake"},
        {"code": "CpuModelMissing", "node": "node-c", "found": "Skylake"},
        {"code": "ForbiddenByOwner", "field": "metadata.annotations", "found": "Never"},
    ]
    return a_move(name, "Skipped", verdicts=[verdict | {"remedy": "Do something."} for verdict in verdicts])


def a_witness(name: str = "web", runs_on: tuple[str, ...] = ("node-b",), **beats: Any) -> Witness:
    report_of_guest = BeatReport(
        **{
            "beats": 4000,
            "interval_ms": 10.0,
            "longest_gap_ms": 310.0,
            "restarts": 0,
            "memory_intact": True,
            "sweeps": 9,
            **beats,
        }
    )
    return Witness(
        name=name,
        started_on="node-a",
        runs_on=runs_on,
        instance_uid=f"uid-{name}",
        beats=report_of_guest,
        beats_on=True,
        memory_seen=True,
        sent_bytes=100 * 2**20,
    )


def broken(moves: list[VirtualMachineMove], witnesses: list[Witness]) -> list[str]:
    return [check.text for check in report.checks(moves, witnesses, BUDGET_MS) if not check.holds]


def test_a_demo_where_all_went_well_has_nothing_to_complain_of() -> None:
    moves = [a_move(), a_skipped_move()]

    assert broken(moves, [a_witness(), a_witness("licences", ("node-a",))]) == []


@pytest.mark.parametrize(
    ("witness", "complaint"),
    [
        (a_witness(restarts=1), "began anew"),
        (replace(a_witness(), beats_on=False), "beats no more"),
        (a_witness(memory_intact=False), "found a page that differs"),
        (replace(a_witness(), memory_seen=False), "has not looked at all of it"),
        (a_witness(runs_on=("node-c",)), "should run on node-b, runs on node-c"),
        (a_witness(runs_on=("node-a", "node-b")), "should run on node-b, runs on node-a, node-b"),
        (a_witness(runs_on=()), "runs on no host"),
        (a_witness(longest_gap_ms=5010.0), "stood still for 5.01 s"),
        (replace(a_witness(), instance_uid="another"), "is another instance"),
    ],
)
def test_whatever_happened_to_a_guest_fails_the_demo(witness: Witness, complaint: str) -> None:
    [text] = broken([a_move()], [witness])

    assert complaint in text


@pytest.mark.parametrize("phase", ["Moving", "Waiting", "Failed", "Cancelled", "Unverified"])
def test_a_move_that_did_not_end_well_fails_the_demo(phase: str) -> None:
    texts = broken([a_move(phase=phase)], [a_witness(runs_on=("node-a",))])

    assert any("every move ended" in text and phase in text for text in texts)


def test_a_virtual_machine_without_a_move_fails_the_demo() -> None:
    assert any("web has no move" in text for text in broken([], [a_witness()]))


def test_the_story_needs_a_stun_and_several_reasons_each_with_its_remedy() -> None:
    told = report.story_checks([a_move("cache", rung="Stun"), a_skipped_move()], "cache", "licences")
    untold = report.story_checks([a_move("cache"), a_move("licences", "Skipped")], "cache", "licences")

    assert [check.holds for check in told] == [True, True]
    assert [check.holds for check in untold] == [False, False]


def test_a_percentage_never_goes_backwards_within_an_attempt() -> None:
    move = a_move(phase="Moving")
    [first] = view.rows([move], {"web": Glimpse(MovePhase.COPYING, 60)}, {})
    [second] = view.rows([move], {"web": Glimpse(MovePhase.COPYING, 40)}, {"web": first})

    assert (first.percent, second.percent) == (60, 60)


def test_a_further_attempt_begins_at_nothing() -> None:
    [first] = view.rows([a_move(phase="Moving")], {"web": Glimpse(MovePhase.COPYING, 60)}, {})
    attempt = a_move().spec.attempt
    assert attempt is not None
    further = a_move(phase="Moving", rung="Stun", attempt={**attempt.to_json(), "number": 2})

    [second] = view.rows([further], {"web": Glimpse(MovePhase.COPYING, 5)}, {"web": first})

    assert (second.attempt, second.percent) == (2, 5)


def test_what_the_last_attempt_copied_is_not_told_of_the_next() -> None:
    attempt = a_move().spec.attempt
    assert attempt is not None
    further = a_move(phase="Moving", attempt={**attempt.to_json(), "number": 2})

    [row] = view.rows([further], {"web": Glimpse(MovePhase.STARTING, 84)}, {})

    assert row.percent is None


def test_that_the_source_is_no_target_is_told_only_where_nothing_else_is_wrong() -> None:
    source = {"code": "SourceNode", "node": "node-a"}
    [with_others] = view.rows([a_move(phase="Skipped", verdicts=[source, {"code": "HostNotReady"}])], {}, {})
    [alone] = view.rows([a_move(phase="Skipped", verdicts=[source])], {}, {})

    assert (with_others.reason, alone.reason) == ("HostNotReady", "SourceNode")


def test_what_the_operator_recorded_as_ended_is_shown_as_ended() -> None:
    [row] = view.rows([a_move()], {"web": Glimpse(MovePhase.VERIFYING, 90)}, {})

    assert row.ended
    assert (row.phase, row.percent) == (MovePhase.SUCCEEDED, 100)


def test_without_a_terminal_only_changes_are_told() -> None:
    row = Row("web", "node-a", "node-b", MovePhase.COPYING, 10, "PreCopy", 1, "")

    assert len(table.changed_lines(1.0, [row], {})) == 1
    assert table.changed_lines(2.0, [replace(row, percent=20)], {"web": row}) == []
    assert "Stunned" in table.changed_lines(3.0, [replace(row, phase=MovePhase.STUNNED)], {"web": row})[0]


def test_a_reason_that_holds_on_several_nodes_is_told_once() -> None:
    out = io.StringIO()

    Console(file=out, width=140).print(table.refusal(a_skipped_move()))

    assert out.getvalue().count("CpuModelMissing") == 1
    assert "CpuModelMissing on node-b, node-c" in out.getvalue()


def test_the_receipt_shows_what_the_guest_felt() -> None:
    out = io.StringIO()

    Console(file=out, width=160).print(table.receipts(a_plan(), [a_move()], [a_witness(longest_gap_ms=1234.0)]))

    assert "all of it took 34 s, expected: in 30 to 40 s" in out.getvalue()
    assert "1.2 s" in out.getvalue()
    assert "node-a → node-b" in out.getvalue()


def shown(page: RenderableType, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(page)
    return console.export_text()


def a_quote() -> Quote:
    moves = [
        {
            "virtualMachine": f"shop/{character.name}",
            "sourceNode": "node-a",
            "targetNode": "node-b" if character.name != data_centre.STUCK else "",
            "durationSeconds": 5,
            "rung": "PreCopy",
            "durationP50Seconds": 14,
            "durationP90Seconds": 21,
            "bytesP50": 99614720,
            "downtimeBoundMs": 325,
            "rungs": ["PreCopy", "Stun"],
            "budgetMs": BUDGET_MS,
            "unattendedDowntimeMs": 9000,
        }
        for character in data_centre.CHARACTERS
    ]
    return Quote.model_validate(
        {"hash": "x", "virtualMachines": 7, "movable": 6, "durationSeconds": 18, "moves": moves}
    )


def live_rows() -> list[Row]:
    return [
        Row(character.name, "node-a", "node-b", phase, 40, rung, 2, "DisksNotLiveMigratable, CpuModelMissing")
        for character in data_centre.CHARACTERS
        for phase in MovePhase
        for rung in ("PreCopy", "Stun")
    ]


@pytest.mark.parametrize("width", [80, 95, 110, 124])
def test_the_quote_cuts_nothing_short_at_any_common_width(width: int) -> None:
    text = shown(table.quote("shop/empty", a_plan(), a_quote(), []), width)

    assert "…" not in text
    assert text.count("14 to 21 s") == text.count("PreCopy") == text.count("node-b") == len(data_centre.CHARACTERS) - 1
    assert ("unattended" in text) == (width > 95)


@pytest.mark.parametrize("width", [80, 109])
def test_a_narrow_live_table_leaves_out_bar_and_reason_and_cuts_nothing_short(width: int) -> None:
    text = shown(table.live("Moving", live_rows()), width)

    lines = {tuple(line.split()[:4]) for line in text.splitlines()}
    assert {(row.virtual_machine, row.source, row.target, str(row.phase)) for row in live_rows()} <= lines
    assert text.count("PreCopy") == len(live_rows()) // 2
    assert "…" not in text
    assert "━━" not in text
    assert "CpuModelMissing" not in text


def test_a_wide_live_table_has_bars_and_reasons() -> None:
    text = shown(table.live("Moving", [replace(live_rows()[0], reason="CpuModelMissing")]), 124)

    assert "━━" in text
    assert "CpuModelMissing" in text


@pytest.mark.parametrize("width", [80, 95, 110, 124])
def test_receipts_cut_nothing_short_at_any_common_width(width: int) -> None:
    receipt = a_move().status.receipt
    assert receipt is not None
    twice = {**receipt.to_json(), "attempts": 2}
    twice["durationMs"] = {"value": 38_000, "tolerance": 1000, "source": "KubeVirtTimestamps"}
    moves = [a_move(c.name, rung="Stun", receipt=twice) for c in data_centre.CHARACTERS]
    witnesses = [a_witness(move.spec.instance.name) for move in moves]

    text = shown(table.receipts(a_plan(), moves, witnesses), width)

    assert "…" not in text
    assert text.count("node-a → node-b") == text.count("38.0 s ±1.0 s") == text.count("Stun (2)") == len(moves)
    assert ("95 MiB" in text) == (width >= 110)


def test_what_stands_in_the_receipts_is_said_below_them() -> None:
    text = shown(table.receipts(a_plan(), [a_move()], [a_witness()]), 124)

    assert 0 < text.index("outcome") < text.index("nine chances in ten")


def test_a_machine_that_did_not_move_has_no_time_at_which_it_stood_still() -> None:
    text = shown(table.receipts(a_plan(), [a_skipped_move()], [a_witness("licences", longest_gap_ms=777.0)]), 124)

    assert "Skipped" in text
    assert "777 ms" not in text


def test_the_recorded_picture_shows_the_pages_and_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    with Show(Console(file=io.StringIO())) as show:
        show.page(table.receipts(a_plan(), [a_move()], [a_witness()]))
        show.note("not for the picture")
        for phase in (MovePhase.COPYING, MovePhase.STUNNED, MovePhase.SUCCEEDED):
            show.rows(1.0, [Row("cache", "node-a", "node-b", phase, 90, "Stun", 2, "")])
        show.record(tmp_path / "images" / "demo.svg", "make demo")

    picture = (tmp_path / "images" / "demo.svg").read_text()
    assert "receipts" in picture
    assert "Stunned" in picture
    assert "picture" not in picture
    assert "url(http" not in picture


def test_the_demos_manifests_are_about_the_demos_data_centre() -> None:
    profile, plan = scenario.document("host-profile.yaml"), scenario.document("plan.yaml")

    link = profile["spec"]["migration"]["network"]["linkSpeedMbps"] * 125_000
    assert {host.link_bytes_per_second for host in stage.topology().hosts} == {link}
    assert plan["spec"]["virtualMachines"]["onNodes"]["names"] == [data_centre.SOURCE]
    assert plan["metadata"]["namespace"] == data_centre.NAMESPACE


def test_the_busy_guest_writes_faster_than_its_share_of_the_link_and_is_the_only_one() -> None:
    limits = scenario.document("host-profile.yaml")["spec"]["migration"]["limits"]
    share = data_centre.LINK_BYTES_PER_SECOND / limits["parallelOutbound"]

    faster = [c.name for c in data_centre.CHARACTERS if c.guest.dirty_bytes_per_second > share]

    assert faster == [data_centre.BUSY]
