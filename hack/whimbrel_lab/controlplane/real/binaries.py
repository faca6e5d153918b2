"""Where the programs of the real control plane are on this machine.

Looked for in $KUBEBUILDER_ASSETS, in the cache that `build` fills, and on PATH, in this order; a program counts only in the
release that the Go tool modules of `hack/control-plane/` name (the same minor version does). Called by `server`, the
tiers, and the tests that call kubectl or helm.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from whimbrel_lab.errors import LabError

MODULES = Path(__file__).resolve().parents[3] / "control-plane"
CACHE_VARIABLE = "WHIMBREL_CACHE"
CACHE = "the cache"
"""A place whose folder is named after the version: what lies there is not asked."""
ANSWER_WITHIN_S = 20
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class BinariesMissing(LabError):
    """Programs of the control plane are not on this machine; the text names them and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of its Go tool module, the package that is built, and how it is asked for its version."""

    name: str
    module: str
    package: str
    ask: tuple[str, ...] = ("--version",)


PROGRAMS = (
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Program("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Program("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Program("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", ("version", "--client")),
    Program("helm", "helm", "helm.sh/helm/v3/cmd/helm", ("version", "--template={{.Version}}")),
)
REQUIRED = {"etcd": "go.etcd.io/etcd/server/v3", "kubernetes": "k8s.io/kubernetes", "helm": "helm.sh/helm/v3"}
"""Tool module → the module whose version is the programs' version."""


def program(name: str) -> Program:
    """The program of this name."""
    return next(each for each in PROGRAMS if each.name == name)


@cache
def wanted_version(module: str) -> str:
    """`v1.36.3`: the version that a tool module's go.mod requires."""
    text = (MODULES / module / "go.mod").read_text()
    found = re.search(rf"^(?:require )?\s*{re.escape(REQUIRED[module])} (v\S+)", text, re.MULTILINE)
    assert found is not None, f"{module}/go.mod requires no {REQUIRED[module]}"
    return found[1]


def cache_folder(module: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the programs of a tool module are kept: outside of any checkout, by version and platform."""
    root = (
        environment.get(CACHE_VARIABLE)
        or Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whimbrel"
    )
    return Path(root) / "control-plane" / f"{module}-{wanted_version(module)}-{_platform()}"


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def fits(text: str, wanted: str) -> bool:
    """Whether what a program says of its version is the wanted minor version."""
    said, asked = _VERSION.search(text), _VERSION.search(wanted)
    return said is not None and asked is not None and said.groups()[:2] == asked.groups()[:2]


@cache
def said_version(path: Path) -> str:
    """What a program answers when it is asked for its version; empty when it does not answer."""
    ask = program(path.name).ask
    try:
        answer = subprocess.run([path, *ask], capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout + answer.stderr


@dataclass(frozen=True, slots=True)
class Search:
    """Where a program was found, or what stood in the way at each place."""

    program: Program
    path: Path | None
    rejected: tuple[str, ...] = ()


def search(
    name: str, environment: Mapping[str, str] = os.environ, version_of: Callable[[Path], str] = said_version
) -> Search:
    """Looks for one program in all places, in order."""
    sought = program(name)
    wanted = wanted_version(sought.module)
    rejected: list[str] = []
    for place, path in _candidates(sought, environment):
        if place == CACHE or fits(said := version_of(path), wanted):
            return Search(sought, path, tuple(rejected))
        found = _VERSION.search(said)
        rejected.append(f"{name} of {place} is {found[0] if found else 'of no version'}, not {wanted}")
    return Search(sought, None, tuple(rejected))


def _candidates(sought: Program, environment: Mapping[str, str]) -> Iterable[tuple[str, Path]]:
    if assets := environment.get("KUBEBUILDER_ASSETS"):
        path = Path(assets) / sought.name
        if path.is_file():
            yield "$KUBEBUILDER_ASSETS", path
    cached = cache_folder(sought.module, environment) / sought.name
    if cached.is_file():
        yield CACHE, cached
    if on_path := shutil.which(sought.name, path=environment.get("PATH")):
        yield "PATH", Path(on_path)


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """A program's path; raises BinariesMissing."""
    found = search(name, environment)
    if found.path is None:
        raise BinariesMissing(f"{obstacle((name,), environment)}. `make control-plane` builds what is missing.")
    return found.path


def missing(names: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> list[Program]:
    """The programs (all, without names) that are nowhere."""
    wanted = tuple(names) or tuple(each.name for each in PROGRAMS)
    return [found.program for name in wanted if (found := search(name, environment)).path is None]


def obstacle(names: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> str | None:
    """Why the real control plane cannot be started here; None: it can."""
    absent = missing(names, environment)
    if not absent:
        return None
    reasons = [reason for each in absent for reason in search(each.name, environment).rejected]
    text = f"missing {', '.join(each.name for each in absent)}"
    return f"{text} ({'; '.join(reasons)})" if reasons else text
