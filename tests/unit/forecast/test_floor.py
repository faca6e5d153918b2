"""The floor of a migration's duration, and KubeVirt's unit of time budgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.api.host_profile import HostLimits, HostMigration, MigrationNetwork
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import admitted_rate, pass_seconds, time_budget_units

GIB = 1024**3


def a_host(link_speed_mbps: int = 10_000, outbound: int = 2, inbound: int = 2) -> HostMigration:
    return HostMigration(
        enabled=True,
        network=MigrationNetwork(link_speed_mbps=link_speed_mbps),
        limits=HostLimits(parallel_outbound=outbound, parallel_inbound=inbound),
    )


hosts = st.builds(a_host, st.integers(10, 1_000_000), st.integers(1, 64), st.integers(1, 64))


def test_a_migration_is_promised_its_share_of_the_narrower_end() -> None:
    narrow, wide = a_host(1_000), a_host(10_000)

    assert admitted_rate(narrow, wide, None) == admitted_rate(wide, narrow, None) == 59 * MIB


def test_the_source_counts_by_what_leaves_it_and_the_target_by_what_arrives() -> None:
    source, target = a_host(8_000, outbound=1, inbound=64), a_host(8_000, outbound=64, inbound=4)

    assert admitted_rate(source, target, None) == 2_000 * 125_000 // MIB * MIB


def test_a_plan_may_ask_for_less() -> None:
    assert admitted_rate(a_host(), a_host(), 100) == 11 * MIB


@given(hosts, hosts, st.none() | st.integers(9, 1_000_000))
def test_as_many_migrations_as_there_are_slots_never_exceed_a_link_that_has_a_mebibyte_for_each(
    source: HostMigration, target: HostMigration, max_mbps: int | None
) -> None:
    rate = admitted_rate(source, target, max_mbps)

    assert rate % MIB == 0
    for link, slots in (
        (source.network.link_speed_mbps, source.limits.parallel_outbound),
        (target.network.link_speed_mbps, target.limits.parallel_inbound),
    ):
        assert rate * slots <= max(link * 125_000, MIB * slots)
    assert max_mbps is None or rate <= max_mbps * 125_000


@given(st.integers(0, 2**44), st.integers(MIB, 2**37))
def test_one_pass_is_as_long_as_its_bytes_take_and_at_least_a_second(memory: int, rate: int) -> None:
    seconds = pass_seconds(memory, rate)

    assert seconds >= 1
    assert seconds * rate >= memory
    assert seconds == 1 or (seconds - 1) * rate < memory


@pytest.mark.parametrize(
    ("memory", "units"), [(128 * MIB, 1), (GIB, 2), (4 * GIB, 5), (64 * GIB, 69), (10**9, 1), (10**9 + 1, 2), (0, 1)]
)
def test_kubevirts_gib_is_a_started_billion_of_bytes(memory: int, units: int) -> None:
    assert time_budget_units(memory) == units
