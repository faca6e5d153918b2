"""The generated CRDs, and objects of our kinds to try on a server that serves them."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from whimbrel.api import KINDS

Object = dict[str, Any]
Schema = dict[str, Any]
Place = tuple[str | int, ...]
"""A way down into a document: field names, keys of a map, indices. In a schema `ITEMS` and `VALUES` stand for all of them."""

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
ITEMS, VALUES = "[]", "{}"
MODELS: dict[str, type[BaseModel]] = {model.__name__: model for model in KINDS}
PLURALS: dict[str, str] = {model.__name__: model.CRD.plural for model in KINDS}  # type: ignore[attr-defined]


def documents(path: Path) -> list[Object]:
    """The documents of a YAML file."""
    return deepcopy(_parsed(path))


@cache
def _parsed(path: Path) -> list[Object]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def definitions(folder: Path = ROOT / "crds") -> list[Object]:
    """All CRDs of a folder."""
    return [each for path in sorted(folder.glob("*.yaml")) for each in documents(path)]


@cache
def schema_of(kind: str) -> Schema:
    """What the server holds objects of a kind to; shared, not to be changed."""
    (definition,) = (each for each in definitions() if each["spec"]["names"]["kind"] == kind)
    (version,) = definition["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def whole(kind: str) -> list[Object]:
    """Objects in which, together, every field of the kind is set."""
    return [each for each in documents(DATA / "objects" / "whole.yaml") if each["kind"] == kind]


def least(kind: str) -> Object:
    """An object with nothing but what is required."""
    (found,) = (each for each in documents(DATA / "objects" / "least.yaml") if each["kind"] == kind)
    return found


def nodes(schema: Schema, place: Place = ()) -> Iterator[tuple[Place, Schema]]:
    """Every node of a schema with its place, parents first."""
    yield place, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, (*place, name))
    for keyword, step in (("items", ITEMS), ("additionalProperties", VALUES)):
        if keyword in schema:
            yield from nodes(schema[keyword], (*place, step))


def locate(document: Any, place: Place) -> Place | None:
    """Where a schema's place is in a document: the first of items and values. None: it is not set there."""
    out: list[str | int] = []
    for step in place:
        if step == ITEMS:
            step = 0
        elif step == VALUES and isinstance(document, dict):
            step = next(iter(document), "")
        there = range(len(document)) if isinstance(document, list) else document if isinstance(document, dict) else ()
        if step not in there:
            return None
        document = document[step]
        out.append(step)
    return tuple(out)


def at(document: Any, place: Place) -> Any:
    """What stands at a place of a document."""
    for step in place:
        document = document[step]
    return document


def put(document: Object, place: Place, value: Any) -> Object:
    """A copy of the document with another value at a place."""
    out = deepcopy(document)
    at(out, place[:-1])[place[-1]] = deepcopy(value)
    return out


def without(document: Object, place: Place) -> Object:
    """A copy of the document that lacks what stands at a place."""
    out = deepcopy(document)
    del at(out, place[:-1])[place[-1]]
    return out


def field(place: Sequence[str | int]) -> str:
    """A place as the server and our documents write it: `spec.names[0]`, in a schema `spec.names[]`."""
    out = ""
    for step in place:
        if isinstance(step, int):
            out += f"[{step}]"
        elif step in (ITEMS, VALUES):
            out += step
        else:
            out += f".{step}" if out else step
    return out
