"""Sharing of links: properties that hold for any set of migrations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.simulation.links import Flow, shares

HOSTS = ("n1", "n2", "n3", "n4")
SLACK = 1e-6
rates = st.integers(min_value=1, max_value=10**10)
links = st.fixed_dictionaries(dict.fromkeys(HOSTS, rates))
flows = st.lists(st.builds(Flow, st.sampled_from(HOSTS), st.sampled_from(HOSTS), st.just(0) | rates), max_size=12).map(
    lambda made: dict(enumerate(made))
)


def load(given_shares: dict[int, float], those: dict[int, Flow], host: str, end: str) -> float:
    return sum(rate for key, rate in given_shares.items() if getattr(those[key], end) == host)


@given(flows, links)
def test_no_port_carries_more_than_its_link_and_no_migration_more_than_its_cap(
    those: dict[int, Flow], capacity: dict[str, int]
) -> None:
    given_shares = shares(those, capacity)

    assert given_shares.keys() == those.keys()
    for host in HOSTS:
        assert load(given_shares, those, host, "source") <= capacity[host] * (1 + SLACK)
        assert load(given_shares, those, host, "target") <= capacity[host] * (1 + SLACK)
    for key, flow in those.items():
        assert given_shares[key] > 0
        assert not flow.cap_bytes_per_second or given_shares[key] <= flow.cap_bytes_per_second


@given(flows, links)
def test_who_is_below_its_cap_has_a_full_port_where_nobody_has_more(
    those: dict[int, Flow], capacity: dict[str, int]
) -> None:
    given_shares = shares(those, capacity)

    for key, flow in those.items():
        if flow.cap_bytes_per_second and given_shares[key] >= flow.cap_bytes_per_second * (1 - SLACK):
            continue
        held_by = [
            end
            for end in ("source", "target")
            if load(given_shares, those, getattr(flow, end), end) >= capacity[getattr(flow, end)] * (1 - SLACK)
            and all(
                given_shares[other] <= given_shares[key] * (1 + SLACK)
                for other, neighbour in those.items()
                if getattr(neighbour, end) == getattr(flow, end)
            )
        ]
        assert held_by


@given(flows, links)
def test_the_order_in_which_migrations_are_named_changes_nothing(
    those: dict[int, Flow], capacity: dict[str, int]
) -> None:
    backwards = dict(reversed(those.items()))

    assert shares(backwards, capacity) == pytest.approx(shares(those, capacity))


def test_a_capped_migration_leaves_the_rest_of_the_link_to_the_others() -> None:
    those = {"capped": Flow("n1", "n2", 10), "a": Flow("n1", "n3"), "b": Flow("n1", "n4")}

    assert shares(those, {"n1": 100, "n2": 100, "n3": 20, "n4": 100}) == {"capped": 10, "a": 20, "b": 70}


def test_both_directions_of_a_link_are_full() -> None:
    those = {"there": Flow("n1", "n2"), "back": Flow("n2", "n1")}

    assert shares(those, {"n1": 100, "n2": 100}) == {"there": 100, "back": 100}


def test_a_host_without_a_link_is_named() -> None:
    with pytest.raises(ValueError, match="m: host n9 has no migration link; known are n1"):
        shares({"m": Flow("n1", "n9")}, {"n1": 100})
