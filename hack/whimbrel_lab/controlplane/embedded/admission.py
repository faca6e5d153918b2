"""Admission in the process: webhooks that see, change or refuse a write before the storage does.

Mutating ones run before validation by schema, validating ones after it, both before the storage says AlreadyExists – the
order in which kube-apiserver calls webhooks. Called by the write verbs; the KubeVirt stand-in registers here.
"""

import inspect
from collections.abc import Callable, Sequence

from whimbrel_lab.controlplane.admission import AdmissionRequest, Hook, Operation, Refusal, Webhook
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object


class Admission:
    """The registered hooks, called in the order of their registration."""

    def __init__(self) -> None:
        self._mutating: list[Webhook] = []
        self._validating: list[Webhook] = []

    def mutating(
        self, resource: str, operations: Sequence[Operation], hook: Hook, *, name: str, subresource: str = ""
    ) -> Callable[[], None]:
        """Register a hook that may change objects of `plural.group` (`*` for all); returns how to take it away."""
        return self.register(Webhook(name, resource, tuple(operations), hook, True, subresource))

    def validating(
        self, resource: str, operations: Sequence[Operation], hook: Hook, *, name: str, subresource: str = ""
    ) -> Callable[[], None]:
        """Register a hook that may only refuse; returns how to take it away."""
        return self.register(Webhook(name, resource, tuple(operations), hook, False, subresource))

    def register(self, webhook: Webhook) -> Callable[[], None]:
        """Call this webhook from now on; returns how to take it away."""
        webhooks = self._mutating if webhook.mutates else self._validating
        webhooks.append(webhook)
        return lambda: webhooks.remove(webhook)

    async def mutate(self, request: AdmissionRequest) -> bool:
        """Run the mutating hooks; true when any ran."""
        return await self._run(self._mutating, request)

    async def validate(self, request: AdmissionRequest) -> None:
        await self._run(self._validating, request)

    async def _run(self, hooks: list[Webhook], request: AdmissionRequest) -> bool:
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
