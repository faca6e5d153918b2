"""What happens to an object between a request's body and the storage: metadata, status split, generation.

Everything here works on private copies and is deterministic but for uid, time and generated names, which are passed in.
"""

import secrets
from datetime import datetime

from whimbrel_lab.controlplane.embedded.errors import (
    FieldError,
    Object,
    bad_request,
    forbidden_field,
    invalid,
    invalid_value,
)
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.patch import equal
from whimbrel_lab.controlplane.embedded.schema import normalise_root

_METADATA = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
)  # fmt: skip
_OMITTED_EMPTY = ("labels", "annotations", "ownerReferences", "finalizers", "generateName")
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def timestamp(moment: datetime) -> str:
    """A metav1.Time: whole seconds in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    """A name for `generateName`: the prefix (at most 58 characters) and five random characters."""
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def clean_metadata(document: Object) -> Object:
    """The object's metadata with known fields of the right type only, in their usual order; 400 for a wrong type."""
    metadata = document.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    for field in ("labels", "annotations"):
        values = metadata.get(field)
        if values is None:
            continue
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type string")
    for field in ("finalizers", "ownerReferences"):
        if not isinstance(metadata.get(field) or [], list):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field}")
    for field in ("name", "namespace", "generateName", "resourceVersion", "uid"):
        if not isinstance(metadata.get(field) or "", str):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type string")
    cleaned = {key: metadata[key] for key in _METADATA if metadata.get(key) is not None}
    for field in _OMITTED_EMPTY:
        if not cleaned.get(field, True):
            del cleaned[field]
    document["metadata"] = cleaned
    return cleaned


def drop_nulls(document: Object) -> None:
    """Built-in kinds have typed fields: null is the same as absent."""
    for key, value in list(document.items()):
        if value is None:
            del document[key]
        elif isinstance(value, dict):
            drop_nulls(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    drop_nulls(item)


def unknown_metadata(document: Object) -> list[str]:
    """Paths of metadata fields that do not exist, for field validation."""
    metadata = document.get("metadata")
    known = (*_METADATA, "managedFields", "selfLink")
    return [f"metadata.{key}" for key in metadata if key not in known] if isinstance(metadata, dict) else []


def prepare_create(kind: Kind, document: Object, uid: str, now: datetime) -> None:
    """Fill in what the server owns; a status sent with a create is dropped where a status subresource exists."""
    metadata = document["metadata"]
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
        metadata.pop(key, None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = timestamp(now)
    if kind.generation:
        metadata["generation"] = 1
    if kind.status and not kind.status_on_create:
        document.pop("status", None)
    if kind.defaults is not None:
        kind.defaults(document)
    if kind.schema is not None:
        # What is read from the storage is defaulted again: a dropped status comes back with its defaults.
        normalise_root(kind.schema, document, lambda _: None)


def prepare_update(kind: Kind, new: Object, old: Object, subresource: str) -> Object:
    """The object to store for an update of the main resource or of its status."""
    before = old["metadata"]
    if subresource == "status":
        result = {key: value for key, value in old.items() if key != "status"}
        if "status" in new:
            result["status"] = new["status"]
        metadata = dict(before)
        if not kind.custom:
            metadata = dict(new["metadata"])
            _restore(metadata, before, (*_KEPT, "ownerReferences"))
        result["metadata"] = metadata
        return result
    result = dict(new)
    if kind.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    metadata = dict(new["metadata"])
    _restore(metadata, before, _KEPT)
    metadata["resourceVersion"] = before["resourceVersion"]
    result["metadata"] = metadata
    if kind.generation and not equal(_content(kind, result), _content(kind, old)):
        metadata["generation"] = int(before.get("generation") or 0) + 1
    if kind.defaults is not None:
        kind.defaults(result)
    return result


def _restore(metadata: Object, before: Object, fields: tuple[str, ...]) -> None:
    for key in fields:
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)


def _content(kind: Kind, document: Object) -> Object:
    ignored = ("metadata", "status") if kind.status else ("metadata",)
    return {key: value for key, value in document.items() if key not in ignored}


def update_errors(new: Object, old: Object) -> list[FieldError]:
    """Errors that only the comparison with the stored object shows."""
    before, after = old["metadata"], new["metadata"]
    errors: list[FieldError] = []
    added = sorted(set(after.get("finalizers") or ()) - set(before.get("finalizers") or ()))
    if before.get("deletionTimestamp") and added:
        listed = ", ".join(f'"{each}"' for each in added)
        errors.append(
            forbidden_field(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{listed}}}",
            )
        )
    return errors


def check_type(kind: Kind, document: Object) -> None:
    """A refusal unless the body says the kind that the URL says; for a built-in kind it may leave that unsaid."""
    version, said = document.get("apiVersion") or "", document.get("kind") or ""
    if not kind.custom:
        document["apiVersion"], document["kind"] = version, said = version or kind.api_version, said or kind.kind
    if not said:
        text = f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing"
        raise bad_request(text)
    if kind.custom and version != kind.api_version:
        text = f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        raise bad_request(text)
    if kind.custom and said != kind.kind:
        error = invalid_value("kind", said, f"must be {kind.kind}")
        raise invalid(kind.group, said, (document.get("metadata") or {}).get("name", ""), [error])
    if (version, said) != (kind.api_version, kind.kind):
        short = str(version).rpartition("/")[2]
        raise bad_request(
            f'{said} in version "{short}" cannot be handled as a {kind.kind}: it is no {kind.kind} in {kind.api_version}'
        )


def check_place(document: Object, namespace: str, name: str) -> None:
    """Fill in namespace and name from the URL; 400 when the body says otherwise."""
    metadata = document["metadata"]
    if metadata.get("namespace") and metadata["namespace"] != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata.pop("namespace", None)
    if name:
        if metadata.get("name") not in (None, "", name):
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        metadata["name"] = name
    if namespace:
        document["metadata"] = {
            **{key: metadata[key] for key in ("name", "generateName") if key in metadata},
            "namespace": namespace,
            **{key: value for key, value in metadata.items() if key not in ("name", "generateName")},
        }


def raise_if(kind: Kind, name: str, errors: list[FieldError]) -> None:
    if errors:
        raise invalid(kind.group, kind.kind, name, errors)
