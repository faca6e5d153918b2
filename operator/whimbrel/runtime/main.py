"""The command line of the operator: `whimbrel`, or `python -m whimbrel`."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from whimbrel import __version__
from whimbrel.engine import Engine
from whimbrel.kube.client import NotConfigured, connect
from whimbrel.kube.prometheus import Source
from whimbrel.runtime import logs, memory
from whimbrel.runtime.app import Operator, Settings

log = logging.getLogger("whimbrel")

DEFAULT_NAMESPACE = "whimbrel-system"


def parser() -> argparse.ArgumentParser:
    """All options, with their defaults."""
    options = argparse.ArgumentParser(
        prog="whimbrel", description="Moves running KubeVirt virtual machines as MigrationPlans say."
    )
    options.add_argument("--kubeconfig", help="how to reach the cluster; in a pod the service account is used")
    options.add_argument("--context", help="context of the kubeconfig")
    options.add_argument("--namespace", help=f"of the Lease; else the pod's, else {DEFAULT_NAMESPACE}")
    options.add_argument("--lease-name", default="whimbrel", help="name of the Lease (%(default)s)")
    options.add_argument("--no-leader-election", action="store_true", help="write without a Lease: one replica only!")
    options.add_argument("--health-address", default="", help="where /healthz, /readyz and /metrics listen (all)")
    options.add_argument("--health-port", type=_port, default=8080, help="their port; 0 picks one (%(default)s)")
    options.add_argument("--log-format", choices=("text", "json"), default="text", help="(%(default)s)")
    options.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    options.add_argument(
        "--metrics-interval", type=_seconds, default=5.0, help="seconds between reads of virt-handlers' metrics (5)"
    )
    options.add_argument(
        "--prometheus-url", type=_url, help="a Prometheus that scrapes KubeVirt: asked for readings of guests (none)"
    )
    options.add_argument("--prometheus-ca-file", type=Path, help="certificates that verify it (those of the system)")
    options.add_argument("--prometheus-token-file", type=Path, help="bearer token for it, over https only (none)")
    options.add_argument("--version", action="version", version=f"whimbrel {__version__}")
    return options


def identity() -> str:
    """Who we are in the Lease: the pod's name, which a restarted container keeps; elsewhere something unique."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the operator; answers the exit code. 0: was asked to stop; 1: lost the lease or broke; 2: not configured."""
    options = _parsed(arguments)
    logs.set_up(options.log_format, options.log_level)
    memory.set_up()
    try:
        return asyncio.run(_run(options))
    except NotConfigured as error:
        log.critical("%s", error)
        return 2
    except OSError as error:
        log.critical("Cannot listen on %s port %d: %s", options.health_address or "*", options.health_port, error)
        return 2


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, after what only several of them together can break."""
    options = (known := parser()).parse_args(arguments)
    url: str = options.prometheus_url or ""
    if options.prometheus_token_file is not None and not url.startswith("https:"):
        known.error("--prometheus-token-file needs a --prometheus-url with https: a token is not sent in the clear")
    if options.prometheus_ca_file is not None and not url.startswith("https:"):
        known.error("--prometheus-ca-file needs a --prometheus-url with https")
    return options


async def _run(options: argparse.Namespace) -> int:
    connection = await connect(options.kubeconfig, options.context)
    settings = Settings(
        namespace=options.namespace or connection.namespace or DEFAULT_NAMESPACE,
        identity=identity(),
        lease_name=options.lease_name,
        leader_election=not options.no_leader_election,
        health_address=options.health_address,
        health_port=options.health_port,
        metrics_interval_s=options.metrics_interval,
        prometheus=options.prometheus_url
        and Source(options.prometheus_url, options.prometheus_ca_file, options.prometheus_token_file),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await Operator(connection, settings, Engine().decide).run(stop)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return number


def _url(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise argparse.ArgumentTypeError(f"{text} is no URL like https://prometheus.example.com:9090/path")
    return text


if __name__ == "__main__":
    sys.exit(main())
