"""The part of kubectl's JSONPath that printer columns use: fields, indices, wildcards and filters."""

import re
from collections.abc import Callable, Iterator

from whimbrel_lab.controlplane.embedded.errors import Json

Step = Callable[[Json], Iterator[Json]]

_TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)
      | \[(?P<index>-?\d+)\]
      | \[['"](?P<quoted>(?:[^'"\\]|\\.)+)['"]\]
      | \[(?P<wildcard>\*)\]
      | \[\?\((?P<filter>.+?)\)\]""",
    re.VERBOSE,
)
_FILTER = re.compile(r"""^\s*@(?P<path>[^=!<>\s]+)\s*(?:(?P<operator>==|!=)\s*(?P<value>.+?))?\s*$""")


def compile_path(path: str) -> Callable[[Json], Json]:
    """A function that gives the first match of the path, or None; raises ValueError for what cannot be read."""
    steps = list(_steps(path if path.startswith((".", "[")) else f".{path}"))

    def first(value: Json) -> Json:
        return next(_walk(steps, 0, value), None)

    return first


def _walk(steps: list[Step], index: int, value: Json) -> Iterator[Json]:
    if index == len(steps):
        yield value
        return
    for found in steps[index](value):
        yield from _walk(steps, index + 1, found)


def _steps(path: str) -> Iterator[Step]:
    place = 0
    while place < len(path):
        token = _TOKEN.match(path, place)
        if token is None:
            raise ValueError(f"JSONPath {path!r} cannot be read from character {place} on: {path[place:]!r}")
        place = token.end()
        if (name := token["field"] or token["quoted"]) is not None:
            yield _wildcard if name == "*" else _field(re.sub(r"\\(.)", r"\1", name))
        elif token["index"] is not None:
            yield _index(int(token["index"]))
        elif token["filter"] is not None:
            yield _filter(token["filter"])
        else:
            yield _wildcard


def _field(name: str) -> Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _wildcard(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _filter(text: str) -> Step:
    parsed = _FILTER.match(text)
    if parsed is None:
        raise ValueError(f"JSONPath filter {text!r} cannot be read")
    path, operator = compile_path(parsed["path"]), parsed["operator"]
    wanted = _literal(parsed["value"]) if operator else None

    def step(value: Json) -> Iterator[Json]:
        for item in value if isinstance(value, list) else ():
            found = path(item)
            if operator is None:
                fits = found is not None
            else:
                fits = (found == wanted) == (operator == "==")
            if fits:
                yield item

    return step


def _literal(text: str) -> Json:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
