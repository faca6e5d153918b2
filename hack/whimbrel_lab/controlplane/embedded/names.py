"""Rules for names, labels, annotations, finalizers and owner references, in kube-apiserver's words."""

import re

from whimbrel_lab.controlplane.embedded.errors import (
    FieldError,
    Json,
    Object,
    invalid_value,
    required,
    shown,
    too_long,
)
from whimbrel_lab.controlplane.embedded.kinds import Kind

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ANNOTATIONS_MAXIMUM_BYTES = 262_144
_PATH_SEGMENTS = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_DNS_LABELS = frozenset({"namespaces", "services"})


def name_problems(kind: Kind, name: str) -> list[str]:
    """What is wrong with an object's name."""
    if kind.plural in _PATH_SEGMENTS and not kind.custom:
        bad = name in (".", "..") or "/" in name or "%" in name
        return ["may not be '.', '..' or contain '/' or '%'"] if bad else []
    if kind.plural in _DNS_LABELS and not kind.custom:
        too_big = ["must be no more than 63 characters"] if len(name) > 63 else []
        return too_big + ([] if _LABEL.fullmatch(name) else [_LABEL_TEXT])
    too_big = ["must be no more than 253 characters"] if len(name) > 253 else []
    return too_big + ([] if _SUBDOMAIN.fullmatch(name) else [_SUBDOMAIN_TEXT])


def qualified_problems(key: str) -> list[str]:
    """What is wrong with a name that may have a prefix: a label's key, a finalizer."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        problems.append(f"prefix part {_SUBDOMAIN_TEXT}")
    if not name:
        problems.append("name part must be non-empty")
    if len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(name):
        problems.append(_QUALIFIED_TEXT)
    return problems


def label_errors(labels: dict[str, str], path: str) -> list[FieldError]:
    errors = []
    for key, value in labels.items():
        errors += [invalid_value(path, key, problem) for problem in qualified_problems(key)]
        if len(value) > 63:
            errors.append(invalid_value(path, value, "must be no more than 63 bytes"))
        if not _VALUE.fullmatch(value):
            errors.append(invalid_value(path, value, _VALUE_TEXT))
    return errors


def metadata_errors(kind: Kind, metadata: Object) -> list[FieldError]:
    """All errors of an object's metadata, before it is stored."""
    errors: list[FieldError] = []
    name = metadata.get("name") or ""
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, problem) for problem in name_problems(kind, name)]
    errors += label_errors(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        errors += [invalid_value("metadata.annotations", key, problem) for problem in qualified_problems(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_MAXIMUM_BYTES:
        errors.append(too_long("metadata.annotations", _ANNOTATIONS_MAXIMUM_BYTES))
    for finalizer in metadata.get("finalizers") or ():
        errors += [
            invalid_value("metadata.finalizers", finalizer, problem) for problem in qualified_problems(finalizer)
        ]
    return errors + _owner_errors(metadata.get("ownerReferences") or [])


def _owner_errors(owners: list[Json]) -> list[FieldError]:
    errors: list[FieldError] = []
    path = "metadata.ownerReferences"
    controllers = [owner for owner in owners if owner.get("controller")]
    for owner in owners:
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                text = f"Invalid value: {shown(owner.get(key) or '')}: must not be empty"
                errors.append(FieldError(f"{path}.{key}", "FieldValueInvalid", text))
    if len(controllers) > 1:
        first, second = (f"{each.get('kind')}/{each.get('name')}" for each in controllers[:2])
        text = (
            f'Only one reference can have Controller set to true. Found "true" in references for {first} and {second}'
        )
        errors.append(invalid_value(path, owners, text))
    return errors
