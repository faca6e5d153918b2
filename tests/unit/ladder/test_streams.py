"""Streams and compression: how fast memory goes over the network, by KubeVirt's release and the guest's processors."""

from dataclasses import replace

import pytest

from whimbrel.api.ladder import Compression, Migration, Permission, Rung
from whimbrel.api.ladder import Disruption as Consent
from whimbrel.domain.guests import GuestHardware
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import quantile
from whimbrel.ladder import Load, compressed, ladder_of
from whimbrel.ladder.streams import Streams, streams

GIB = 1024**3
PLAIN = GuestHardware()
FAST = Load(8 * GIB, 2400 * MIB, streams=Streams(8, 8), can_compress=True)
SLOW = replace(FAST, rate_bytes_per_second=100 * MIB)


def rate(load: Load) -> float:
    return quantile([(pace.bytes_per_second, share) for pace, share in load.path.paces()], 0.5)


@pytest.mark.parametrize(
    ("version", "hardware", "expected"),
    [
        ("v1.9.0", PLAIN, (8, 8)),
        ("v1.9.0", GuestHardware(cpu_limited=True), (1, 1)),
        ("v1.9.0", GuestHardware(dedicated_cpus=True), (1, 1)),
        ("v1.8.4", PLAIN, (8, 1)),
        ("v1.8.4", GuestHardware(dedicated_cpus=True), (8, 1)),
        ("v1.5.0", GuestHardware(cpu_limited=True), (1, 1)),
        ("v1.4.1", PLAIN, (1, 1)),
        ("v1.4.1", GuestHardware(migration_threads=4), (4, 4)),
        ("v1.9.0", GuestHardware(migration_threads=4), (8, 8)),
        ("v2.0.0", PLAIN, (8, 8)),
        ("", PLAIN, (1, 1)),
    ],
)
def test_each_release_has_its_number_of_streams(
    version: str, hardware: GuestHardware, expected: tuple[int, int]
) -> None:
    assert streams(version, hardware) == Streams(*expected)


def test_one_stream_bounds_the_rate_and_eight_do_not() -> None:
    limited = replace(FAST, stream_bytes_per_second=400 * MIB)

    assert rate(replace(limited, streams=Streams(1, 1))) == pytest.approx(400 * MIB / 1.04)
    assert rate(limited) == pytest.approx(2400 * MIB / 1.04)


def test_time_budgets_reckon_with_what_the_streams_carry() -> None:
    single = replace(FAST, stream_bytes_per_second=400 * MIB, streams=Streams(1, 1))

    for wide, narrow in zip(ladder_of(FAST, Migration()).offers, ladder_of(single, Migration()).offers, strict=True):
        assert narrow.deadline_seconds > 3 * wide.deadline_seconds


def test_where_post_copy_is_allowed_one_stream_may_have_to_do() -> None:
    load = replace(FAST, stream_bytes_per_second=400 * MIB, streams=Streams(8, 1))
    terms = Migration(preset="Assertive", disruption=Consent(post_copy=Permission.ALLOWED))

    plain, post_copy = ladder_of(load, terms).offers

    assert post_copy.rung is Rung.POST_COPY
    assert load.path_under(plain.terms).streams == 8
    assert load.path_under(post_copy.terms).streams == 1


def test_nothing_is_compressed_that_a_plan_does_not_ask_for() -> None:
    assert compressed(SLOW, Compression.NONE) == SLOW
    assert all(offer.configuration.compression is None for offer in ladder_of(SLOW, Migration()).offers)


def test_compressed_memory_goes_over_a_slow_link_faster_and_the_policy_says_so() -> None:
    load = compressed(SLOW, Compression.ZSTD)

    assert rate(load) > 1.3 * rate(SLOW)
    assert all(offer.configuration.compression is Compression.ZSTD for offer in ladder_of(load, Migration()).offers)


def test_auto_compresses_where_the_link_is_the_bound_and_not_where_processors_would_be() -> None:
    assert compressed(SLOW, Compression.AUTO).zstd
    assert not compressed(FAST, Compression.AUTO).zstd


@pytest.mark.parametrize(
    ("load", "word"), [(replace(SLOW, can_compress=False), "1.9"), (replace(SLOW, streams=Streams(1, 1)), "one stream")]
)
def test_where_memory_cannot_be_compressed_it_is_copied_as_it_is_and_the_quote_says_so(load: Load, word: str) -> None:
    terms = Migration(compression=Compression.ZSTD)
    copied = compressed(load, Compression.ZSTD)

    (held,) = ladder_of(copied, terms).withheld

    assert copied == load
    assert word in held.reason
    assert ladder_of(copied, Migration(compression=Compression.AUTO)).withheld == ()


@pytest.mark.parametrize("asked", [Compression.ZSTD, Compression.AUTO])
def test_post_copy_is_not_compressed_and_the_quote_says_so_where_the_plan_asks_for_it(asked: Compression) -> None:
    load = compressed(SLOW, asked)
    terms = Migration(preset="Assertive", compression=asked, disruption=Consent(post_copy=Permission.ALLOWED))

    found = ladder_of(load, terms)

    last = found.offers[-1]
    assert last.rung is Rung.POST_COPY
    assert last.configuration.compression is None
    assert load.path_under(last.terms).compression.p90 == 1.0
    said = [
        (held.rung, "compresses nothing where it may switch to post-copy" in held.reason) for held in found.withheld
    ]
    assert said == ([(Rung.POST_COPY, True)] if asked is Compression.ZSTD else [])
