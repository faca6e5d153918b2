"""The price of a refusal as people read it: settings that they can copy, and facts as they are."""

from dataclasses import replace

import pytest

from support.ladder_cases import GENTLE, a_load, settled
from whimbrel.api.ladder import Bandwidth, LadderStep, Migration, Rung
from whimbrel.domain.quantities import MIB, bytes_per_second_of_mbps, whole_mib
from whimbrel.ladder import Load, choose, ladder_of
from whimbrel.schedule.weighing import price_in_words

ONLY_PRE_COPY = Migration(ladder=(LadderStep(rung=Rung.PRE_COPY),))
SETTLED = a_load(200, *settled(30), rate=60 * MIB)


def bandwidth(load: Load, max_mbps: int | None = None) -> str:
    terms = ONLY_PRE_COPY.model_copy(update={"bandwidth": Bandwidth(max_mbps=max_mbps)})
    return price_in_words(load, terms).split(", or ")[0]


def test_a_bound_of_the_plans_own_is_named_by_its_field() -> None:
    said = bandwidth(replace(SETTLED, link_bytes_per_second=596 * MIB), 504)

    assert said == "bandwidth.maxMbps: 1000, 1120 to be sure"


def test_what_is_sure_only_beyond_the_links_is_not_named_as_a_setting() -> None:
    said = bandwidth(replace(SETTLED, link_bytes_per_second=120 * MIB), 504)

    assert said == "bandwidth.maxMbps: 1000; to be sure, 1.12 Gbit/s (the links leave it 1.01 Gbit/s)"


def test_where_links_and_plan_are_both_in_the_way_both_are_named_and_the_links_as_they_are() -> None:
    said = bandwidth(replace(SETTLED, link_bytes_per_second=90 * MIB), 504)

    assert said == (
        "a bandwidth of 1 Gbit/s, 1.12 Gbit/s to be sure (the links leave it 754 Mbit/s) and bandwidth.maxMbps: 1120"
    )


@pytest.mark.parametrize("mib", range(1, 200, 7))
def test_what_is_named_is_no_less_once_kubevirt_has_rounded_it_down_to_whole_mib(mib: int) -> None:
    load = a_load(3 * mib, *settled(mib), rate=max(1, mib // 2) * MIB)

    said = bandwidth(replace(load, link_bytes_per_second=10_000 * MIB))

    named = int(said.removeprefix("bandwidth.maxMbps: ").split(",")[0])
    wider = replace(load, rate_bytes_per_second=whole_mib(bytes_per_second_of_mbps(named)))
    assert choose(ladder_of(wider, ONLY_PRE_COPY), wider).offer is not None


def test_a_change_that_is_not_sure_has_its_chance_beside_it() -> None:
    assert "disruption.throttle: Allowed (chance 50 %)" in price_in_words(a_load(900, *settled(900)), GENTLE)
