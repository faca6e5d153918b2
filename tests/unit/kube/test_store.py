"""The store keeps the newest state of each object, by whatever road and in whatever order news arrive."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATIONS, NODES
from whimbrel.domain.samples import MigrationSample
from whimbrel.inventory.snapshot import FIELDS
from whimbrel.kube.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ONE = Key("shop", "db1")


@dataclass(frozen=True, slots=True)
class Thing:
    """A record with one fact."""

    uid: str
    fact: str


def project(raw: Any) -> Thing | None:
    fact = raw.get("fact", "")
    if fact == "poison":
        raise ValueError("nobody foresaw this")
    return None if fact == "hidden" else Thing(raw["metadata"]["uid"], fact)


def a_store(changes: list[str] | None = None) -> Store:
    changes = changes if changes is not None else []
    return Store(dict.fromkeys(FIELDS, project), on_change=lambda: changes.append("change"))


def a_thing(version: int, uid: str = "a", fact: str = "", key: Key = ONE) -> dict[str, Any]:
    metadata = {"namespace": key.namespace, "name": key.name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "fact": fact or f"{uid}{version}"}


def facts(store: Store) -> dict[str, str]:
    return {key.name: thing.fact for key, thing in store.records(INSTANCES).items()}


def test_an_older_state_never_replaces_a_newer_one() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(9))

    assert not store.apply(INSTANCES, a_thing(8))

    assert facts(store) == {"db1": "a9"}


def test_an_equal_version_is_no_change() -> None:
    changes: list[str] = []
    store = a_store(changes)
    store.apply(INSTANCES, a_thing(9))

    store.apply(INSTANCES, a_thing(9, fact="other"))

    assert changes == ["change"]


def test_a_new_version_with_the_same_facts_wakes_nobody_and_keeps_the_record() -> None:
    changes: list[str] = []
    store = a_store(changes)
    store.apply(INSTANCES, a_thing(1, fact="same"))
    before = store.records(INSTANCES)[ONE]

    store.apply(INSTANCES, a_thing(2, fact="same"))
    store.apply(INSTANCES, a_thing(1, fact="older"))

    assert changes == ["change"]
    assert store.records(INSTANCES)[ONE] is before


def test_a_late_event_does_not_raise_the_dead() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    store.remove(INSTANCES, a_thing(3))

    assert not store.apply(INSTANCES, a_thing(2))
    assert not store.apply(INSTANCES, a_thing(4)), "the same UID never lives again"
    assert facts(store) == {}


def test_an_object_created_anew_under_an_old_name_is_a_new_object() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    store.remove(INSTANCES, a_thing(2))

    assert store.apply(INSTANCES, a_thing(3, uid="b"))

    assert facts(store) == {"db1": "b3"}


def test_the_late_deletion_of_a_predecessor_does_not_hit_its_successor() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    store.apply(INSTANCES, a_thing(3, uid="b"))

    assert not store.remove(INSTANCES, a_thing(2))

    assert facts(store) == {"db1": "b3"}


def test_a_list_removes_what_it_lacks() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    store.apply(INSTANCES, a_thing(2, key=Key("shop", "db2")))

    store.replace(INSTANCES, [a_thing(1)], "5")

    assert facts(store) == {"db1": "a1"}


def test_a_list_does_not_remove_what_we_wrote_after_it_was_taken() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(7))

    store.replace(INSTANCES, [], "5")

    assert facts(store) == {"db1": "a7"}


def test_our_answer_that_arrives_after_a_newer_list_without_the_object_is_old_news() -> None:
    store = a_store()
    store.replace(INSTANCES, [], "6")

    assert not store.apply(INSTANCES, a_thing(4))


def test_an_object_that_the_server_does_not_know_any_more_is_forgotten_by_its_uid_only() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(3, uid="b"))

    assert not store.forget(INSTANCES, ONE, "a")
    assert store.forget(INSTANCES, ONE, "b")
    assert not store.apply(INSTANCES, a_thing(4, uid="b"))


def test_an_object_that_its_projection_hides_is_not_in_the_snapshot_but_still_ordered() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))

    assert store.apply(INSTANCES, a_thing(3, fact="hidden"))

    assert facts(store) == {}
    assert not store.apply(INSTANCES, a_thing(2))


def test_one_object_that_cannot_be_understood_stops_no_other() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))

    store.replace(INSTANCES, [a_thing(2, fact="poison"), a_thing(2, key=Key("shop", "db2"))], "3")

    assert facts(store) == {"db1": "a1", "db2": "a2"}
    assert list(store.unreadable) == [(INSTANCES, ONE)]


def test_an_object_that_was_not_understood_is_cleared_when_it_is_gone() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(2, fact="poison"))

    store.replace(INSTANCES, [], "3")

    assert not store.unreadable


def test_a_snapshot_does_not_change_when_the_store_does() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    snapshot = store.snapshot(NOW)

    store.remove(INSTANCES, a_thing(2))

    assert list(snapshot.instances) == [ONE]
    assert not store.snapshot(NOW).instances


def test_snapshots_share_what_did_not_change() -> None:
    store = a_store()
    store.apply(INSTANCES, a_thing(1))
    first = store.snapshot(NOW)

    store.apply(NODES, a_thing(1))
    second = store.snapshot(NOW)

    assert second.instances is first.instances
    assert second.nodes is not first.nodes
    assert second.generation == first.generation + 1


def test_a_refusal_is_in_snapshots_until_it_expires() -> None:
    store = a_store()
    store.refuse(ONE, "admission webhook denied the request", NOW + timedelta(seconds=15))

    assert store.snapshot(NOW).refusals[ONE].message == "admission webhook denied the request"
    assert not store.snapshot(NOW + timedelta(seconds=15)).refusals


def test_a_sample_that_was_not_renewed_disappears() -> None:
    store = a_store()
    store.sample({ONE: MigrationSample(sampled_at=NOW, total_bytes=1)})

    assert store.snapshot(NOW).samples
    assert not store.snapshot(NOW + timedelta(minutes=2)).samples


@dataclass(frozen=True)
class History:
    """A server's history of a few objects: each step's event, and the state after it."""

    events: list[tuple[str, dict[str, Any]]]
    states: list[dict[Key, dict[str, Any]]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    alive: dict[Key, dict[str, Any]] = {}
    events: list[tuple[str, dict[str, Any]]] = []
    states: list[dict[Key, dict[str, Any]]] = [{}]
    for version in range(1, draw(st.integers(1, 12)) + 1):
        key = Key("shop", draw(st.sampled_from(["x", "y"])))
        held = alive.get(key)
        if held is None:
            alive[key] = a_thing(version, uid=f"{key.name}{version}-", key=key)
            events.append(("ADDED", alive[key]))
        elif draw(st.booleans()):
            alive[key] = a_thing(version, uid=held["metadata"]["uid"], key=key)
            events.append(("MODIFIED", alive[key]))
        else:
            events.append(("DELETED", a_thing(version, uid=held["metadata"]["uid"], key=key)))
            del alive[key]
        states.append(dict(alive))
    return History(events, states)


@given(histories(), st.data())
def test_whatever_the_order_of_news_a_final_list_makes_the_store_equal_to_the_server(
    history: History, data: st.DataObject
) -> None:
    store = a_store()
    numbers = st.sampled_from(range(len(history.events)))
    for number in data.draw(st.lists(numbers, max_size=25)):
        before = {key: thing.fact for key, thing in store.records(MIGRATIONS).items()}
        if data.draw(st.booleans()):
            store.replace(MIGRATIONS, list(history.states[number].values()), str(number))
        else:
            kind, raw = history.events[number]
            (store.remove if kind == "DELETED" else store.apply)(MIGRATIONS, raw)
        for key, thing in store.records(MIGRATIONS).items():
            if key in before:
                assert version_in(thing.fact) >= version_in(before[key]), "an object went back in time"
    last = len(history.events)

    store.replace(MIGRATIONS, list(history.states[last].values()), str(last))

    truth = {key: raw["fact"] for key, raw in history.states[last].items()}
    assert {key: thing.fact for key, thing in store.records(MIGRATIONS).items()} == truth


@given(histories(), st.data())
def test_after_a_final_list_no_late_news_change_anything(history: History, data: st.DataObject) -> None:
    store = a_store()
    last = len(history.events)
    store.replace(MIGRATIONS, list(history.states[last].values()), str(last))
    truth = dict(store.records(MIGRATIONS))

    for kind, raw in data.draw(st.permutations(history.events)):
        (store.remove if kind == "DELETED" else store.apply)(MIGRATIONS, raw)

    assert dict(store.records(MIGRATIONS)) == truth


@given(histories(), st.data())
def test_all_events_in_any_order_and_twice_make_the_store_equal_to_the_server(
    history: History, data: st.DataObject
) -> None:
    store = a_store()

    for kind, raw in data.draw(st.permutations(history.events * 2)):
        (store.remove if kind == "DELETED" else store.apply)(MIGRATIONS, raw)

    truth = {key: raw["fact"] for key, raw in history.states[-1].items()}
    assert {key: thing.fact for key, thing in store.records(MIGRATIONS).items()} == truth


def version_in(fact: str) -> int:
    return int(fact.rsplit("-", 1)[-1])
