"""What a Prometheus answers is believed only as far as it can be."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.domain.records import Key
from whimbrel.domain.samples import GuestReadings, Reading
from whimbrel.kube.exposition import DIRTY_RATE, RESIDENT
from whimbrel.kube.prometheus import readings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()
DB = Key("shop", "db1")
LABELS = {"namespace": "shop", "name": "db1", "node": "node-1", "instance": "10.0.0.7:8443"}


def a_result(value: Any = "5", labels: Any = LABELS, at: Any = NOW_S) -> Any:
    return {"metric": labels, "value": [at, value]}


def told(*results: Any, series: str = RESIDENT) -> dict[Key, GuestReadings]:
    document = {"status": "success", "data": {"resultType": "vector", "result": results}}
    return readings(json.dumps(document).encode(), series, NOW, {DB: "node-1"})


def test_each_series_is_the_reading_that_it_is_from_virt_handler() -> None:
    assert told(a_result("2.5e+09")) == {DB: GuestReadings("node-1", resident_bytes=Reading(2.5e9, NOW))}
    assert told(a_result("1048576"), series=DIRTY_RATE) == {DB: GuestReadings("node-1", Reading(1048576.0, NOW))}


def test_the_newest_of_several_series_of_a_guest_wins() -> None:
    earlier = NOW_S - 9
    found = told(a_result("9", at=earlier), a_result("3"), a_result("4", {**LABELS, "replica": "b"}), a_result("3"))

    assert found[DB].resident_bytes == Reading(4.0, NOW)


def test_labels_that_prometheus_put_in_place_of_virt_handlers_do_not_mislead() -> None:
    own = {"namespace": "kubevirt", "name": "virt-handler-abc", "node": "node-1"}
    kept = {"exported_namespace": "shop", "exported_name": "db1", "exported_node": "node-1"}

    assert list(told(a_result(labels={**own, **kept}))) == [DB]


@pytest.mark.parametrize(
    "result",
    [
        a_result("NaN"),
        a_result("-1"),
        a_result("+Inf"),
        a_result("1e300"),
        a_result("much"),
        a_result(5),
        a_result(None),
        a_result(at=0),
        a_result(at=1e300),
        a_result(at="now"),
        a_result(at=NOW_S - 61),
        a_result(at=NOW_S + 61),
        a_result(labels={**LABELS, "node": "node-2"}),
        a_result(labels={**LABELS, "name": "elsewhere"}),
        a_result(labels={**LABELS, "namespace": 7}),
        a_result(labels=[]),
        {"metric": LABELS},
        {"metric": LABELS, "value": []},
        None,
        "text",
    ],
)
def test_values_that_cannot_be_are_left_out_and_the_others_stay(result: Any) -> None:
    assert told(result) == {}
    assert list(told(result, a_result())) == [DB]


def test_a_dirty_rate_that_no_machine_reaches_is_left_out() -> None:
    assert told(a_result(str((1 << 44) + 1)), series=DIRTY_RATE) == {}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "Expecting value"),
        (b"[" * 200_000, "nested too deeply"),
        (b"{}", "not that of an instant query"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "not that of an instant query"),
        (b'{"status":"success","data":[]}', "not that of an instant query"),
        (b'{"status":"error","errorType":"timeout","error":"query timed out"}', "refused the query: query timed out"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(answer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        readings(answer, RESIDENT, NOW, {})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["metric", "value", "name", "node", "namespace"]), inner)
    ),
    max_leaves=12,
)


@given(results=st.lists(anything | st.builds(a_result, anything, anything, anything), max_size=4))
def test_nothing_within_an_answer_breaks_the_reader(results: list[Any]) -> None:
    for reading in told(*results).values():
        assert reading.resident_bytes is not None
        assert 0 <= reading.resident_bytes.value <= 1 << 56
