"""How hard a plan may try: the rungs of the ladder, presets of them, and consent to what they do to guests.

A preset, or a ladder that the plan writes itself, chooses; `disruption` permits. Nothing else implies consent. Part of
MigrationPlan.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from whimbrel.api.scalars import ApiModel, Rule

MIN_DOWNTIME_MS = 2000
"""A stun cannot be consented to below this: after an abort the guest runs again 1.2 to 2.1 s later (libvirt 9, QEMU 7.2)."""

MIN_MBPS = 250
"""No migration starts where the links leave it less, as with vMotion, unless the plan says otherwise."""


class Rung(StrEnum):
    """The steps of the ladder."""

    PRE_COPY = "PreCopy"
    AUTO_CONVERGE = "AutoConverge"
    DOWNTIME_RAMP = "DowntimeRamp"
    STUN = "Stun"
    POST_COPY = "PostCopy"
    GIVE_UP = "GiveUp"


class Permission(StrEnum):
    """Consent to one kind of disturbance of the guest."""

    NEVER = "Never"
    ALLOWED = "Allowed"


class Compression(StrEnum):
    """Whether memory is compressed before it goes over the network."""

    NONE = "None"
    ZSTD = "Zstd"
    AUTO = "Auto"


class Preset(StrEnum):
    """A documented ladder."""

    GENTLE = "Gentle"
    BALANCED = "Balanced"
    ASSERTIVE = "Assertive"


class LadderStep(ApiModel):
    """One rung of a plan's own ladder, and what it may cost."""

    rung: Rung = Field(
        description="PreCopy: copy while the guest runs. AutoConverge: throttle its processors meanwhile. DowntimeRamp: once "
        "the copy gets on no further, let the last step take longer (KubeVirt 1.9 with the feature gate "
        "MigrationStallDetection; it needs the consent of a stun). Stun: suspend it for the rest. PostCopy: let it run on at "
        "the target before all is there. GiveUp, at the end: no attempt after one on the rung before did not converge."
    )
    max_attempts: int | None = Field(
        None, ge=1, le=10, description="Most attempts on this rung. Absent: as many as `attempts` leaves."
    )
    max_duration_seconds: int | None = Field(
        None,
        ge=10,
        le=604_800,
        description="Longest copy on this rung, in seconds; KubeVirt is told to end it by then. Absent: what the forecast "
        "takes.",
    )
    max_mebibytes: int | None = Field(
        None, ge=1, description="Most MiB that an attempt on this rung may send. Absent: unlimited."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.rung != 'GiveUp' || !(has(self.maxAttempts) || has(self.maxDurationSeconds) || has(self.maxMebibytes))",
            "GiveUp takes no bounds: it begins nothing",
            lambda s: (
                s.rung != Rung.GIVE_UP
                or (s.max_attempts is None and s.max_duration_seconds is None and s.max_mebibytes is None)
            ),
        ),
    )


class Bandwidth(ApiModel):
    """Bounds on the rate of one migration."""

    min_mbps: int = Field(
        MIN_MBPS,
        ge=9,
        le=1_000_000,
        description="Least rate in Mbit/s that the links at both ends must leave to one migration while all their slots are "
        "taken; less than 250 is for small links, and at your own risk. It asks for room on the links: 250, which is the "
        "default, may stand beside a lower maxMbps.",
    )
    max_mbps: int | None = Field(
        None,
        ge=9,
        le=1_000_000,
        description="Upper bound for one migration in Mbit/s. KubeVirt counts in whole MiB/s (8.4 Mbit/s), rounded down. "
        "Absent: the share of the link that admission guarantees.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.maxMbps) || !has(self.minMbps) || self.minMbps <= self.maxMbps || self.minMbps == {MIN_MBPS}",
            "bandwidth: minMbps must not be more than maxMbps",
            lambda b: b.max_mbps is None or b.min_mbps <= b.max_mbps or b.min_mbps == MIN_MBPS,
        ),
    )


class Disruption(ApiModel):
    """Consent to disturbances of the guest. Nothing else implies it."""

    throttle: Permission = Field(
        Permission.NEVER,
        description="Allowed: the guest's processors may be slowed down, by up to 99 %, while it writes memory faster than "
        "the network copies it.",
    )
    stun: Permission = Field(
        Permission.NEVER,
        description="Allowed: when pre-copy did not converge the guest may be suspended while the rest is copied.",
    )
    post_copy: Permission = Field(
        Permission.NEVER,
        description="Allowed: the guest may go on at the target before all of its memory is there. It cannot be aborted any "
        "more then, and a network that fails meanwhile costs the guest.",
    )
    max_downtime_ms: int | None = Field(
        None,
        ge=MIN_DOWNTIME_MS,
        le=600_000,
        description="Longest suspension in milliseconds that is accepted; longer ones are cut short. At least 2000, because "
        "a guest runs again only about 2 s after an abort.",
    )
    unattended_downtime_ms: int | None = Field(
        None,
        ge=MIN_DOWNTIME_MS,
        le=3_600_000,
        description="Longest suspension in milliseconds that is accepted if no operator is alive to cut it short: KubeVirt "
        "itself lets a guest stay suspended for one further deadline.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.stun) && self.stun == 'Allowed' ? has(self.maxDowntimeMs) && has(self.unattendedDowntimeMs) : "
            "!has(self.maxDowntimeMs) && !has(self.unattendedDowntimeMs)",
            "disruption: maxDowntimeMs and unattendedDowntimeMs are both needed with stun: Allowed, and act on nothing "
            "with stun: Never",
            lambda d: (
                (d.stun == Permission.ALLOWED) == (d.max_downtime_ms is not None)
                and (d.stun == Permission.ALLOWED) == (d.unattended_downtime_ms is not None)
            ),
        ),
        Rule(
            "!has(self.maxDowntimeMs) || !has(self.unattendedDowntimeMs) || "
            "self.unattendedDowntimeMs >= self.maxDowntimeMs",
            "disruption: unattendedDowntimeMs must not be less than maxDowntimeMs",
            lambda d: (
                d.max_downtime_ms is None
                or d.unattended_downtime_ms is None
                or d.unattended_downtime_ms >= d.max_downtime_ms
            ),
        ),
    )


def _steps_permitted(migration: "Migration", rung: Rung, permission: Permission) -> bool:
    return permission == Permission.ALLOWED or all(step.rung != rung for step in migration.ladder or ())


def _forbidden(rung: str, member: str) -> str:
    return (
        f"!has(self.ladder) || !self.ladder.exists(step, step.rung == '{rung}') || (has(self.disruption) && "
        f"has(self.disruption.{member}) && self.disruption.{member} == 'Allowed')"
    )


class Migration(ApiModel):
    """How hard to try."""

    preset: Preset | None = Field(
        None,
        description="A documented ladder. Gentle: PreCopy, AutoConverge. Balanced, the default: DowntimeRamp and Stun as well. "
        "Assertive: PostCopy as well. Rungs that `disruption` does not permit are left out.",
    )
    ladder: tuple[LadderStep, ...] | None = Field(
        None,
        min_length=1,
        max_length=len(Rung),
        description="A ladder of the plan's own instead of a preset: rungs in the order in which they are tried.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["rung"]},
    )
    bandwidth: Bandwidth = Field(default=Bandwidth(), description="Bounds on the rate of one migration.")
    compression: Compression = Field(
        Compression.NONE,
        description="Zstd: memory is compressed, which takes processor time on the source (KubeVirt 1.9, guests that migrate "
        "over several streams). Auto: where that is faster by the forecast. What cannot be compressed is copied as it is.",
    )
    disruption: Disruption = Field(default=Disruption(), description="Consent to disturbances of the guest.")
    unschedulable_timeout_seconds: int = Field(
        60,
        ge=10,
        le=3600,
        description="After so many seconds an attempt is given up whose target pod the scheduler does not place ("
        "KubeVirt waits 300).",
    )
    pending_timeout_seconds: int = Field(
        300,
        ge=10,
        le=3600,
        description="After so many seconds an attempt is given up whose target pod does not run (KubeVirt waits 900).",
    )
    attempts: int = Field(
        3, ge=1, le=10, description="Most migrations that are begun for one virtual machine, whatever their rung."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.preset) && has(self.ladder))",
            "migration takes preset or ladder, not both",
            lambda m: m.preset is None or m.ladder is None,
        ),
        Rule(
            _forbidden("AutoConverge", "throttle"),
            "the ladder has AutoConverge, which disruption.throttle does not permit",
            lambda m: _steps_permitted(m, Rung.AUTO_CONVERGE, m.disruption.throttle),
        ),
        Rule(
            _forbidden("DowntimeRamp", "stun"),
            "the ladder has DowntimeRamp, which disruption.stun does not permit",
            lambda m: _steps_permitted(m, Rung.DOWNTIME_RAMP, m.disruption.stun),
        ),
        Rule(
            _forbidden("Stun", "stun"),
            "the ladder has Stun, which disruption.stun does not permit",
            lambda m: _steps_permitted(m, Rung.STUN, m.disruption.stun),
        ),
        Rule(
            _forbidden("PostCopy", "postCopy"),
            "the ladder has PostCopy, which disruption.postCopy does not permit",
            lambda m: _steps_permitted(m, Rung.POST_COPY, m.disruption.post_copy),
        ),
        Rule(
            "!has(self.ladder) || !self.ladder.exists(step, step.rung == 'GiveUp') || "
            "(size(self.ladder) > 1 && self.ladder[size(self.ladder) - 1].rung == 'GiveUp')",
            "GiveUp stands at the end of the ladder, behind another rung",
            lambda m: _gives_up_last(m.ladder or ()),
        ),
    )


def _gives_up_last(steps: tuple[LadderStep, ...]) -> bool:
    rungs = [step.rung for step in steps]
    return Rung.GIVE_UP not in rungs or (len(rungs) > 1 and rungs.index(Rung.GIVE_UP) == len(rungs) - 1)
