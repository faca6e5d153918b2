"""MigrationPolicies: how a wanted configuration reaches KubeVirt, and what KubeVirt will resolve.

Source: KubeVirt's policy matching, reference contract: one policy applies, most matched pairs win, then more instance
pairs, then the smallest name; the cluster's configuration fills what the policy leaves out.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from whimbrel.api.ladder import Compression
from whimbrel.api.virtual_machine_move import MOST_LABEL_PAIRS, KubeVirtConfiguration
from whimbrel.domain import naming
from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import Capabilities, MigrationConfiguration, Policy
from whimbrel.domain.resources import MIGRATION_POLICIES

MOST_POLICIES = 50
"""Of ours, in the cluster."""
_KUBEVIRTS_WORD = {Compression.ZSTD: "zstd"}


def label_pairs_needed(policies: Iterable[Policy]) -> int:
    """How many reserved label pairs beat every foreign policy: one more than the most pairs that any of them has.

    Within what an instance can be burdened with: what a policy with more pairs permits is looked at after the hand-off.
    """
    most = max((len(p.instance_pairs or ()) + len(p.namespace_pairs or ()) for p in policies if not p.ours), default=0)
    return min(1 + most, MOST_LABEL_PAIRS)


def resolve(
    cluster: MigrationConfiguration,
    policies: Iterable[Policy],
    instance_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
) -> MigrationConfiguration:
    """The configuration that KubeVirt would give a migration of an instance with these labels now."""

    def score(policy: Policy) -> tuple[int, int] | None:
        instance_pairs, namespace_pairs = policy.instance_pairs or {}, policy.namespace_pairs or {}
        if policy.instance_pairs is None and policy.namespace_pairs is None:
            return None
        if any(instance_labels.get(k) != v for k, v in instance_pairs.items()):
            return None
        if any(namespace_labels.get(k) != v for k, v in namespace_pairs.items()):
            return None
        return len(instance_pairs) + len(namespace_pairs), len(instance_pairs)

    ranked = sorted(
        ((points, policy) for policy in policies if (points := score(policy)) is not None),
        key=lambda item: (-item[0][0], -item[0][1], item[1].key.name),
    )
    return overlay(cluster, ranked[0][1].configuration) if ranked else cluster


def overlay(cluster: MigrationConfiguration, policy: MigrationConfiguration) -> MigrationConfiguration:
    """The policy's stated fields over the cluster's; disruption follows post-copy where only that is stated."""

    def pick(name: str) -> Any:
        stated = getattr(policy, name)
        return getattr(cluster, name) if stated is None else stated

    disruption = policy.allow_workload_disruption
    if disruption is None and policy.allow_post_copy is not None:
        disruption = policy.allow_post_copy
    return MigrationConfiguration(
        bandwidth_bytes_per_second=pick("bandwidth_bytes_per_second"),
        completion_timeout_per_gib=pick("completion_timeout_per_gib"),
        allow_auto_converge=pick("allow_auto_converge"),
        allow_post_copy=pick("allow_post_copy"),
        allow_workload_disruption=cluster.allow_workload_disruption if disruption is None else disruption,
        progress_timeout_s=cluster.progress_timeout_s,
        max_downtime_ms=pick("max_downtime_ms"),
        stall_window_s=pick("stall_window_s"),
        compression=pick("compression"),
    )


def is_wanted(wanted: KubeVirtConfiguration, effective: MigrationConfiguration) -> bool:
    """Whether the effective configuration is the wanted one in every respect; of what is not wanted in so many words anything
    will do: it acts on nothing where stall detection is off, and compression does the guest no harm.
    """
    return (
        (effective.bandwidth_bytes_per_second or 0) == wanted.bandwidth_bytes_per_second
        and (effective.completion_timeout_per_gib or 0) == wanted.completion_timeout_per_gib
        and bool(effective.allow_auto_converge) == wanted.allow_auto_converge
        and bool(effective.allow_post_copy) == wanted.allow_post_copy
        and bool(effective.allow_workload_disruption) == wanted.allow_workload_disruption
        and wanted.max_downtime_ms in (None, effective.max_downtime_ms)
        and wanted.stall_window_seconds in (None, effective.stall_window_s)
        and (wanted.compression is None or effective.compression == _KUBEVIRTS_WORD[wanted.compression])
    )


def policy_name(wanted: KubeVirtConfiguration, label_pairs: int) -> str:
    """Name of our policy for a configuration: its hash, which includes the number of label pairs."""
    return naming.policy_name(json.dumps(wanted.to_json(), sort_keys=True), label_pairs)


def policy_labels(name: str, label_pairs: int) -> dict[str, str]:
    """The reserved label pairs that attach a policy to an instance."""
    return {naming.LABEL_POLICY.format(i): name for i in range(label_pairs)}


def stated_fields(wanted: KubeVirtConfiguration) -> dict[str, Any]:
    """What a policy of ours says, by field; a member of `experimental` under its path."""
    return {
        "bandwidthPerMigration": _mib_quantity(wanted.bandwidth_bytes_per_second),
        "completionTimeoutPerGiB": wanted.completion_timeout_per_gib,
        "allowAutoConverge": wanted.allow_auto_converge,
        "allowPostCopy": wanted.allow_post_copy,
        "allowWorkloadDisruption": wanted.allow_workload_disruption,
        **({} if wanted.max_downtime_ms is None else {"maxDowntimeMs": wanted.max_downtime_ms}),
        **(
            {}
            if wanted.stall_window_seconds is None
            else {"experimental.stallDetector": {"stallProgressTimeout": wanted.stall_window_seconds}}
        ),
        **({} if wanted.compression is None else {"experimental.compression": _KUBEVIRTS_WORD[wanted.compression]}),
    }


def policy_body(
    name: str, wanted: KubeVirtConfiguration, label_pairs: int, capabilities: Capabilities
) -> dict[str, Any]:
    """The MigrationPolicy of a configuration, under the name that the attempt's specification gives it, in the fields
    that are served (`ladder.served`).
    """
    stated = dict[str, Any]()
    for field, value in stated_fields(wanted).items():
        if field in capabilities.policy_fields:
            within, _, member = field.rpartition(".")
            (stated.setdefault(within, {}) if within else stated)[member] = value
    return {
        "apiVersion": MIGRATION_POLICIES.api_version,
        "kind": MIGRATION_POLICIES.kind,
        "metadata": {"name": name, "labels": {naming.LABEL_MANAGED: "true"}},
        "spec": {"selectors": {"virtualMachineInstanceSelector": policy_labels(name, label_pairs)}, **stated},
    }


def _mib_quantity(bytes_per_second: int) -> str:
    """Whole MiB as Go prints them (`1Gi`, not `1024Mi`)."""
    mib = bytes_per_second // MIB
    return f"{mib // 1024}Gi" if mib and mib % 1024 == 0 else f"{mib}Mi"
