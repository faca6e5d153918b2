"""A small part of the bench: random migrations of the fluid model, foretold from what KubeVirt exposes. Wide bounds."""

import pytest

from whimbrel_lab.bench.figures import quantile
from whimbrel_lab.bench.forecasting import Tally, forecast_figures, share, thrash


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    return thrash(60, seed=20)


@pytest.mark.parametrize("kind", ["moved before", "never moved", "measured twice"])
def test_random_migrations_take_about_what_was_foretold(tallies: dict[str, Tally], kind: str) -> None:
    found = tallies[kind]

    assert quantile(found.time_errors, 0.5) < 0.10
    assert quantile(found.time_errors, 0.9) < 0.30
    assert quantile(found.bytes_errors, 0.5) < 0.05
    assert quantile(found.eta_errors, 0.5) < 0.10
    assert 75 <= share(found.covered) <= 100
    assert share(found.right) >= 95
    assert share(found.uncertain) <= 35
    assert share(found.paused) >= 80


def test_where_memory_in_use_is_not_told_the_90th_percentile_still_holds(tallies: dict[str, Tally]) -> None:
    assert share(tallies["never moved, memory in use not told"].covered) >= 75


def test_the_bench_has_a_goal_for_each_figure_that_has_one(tallies: dict[str, Tally]) -> None:
    figures = {figure.key: figure for figure in forecast_figures(tallies, 0.2)}

    assert figures["forecast.moved-before.time-p50"].limit == 5
    assert figures["forecast.never-moved.time-p50"].limit is None
    assert not any(figure.broken for figure in figures.values())
