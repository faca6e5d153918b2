"""Projections within bounds: no object makes one raise, and what is kept stays small."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.raw import INSTANCE
from whimbrel.domain import resources
from whimbrel.domain.resources import Resource
from whimbrel.inventory.projections import PROJECTIONS

_FIELD = st.sampled_from(
    ["metadata", "spec", "status", "name", "namespace", "labels", "annotations", "conditions", "type", "domain", "cpu",
     "features", "containers", "initContainers", "resources", "requests", "limits", "memory", "allocatable", "guest",
     "migrationState", "startTimestamp", "creationTimestamp", "migrationConfiguration", "bandwidthPerMigration",
     "selectors", "taints", "ports", "ownerReferences", "kind", "virtualMachines", "names", "configuration",
     "migrations", "overhead", "activePods", "kubevirt.io", "finalizers", "generation", "featureGates",
     "developerConfiguration", "instance", "attempt", "target", "phase", "finishedAt", "observedKubeVirtVersion"]
)  # fmt: skip
_LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
    | st.sampled_from(["1Gi", "LiveMigratable", "Ready", "virt-launcher", "2026-03-01T12:00:00Z", "v1.3.0", "Always", "1e9"])
)  # fmt: skip
_JSON = st.recursive(
    _LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_FIELD | st.text(max_size=6), inner, max_size=6),
    max_leaves=25,
)
_OBJECT = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"name": st.just("x")}, optional={"labels": _JSON, "ownerReferences": _JSON})
        | _JSON
    },
    optional={"spec": _JSON, "status": _JSON},
)


@settings(max_examples=300, deadline=None)
@given(_OBJECT)
def test_no_object_whatever_makes_a_projection_raise(raw: dict[str, Any]) -> None:
    for resource, projection in PROJECTIONS.items():
        record = projection(raw)

        assert record is None or record.key.name, resource.kind


def _spoiled(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    head, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[head] = _spoiled(copy[head], tuple(rest), junk)
    return copy


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for step, inner in steps for path in _paths(inner, (*at, step)))]


@pytest.mark.parametrize("junk", [None, 0, -1, "junk", True, [], {}, [1, "a", {}], {"a": 1}, 1.5])
def test_a_good_instance_spoiled_in_any_one_place_does_no_harm(junk: Any) -> None:
    for path in _paths(INSTANCE):
        if path:
            PROJECTIONS[resources.INSTANCES](_spoiled(INSTANCE, path, junk))


def _one_virtual_machine(number: int) -> list[tuple[Resource, str]]:
    """A VirtualMachine, its instance and two pods as JSON, with what a real cluster makes unique about each."""
    uid, name = f"0c6d0a4e-0000-4000-8000-{number:012d}", f"app-{number:05d}"
    node = f"node-{number % 100}.example.org"
    meta = {"name": name, "namespace": "shop", "uid": uid, "creationTimestamp": "2026-03-01T12:00:00Z"}
    instance = INSTANCE | {
        "metadata": INSTANCE["metadata"] | meta | {
            "resourceVersion": str(1_000_000 + number),
            "ownerReferences": [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name}],
            "labels": {"app": f"app-{number % 40}", "tier": "db", "kubevirt.io/nodeName": node, "kubevirt.io/size": "m"},
        },
        "status": {
            "phase": "Running", "nodeName": node, "activePods": {f"pod-{uid}": node},
            "conditions": [{"type": "LiveMigratable", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    }  # fmt: skip

    def pod(kind: str) -> dict[str, Any]:
        return {
            "metadata": meta | {
                "name": f"virt-launcher-{name}-{kind}", "uid": f"pod-{uid}" if kind == "run" else f"pod2-{uid}",
                "labels": {
                    "kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid, "vm.kubevirt.io/name": name,
                    "vmi.kubevirt.io/id": name, "app": f"app-{number % 40}", "tier": "db", "kubevirt.io/nodeName": node,
                },
                "ownerReferences": [{
                    "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": name, "uid": uid,
                    "controller": True,
                }],
            },
            "spec": {"nodeName": node, "containers": [{"resources": {"requests": {"memory": "4300Mi", "cpu": "200m"}}}]},
            "status": {"phase": "Running", "podIP": f"10.{number // 60000}.{number // 250 % 250}.{number % 250}"},
        }  # fmt: skip

    return [
        (resources.VIRTUAL_MACHINES, json.dumps({"metadata": meta | {"uid": f"vm-{uid}", "labels": {"app": "x"}}})),
        (resources.INSTANCES, json.dumps(instance)),
        (resources.PODS, json.dumps(pod("run"))),
        (resources.PODS, json.dumps(pod("other"))),
    ]


def _bytes_taken(numbers: range) -> int:
    """What the records of these virtual machines take."""
    documents = [document for number in numbers for document in _one_virtual_machine(number)]
    records: list[Any] = [None] * len(documents)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for position, (resource, document) in enumerate(documents):
        records[position] = PROJECTIONS[resource](json.loads(document))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken


def test_a_virtual_machine_its_instance_and_two_pods_take_less_than_two_kibibytes() -> None:
    _bytes_taken(range(100))

    # The interpreter's table of shared names doubles now and then, at most once in the two.
    taken = min(_bytes_taken(range(100, 2000)), _bytes_taken(range(2000, 3900)))

    per_virtual_machine = taken / 1900
    print(f"{per_virtual_machine:.0f} bytes per virtual machine with instance and two pods")
    assert per_virtual_machine < 2048
