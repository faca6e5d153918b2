"""Overruled: what a configuration that others chose could do to a guest, beyond what was permitted, and by whose doing."""

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest

from support.builders import NOW, a_migration, a_migration_state, an_attempt, an_instance
from whimbrel.api.virtual_machine_move import AttemptSpec, KubeVirtConfiguration
from whimbrel.domain import naming
from whimbrel.domain.quantities import GB, MIB
from whimbrel.domain.records import Migration, MigrationConfiguration
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.lifecycle.guard import overdue_stuns
from whimbrel.lifecycle.overruled import beyond_its_terms, overruled, unconsented

WANTED = KubeVirtConfiguration(bandwidth_bytes_per_second=59 * MIB, completion_timeout_per_gib=50)
STUN = WANTED.model_copy(update={"allow_workload_disruption": True})
POST_COPY = WANTED.model_copy(update={"allow_post_copy": True, "allow_workload_disruption": True})


def effective(wanted: KubeVirtConfiguration, **changed: object) -> MigrationConfiguration:
    stated = {f.name: getattr(wanted, f.name, None) for f in fields(MigrationConfiguration)}
    return MigrationConfiguration(**{**stated, "progress_timeout_s": 150, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "changed", "told"),
    [
        (WANTED, {"allow_auto_converge": True}, ("throttle the guest",)),
        (WANTED, {"allow_post_copy": True}, ("switch to post-copy",)),
        (WANTED, {"allow_workload_disruption": True}, ("suspend the guest",)),
        (STUN, {"completion_timeout_per_gib": 51}, ("suspend the guest at another time than was quoted",)),
        (STUN, {"completion_timeout_per_gib": 49}, ("suspend the guest at another time than was quoted",)),
        (STUN, {"completion_timeout_per_gib": 0}, ("suspend the guest at another time than was quoted",)),
        (
            WANTED,
            {"allow_post_copy": True, "allow_workload_disruption": True},
            ("switch to post-copy", "suspend the guest"),
        ),
        (POST_COPY, {"allow_post_copy": False}, ("suspend the guest",)),
        (POST_COPY, {"allow_post_copy": False, "completion_timeout_per_gib": 1}, ("suspend the guest",)),
    ],
)
def test_what_could_be_done_to_a_guest_without_consent_is_named(
    wanted: KubeVirtConfiguration, changed: Mapping[str, object], told: tuple[str, ...]
) -> None:
    assert unconsented(wanted, effective(wanted, **changed)) == told


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        (WANTED, {}),
        (STUN, {}),
        (STUN, {"allow_workload_disruption": False}),
        (POST_COPY, {}),
        (POST_COPY, {"allow_post_copy": False, "allow_workload_disruption": False}),
        (WANTED, {"completion_timeout_per_gib": 0, "bandwidth_bytes_per_second": 0}),
    ],
)
def test_what_disturbs_the_guest_no_more_than_was_permitted_may_go_on(
    wanted: KubeVirtConfiguration, changed: Mapping[str, object]
) -> None:
    assert unconsented(wanted, effective(wanted, **changed)) == ()


def ours(post_copy: str | None = "Never", stun: str | None = None, **more: object) -> Migration:
    labels = {
        naming.LABEL_MANAGED: "true",
        naming.LABEL_PLAN_UID: "plan",
        naming.LABEL_INSTANCE_UID: "guest",
        naming.LABEL_ATTEMPT: "1",
    }
    said = {naming.ANNOTATION_POST_COPY: post_copy, naming.ANNOTATION_STUN: stun}
    annotations = {key: value for key, value in said.items() if value is not None}
    name = naming.migration_name("plan", "db1", "guest", 1)
    return a_migration(an_instance(), name, labels=labels, annotations=annotations, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("post_copy", "stun", "of", "beyond"),
    [
        ("Never", None, POST_COPY, "be switched to post-copy"),
        ("Never", "Allowed", POST_COPY, "be switched to post-copy"),
        ("Never", None, STUN, "be suspended"),
        ("Allowed", None, STUN, "be suspended"),
        ("Never", "Allowed", STUN, ""),
        ("Allowed", None, POST_COPY, ""),
        ("Never", None, WANTED, ""),
        (None, None, POST_COPY, ""),
    ],
)
def test_what_a_migration_s_own_terms_do_not_permit_is_known_to_every_replica(
    post_copy: str | None, stun: str | None, of: KubeVirtConfiguration, beyond: str
) -> None:
    assert beyond_its_terms(ours(post_copy, stun), effective(of), GB) == beyond


def guarded(migration: Migration, **state: object) -> list[str]:
    """What the guard says of the deletes that it asks for, of a guest that is handed off under a policy with post-copy."""
    shown = {"policy_name": "theirs", "configuration": effective(POST_COPY), "started_at": None, **state}
    instance = an_instance(migration=a_migration_state(migration.uid, **shown))  # type: ignore[arg-type]
    verdict = overdue_stuns({migration.key: migration}, {instance.key: instance}, NOW)
    assert all(each.resource == MIGRATIONS and each.unless_post_copy == instance.key for each in verdict.deletes)
    return [each.why for each in verdict.deletes]


def test_a_migration_that_was_overruled_is_ended_at_once_by_whoever_guards() -> None:
    (why,) = guarded(ours())

    assert (
        why
        == "under MigrationPolicy theirs the guest of default/db1 could be switched to post-copy, which is not consented to"
    )


@pytest.mark.parametrize(
    ("migration", "state"),
    [
        (ours("Allowed"), {}),
        (ours(deleting=True), {}),
        (ours(phase="Failed"), {}),
        (replace(ours(), labels={}), {}),
        (ours(), {"mode": "PostCopy"}),
        (ours(), {"completed": True}),
        (ours(), {"failed": True}),
        (ours(), {"abort_requested": True}),
    ],
)
def test_what_is_consented_to_over_or_somebody_else_s_is_let_be_by_the_guard(
    migration: Migration, state: Mapping[str, object]
) -> None:
    assert guarded(migration, **state) == []


def under_stall_detection(stun: str | None = None, last_step_ms: int = 300, deadline_s: int = 50) -> Migration:
    told = {naming.ANNOTATION_LAST_STEP_MS: str(last_step_ms), naming.ANNOTATION_DEADLINE_S: str(deadline_s)}
    migration = ours("Never", stun)
    return replace(migration, annotations={**migration.annotations, **told})


DETECTING = {"max_downtime_ms": 300, "stall_window_s": 1_000_000}


@pytest.mark.parametrize(
    ("migration", "of", "changed", "beyond"),
    [
        (under_stall_detection(), WANTED, {}, ""),
        (under_stall_detection(), WANTED, {"max_downtime_ms": 900}, "stand still for 900 ms"),
        (under_stall_detection(), STUN, {}, "be suspended"),
        (under_stall_detection(last_step_ms=3000), WANTED, {"max_downtime_ms": 3000}, ""),
        (under_stall_detection("Allowed"), STUN, {}, ""),
        (under_stall_detection("Allowed"), WANTED, {"max_downtime_ms": 900}, "stand still for 900 ms"),
        (under_stall_detection("Allowed"), STUN, {"stall_window_s": 40}, "be stopped at another time than was quoted"),
        (
            under_stall_detection("Allowed"),
            STUN,
            {"completion_timeout_per_gib": 90},
            "be stopped at another time than was quoted",
        ),
    ],
)
def test_under_stall_detection_whoever_guards_knows_what_a_last_step_may_be_and_when_it_may_begin(
    migration: Migration, of: KubeVirtConfiguration, changed: Mapping[str, object], beyond: str
) -> None:
    assert beyond_its_terms(migration, effective(of, **{**DETECTING, **changed}), GB) == beyond


def detecting(wanted: KubeVirtConfiguration) -> KubeVirtConfiguration:
    return wanted.model_copy(update={"max_downtime_ms": 300, "stall_window_seconds": 1_000_000})


@pytest.mark.parametrize("wanted", [WANTED, STUN, POST_COPY])
def test_whatever_was_wanted_a_longer_last_step_without_disruption_is_beyond_consent(
    wanted: KubeVirtConfiguration,
) -> None:
    theirs = {**DETECTING, "max_downtime_ms": 2_000_000, "allow_workload_disruption": False}

    may = unconsented(detecting(wanted), effective(wanted, **theirs), stall_detection=True)

    assert "let the guest stand still for 2000000 ms" in may


def test_an_attempt_that_a_guard_ended_for_its_last_step_is_told_as_that() -> None:
    attempt = AttemptSpec.model_validate(an_attempt()).model_copy(update={"configuration": detecting(WANTED)})
    state = a_migration_state(
        "uid", policy_name="theirs", configuration=effective(WANTED, **{**DETECTING, "max_downtime_ms": 900})
    )

    found = overruled(attempt, state)

    assert found is not None
    assert found[0] == "OverruledByForeignPolicy"
    assert "stand still for 900 ms" in found[1]
