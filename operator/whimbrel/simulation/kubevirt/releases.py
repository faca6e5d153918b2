"""KubeVirt's releases as far as they differ in what a migration does: one row per minor version, newest first.

A new release is a new row. Unknown newer versions behave like the newest row, unknown older ones like the oldest.
"""

import re
from dataclasses import dataclass


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

    @property
    def policy_fields(self) -> frozenset[str]:
        """What a MigrationPolicy's spec may say, as far as any plan can ask for it."""
        first = {"selectors", "allowAutoConverge", "allowPostCopy", "bandwidthPerMigration", "completionTimeoutPerGiB"}
        return frozenset(first | {"allowWorkloadDisruption"} if self.suspends else first)


RELEASES = (
    Release((1, 9)),
    Release((1, 8), beta_gates_on=False, collects_launchers=False, marks_lost_targets=False, names_own_aborts=True),
    Release((1, 7), beta_gates_on=False, collects_launchers=False, marks_lost_targets=False, names_own_aborts=True),
    Release((1, 6), beta_gates_on=False, collects_launchers=False, marks_lost_targets=False, names_own_aborts=True),
    Release(
        (1, 5), added_node_selector=False, beta_gates_on=False, collects_launchers=False,
        marks_lost_targets=False, names_own_aborts=True,
    ),
    Release(
        (1, 4), added_node_selector=False, suspends=False, beta_gates_on=False,
        collects_launchers=False, marks_lost_targets=False, names_own_aborts=True,
    ),
    Release(
        (1, 3), completion_timeout_per_gib=800, added_node_selector=False, suspends=False,
        beta_gates_on=False, collects_launchers=False, marks_lost_targets=False, names_own_aborts=True,
    ),
)  # fmt: skip
CURRENT = RELEASES[0]


def release(version: str) -> Release:
    """The row for a version such as `v1.9.0`; the newest for text that names none."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if match is None:
        return CURRENT
    wanted = int(match[1]), int(match[2])
    return next((each for each in RELEASES if each.minor <= wanted), RELEASES[-1])
