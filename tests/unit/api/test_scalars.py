"""What all of our kinds have in common: camelCase, bounded, timestamps as Kubernetes writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from whimbrel.api import MigrationPlan, VirtualMachineMove
from whimbrel.api.ladder import Disruption
from whimbrel.api.migration_plan import MigrationPlanStatus
from whimbrel.api.scalars import format_timestamp

moments = st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def test_a_time_is_written_in_utc_with_whole_seconds() -> None:
    here = datetime(2026, 3, 1, 13, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert format_timestamp(here) == "2026-03-01T12:30:15Z"


@given(moments)
def test_a_time_survives_the_api_server(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    stored = MigrationPlanStatus(started_at=whole).to_json()

    assert MigrationPlanStatus.model_validate(stored).started_at == whole


def test_what_is_absent_is_not_written_as_null() -> None:
    plan = MigrationPlan.model_validate({"spec": {"virtualMachines": {"names": ["db1"]}}})

    assert None not in plan.to_json()["spec"]["virtualMachines"].values()
    assert "startedAt" not in plan.to_json()["status"]


def test_fields_of_a_newer_release_are_passed_over() -> None:
    plan = MigrationPlan.model_validate({"spec": {"virtualMachines": {"names": ["db1"]}, "schedule": {"x": 1}}})

    assert "schedule" not in plan.to_json()["spec"]


def test_a_value_of_the_api_cannot_be_changed() -> None:
    plan = MigrationPlan.model_validate({"spec": {"virtualMachines": {"names": ["db1"]}}})

    with pytest.raises(ValidationError):
        plan.spec.suspend = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "document",
    [
        {"stun": "Allowed"},
        {"stun": "Allowed", "maxDowntimeMs": 3000},
        {"stun": "Never", "maxDowntimeMs": 3000, "unattendedDowntimeMs": 3000},
        {"stun": "Allowed", "maxDowntimeMs": 1999, "unattendedDowntimeMs": 3000},
        {"stun": "Allowed", "maxDowntimeMs": 5000, "unattendedDowntimeMs": 4000},
    ],
)
def test_a_consent_to_a_stun_is_complete_and_consistent_or_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"[dD]owntime"):
        Disruption.model_validate(document)


def test_nothing_is_consented_to_unless_it_is_said() -> None:
    disruption = MigrationPlan.model_validate(
        {"spec": {"virtualMachines": {"names": ["db1"]}}}
    ).spec.migration.disruption

    assert (disruption.stun, disruption.max_downtime_ms, disruption.unattended_downtime_ms) == ("Never", None, None)


def test_a_move_that_has_no_status_yet_waits() -> None:
    reference = {"namespace": "default", "name": "db1", "uid": "u", "memoryBytes": 1}

    move = VirtualMachineMove.model_validate({"spec": {"instance": reference}})

    assert move.status.phase == "Waiting"
