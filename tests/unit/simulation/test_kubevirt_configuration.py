"""Which policy applies, what becomes of the configuration, the time budget, and the monitor that keeps it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.simulation.kubevirt import budget, monitor, policies, quantities, queueing, traits
from whimbrel.simulation.kubevirt.monitor import Action, Look, Rules
from whimbrel.simulation.kubevirt.releases import release

GIB = 1024**3


def a_policy(
    name: str, instance: dict[str, str] | None = None, namespace: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    selectors = {"virtualMachineInstanceSelector": instance or {}, "namespaceSelector": namespace or {}}
    return {"metadata": {"name": name}, "spec": {"selectors": selectors, **spec}}


def chosen(*offered: dict[str, Any], labels: dict[str, str], namespace: dict[str, str] | None = None) -> str:
    return policies.resolve(policies.cluster_configuration(None), offered, labels, namespace or {})[0]


def test_the_policy_with_the_most_matched_pairs_wins_whatever_side_they_are_on() -> None:
    one = a_policy("one", {"app": "db"})
    two = a_policy("two", {"app": "db"}, {"team": "shop"})

    assert chosen(one, two, labels={"app": "db"}, namespace={"team": "shop"}) == "two"
    assert chosen(one, two, labels={"app": "db"}) == "one"


def test_a_tie_goes_to_more_instance_pairs_and_then_to_the_first_name() -> None:
    by_space = a_policy("a-space", {}, {"team": "shop"})
    by_instance = a_policy("z-instance", {"app": "db"})
    earlier = a_policy("b-instance", {"app": "db"})

    labels, namespace = {"app": "db"}, {"team": "shop"}
    assert chosen(by_space, by_instance, labels=labels, namespace=namespace) == "z-instance"
    assert chosen(by_instance, earlier, labels=labels) == "b-instance"


def test_an_empty_selector_catches_everybody_and_absent_selectors_catch_nobody() -> None:
    absent = {"metadata": {"name": "absent"}, "spec": {}}

    assert chosen(a_policy("all"), labels={}) == "all"
    assert chosen(absent, labels={}) == ""
    assert chosen(a_policy("all"), a_policy("one", {"app": "db"}), labels={"app": "db"}) == "one"


def test_post_copy_in_a_policy_switches_disruption_on_unless_the_policy_says_otherwise() -> None:
    cluster = policies.cluster_configuration(None)
    follows = policies.resolve(cluster, [a_policy("p", allowPostCopy=True)], {}, {})[1]
    says = policies.resolve(cluster, [a_policy("p", allowPostCopy=True, allowWorkloadDisruption=False)], {}, {})[1]

    assert (follows["allowPostCopy"], follows["allowWorkloadDisruption"]) == (True, True)
    assert (says["allowPostCopy"], says["allowWorkloadDisruption"]) == (True, False)


def test_one_policy_is_laid_over_the_cluster_field_by_field() -> None:
    kubevirt = {"spec": {"configuration": {"migrations": {"bandwidthPerMigration": "64Mi", "progressTimeout": 60}}}}
    offered = [
        a_policy("p", completionTimeoutPerGiB=7),
        a_policy("q", {"app": "db"}, bandwidthPerMigration="1024Mi"),
    ]

    name, effective = policies.resolve(policies.cluster_configuration(kubevirt), offered, {"app": "db"}, {})

    assert name == "q"
    assert effective["bandwidthPerMigration"] == "1Gi"
    assert (effective["completionTimeoutPerGiB"], effective["progressTimeout"]) == (150, 60)


def test_an_old_release_has_its_own_default_and_no_disruption() -> None:
    old = policies.cluster_configuration({"status": {"observedKubeVirtVersion": "v1.3.1"}})

    assert old["completionTimeoutPerGiB"] == 800
    assert "allowWorkloadDisruption" not in old


@pytest.mark.parametrize(
    ("memory", "deadline_s"), [("128Mi", 150), ("1Gi", 300), ("4Gi", 750), ("64Gi", 10_350), ("1G", 150)]
)
def test_the_budget_counts_decimal_gigabytes_rounded_up(memory: str, deadline_s: int) -> None:
    instance = {"spec": {"domain": {"memory": {"guest": memory}}}}

    assert budget.deadline_s({"completionTimeoutPerGiB": 150}, instance) == deadline_s


def test_local_disks_count_only_in_a_block_migration() -> None:
    instance: dict[str, Any] = {"spec": {"domain": {"memory": {"guest": "1G"}}}, "status": {}}
    block = {**instance, "status": {"migrationMethod": "BlockMigration"}}

    assert budget.gigabytes(instance, 10**9) == 1
    assert budget.gigabytes(block, 10**9) == 2


def actions(rules: Rules, until_s: float, remaining: Any = lambda _: 1000) -> list[tuple[float, Action]]:
    watch = monitor.begin(rules)
    done: list[tuple[float, Action]] = []
    for number in range(int(until_s / monitor.TICK_S)):
        elapsed_s = number * monitor.TICK_S
        watch, action = monitor.tick(rules, watch, Look(elapsed_s, remaining(elapsed_s)))
        if action is not Action.WAIT:
            done.append((round(elapsed_s, 1), action))
    return done


def test_without_disruption_the_deadline_aborts_between_one_and_one_and_a_half_seconds_late() -> None:
    assert actions(Rules(deadline_s=20), 60) == [(21.2, Action.ABORT)]


def test_with_disruption_the_guest_is_suspended_at_the_deadline_and_the_job_aborted_at_twice_that() -> None:
    rules = Rules(deadline_s=20, allow_workload_disruption=True)

    assert actions(rules, 90) == [(21.2, Action.SUSPEND), (41.2, Action.ABORT)]


def test_post_copy_comes_before_a_suspend_and_nothing_ends_it() -> None:
    rules = Rules(deadline_s=20, allow_workload_disruption=True, allow_post_copy=True)

    assert actions(rules, 400) == [(21.2, Action.POST_COPY)]


def test_a_release_without_paused_mode_aborts_at_the_deadline() -> None:
    assert actions(Rules(deadline_s=20, allow_workload_disruption=True, suspends=False), 60) == [(21.2, Action.ABORT)]


def test_a_completion_timeout_of_zero_never_ends_a_migration() -> None:
    assert actions(Rules(deadline_s=0, progress_timeout_s=0), 2000) == []


def test_the_progress_timeout_is_only_for_dead_links() -> None:
    dead = actions(Rules(deadline_s=0, progress_timeout_s=150), 200)
    busy = actions(Rules(deadline_s=0, progress_timeout_s=150), 600, lambda elapsed_s: 1000 - elapsed_s % 10)

    assert dead == [(151.2, Action.ABORT)]
    assert busy == []


def test_a_refused_abort_is_tried_again() -> None:
    rules = Rules(deadline_s=20)
    watch, action = monitor.tick(rules, monitor.begin(rules), Look(30.0, 5))
    _, silent = monitor.tick(rules, watch, Look(30.4, 5))
    _, again = monitor.tick(rules, monitor.abort_refused(watch), Look(30.4, 5))

    assert (action, silent, again) == (Action.ABORT, Action.WAIT, Action.ABORT)


GPU = {"spec": {"domain": {"memory": {"guest": "1G"}, "devices": {"gpus": [{"name": "a", "deviceName": "b"}]}}}}
PLAIN = {"spec": {"domain": {"memory": {"guest": "1G"}}}}


def a_kubevirt(version: str = "v1.9.0", *gates: str) -> dict[str, Any]:
    developer = {"developerConfiguration": {"featureGates": list(gates)}}
    return {"spec": {"configuration": developer}, "status": {"observedKubeVirtVersion": version}}


@pytest.mark.parametrize(("per_gib", "limit_ms"), [(20, 40_000), (1000, 2_000_000), (1001, 2_000_000)])
def test_a_guest_with_a_device_of_its_host_is_stopped_by_a_downtime_limit_of_twice_the_deadline(
    per_gib: int, limit_ms: int
) -> None:
    configuration = {"completionTimeoutPerGiB": per_gib, "allowWorkloadDisruption": True, "allowPostCopy": True}
    rules = monitor.rules(configuration, GPU)

    watch, action = monitor.tick(rules, monitor.begin(rules), Look(per_gib + 1, 5))

    assert (action, watch.mode, watch.downtime_ms) == (Action.LIMIT_DOWNTIME, "Paused", limit_ms)
    assert watch.acts_after_s == 2 * per_gib
    again, retried = monitor.tick(rules, monitor.refused(monitor.begin(rules), watch), Look(per_gib + 1.4, 5))
    assert (again, retried) == (watch, action)


def test_before_1_9_a_guest_with_a_device_of_its_host_is_suspended_like_any_other() -> None:
    rules = monitor.rules({"completionTimeoutPerGiB": 20, "allowWorkloadDisruption": True}, GPU, a_kubevirt("v1.8.4"))

    assert actions(rules, 30) == [(21.2, Action.SUSPEND)]


@pytest.mark.parametrize(
    ("devices", "passed"),
    [
        ({}, False),
        ({"interfaces": [{"name": "default", "masquerade": {}}]}, False),
        ({"interfaces": [{"name": "fast", "sriov": {}}]}, True),
        ({"hostDevices": [{"name": "a", "deviceName": "b"}]}, True),
        ({"gpus": [{"name": "a", "deviceName": "b"}]}, True),
    ],
)
def test_host_devices_gpus_and_virtual_functions_are_devices_of_the_host(devices: dict[str, Any], passed: bool) -> None:
    assert traits.passes_devices_through({"spec": {"domain": {"devices": devices}}}) is passed


def test_the_stall_detector_watches_where_the_gate_is_on_in_a_release_that_has_it() -> None:
    configuration = {"experimental": {"stallDetector": {"switchoverTimeout": 7}}, "maxDowntimeMs": 500}

    def stall(kubevirt: dict[str, Any]) -> Any:
        return monitor.rules(configuration, PLAIN, kubevirt).stall

    assert stall(a_kubevirt("v1.9.0")) is None
    assert stall(a_kubevirt("v1.8.4", "MigrationStallDetection")) is None
    assert stall(a_kubevirt("v1.9.0", "MigrationStallDetection")).switchover_timeout_s == 7
    assert monitor.rules({}, PLAIN, a_kubevirt("v1.9.0", "MigrationStallDetection")).max_downtime_ms == 900


@pytest.mark.parametrize(
    ("domain", "parallel"),
    [
        ({}, True),
        ({"resources": {"limits": {"memory": "1Gi"}}}, True),
        ({"resources": {"limits": {"cpu": "0"}}}, True),
        ({"resources": {"limits": {"cpu": "500m"}}}, False),
        ({"cpu": {"dedicatedCpuPlacement": True}}, False),
    ],
)
def test_memory_is_compressed_where_it_is_asked_for_and_goes_over_several_connections(
    domain: dict[str, Any], parallel: bool
) -> None:
    instance = {"spec": {"domain": domain}}

    assert traits.goes_compressed({"experimental": {"compression": "zstd"}}, instance) is parallel
    assert not traits.goes_compressed({"experimental": {"compression": "none"}}, instance)
    assert not traits.goes_compressed({}, instance)


def test_what_is_experimental_is_taken_from_the_policy_as_it_stands() -> None:
    stated = {"compression": "zstd", "stallDetector": {"ewmaAlpha": "0.5"}}
    cluster = policies.cluster_configuration(None)

    assert policies.resolve(cluster, [a_policy("p", experimental=stated)], {}, {})[1]["experimental"] == stated
    assert "experimental" not in cluster


def test_only_1_9_has_downtime_limits_and_what_is_experimental() -> None:
    added = {"maxDowntimeMs", "experimental", "experimental.compression", "experimental.stallDetector"}
    newest, before = release("v1.9.0").policy_fields, release("v1.8.4").policy_fields

    assert newest - before == added
    assert before - release("v1.4.1").policy_fields == {"allowWorkloadDisruption"}
    assert policies.cluster_configuration(a_kubevirt())["maxDowntimeMs"] == 900
    assert "maxDowntimeMs" not in policies.cluster_configuration(a_kubevirt("v1.8.4"))


@given(st.integers(1, 2**50), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_a_quantitys_canonical_form_has_its_value_and_is_its_own_canonical_form(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = quantities.canonical(text)

    assert quantities.exact(canonical) == quantities.exact(text)
    assert quantities.canonical(canonical) == canonical


def test_what_is_no_quantity_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        quantities.value("ten")


def a_migration(
    name: str, priority: str = "", phase: str = "Pending", created: str = "2026-01-05T08:00:00Z"
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"vmiName": name, **({"priority": priority} if priority else {})},
        "status": {"phase": phase},
    }


def test_the_queue_serves_kubevirts_own_migrations_before_anybody_elses() -> None:
    pending = [
        a_migration("plain"), a_migration("drain", "system-maintenance"), a_migration("hotplug", "user-triggered"),
        a_migration("late", "system-critical", created="2026-01-05T09:00:00Z"),
    ]  # fmt: skip
    configuration = policies.cluster_configuration(None)

    order = [each["metadata"]["name"] for each in queueing.woken(pending, configuration)]

    assert order == ["late", "hotplug", "drain", "plain"]
    assert [queueing.limit_delay_s(each) for each in pending] == [5.0, 5.0, 3.0, 1.0]


def test_only_evacuations_and_workload_updates_back_off_and_ever_longer() -> None:
    now = datetime(2026, 1, 5, 8, 0, 10, tzinfo=UTC)

    def marked(migration: dict[str, Any]) -> dict[str, Any]:
        migration["metadata"]["annotations"] = {"kubevirt.io/evacuationMigration": "node-1"}
        return migration

    failed = [marked(a_migration(f"f{number}", phase="Failed")) for number in range(2)]
    for each in failed:
        times = [{"phase": "Failed", "phaseTransitionTimestamp": "2026-01-05T08:00:00Z"}]
        each["status"]["phaseTransitionTimestamps"] = times

    assert queueing.backoff_left_s(marked(a_migration("next")), failed[:1], now) == 10
    assert queueing.backoff_left_s(marked(a_migration("next")), failed, now) == 30
    assert queueing.backoff_left_s(a_migration("external"), failed, now) == 0
