"""Who talks to an API server, and how an identity reaches it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """A requester as authentication sees him."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ADMINISTRATOR = User("kubernetes-admin", (MASTERS, "system:authenticated"))


def service_account(namespace: str, name: str) -> User:
    """The user that a token of this service account stands for."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


@dataclass(frozen=True)
class Access:
    """An API server's address as one identity uses it. Without a token it is the embedded server's administrator."""

    url: str
    token: str = ""
    authority: str = ""
    """PEM of the CA that signed the server's certificate; empty for plain HTTP."""

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """What a client verifies the server with."""
        return ssl.create_default_context(cadata=self.authority) if self.authority else None
