"""How much is kept of a migration's samples: enough to see its rounds, bounded however long it takes.

Used by whoever fills `Snapshot.courses`.
"""

from whimbrel.domain.records import MigrationSample

MOST_SAMPLES = 128
"""Of one migration: ten minutes at KubeVirt's 5 s; of a longer one the early samples stand more thinly."""


def thinned(samples: tuple[MigrationSample, ...]) -> tuple[MigrationSample, ...]:
    """At most MOST_SAMPLES, the first and the latest among them: of the older half every second one is left out, as often
    as it takes.
    """
    while len(samples) > MOST_SAMPLES:
        half = len(samples) // 2
        samples = samples[:half:2] + samples[half:]
    return samples
