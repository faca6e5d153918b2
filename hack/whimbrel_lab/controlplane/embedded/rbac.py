"""An authorizer that follows the Roles and bindings in the storage, as kube-apiserver's RBAC mode does.

Set `plane.authorizer = rbac_authorizer(plane.storage)` to have the operator run under the chart's own roles.
"""

from collections.abc import Iterator

from whimbrel_lab.controlplane.embedded.access import Authorizer, Question
from whimbrel_lab.controlplane.embedded.errors import Json, Object
from whimbrel_lab.controlplane.embedded.storage import Storage
from whimbrel_lab.controlplane.users import User

_GROUP = "rbac.authorization.k8s.io"
_ABOUT_ONESELF = frozenset({"selfsubjectaccessreviews", "selfsubjectreviews"})
"""What kube-apiserver's role `system:basic-user` gives to everybody who has logged in."""


def rbac_authorizer(storage: Storage) -> Authorizer:
    """Permits what some rule of a role bound to the user permits; reads the storage anew at each question."""

    def authorize(question: Question) -> bool:
        if question.resource in _ABOUT_ONESELF and question.verb == "create":
            return True
        return any(_permits(rule, question) for rule in _rules(storage, question))

    return authorize


def _rules(storage: Storage, question: Question) -> Iterator[Object]:
    for record in storage.records(f"clusterrolebindings.{_GROUP}"):
        if _binds(record.object, question.user, ""):
            yield from _role(storage, record.object, "")
    if not question.namespace:
        return
    for record in storage.records(f"rolebindings.{_GROUP}", question.namespace):
        if _binds(record.object, question.user, question.namespace):
            yield from _role(storage, record.object, question.namespace)


def _role(storage: Storage, binding: Object, namespace: str) -> list[Object]:
    reference = binding["roleRef"]
    if reference["kind"] == "Role":
        role = storage.get(f"roles.{_GROUP}", namespace, reference["name"])
    else:
        role = storage.get(f"clusterroles.{_GROUP}", "", reference["name"])
    return list(role.object.get("rules") or ()) if role else []


def _binds(binding: Object, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        name = subject.get("name")
        match subject.get("kind"):
            case "User" if name == user.name:
                return True
            case "Group" if name in user.groups:
                return True
            case "ServiceAccount":
                if user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}":
                    return True
    return False


def _permits(rule: Object, question: Question) -> bool:
    resource = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    names: list[Json] = rule.get("resourceNames") or []
    resources = rule.get("resources") or ()
    return (
        _has(rule.get("verbs"), question.verb)
        and _has(rule.get("apiGroups"), question.group)
        and (_has(resources, resource) or (bool(question.subresource) and f"*/{question.subresource}" in resources))
        and (not names or question.name in names)
    )


def _has(listed: Json, wanted: str) -> bool:
    return bool(listed) and ("*" in listed or wanted in listed)
