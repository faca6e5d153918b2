"""What our service account must be allowed to do, and what of it is missing.

Asked of the server itself (SelfSubjectAccessReview), so that a missing role shows in /readyz before a write fails.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from whimbrel.domain.resources import (
    CONFIG_MAPS,
    EVENTS,
    HOST_PROFILES,
    INSTANCES,
    LEASES,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINE_MOVES,
    WATCHED_BY_REFLECTORS,
    Resource,
)
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError, Forbidden, NotFound
from whimbrel.kube.metrics_reader import CA_CONFIG_MAP

REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)


@dataclass(frozen=True, slots=True)
class Need:
    """One permission. `where`: a namespace, or empty for the whole cluster."""

    verb: str
    resource: Resource
    subresource: str = ""
    where: str = ""
    name: str = ""
    """Of the one object that is meant; empty: all."""

    def __str__(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        plural = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        return (
            f"{self.verb} {plural}{group}"
            + (f"/{self.name}" if self.name else "")
            + (f" in namespace {self.where}" if self.where else "")
        )


def needs(lease_namespace: str, kubevirt_namespace: str = "") -> tuple[Need, ...]:
    """All permissions that the operator uses."""
    reading = [
        Need(verb, resource)
        for resource in (*WATCHED_BY_REFLECTORS, MIGRATION_PLANS, HOST_PROFILES)
        for verb in ("list", "watch")
    ]
    writing = [
        Need("patch", MIGRATION_PLANS),
        Need("update", MIGRATION_PLANS, "status"),
        Need("update", HOST_PROFILES, "status"),
        Need("create", VIRTUAL_MACHINE_MOVES),
        Need("update", VIRTUAL_MACHINE_MOVES),
        Need("update", VIRTUAL_MACHINE_MOVES, "status"),
        Need("delete", VIRTUAL_MACHINE_MOVES),
        Need("get", INSTANCES),
        Need("patch", INSTANCES),
        Need("get", MIGRATIONS),
        Need("create", MIGRATIONS),
        Need("delete", MIGRATIONS),
        Need("create", MIGRATION_POLICIES),
        Need("delete", MIGRATION_POLICIES),
        Need("create", EVENTS),
        *(Need(verb, LEASES, where=lease_namespace) for verb in ("create", "get", "update")),
    ]
    optional = [Need("get", CONFIG_MAPS, where=kubevirt_namespace, name=CA_CONFIG_MAP)] if kubevirt_namespace else []
    return (*reading, *writing, *optional)


def vital(lacking: Iterable[Need]) -> tuple[str, ...]:
    """Those without which a migration could not be begun, or not be aborted, in words: what is done to KubeVirt's kinds."""
    kinds = (INSTANCES, MIGRATIONS, MIGRATION_POLICIES)
    return tuple(str(need) for need in lacking if need.resource in kinds and need.verb not in ("list", "watch"))


async def missing(api: KubeApi, wanted: tuple[Need, ...]) -> tuple[Need, ...]:
    """Those of `wanted` that the server says we lack. None where the server cannot be asked."""
    limit = asyncio.Semaphore(8)

    async def lacks(need: Need) -> bool:
        attributes = {
            "verb": need.verb,
            "group": need.resource.group,
            "resource": need.resource.plural,
            "subresource": need.subresource,
            "namespace": need.where,
            "name": need.name,
        }
        body = {
            "apiVersion": REVIEWS.api_version,
            "kind": REVIEWS.kind,
            "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
        }
        async with limit:
            answer = await api.create(REVIEWS, "", body)
        return (answer.get("status") or {}).get("allowed") is False

    try:
        lacking = await asyncio.gather(*(lacks(need) for need in wanted))
    except (NotFound, Forbidden):
        return ()
    except ApiError:
        return ()
    return tuple(need for need, lacked in zip(wanted, lacking, strict=True) if lacked)
