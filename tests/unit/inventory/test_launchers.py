"""Which pods are launchers: those that an instance controls, as for KubeVirt."""

from typing import Any

import pytest

from support.raw import owned_by_an_instance
from whimbrel.domain import resources
from whimbrel.domain.records import Pod
from whimbrel.inventory.projections import PROJECTIONS


def project(raw: dict[str, Any]) -> Pod:
    pod = PROJECTIONS[resources.PODS](raw)
    assert isinstance(pod, Pod)
    return pod


OF_A_LAUNCHER = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "i", "kubevirt.io/migrationJobUID": "m"}


def test_a_launcher_says_whose_it_is_and_an_ordinary_pod_says_nothing_of_the_kind() -> None:
    metadata = {"name": "l", "labels": {**OF_A_LAUNCHER, "app": "db"}, "ownerReferences": owned_by_an_instance("i")}
    launcher = {"metadata": metadata, "status": {"podIP": "10.0.0.1"}}
    other = {"metadata": {"name": "o", "labels": {"app": "db"}}, "status": {"podIP": "10.0.0.2"}}

    pod, stranger = project(launcher), project(other)

    assert (pod.instance_uid, pod.migration_uid, pod.ip) == ("i", "m", "10.0.0.1")
    assert pod.labels == {"kubevirt.io": "virt-launcher", "app": "db"}
    assert (stranger.instance_uid, stranger.migration_uid, stranger.ip) == ("", "", "")


@pytest.mark.parametrize(
    "owners",
    [
        [],
        owned_by_an_instance("i", controller=False),
        owned_by_an_instance("i", kind="Pod", apiVersion="v1"),
        owned_by_an_instance("i", apiVersion="kubevirt.io.example.com/v1"),
    ],
)
def test_labels_alone_make_no_launcher_and_stay_labels(owners: list[dict[str, Any]]) -> None:
    pod = project({"metadata": {"name": "l", "labels": OF_A_LAUNCHER, "ownerReferences": owners}})

    assert (pod.instance_uid, pod.migration_uid, pod.admission) == ("", "", None)
    assert pod.labels == OF_A_LAUNCHER


def test_a_pod_that_an_instance_controls_is_its_launcher_whatever_its_labels_say_as_for_kubevirt() -> None:
    labels = {**OF_A_LAUNCHER, "kubevirt.io/created-by": "another"}
    metadata = {"name": "l", "labels": labels, "ownerReferences": owned_by_an_instance("i")}

    pod = project({"metadata": metadata})

    assert pod.instance_uid == "i"
    assert pod.labels == labels
