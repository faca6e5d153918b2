"""Which fields a CEL rule reads that may be absent: a server evaluates such a rule to an error, or refuses the CRD.

No parser of CEL: chains of fields that begin with `self` or `oldSelf`. A field is guarded where has() is asked of it, or
it is read as optional (`self.?field`), anywhere in the rule. Called by `lint`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from crdgen.schema import Schema

_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_CHAIN = re.compile(r"(?<![\w.])(?P<has>has\(\s*)?(?P<root>self|oldSelf)(?P<steps>(?:\.\??\w+(?!\w*\())*)")
_ESCAPED = re.compile(r"__(\w+)__")
"""A field whose name is a word of CEL: `__namespace__`."""


def unguarded(rule: str, node: Schema, defaults: Sequence[Any] = ()) -> Iterator[tuple[str, str]]:
    """(what is read, why it may be absent). `defaults` are values that the server puts where the rule stands."""
    chains = [
        (match["root"], _steps(match["steps"]), bool(match["has"])) for match in _CHAIN.finditer(_TEXT.sub("''", rule))
    ]
    asked = {(root, *steps) for root, steps, has in chains if has}
    told: set[str] = set()
    for root, steps, has in chains:
        for read, why in _absent(root, steps[:-1] if has else steps, asked, node, defaults):
            if read not in told:
                told.add(read)
                yield read, why


def _steps(chain: str) -> tuple[str, ...]:
    """`.a.__in__` → a, in; up to the first optional one, after which nothing fails."""
    safe = chain.split(".?", 1)[0]
    return tuple(_ESCAPED.sub(r"\1", step) for step in safe.split(".") if step)


def _absent(
    root: str, steps: tuple[str, ...], asked: set[tuple[str, ...]], node: Schema, defaults: Sequence[Any]
) -> Iterator[tuple[str, str]]:
    for depth, step in enumerate(steps, 1):
        if "properties" not in node:
            return
        read = ".".join((root, *steps[:depth]))
        child = node["properties"].get(step)
        if child is None:
            yield read, "which is no field"
            return
        lacking = [each for each in defaults if isinstance(each, dict) and step not in each]
        if (root, *steps[:depth]) not in asked and step not in node.get("required", ()):
            if "default" not in child:
                yield read, "which is not required"
            elif lacking:
                yield read, f"which the default {lacking[0]} lacks"
        defaults = [each[step] for each in defaults if isinstance(each, dict) and step in each]
        node = child
