"""One migration of a real guest: what KubeVirt would tell beforehand and meanwhile, and what came of it."""

import asyncio
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from whimbrel_lab.hypervisor import HypervisorError, MigrationJob, MigrationOptions
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor
from whimbrel_lab.truth.scenes import SETTLE_S, Means, Scene, again

SAMPLE_EVERY_S = 0.25
LEAST_PATIENCE_S = 12.0
PATIENCE_PASSES = 6.0
"""A migration that has not ended after so many passes over memory, and the least patience, is called not convergent."""
THROTTLED_PATIENCE_S = 60.0
"""QEMU throttles by 10 % more each two rounds of a second or longer: that many until hardly anything is left of the guest."""
STUN_AFTER_PASSES = 1.5
STUN_PATIENCE_S = 60.0
SWEEP_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Libvirt's job info, `at_s` after the copy began."""

    at_s: float
    total_bytes: int | None
    processed_bytes: int | None
    remaining_bytes: int | None
    transfer_bytes_per_second: int | None
    dirty_bytes_per_second: int | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What was known and what was seen. Times from the moment at which the copy began."""

    scene: Scene
    sampled_dirty_bytes_per_second: int | None
    """KubeVirt's one-second sample, before the migration: distinct bytes in one second, in whole MiB."""
    converged: bool
    """Whether the hypervisor ended pre-copy by itself, unasked."""
    duration_s: float
    sent_bytes: int | None
    """By the hypervisor's count at the end; of a copy that did not end, by the last sample."""
    downtime_ms: float
    """The longest silence of the guest since the copy began."""
    suspended_at_s: float | None = None
    remaining_at_suspension_bytes: int | None = None
    samples: tuple[Sample, ...] = ()
    intact: bool = True
    """Whether the guest never restarted and found its memory as it wrote it."""
    failure: str = field(default="")
    earlier: "Trial | None" = None
    """The move of the same guest before this one."""

    def document(self) -> dict[str, Any]:
        """For a recording."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Trial":
        """From a recording."""
        scene = Scene(**{**document["scene"], "means": Means(document["scene"]["means"])})
        samples = tuple(Sample(**each) for each in document["samples"])
        earlier = document.get("earlier")
        members = {"scene": scene, "samples": samples, "earlier": None if earlier is None else cls.of(earlier)}
        return cls(**{**document, **members})


async def carry_out(lab: LibvirtHypervisor, scene: Scene, source: str, target: str) -> tuple[Trial, ...]:
    """The guest is started for it and gone afterwards. What does not end is aborted; a guest that moved, moves back."""
    guest = scene.guest()
    await lab.start_guest(source, guest)
    try:
        first = await _move(lab, scene, source, target, SETTLE_S)
        if first.failure or not first.intact:
            return (first,)
        return first, replace(await _move(lab, again(scene), target, source), earlier=first)
    finally:
        for host in (source, target):
            await lab.stop_guest(host, guest.name)


async def _move(lab: LibvirtHypervisor, scene: Scene, source: str, target: str, settle_s: float = 0.0) -> Trial:
    """Samples the guest and migrates it, no sooner than `settle_s` from now."""
    name = scene.guest().name
    began = time.monotonic()
    sampled = await lab.dirty_rate(source, name)
    await asyncio.sleep(max(0.0, settle_s - (time.monotonic() - began)))
    await lab.reset_beats(name)
    options = MigrationOptions(scene.cap_bytes_per_second, auto_converge=scene.means is Means.AUTO_CONVERGE)
    return await watch(lab, scene, sampled, await begun(lab, scene, source, target, options), patience_s(scene))


async def begun(
    lab: LibvirtHypervisor, scene: Scene, source: str, target: str, options: MigrationOptions
) -> MigrationJob:
    """A migration that has just begun, under the downtime that its scene allows."""
    job = await lab.migrate(source, target, scene.guest().name, options)
    await job.limit_downtime(scene.allowed_downtime_ms)
    return job


def patience_s(scene: Scene) -> float:
    """After how many seconds a copy is given up."""
    least_s = THROTTLED_PATIENCE_S if scene.means is Means.AUTO_CONVERGE else LEAST_PATIENCE_S
    return max(least_s, PATIENCE_PASSES * scene.pass_s)


async def watch(
    lab: LibvirtHypervisor, scene: Scene, sampled: int | None, job: MigrationJob, give_up_s: float
) -> Trial:
    """Follows a migration that has just begun to its end, suspends its guest where the scene says so, and aborts it then."""
    began = time.monotonic()
    ended = asyncio.ensure_future(job.wait())
    stun_s = STUN_AFTER_PASSES * scene.pass_s if scene.means is Means.STUN else None
    samples: list[Sample] = []
    suspended_at_s: float | None = None
    remaining: int | None = None
    aborted = False
    while not ended.done():
        elapsed_s = time.monotonic() - began
        if (progress := await job.progress()) is not None:
            samples.append(
                Sample(
                    round(elapsed_s, 3),
                    progress.total_bytes,
                    progress.processed_bytes,
                    progress.remaining_bytes,
                    progress.transfer_bytes_per_second,
                    progress.dirty_bytes_per_second,
                )
            )
        if stun_s is not None and suspended_at_s is None and elapsed_s >= stun_s:
            await job.suspend()
            suspended_at_s = round(time.monotonic() - began, 3)
            remaining = samples[-1].remaining_bytes if samples else None
        limit_s = give_up_s if suspended_at_s is None else suspended_at_s + STUN_PATIENCE_S
        if elapsed_s > limit_s and not aborted:
            aborted = True
            await job.abort()
        await asyncio.wait([ended], timeout=SAMPLE_EVERY_S)
    duration_s = time.monotonic() - began
    outcome = await ended
    report = await _checked(lab, scene.guest().name)
    sent = [sample.processed_bytes for sample in samples if sample.processed_bytes is not None]
    return Trial(
        scene=scene,
        sampled_dirty_bytes_per_second=sampled,
        converged=outcome.completed and suspended_at_s is None,
        duration_s=round(duration_s, 3),
        sent_bytes=outcome.sent_bytes or (sent[-1] if sent else None),
        downtime_ms=round(report.longest_gap_ms, 1),
        suspended_at_s=suspended_at_s,
        remaining_at_suspension_bytes=remaining,
        samples=tuple(samples),
        intact=report.memory_intact and not report.restarts,
        failure="" if outcome.completed else ("did not end in time" if outcome.aborted else outcome.reason),
    )


async def _checked(lab: LibvirtHypervisor, name: str) -> Any:
    """The guest's report once it has looked at all of its memory."""
    first = await lab.beats(name)
    give_up = time.monotonic() + SWEEP_PATIENCE_S
    report = first
    while report.sweeps < first.sweeps + 2:
        if time.monotonic() > give_up:
            raise HypervisorError(f"{name} does not look at its memory any more")
        await asyncio.sleep(0.05)
        report = await lab.beats(name)
    return first if report.memory_intact and not report.restarts else report
