"""What virt-api refuses and what it throws away (contract §1.4, §1.5, §12)."""

from collections.abc import Awaitable, Callable

import pytest

from support.kubevirt_scenarios import a_policy, as_handler, instance_of, migration_of, moved
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.lab import INSTANCE, MIGRATION, Lab

MakeLab = Callable[..., Awaitable[Lab]]
Object = dict[str, object]


def a_migration(lab: Lab, **spec: object) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1", "kind": MIGRATION, "metadata": {"name": "mine", "namespace": lab.namespace},
        "spec": {"vmiName": "vm-1", **spec},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"vmiName": ""}, "vmiName is missing"),
        ({"priority": "system-critical"}, "only virt-controller is allowed to set priority"),
        ({"vmiName": "nobody"}, "does not exist"),
        (
            {"sendTo": {"migrationID": "a", "connectURL": "b:1"}},
            "DecentralizedLiveMigration feature gate is not enabled",
        ),
        ({"receive": {"migrationID": "a"}}, "DecentralizedLiveMigration feature gate is not enabled"),
    ],
)
async def test_a_migration_is_refused_in_kubevirts_words(make_lab: MakeLab, spec: Object, words: str) -> None:
    lab = await make_lab()

    with pytest.raises(RequestRefused, match=words):
        await lab.client.create(a_migration(lab, **spec))

    assert lab.items(MIGRATION) == []


async def test_a_second_migration_of_an_instance_is_refused(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    first = await lab.create_foreign_migration("vm-1")

    with pytest.raises(RequestRefused, match="in-flight migration detected") as refused:
        await lab.create_foreign_migration("vm-1")

    assert first["metadata"]["uid"] in str(refused.value)


async def test_a_guest_that_cannot_migrate_is_refused_with_its_reason(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"blocker": "SharedDisk"})

    with pytest.raises(RequestRefused, match="Cannot migrate VMI, Reason: DisksNotLiveMigratable, Message: "):
        await lab.create_foreign_migration("vm-1")


async def test_the_controller_itself_never_looks_at_live_migratable(make_lab: MakeLab) -> None:
    lab = await make_lab()

    def forget(found: dict[str, object]) -> None:
        shown = found["status"]
        assert isinstance(shown, dict)
        shown["conditions"] = [each for each in shown["conditions"] if each["type"] != "LiveMigratable"]

    await as_handler(lab, "vm-1", forget)

    await moved(lab, "vm-1")


async def test_a_migrations_spec_and_label_stay_as_they_are(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")
    name = migration["metadata"]["name"]

    with pytest.raises(RequestRefused, match="restricted"):
        await lab.client.patch(MIGRATION, name, lab.namespace, {"spec": {"vmiName": "vm-2"}})
    with pytest.raises(RequestRefused, match="selector label can't be modified"):
        await lab.client.patch(
            MIGRATION, name, lab.namespace, {"metadata": {"labels": {"kubevirt.io/vmi-name": "vm-2"}}}
        )

    assert migration_of(lab, migration)["spec"] == {"vmiName": "vm-1"}


async def test_a_forged_status_is_answered_200_and_thrown_away(make_lab: MakeLab) -> None:
    lab = await make_lab()

    answer = await lab.client.patch(INSTANCE, "vm-1", lab.namespace, {"status": {"nodeName": "node-9"}})

    assert answer["status"]["nodeName"] == "node-1"
    assert lab.node_of("vm-1") == "node-1"


@pytest.mark.parametrize(
    "label",
    ["kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName", "kubevirt.io/created-by"],
)
async def test_kubevirts_own_labels_are_kept_from_others(make_lab: MakeLab, label: str) -> None:
    lab = await make_lab()

    with pytest.raises(RequestRefused, match="reserved"):
        await lab.label_instance("vm-1", {label: "node-9"})
    await lab.label_instance("vm-1", {"example.com/mine": "yes"})

    assert instance_of(lab, "vm-1")["metadata"]["labels"]["example.com/mine"] == "yes"


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"bandwidthPerMigration": "-1"}, "must not be negative"),
        ({"completionTimeoutPerGiB": -1}, "must not be negative"),
        ({"maxDowntimeMs": 500}, "MigrationStallDetection feature gate"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused(make_lab: MakeLab, stated: Object, words: str) -> None:
    lab = await make_lab()

    with pytest.raises(RequestRefused, match=words):
        await lab.client.create(a_policy("wrong", {}, **stated))
