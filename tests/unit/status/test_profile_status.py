"""The status of a HostProfile: where it is in effect, and who has what it does not get."""

from dataclasses import replace

import pytest

from support.builders import NOW, AnyRecord, a_node, a_profile, a_snapshot, an_instance
from whimbrel.api import HostProfile
from whimbrel.domain.guests import NO_HARDWARE, GuestInterface
from whimbrel.domain.networks import NetworkAttachment
from whimbrel.domain.records import Instance, Key, Profile
from whimbrel.domain.resources import HOST_PROFILES
from whimbrel.inventory.hosts import Coverage, effective_hosts
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight.undeclared import wanted
from whimbrel.status.profile import profile_status


def told(profile: Profile, coverage: Coverage) -> tuple[str, str]:
    write = profile_status(profile, coverage, None, NOW)
    assert write is not None
    ready = next(each for each in write.body["status"]["conditions"] if each["type"] == "Ready")
    return ready["status"], ready["reason"]


def test_a_profile_says_whether_it_is_in_effect_and_why_not() -> None:
    assert told(a_profile(), Coverage(("node-1",), ())) == ("True", "InEffect")
    assert told(a_profile(), Coverage((), (("node-1", "better"),))) == ("False", "Overridden")
    assert told(a_profile(), Coverage((), ())) == ("False", "NoNodes")


def test_a_profile_names_the_nodes_that_another_has() -> None:
    write = profile_status(a_profile(), Coverage(("node-1",), (("node-2", "better"),)), None, NOW)

    assert write is not None
    assert write.body["status"]["nodes"] == ["node-1"]
    assert write.body["status"]["overridden"] == [{"node": "node-2", "profile": "better"}]


def test_a_thousand_nodes_are_counted_and_a_hundred_named() -> None:
    write = profile_status(a_profile(), Coverage(tuple(f"node-{n:04d}" for n in range(1000)), ()), None, NOW)

    assert write is not None
    assert write.body["status"]["nodeCount"] == 1000
    assert len(write.body["status"]["nodes"]) == 100


def warned(profile: Profile) -> str:
    write = profile_status(profile, Coverage(("node-1",), ()), None, NOW)
    assert write is not None
    claims = [each for each in write.body["status"]["conditions"] if each["type"] == "NodesTrusted"]
    assert all(each["status"] == "False" for each in claims)
    return "".join(each["message"] for each in claims)


PROTECTED = {"node-restriction.kubernetes.io/class": "gold"}
OWN = {"kubernetes.io/hostname": "node-1"}


def test_a_profile_that_nodes_can_give_themselves_to_says_so_and_what_to_do() -> None:
    message = warned(a_profile(node_selector={**OWN, "rack": "r1"}))

    assert message.startswith(
        "A node that lies can give itself to this profile: it may set kubernetes.io/hostname, rack "
    )
    assert "spec.nodeNames" in message
    assert "node-restriction.kubernetes.io/" in message


def test_one_label_that_no_node_may_set_keeps_liars_out_and_names_keep_them_in() -> None:
    assert warned(a_profile(node_selector={**OWN, **PROTECTED})) == ""
    assert warned(a_profile(node_selector=OWN, node_names=["node-1"])) == ""
    assert warned(a_profile(node_selector={})) == "", "it takes every node, so none needs to lie"


def test_a_profile_that_keeps_nodes_out_says_when_they_can_escape_it() -> None:
    assert "can escape this profile" in warned(a_profile(node_selector={**OWN, **PROTECTED}, enabled=False))
    assert warned(a_profile(node_selector=PROTECTED, enabled=False)) == ""


def test_a_warning_names_a_handful_of_labels() -> None:
    message = warned(a_profile(node_selector={f"label-{n:02}": "x" for n in range(40)}))

    assert "label-04 and 35 more" in message
    assert "label-05" not in message


def unknown(profile: Profile, *others: AnyRecord, nodes: tuple[str, ...] = ("node-1",)) -> list[str]:
    """The fields that the profile's status calls unknown, in a cluster with these objects besides."""
    snapshot = a_snapshot(profile, a_node("node-1", labels={"rack": "r1"}), a_node("node-2"), *others)
    write = profile_status(profile, Coverage(nodes, ()), None, NOW, wanted(snapshot, effective_hosts(snapshot)))
    assert write is not None
    return [fact["field"] for fact in write.body["status"]["unknown"]]


MINE = {"rack": "r1"}
GPU_GUEST = replace(an_instance("gpu"), hardware=replace(NO_HARDWARE, gpu_resources=("nvidia.com/A", "nvidia.com/B")))


@pytest.mark.parametrize(
    ("guest", "fields"),
    [
        (an_instance(cpu_model="host-passthrough"), ["spec.cpu.baseline"]),
        (replace(an_instance(), hardware=replace(NO_HARDWARE, numa_passthrough=True)), ["spec.cpu.baseline"]),
        (an_instance(annotations={"whimbrel.dev/performance-counters": "Required"}), ["spec.cpu.performanceCounters"]),
        (GPU_GUEST, ["spec.devices.frameBuffers[nvidia.com/A]", "spec.devices.frameBuffers[nvidia.com/B]"]),
        (
            replace(an_instance(), interfaces=(GuestInterface("lan", "bridge", "default/lan"),)),
            ["spec.migration.network.segments"],
        ),
        (an_instance(), []),
    ],
)
def test_a_profile_names_the_facts_that_guests_need_and_it_does_not_declare(guest: Instance, fields: list[str]) -> None:
    lan = NetworkAttachment(Key("default", "lan"), "uid-lan", "bridge", "br-prod", 0, "")

    assert unknown(a_profile(), lan) == [], "nobody needs anything"
    assert unknown(a_profile(), lan, guest) == fields
    assert unknown(a_profile(), lan, replace(guest, phase="Succeeded")) == []


def test_what_is_declared_or_of_no_use_is_not_unknown() -> None:
    guest = an_instance(cpu_model="host-passthrough", annotations={"whimbrel.dev/performance-counters": "Required"})

    assert unknown(a_profile(baseline="gold"), guest) == []
    assert unknown(a_profile(performance_counters="lake"), guest) == ["spec.cpu.baseline"]
    assert unknown(a_profile(link_speed_mbps=10_000), GPU_GUEST) == []
    assert unknown(a_profile(enabled=False), guest) == []
    assert unknown(a_profile(), guest, nodes=()) == []


def test_what_other_profiles_declare_and_this_one_does_not_cannot_be_compared() -> None:
    network = {"name": "blue", "mtu": 9000, "subnets": ["10.20.0.0/24"]}
    other = a_profile("other", node_selector=MINE, network=network)

    assert unknown(a_profile(), other, nodes=("node-2",)) == [
        "spec.migration.network.name",
        "spec.migration.network.subnets",
        "spec.migration.network.mtu",
    ]
    assert unknown(a_profile(network={"mtu": 1500, "name": "blue"}), other, nodes=("node-2",)) == [
        "spec.migration.network.subnets"
    ]
    assert unknown(other, a_profile()) == [], "it declares all that anybody declares"


def test_unknown_facts_are_bounded_and_stand_while_nobody_looks() -> None:
    many = replace(GPU_GUEST, hardware=replace(NO_HARDWARE, gpu_resources=tuple(f"x.com/{n:02}" for n in range(50))))
    assert len(unknown(a_profile(), many)) == 32
    row = {"field": "spec.cpu.baseline", "why": "Guests need it."}
    stored = a_profile(status={"unknown": [row]})

    write = profile_status(stored, Coverage(("node-1",), ()), None, NOW, None)

    assert write is not None
    assert write.body["status"]["unknown"] == [row]


def test_what_the_status_says_already_is_not_written_again() -> None:
    profile, coverage = a_profile(), Coverage(("node-1",), ())
    write = profile_status(profile, coverage, None, NOW)
    assert write is not None
    assert profile.profile is not None
    document = {"spec": profile.profile.spec.to_json(), "status": write.body["status"]}

    again = replace(profile, profile=HostProfile.model_validate(document))

    assert profile_status(again, coverage, None, NOW) is None


def test_a_broken_rule_is_reported_once_in_the_schemas_words() -> None:
    broken = a_profile(error="spec.migration.limits.parallelInbound: Input should be greater than or equal to 1")
    write = profile_status(broken, Coverage((), ()), None, NOW)
    assert write is not None

    stored = PROJECTIONS[HOST_PROFILES]({"metadata": {"name": "standard"}, "spec": {}, "status": write.body["status"]})

    assert isinstance(stored, Profile)
    assert "parallelInbound" in stored.reported_error
    assert profile_status(replace(broken, reported_error=stored.reported_error), Coverage((), ()), None, NOW) is None
