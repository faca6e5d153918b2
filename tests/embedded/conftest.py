"""A fresh embedded control plane per test, with a small custom kind, and a client that shows raw answers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane

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
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "none"}], **spec},
    }


class Build:
    """The builders, for tests that get them as a fixture."""

    definition = staticmethod(a_definition)
    widget = staticmethod(a_widget)
    config_map = staticmethod(a_config_map)
    pod = staticmethod(a_pod)


@pytest.fixture
def build() -> type[Build]:
    return Build


@pytest.fixture
async def plane() -> AsyncIterator[EmbeddedControlPlane]:
    async with EmbeddedControlPlane(bookmark_interval_s=0.2) as running:
        await running.load([a_definition()])
        yield running


@pytest.fixture
async def client(plane: EmbeddedControlPlane) -> AsyncIterator[RawClient]:
    async with RawClient(plane.url) as opened:
        yield opened


@pytest.fixture
def widgets() -> str:
    return "/apis/example.com/v1/namespaces/default/widgets"


@pytest.fixture
def config_maps() -> str:
    return "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def pods() -> str:
    return "/api/v1/namespaces/default/pods"
