"""KubeVirt: release, health and the cluster's migration configuration with defaults filled in (KubeVirt contract §4.4)."""

from whimbrel.domain.records import KubeVirt, MigrationConfiguration
from whimbrel.domain.release import release_of
from whimbrel.inventory.projections import configuration, reading
from whimbrel.inventory.projections.reading import Json

PARALLEL_MIGRATIONS_PER_CLUSTER = 5
PARALLEL_OUTBOUND_PER_NODE = 2
COMPLETION_TIMEOUT_PER_GIB = 150
COMPLETION_TIMEOUT_PER_GIB_THROUGH_1_3 = 800
PROGRESS_TIMEOUT_S = 150
UNLIMITED_BANDWIDTH = 0
MAX_DOWNTIME_MS = 900
STALL_WINDOW_S = 40
"""Both act only where the alpha stall detection of KubeVirt 1.9 is on."""


def project(raw: Json) -> KubeVirt | None:
    """The record of a KubeVirt object; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    observed = reading.word(raw, "status", "observedKubeVirtVersion")
    wanted = reading.word(raw, "status", "targetKubeVirtVersion")
    stated = reading.member(raw, "spec", "configuration")
    migrations = reading.member(stated, "migrations")
    developer = reading.member(stated, "developerConfiguration")
    return KubeVirt(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        phase=reading.word(raw, "status", "phase"),
        version=observed,
        updating=bool(observed and wanted and observed != wanted),
        configuration=_with_defaults(configuration.project(migrations), observed),
        parallel_migrations_per_cluster=reading.whole(
            migrations, "parallelMigrationsPerCluster", default=PARALLEL_MIGRATIONS_PER_CLUSTER
        ),
        parallel_outbound_per_node=reading.whole(
            migrations, "parallelOutboundMigrationsPerNode", default=PARALLEL_OUTBOUND_PER_NODE
        ),
        cpu_model=reading.word(stated, "cpuModel"),
        feature_gates=frozenset(reading.strings(developer, "featureGates"))
        - frozenset(reading.strings(developer, "disabledFeatureGates")),
        eviction_strategy=reading.word(stated, "evictionStrategy"),
        deleting=reading.deleting(raw),
        available=reading.condition(raw, "Available"),
        degraded=reading.condition(raw, "Degraded"),
        matches_selinux_level=reading.optional_flag(migrations, "matchSELinuxLevelOnMigration") is not False,
    )


def _with_defaults(stated: MigrationConfiguration, version: str) -> MigrationConfiguration:
    release = release_of(version)
    old = release is not None and release < (1, 4)
    completion = COMPLETION_TIMEOUT_PER_GIB_THROUGH_1_3 if old else COMPLETION_TIMEOUT_PER_GIB
    return MigrationConfiguration(
        bandwidth_bytes_per_second=stated.bandwidth_bytes_per_second or UNLIMITED_BANDWIDTH,
        completion_timeout_per_gib=(
            completion if stated.completion_timeout_per_gib is None else stated.completion_timeout_per_gib
        ),
        allow_auto_converge=bool(stated.allow_auto_converge),
        allow_post_copy=bool(stated.allow_post_copy),
        allow_workload_disruption=bool(stated.allow_workload_disruption),
        progress_timeout_s=PROGRESS_TIMEOUT_S if stated.progress_timeout_s is None else stated.progress_timeout_s,
        max_downtime_ms=MAX_DOWNTIME_MS if stated.max_downtime_ms is None else stated.max_downtime_ms,
        stall_window_s=STALL_WINDOW_S if stated.stall_window_s is None else stated.stall_window_s,
        compression=stated.compression,
    )
