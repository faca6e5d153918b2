"""Admission in the process: hooks that see, change or refuse a write before the storage does.

Mutating hooks run before validation by schema, validating hooks after it, both before the storage says AlreadyExists –
the order in which kube-apiserver calls webhooks. Called by the write verbs; the KubeVirt stand-in registers here.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from whimbrel_lab.controlplane.embedded.access import User
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object
from whimbrel_lab.controlplane.embedded.kinds import Kind

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Refusal(Exception):
    """Raised by a hook: the request is denied with this code and message."""

    def __init__(self, message: str, code: int = 403, reason: str = "Forbidden", causes: Sequence[Object] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.causes = tuple(causes)


@dataclass(slots=True)
class AdmissionRequest:
    """What a hook sees. A mutating hook may change or replace `object`; `old_object` must not be changed."""

    user: User
    operation: Operation
    kind: Kind
    namespace: str
    name: str
    subresource: str
    object: Object | None
    old_object: Object | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def resource(self) -> str:
        """plural.group, e.g. `virtualmachineinstances.kubevirt.io`."""
        return self.kind.resource


Hook = Callable[[AdmissionRequest], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class _Registered:
    name: str
    resource: str
    operations: frozenset[str]
    hook: Hook
    subresource: str


class Admission:
    """The registered hooks, called in the order of their registration."""

    def __init__(self) -> None:
        self._mutating: list[_Registered] = []
        self._validating: list[_Registered] = []

    def mutating(
        self, resource: str, operations: Sequence[Operation], hook: Hook, *, name: str, subresource: str = ""
    ) -> Callable[[], None]:
        """Register a hook that may change objects of `plural.group` (`*` for all); returns how to take it away."""
        return self._register(self._mutating, name, resource, operations, hook, subresource)

    def validating(
        self, resource: str, operations: Sequence[Operation], hook: Hook, *, name: str, subresource: str = ""
    ) -> Callable[[], None]:
        """Register a hook that may only refuse; returns how to take it away."""
        return self._register(self._validating, name, resource, operations, hook, subresource)

    def _register(
        self,
        hooks: list[_Registered],
        name: str,
        resource: str,
        operations: Sequence[Operation],
        hook: Hook,
        subresource: str,
    ) -> Callable[[], None]:
        registered = _Registered(name, resource, frozenset(operations), hook, subresource)
        hooks.append(registered)
        return lambda: hooks.remove(registered)

    async def mutate(self, request: AdmissionRequest) -> bool:
        """Run the mutating hooks; true when any ran."""
        return await self._run(self._mutating, request)

    async def validate(self, request: AdmissionRequest) -> None:
        await self._run(self._validating, request)

    async def _run(self, hooks: list[_Registered], request: AdmissionRequest) -> bool:
        ran = False
        for each in list(hooks):
            wanted = each.resource in ("*", request.resource) and each.subresource == request.subresource
            if not wanted or request.operation not in each.operations:
                continue
            ran = True
            try:
                answer = each.hook(request)
                if inspect.isawaitable(answer):
                    await answer
            except Refusal as refusal:
                raise _denied(each.name, refusal) from refusal
        return ran


def _denied(name: str, refusal: Refusal) -> ApiError:
    text = f'admission webhook "{name}" denied the request: {refusal.message}'
    details: Object = {"causes": list(refusal.causes)} if refusal.causes else {}
    retry_after_s = 1 if refusal.code == 429 else None
    return ApiError(max(refusal.code, 400), refusal.reason, text, details, retry_after_s)
