"""A whole simulated cluster with the operator in it, run from event to event on a virtual clock.

    simulation = Simulation(topology, decide, overdue_stuns, profiles=[a_profile()])
    simulation.apply(a_plan("evening", {...}))
    simulation.run_until_finished(limit_s=3600)

Deterministic: the same arguments give the same history.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, NODES, VIRTUAL_MACHINES
from whimbrel.simulation.agenda import Action, Agenda
from whimbrel.simulation.data_centre import DataCentre, Pace
from whimbrel.simulation.driver import Decide, Faults, Judge, Operator, Order, Timing
from whimbrel.simulation.node_agents import NodeAgents
from whimbrel.simulation.topology import Topology, apply, populate
from whimbrel.simulation.world import Change, Object, World

USER = "user"


class Simulation:
    """What a scenario needs to say: what there is, what people and fate do when, and for how long to watch."""

    def __init__(
        self,
        topology: Topology,
        decide: Decide,
        judge: Judge,
        *,
        profiles: Iterable[Object] = (),
        timing: Timing = Timing(),  # noqa: B008 – frozen
        pace: Pace = Pace(),  # noqa: B008 – frozen
        faults: Faults = Faults(),  # noqa: B008 – frozen
        order: Order = tuple,
    ) -> None:
        self.agenda = Agenda()
        self.centre = DataCentre(self.agenda, pace)
        self.world: World = self.centre.world
        self.agents = NodeAgents(self.centre, self.agenda, pace, topology)
        populate(self.world, topology)
        apply(self.world, *profiles)
        self.operator = Operator(
            self.world, self.agenda, decide, judge, self.agents.metrics, timing=timing, faults=faults, order=order
        )
        self.centre.take_stock()
        self.world.history.clear()
        self.world.on_change = self._changed
        self.listeners: list[Callable[[Change], None]] = []
        """Who else hears of each accepted write."""
        self._plans_changed = True
        self._finished = False
        self.operator.start()

    @property
    def now_s(self) -> float:
        """Virtual seconds since the begin."""
        return self.agenda.seconds

    def apply(self, *documents: Object) -> None:
        """A user creates plans and profiles now."""
        apply(self.world, *documents)

    def at(self, seconds: float, action: Action) -> None:
        """Something happens at that time."""
        self.agenda.at(seconds, action)

    def run(self, seconds: float) -> None:
        """So much virtual time passes."""
        end = self.agenda.seconds + seconds
        self.agenda.at(end, lambda: None)
        while (due := self.agenda.next_at()) is not None and due <= end:
            self.agenda.step()

    def run_until_finished(self, limit_s: float) -> bool:
        """Until every plan says that it is finished, at most so much virtual time; whether they are."""
        end = self.agenda.seconds + limit_s
        while not self.finished and (due := self.agenda.next_at()) is not None and due <= end:
            self.agenda.step()
        return self.finished

    @property
    def finished(self) -> bool:
        """Whether every plan says that it is finished."""
        if self._plans_changed:
            self._plans_changed = False
            plans = self.world.objects(MIGRATION_PLANS).values()
            self._finished = all((plan.get("status") or {}).get("finishedAt") for plan in plans)
        return self._finished

    # What people and fate do

    def edit(self, plan: Key, spec: Mapping[str, Any]) -> None:
        """A user replaces members of a plan's spec; the schema freezes that of a finished plan."""
        body = self.world.get(MIGRATION_PLANS, plan)
        if body is not None and not (body.get("status") or {}).get("finishedAt"):
            self.world.replace(USER, MIGRATION_PLANS, plan, {**body, "spec": {**body["spec"], **spec}})

    def delete_plan(self, plan: Key) -> None:
        """A user deletes a plan."""
        if self.world.get(MIGRATION_PLANS, plan) is not None:
            self.world.delete(USER, MIGRATION_PLANS, plan)

    def delete_machine(self, machine: Key) -> None:
        """A user deletes a virtual machine."""
        if self.world.get(VIRTUAL_MACHINES, machine) is not None:
            self.world.delete(USER, VIRTUAL_MACHINES, machine)

    def restart_machine(self, machine: Key) -> None:
        """A user restarts a virtual machine: its instance is deleted, another one follows under the same name."""
        if self.world.get(INSTANCES, machine) is not None:
            self.world.delete(USER, INSTANCES, machine)

    def migrate(self, instance: Key) -> None:
        """A user migrates an instance by hand; refused like anybody's where that is not possible."""
        body = {
            "metadata": {"generateName": "kubevirt-migrate-vm-", "namespace": instance.namespace},
            "spec": {"vmiName": instance.name},
        }
        self.world.create(USER, MIGRATIONS, body)

    def set_ready(self, node: str, ready: bool) -> None:
        """A node's kubelet goes away, or comes back."""
        body = self.world.get(NODES, Key("", node))
        if body is not None:
            condition = {"type": "Ready", "status": "True" if ready else "Unknown", "reason": "NodeStatusUnknown"}
            self.world.replace_status(
                "node-controller",
                NODES,
                Key("", node),
                {**body, "status": {**body["status"], "conditions": [condition]}},
            )

    def _changed(self, change: Change) -> None:
        self._plans_changed |= change.resource == MIGRATION_PLANS
        self.centre.notice(change)
        self.agents.notice(change)
        self.operator.notice(change)
        for listener in self.listeners:
            listener(change)
