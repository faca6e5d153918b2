"""OpenAPI documents: just enough for kubectl's apply, validation and explain.

Custom kinds show their schema; built-in ones are open objects. The patch operations name `fieldValidation`, by which
kubectl learns that the server validates fields itself.
"""

from whimbrel_lab.controlplane.embedded.errors import Json, Object
from whimbrel_lab.controlplane.embedded.kinds import Catalog, Kind

_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def index(catalog: Catalog) -> Object:
    """`/openapi/v3`."""
    paths = {}
    for group, version, _ in catalog.versions():
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={catalog.generation:X}"}
    return {"paths": paths}


def group_version(catalog: Catalog, group: str, version: str) -> Object | None:
    """`/openapi/v3/apis/<group>/<version>`."""
    kinds = next((found for g, v, found in catalog.versions() if (g, v) == (group, version)), None)
    if kinds is None:
        return None
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    paths: Object = {}
    for kind in kinds:
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        paths[f"{root}{scope}/{kind.plural}"] = _operations(kind, ("get", "post"), "#/components/schemas")
        paths[f"{root}{scope}/{kind.plural}/{{name}}"] = _operations(
            kind, ("get", "put", "patch", "delete"), "#/components/schemas"
        )
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.3"},
        "paths": paths,
        "components": {"schemas": {_name(kind): _schema(kind) for kind in kinds}},
    }


def swagger(catalog: Catalog) -> Object:
    """`/openapi/v2`."""
    definitions: Object = {}
    paths: Object = {}
    for group, version, kinds in catalog.versions():
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        for kind in kinds:
            definitions[_name(kind)] = _swagger_schema(_schema(kind))
            scope = "/namespaces/{namespace}" if kind.namespaced else ""
            paths[f"{root}{scope}/{kind.plural}/{{name}}"] = _operations(
                kind, ("get", "put", "patch", "delete"), "#/definitions"
            )
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.3"},
        "paths": paths,
        "definitions": definitions,
    }


def _name(kind: Kind) -> str:
    reverse = ".".join(reversed(kind.group.split("."))) if kind.custom else f"io.k8s.api.{kind.group or 'core'}"
    return f"{reverse}.{kind.version}.{kind.kind}"


def _identity(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _operations(kind: Kind, verbs: tuple[str, ...], schemas: str) -> Object:
    actions = {"get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete"}
    string = {"schema": {"type": "string"}} if schemas.startswith("#/components") else {"type": "string"}
    parameters = [{"name": name, "in": "query", **string} for name in ("dryRun", "fieldManager", "fieldValidation")]
    return {
        verb: {
            "operationId": f"{verb}{kind.group}{kind.version}{kind.kind}",
            "parameters": parameters if verb in ("post", "put", "patch") else [],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": actions[verb],
            "x-kubernetes-group-version-kind": _identity(kind),
        }
        for verb in verbs
    }


def _schema(kind: Kind) -> Object:
    source: Object = dict(kind.openapi) if kind.openapi is not None else dict(_OPEN)
    properties = dict(source.get("properties") or {})
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    return {**source, "properties": properties, "x-kubernetes-group-version-kind": [_identity(kind)]}


def _swagger_schema(schema: Json) -> Json:
    """Swagger 2.0 knows neither nullable nor anyOf."""
    if isinstance(schema, dict):
        dropped = ("nullable", "anyOf", "oneOf", "allOf", "not")
        return {key: _swagger_schema(value) for key, value in schema.items() if key not in dropped}
    return [_swagger_schema(each) for each in schema] if isinstance(schema, list) else schema
