"""Reasons: why something cannot be. A refusal is a value with a code, never False and never an exception.

Each preflight family subclasses `Reason`; the class name is the stable code, its docstring the cause, `remedy` the cure.
"""

from dataclasses import dataclass
from typing import ClassVar

from whimbrel.api.text import printable
from whimbrel.api.virtual_machine_move import Judgement


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a virtual machine cannot go to a node, or nowhere at all (empty `node`); or what is to be known beforehand."""

    remedy: ClassVar[str] = ""
    judgement: ClassVar[Judgement] = Judgement.BLOCK
    blocks: ClassVar[bool] = True
    """Whether nothing may start. Warnings never block; unknowns only where a rule says so."""

    field: str
    found: str
    needed: str
    node: str = ""
    further_nodes: tuple[str, ...] = ()
    """The next of the nodes, where it holds on several; `found` is what is found on the first."""
    node_count: int = 0
    """How many nodes it holds on, where nodes are put together; 0 where it is of `node` alone, or holds everywhere."""

    def __post_init__(self) -> None:
        """What was found may be any tenant's text; whoever reads it on a terminal must see it as it is."""
        for name in ("field", "found", "needed"):
            value = getattr(self, name)
            if not value.isprintable():
                object.__setattr__(self, name, printable(value))

    @property
    def code(self) -> str:
        """The stable code."""
        return type(self).__name__

    def cure(self) -> str:
        """What to do about it, with the values filled in."""
        return self.remedy.format(field=self.field, found=self.found, needed=self.needed, node=self.node)
