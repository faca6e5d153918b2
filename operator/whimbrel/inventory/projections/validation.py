"""Our own kinds against their models, with an error in the schema's words where a stored object breaks a rule."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

Model = TypeVar("Model", bound=BaseModel)

INVALID_SPEC = "InvalidSpec"
"""Reason of the condition Ready of an object that breaks a rule."""

_MOST_ERRORS = 8
_RULE_PREFIX = "Value error, "


def validated(model: type[Model], raw: Json) -> tuple[Model | None, str]:
    """The model and an empty text; or None and every broken rule as `path: message`, joined by semicolons.

    A status that cannot be read is an error too: a finished plan whose status was thrown away would run again.
    """
    try:
        return model.model_validate({name: raw[name] for name in ("spec", "status") if raw.get(name) is not None}), ""
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_path(item['loc'])}: {item['msg'].removeprefix(_RULE_PREFIX)}" for item in found[:_MOST_ERRORS]]
    more = len(found) - len(shown)
    return None, "; ".join([*shown, f"and {more} more"] if more else shown)


def readable(model: type[Model], document: object) -> Model | None:
    """A part of an object by itself; None where it cannot be read."""
    try:
        return model.model_validate(document)
    except ValidationError:
        return None


def reported_error(raw: Json) -> str:
    """What a stored status says already about a broken rule; without it, it would be written at every tick."""
    ready = reading.condition(raw, "Ready")
    return ready.message if ready is not None and ready.reason == INVALID_SPEC else ""


def _path(location: tuple[int | str, ...]) -> str:
    """`spec.target.nodeNames[3]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "object"
