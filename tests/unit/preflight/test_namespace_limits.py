"""What a namespace admits: quotas and limit ranges against a second launcher; and volumes against a node's limits."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from support.builders import GIB, MIB, a_cluster, a_launcher, a_migration, a_node, a_plan, a_pod, an_instance
from whimbrel.domain import resources
from whimbrel.domain.guests import PERSISTENT_STATE, GuestHardware, GuestVolume
from whimbrel.domain.quotas import Limits, Quota
from whimbrel.domain.records import Instance, Key, Pod
from whimbrel.domain.scheduling import Admission, Container, Scheduling
from whimbrel.domain.selectors import Requirement
from whimbrel.domain.storage import Attachment, Claim, CsiNode, Volume
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight import PreflightReason, attach_limits, namespace_limits
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

COMPUTE = Container(requests=(("cpu", 100), ("memory", GIB)), limits=(("memory", 2 * GIB),))


def a_template(instance: Instance, *containers: Container, **admission: Any) -> Pod:
    return replace(
        a_launcher(instance), admission=Admission(containers or (COMPUTE,), **admission), scheduling=Scheduling()
    )


def a_quota(hard: dict[str, int], used: dict[str, int] | None = None, scope: Requirement | None = None) -> Quota:
    return Quota(
        Key("default", "q"), "uid-q", tuple(sorted(hard.items())), tuple(sorted((used or {}).items())),
        () if scope is None else (scope,),
    )  # fmt: skip


def a_limit_range(**bounds: Any) -> Limits:
    stated = dict.fromkeys(("container_minimum", "container_maximum", "pod_minimum", "pod_maximum"), ())
    return Limits(Key("default", "l"), "uid-l", **{**stated, **bounds})


def said(launcher: Pod, *others: Any) -> list[PreflightReason]:
    instance = an_instance()
    snapshot = a_cluster(instance, launcher, *others)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(namespace_limits.judge(namespace_limits.demand(asked)))


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def test_a_namespace_without_rules_admits_everything() -> None:
    assert said(a_template(an_instance())) == []


@pytest.mark.parametrize(
    ("resource", "one_launcher"),
    [
        ("pods", 1),
        ("count/pods", 1),
        ("requests.cpu", 100),
        ("cpu", 100),
        ("requests.memory", GIB),
        ("limits.memory", 2 * GIB),
    ],
)
def test_a_quota_must_hold_one_more_launcher(resource: str, one_launcher: int) -> None:
    launcher = a_template(an_instance())
    room, short = (a_quota({resource: 10 * one_launcher}, {resource: 9 * one_launcher + more}) for more in (0, 1))

    assert said(launcher, room) == []
    (reason,) = said(launcher, short)
    assert reason.code == "QuotaExceeded"
    assert reason.field == f"ResourceQuota q: spec.hard[{resource}]"


def test_a_quota_for_devices_counts_their_requests() -> None:
    launcher = a_template(an_instance(), replace(COMPUTE, requests=(("memory", GIB), ("vendor.example/gpu", 1))))

    assert codes(said(launcher, a_quota({"requests.vendor.example/gpu": 1}, {"requests.vendor.example/gpu": 1}))) == [
        "QuotaExceeded"
    ]


def test_where_other_guests_move_just_now_it_waits_for_them() -> None:
    other = an_instance("db2", node="node-2")
    its_launcher = replace(a_template(other), admission=Admission((COMPUTE,)))
    moving = a_migration(other, target="node-3", phase="Pending")
    quota = a_quota({"pods": 3}, {"pods": 2})

    assert said(a_template(an_instance()), other, its_launcher, quota) == []
    (reason,) = said(a_template(an_instance()), other, its_launcher, moving, quota)
    assert (reason.code, reason.transient, reason.found) == ("QuotaTakenByMoves", True, "3 of 3 used")


@pytest.mark.parametrize(
    ("scope", "admission", "covered"),
    [
        (Requirement("Terminating", "Exists"), {}, False),
        (Requirement("Terminating", "Exists"), {"ends": True}, True),
        (Requirement("NotTerminating", "Exists"), {}, True),
        (Requirement("BestEffort", "Exists"), {}, False),
        (Requirement("NotBestEffort", "Exists"), {}, True),
        (Requirement("PriorityClass", "In", ("high",)), {"priority_class": "high"}, True),
        (Requirement("PriorityClass", "In", ("high",)), {}, False),
        (Requirement("PriorityClass", "NotIn", ("high",)), {}, True),
        (Requirement("CrossNamespacePodAffinity", "Exists"), {"looks_across_namespaces": True}, True),
        (Requirement("VolumeAttributesClass", "Exists"), {}, False),
    ],
)
def test_a_quota_counts_what_its_scopes_cover(scope: Requirement, admission: dict[str, Any], covered: bool) -> None:
    full = a_quota({"pods": 1}, {"pods": 1}, scope)

    assert codes(said(a_template(an_instance(), **admission), full)) == (["QuotaExceeded"] if covered else [])


def test_under_a_quota_for_cpu_limits_every_container_must_state_one() -> None:
    (reason,) = said(a_template(an_instance()), a_quota({"limits.cpu": 64_000}))

    assert (reason.code, reason.found) == ("QuotaExceeded", "a container of the launcher states none")


@pytest.mark.parametrize(
    ("bounds", "field", "found", "needed"),
    [
        ({"container_maximum": (("memory", GIB),)}, "spec.limits[Container].max[memory]", "1Gi", "one of 2Gi"),
        ({"container_minimum": (("cpu", 200),)}, "spec.limits[Container].min[cpu]", "200m", "one of 100m"),
        ({"pod_maximum": (("memory", GIB),)}, "spec.limits[Pod].max[memory]", "1Gi", "one of 2Gi"),
        ({"pod_maximum": (("cpu", 1000),)}, "spec.limits[Pod].max[cpu]", "1000m", "no limit"),
        (
            {"container_ratio": (("memory", 1500),)},
            "spec.limits[Container].maxLimitRequestRatio[memory]",
            "1.5",
            "one of 2 (2Gi for 1Gi)",
        ),
        (
            {"container_default_limits": (("cpu", 50),)},
            "spec.limits[Container].default[cpu]",
            "50m",
            "one of 100m, which is requested",
        ),
    ],
)
def test_a_limit_range_bounds_the_launcher(bounds: dict[str, Any], field: str, found: str, needed: str) -> None:
    (reason,) = said(a_template(an_instance()), a_limit_range(**bounds))

    assert (reason.code, reason.field) == ("LimitRangeViolated", f"LimitRange l: {field}")
    assert (reason.found, reason.needed) == (found, needed)
    assert reason.cure().startswith(
        f"Change LimitRange l: {field}: it is {found}, and the launcher comes with {needed}."
    )


def test_what_a_container_does_not_state_it_gets_from_the_limit_range() -> None:
    with_default = a_limit_range(container_maximum=(("cpu", 1000),), container_default_limits=(("cpu", 1000),))
    generous = a_limit_range(container_ratio=(("memory", 2000),), pod_minimum=(("memory", MIB),))

    assert said(a_template(an_instance()), with_default) == []
    assert said(a_template(an_instance()), generous) == []


def test_init_containers_count_with_their_maximum_and_sidecars_add_up() -> None:
    one = (("memory", GIB),)
    first, sidecar = Container(one, (), starts=True), Container(one, (), starts=True, stays=True)
    big = Container((("memory", 5 * GIB),), (), starts=True)
    quota = a_quota({"requests.memory": 6 * GIB})

    assert said(a_template(an_instance(), first, sidecar, COMPUTE), quota) == []
    assert said(a_template(an_instance(), sidecar, big, COMPUTE), quota) == []
    assert codes(said(a_template(an_instance(), sidecar, sidecar, big, COMPUTE), quota)) == ["QuotaExceeded"]


def test_what_may_not_be_read_is_unknown_and_blocks_nobody() -> None:
    instance = an_instance()
    snapshot = replace(a_cluster(instance, a_template(instance)), unread=frozenset({"quotas"}))
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)

    (reason,) = namespace_limits.judge(namespace_limits.demand(asked))

    assert (reason.code, reason.blocks) == ("NamespaceLimitsUnknown", False)


def test_a_launcher_says_what_admission_looks_at() -> None:
    raw = {
        "metadata": {
            "name": "l",
            "namespace": "shop",
            "ownerReferences": [
                {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "uid": "i", "controller": True}
            ],
        },
        "spec": {
            "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
            "initContainers": [{"restartPolicy": "Always"}],
            "activeDeadlineSeconds": 60,
            "priorityClassName": "high",
            "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "ephemeral": {}}],
        },
    }

    pod = PROJECTIONS[resources.PODS](raw)

    assert isinstance(pod, Pod)
    assert pod.admission == Admission(
        (Container((), (), starts=True, stays=True), Container((("cpu", 1000), ("memory", GIB)), ())),
        priority_class="high",
        ends=True,
    )
    assert pod.claims == ("data", "l-b")


def a_volume(name: str) -> list[Any]:
    claim = Claim(Key("default", name), f"uid-{name}", ("ReadWriteMany",), "Block", f"pv-{name}", "fast", 1)
    return [claim, Volume(Key("", f"pv-{name}"), f"uid-pv-{name}", ("ReadWriteMany",), "san", "csi", ())]


def on_node_2(limit: int | None, *others: Any) -> list[PreflightReason]:
    """What is said against node-2 for a guest with two volumes; the mask says the same."""
    instance = replace(
        an_instance(), volumes=tuple(GuestVolume(name, "persistentVolumeClaim", claim=name) for name in ("one", "two"))
    )
    nodes = [a_node("node-1"), a_node("node-2")]
    limits = CsiNode(Key("", "node-2"), "uid-csi", {"san": limit})
    volumes = [each for name in ("one", "two", "other") for each in a_volume(name)]
    snapshot = a_cluster(instance, *nodes, limits, *volumes, *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(attach_limits, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(attach_limits.judge(demand, lineup.supply(attach_limits.supply, hosts["node-2"])))
    assert bool(attach_limits.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


def an_attachment(volume: str) -> Attachment:
    return Attachment(Key("", f"va-{volume}"), f"uid-va-{volume}", "san", "node-2", volume)


def a_user(name: str, *claims: str) -> Pod:
    return replace(a_pod(name, node="node-2"), claims=claims)


def test_a_node_takes_volumes_up_to_its_limit() -> None:
    assert on_node_2(None, an_attachment("pv-other")) == []
    assert on_node_2(3, an_attachment("pv-other")) == []
    (reason,) = on_node_2(2, an_attachment("pv-other"))
    assert (reason.code, reason.found, reason.needed) == ("AttachLimitReached", "1 of 2 attached", "2 more")


def test_a_volume_that_a_pod_uses_there_counts_once() -> None:
    assert on_node_2(2, a_user("reader", "one"), an_attachment("pv-one")) == []
    assert on_node_2(2, a_user("reader", "one", "two"), a_user("again", "two")) == []
    assert codes(on_node_2(2, a_user("reader", "other"))) == ["AttachLimitReached"]


def test_a_volume_that_is_left_over_counts_again_as_the_scheduler_counts() -> None:
    assert codes(on_node_2(2, an_attachment("pv-one"))) == ["AttachLimitReached"]


STATE = "persistent-state-for-db1"
BY_CLASS = "fast.storageclass.storage.k8s.io/"


def of_a_guest_with_a_vtpm(
    quota: Quota, *modes: str, persistent: bool = True, launched: bool = True
) -> list[PreflightReason]:
    """What a quota says of a guest that keeps the state of its vTPM on a claim with these access modes."""
    instance = replace(
        an_instance(),
        hardware=GuestHardware(persistent_state=persistent),
        volumes=(GuestVolume(STATE, PERSISTENT_STATE, claim=STATE),),
    )
    claim = Claim(Key("default", STATE), "uid-state", modes or ("ReadWriteOnce",), "Filesystem", "pv", "fast", GIB)
    snapshot = a_cluster(instance, *([a_template(instance)] if launched else ()), claim, quota)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(namespace_limits.judge(namespace_limits.demand(asked)))


@pytest.mark.parametrize(
    ("resource", "one_claim"),
    [
        ("persistentvolumeclaims", 1),
        ("count/persistentvolumeclaims", 1),
        ("requests.storage", 10 * MIB),
        (f"{BY_CLASS}persistentvolumeclaims", 1),
        (f"{BY_CLASS}requests.storage", 10 * MIB),
    ],
)
def test_a_quota_must_hold_the_second_claim_for_the_state_of_a_vtpm(resource: str, one_claim: int) -> None:
    room, short = (a_quota({resource: 10 * one_claim}, {resource: 9 * one_claim + more}) for more in (0, 1))

    assert of_a_guest_with_a_vtpm(room) == []
    (reason,) = of_a_guest_with_a_vtpm(short)
    assert reason.code == "QuotaExceeded"
    assert reason.field == f"ResourceQuota q: spec.hard[{resource}]"


def test_a_quota_for_other_claims_or_for_pods_alone_has_no_say_in_that_claim() -> None:
    full = {"persistentvolumeclaims": 1}

    assert of_a_guest_with_a_vtpm(a_quota({"slow.storageclass.storage.k8s.io/persistentvolumeclaims": 0})) == []
    assert of_a_guest_with_a_vtpm(a_quota(full, full, Requirement("NotTerminating", "Exists"))) == []


def test_that_claim_is_counted_even_where_the_launcher_is_not_known() -> None:
    full = a_quota({"persistentvolumeclaims": 1, "pods": 1}, {"persistentvolumeclaims": 1, "pods": 1})

    (reason,) = of_a_guest_with_a_vtpm(full, launched=False)

    assert (reason.code, reason.field) == ("QuotaExceeded", "ResourceQuota q: spec.hard[persistentvolumeclaims]")


def test_where_the_state_is_shared_or_not_kept_no_second_claim_is_made() -> None:
    full = a_quota({"persistentvolumeclaims": 1}, {"persistentvolumeclaims": 1})

    assert codes(of_a_guest_with_a_vtpm(full)) == ["QuotaExceeded"]
    assert of_a_guest_with_a_vtpm(full, "ReadWriteMany") == []
    assert of_a_guest_with_a_vtpm(full, persistent=False) == []
