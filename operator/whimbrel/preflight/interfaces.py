"""Interfaces: do the guest's network interfaces come along, and what does the guest notice?

KubeVirt looks at the interface on the pod network alone, in its condition LiveMigratable; secondary networks are nobody's
business (KubeVirt contract §2.1, §2.2). Whether a target is on the same networks, `networks` judges. Called through
`preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from whimbrel.domain.guests import GuestInterface
from whimbrel.domain.records import Condition, Key
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown, PreflightWarning

OF_THE_PLAN = False

KINDS = "network-attachment-definitions.k8s.cni.cncf.io"
SAID_BY_KUBEVIRT = "InterfaceNotLiveMigratable"
_OF_KUBEVIRT = frozenset({"", "masquerade", "bridge", "sriov", "passt", "passtBinding", "macvtap", "slirp"})
_BEHIND_THE_POD = frozenset({"masquerade", "passt", "passtBinding"})


@dataclass(frozen=True, slots=True)
class Demand:
    """The guest's interfaces as far as something is to be said of them; equal for all guests of one template."""

    missing: tuple[str, ...] = ()
    """`namespace/name` of networks that do not exist."""
    unread: bool = False
    """Whether it has secondary networks, and nobody may read which exist."""
    slirp: tuple[str, ...] = ()
    """Names of interfaces."""
    foreign: tuple[tuple[str, str], ...] = ()
    """(interface, plugin) of bindings on secondary networks that are not KubeVirt's own."""
    passed_through: tuple[str, ...] = ()
    """Names of SR-IOV interfaces."""
    renewed: tuple[tuple[str, str], ...] = ()
    """(interface, binding) on the pod network."""


class NetworkAttachmentMissing(PreflightReason):
    """A network of the guest does not exist any more, so no second launcher can start."""

    evidence = where.NETWORKS
    remedy = "Restore the NetworkAttachmentDefinition {needed}, or take the interface off the virtual machine and restart it."


class NetworkAttachmentsUnknown(PreflightUnknown):
    """The guest has secondary networks, and which of them exist may not be read."""

    evidence = where.NETWORKS
    remedy = where.MAY_READ


class BindingNotMigratable(PreflightReason):
    """An interface of the guest is bound in a way that does not come along: user-mode networking lives in its launcher."""

    evidence = where.INSTANCE
    remedy = "Bind the interface with masquerade instead of {found}, then restart the virtual machine."


class BindingUnknown(PreflightUnknown):
    """A plugin binds an interface of the guest to a secondary network, and only the plugin knows whether that comes along."""

    evidence = where.INSTANCE
    remedy = "See what the plugin {found} says of live migration; KubeVirt does not look at secondary networks."


class LinkLoss(PreflightWarning):
    """A network device of the host is the guest's: it is unplugged before the copy and another is plugged at the target."""

    evidence = where.INSTANCE
    remedy = "Expect the guest to have no link on this interface while it moves; a bond with a second one bridges that."


class AddressChanges(PreflightWarning):
    """The guest keeps its own address, but the address of its pod, by which others reach it, is another one afterwards."""

    evidence = where.INSTANCE
    remedy = "Reach it through a Service or a name; connections that are open now break."


class GuestAddressChanges(PreflightWarning):
    """The guest itself has the address of its pod, and at the target that is another one."""

    evidence = where.INSTANCE
    remedy = "Let the guest renew its DHCP lease after the move: until then nobody reaches it."


REASONS = (
    NetworkAttachmentMissing,
    NetworkAttachmentsUnknown,
    BindingNotMigratable,
    BindingUnknown,
    LinkLoss,
    AddressChanges,
    GuestAddressChanges,
)


def demand(candidate: Candidate) -> Demand:
    """What is to be said of the guest's interfaces."""
    instance, snapshot = candidate.instance, candidate.snapshot
    found = _of_template(instance.interfaces)
    if found.slirp and _said(instance.live_migratable):
        found = replace(found, slirp=())
    attached = secondary(instance.interfaces)
    if attached and "networks" in snapshot.unread:
        return replace(found, unread=True)
    missing = tuple(name for name in attached if key_of(name) not in snapshot.networks)
    return replace(found, missing=missing) if missing else found


@lru_cache(maxsize=4096)
def secondary(interfaces: tuple[GuestInterface, ...]) -> tuple[str, ...]:
    """`namespace/name` of the networks beside the pod network, sorted."""
    return tuple(sorted({each.network for each in interfaces if each.network}))


@lru_cache(maxsize=4096)
def _of_template(interfaces: tuple[GuestInterface, ...]) -> Demand:
    """What is to be said of interfaces wherever they are; a thousand guests of one template have the same."""
    return Demand(
        slirp=_names(interfaces, "slirp"),
        foreign=tuple(
            (each.name, each.binding) for each in interfaces if each.network and each.binding not in _OF_KUBEVIRT
        ),
        passed_through=_names(interfaces, "sriov"),
        renewed=tuple((each.name, each.binding) for each in interfaces if not each.network),
    )


def key_of(network: str) -> Key:
    """Key of a network by its `namespace/name`."""
    namespace, _, name = network.partition("/")
    return Key(namespace, name)


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason that lies in the guest's interfaces, and what it will notice."""
    for network in demand.missing:
        yield NetworkAttachmentMissing(field=f"NetworkAttachmentDefinition {network}", found="absent", needed=network)
    if demand.unread:
        yield NetworkAttachmentsUnknown(field=KINDS, found="not readable", needed=KINDS)
    for name in demand.slirp:
        yield BindingNotMigratable(field=_field(name), found="slirp", needed="masquerade")
    for name, binding in demand.foreign:
        yield BindingUnknown(field=_field(name), found=binding, needed="a binding known to come along")
    for name in demand.passed_through:
        yield LinkLoss(field=_field(name), found="sriov", needed="no device of the host")
    for name, binding in demand.renewed:
        if binding in _BEHIND_THE_POD:
            yield AddressChanges(field=_field(name), found=f"{binding} on the pod network", needed="nothing")
        elif binding == "bridge":
            yield GuestAddressChanges(field=_field(name), found="bridge on the pod network", needed="masquerade")


def _said(verdict: Condition | None) -> bool:
    """Whether KubeVirt itself names the interfaces."""
    return verdict is not None and verdict.status == "False" and verdict.reason == SAID_BY_KUBEVIRT


def _names(interfaces: tuple[GuestInterface, ...], binding: str) -> tuple[str, ...]:
    return tuple(each.name for each in interfaces if each.binding == binding)


def _field(interface: str) -> str:
    return f"spec.domain.devices.interfaces[{interface}]"
