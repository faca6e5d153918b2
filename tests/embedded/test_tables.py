"""Durations, ages, JSONPath and protobuf, which kubectl's tables and requests are made of."""

from typing import Any

import pytest

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded.discovery import VERSION
from whimbrel_lab.controlplane.embedded.jsonpath import compile_path
from whimbrel_lab.controlplane.embedded.protobuf import decode
from whimbrel_lab.controlplane.embedded.tables import age, human_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (300, "5m"),
        (310, "5m10s"),
        (3600, "60m"),
        (4 * 3600, "4h"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (3 * 86400 + 7200, "3d2h"),
        (100 * 86400, "100d"),
        (3 * 365 * 86400, "3y"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400 + 86400, "9y"),
    ],
)
def test_durations_read_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_an_age_of_what_is_no_time_is_unknown() -> None:
    assert (age(None, 0), age("yesterday", 0), age("1970-01-01T00:00:00Z", 60)) == ("<unknown>", "<unknown>", "60s")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.size", 3),
        ("spec.size", 3),
        (".spec.missing", None),
        (".items[0].name", "a"),
        (".items[-1].name", "b"),
        (".items[*].name", "a"),
        ('.items[?(@.name=="b")].value', True),
        (".items[?(@.name!='a')].name", "b"),
        (".items[?(@.value)].name", "a"),
        (".items[?(@.rank==2)].name", "b"),
        (r".metadata.labels.whimbrel\.dev/plan", "p"),
        (".metadata.labels['whimbrel.dev/plan']", "p"),
    ],
)
def test_json_paths_find_what_kubectl_would(path: str, expected: Any) -> None:
    document = {
        "spec": {"size": 3},
        "items": [{"name": "a", "value": False, "rank": 1}, {"name": "b", "value": True, "rank": 2}],
        "metadata": {"labels": {"whimbrel.dev/plan": "p"}},
    }

    assert compile_path(path)(document) == expected


def test_a_json_path_that_cannot_be_read_says_where() -> None:
    with pytest.raises(ValueError, match="from character 2 on"):
        compile_path(".a[?b]")


async def test_the_version_says_that_this_server_is_an_embedded_one(client: RawClient) -> None:
    version = (await client.get("/version")).body

    assert version == VERSION
    assert "embedded" in version["gitVersion"]


def test_kubectls_protobuf_is_read() -> None:
    metadata = b"\x0a\x03one" + b"\x5a\x06\x0a\x01k\x12\x01v"
    config_map = b"\x0a" + bytes([len(metadata)]) + metadata + b"\x12\x06\x0a\x01a\x12\x01b"
    identity = b"\x0a\x02v1\x12\x09ConfigMap"
    body = b"k8s\x00\x0a" + bytes([len(identity)]) + identity + b"\x12" + bytes([len(config_map)]) + config_map

    assert decode(body) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "labels": {"k": "v"}},
        "data": {"a": "b"},
    }


def test_protobuf_of_another_kind_is_refused_with_a_way_out() -> None:
    identity = b"\x0a\x07apps/v1\x12\x0aDeployment"
    body = b"k8s\x00\x0a" + bytes([len(identity)]) + identity

    with pytest.raises(Exception, match="kubectl apply -f"):
        decode(body)
