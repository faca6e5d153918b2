"""Builders of records with sensible defaults, so that a test names only what it is about.

`a_snapshot` files what it is given and nothing else; `a_cluster` adds what every working cluster has.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from support.foreign import (
    BORN,
    CAPABILITIES,
    GIB,
    KUBEVIRT_1_4,
    KUBEVIRT_1_5,
    KUBEVIRT_CONFIGURATION,
    LIVE_MIGRATABLE,
    MIB,
    NOW,
    a_handler,
    a_kubevirt,
    a_launcher,
    a_migration,
    a_migration_state,
    a_namespace,
    a_node,
    a_pod,
    a_policy,
    a_virtual_machine,
    an_instance,
    node_labels,
)
from support.own import a_move, a_plan, a_profile, an_attempt
from whimbrel.domain.networks import NetworkAttachment
from whimbrel.domain.quotas import Limits, Quota
from whimbrel.domain.records import (
    Capabilities,
    Instance,
    Key,
    KubeVirt,
    Migration,
    Move,
    Namespace,
    Node,
    Plan,
    Pod,
    Policy,
    Profile,
    VirtualMachine,
)
from whimbrel.domain.samples import MigrationSample
from whimbrel.domain.storage import Attachment, Claim, CsiNode, Volume
from whimbrel.inventory.snapshot import Refusal, Snapshot

__all__ = [
    "BORN",
    "CAPABILITIES",
    "GIB",
    "KUBEVIRT_1_4",
    "KUBEVIRT_1_5",
    "KUBEVIRT_CONFIGURATION",
    "LIVE_MIGRATABLE",
    "MIB",
    "NOW",
    "a_cluster",
    "a_handler",
    "a_kubevirt",
    "a_launcher",
    "a_migration",
    "a_migration_state",
    "a_move",
    "a_namespace",
    "a_node",
    "a_plan",
    "a_pod",
    "a_policy",
    "a_profile",
    "a_snapshot",
    "a_virtual_machine",
    "an_attempt",
    "an_instance",
    "node_labels",
]

AnyRecord = (
    Plan
    | Profile
    | Move
    | VirtualMachine
    | Instance
    | Migration
    | Node
    | Namespace
    | Pod
    | KubeVirt
    | Policy
    | Claim
    | Volume
    | CsiNode
    | Attachment
    | Quota
    | Limits
    | NetworkAttachment
)


_FIELDS: Mapping[type, str] = {
    Plan: "plans",
    Profile: "profiles",
    Move: "moves",
    VirtualMachine: "virtual_machines",
    Instance: "instances",
    Migration: "migrations",
    Node: "nodes",
    Namespace: "namespaces",
    Pod: "pods",
    KubeVirt: "kubevirts",
    Policy: "policies",
    Claim: "claims",
    Volume: "volumes",
    CsiNode: "csi_nodes",
    Attachment: "attachments",
    Quota: "quotas",
    Limits: "limits",
    NetworkAttachment: "networks",
}


def a_snapshot(
    *records: AnyRecord,
    now: datetime = NOW,
    samples: Mapping[Key, MigrationSample] | None = None,
    refusals: Mapping[Key, Refusal] | None = None,
    generation: int = 1,
    capabilities: Capabilities | None = CAPABILITIES,
) -> Snapshot:
    """A snapshot of exactly these records, whatever their kinds."""
    filed: dict[str, dict[Key, Any]] = {field: {} for field in _FIELDS.values()}
    for record in records:
        filed[_FIELDS[type(record)]][record.key] = record
    return Snapshot(
        now=now,
        samples=dict(samples or {}),
        refusals=dict(refusals or {}),
        generation=generation,
        capabilities=capabilities,
        **filed,
    )


def a_cluster(
    *records: AnyRecord,
    now: datetime = NOW,
    samples: Mapping[Key, MigrationSample] | None = None,
    refusals: Mapping[Key, Refusal] | None = None,
    capabilities: Capabilities | None = CAPABILITIES,
) -> Snapshot:
    """A snapshot of these records and of what every working cluster has, where they lack it.

    Added: KubeVirt, a HostProfile for all nodes, the nodes node-1 to node-3 (only when no node was given),
    namespaces, VirtualMachines of owned instances, and a source launcher per instance.
    """
    given = list(records)
    kinds = {type(record) for record in given}
    if KubeVirt not in kinds:
        given.append(a_kubevirt())
    if Profile not in kinds:
        given.append(a_profile())
    if Node not in kinds:
        given += [a_node(f"node-{number}") for number in (1, 2, 3)]
    there = {(type(record), record.key) for record in given}
    launched = {record.instance_uid for record in given if isinstance(record, Pod) and not record.migration_uid}
    for record in list(given):
        if record.key.namespace and (Namespace, Key("", record.key.namespace)) not in there:
            there.add((Namespace, Key("", record.key.namespace)))
            given.append(a_namespace(record.key.namespace))
        if isinstance(record, Instance):
            owner = Key(record.key.namespace, record.owner_vm)
            if record.owner_vm and (VirtualMachine, owner) not in there:
                there.add((VirtualMachine, owner))
                given.append(a_virtual_machine(owner.name, owner.namespace, labels=record.labels))
            if record.uid not in launched and record.node:
                given.append(a_launcher(record))
    return a_snapshot(*given, now=now, samples=samples, refusals=refusals, capabilities=capabilities)
