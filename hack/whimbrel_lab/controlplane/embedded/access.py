"""Who asks and whether he may: users by bearer token, and an optional authorizer.

Without an authorizer everything is permitted. Members of `system:masters` are never asked about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded.errors import ApiError, forbidden, unauthorized
from whimbrel_lab.controlplane.users import MASTERS, User


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the authorizer; `resource` is the plural without its group."""

    user: User
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str


Authorizer = Callable[[Question], bool]


def authenticate(headers: Mapping[str, str], tokens: Mapping[str, User], nobody: User) -> tuple[User, bool]:
    """The user of a request and whether a token said so; 401 for an unknown token."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        user, by_token = nobody, False
    elif (known := tokens.get(token.strip())) is not None:
        user, by_token = known, True
    else:
        raise unauthorized()
    if impersonated := headers.get("Impersonate-User"):
        if MASTERS not in user.groups:
            text = f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
            raise forbidden("", "users", impersonated, text)
        groups = tuple(each for each in headers.get("Impersonate-Group", "").split(",") if each)
        return User(impersonated, (*groups, "system:authenticated")), True
    return user, by_token


def permitted(authorizer: Authorizer | None, question: Question) -> bool:
    return authorizer is None or MASTERS in question.user.groups or authorizer(question)


def denial(question: Question) -> ApiError:
    """403 in the API server's words."""
    resource = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    where = f'in the namespace "{question.namespace}"' if question.namespace else "at the cluster scope"
    text = (
        f'User "{question.user.name}" cannot {question.verb} resource "{resource}" in API group '
        f'"{question.group}" {where}'
    )
    return forbidden(question.group, question.resource, question.name, text)
