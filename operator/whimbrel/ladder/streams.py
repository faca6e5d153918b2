"""How many streams a migration uses, by KubeVirt's release.

Source: KubeVirt contract, trap 53: through 1.4 one, unless an annotation of the instance asks for more; from 1.5 eight, but one
for guests whose processor time is limited and, through 1.8, where post-copy is allowed; from 1.9 one for guests with dedicated
CPUs too. A new rule is a row of the table. Called by the quote; KubeVirt is told nothing of it.
"""

from dataclasses import dataclass

from whimbrel.domain.guests import GuestHardware
from whimbrel.domain.release import release_of

MULTIFD = 8


@dataclass(frozen=True, slots=True)
class Streams:
    """How many there are where post-copy is not allowed, and where it is."""

    pre_copy: int
    post_copy: int


ONE_STREAM = Streams(1, 1)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What holds from a release on."""

    since: tuple[int, int]
    by_annotation: bool = False
    with_post_copy: bool = True
    with_dedicated_cpus: bool = True


_RULES = (
    _Rule((1, 9), with_dedicated_cpus=False),
    _Rule((1, 5), with_post_copy=False),
    _Rule((0, 0), by_annotation=True),
)


def streams(version: str, hardware: GuestHardware) -> Streams:
    """Of a guest with this hardware under that release (`v1.9.0`); one stream where the release is not known."""
    release = release_of(version)
    if release is None:
        return ONE_STREAM
    rule = next(each for each in _RULES if release >= each.since)
    if rule.by_annotation:
        asked = max(1, hardware.migration_threads)
        return Streams(asked, asked)
    limited = hardware.cpu_limited or (hardware.dedicated_cpus and not rule.with_dedicated_cpus)
    if limited:
        return ONE_STREAM
    return Streams(MULTIFD, MULTIFD if rule.with_post_copy else 1)
