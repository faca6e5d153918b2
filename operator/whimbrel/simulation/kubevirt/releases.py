"""KubeVirt's releases as far as they differ in what a migration does: one row per minor version, newest first.

A new release is a new row. Unknown newer versions behave like the newest row, unknown older ones like the oldest.
"""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Release:
    """What one minor version does."""

    minor: tuple[int, int]
    completion_timeout_per_gib: int = 150
    """Default of completionTimeoutPerGiB."""
    added_node_selector: bool = True
    """spec.addedNodeSelector exists."""
    suspends: bool = True
    """allowWorkloadDisruption and mode Paused exist; before, the deadline leads to post-copy or abort."""
    beta_gates_on: bool = True
    """Beta gates are on unless disabled."""
    collects_launchers: bool = True
    """Garbage collection of migrations also deletes the launcher that a collected one left."""
    marks_lost_targets: bool = True
    """A migration that fails with its target pod fails on the instance too; before, only until the target listened."""
    names_own_aborts: bool = False
    """The monitor's own aborts say why in failureReason."""
    limits_downtime: bool = True
    """maxDowntimeMs, `experimental` and the gate MigrationStallDetection exist, and a guest with devices of its host is stopped
    by a raised downtime limit; before, it is suspended like any other.
    """

    @property
    def policy_fields(self) -> frozenset[str]:
        """What a MigrationPolicy's spec may say; members of `experimental` also by their dotted names."""
        fields = {"selectors", "allowAutoConverge", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"}
        if self.suspends:
            fields |= {"allowWorkloadDisruption"}
        if self.limits_downtime:
            fields |= {"maxDowntimeMs", "experimental", "experimental.compression", "experimental.stallDetector"}
        return frozenset(fields)


_UP_TO_1_8 = Release(
    (1, 8), beta_gates_on=False, collects_launchers=False, marks_lost_targets=False, names_own_aborts=True,
    limits_downtime=False,
)  # fmt: skip
_UP_TO_1_5 = replace(_UP_TO_1_8, minor=(1, 5), added_node_selector=False)
_UP_TO_1_4 = replace(_UP_TO_1_5, minor=(1, 4), suspends=False)
RELEASES = (
    Release((1, 9)),
    _UP_TO_1_8,
    replace(_UP_TO_1_8, minor=(1, 7)),
    replace(_UP_TO_1_8, minor=(1, 6)),
    _UP_TO_1_5,
    _UP_TO_1_4,
    replace(_UP_TO_1_4, minor=(1, 3), completion_timeout_per_gib=800),
)
CURRENT = RELEASES[0]


def release(version: str) -> Release:
    """The row for a version such as `v1.9.0`; the newest for text that names none."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if match is None:
        return CURRENT
    wanted = int(match[1]), int(match[2])
    return next((each for each in RELEASES if each.minor <= wanted), RELEASES[-1])
