"""However many configurations plans ask for, there are never more than fifty MigrationPolicies of ours, and none stays."""

from support.invariants import OPERATOR
from support.scenes import phases, see_it_through, simulate
from whimbrel.domain.naming import POLICY_PREFIX
from whimbrel.domain.resources import MIGRATION_PLANS, MIGRATION_POLICIES, MIGRATIONS
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_plan
from whimbrel.simulation.world import Change

MOST = 50
GUESTS = 60
FAST = 1_000_000
PLENTY = {"parallelMigrationsPerCluster": 200, "parallelOutboundMigrationsPerNode": 100}


def test_sixty_plans_with_a_bandwidth_each_are_carried_out_under_fifty_policies_at_a_time() -> None:
    guests = [GuestShape(f"vm-{i}", node="node-0", working_set_mib=1, dirty_mib_per_second=1) for i in range(GUESTS)]
    hosts = [HostShape(f"node-{i}", memory_bytes=512 * GIB, cpu=512, link_mbps=FAST) for i in range(2)]
    simulation, checker = simulate(Topology(hosts, guests, migrations=PLENTY), link_mbps=FAST, outbound=64, inbound=64)
    most, waited = [0], set[str]()

    def listen(change: Change) -> None:
        if change.resource == MIGRATION_POLICIES:
            there = [key for key in simulation.world.objects(MIGRATION_POLICIES) if key.name.startswith(POLICY_PREFIX)]
            most[0] = max(most[0], len(there))
        if change.resource == MIGRATION_PLANS and change.after is not None and change.actor == OPERATOR:
            waited.update(wait["reason"] for wait in (change.after.get("status") or {}).get("waits") or ())

    simulation.listeners.append(listen)
    for i in range(GUESTS):
        migration = {"bandwidth": {"maxMbps": 300 + 9 * i}}
        simulation.apply(a_plan(f"plan-{i}", {"virtualMachines": {"names": [f"vm-{i}"]}, "migration": migration}))

    see_it_through(simulation, checker)

    assert phases(simulation) == {f"vm-{i}": "Succeeded" for i in range(GUESTS)}
    assert most[0] == MOST
    assert "PolicyLimit" in waited
    made = {change.key.name for change in simulation.world.history if change.resource == MIGRATION_POLICIES}
    assert len(made) == GUESTS
    assert not [key for key in simulation.world.objects(MIGRATION_POLICIES) if key.name.startswith(POLICY_PREFIX)]
    assert (
        len([each for each in simulation.world.history if each.resource == MIGRATIONS and each.verb == "create"])
        >= GUESTS
    )
