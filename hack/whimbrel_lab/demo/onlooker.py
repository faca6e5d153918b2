"""Looks at the cluster as a user could: the plan, its moves, and the phase of what is in flight.

Phases come from the operator's own pure rules, applied to objects that this process read itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from whimbrel.api import MigrationPlan, VirtualMachineMove
from whimbrel.api.migration_plan import PlanPhase
from whimbrel.domain.records import Instance, Key, Migration, Move
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, VIRTUAL_MACHINE_MOVES, Resource
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.kube.api import KubeApi
from whimbrel.lifecycle import evidence
from whimbrel_lab.clock import LabClock
from whimbrel_lab.demo.view import Glimpse

Kind = TypeVar("Kind", Move, Instance, Migration)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look showed. Moves go in order of their virtual machines' names; `instance_uids` by name."""

    plan: MigrationPlan
    moves: tuple[VirtualMachineMove, ...]
    glimpses: Mapping[str, Glimpse]
    instance_uids: Mapping[str, str]

    @property
    def awaits_approval(self) -> bool:
        """Whether the quote is complete and nothing but a yes is missing."""
        return self.plan.status.phase is PlanPhase.AWAITING_APPROVAL

    @property
    def foretold(self) -> bool:
        """Whether metrics, which come every few seconds, had told of every guest when it was quoted."""
        quote = self.plan.status.quote
        said = {row.virtual_machine: (row.rung, row.bytes_p50) for row in quote.moves} if quote is not None else {}
        return all(
            not attempt.forecast.missing
            and said.get(f"{move.spec.instance.namespace}/{move.spec.instance.name}")
            == (attempt.rung, attempt.forecast.bytes_p50)
            for move in self.moves
            if (attempt := move.spec.attempt) is not None
        )

    @property
    def finished(self) -> bool:
        """Whether the operator called the plan finished."""
        return any(c.type == "Finished" and c.status == "True" for c in self.plan.status.conditions)


class Onlooker:
    """Looks at one plan and the instances of its namespace."""

    def __init__(self, api: KubeApi, clock: LabClock, plan: Key) -> None:
        self._api = api
        self._clock = clock
        self._plan = plan

    async def look(self) -> Sight:
        """One look. Raises ApiError."""
        raw_plan = await self._api.get(MIGRATION_PLANS, self._plan)
        moves = await self._all(VIRTUAL_MACHINE_MOVES, Move)
        instances = await self._all(INSTANCES, Instance)
        migrations = await self._all(MIGRATIONS, Migration)
        names_by_uid = {migration.uid: key for key, migration in migrations.items()}
        now = self._clock.now()
        plan = MigrationPlan.model_validate(raw_plan)
        percents = {active.virtual_machine: active.percent for active in plan.status.active}
        mine = [move for move in moves.values() if move.plan_uid == raw_plan["metadata"]["uid"]]
        mine.sort(key=lambda move: move.instance_key)
        return Sight(
            plan=plan,
            moves=tuple(move.move for move in mine),
            glimpses={
                move.instance_key.name: Glimpse(
                    phase=evidence.phase_of(evidence.gather(move, migrations, names_by_uid, instances, now)),
                    percent=percents.get(str(move.instance_key)),
                    node=instances[move.instance_key].node if move.instance_key in instances else "",
                )
                for move in mine
            },
            instance_uids={key.name: instance.uid for key, instance in instances.items()},
        )

    async def _all(self, resource: Resource, kind: type[Kind]) -> dict[Key, Kind]:
        found: dict[Key, Kind] = {}
        more = ""
        while True:
            page = await self._api.list_page(resource, namespace=self._plan.namespace, more=more)
            for raw in page.items:
                record: Any = PROJECTIONS[resource](raw)
                if isinstance(record, kind):
                    found[record.key] = record
            more = page.more
            if not more:
                return found
