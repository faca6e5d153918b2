"""What the embedded API server can serve: kinds, and the catalog of those served at the moment.

Built-in kinds are listed in `builtin.py`; kinds of CustomResourceDefinitions are made in `crds.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from whimbrel_lab.controlplane.embedded.errors import FieldError, Json, Object, qualified
from whimbrel_lab.controlplane.embedded.schema import Schema

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of kubectl's table; `cell` gets the object and the present time in seconds since the epoch."""

    name: str
    type: str
    cell: Callable[[Object, float], Json]
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind in one version. `resource` (plural.group) names the storage that all versions share."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    status: bool = False
    status_on_create: bool = False
    generation: bool = False
    other_subresources: tuple[tuple[str, str], ...] = ()
    needs_version_on_update: bool = False
    creates_on_update: bool = False
    returns_deleted: bool = False
    storage: bool = True
    custom: bool = False
    schema: Schema | None = None
    openapi: Object | None = None
    rules: bool = False
    stored_only: bool = False
    checked: bool = False
    """Of a built-in kind: that all of its fields are checked as on a real server."""
    columns: tuple[Column, ...] | None = None
    selectable: tuple[str, ...] = ()
    defaults: Callable[[Object], None] | None = None
    check: Callable[[Object], list[FieldError]] | None = None
    check_new: Callable[[Object], list[FieldError]] | None = None
    check_update: Callable[[Object, Object], list[FieldError]] | None = None
    from_stored: Callable[[Object], Object] | None = None
    to_stored: Callable[[Object], Object] | None = None
    resource: str = field(init=False)
    api_version: str = field(init=False)
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        api_version = f"{self.group}/{self.version}" if self.group else self.version
        object.__setattr__(self, "api_version", api_version)
        object.__setattr__(self, "resource", qualified(self.group, self.plural))
        object.__setattr__(self, "singular", self.singular or self.kind.lower())
        prefix = f'{{"apiVersion":"{api_version}","kind":"{self.kind}",'
        object.__setattr__(self, "prefix", prefix.encode())

    @property
    def subresources(self) -> tuple[str, ...]:
        own = tuple(name for name, _ in self.other_subresources)
        return (*own, "status") if self.status else own


class Catalog:
    """The kinds served now, by group and version, in the order in which discovery shows them."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._kinds: dict[tuple[str, str], dict[str, Kind]] = {}
        self._stored: dict[str, Kind] = {}
        self.generation = 0
        for kind in kinds:
            self.add(kind)

    def hold(self, kind: Kind) -> None:
        """Know a storage version that is itself not served."""
        self._stored[kind.resource] = kind

    def add(self, kind: Kind) -> None:
        """Serve a kind from now on, in place of an earlier one of the same name and version."""
        self._kinds.setdefault((kind.group, kind.version), {})[kind.plural] = kind
        if kind.storage:
            self._stored[kind.resource] = kind
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        """Stop serving a resource in all its versions."""
        for (of_group, version), kinds in list(self._kinds.items()):
            if of_group == group and plural in kinds:
                del kinds[plural]
                if not kinds:
                    del self._kinds[of_group, version]
        self._stored.pop(qualified(group, plural), None)
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version), {}).get(plural)

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """The kind that an owner reference names, or None when it is not served."""
        group, _, version = api_version.rpartition("/")
        for each in self._kinds.get((group, version), {}).values():
            if each.kind == kind:
                return each
        return None

    def stored(self, resource: str) -> Kind | None:
        """The kind in its storage version; `resource` is plural.group."""
        return self._stored.get(resource)

    def stored_kinds(self) -> list[Kind]:
        return list(self._stored.values())

    def versions(self) -> Iterator[tuple[str, str, list[Kind]]]:
        """(group, version, kinds) of all that is served."""
        for (group, version), kinds in self._kinds.items():
            yield group, version, list(kinds.values())

    def is_built_in(self, group: str, version: str) -> bool:
        """Whether this version of a group is served for built-in kinds."""
        return any(not kind.custom for kind in self._kinds.get((group, version), {}).values())

    def serves(self, group: str, version: str) -> bool:
        return (group, version) in self._kinds
