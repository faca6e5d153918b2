"""The ladder as a plan walks it: chosen by forecast, ended by what a copy shows, refused with a price, and what is learnt."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.stage import DB1, STUN, Stage
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, VIRTUAL_MACHINES
from whimbrel.domain.samples import GuestReadings, MigrationSample, Reading

MIB = 1 << 20
EVERYTHING = {**STUN, "throttle": "Allowed", "postCopy": "Allowed"}


def a_stage(dirty_mib: int | None, in_use_mib: int = 1024, **migration: Any) -> Stage:
    """A stage whose db1 (2 GiB, copied at 596 MiB/s) dirtied so much in a second."""
    stage = Stage()
    if dirty_mib is not None:
        stage.told(dirty_mib=dirty_mib, in_use_mib=in_use_mib)
    stage.plan(migration=migration)
    return stage


def sampled(stage: Stage, samples: Iterable[tuple[float, int, int]]) -> None:
    """Samples of db1's running copy: seconds since it began, MiB sent in all, MiB left of the round."""
    state = stage.body(INSTANCES, DB1)["status"]["migrationState"]
    began = datetime.fromisoformat(state["startTimestamp"].replace("Z", "+00:00"))
    stage.courses[DB1] = tuple(
        MigrationSample(began + timedelta(seconds=at_s), processed_bytes=sent * MIB, remaining_bytes=left * MIB)
        for at_s, sent, left in samples
    )


HOPELESS = [(5, 295, 305), (10, 590, 10), (12, 708, 192), (15, 885, 15), (17, 1003, 197)]
"""A guest of 600 MiB at 59 MiB/s that rewrites 300 MiB within each round."""


def a_stage_with_a_guest_that_changes() -> Stage:
    """db1, on a link of 1 Gbit/s, was calm when it was sampled, and is busy since."""
    stage = Stage(profile={"link_mbps": 1000})
    now = stage.world.now
    stage.readings[DB1] = GuestReadings("node-1", Reading(5.0 * MIB, now), Reading(600.0 * MIB, now))
    stage.plan()
    return stage


TEN_GBIT = 1_250_000_000
"""Bytes per second of the profile's link."""


def test_what_is_expected_stands_in_the_move_before_its_migration_exists() -> None:
    stage = a_stage(20)

    stage.settle()

    said = stage.move()["spec"]["attempt"]["forecast"]
    assert said["convergence"] == "Converges"
    assert 0 < said["durationP50Seconds"] < said["durationP90Seconds"]
    assert said["bytesP50"] >= 1024 * MIB
    assert said["missing"] == []


def test_without_metrics_the_quote_says_what_was_not_known() -> None:
    stage = a_stage(None)

    stage.settle()

    assert any("dirty-rate sample" in text for text in stage.move()["spec"]["attempt"]["forecast"]["missing"])


def test_where_nobody_reads_metrics_no_guest_is_suspended_whose_pause_nothing_bounds() -> None:
    stage = a_stage(None, ladder=[{"rung": "Stun"}], disruption={**STUN, "maxDowntimeMs": 3000})

    stage.settle()

    assert stage.outcome() == ("Skipped", "NoRungFits")
    (verdict,) = stage.move()["status"]["verdicts"]
    assert "nobody tells how the guest writes" in verdict["found"]
    assert "maxDowntimeMs:" in verdict["remedy"]


def test_a_guest_that_shows_nothing_of_its_writing_is_not_suspended_unless_all_of_its_memory_goes_over_twice() -> None:
    def aborted(max_downtime_ms: int) -> bool:
        stage = a_stage(
            None,
            ladder=[{"rung": "Stun"}],
            disruption={**STUN, "maxDowntimeMs": max_downtime_ms, "unattendedDowntimeMs": 30_000},
        )
        stage.readings[DB1] = GuestReadings("node-1", None, Reading(1024.0 * MIB, stage.world.now))
        stage.copying()
        stage.seconds += stage.move()["spec"]["attempt"]["deadlineSeconds"] - 0.5
        sampled(stage, [(1, 596, 428)])
        stage.settle()
        return "abort" in stage.move()["status"]

    twice_ms = 1000 * 2 * 1024 // 596
    assert aborted(twice_ms)
    assert not aborted(twice_ms * 5 // 4)


def test_a_guest_of_whose_writing_nothing_is_told_yet_is_quoted_with_all_of_its_budget() -> None:
    stage = a_stage(None, ladder=[{"rung": "Stun"}], disruption=STUN)
    stage.readings[DB1] = GuestReadings("node-1", None, Reading(1024.0 * MIB, stage.world.now))

    stage.settle()

    said = stage.move()["spec"]["attempt"]["forecast"]
    assert said["downtimeBoundMs"] == STUN["maxDowntimeMs"]


def test_what_is_told_of_a_guest_on_another_node_is_not_believed() -> None:
    stage = a_stage(20)
    stage.readings[DB1] = GuestReadings("node-3", Reading(20.0 * MIB, stage.world.now), None)

    stage.settle()

    assert stage.move()["spec"]["attempt"]["forecast"]["missing"] != []


def test_what_its_source_told_of_a_guest_that_has_just_moved_counts_until_its_target_tells() -> None:
    stage = a_stage(20)
    stage.copying()
    stage.seconds += 5
    stage.arrive()
    stage.settle()

    stage.plan("back", virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-3"]})
    stage.settle()

    assert stage.move(plan="back")["spec"]["attempt"]["forecast"]["missing"] == []


def test_a_busy_guest_that_may_be_stunned_is_stunned_at_the_first_attempt() -> None:
    stage = a_stage(2000, 600, disruption={**STUN, "maxDowntimeMs": 8000})

    stage.settle()

    attempt = stage.move()["spec"]["attempt"]
    assert attempt["rung"] == "Stun"
    assert [skipped["rung"] for skipped in attempt["forecast"]["skipped"]] == ["PreCopy"]
    assert attempt["forecast"]["attendedDowntimeMs"] == 8000
    assert stage.unfinished()["metadata"]["annotations"]["whimbrel.dev/max-downtime-ms"] == "8000"


@pytest.mark.parametrize(("rung", "field"), [("AutoConverge", "allowAutoConverge"), ("PostCopy", "allowPostCopy")])
def test_a_rung_of_the_plans_own_ladder_reaches_kubevirt(rung: str, field: str) -> None:
    stage = a_stage(300, ladder=[{"rung": rung}], disruption=EVERYTHING)

    stage.settle()

    assert stage.move()["spec"]["attempt"]["configuration"][field] is True
    stage.hand_off()
    stage.copy()
    stage.settle()
    assert "abort" not in stage.move()["status"]


def test_a_move_that_no_rung_would_do_is_refused_before_anything_begins_and_names_its_price() -> None:
    stage = a_stage(2000, 1900)

    stage.settle()

    assert stage.migrations() == []
    assert stage.outcome() == ("Skipped", "NoRungFits")
    (verdict,) = stage.move()["status"]["verdicts"]
    assert "Gbit/s" in verdict["remedy"]
    assert "disruption.postCopy" in verdict["remedy"]
    (line,) = stage.status_of()["quote"]["moves"]
    assert (line["targetNode"], line["reasons"]) == ("", ["NoRungFits"])
    assert line["price"] in verdict["remedy"]


def test_where_nothing_may_be_left_behind_a_move_that_no_rung_would_do_blocks_its_plan() -> None:
    stage = a_stage(2000, 1900)
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "virtualMachines", "nonMigratable", value="Block")

    stage.settle()

    assert stage.status_of()["phase"] == "Blocked"


def test_an_approval_does_not_hang_on_the_moods_of_its_guests() -> None:
    stage = a_stage(20)
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "approval", value="Manual")
    stage.settle()
    before = stage.status_of()["quote"]["hash"]

    now = stage.world.now
    stage.readings[DB1] = GuestReadings("node-1", Reading(2000.0 * MIB, now), Reading(1900.0 * MIB, now))
    stage.seconds += 90
    stage.settle()

    assert stage.status_of()["quote"]["hash"] == before
    assert stage.outcome()[1] == "NoRungFits"


def test_a_forecast_that_is_about_true_is_not_written_anew() -> None:
    stage = a_stage(20)
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "approval", value="Manual")
    stage.settle()
    before = len(stage.written)

    for dirty_mib in (18, 22, 25, 19):
        stage.seconds += 90
        now = stage.world.now
        stage.readings[DB1] = GuestReadings("node-1", Reading(float(dirty_mib * MIB), now), Reading(1024.0 * MIB, now))
        stage.settle()

    assert len(stage.written) == before


def test_the_owner_may_ask_for_a_shorter_pause_and_for_none() -> None:
    for said, rung in (("100", None), ("3000", None), ("12000", "Stun")):
        stage = a_stage(2000, 1900, disruption={**STUN, "maxDowntimeMs": 11_000, "unattendedDowntimeMs": 12_000})
        annotations = {"whimbrel.dev/max-downtime-ms": said}
        stage.edit(VIRTUAL_MACHINES, DB1, "metadata", "annotations", value=annotations)
        stage.settle()

        attempt = stage.move()["spec"].get("attempt")
        assert (attempt["rung"] if attempt else None) == rung, said


@pytest.mark.parametrize("said", ["100", "soon"])
@pytest.mark.parametrize("rung", ["Stun", "DowntimeRamp"])
def test_a_guest_whose_owner_forbids_all_that_a_plan_has_is_refused_with_the_annotation_named(
    said: str, rung: str
) -> None:
    stage = a_stage(2000, 20, ladder=[{"rung": rung}], disruption=STUN)
    stage.edit(VIRTUAL_MACHINES, DB1, "metadata", "annotations", value={"whimbrel.dev/max-downtime-ms": said})

    stage.settle()

    assert stage.outcome() == ("Skipped", "NoRungFits")
    (verdict,) = [each for each in stage.move()["status"]["verdicts"] if each["code"] == "NoRungFits"]
    assert "whimbrel.dev/max-downtime-ms" in verdict["found"]


def test_a_copy_that_cannot_end_is_ended_as_soon_as_it_shows_it() -> None:
    stage = a_stage_with_a_guest_that_changes().copying()
    stage.seconds += 18
    sampled(stage, HOPELESS)

    stage.settle()

    assert stage.move()["status"]["abort"]["reason"] == "CannotConverge"
    assert "deletionTimestamp" in stage.unfinished()["metadata"]


def test_what_a_failed_copy_has_shown_is_kept_and_decides_the_next_attempt() -> None:
    stage = a_stage_with_a_guest_that_changes().copying()
    stage.seconds += 18
    sampled(stage, HOPELESS)
    stage.settle()

    stage.carry_out_abort()
    stage.settle()

    (record,) = stage.move()["status"]["history"]
    assert (record["reason"], record["sentBytes"]) == ("CannotConverge", 1003 * MIB)
    assert record["seen"]
    assert abs(record["bytesPerSecond"] - 59 * MIB) < 2 * MIB
    assert stage.outcome() == ("Failed", "NoRungFits")


LEFT_MIB = (155, 40, 240, 20, 90, 260, 205, 130)
"""What eight samples show left of rounds of 300 MiB, half a second each: no size of rounds explains what lies between them."""


@pytest.mark.parametrize(("samples", "known"), [(8, True), (5, False)])
def test_a_copy_whose_rounds_are_shorter_than_its_samples_are_apart_tells_their_size_when_it_has_failed(
    samples: int, known: bool
) -> None:
    stage = a_stage(None).copying()
    stage.seconds += stage.move()["spec"]["attempt"]["deadlineSeconds"] + 1
    at_s = [5 * number for number in range(1, 9)][-samples:]
    sampled(stage, [(second, 596 * second, left) for second, left in zip(at_s, LEFT_MIB, strict=False)])
    stage.fail(abortStatus="Succeeded")

    stage.settle()

    record = stage.move()["status"]["history"][0]
    assert record["reason"] == "NotConverged"
    seen = [point for point in record["seen"] if not point["atMost"]]
    assert bool(seen) == known
    assert stage.outcome() == ("Failed", "NoRungFits")
    if known:
        assert seen == [{"windowMs": 476, "distinctBytes": pytest.approx(283.5 * MIB, rel=0.01), "atMost": False}]


def test_a_copy_that_has_sent_more_than_its_step_permits_is_ended() -> None:
    stage = a_stage(20, ladder=[{"rung": "PreCopy", "maxMebibytes": 3000}]).copying()
    stage.seconds += 6
    sampled(stage, [(1, 596, 500), (5, 3100, 100)])

    stage.settle()

    assert stage.move()["status"]["abort"]["reason"] == "SentTooMuch"


def test_a_guest_is_not_suspended_whose_pause_could_be_too_long_by_what_its_copy_shows() -> None:
    stage = a_stage(2000, 600, disruption={**STUN, "maxDowntimeMs": 3000}, ladder=[{"rung": "Stun"}]).copying()
    deadline_s = stage.move()["spec"]["attempt"]["deadlineSeconds"]
    stage.seconds += deadline_s - 0.5
    sampled(stage, [(1, 100, 1900), (2, 200, 1800), (4, 400, 1600)])

    stage.settle()

    assert stage.move()["status"]["abort"]["reason"] == "PauseTooLong"


def test_a_moved_guest_has_its_cost_beside_its_forecast_in_the_receipt() -> None:
    stage = a_stage(20).copying()
    stage.seconds += 6
    sampled(stage, [(1, 596, 450), (2, 1050, 3)])
    stage.settle()

    stage.arrive()
    stage.settle()

    receipt = stage.move()["status"]["receipt"]
    assert receipt["rung"] == "PreCopy"
    assert receipt["throttleSeconds"] == {"value": 0, "source": "Configuration"}
    rate, share = receipt["rateBytesPerSecond"], receipt["linkSharePercent"]
    assert rate["source"] == share["source"] == "LastSample"
    assert share["value"] == round(100 * rate["value"] / TEN_GBIT)
    of_plan = stage.status_of()["receipt"]
    assert (of_plan["moved"], of_plan["attempts"], of_plan["downtimeUnmeasured"]) == (1, 1, 1)


def nearly_there() -> Stage:
    """db1, copied at 119 MiB/s, 17 s after its copy began and 1 s after its last sample."""
    stage = a_stage(2, 1900, bandwidth={"maxMbps": 1000}).copying()
    stage.seconds += 17
    sampled(stage, [(11, 1309, 600), (16, 1850, 60)])
    stage.settle()
    return stage


def test_a_copy_tells_when_it_will_end_and_so_does_its_plan() -> None:
    stage = nearly_there()

    status, now = stage.status_of(), stage.world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    (active,) = status["active"]
    assert active["percent"] > 90
    assert now <= active["etaP50"] <= active["etaP90"]
    assert now <= status["etaP50"] <= status["etaP90"]


def test_of_a_copy_that_should_have_ended_nobody_tells_when_it_will() -> None:
    stage = nearly_there()
    stage.seconds += 16

    stage.settle()

    (active,) = stage.status_of()["active"]
    assert active["percent"] > 90
    assert "etaP50" not in active


def test_a_sample_of_the_migration_before_is_none_of_this_one() -> None:
    stage = a_stage(20)
    stage.settle()
    stage.hand_off()
    stage.samples[DB1] = MigrationSample(stage.world.now, processed_bytes=900 * MIB, remaining_bytes=22 * MIB)
    stage.seconds += 16

    stage.settle()

    (active,) = stage.status_of()["active"]
    assert active["phase"] == "Starting"
    assert "percent" not in active
    assert stage.status_of()["percent"] == 0


def test_a_throttled_copy_over_a_link_that_is_too_slow_for_it_is_ended_and_teaches_nothing_of_its_guest() -> None:
    stage = a_stage(900, 1000, ladder=[{"rung": "AutoConverge"}], disruption=EVERYTHING).copying()
    stage.seconds += 18
    sampled(stage, HOPELESS)

    stage.settle()

    abort = stage.move()["status"]["abort"]
    assert abort["reason"] == "NotConverged"
    assert "it may with more time" in abort["message"]
    stage.carry_out_abort()
    stage.settle()
    (record,) = stage.move()["status"]["history"]
    assert record.get("seen", []) == []
    assert record["bytesPerSecond"] > 0


def test_a_throttled_copy_that_gets_on_as_foretold_is_let_be() -> None:
    stage = a_stage(900, 1000, ladder=[{"rung": "AutoConverge"}], disruption=EVERYTHING).copying()
    stage.seconds += 11
    sampled(stage, [(5, 2900, 600), (10, 5800, 700)])

    stage.settle()

    assert "abort" not in stage.move()["status"]
