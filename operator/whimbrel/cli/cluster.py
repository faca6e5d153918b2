"""The plugin's way to the cluster: a plan, its moves, one annotation, and lists of whatever may be read. Uses the kubeconfig
as kubectl does.

Everything that can go wrong becomes a `Failure`, whose text says what happened and what to do next.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3.exceptions
from kubernetes import client, config
from pydantic import ValidationError

from whimbrel.api import MigrationPlan, VirtualMachineMove
from whimbrel.api.migration_plan import APPROVE_ANNOTATION
from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.domain.resources import MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES, Resource

TIMEOUT_S = 15.0
LIST_TIMEOUT_S = 60.0
PAGE = 500


class Failure(Exception):
    """The plugin could not do what was asked; the text is for the person who asked."""


class Refused(Exception):
    """The API server answered with an error; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Conflict:
    """Virtual machines that cannot all be placed, in words."""

    message: str
    virtual_machines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanObject:
    """A MigrationPlan with what the plugin needs of its metadata."""

    namespace: str
    name: str
    uid: str
    generation: int
    approved_hash: str
    plan: MigrationPlan
    conflicts: tuple[Conflict, ...] = ()
    """Of the quote, where the operator found any."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Cluster:
    """A cluster as the kubeconfig names it."""

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        settings = client.Configuration()
        try:
            config.load_kube_config(kubeconfig, context, client_configuration=settings)
            contexts, active = config.list_kube_config_contexts(kubeconfig)
            if context:
                active = next(entry for entry in contexts if entry["name"] == context)
        except (config.ConfigException, OSError) as problem:
            raise Failure(
                f"the kubeconfig cannot be used: {problem}. Name one with --kubeconfig or KUBECONFIG, "
                "and a context of it with --context."
            ) from problem
        settings.retries = False
        self.namespace: str = namespace or active["context"].get("namespace") or "default"
        self._server: str = settings.host
        self._client = client.ApiClient(settings)
        self._api = client.CustomObjectsApi(self._client)

    def plan(self, name: str) -> PlanObject:
        """The plan of this name in the chosen namespace. Raises Failure."""
        raw = self._call(
            f"plan {self.namespace}/{name}",
            self._api.get_namespaced_custom_object,
            *_path(MIGRATION_PLANS, self.namespace),
            name,
        )
        metadata = raw["metadata"]
        try:
            plan = MigrationPlan.model_validate(raw)
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the object"
            raise Failure(
                f"plan {self.namespace}/{name} cannot be read: {where}: {first['msg']}. The plugin and the CRDs in the "
                "cluster may be of different releases: compare kubectl whimbrel version."
            ) from problem
        return PlanObject(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            approved_hash=(metadata.get("annotations") or {}).get(APPROVE_ANNOTATION, ""),
            plan=plan,
            conflicts=_conflicts(raw),
        )

    def moves(self, plan: PlanObject) -> tuple[VirtualMachineMove, ...]:
        """All moves that the plan owns, by namespace and name of their virtual machine. Raises Failure."""
        found: list[VirtualMachineMove] = []
        following = ""
        while True:
            page = self._call(
                f"moves in namespace {plan.namespace}",
                self._api.list_namespaced_custom_object,
                *_path(VIRTUAL_MACHINE_MOVES, plan.namespace),
                label_selector=f"{LABEL_PLAN_UID}={plan.uid}",
                limit=PAGE,
                _continue=following or None,
            )
            for raw in page["items"]:
                owners = raw["metadata"].get("ownerReferences") or ()
                if any(owner.get("uid") == plan.uid for owner in owners):
                    found.append(VirtualMachineMove.model_validate(raw))
            following = page["metadata"].get("continue") or ""
            if not following:
                return tuple(sorted(found, key=lambda m: (m.spec.instance.namespace, m.spec.instance.name)))

    def fetch(self, path: str, **query: object) -> dict[str, Any]:
        """What the API server has at a path. Raises Refused where it answers with an error, Failure where it does not."""
        try:
            request = self._client.param_serialize(
                method="GET",
                resource_path=path,
                query_params=[(name, value) for name, value in query.items() if value],
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=LIST_TIMEOUT_S)
            text = response.read()
        except client.ApiException as problem:
            raise Refused(int(problem.status or 0), str(problem.body or problem.reason)) from problem
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._silent(problem) from problem
        if response.status != 200:
            raise Refused(response.status, text.decode("utf-8", "replace"))
        try:
            document = json.loads(text)
        except ValueError as problem:
            raise Failure(f"{self._server} answered {path} with something that is no JSON: {problem}") from problem
        return document if isinstance(document, dict) else {}

    def approve(self, plan: PlanObject, quote_hash: str) -> None:
        """Sets the annotation that names the approved quote. Raises Failure."""
        self._call(
            f"plan {plan}",
            self._api.patch_namespaced_custom_object,
            *_path(MIGRATION_PLANS, plan.namespace),
            plan.name,
            {"metadata": {"annotations": {APPROVE_ANNOTATION: quote_hash}, "uid": plan.uid}},
        )

    def _call(self, what: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        options = {name: value for name, value in options.items() if value is not None}
        try:
            return method(*arguments, _request_timeout=TIMEOUT_S, **options)
        except client.ApiException as problem:
            raise Failure(_explained(what, problem)) from problem
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._silent(problem) from problem

    def _silent(self, problem: Exception) -> Failure:
        return Failure(
            f"{self._server} does not answer: {problem}. Check the cluster and the context with: kubectl cluster-info"
        )


def _path(resource: Resource, namespace: str) -> tuple[str, str, str, str]:
    return resource.group, resource.version, namespace, resource.plural


def _conflicts(raw: dict[str, Any]) -> tuple[Conflict, ...]:
    """Those of the quote, as this or another release of the operator wrote them."""
    found = ((raw.get("status") or {}).get("quote") or {}).get("conflicts") or ()
    return tuple(
        Conflict(str(each.get("message") or ""), tuple(map(str, each.get("virtualMachines") or ())))
        for each in found
        if isinstance(each, dict)
    )


def _explained(what: str, problem: client.ApiException) -> str:
    body = str(problem.body or problem.reason)
    if problem.status == 404 and "the server could not find the requested resource" in body:
        return "this cluster does not know MigrationPlans. Install Whimbrel's CRDs: kubectl apply -f crds/"
    if problem.status == 404:
        return f"{what} is not there. List what there is: kubectl get mplan --all-namespaces"
    if problem.status == 401:
        return f"{what}: the cluster does not accept your credentials (401). Log in again, or choose another context."
    if problem.status == 403:
        return f"{what}: you are not permitted to do that (403): {body}. Ask for a role on migrationplans.whimbrel.dev."
    if problem.status == 409:
        return f"{what} was replaced by another one meanwhile (409). Look at its new quote and try again."
    return f"{what}: the API server answered {problem.status} {problem.reason}: {body}"
