"""Local disks that a migration copies: how many bytes the API tells of."""

from typing import Any

import pytest

from support.builders import GIB, MIB
from whimbrel.domain import resources
from whimbrel.domain.records import Instance
from whimbrel.inventory.projections import PROJECTIONS


def _local_disks(*volumes: dict[str, Any], migrated: tuple[dict[str, Any], ...] = ()) -> tuple[int | None, int, int]:
    status = {"migrationMethod": "BlockMigration", "migratedVolumes": list(migrated)}
    domain = {"memory": {"guest": "1Gi"}}
    instance = PROJECTIONS[resources.INSTANCES](
        {
            "metadata": {"name": "x", "namespace": "shop"},
            "spec": {"domain": domain, "volumes": list(volumes)},
            "status": status,
        }
    )
    assert isinstance(instance, Instance)
    return instance.local_disk_bytes, instance.told_disk_bytes, instance.copied_bytes


ROOT = {"name": "root", "persistentVolumeClaim": {"claimName": "root"}}
SEED: dict[str, Any] = {"name": "seed", "cloudInitNoCloud": {}}
SCRATCH = {"name": "scratch", "emptyDisk": {"capacity": "2Gi"}}
IMAGE = {"name": "image", "containerDisk": {"image": "boot"}}


@pytest.mark.parametrize(
    ("volumes", "told", "complete"),
    [
        ((ROOT,), 0, True),
        ((ROOT, SEED), 4 * MIB, True),
        ((ROOT, SCRATCH, SEED), 2 * GIB + 4 * MIB, True),
        (({"name": "h", "hostDisk": {"path": "/x", "capacity": "3Gi"}},), 3 * GIB, True),
        (({"name": "h", "hostDisk": {"path": "/x", "capacity": "3Gi", "shared": True}},), 0, True),
        (({"name": "h", "hostDisk": {"path": "/x"}},), 0, False),
        ((SCRATCH, IMAGE), 2 * GIB, False),
        (({"name": "e", "emptyDisk": {"capacity": "lots"}}, SCRATCH), 2 * GIB, False),
        ((), 0, False),
    ],
)
def test_local_disks_are_summed_as_far_as_the_api_tells_their_sizes(
    volumes: tuple[dict[str, Any], ...], told: int, complete: bool
) -> None:
    assert _local_disks(*volumes) == (told if complete else None, told, GIB + told)


@pytest.mark.parametrize(
    ("source", "told"),
    [({"capacity": {"storage": "5Gi"}}, 5 * GIB), ({"requests": {"storage": "4Gi"}}, 4 * GIB), ({}, None)],
)
def test_a_volume_that_moves_along_counts_with_its_claims_size(source: dict[str, Any], told: int | None) -> None:
    found = _local_disks(ROOT, migrated=({"volumeName": "root", "sourcePVCInfo": source},))

    assert found == (told, told or 0, GIB + (told or 0))
