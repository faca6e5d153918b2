"""`python -m whimbrel_lab`: `up` starts a data centre to play with, `demo` shows a host being emptied.

`up` prints a kubeconfig and what to try, and runs until Ctrl-C.
"""

import argparse
import asyncio
import contextlib
import logging
import re
import signal
import sys
from pathlib import Path

from whimbrel.domain.quantities import MBPS
from whimbrel_lab import topology
from whimbrel_lab.controlplane.plane import check_kubeconfig_is_ours, write_kubeconfig
from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.hypervisor import HypervisorError
from whimbrel_lab.lab import Lab, LabError
from whimbrel_lab.topology import TopologyError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="whimbrel_lab", description="A data centre on a laptop.")
    verbs = made.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start a control plane, KubeVirt, hosts and virtual machines")
    up.add_argument("--hosts", type=int, default=3, help="how many nodes (default 3)")
    up.add_argument("--vms", type=int, default=8, help="how many virtual machines, all on node-1 (default 8)")
    up.add_argument("--hypervisor", choices=("auto", "libvirt", "model"), default="auto")
    up.add_argument("--control-plane", choices=("embedded", "real"), default="embedded")
    up.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig")
    up.add_argument("--link-mbps", type=int, default=320, help="each host's migration link (default 320)")
    up.add_argument(
        "--busy-mib-per-second", type=int, help="how fast vm-01 rewrites most of its memory (default: hardly)"
    )
    up.add_argument(
        "--kubevirt", default=topology.CURRENT, help=f"which version of KubeVirt (default {topology.CURRENT})"
    )
    up.add_argument("--speed", type=float, default=1.0, help="lab seconds per second (model only)")
    up.add_argument("--port", type=int, default=0, help="the API server's port (default: a free one)")
    demo = verbs.add_parser("demo", help="empty a host of virtual machines, before your eyes")
    with contextlib.suppress(ImportError):
        from whimbrel_lab.demo import scenario

        if hasattr(scenario, "add_arguments"):
            scenario.add_arguments(demo)
    return made


async def up(arguments: argparse.Namespace) -> int:
    """Run a lab until SIGINT or SIGTERM."""
    if arguments.kubeconfig is not None:
        check_kubeconfig_is_ours(arguments.kubeconfig)
    if re.fullmatch(r"v1\.\d+\.\d+", arguments.kubevirt) is None:
        raise TopologyError(f"--kubevirt {arguments.kubevirt}: no version such as {topology.CURRENT}")
    busy = arguments.busy_mib_per_second
    shape = topology.simple(
        arguments.hosts,
        arguments.vms,
        link_bytes_per_second=arguments.link_mbps * MBPS,
        busy_bytes_per_second=None if busy is None else busy * topology.MIB,
        version=arguments.kubevirt,
    )
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    lab = Lab(
        shape,
        hypervisor=arguments.hypervisor,
        speed=arguments.speed,
        port=arguments.port,
        control_plane=arguments.control_plane,
    )
    async with lab:
        path = arguments.kubeconfig or lab.kubeconfig
        if arguments.kubeconfig is not None:
            write_kubeconfig(path, lab.plane.access(), name=lab.plane.name)
        print(welcome(lab, path), flush=True)
        await over.wait()
        print("\nThe lab is being taken down.", flush=True)
    return 0


def tools(lab: Lab) -> str:
    """On a real API server: a line that puts the kubectl of its release first."""
    found = binaries.search("kubectl").path if lab.plane.name == "real" else None
    return f"\n  export PATH={found.parent}:$PATH" if found is not None else ""


def welcome(lab: Lab, path: Path) -> str:
    """What to try next."""
    first = lab.topology.guests[0].name if lab.topology.guests else "vm-01"
    target = lab.topology.hosts[-1].name
    size = f"{len(lab.topology.hosts)} hosts, {len(lab.topology.guests)} virtual machines"
    return f"""{size}, hypervisor: {lab.hypervisor_name}, API server: {lab.url}

  export KUBECONFIG={path}{tools(lab)}
  kubectl get nodes
  kubectl get vm,vmi -o wide
  kubectl apply -f - <<EOF
  apiVersion: kubevirt.io/v1
  kind: VirtualMachineInstanceMigration
  metadata: {{name: by-hand}}
  spec: {{vmiName: {first}, addedNodeSelector: {{kubernetes.io/hostname: {target}}}}}
  EOF
  kubectl get vmim -w

The operator runs against it with the same KUBECONFIG: whimbrel
Ctrl-C ends the lab and all of its virtual machines."""


def main() -> int:
    """Run the verb; 2 for what cannot be done here."""
    arguments = parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        if arguments.verb == "up":
            return asyncio.run(up(arguments))
        from whimbrel_lab.demo import scenario

        return asyncio.run(scenario.run(arguments))
    except (LabError, TopologyError, HypervisorError, OSError) as problem:
        print(f"whimbrel_lab: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
