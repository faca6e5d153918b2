"""Admission as both control planes call it: what a webhook sees, and how it refuses.

The embedded server calls webhooks in the process, a real one over HTTPS (`real/webhooks.py`); the KubeVirt stand-in brings
them and knows neither.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from whimbrel_lab.controlplane.users import User

Object = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Refusal(Exception):
    """Raised by a webhook: the request is denied with this code and message."""

    def __init__(self, message: str, code: int = 403, reason: str = "Forbidden", causes: Sequence[Object] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.causes = tuple(causes)


@dataclass(slots=True)
class AdmissionRequest:
    """What a webhook sees. A mutating one may change or replace `object`; `old_object` must not be changed.

    `resource` is plural.group, e.g. `virtualmachineinstances.kubevirt.io`.
    """

    user: User
    operation: Operation
    resource: str
    namespace: str
    name: str
    subresource: str
    object: Object | None
    old_object: Object | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


Hook = Callable[[AdmissionRequest], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook: what it wants to see, and whether it may change it."""

    name: str
    resource: str
    operations: tuple[Operation, ...]
    hook: Hook
    mutates: bool = False
    subresource: str = ""
