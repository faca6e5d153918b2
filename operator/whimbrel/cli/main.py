"""Entry point of `kubectl whimbrel`. Exit codes: 0 done, 1 could not be done (stderr says why), 2 wrong usage."""

import argparse
import os
import sys
from collections.abc import Sequence

from whimbrel.api.text import printable_lines
from whimbrel.cli import approve, assess, explain, hosts, quote, receipt, version
from whimbrel.cli.cluster import Cluster, Failure
from whimbrel.cli.output import FORMATS, render

VERBS = (quote.VERB, explain.VERB, receipt.VERB, approve.VERB, hosts.VERB, assess.VERB, version.VERB)


def parser() -> argparse.ArgumentParser:
    """The command line, made of the verbs."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig to use (default: KUBECONFIG, ~/.kube/config)")
    common.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    common.add_argument("--namespace", "-n", metavar="NAME", help="namespace of the plan (default: the context's)")
    common.add_argument("--output", "-o", choices=FORMATS, default="table", help="how to print (default: table)")
    whole = argparse.ArgumentParser(
        prog="kubectl whimbrel",
        description="Quotes and receipts of MigrationPlans; what can move, and which hosts can be emptied.",
        epilog="NO_COLOR=1 switches colours off.",
    )
    verbs = whole.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        verb.configure(verbs.add_parser(verb.name, help=verb.summary, description=verb.summary, parents=[common]))
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code. Wrong usage exits with 2 from within argparse."""
    arguments = parser().parse_args(argv)
    verb = next(verb for verb in VERBS if verb.name == arguments.verb)
    try:
        answer = verb.run(arguments, lambda: Cluster(arguments.kubeconfig, arguments.context, arguments.namespace))
    except Failure as failure:
        print(printable_lines(f"kubectl whimbrel {verb.name}: {failure}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        print(render(answer, arguments.output, colour))
        sys.stdout.flush()
    except BrokenPipeError:  # somebody piped us into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
