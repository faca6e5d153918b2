"""`migrationConfiguration`, which an instance's state, a MigrationPolicy and the KubeVirt object write alike (§4)."""

from whimbrel.domain.records import MigrationConfiguration
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> MigrationConfiguration:
    """What is stated; None for what is not.

    Where post-copy is stated and workload disruption is not, KubeVirt lets the second follow the first.
    """
    post_copy = reading.optional_flag(raw, "allowPostCopy")
    disruption = reading.optional_flag(raw, "allowWorkloadDisruption")
    return MigrationConfiguration(
        bandwidth_bytes_per_second=reading.optional_bytes(raw, "bandwidthPerMigration"),
        completion_timeout_per_gib=reading.optional_whole(raw, "completionTimeoutPerGiB"),
        allow_auto_converge=reading.optional_flag(raw, "allowAutoConverge"),
        allow_post_copy=post_copy,
        allow_workload_disruption=post_copy if disruption is None else disruption,
        progress_timeout_s=reading.optional_whole(raw, "progressTimeout"),
        max_downtime_ms=reading.optional_whole(raw, "maxDowntimeMs"),
        stall_window_s=reading.optional_whole(raw, "experimental", "stallDetector", "stallProgressTimeout"),
        compression=reading.word(raw, "experimental", "compression") or None,
    )
