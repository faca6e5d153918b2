"""CustomResourceDefinitions: what the server fills in, what it refuses, and the kinds that come of them.

All served versions share one storage with conversion `None`; a version whose schema differs from the storage version's
prunes and defaults what it shows. Rules in CEL are announced in the log and not evaluated.
"""

import logging
import re
from collections.abc import Callable, Iterator

from whimbrel_lab.controlplane.embedded import columns
from whimbrel_lab.controlplane.embedded.errors import (
    FieldError,
    Json,
    Object,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from whimbrel_lab.controlplane.embedded.kinds import Catalog, Kind
from whimbrel_lab.controlplane.embedded.schema import Schema, compile_schema, normalise_root
from whimbrel_lab.controlplane.embedded.storage import Storage, encode
from whimbrel_lab.controlplane.embedded.tables import custom_columns

LOG = logging.getLogger(__name__)
RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def complete(definition: Object) -> None:
    """Defaults and status of a definition: its names are accepted and it is established at once."""
    spec, metadata = definition.setdefault("spec", {}), definition["metadata"]
    names = spec.setdefault("names", {})
    if isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    stored = [each.get("name") for each in spec.get("versions") or () if each.get("storage")]
    known = (definition.get("status") or {}).get("storedVersions") or []
    moment = metadata.get("creationTimestamp")
    definition["status"] = {
        "acceptedNames": dict(names),
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", moment),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", moment),
        ],
        "storedVersions": [*known, *(name for name in stored if name not in known)],
    }


def _condition(kind: str, reason: str, message: str, moment: Json) -> Object:
    return {
        "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": moment
    }  # fmt: skip


_NAMES = ("plural", "singular", "kind", "listKind")


def check(definition: Object) -> list[FieldError]:
    """What is wrong with a definition."""
    spec = definition["spec"]
    names, group = spec.get("names") or {}, spec.get("group") or ""
    errors = [required(f"spec.names.{key}") for key in _NAMES if not names.get(key)]
    if not group:
        errors.append(required("spec.group"))
    expected = f"{names.get('plural')}.{group}"
    if definition["metadata"].get("name") != expected:
        text = 'must be spec.names.plural+"."+spec.group'
        errors.append(invalid_value("metadata.name", definition["metadata"].get("name"), text))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        errors.append(unsupported("spec.scope", spec.get("scope") or "", ["Cluster", "Namespaced"]))
    versions = spec.get("versions") or []
    if not versions:
        errors.append(required("spec.versions", "must have at least one version"))
    elif sum(bool(each.get("storage")) for each in versions) != 1:
        shown = [each.get("name") for each in versions]
        errors.append(invalid_value("spec.versions", shown, "must have exactly one version marked as storage version"))
    if (spec.get("conversion") or {}).get("strategy") != "None":
        text = "the embedded control plane converts between versions by strategy None only"
        errors.append(forbidden_field("spec.conversion.strategy", text))
    schemas = [(each.get("schema") or {}).get("openAPIV3Schema") for each in versions]
    if len(versions) > 1 and any(each != schemas[0] for each in schemas):
        for index, version in enumerate(versions):
            errors += _version_errors(version, f"spec.versions[{index}].schema")
    elif versions:  # kube-apiserver moves what all versions share to the top, and speaks of it there
        errors += _version_errors(versions[0], "spec.validation")
    return errors


def _version_errors(version: Object, path: str) -> Iterator[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        yield required(f"{path}.openAPIV3Schema", "schemas are required")
        return
    if schema.get("type") != "object":
        text = 'must be "object" at the root'
        yield invalid_value(f"{path}.openAPIV3Schema.type", schema.get("type") or "", text)
    yield from _schema_errors(schema, f"{path}.openAPIV3Schema", True)
    try:
        compile_schema(schema)
        custom_columns(version.get("additionalPrinterColumns") or [])
    except (ValueError, KeyError) as problem:
        yield invalid_value(path, version.get("name"), str(problem))


def _schema_errors(schema: Object, path: str, structural: bool) -> Iterator[FieldError]:
    """A schema is structural when each of its nodes outside the logical junctors says its type."""
    untyped = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if structural and not schema.get("type") and not untyped:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    if schema.get("type") == "array" and not schema.get("items"):
        yield required(f"{path}.items", "must be specified")
    if schema.get("properties") and schema.get("additionalProperties"):
        yield forbidden_field(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    for name, sub in (schema.get("properties") or {}).items():
        if path.endswith("openAPIV3Schema") and name == "metadata":
            continue
        yield from _schema_errors(sub, f"{path}.properties[{name}]", structural)
    if isinstance(schema.get("items"), dict):
        yield from _schema_errors(schema["items"], f"{path}.items", structural)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _schema_errors(schema["additionalProperties"], f"{path}.additionalProperties", structural)
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", text)


DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False,
    short_names=("crd", "crds"), categories=("api-extensions",), status=True, generation=True,
    needs_version_on_update=True, checked=True, columns=columns.DEFINITION, defaults=complete, check=check,
)  # fmt: skip


def kinds_of(definition: Object) -> list[Kind]:
    """The kinds of all served versions; the storage version is there even if it is not served."""
    versions = definition["spec"]["versions"]
    storage = next(each for each in versions if each.get("storage"))
    stored_schema = compile_schema(storage["schema"]["openAPIV3Schema"])
    return [
        _kind(definition["spec"], version, storage, stored_schema)
        for version in versions
        if version.get("served") or version is storage
    ]


def _kind(spec: Object, version: Object, storage: Object, stored_schema: Schema) -> Kind:
    names, openapi = spec["names"], version["schema"]["openAPIV3Schema"]
    native = version is storage
    schema = stored_schema if native else compile_schema(openapi)
    same = native or encode(openapi) == encode(storage["schema"]["openAPIV3Schema"])
    group = spec["group"]
    subresources = version.get("subresources") or {}
    return Kind(
        group,
        version["name"],
        names["kind"],
        names["plural"],
        spec["scope"] == "Namespaced",
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status="status" in subresources,
        generation=True,
        needs_version_on_update=True,
        custom=True,
        storage=native,
        schema=schema,
        openapi=openapi,
        rules=schema.rules,
        columns=custom_columns(version.get("additionalPrinterColumns") or []),
        selectable=tuple(each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()),
        from_stored=None if same else _reader(f"{group}/{version['name']}", schema),
        to_stored=None if native else _writer(f"{group}/{storage['name']}", stored_schema),
    )


def _reader(api_version: str, schema: Schema) -> Callable[[Object], Object]:
    return _writer(api_version, schema)


def _writer(api_version: str, schema: Schema) -> Callable[[Object], Object]:
    """A conversion by strategy None: another apiVersion, and that version's pruning and defaults."""

    def convert(document: Object) -> Object:
        converted: Object = _deep_copy(document)
        converted["apiVersion"] = api_version
        normalise_root(schema, converted, lambda _: None)
        return converted

    return convert


def _deep_copy(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _deep_copy(each) for key, each in value.items()}
    return [_deep_copy(each) for each in value] if isinstance(value, list) else value


class Definitions:
    """Keeps the catalog in step with the stored definitions."""

    def __init__(self, catalog: Catalog, storage: Storage) -> None:
        self._catalog = catalog
        self._storage = storage

    def register(self, definition: Object) -> None:
        """Serve the kinds of a definition as it is now; stored objects are read under the new schema."""
        spec = definition["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        self._catalog.remove(group, plural)
        unserved = {each["name"] for each in spec["versions"] if not each.get("served")}
        for kind in kinds_of(definition):
            if kind.version not in unserved:
                self._catalog.add(kind)
            else:
                self._catalog.hold(kind)
            if kind.storage:
                self._mend(kind)
                self._announce(kind)

    def _mend(self, kind: Kind) -> None:
        schema = kind.schema
        assert schema is not None

        def mend(document: Object) -> None:
            document["apiVersion"] = kind.api_version
            normalise_root(schema, document, lambda _: None)

        self._storage.rewrite(kind.resource, mend)

    def _announce(self, kind: Kind) -> None:
        if kind.rules:
            LOG.warning(
                "embedded control plane: the schema of %s has x-kubernetes-validations; they are NOT evaluated here",
                kind.resource,
            )

    def forget(self, definition: Object) -> None:
        """Serve the kinds of a deleted definition no longer."""
        spec = definition["spec"]
        self._catalog.remove(spec["group"], spec["names"]["plural"])
        self._storage.drop(f"{spec['names']['plural']}.{spec['group']}")


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions, best first: v2 before v1 before v1beta1 before v1alpha1 before others."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), version)
