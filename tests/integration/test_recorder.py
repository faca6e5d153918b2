"""Events: on the object itself, once, and never a flood."""

from dataclasses import replace

import pytest

from whimbrel.domain.decision import Announcement
from whimbrel.domain.records import Key
from whimbrel.domain.resources import EVENTS, INSTANCES, MIGRATION_PLANS, NODES
from whimbrel.kube.api import KubeApi
from whimbrel.kube.recorder import EventRecorder, Reference
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

MOVED = Announcement(INSTANCES, Key("shop", "db1"), "uid-1", "Migrated", "db1 moved from node-1 to node-2")


class Recorder(EventRecorder):
    """A recorder whose time is set by the test."""

    def __init__(self, api: KubeApi, telemetry: Telemetry) -> None:
        self.now = 0.0
        super().__init__(api, telemetry, "whimbrel-0", clock=lambda: self.now)


@pytest.fixture
def recorder(api: KubeApi, telemetry: Telemetry) -> Recorder:
    return Recorder(api, telemetry)


async def test_an_event_names_what_it_is_about_and_what_else_has_to_do_with_it(
    cluster: EmbeddedControlPlane, api: KubeApi, recorder: Recorder
) -> None:
    recorder.announce(MOVED, Reference(MIGRATION_PLANS, Key("shop", "p1"), "uid-2"))
    await recorder.flush(5)

    (event,) = (await api.list_page(EVENTS, namespace="shop")).items
    assert event["regarding"]["name"] == "db1"
    assert event["related"]["kind"] == "MigrationPlan"
    assert (event["reason"], event["type"], event["action"]) == ("Migrated", "Normal", "Migrate")
    assert event["note"] == "db1 moved from node-1 to node-2"
    assert event["reportingController"] == "whimbrel.dev/operator"


async def test_an_event_shows_what_somebody_else_wrote_without_obeying_it(
    api: KubeApi, recorder: Recorder, cluster: EmbeddedControlPlane
) -> None:
    recorder.announce(replace(MOVED, message="libvirt said: \x1b[31mno\nMigrated\u202e"))
    await recorder.flush(5)

    (event,) = (await api.list_page(EVENTS, namespace="shop")).items
    assert event["note"] == r"libvirt said: \x1b[31mno\nMigrated\u202e"


async def test_the_same_is_said_again_only_after_two_minutes(recorder: Recorder) -> None:
    assert recorder.announce(MOVED)
    assert not recorder.announce(MOVED)
    assert recorder.announce(replace(MOVED, message="db1 moved back"))

    recorder.now = 121

    assert recorder.announce(MOVED)


async def test_one_object_cannot_fill_the_log(recorder: Recorder) -> None:
    said = [recorder.announce(replace(MOVED, message=f"{number}")) for number in range(30)]

    assert said.count(True) == 20


async def test_all_objects_together_cannot_either(recorder: Recorder) -> None:
    said = [recorder.announce(replace(MOVED, uid=f"{number}")) for number in range(100)]
    recorder.now = 1.0

    assert said.count(True) == 50
    assert recorder.announce(replace(MOVED, uid="another"))


async def test_a_note_that_is_too_long_is_shortened_and_a_node_has_a_place_for_its_events(
    cluster: EmbeddedControlPlane, api: KubeApi, recorder: Recorder
) -> None:
    recorder.announce(Announcement(NODES, Key("", "node-1"), "uid-3", "Emptied", "ä" * 2000, warning=True))
    await recorder.flush(5)

    (event,) = (await api.list_page(EVENTS, namespace="default")).items
    assert len(event["note"].encode()) <= 1024
    assert event["type"] == "Warning"


async def test_an_event_that_cannot_be_written_stops_no_other(
    cluster: EmbeddedControlPlane, api: KubeApi, recorder: Recorder
) -> None:
    cluster.faults.add(Fault(verb="create", status=500))
    recorder.announce(MOVED)
    recorder.announce(replace(MOVED, message="db1 moved back"))

    await recorder.flush(5)

    assert [event["note"] for event in (await api.list_page(EVENTS, namespace="shop")).items] == ["db1 moved back"]
