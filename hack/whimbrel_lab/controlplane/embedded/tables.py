"""Tables for kubectl: columns of built-in kinds, printer columns of custom ones, ages as people read them."""

from datetime import UTC, datetime

from whimbrel_lab.controlplane.embedded.errors import Json, Object
from whimbrel_lab.controlplane.embedded.jsonpath import compile_path
from whimbrel_lab.controlplane.embedded.kinds import Column, Kind

_NAME_HELP = "Name must be unique within a namespace."


def table_of(
    kind: Kind, documents: list[Object], metadata: Object, now: float, include_object: str = "Metadata"
) -> Object:
    """A meta.k8s.io/v1 Table of these objects; `now` in seconds since the epoch."""
    columns = kind.columns if kind.columns is not None else DEFAULT_COLUMNS
    rows = []
    for document in documents:
        row: Object = {"cells": [column.cell(document, now) for column in columns]}
        row["object"] = None
        if include_object == "Object":
            row["object"] = document
        elif include_object != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": document["metadata"],
            }
        rows.append(row)
    definitions = [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def human_duration(seconds: float) -> str:
    """A duration as kubectl shows it: `45s`, `5m10s`, `3h20m`, `2d4h`, `400d`."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if days % 365 and years < 8 else f"{years}y"


def age(moment: Json, now: float) -> str:
    """Time since an RFC 3339 moment, or `<unknown>`."""
    if not isinstance(moment, str):
        return "<unknown>"
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return "<unknown>"
    return human_duration(now - then.replace(tzinfo=then.tzinfo or UTC).timestamp())


NAME = Column("Name", "string", lambda document, _: document["metadata"]["name"], "name", _NAME_HELP)
AGE = Column("Age", "string", lambda document, now: age(document["metadata"].get("creationTimestamp"), now))
CREATED_AT = Column("Created At", "date", lambda document, _: document["metadata"].get("creationTimestamp"))
DEFAULT_COLUMNS = (NAME, AGE)


def custom_columns(declared: list[Object]) -> tuple[Column, ...]:
    """The columns of a custom kind: its name and what `additionalPrinterColumns` says, or an age by default."""
    if not declared:
        return DEFAULT_COLUMNS
    return (NAME, *(_custom_column(each) for each in declared))


def _custom_column(declared: Object) -> Column:
    path, kind = compile_path(declared["jsonPath"]), declared["type"]

    def cell(document: Object, now: float) -> Json:
        value = path(document)
        if value is None:
            return None
        return _typed(value, kind, now)

    return Column(
        declared["name"],
        kind,
        cell,
        declared.get("format", ""),
        declared.get("description", ""),
        declared.get("priority", 0),
    )


def _typed(value: Json, kind: str, now: float) -> Json:
    """A cell of the column's type; what does not fit the type is left empty, as the API server does."""
    if kind == "date":
        return age(value, now)
    if kind == "string":
        return value if isinstance(value, str) else _plain(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if kind == "integer" else value


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + " ".join(_plain(each) for each in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_plain(value[key])}" for key in sorted(value)) + "]"
    return str(value)
