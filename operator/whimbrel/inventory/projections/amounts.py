"""Amounts of resources by name: what a node offers, a pod asks for, a quota allows."""

from functools import lru_cache

from whimbrel.domain.scheduling import Amounts
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


@lru_cache(maxsize=4096)
def shared(pairs: Amounts) -> Amounts:
    """Equal amounts that other records share."""
    return pairs


def amounts(document: Json, *path: str, without: frozenset[str] = frozenset()) -> Amounts:
    """The amounts of an object of quantities, sorted by name, except those named; malformed ones are left out."""
    found = []
    for name in reading.member(document, *path):
        if name in without:
            continue
        read = reading.optional_millicores if name.rpartition(".")[2] == "cpu" else reading.optional_bytes
        amount = read(document, *path, name)
        if amount is not None:
            found.append((name, amount))
    return shared(tuple(sorted(found)))
