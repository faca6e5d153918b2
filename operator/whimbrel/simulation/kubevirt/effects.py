"""What a step wants written. A caller carries effects out in their order and runs the step again when anything changed.

A refused write is no error of the step: after a conflict the step is run again on fresher objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whimbrel.simulation.kubevirt.values import Object, name, namespace, uid


@dataclass(frozen=True, slots=True)
class Create:
    """Create this object; `metadata.generateName` is the API server's to fill."""

    body: Object


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace the object as it was read (optimistic locking by its resourceVersion)."""

    body: Object


@dataclass(frozen=True, slots=True)
class ReplaceStatus:
    """Replace the object's status through its subresource (optimistic locking)."""

    body: Object


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the object if it still has this UID."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Emit:
    """An Event about an object."""

    regarding: Mapping[str, Any]
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Run the step again after so many seconds even if nothing changes."""

    after_s: float


Effect = Create | Replace | ReplaceStatus | Remove | Emit | Again
Effects = tuple[Effect, ...]


def remove(document: Object) -> Remove:
    """The deletion of exactly this object."""
    return Remove(document["apiVersion"], document["kind"], namespace(document), name(document), uid(document))


def normal(regarding: Mapping[str, Any], reason: str, message: str) -> Emit:
    """A Normal event."""
    return Emit(regarding, "Normal", reason, message)


def warning(regarding: Mapping[str, Any], reason: str, message: str) -> Emit:
    """A Warning event."""
    return Emit(regarding, "Warning", reason, message)
