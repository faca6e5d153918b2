"""`kubectl whimbrel approve PLAN`: shows the quote and, after a yes, approves exactly that quote.

The approval is an annotation that names the quote's hash; Git never sees it, and a changed quote needs a new one.
"""

import argparse
import sys

from whimbrel.api.migration_plan import APPROVE_ANNOTATION, Approval
from whimbrel.cli.cluster import Failure
from whimbrel.cli.output import Answer, render
from whimbrel.cli.quote import current_quote, describe
from whimbrel.cli.verb import Connect, Verb, takes_plan


def configure(parser: argparse.ArgumentParser) -> None:
    """PLAN and --yes."""
    takes_plan(parser)
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """Approves the present quote, after asking."""
    cluster = connect()
    plan = cluster.plan(arguments.plan)
    quote = current_quote(plan)
    print(render(describe(plan, quote, cluster.moves(plan)), "table", colour=False), file=sys.stderr)
    outcome = {"plan": str(plan), "quote": quote.hash, "annotation": APPROVE_ANNOTATION}
    if plan.plan.spec.approval != Approval.MANUAL:
        return Answer({**outcome, "approved": False}, f"Plan {plan} needs no approval: its spec.approval is Automatic.")
    if plan.approved_hash == quote.hash:
        return Answer({**outcome, "approved": True}, f"Plan {plan}: this quote was approved already.")
    if not arguments.yes:
        ask(f"Approve this quote of plan {plan}? [y/N] ")
    cluster.approve(plan, quote.hash)
    return Answer({**outcome, "approved": True}, f"Plan {plan}: quote {quote.hash} approved.")


def ask(question: str) -> None:
    """Raises Failure unless a person at a terminal says yes."""
    if not sys.stdin.isatty():
        raise Failure("nobody is here to ask: read the quote above, and say yes with --yes")
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("not approved; nothing was changed")


VERB = Verb("approve", "say yes to the quote of a plan with approval: Manual", configure, run)
