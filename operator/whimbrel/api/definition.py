"""What the API server is told about a kind beyond its schema: names, scope, columns.

One `ResourceDefinition` stands beside each root model as its class attribute `CRD`; the CRD generator and `kube` read it.
"""

from dataclasses import dataclass, field
from typing import Literal

GROUP = "whimbrel.dev"
VERSION = "v1alpha1"


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column of `kubectl get`. Priority 0 is always shown, 1 with `-o wide`.

    A time in the future must be a string column: kubectl prints future dates of type `date` as invalid.
    """

    name: str
    json_path: str
    type: Literal["string", "integer", "boolean", "date", "number"] = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """Names, scope and columns of one of our kinds."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    scope: Literal["Namespaced", "Cluster"]
    printer_columns: tuple[PrinterColumn, ...]
    categories: tuple[str, ...] = ("whimbrel",)
    selectable_fields: tuple[str, ...] = ()
    status_subresource: bool = True
    status_defaults: tuple[tuple[str, str], ...] = ()
    """Fields of a status that the API server shows before the operator has written one."""
    group: str = field(default=GROUP)
    version: str = field(default=VERSION)

    @property
    def api_version(self) -> str:
        """`group/version`, as objects carry it."""
        return f"{self.group}/{self.version}"
