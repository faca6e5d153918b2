"""The write verbs, without HTTP: create, update and patch, in the order in which kube-apiserver works.

Decode and prune → mutating admission → what the server owns → validation → validating admission → storage.
Deletion is in `deletion.py`.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.admission import AdmissionRequest, Operation
from whimbrel_lab.controlplane.embedded import objects
from whimbrel_lab.controlplane.embedded.admission import Admission
from whimbrel_lab.controlplane.embedded.errors import (
    ApiError,
    FieldError,
    Json,
    Object,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    not_found,
)
from whimbrel_lab.controlplane.embedded.kinds import Catalog, Kind
from whimbrel_lab.controlplane.embedded.names import metadata_errors
from whimbrel_lab.controlplane.embedded.patch import JSON_PATCH, MERGE_PATCH, equal, json_patch, merge
from whimbrel_lab.controlplane.embedded.schema import normalise_root
from whimbrel_lab.controlplane.embedded.storage import Record, Storage, encode
from whimbrel_lab.controlplane.embedded.strategic import strategic_merge
from whimbrel_lab.controlplane.embedded.validation import validate_root
from whimbrel_lab.controlplane.users import User

MAXIMUM_OBJECT_BYTES = 1_572_864
_RULES_WARNING = (
    "embedded control plane: x-kubernetes-validations (CEL rules) of {kind} are not evaluated here; only a real API "
    "server refuses what they forbid"
)

_TWINS_WARNING = (
    ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject "
    "such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
)
_UNCHECKED_WARNING = (
    "embedded control plane: not all fields of a {kind} are checked, defaulted or immutable here; only a real API server "
    "tells what is wrong with them"
)
_STORED_ONLY_WARNING = (
    "embedded control plane: a {kind} is stored and has no effect here; only a real API server enforces it"
)


@dataclass(slots=True)
class Call:
    """One request on one kind, after authentication and routing; what it writes has at most `size_bytes`."""

    user: User
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    duplicates: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def dry_run(self) -> bool:
        asked = self.query.get("dryRun", "")
        if asked not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{asked}": supported values: "All"')
        return asked == "All"


class Verbs:
    """Create, update and patch on the storage."""

    def __init__(self, storage: Storage, catalog: Catalog, admission: Admission, clock: LabClock) -> None:
        self.storage = storage
        self.catalog = catalog
        self.admission = admission
        self.clock = clock

    def find(self, call: Call) -> Record:
        """The stored object that a call names; 404 when there is none."""
        record = self.storage.get(call.kind.resource, call.namespace, call.name)
        if record is None:
            raise not_found(call.kind.group, call.kind.plural, call.name)
        return record

    async def create(self, call: Call, document: Object) -> Record:
        kind = call.kind
        objects.check_type(kind, document)
        self._normalise(call, document)
        if document["metadata"].get("resourceVersion"):
            raise ApiError(500, "InternalError", "resourceVersion should not be set on objects to be created")
        objects.check_place(document, call.namespace, "")
        metadata = document["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = objects.generated_name(metadata["generateName"])
        call.name = metadata.get("name", "")
        self._check_namespace(call)
        document = await self._mutate(call, "CREATE", document, None)
        objects.prepare_create(kind, document, str(uuid.uuid4()), self.clock.now())
        errors = self._errors(kind, document)
        if kind.check_new is not None:
            errors += kind.check_new(document)
        objects.raise_if(kind, call.name, errors)
        await self._validate(call, "CREATE", document, None)
        if self.storage.get(kind.resource, call.namespace, call.name):
            raise already_exists(kind.group, kind.plural, call.name)
        self._check_namespace(call)
        return self._save(call, document)

    async def update(self, call: Call, document: Object) -> tuple[Record, bool]:
        """Replace an object or its status; true when it was created by this."""
        kind = call.kind
        objects.check_type(kind, document)
        if kind.creates_on_update and not self.storage.get(kind.resource, call.namespace, call.name):
            document.setdefault("metadata", {}).setdefault("name", call.name)
            return await self.create(call, document), True
        found = self.find(call)
        metadata = document.get("metadata") or {}
        if kind.needs_version_on_update and not metadata.get("resourceVersion"):
            error = FieldError(
                "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update"
            )
            objects.raise_if(kind, found.key[1], [error])
        body = encode(document)

        def replaced(_: Object) -> Object:
            again: Object = json.loads(body)
            return again

        return await self.change(call, replaced), False

    async def patch(self, call: Call, media_type: str, patch: Json) -> Record:
        """Change an object by a patch of one of the three kinds, which `check_media_type` has let through."""
        if media_type == JSON_PATCH:
            return await self.change(call, lambda old: json_patch(old, patch))
        if not isinstance(patch, dict):
            text = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
            raise bad_request(text)
        combine = merge if media_type == MERGE_PATCH else strategic_merge
        return await self.change(call, lambda old: combine(old, patch))

    async def change(self, call: Call, derive: Callable[[Object], Object]) -> Record:
        """Optimistic: derive, judge, commit; again when admission let somebody else in between."""
        kind = call.kind
        for _ in range(5):
            record = self.find(call)
            call.size_bytes += len(record.tail)
            old = kind.from_stored(record.object) if kind.from_stored else record.object
            document = derive(old)
            if not isinstance(document, dict):
                raise bad_request("the patched object is not an object")
            document = _own(document)
            objects.check_type(kind, document)
            self._normalise(call, document)
            objects.check_place(document, call.namespace, call.name)
            self._preconditions(call, document["metadata"], old["metadata"])
            changed = await self._judge(call, document, old)
            current = self.storage.get(kind.resource, call.namespace, call.name)
            if current is record:
                return self._commit(call, record, changed, old)
        raise conflict(kind.group, kind.plural, call.name)

    def _preconditions(self, call: Call, sent: Object, stored: Object) -> None:
        kind = call.kind
        if sent.get("uid") and sent["uid"] != stored["uid"]:
            why = f"Precondition failed: UID in precondition: {sent['uid']}, UID in object meta: {stored['uid']}"
            raise conflict(kind.group, kind.plural, call.name, why)
        if sent.get("resourceVersion") and sent["resourceVersion"] != stored["resourceVersion"]:
            raise conflict(kind.group, kind.plural, call.name)

    async def _judge(self, call: Call, document: Object, old: Object) -> Object:
        kind = call.kind
        prepared = objects.prepare_update(kind, document, old, call.subresource)
        document = await self._mutate(call, "UPDATE", prepared, old)
        if document is not prepared:
            document = objects.prepare_update(kind, document, old, call.subresource)
        errors = [*objects.update_errors(document, old), *self._errors(kind, document)]
        if kind.check_update is not None and not call.subresource:
            errors += kind.check_update(document, old)
        objects.raise_if(kind, call.name, errors)
        await self._validate(call, "UPDATE", document, old)
        return document

    def _commit(self, call: Call, record: Record, document: Object, old: Object) -> Record:
        kind = call.kind
        if equal(document, old):
            return record
        if not document["metadata"].get("deletionTimestamp") or not may_vanish(kind, document):
            return self._save(call, document)
        if call.dry_run:
            return self._unsaved(kind, document)
        # As in etcd, the last that watchers see is what was stored, not what this write would have made of it.
        return self.storage.erase(kind.resource, record)

    def _save(self, call: Call, document: Object) -> Record:
        kind = call.kind
        if kind.rules:
            call.warnings.append(_RULES_WARNING.format(kind=kind.kind))
        if not kind.custom and not kind.checked:
            call.warnings.append(_UNCHECKED_WARNING.format(kind=kind.kind))
        if kind.stored_only:
            call.warnings.append(_STORED_ONLY_WARNING.format(kind=kind.kind))
        if call.dry_run:
            return self._unsaved(kind, document)
        if call.size_bytes > MAXIMUM_OBJECT_BYTES and len(encode(document)) > MAXIMUM_OBJECT_BYTES:
            raise ApiError(500, "", "etcdserver: request is too large")
        return self.storage.save(kind.resource, _stored(kind, document))

    def _unsaved(self, kind: Kind, document: Object) -> Record:
        metadata = document["metadata"]
        return Record((metadata.get("namespace", ""), metadata["name"]), _stored(kind, document), self.storage.version)

    def _normalise(self, call: Call, document: Object) -> None:
        kind, unknown = call.kind, objects.unknown_metadata(document)
        objects.clean_metadata(document)
        if kind.schema is not None:
            normalise_root(kind.schema, document, unknown.append)
        elif not kind.custom:
            objects.drop_nulls(document)
        self._drop_twins(call, document["metadata"])
        problems = [f'unknown field "{path}"' for path in unknown]
        problems += [f'duplicate field "{path}"' for path in call.duplicates]
        mode = call.query.get("fieldValidation", "Warn")
        if problems and mode == "Strict":
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding '
                f"error: {', '.join(problems)}"
            )
        if mode != "Ignore":
            call.warnings.extend(problem for problem in problems if problem not in call.warnings)

    def _drop_twins(self, call: Call, metadata: Object) -> None:
        """An owner reference that is there twice counts once."""
        owners = metadata.get("ownerReferences") or []
        kept = [owner for index, owner in enumerate(owners) if owner not in owners[:index]]
        if len(kept) == len(owners):
            return
        metadata["ownerReferences"] = kept
        uids = ", ".join(str(owner.get("uid")) for index, owner in enumerate(owners) if owner in owners[:index])
        warning = _TWINS_WARNING.format(uids=uids)
        call.warnings.append(warning)

    def _errors(self, kind: Kind, document: Object) -> list[FieldError]:
        errors = metadata_errors(kind, document["metadata"])
        if kind.schema is not None:
            errors += validate_root(kind.schema, document)
        if kind.check is not None:
            errors += kind.check(document)
        return errors

    def _check_namespace(self, call: Call) -> None:
        if not call.kind.namespaced:
            return
        record = self.storage.get("namespaces", "", call.namespace)
        if record is None:
            raise not_found("", "namespaces", call.namespace)
        if record.object["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {call.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(call.kind.group, call.kind.plural, call.name, why, [cause])

    async def _mutate(self, call: Call, operation: Operation, document: Object, old: Object | None) -> Object:
        request = self.admission_request(call, operation, document, old)
        if not await self.admission.mutate(request):
            return document
        if not isinstance(request.object, dict):
            raise ApiError(500, "InternalError", "an admission hook took the object away")
        changed = dict(request.object)
        objects.clean_metadata(changed)
        if call.kind.schema is not None:
            normalise_root(call.kind.schema, changed, lambda _: None)
        return changed

    async def _validate(self, call: Call, operation: Operation, document: Object, old: Object | None) -> None:
        await self.admission.validate(self.admission_request(call, operation, document, old))

    def admission_request(
        self, call: Call, operation: Operation, document: Object | None, old: Object | None
    ) -> AdmissionRequest:
        return AdmissionRequest(
            call.user, operation, call.kind.resource, call.namespace, call.name, call.subresource, document, old,
            call.dry_run, call.warnings,
        )  # fmt: skip


def _own(document: Object) -> Object:
    """A deep private copy: what a patch derived shares its untouched parts with the storage."""
    copied: Object = json.loads(encode(document))
    return copied


def _stored(kind: Kind, document: Object) -> Object:
    return kind.to_stored(document) if kind.to_stored else document


def may_vanish(kind: Kind, document: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = document["metadata"]
    waits_for_grace = int(metadata.get("deletionGracePeriodSeconds") or 0) > 0
    return not metadata.get("finalizers") and not waits_for_grace and kind.resource != "namespaces"
