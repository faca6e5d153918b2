"""virt-api's refusals and corrections, as rules."""

from typing import Any

import pytest

from whimbrel.simulation.kubevirt import admission
from whimbrel.simulation.kubevirt.values import MIGRATION_FINALIZER

CONTROLLER = admission.account("controller")


def an_instance(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "db1", "namespace": "shop", "uid": "vmi-1", "labels": {}},
        "spec": {"domain": {"memory": {"guest": "1Gi"}}},
        "status": {"phase": "Running", **status},
    }


def a_migration(name: str = "move", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {"vmiName": "db1", **spec},
    }


def refusal(
    migration: dict[str, Any], instance: dict[str, Any] | None, *others: dict[str, Any], user: str = "anna"
) -> str:
    refused = admission.review_migration_create(migration, user, instance, others)
    return refused.message if refused else ""


def test_a_new_migration_gets_the_finalizer_that_makes_a_delete_an_abort_and_its_label() -> None:
    made = admission.migration_made(a_migration())

    assert made["metadata"]["finalizers"] == [MIGRATION_FINALIZER]
    assert made["metadata"]["labels"] == {"kubevirt.io/vmi-name": "db1"}


def test_a_migration_needs_an_instance_that_exists_and_has_not_ended() -> None:
    assert "vmiName is missing" in refusal({"metadata": {}, "spec": {}}, None)
    assert "does not exist" in refusal(a_migration(), None)
    assert "finalized" in refusal(a_migration(), an_instance(phase="Failed"))
    assert refusal(a_migration(), an_instance()) == ""


def test_only_virt_controller_sets_a_priority() -> None:
    migration = a_migration(priority="system-critical")

    assert "only virt-controller" in refusal(migration, an_instance())
    assert refusal(migration, an_instance(), user=CONTROLLER) == ""


@pytest.mark.parametrize(("value", "accepted"), [("True", True), ("False", False), (None, True)])
def test_only_an_instance_that_says_it_is_not_migratable_is_refused(value: str | None, accepted: bool) -> None:
    conditions = [{"type": "LiveMigratable", "status": value, "reason": "DisksNotLiveMigratable", "message": "m"}]
    instance = an_instance(conditions=conditions if value else [])

    assert (refusal(a_migration(), instance) == "") is accepted


def test_a_second_migration_of_the_same_instance_is_refused_until_the_first_has_ended() -> None:
    first = {**a_migration("first"), "status": {"phase": "Running"}}
    ended = {**a_migration("first"), "status": {"phase": "Failed"}}

    assert "uid-first" in refusal(a_migration("second"), an_instance(), first)
    assert refusal(a_migration("second"), an_instance(), ended) == ""


def test_a_migrations_spec_never_changes() -> None:
    refused = admission.review_migration_update(a_migration(addedNodeSelector={"a": "b"}), a_migration())

    assert refused is not None
    assert "restricted" in refused.message


def test_a_foreigners_status_write_is_thrown_away_without_a_word() -> None:
    old = an_instance(nodeName="node-1")
    forged = an_instance(nodeName="node-2")

    assert admission.instance_changed(forged, old, "anna")["status"]["nodeName"] == "node-1"
    assert admission.instance_changed(forged, old, admission.account("handler"))["status"]["nodeName"] == "node-2"


def test_a_foreigner_may_label_an_instance_but_not_with_kubevirts_own_keys() -> None:
    old = an_instance()
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"whimbrel.dev/policy-0": "x"}}}
    forged = {**old, "metadata": {**old["metadata"], "labels": {"kubevirt.io/nodeName": "x"}}}

    assert admission.review_instance_update(labelled, old, "anna") is None
    assert admission.review_instance_update(forged, old, "anna") is not None
    assert admission.review_instance_update(forged, old, CONTROLLER) is None


def test_a_virtual_machines_placement_stays_while_its_instance_migrates() -> None:
    old: dict[str, Any] = {"spec": {"template": {"spec": {"domain": {}}}}}
    new = {"spec": {"template": {"spec": {"domain": {}, "nodeSelector": {"zone": "b"}}}}}
    migrating = an_instance(migrationState={"startTimestamp": "2026-01-05T08:00:00Z"})
    over = an_instance(
        migrationState={"startTimestamp": "2026-01-05T08:00:00Z", "endTimestamp": "2026-01-05T08:00:09Z"}
    )

    assert admission.review_machine_update(new, old, migrating) is not None
    assert admission.review_machine_update(new, old, over) is None


GATE = "cannot be modified without enabling the MigrationStallDetection feature gate"
GATED = {"spec": {"configuration": {"developerConfiguration": {"featureGates": ["MigrationStallDetection"]}}}}


def reviewed(
    old: dict[str, Any] | None = None, kubevirt: dict[str, Any] | None = None, **spec: Any
) -> list[tuple[str, str]]:
    """What is wrong with a policy, and where below its spec."""
    before = {"spec": {"selectors": {}, **old}} if old is not None else None
    refused = admission.review_policy({"spec": {"selectors": {}, **spec}}, before, kubevirt)
    causes = (refused.causes or (refused,)) if refused else ()
    return [(each.field.removeprefix("spec."), each.message) for each in causes]


def test_a_policy_with_a_negative_value_is_refused() -> None:
    assert reviewed(completionTimeoutPerGiB=-1) == [("completionTimeoutPerGiB", "must not be negative")]
    assert reviewed(bandwidthPerMigration="-1Mi") == [("bandwidthPerMigration", "must not be negative")]
    assert reviewed(completionTimeoutPerGiB=0, bandwidthPerMigration="64Mi") == []


def test_a_downtime_and_a_stall_detector_are_refused_without_their_gate_unless_they_stay_as_they_were() -> None:
    detector = {"experimental": {"stallDetector": {"stallMargin": 5}}}

    assert reviewed(maxDowntimeMs=500) == [("maxDowntimeMs", f"maxDowntimeMs {GATE}")]
    assert reviewed({"maxDowntimeMs": 400}, maxDowntimeMs=500) != []
    assert reviewed({"maxDowntimeMs": 500}, maxDowntimeMs=500) == []
    assert reviewed(kubevirt=GATED, maxDowntimeMs=500) == []
    where = "experimental.stallDetector"
    assert reviewed(**detector) == [(where, f"{where} {GATE}")]
    assert reviewed(experimental={"stallDetector": {}}) == [(where, f"{where} {GATE}")]
    assert reviewed(detector, **detector) == []
    assert reviewed(kubevirt=GATED, **detector) == []
    assert reviewed(experimental={"compression": "zstd"}) == []


@pytest.mark.parametrize(
    ("member", "text", "objection"),
    [
        ("ewmaAlpha", "0.001", ""),
        ("ewmaAlpha", "0", "must be greater than 0"),
        ("ewmaAlpha", "1", ""),
        ("ewmaAlpha", "1.001", "must be less than or equal to 1"),
        ("ewmaAlpha", "0.1234", 'invalid factor "0.1234": must have at most 3 decimal places'),
        ("precopyPossibleFactor", "1", ""),
        ("precopyPossibleFactor", "0.999", "must be greater than or equal to 1"),
        ("precopyPossibleFactor", "1e9", ""),
        ("patienceWindowDecayFactor", "0", ""),
        ("patienceWindowDecayFactor", "-0.1", "must be greater than or equal to 0"),
        ("patienceWindowDecayFactor", " 1 ", ""),
        ("patienceWindowDecayFactor", "1.1", "must be less than or equal to 1"),
        ("completionTimeoutFactor", "0.5", "must be greater than or equal to 1"),
        ("completionTimeoutFactor", "two", 'invalid factor "two": strconv.ParseFloat: parsing "two": invalid syntax'),
        ("completionTimeoutFactor", "", 'invalid factor ""'),
        ("completionTimeoutFactor", "inf", 'invalid factor "inf"'),
        (
            "completionTimeoutFactor",
            "1e400",
            'invalid factor "1e400": strconv.ParseFloat: parsing "1e400": value out of range',
        ),
        ("completionTimeoutFactor", "+", 'invalid factor "+": strconv.ParseFloat: parsing "+": invalid syntax'),
    ],
)
def test_the_stall_detectors_factors_have_bounds_and_at_most_three_decimals(
    member: str, text: str, objection: str
) -> None:
    found = reviewed(kubevirt=GATED, experimental={"stallDetector": {member: text}})

    assert found == ([(f"experimental.stallDetector.{member}", objection)] if objection else [])


def test_all_that_is_wrong_with_a_policy_is_said_at_once_in_virt_apis_order() -> None:
    wrong = {
        "bandwidthPerMigration": "-1", "completionTimeoutPerGiB": -1, "maxDowntimeMs": 500,
        "experimental": {"stallDetector": {"completionTimeoutFactor": "0", "ewmaAlpha": "0"}},
    }  # fmt: skip

    refused = admission.review_policy({"spec": {"selectors": {}, **wrong}}, None)

    assert [where for where, _ in reviewed(**wrong)] == [
        "completionTimeoutPerGiB",
        "maxDowntimeMs",
        "experimental.stallDetector",
        "experimental.stallDetector.ewmaAlpha",
        "experimental.stallDetector.completionTimeoutFactor",
        "bandwidthPerMigration",
    ]
    assert refused is not None
    assert refused.message == ", ".join(message for _, message in reviewed(**wrong))


def test_an_installations_downtime_changes_only_with_the_gate_and_is_free_at_first() -> None:
    def stating(downtime_ms: int, *gates: str) -> dict[str, Any]:
        members = {
            "migrations": {"maxDowntimeMs": downtime_ms},
            "developerConfiguration": {"featureGates": list(gates)},
        }
        return {"spec": {"configuration": members}}

    assert admission.review_kubevirt(stating(500), None) is None
    assert admission.review_kubevirt(stating(500), stating(500)) is None
    refused = admission.review_kubevirt(stating(500), stating(400))
    assert refused is not None
    assert (refused.message, refused.field) == (
        f"maxDowntimeMs {GATE}",
        "spec.configuration.migrationConfiguration.maxDowntimeMs",
    )
    assert admission.review_kubevirt(stating(500, "MigrationStallDetection"), stating(400)) is None
