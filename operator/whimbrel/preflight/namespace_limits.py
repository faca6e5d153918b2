"""Namespace limits: will the guest's namespace admit one more launcher, and what comes with it?

While a guest moves it has two launchers, and both count: KubeVirt's create of the second is refused where a ResourceQuota or
a LimitRange says so, and the migration waits without a word. So it is with the pod that holds hotplugged volumes beside it, and
with the second claim for the state of vTPM or EFI (KubeVirt contract §6.6). Called through `preflight.FAMILIES`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from whimbrel.domain.guests import PERSISTENT_STATE
from whimbrel.domain.quantities import MIB, written
from whimbrel.domain.quotas import Limits, Quota
from whimbrel.domain.records import Key
from whimbrel.domain.scheduling import Admission, Amounts, Container
from whimbrel.domain.selectors import Requirement
from whimbrel.domain.storage import Claim
from whimbrel.preflight import where
from whimbrel.preflight.disks import SHARED_MODE
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown

OF_THE_PLAN = False

_KINDS = (("quotas", "resourcequotas"), ("limits", "limitranges"))
STATE_CLAIM_BYTES = 10 * MIB
"""What KubeVirt asks for in the claim that it makes for the state of vTPM or EFI."""
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_MUST_BE_STATED = {
    "cpu": ("cpu", False),
    "requests.cpu": ("cpu", False),
    "limits.cpu": ("cpu", True),
    "memory": ("memory", False),
    "requests.memory": ("memory", False),
    "limits.memory": ("memory", True),
}
"""Under a quota for these every container must state the resource: its request, or its limit."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A launcher and the rules of its namespace."""

    launcher: Admission | None = None
    """None where it is not known."""
    holder: Admission | None = None
    """The pod beside it that holds hotplugged volumes."""
    state_class: str | None = None
    """Storage class of the claim that is made for its state of vTPM or EFI; None: none is made."""
    limits: tuple[Limits, ...] = ()
    quotas: tuple[Quota, ...] = ()
    coming: tuple[Admission, ...] = ()
    """Launchers that will be made here beside."""
    passing: tuple[Admission, ...] = ()
    """One launcher of each guest that moves: it will be gone by and by."""
    unread: tuple[str, ...] = ()
    """Kinds that may not be read."""


NOTHING = Demand()


class QuotaExceeded(PreflightReason):
    """A ResourceQuota has no room for the second launcher that the guest has while it moves, or for what comes with it."""

    evidence = where.NAMESPACE_LIMITS
    remedy = "Raise {field} by what is lacking (needed {needed}: {found}), or free as much in the namespace."


class QuotaTakenByMoves(PreflightReason):
    """A ResourceQuota has no room for the second launcher as long as other guests of the namespace move."""

    evidence = where.NAMESPACE_LIMITS
    transient = True
    remedy = "Wait until other moves in the namespace have ended, or raise {field} (needed {needed}: {found})."


class LimitRangeViolated(PreflightReason):
    """A LimitRange of the namespace forbids a launcher like the guest's; it may be younger than the guest."""

    evidence = where.NAMESPACE_LIMITS
    remedy = (
        "Change {field}: it is {found}, and the launcher comes with {needed}. Or change the resources of the virtual machine "
        "and restart it."
    )


class NamespaceLimitsUnknown(PreflightUnknown):
    """Quotas or limit ranges of the guest's namespace may not be read, so nothing can be said of them."""

    evidence = where.RIGHTS
    remedy = where.MAY_READ


REASONS = (QuotaExceeded, QuotaTakenByMoves, LimitRangeViolated, NamespaceLimitsUnknown)


def demand(candidate: Candidate) -> Demand:
    """The launcher that the guest runs in, for that which is to be made. Where it is not known, claims alone are judged."""
    launcher = candidate.template.admission if candidate.template is not None else None
    ledger, namespace, state_class = candidate.ledger, candidate.instance.key.namespace, _state_class(candidate)
    if launcher is None and state_class is None:
        return NOTHING
    holder = candidate.holder.admission if candidate.holder is not None and launcher is not None else None
    limits, quotas = ledger.limits(namespace), ledger.quotas(namespace)
    unread = tuple(kind for field, kind in _KINDS if field in candidate.snapshot.unread)
    if not limits and not quotas:
        return Demand(unread=unread) if unread else NOTHING
    if not quotas:
        return Demand(launcher, holder, limits=limits, unread=unread)
    coming, passing = ledger.launchers_to_come(namespace), ledger.launchers_to_go(namespace)
    return Demand(launcher, holder, state_class, limits, quotas, coming, passing, unread)


def _state_class(candidate: Candidate) -> str | None:
    instance = candidate.instance
    if not instance.hardware.persistent_state:
        return None
    names = (each.claim for each in instance.volumes if each.kind == PERSISTENT_STATE)
    found = (candidate.snapshot.claims.get(Key(instance.key.namespace, name)) for name in names)
    return next((each.storage_class for each in found if each is not None and is_copied(each)), None)


def is_copied(state: Claim) -> bool:
    """Whether the target gets a claim of its own for the state of vTPM or EFI."""
    return SHARED_MODE not in state.access_modes


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every bound that a second launcher would break."""
    for kind in demand.unread:
        yield NamespaceLimitsUnknown(field=kind, found="may not be read", needed=kind)
    wanted = (each for each in (demand.launcher, demand.holder) if each is not None)
    pods = [_with_defaults(each, demand.limits) for each in wanted]
    for limits in demand.limits:
        found = (reason for pod in pods for reason in _against_limits(pod, limits))
        yield from {(reason.field, reason.found): reason for reason in found}.values()
    for quota in demand.quotas:
        yield from _against_quota([pod for pod in pods if _covers(quota, pod)], quota, demand)


def _against_quota(pods: Iterable[Admission], quota: Quota, demand: Demand) -> Iterator[PreflightReason]:
    hard, used = dict(quota.hard), Counter(dict(quota.used))
    asked = Counter(_usage_of_state(demand.state_class) if demand.state_class is not None and not quota.scopes else {})
    for pod in pods:
        asked.update(_usage(pod))
        for resource in sorted(hard.keys() & _MUST_BE_STATED.keys()) if pod.whole is None else ():
            name, by_limit = _MUST_BE_STATED[resource]
            if any(name not in dict(each.limits if by_limit else each.requests) for each in pod.containers):
                yield QuotaExceeded(
                    field=_field(quota, resource),
                    found="a container of the launcher states none",
                    needed="stated by each",
                )
    for other in demand.coming:
        if _covers(quota, with_defaults := _with_defaults(other, demand.limits)):
            used.update(_usage(with_defaults))
    passing: Counter[str] = Counter()
    for other in demand.passing:
        if _covers(quota, with_defaults := _with_defaults(other, demand.limits)):
            passing.update(_usage(with_defaults))
    for resource, amount in sorted(asked.items()):
        free = hard[resource] - used[resource] if resource in hard else amount
        if amount > free:
            reason = QuotaTakenByMoves if amount <= free + passing[resource] else QuotaExceeded
            yield reason(
                field=_field(quota, resource),
                found=f"{_amount(resource, used[resource])} of {_amount(resource, hard[resource])} used",
                needed=f"{_amount(resource, amount)} more",
            )


def _field(quota: Quota, resource: str) -> str:
    return f"ResourceQuota {quota.key.name}: spec.hard[{resource}]"


def _amount(resource: str, amount: int) -> str:
    """As it would be written in the quota or the limit range."""
    name = resource.rpartition("/")[2].removeprefix("requests.").removeprefix("limits.")
    if name == "cpu":
        return f"{amount}m"
    return written(amount) if name in _STANDARD | {"storage"} or name.startswith("hugepages-") else str(amount)


def _usage_of_state(storage_class: str) -> dict[str, int]:
    """What a quota without scopes counts of the second claim for the state of vTPM or EFI."""
    by_class = f"{storage_class}.storageclass.storage.k8s.io/"
    found = {"persistentvolumeclaims": 1, "count/persistentvolumeclaims": 1, "requests.storage": STATE_CLAIM_BYTES}
    if storage_class:
        found |= {f"{by_class}persistentvolumeclaims": 1, f"{by_class}requests.storage": STATE_CLAIM_BYTES}
    return found


def _usage(launcher: Admission) -> dict[str, int]:
    """What a quota counts of a launcher."""
    found = {"pods": 1, "count/pods": 1}
    for name, amount in _total(launcher, _requests, launcher.overhead).items():
        if name in _STANDARD or name.startswith("hugepages-"):
            found[name] = amount
        found[f"requests.{name}"] = amount
    limits = _total(launcher, _limits, ())
    for name in limits.keys() & _STANDARD:
        found[f"limits.{name}"] = limits[name] + dict(launcher.overhead).get(name, 0)
    return {name: amount for name, amount in found.items() if amount}


def _covers(quota: Quota, launcher: Admission) -> bool:
    """Whether all scopes of a quota hold for the launcher."""
    return all(_in_scope(scope, launcher) for scope in quota.scopes)


def _in_scope(scope: Requirement, launcher: Admission) -> bool:
    match scope.key:
        case "Terminating":
            return launcher.ends
        case "NotTerminating":
            return not launcher.ends
        case "BestEffort":
            return _is_best_effort(launcher)
        case "NotBestEffort":
            return not _is_best_effort(launcher)
        case "PriorityClass":
            return scope.holds({scope.key: launcher.priority_class} if launcher.priority_class else {})
        case "CrossNamespacePodAffinity":
            return launcher.looks_across_namespaces
        case _:
            return False


def _is_best_effort(launcher: Admission) -> bool:
    stated = (*launcher.containers, *((launcher.whole,) if launcher.whole is not None else ()))
    return not any(
        amount and name in ("cpu", "memory") for each in stated for name, amount in (*each.requests, *each.limits)
    )


def _with_defaults(launcher: Admission, limits: Iterable[Limits]) -> Admission:
    """The launcher as the namespace's limit ranges complete it when it is made."""
    for each in limits:
        if each.container_default_requests or each.container_default_limits:
            containers = tuple(_completed(container, each) for container in launcher.containers)
            launcher = replace(launcher, containers=containers)
    return launcher


def _completed(container: Container, limits: Limits) -> Container:
    return replace(
        container,
        requests=tuple(sorted((dict(limits.container_default_requests) | dict(container.requests)).items())),
        limits=tuple(sorted((dict(limits.container_default_limits) | dict(container.limits)).items())),
    )


def _against_limits(launcher: Admission, limits: Limits) -> Iterator[PreflightReason]:
    told = set()
    parts: list[tuple[str, Mapping[str, int], Mapping[str, int], Amounts, Amounts, Amounts]] = [
        (
            "Container", dict(each.requests), dict(each.limits),
            limits.container_minimum, limits.container_maximum, limits.container_ratio,
        )
        for each in launcher.containers
    ]  # fmt: skip
    whole = _total(launcher, _requests, ()), _total(launcher, _limits, ())
    parts.append(("Pod", *whole, limits.pod_minimum, limits.pod_maximum, limits.pod_ratio))
    for kind, requests, bounds, minimum, maximum, ratio in parts:
        found = [
            *(_below(name, amount, requests, bounds) for name, amount in minimum),
            *(_above(name, amount, requests, bounds) for name, amount in maximum),
            *(_out_of_ratio(name, amount, requests, bounds) for name, amount in ratio),
            *(
                ("default", name, _amount(name, bounds[name]), f"one of {_amount(name, amount)}, which is requested")
                for name, amount in sorted(requests.items())
                if kind == "Container" and amount > bounds.get(name, amount)
            ),
        ]
        for each in found:
            if each is not None and (kind, each) not in told:
                told.add((kind, each))
                bound, name, has, needs = each
                field = f"LimitRange {limits.key.name}: spec.limits[{kind}].{bound}[{name}]"
                yield LimitRangeViolated(field=field, found=has, needed=needs)


_Breach = tuple[str, str, str, str]
"""Which bound, of which resource, what it says, what the launcher needs."""


def _below(name: str, amount: int, requests: Mapping[str, int], limits: Mapping[str, int]) -> _Breach | None:
    request = requests.get(name)
    least = min(request if request is not None else 0, limits.get(name, amount))
    if request is None or least < amount:
        return "min", name, _amount(name, amount), "no request" if request is None else f"one of {_amount(name, least)}"
    return None


def _above(name: str, amount: int, requests: Mapping[str, int], limits: Mapping[str, int]) -> _Breach | None:
    most = max(limits.get(name, 0), requests.get(name, 0))
    if name not in limits or most > amount:
        return "max", name, _amount(name, amount), "no limit" if name not in limits else f"one of {_amount(name, most)}"
    return None


def _out_of_ratio(
    name: str, thousandths: int, requests: Mapping[str, int], limits: Mapping[str, int]
) -> _Breach | None:
    request, limit = requests.get(name, 0), limits.get(name, 0)
    if not request or not limit or limit * 1000 > thousandths * request:
        return "maxLimitRequestRatio", name, f"{thousandths / 1000:g}", _ratio(name, request, limit)
    return None


def _ratio(name: str, request: int, limit: int) -> str:
    if not request or not limit:
        return "no limit" if request else "no request"
    return f"one of {limit / request:.3g} ({_amount(name, limit)} for {_amount(name, request)})"


def _requests(container: Container) -> Amounts:
    return container.requests


def _limits(container: Container) -> Amounts:
    return container.limits


def _total(launcher: Admission, stated: Callable[[Container], Amounts], overhead: Amounts) -> dict[str, int]:
    """What the pod comes to: what runs together adds up, what runs before counts with its maximum."""
    running: Counter[str] = Counter()
    staying: Counter[str] = Counter()
    starting: Counter[str] = Counter()
    for container in launcher.containers:
        own = Counter(dict(stated(container)))
        if container.stays or not container.starts:
            running.update(own)
        if container.stays:
            staying.update(own)
        if container.starts:
            needed = staying.copy()
            if not container.stays:
                needed.update(own)
            starting |= needed
    total = {name: max(running[name], starting[name]) for name in running.keys() | starting.keys()}
    if launcher.whole is not None:
        total |= dict(stated(launcher.whole))
    for name, amount in overhead:
        total[name] = total.get(name, 0) + amount
    return total
