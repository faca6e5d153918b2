"""Collecting: the whole cluster as one Snapshot, read once with the user's own rights. Nothing of ours need be installed.

Uses the operator's projections, so that a laptop judges as the operator would. What may not be read is named, never guessed.
Called by `hosts` and `assess`.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from whimbrel.api import HostProfile
from whimbrel.cli.cluster import Failure, Refused
from whimbrel.domain.records import Capabilities, Key, Profile
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    OPTIONAL_KINDS,
    OWN_KINDS,
    Resource,
)
from whimbrel.inventory.hosts import SCHEDULABLE_LABEL
from whimbrel.inventory.projections import PROJECTIONS, capabilities
from whimbrel.inventory.snapshot import FIELDS, Snapshot

PAGE = 500
LISTS = 3
"""Times that a list is begun anew because it took too long to be read."""
ASSUMED = "assumed"
"""Name of the HostProfile that stands for the missing ones."""

Progress = Callable[[str], None]


class Readable(Protocol):
    """Whoever can be asked for what an API server has at a path: `cluster.Cluster`, or a stand-in."""

    def fetch(self, path: str, **query: object) -> Mapping[str, Any]:
        """The document. Raises Refused."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A kind that could not be read."""

    resource: Resource
    why: str

    @property
    def name(self) -> str:
        """As `kubectl` and roles name it."""
        return f"{self.resource.plural}.{self.resource.group}" if self.resource.group else self.resource.plural


@dataclass(frozen=True, slots=True)
class Collected:
    """The cluster, and what is not known of it."""

    snapshot: Snapshot
    unread: tuple[Unread, ...]
    assumed: bool
    """Whether no HostProfile was there, so that every schedulable node counts as enabled."""
    capabilities_known: bool
    """Whether KubeVirt's schemas could be read; where not, it is taken to be told where to migrate to."""


def to_stderr(text: str) -> None:
    """Progress for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def collect(cluster: Readable, progress: Progress = lambda _: None) -> Collected:
    """Lists every kind. Raises Failure where nothing could be said at all."""
    fields: dict[str, Mapping[Key, Any]] = {}
    unread: list[Unread] = []
    for resource in FIELDS:
        try:
            fields[FIELDS[resource]] = _records(cluster, resource)
            progress(f"{resource.plural}: {len(fields[FIELDS[resource]])}")
        except Refused as refusal:
            if (why := _why(resource, refusal)) is not None:
                unread.append(Unread(resource, why))
                progress(f"{resource.plural}: {why}")
    if any(each.resource == INSTANCES for each in unread):
        raise Failure(
            "virtualmachineinstances.kubevirt.io cannot be listed in all namespaces, so there is nothing to judge. "
            "See whether KubeVirt is installed, and ask for a role that may list them (ClusterRole kubevirt.io:view)."
        )
    told = _capabilities(cluster)
    if assumed := not fields.get(FIELDS[HOST_PROFILES]):
        fields[FIELDS[HOST_PROFILES]] = {Key("", ASSUMED): _assumed_profile()}
    snapshot = Snapshot(
        now=datetime.now(UTC),
        unread=frozenset(FIELDS[each.resource] for each in unread),
        capabilities=told or Capabilities(added_node_selector=True, policy_fields=frozenset()),
        **fields,  # type: ignore[arg-type]
    )
    return Collected(snapshot, tuple(unread), assumed, told is not None)


def _records(cluster: Readable, resource: Resource) -> Mapping[Key, Any]:
    for attempt in range(LISTS):
        try:
            return _listed(cluster, resource)
        except Refused as refusal:
            if refusal.status != 410 or attempt == LISTS - 1:
                raise
    raise AssertionError("unreachable")


def _listed(cluster: Readable, resource: Resource) -> Mapping[Key, Any]:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    records: dict[Key, Any] = {}
    following = ""
    while True:
        path = f"{root}/{resource.version}/{resource.plural}"
        page = cluster.fetch(path, **{"limit": PAGE, "continue": following})
        for raw in page.get("items") or ():
            record = PROJECTIONS[resource](raw)
            if record is not None:
                records[record.key] = record
        following = (page.get("metadata") or {}).get("continue") or ""
        if not following:
            return records


def _why(resource: Resource, refusal: Refused) -> str | None:
    """Why a kind is not known; None where there simply are none. Raises Failure for what no other kind would answer."""
    if refusal.status == 404:
        return None if resource in OWN_KINDS or resource in OPTIONAL_KINDS else "not served (404)"
    if refusal.status == 403:
        return "may not be listed (403)"
    if refusal.status == 401:
        raise Failure("the cluster does not accept your credentials (401). Log in again, or choose another context.")
    raise Failure(f"{resource.plural} cannot be listed: the API server answered {refusal.status}: {refusal}")


def _capabilities(cluster: Readable) -> Capabilities | None:
    try:
        documents = [cluster.fetch(f"/openapi/v3/apis/{each.api_version}") for each in capabilities.DOCUMENTS]
    except Refused:
        return None
    return capabilities.project(*documents)


def _assumed_profile() -> Profile:
    """What an administrator would write first: every node on which KubeVirt runs guests takes part, as the defaults say."""
    spec = {"nodeSelector": {SCHEDULABLE_LABEL: "true"}, "migration": {"enabled": True}}
    assumed = HostProfile.model_validate({"spec": spec})
    return Profile(
        key=Key("", ASSUMED),
        uid="",
        generation=0,
        resource_version="",
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        profile=assumed,
        selection=assumed.spec,
        error="",
    )
