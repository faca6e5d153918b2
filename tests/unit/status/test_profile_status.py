"""The status of a HostProfile: where it is in effect, and who has what it does not get."""

from dataclasses import replace

from support.builders import NOW, a_profile
from whimbrel.api import HostProfile
from whimbrel.domain.records import Profile
from whimbrel.domain.resources import HOST_PROFILES
from whimbrel.inventory.hosts import Coverage
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.status.profile import profile_status


def told(profile: Profile, coverage: Coverage) -> tuple[str, str]:
    write = profile_status(profile, coverage, None, NOW)
    assert write is not None
    (ready,) = write.body["status"]["conditions"]
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
