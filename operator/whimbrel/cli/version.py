"""`kubectl whimbrel version`: the plugin's release and the API version that it speaks. Asks no cluster."""

import argparse
from importlib import metadata

from whimbrel.api.definition import GROUP, VERSION
from whimbrel.cli.output import Answer
from whimbrel.cli.verb import Connect, Verb


def run(_arguments: argparse.Namespace, _connect: Connect) -> Answer:
    """The versions."""
    release = metadata.version("whimbrel")
    return Answer({"version": release, "api": f"{GROUP}/{VERSION}"}, f"whimbrel {release} ({GROUP}/{VERSION})")


VERB = Verb("version", "the plugin's version", lambda _parser: None, run)
