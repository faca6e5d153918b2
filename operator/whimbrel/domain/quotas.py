"""Records of what a namespace allows its pods."""

from dataclasses import dataclass

from whimbrel.domain.records import Key
from whimbrel.domain.scheduling import Amounts
from whimbrel.domain.selectors import Requirement


@dataclass(frozen=True, slots=True)
class Quota:
    """A ResourceQuota."""

    key: Key
    uid: str
    hard: Amounts
    used: Amounts
    scopes: tuple[Requirement, ...]
    """`scopes` and `scopeSelector` as requirements; empty: it counts every pod."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A LimitRange: bounds of what one container or pod may ask for."""

    key: Key
    uid: str
    container_minimum: Amounts
    container_maximum: Amounts
    pod_minimum: Amounts
    pod_maximum: Amounts
    container_default_requests: Amounts = ()
    """What a container gets that states none."""
    container_default_limits: Amounts = ()
    container_ratio: Amounts = ()
    """How many times its request a limit may be at most, in thousandths."""
    pod_ratio: Amounts = ()
