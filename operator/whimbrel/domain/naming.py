"""Names are the record: the same intent always gets the same name, so a repeated create collides instead of doubling.

Never the target or the configuration in a migration's name: two leaders that disagree must collide. Names of migrations
become label values and parts of job names inside KubeVirt: at most 55 characters.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

RESERVED = "whimbrel.dev/"
LABEL_POLICY = "whimbrel.dev/policy-{}"
"""Reserved labels on an instance that attach our MigrationPolicy; as many pairs as beat every foreign policy."""
LABEL_MIGRATION = "whimbrel.dev/vmim"
"""Reserved label on an instance: name of the migration that the policy labels are for."""
LABEL_MANAGED = "whimbrel.dev/managed"
LABEL_PLAN_UID = "whimbrel.dev/plan-uid"
LABEL_INSTANCE_UID = "whimbrel.dev/instance-uid"
LABEL_ATTEMPT = "whimbrel.dev/attempt"
ANNOTATION_PLAN = "whimbrel.dev/plan"
ANNOTATION_MOVE = "whimbrel.dev/move"
ANNOTATION_BUDGET_MS = "whimbrel.dev/max-downtime-ms"
ANNOTATION_DEADLINE_S = "whimbrel.dev/deadline-seconds"
ANNOTATION_PERFORMANCE_COUNTERS = "whimbrel.dev/performance-counters"
"""Of a VirtualMachine or its instance: `Required` where the guest counts on performance counters."""
ANNOTATION_GRAPHICS = "whimbrel.dev/graphics-3d"
"""Of a VirtualMachine or its instance: what renders its 3D graphics, `Automatic`, `Hardware` or `Software`."""
ANNOTATION_STUN = "whimbrel.dev/stun"
ANNOTATION_POST_COPY = "whimbrel.dev/post-copy"
ANNOTATION_LAST_STEP_MS = "whimbrel.dev/last-step-ms"
"""Of a migration of ours under KubeVirt's stall detection: the longest last step that the hypervisor may take. A pause is such
a step then, never a suspension, and nothing ends it."""
ALLOWED, NEVER = "Allowed", "Never"
"""Values of ANNOTATION_STUN and ANNOTATION_POST_COPY: what a migration of ours may do to its guest."""
ANNOTATION_MIGRATION = "whimbrel.dev/migration"
"""Of a VirtualMachine or its instance: its owner's `Never`."""
HOSTNAME_LABEL = "kubernetes.io/hostname"

POLICY_PREFIX = "whimbrel-"
MAX_MIGRATION_NAME = 55


MOST_DIGITS = 9


def number(text: str | None) -> int | None:
    """A whole number out of an annotation; None for anything else, and for one with more digits than any of ours has."""
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if plain and text is not None else None


def reserved(labels: Mapping[str, str]) -> dict[str, str]:
    """The reserved labels among an instance's labels: those that attach a policy of ours."""
    return {key: labels[key] for key in labels if key.startswith(RESERVED) and _is_reserved(key)}


def _is_reserved(key: str) -> bool:
    return key == LABEL_MIGRATION or key.startswith(LABEL_POLICY.format(""))


def is_our_migration(name: str, instance_name: str, labels: Mapping[str, str]) -> bool:
    """Whether a migration is ours: our labels, and the name that follows from them. A copied label alone is nobody's."""
    plan_uid, instance_uid = labels.get(LABEL_PLAN_UID, ""), labels.get(LABEL_INSTANCE_UID, "")
    attempt = labels.get(LABEL_ATTEMPT, "")
    if LABEL_MANAGED not in labels or not attempt.isdecimal():
        return False
    return name == migration_name(plan_uid, instance_name, instance_uid, int(attempt))


def _digest(*parts: str, length: int = 10) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def _readable(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:length].strip("-") or "x"


@lru_cache(maxsize=32_768)
def move_name(plan_name: str, plan_uid: str, instance_name: str, instance_uid: str) -> str:
    """Name of the VirtualMachineMove of this plan and this instance, at most 63 characters."""
    return f"{_readable(plan_name, 20)}-{_readable(instance_name, 30)}-{_digest(plan_uid, instance_uid)}"


@lru_cache(maxsize=32_768)
def migration_name(plan_uid: str, instance_name: str, instance_uid: str, attempt: int) -> str:
    """Name of the migration of this attempt, at most 55 characters."""
    return f"whimbrel-{_readable(instance_name, 24)}-{_digest(plan_uid, instance_uid, length=16)}-{attempt}"


def policy_name(configuration: str, label_pairs: int) -> str:
    """Name of the MigrationPolicy of a configuration (its canonical JSON) that is attached by so many label pairs."""
    return f"{POLICY_PREFIX}{_digest(configuration, str(label_pairs), length=16)}"
