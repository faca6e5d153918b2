"""Subresources and reviews: binding, eviction, tokens of service accounts, access reviews.

Each takes a posted object and answers one; none is stored under its own name.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

from whimbrel_lab.controlplane.embedded import selectors
from whimbrel_lab.controlplane.embedded.access import Authorizer, Question, permitted
from whimbrel_lab.controlplane.embedded.deletion import Deletion, delete_options
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object, bad_request, conflict
from whimbrel_lab.controlplane.embedded.objects import check_type, timestamp
from whimbrel_lab.controlplane.embedded.storage import Record
from whimbrel_lab.controlplane.embedded.verbs import Call, Verbs
from whimbrel_lab.controlplane.users import User, service_account

Answer = Callable[[Call, Object], Awaitable[Object]]


class Subresources:
    """What may be posted to a subresource or a review kind."""

    def __init__(
        self,
        verbs: Verbs,
        deletion: Deletion,
        tokens: dict[str, User],
        authorizer: Callable[[], Authorizer | None],
    ) -> None:
        self._verbs = verbs
        self._deletion = deletion
        self._tokens = tokens
        self._authorizer = authorizer
        self._answers: dict[tuple[str, str], Answer] = {
            ("pods", "binding"): self._bind,
            ("pods", "eviction"): self._evict,
            ("serviceaccounts", "token"): self._token,
            ("selfsubjectaccessreviews", ""): self._review,
            ("subjectaccessreviews", ""): self._review,
            ("selfsubjectreviews", ""): self._who_am_i,
        }

    def answer(self, plural: str, subresource: str) -> Answer | None:
        return self._answers.get((plural, subresource))

    async def _admit(self, call: Call, document: Object) -> None:
        request = self._verbs.admission_request(call, "CREATE", document, None)
        await self._verbs.admission.mutate(request)
        await self._verbs.admission.validate(request)

    async def _bind(self, call: Call, document: Object) -> Object:
        self._verbs.find(call)
        await self._admit(call, document)
        node = (document.get("target") or {}).get("name", "")
        record = self._verbs.find(call)
        pod = record.copy()
        if pod["spec"].get("nodeName"):
            why = f'pod {call.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise conflict("", "pods/binding", call.name, why)
        if pod["metadata"].get("deletionTimestamp"):
            raise conflict(
                "", "pods/binding", call.name, f"pod {call.name} is being deleted, cannot be assigned to a host"
            )
        pod["spec"]["nodeName"] = node
        condition = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(self._verbs.clock.now()),
        }
        status = pod.setdefault("status", {})
        others = [each for each in status.get("conditions") or () if each.get("type") != "PodScheduled"]
        status["conditions"] = [*others, condition]
        if not call.dry_run:
            self._verbs.storage.save("pods", pod)
        return _success(201)

    async def _evict(self, call: Call, document: Object) -> Object:
        if (document.get("metadata") or {}).get("name") != call.name:
            raise bad_request("name in URL does not match name in Eviction object")
        pod = self._verbs.find(call)
        await self._admit(call, document)
        for budget in self._verbs.storage.records("poddisruptionbudgets.policy", call.namespace):
            self._spend(call, budget, pod.object)
        options = delete_options(document.get("deleteOptions"), {})
        main = Call(call.user, call.kind, call.namespace, call.name, "", call.query, (), call.warnings)
        await self._deletion.delete(main, options)
        return _success(201)

    def _spend(self, call: Call, record: Record, pod: Object) -> None:
        """Takes the eviction from the pod's budget; 429 where that does not permit it."""
        budget = record.object
        selector = (budget.get("spec") or {}).get("selector")
        if selector is None:
            return
        selects = selectors.label_selector(selectors.query_of(selector))
        if selects is not None and not selects(pod):
            return
        if (pod.get("status") or {}).get("phase") in ("Pending", "Succeeded", "Failed"):
            return
        name, status = budget["metadata"]["name"], budget.get("status") or {}
        if int(status.get("observedGeneration") or 0) < int(budget["metadata"].get("generation") or 0):
            raise _over_budget(f"The disruption budget {name} is still being processed by the server.", 10)
        allowed = int(status.get("disruptionsAllowed") or 0)
        if allowed <= 0:
            healthy = f"needs {status.get('desiredHealthy', 0)} healthy pods and has {status.get('currentHealthy', 0)}"
            raise _over_budget(f"The disruption budget {name} {healthy} currently", None)
        if not call.dry_run:
            spent = record.copy()
            disrupted = {**(status.get("disruptedPods") or {}), call.name: timestamp(self._verbs.clock.now())}
            spent["status"] = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
            self._verbs.storage.save("poddisruptionbudgets.policy", spent)

    async def _token(self, call: Call, document: Object) -> Object:
        self._verbs.find(call)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = service_account(call.namespace, call.name)
        ends_at = timestamp(self._verbs.clock.now() + timedelta(hours=1))
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            **document,
            "status": {"token": token, "expirationTimestamp": ends_at},
        }

    async def _review(self, call: Call, document: Object) -> Object:
        check_type(call.kind, document)
        spec, user = document.get("spec") or {}, call.user
        if call.kind.plural == "subjectaccessreviews":
            user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        asked = spec.get("resourceAttributes") or {}
        question = Question(
            user=user,
            verb=asked.get("verb", ""),
            group=asked.get("group", ""),
            resource=asked.get("resource", ""),
            subresource=asked.get("subresource", ""),
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
        allowed = "nonResourceAttributes" in spec or permitted(self._authorizer(), question)
        return {**document, "metadata": {}, "status": {"allowed": allowed}}

    async def _who_am_i(self, call: Call, document: Object) -> Object:
        check_type(call.kind, document)
        user = {"username": call.user.name, "groups": list(call.user.groups)}
        created = {"creationTimestamp": timestamp(self._verbs.clock.now())}
        return {
            "kind": document["kind"],
            "apiVersion": document["apiVersion"],
            "metadata": created,
            "status": {"userInfo": user},
        }


def _over_budget(why: str, retry_after_s: int | None) -> ApiError:
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    causes = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    return ApiError(429, "TooManyRequests", text, causes, retry_after_s=retry_after_s)


def _success(code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
