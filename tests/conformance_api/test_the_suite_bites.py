"""A server that is broken on purpose fails the suite: each fault is put in, and the tests that must notice are called."""

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.api_servers import Server, embedded_server
from support.widgets import Build
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, objects, storage, verbs
from whimbrel_lab.controlplane.embedded.deletion import Deleted, DeleteOptions
from whimbrel_lab.controlplane.embedded.storage import Change, Record, Table
from whimbrel_lab.controlplane.embedded.verbs import Call

Break = Callable[[EmbeddedControlPlane, pytest.MonkeyPatch], None]


def accepts_stale_versions(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    update = plane.verbs.update

    async def forgiving(call: Call, document: dict[str, Any]) -> tuple[Record, bool]:
        document["metadata"]["resourceVersion"] = plane.verbs.find(call).object["metadata"]["resourceVersion"]
        return await update(call, document)

    monkeypatch.setattr(plane.verbs, "update", forgiving)


def keeps_the_status_of_a_create(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    widgets = plane.catalog.find("example.com", "v1", "widgets")
    assert widgets is not None
    plane.catalog.add(replace(widgets, status_on_create=True))


def waits_for_no_finalizer(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    async def delete(call: Call, options: DeleteOptions) -> Deleted:
        record = plane.verbs.find(call)
        return Deleted(plane.storage.erase(call.kind.resource, record), True)

    monkeypatch.setattr(plane.deletion, "delete", delete)


def tells_no_watcher_of_deletions(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    changes_after = Table.changes_after

    def without(table: Table, version: int) -> list[Change]:
        return [change for change in changes_after(table, version) if change.type != "DELETED"]

    monkeypatch.setattr(Table, "changes_after", without)


def pages_through_the_present(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.Table, "at", lambda table, _version: table.records)


def writes_what_is_identical(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "equal", lambda _left, _right: False)


def keeps_unknown_fields(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (objects, verbs):
        monkeypatch.setattr(module, "normalise_root", lambda _schema, _document, _unknown: None)


NOTICED: dict[Break, tuple[str, ...]] = {
    accepts_stale_versions: ("test_writes.test_a_replace_at_a_stale_version_is_a_conflict",),
    keeps_the_status_of_a_create: ("test_writes.test_a_status_sent_with_a_create_is_dropped",),
    waits_for_no_finalizer: (
        "test_deletion.test_an_object_with_a_finalizer_stays_until_the_finalizer_is_taken_away",
        "test_deletion.test_no_finalizer_can_be_added_to_what_is_being_deleted",
    ),
    tells_no_watcher_of_deletions: ("test_watch.test_a_watch_from_a_list_sees_exactly_what_came_after_it",),
    pages_through_the_present: ("test_lists.test_an_exact_version_is_shown_as_it_was",),
    writes_what_is_identical: (
        "test_writes.test_an_identical_replace_writes_nothing",
        "test_patches.test_a_patch_that_changes_nothing_writes_nothing",
    ),
    keeps_unknown_fields: ("test_schemas.test_unknown_fields_are_pruned_and_defaults_filled_in",),
}
EVERY = [(fault, test) for fault, tests in NOTICED.items() for test in tests]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bitten_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def _call(test: str, server: Server) -> None:
    """A test of the suite, with its fixtures made by hand."""
    module, _, name = test.partition(".")
    loaded = _module(module)
    function = getattr(loaded, name)
    needed = inspect.signature(function).parameters
    if "ten" in needed:
        await loaded.create_ten(server.client, server.custom("widgets"))
    offered = {
        "server": server,
        "client": server.client,
        "widgets": server.custom("widgets"),
        "config_maps": server.path("configmaps"),
        "ten": server.custom("widgets"),
        "build": Build,
    }
    await function(**{each: offered[each] for each in needed})


@pytest.mark.parametrize(("fault", "test"), EVERY, ids=lambda each: getattr(each, "__name__", each))
async def test_a_fault_is_noticed(fault: Break, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedControlPlane() as sound, embedded_server(sound) as server:
        await _call(test, server)
    async with EmbeddedControlPlane() as broken, embedded_server(broken) as server:
        fault(broken, monkeypatch)
        with pytest.raises((AssertionError, TimeoutError, KeyError)):
            await _call(test, server)
