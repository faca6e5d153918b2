"""CPU: can that host run this guest's processor?

KubeVirt turns all of this into node selectors of the target pod, and the scheduler then refuses in silence what we refuse
in words (KubeVirt contract §6.3, §10). A guest with `host-model` needs what its *source node* is labelled with; where it
was moved before, KubeVirt repeats the selectors of its first node instead, which its pod has and the records have not.
Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.text import listed
from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "processor"

ARCHITECTURE_LABEL = "kubernetes.io/arch"
MODEL = "cpu-model.node.kubevirt.io"
MIGRATION_MODEL = "cpu-model-migration.node.kubevirt.io"
FEATURE = "cpu-feature.node.kubevirt.io"
VENDOR = "cpu-vendor.node.kubevirt.io"
HOST_MODEL = "host-model-cpu.node.kubevirt.io"
HOST_MODEL_FEATURE = "host-model-required-features.node.kubevirt.io"
OBSOLETE_LABEL = "node-labeller.kubevirt.io/obsolete-host-model"

HOST_PASSTHROUGH = "host-passthrough"

_FAMILIES = frozenset({MODEL, MIGRATION_MODEL, FEATURE, VENDOR, HOST_MODEL, HOST_MODEL_FEATURE})
NEEDED_POLICIES = frozenset({"", "require"})
_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest's processor needs of a host; equal for all guests of one class."""

    architecture: str
    model: str
    """A named model, or the source's model for `host-model`; empty: host-passthrough."""
    by_host_model: bool
    """Whether `model` and `features` come from the source node, so that KubeVirt asks for migration models."""
    features: frozenset[str]
    vendors: frozenset[str]
    """Of the source node: KubeVirt copies them, whatever the model."""
    unlabelled: bool = False
    """Whether its model is that of a source node which does not tell it."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What a node's labels say of its processor; equal for all nodes of one class of hardware."""

    architecture: str
    models: frozenset[str]
    migration_models: frozenset[str]
    features: frozenset[str]
    vendors: frozenset[str]
    host_models: frozenset[str]
    host_model_features: frozenset[str]
    obsolete: bool


class ArchitectureMismatch(PreflightReason):
    """The node has another processor architecture than the guest."""

    evidence = where.NODE
    remedy = "Choose targets with the architecture {needed}."


class CpuModelMissing(PreflightReason):
    """The guest runs with a CPU model that the target does not offer."""

    evidence = where.NODE
    remedy = "Move to a node that offers {needed}, or give the virtual machine a model that both hosts offer."


class HostModelUnlabelled(PreflightReason):
    """The guest runs with its host's model, and the node has no label that tells KubeVirt which one that is."""

    evidence = where.SOURCE_NODE
    remedy = (
        "See to virt-handler's node labeller at the guest's node, which writes {field}; or give the virtual machine a named "
        "CPU model and restart it."
    )


class CpuFeatureMissing(PreflightReason):
    """The guest needs a CPU feature that the target does not offer."""

    evidence = where.NODE
    remedy = "Move to a node that offers {needed}, or give the virtual machine a CPU model that both hosts offer."


class CpuVendorMismatch(PreflightReason):
    """Source and target have processors of different vendors."""

    evidence = where.NODE
    remedy = "Choose targets with processors by {needed}."


class HostModelObsolete(PreflightReason):
    """The node's own CPU model is obsolete, and KubeVirt sends no guest with host-model there."""

    evidence = where.NODE
    remedy = "Choose other targets, or give the virtual machine a named CPU model."


REASONS = (
    ArchitectureMismatch,
    CpuModelMissing,
    HostModelUnlabelled,
    CpuFeatureMissing,
    CpuVendorMismatch,
    HostModelObsolete,
)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What KubeVirt will ask of the target for this guest. Of a source that is not known nothing is asked."""
    cpu = candidate.instance.cpu
    architecture = candidate.instance.architecture or (home.architecture if home else "")
    named = model_of(candidate.instance, candidate.snapshot, architecture)
    features = frozenset(name for name, policy in cpu.features if policy in NEEDED_POLICIES)
    by_host_model = named == "host-model"
    if by_host_model:
        named = min(home.host_models, default="") if home else ""
        required = home.host_model_features if home else frozenset()
        features = features | required if features else required
    elif named == HOST_PASSTHROUGH:
        named = ""
    return Demand(
        architecture=architecture,
        model=named,
        by_host_model=by_host_model,
        features=features,
        vendors=home.vendors if home else frozenset(),
        unlabelled=by_host_model and home is not None and not home.host_models and not _moved_before(candidate),
    )


def _moved_before(candidate: Candidate) -> bool:
    """Whether its launcher carries what a host-model needs: then KubeVirt repeats that, and reads no label of its node."""
    launcher = candidate.template
    asked = launcher.scheduling.node_selector if launcher is not None and launcher.scheduling is not None else ()
    return any(key.startswith((MIGRATION_MODEL, FEATURE)) for key, _ in asked)


def model_of(instance: Instance, snapshot: Snapshot, architecture: str) -> str:
    """The guest's CPU model: its own, else the cluster's default, else KubeVirt's for the architecture."""
    return (
        instance.cpu.model
        or (snapshot.kubevirt.cpu_model if snapshot.kubevirt is not None else "")
        or (HOST_PASSTHROUGH if architecture == "arm64" else "host-model")
    )


def host_models(host: Host) -> frozenset[str]:
    """What KubeVirt calls the node's own processor: one name, where it is labelled."""
    prefix = f"{HOST_MODEL}/"
    return frozenset(
        label.removeprefix(prefix)
        for label, value in host.node.labels.items()
        if value == "true" and label.startswith(prefix)
    )


def supply(host: Host, terms: Terms) -> Supply:
    """What the node's labels say."""
    labels = host.node.labels
    named = _named(labels)
    return Supply(
        architecture=labels.get(ARCHITECTURE_LABEL, ""),
        models=frozenset(named[MODEL]),
        migration_models=frozenset(named[MIGRATION_MODEL]),
        features=frozenset(named[FEATURE]),
        vendors=frozenset(named[VENDOR]),
        host_models=frozenset(named[HOST_MODEL]),
        host_model_features=frozenset(named[HOST_MODEL_FEATURE]),
        obsolete=OBSOLETE_LABEL in labels,
    )


def _named(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """By prefix the names that the node's labels declare true."""
    named: dict[str, list[str]] = {family: [] for family in _FAMILIES}
    for label, value in labels.items():
        family, _, name = label.partition("/")
        if value == "true" and family in named:
            named[family].append(name)
    return named


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that can run the guest's processor."""
    return lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against the processor."""
    if demand.architecture and demand.architecture != supply.architecture:
        yield ArchitectureMismatch(
            field=ARCHITECTURE_LABEL, found=supply.architecture or "no label", needed=demand.architecture
        )
    offered = supply.migration_models if demand.by_host_model else supply.models
    if demand.model and demand.model not in offered:
        yield CpuModelMissing(
            field=f"{MIGRATION_MODEL if demand.by_host_model else MODEL}/{demand.model}",
            found=listed(sorted(offered), _MOST_SHOWN) or "no models",
            needed=demand.model,
        )
    if demand.unlabelled:
        yield HostModelUnlabelled(field=f"{HOST_MODEL}/…", found="absent at the guest's node", needed="one")
    for feature in sorted(demand.features - supply.features):
        yield CpuFeatureMissing(field=f"{FEATURE}/{feature}", found="absent", needed=feature)
    if not demand.vendors <= supply.vendors:
        yield CpuVendorMismatch(
            field=VENDOR,
            found=listed(sorted(supply.vendors), _MOST_SHOWN) or "no label",
            needed=listed(sorted(demand.vendors), _MOST_SHOWN),
        )
    if demand.by_host_model and supply.obsolete:
        yield HostModelObsolete(field=OBSOLETE_LABEL, found="present", needed="absent")
