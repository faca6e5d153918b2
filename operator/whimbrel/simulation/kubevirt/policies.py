"""The configuration of a migration: the cluster's, with at most one MigrationPolicy laid over it.

Resolved once, at the hand-off, by `migrations`; what an instance then shows as `migrationConfiguration` is made here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.releases import CURRENT, Release, release
from whimbrel.simulation.kubevirt.values import Object, name, spec, status

MAX_DOWNTIME_MS = 900
STALL_DETECTION = "MigrationStallDetection"
"""Alpha gate: the launcher watches by the stall detector, and policies may say maxDowntimeMs and how it is to detect."""
_DEFAULTS: Object = {
    "allowAutoConverge": False,
    "allowPostCopy": False,
    "bandwidthPerMigration": "0",
    "completionTimeoutPerGiB": 150,
    "maxDowntimeMs": MAX_DOWNTIME_MS,
    "nodeDrainTaintKey": "kubevirt.io/drain",
    "parallelMigrationsPerCluster": 5,
    "parallelOutboundMigrationsPerNode": 2,
    "progressTimeout": 150,
    "unsafeMigrationOverride": False,
    "utilityVolumesTimeout": 150,
}
_POLICY_FIELDS = (
    "allowAutoConverge",
    "allowPostCopy",
    "completionTimeoutPerGiB",
    "maxDowntimeMs",
    "experimental",
)

GENERALLY_AVAILABLE = frozenset({"MigrationPriorityQueue", "VolumeMigration", "VolumesUpdateStrategy"})
BETA = frozenset({"VmiMemoryOverheadReport", "LibvirtHooksServerAndClient", "OptOutRoleAggregation"})


def observed_release(kubevirt: Mapping[str, Any] | None) -> Release:
    """The release that the KubeVirt object says it runs; the newest when it says nothing."""
    return release(str(status(kubevirt or {}).get("observedKubeVirtVersion") or "")) if kubevirt else CURRENT


def cluster_configuration(kubevirt: Mapping[str, Any] | None) -> Object:
    """`spec.configuration.migrations` with KubeVirt's defaults, as every decision reads it."""
    observed = observed_release(kubevirt)
    stated = (spec(kubevirt or {}).get("configuration") or {}).get("migrations") or {}
    resolved = {**_DEFAULTS, "completionTimeoutPerGiB": observed.completion_timeout_per_gib}
    resolved.update({key: each for key, each in stated.items() if each is not None})
    if observed.suspends:
        resolved.setdefault("allowWorkloadDisruption", resolved["allowPostCopy"])
    else:
        resolved.pop("allowWorkloadDisruption", None)
    if not observed.limits_downtime:
        resolved.pop("maxDowntimeMs")
    resolved["bandwidthPerMigration"] = quantities.canonical(resolved["bandwidthPerMigration"])
    return resolved


def gate_enabled(kubevirt: Mapping[str, Any] | None, gate: str) -> bool:
    """Whether a feature gate is on: generally available, listed, not disabled, or beta in a release that turns those on."""
    developer = (spec(kubevirt or {}).get("configuration") or {}).get("developerConfiguration") or {}
    observed = observed_release(kubevirt)
    if gate in GENERALLY_AVAILABLE and observed.beta_gates_on:
        return True
    if gate in (developer.get("featureGates") or ()):
        return True
    if gate in (developer.get("disabledFeatureGates") or ()):
        return False
    return gate in BETA and observed.beta_gates_on


def matching_policy(
    policies: Iterable[Mapping[str, Any]],
    instance_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
) -> Mapping[str, Any] | None:
    """The one policy that applies: most matched pairs, then most instance pairs, then the first name."""
    best: tuple[int, int, str] | None = None
    chosen: Mapping[str, Any] | None = None
    for policy in policies:
        selectors = spec(policy).get("selectors")
        if selectors is None:
            continue
        of_instance = selectors.get("virtualMachineInstanceSelector") or {}
        of_namespace = selectors.get("namespaceSelector") or {}
        if not (_matches(of_instance, instance_labels) and _matches(of_namespace, namespace_labels)):
            continue
        rank = (-len(of_instance) - len(of_namespace), -len(of_instance), name(policy))
        if best is None or rank < best:
            best, chosen = rank, policy
    return chosen


def resolve(
    cluster: Mapping[str, Any],
    policies: Iterable[Mapping[str, Any]],
    instance_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
) -> tuple[str, Object]:
    """Name of the policy that applies (or empty) and the effective configuration.

    `cluster` comes from `cluster_configuration`. A policy that sets allowPostCopy and not allowWorkloadDisruption sets both.
    """
    effective = dict(cluster)
    policy = matching_policy(policies, instance_labels, namespace_labels)
    if policy is None:
        return "", effective
    stated = spec(policy)
    effective.update({key: stated[key] for key in _POLICY_FIELDS if stated.get(key) is not None})
    if stated.get("bandwidthPerMigration") is not None:
        effective["bandwidthPerMigration"] = quantities.canonical(stated["bandwidthPerMigration"])
    if "allowWorkloadDisruption" in cluster:
        if stated.get("allowWorkloadDisruption") is not None:
            effective["allowWorkloadDisruption"] = stated["allowWorkloadDisruption"]
        elif stated.get("allowPostCopy") is not None:
            effective["allowWorkloadDisruption"] = stated["allowPostCopy"]
    return name(policy), effective


def _matches(pairs: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return all(found.get(key) == wanted for key, wanted in pairs.items())
