"""Deletion: preconditions, grace of pods, finalizers and propagation.

A pod with a node and a grace period stays, with its deletionTimestamp, until a client deletes it with a grace period
of 0, as a kubelet does; every other object goes as soon as its finalizers are gone.
"""

from dataclasses import dataclass
from datetime import timedelta

from whimbrel_lab.controlplane.embedded import crds
from whimbrel_lab.controlplane.embedded.errors import Object, bad_request, conflict, invalid, invalid_value, unsupported
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.listing import list_page
from whimbrel_lab.controlplane.embedded.objects import timestamp
from whimbrel_lab.controlplane.embedded.storage import Record
from whimbrel_lab.controlplane.embedded.verbs import Call, Verbs

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete; None where the client left it to the server."""

    grace_period_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object after the request; `gone` when it is no longer stored."""

    record: Record
    gone: bool


def delete_options(body: Object | None, query: dict[str, str]) -> DeleteOptions:
    """Options from the body, or from the query where the body is silent."""
    body = body or {}
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy")
    if propagation is None and (body.get("orphanDependents") or query.get("orphanDependents") == "true"):
        propagation = "Orphan"
    if propagation not in (None, *_POLICIES):
        error = unsupported("propagationPolicy", propagation, [*_POLICIES, None])
        raise invalid("meta.k8s.io", "DeleteOptions", "", [error])
    try:
        grace_period_s = None if grace is None else int(grace)
    except (TypeError, ValueError) as problem:
        raise bad_request(f"gracePeriodSeconds must be an integer: {grace!r}") from problem
    if grace_period_s is not None and grace_period_s < 0:
        error = invalid_value("gracePeriodSeconds", grace_period_s, "must be greater than or equal to 0")
        raise invalid("meta.k8s.io", "DeleteOptions", "", [error])
    return DeleteOptions(grace_period_s, propagation, preconditions.get("uid"), preconditions.get("resourceVersion"))


class Deletion:
    """The verbs delete and deletecollection."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._storage = verbs.storage

    async def delete(self, call: Call, options: DeleteOptions) -> Deleted:
        kind = call.kind
        record = self._verbs.find(call)
        self._check(call, record, options)
        request = self._verbs.admission_request(call, "DELETE", None, record.object)
        await self._verbs.admission.mutate(request)
        await self._verbs.admission.validate(request)
        record = self._verbs.find(call)
        self._check(call, record, options)
        marked = self._marked(kind, record, options)
        if marked is None:
            if call.dry_run:
                return Deleted(record, True)
            return Deleted(self._storage.erase(kind.resource, record), True)
        if call.dry_run or marked == record.object:
            return Deleted(record, False)
        return Deleted(self._storage.save(kind.resource, marked), False)

    async def delete_collection(self, call: Call, options: DeleteOptions) -> list[Record]:
        """Delete what the selectors select; the objects as they were."""
        page = list_page(self._storage, call.kind, call.namespace, call.query)
        for record in page.records:
            namespace, name = record.key
            one = Call(call.user, call.kind, namespace, name, "", call.query, (), call.warnings)
            if self._storage.get(call.kind.resource, namespace, name):
                await self.delete(one, options)
        return page.records

    def _check(self, call: Call, record: Record, options: DeleteOptions) -> None:
        kind, metadata = call.kind, record.object["metadata"]
        if options.uid is not None and options.uid != metadata["uid"]:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise conflict(kind.group, kind.plural, call.name, why)
        version = metadata["resourceVersion"]
        if options.resource_version is not None and options.resource_version != version:
            why = (
                f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
                f"ResourceVersion in record ({version}). The object might have been modified"
            )
            raise conflict(kind.group, kind.plural, call.name, why)

    def _marked(self, kind: Kind, record: Record, options: DeleteOptions) -> Object | None:
        """The object to store in place of deleting it, None when it may go now."""
        document = record.copy()
        metadata = document["metadata"]
        grace_period_s = _grace_period_s(kind, document, options)
        finalizers = _finalizers(metadata.get("finalizers") or [], options.propagation)
        if kind.resource == crds.RESOURCE and not metadata.get("deletionTimestamp"):
            finalizers = [*finalizers, crds.CLEANUP]
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if not grace_period_s and not finalizers and kind.resource != "namespaces":
            return None
        before = int(metadata.get("deletionGracePeriodSeconds") or 0)
        if not metadata.get("deletionTimestamp") or grace_period_s < before:
            if not metadata.get("deletionTimestamp") and metadata.get("generation"):
                metadata["generation"] += 1
            ends_at = self._verbs.clock.now() + timedelta(seconds=grace_period_s)
            metadata["deletionTimestamp"] = timestamp(ends_at)
            if kind.resource != "namespaces":
                metadata["deletionGracePeriodSeconds"] = grace_period_s
        if kind.resource == "namespaces":
            document.setdefault("status", {})["phase"] = "Terminating"
        return document


def _grace_period_s(kind: Kind, document: Object, options: DeleteOptions) -> int:
    """Only a pod that runs somewhere has grace; a shorter one than before counts, a longer one does not."""
    if kind.resource != "pods":
        return 0
    spec, phase = document.get("spec") or {}, (document.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_period_s
    wanted = int(spec.get("terminationGracePeriodSeconds", 30)) if asked is None else asked
    before = document["metadata"].get("deletionGracePeriodSeconds")
    return wanted if before is None else min(wanted, int(before))


def _finalizers(finalizers: list[str], propagation: str | None) -> list[str]:
    if propagation is None:
        return finalizers
    kept = [each for each in finalizers if each not in (FOREGROUND, ORPHAN)]
    added = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(propagation, [])
    return kept + added
