"""Compression: whether an attempt's memory is compressed with zstd before it goes over the network.

KubeVirt has it from 1.9 on (`experimental.compression` of a policy), on the streams of guests that migrate over several. It
takes processor time on the source, so a plan must ask for it. Called by the quote; the rungs write it into their configuration.
"""

from dataclasses import replace

from whimbrel.api.ladder import Compression
from whimbrel.forecast import Path, quantile
from whimbrel.ladder.rung import Load

WORTH_WHILE = 1.1
"""Auto compresses where memory is copied faster by at least this factor, by the forecast's median."""


def compressed(load: Load, wanted: Compression) -> Load:
    """The load as it is copied under a plan that wants this."""
    if wanted is Compression.NONE or obstacle(load):
        return load
    with_zstd = replace(load, zstd=True)
    if wanted is Compression.AUTO and _rate(with_zstd.path) < WORTH_WHILE * _rate(load.path):
        return load
    return with_zstd


def obstacle(load: Load) -> str:
    """Why this load cannot be compressed, in words; empty where it can."""
    if not load.can_compress:
        return "KubeVirt can compress memory from 1.9 on, and this one cannot"
    if load.streams.pre_copy == 1:
        return "KubeVirt compresses nothing for a guest that migrates over one stream, as with a CPU limit or dedicated CPUs"
    return ""


def _rate(path: Path) -> float:
    """Bytes of memory per second, as likely more as less."""
    return quantile([(pace.bytes_per_second, share) for pace, share in path.paces()], 0.5)
