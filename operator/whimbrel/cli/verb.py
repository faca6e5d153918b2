"""What a verb of the plugin is. A new verb is a file with a `VERB` and a line in `main.VERBS`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.cli.cluster import Cluster
from whimbrel.cli.output import Answer

Connect = Callable[[], Cluster]
"""Connects to the cluster that the options name; raises Failure."""


@dataclass(frozen=True, slots=True)
class Verb:
    """`configure` adds the verb's own arguments; `run` answers or raises Failure."""

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Connect], Answer]


def takes_plan(parser: argparse.ArgumentParser) -> None:
    """The argument PLAN."""
    parser.add_argument("plan", metavar="PLAN", help="name of the MigrationPlan")
