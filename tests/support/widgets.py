"""A small custom kind and other small objects, for tests of both API servers."""

import copy
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 100},
                "color": {"type": "string", "enum": ["Red", "Blue"], "default": "Red"},
                "label": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
                "at": {"type": "string", "format": "date-time"},
                "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
                "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                    },
                },
                "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "note": {"type": "string", "nullable": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "phase": {"type": "string"},
                "conditions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
                    },
                },
            },
        },
    },
}


RULED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"size": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.size < 3", "message": "too large"}],
        }
    },
}
CHOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"type": "string"}}, "selector": {"type": "object"}},
            "oneOf": [{"required": ["names"]}, {"required": ["selector"]}],
            "not": {"required": ["names"], "properties": {"names": {"maxItems": 0}}},
        }
    },
}
TURN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "status": {
            "type": "object",
            "default": {},
            "properties": {"phase": {"type": "string", "default": "Waiting"}},
        }
    },
}


def a_definition(
    *, kind: str = "Widget", scope: str = "Namespaced", status: bool = True, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A CustomResourceDefinition of example.com/v1."""
    plural = kind.lower() + "s"
    version: dict[str, Any] = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema or SCHEMA},
        "selectableFields": [{"jsonPath": ".spec.color"}] if schema is None else [],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "At", "type": "date", "jsonPath": ".spec.at"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": scope,
            "names": {"plural": plural, "kind": kind, "shortNames": ["wd"] if kind == "Widget" else []},
            "versions": [version],
        },
    }


def of_two_versions(kind: str) -> dict[str, Any]:
    """A definition whose older version does not know `spec.label`."""
    definition = a_definition(kind=kind)
    newer = copy.deepcopy(definition["spec"]["versions"][0])
    del newer["selectableFields"]  # with the same ones in both versions kube-apiserver refuses schemas that differ
    older = copy.deepcopy(newer) | {"name": "v1beta1", "storage": False}
    del older["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["label"]
    definition["spec"]["versions"] = [newer, older]
    return definition


DEFINITIONS = (
    a_definition(),
    a_definition(kind="Gadget", status=False),
    a_definition(kind="Choice", schema=CHOICE),
    a_definition(kind="Ruled", schema=RULED),
    a_definition(kind="Turn", schema=TURN),
    of_two_versions("Edition"),
)
"""What the conformance suite finds on each server; a test that changes a definition brings its own."""


def a_widget(name: str = "one", *, size: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": size, **spec},
    }


def a_config_map(name: str = "one", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"key": "value"}}


def a_pod(name: str = "one", **spec: Any) -> dict[str, Any]:
    """A pod that no scheduler touches."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "none"}], **spec},
    }


class Build:
    """The builders, for tests that get them as a fixture."""

    definition = staticmethod(a_definition)
    widget = staticmethod(a_widget)
    config_map = staticmethod(a_config_map)
    pod = staticmethod(a_pod)
