"""What a lab needs of a control plane, embedded or real.

`Lab`, the KubeVirt stand-in and the tests that hold the two to each other know only this.
"""

import base64
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from whimbrel_lab.certs import private_file
from whimbrel_lab.controlplane.admission import Webhook
from whimbrel_lab.controlplane.counters import Counters
from whimbrel_lab.controlplane.users import Access, User
from whimbrel_lab.errors import LabError

Object = dict[str, Any]
CONTEXTS = ("embedded", "real", "lab")
"""The contexts that a lab's kubeconfig may name."""
Observer = Callable[[str, Object | None, Object | None], None]
"""Called with plural.group, the object before and the object after a change."""


class View(Protocol):
    """The present objects, to be looked at without a request. `resource` is plural.group."""

    def read(self, resource: str, name: str, namespace: str = "") -> Object | None:
        """One object, None where there is none."""

    def items(self, resource: str, namespace: str = "") -> Iterator[Object]:
        """All objects of a resource, of one namespace or of all."""

    def observe(self, observer: Observer) -> None:
        """Call the observer after every change, synchronously."""

    def hear(self, document: Object) -> None:
        """What a write of the lab's own was answered with: to be seen at once."""

    @property
    def changes(self) -> int:
        """Grows with every change that was seen."""


class ControlPlane(Protocol):
    """An API server and what belongs to it."""

    name: str
    """`embedded` or `real`."""
    scalable_clock: bool
    """Whether its times follow the lab's clock, so that the lab may run faster than the wall."""
    evaluates_rules: bool
    """Whether it evaluates CEL rules of definitions."""
    own_scheduler: bool
    """Whether it binds pods by itself."""

    async def start(self) -> None:
        """Come up; returns when it serves."""

    async def stop(self) -> None:
        """Take down all that `start` began; safe to call twice."""

    async def look(self) -> None:
        """Begin to see, once the lab's kinds are served: from now on `view` tells of every change."""

    @property
    def url(self) -> str:
        """Where the API server listens."""

    @property
    def view(self) -> View:
        """The present objects."""

    @property
    def counters(self) -> Counters:
        """Requests by client, verb and resource."""

    def access(self, user: User | None = None) -> Access:
        """How an identity of the lab reaches it; without one the administrator."""

    async def account(self, namespace: str, name: str) -> Access:
        """A token of a service account, which on a real server must exist."""

    async def load(self, documents: Iterable[Object]) -> None:
        """Create the objects or replace those that exist, as the administrator; definitions are served on return."""

    async def seed(self, document: Object) -> Object:
        """Create one object as it is, its status included, and answer it as stored; before any webhook is registered."""

    async def register(self, webhooks: Sequence[Webhook]) -> Callable[[], Awaitable[None]]:
        """Call these webhooks from now on; returns how to take them away."""


def write_kubeconfig(path: Path, access: Access, namespace: str = "default", name: str = "lab") -> Path:
    """A kubeconfig for one identity; only its owner may read it."""
    cluster: Object = {"server": access.url}
    if access.authority:
        cluster["certificate-authority-data"] = base64.b64encode(access.authority.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": access.token} if access.token else {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    return private_file(path, yaml.safe_dump(document, sort_keys=False).encode())


def check_kubeconfig_is_ours(path: Path) -> None:
    """LabError where a file is in the way that no lab wrote: it may be somebody's only way to a cluster."""
    if not path.exists():
        return
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict) or found.get("current-context") not in CONTEXTS:
        raise LabError(
            f"{path} is there already and is not a lab's kubeconfig. Name another file, or move this one away."
        )
