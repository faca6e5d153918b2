"""Runs the test tiers that this machine allows, in order, and says first and last which it left out and why.

`make test` and `make test-all` call it. Where CI or WHIMBREL_NO_SKIP is set, a tier that cannot run is a
failure.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.hypervisor.libvirt_host import post_copy_obstacle

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130
"""What shells say of a program that SIGINT ended."""
NO_TESTS_COLLECTED = 5
"""pytest's exit code for a run that found nothing to do."""

LIBVIRT_PROGRAMS = ("libvirtd", "qemu-system-x86_64", "as", "ld")
KUBEVIRT_CRDS = "WHIMBREL_KUBEVIRT_CRDS"
"""Names a folder with the real CRDs of KubeVirt's releases, one file `vX.Y.Z.yaml` each."""
KUBEVIRT_MINORS = range(3, 10)
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def lacks(programs: Iterable[str]) -> str | None:
    """What is missing of these programs, as a reason; None: nothing."""
    missing = [program for program in programs if shutil.which(program, path=SEARCH_PATH) is None]
    return f"missing {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Tier:
    """Some directories of tests that need the same things of the machine."""

    name: str
    directories: tuple[str, ...]
    marks: str = "not slow and not perf and not control_plane"
    workers: int = 1
    """More than one: its files are shared out."""
    may_be_empty: bool = False
    obstacle: Callable[[], str | None] = lambda: None


def lacks_libvirt() -> str | None:
    """What the tiers on real libvirt and QEMU miss here."""
    return lacks(LIBVIRT_PROGRAMS)


def lacks_post_copy() -> str | None:
    """What the tiers with post-copy on real QEMU miss here."""
    return lacks_libvirt() or post_copy_obstacle()


def lacks_control_plane() -> str | None:
    """What the tiers on a real control plane miss here."""
    return binaries.obstacle()


def lacks_releases() -> str | None:
    """What the tier on KubeVirt's real CRDs misses here."""
    folder = os.environ.get(KUBEVIRT_CRDS)
    if not folder or not any(Path(folder).glob("v*.yaml")):
        return f"{KUBEVIRT_CRDS} names no folder with the CRDs of KubeVirt's releases"
    absent = [f"1.{minor}" for minor in KUBEVIRT_MINORS if not any(Path(folder).glob(f"v1.{minor}.*.yaml"))]
    return f"{folder} has no CRDs of KubeVirt {', '.join(absent)}" if absent else lacks_control_plane()


API_DIRECTORIES = ("tests/crds", "tests/project", "tests/embedded", "tests/conformance_api", "tests/integration")
MODEL_DIRECTORIES = ("tests/lab", "tests/e2e", "tests/conformance_kubevirt")
REAL_DIRECTORIES = ("tests/real", "tests/oracle", "tests/e2e", "tests/conformance_api", "tests/conformance_kubevirt")
RELEASES_DIRECTORIES = ("tests/kubevirt_releases",)
SLOW_DIRECTORIES = ("tests/unit", *API_DIRECTORIES, *MODEL_DIRECTORIES)
LIBVIRT_DIRECTORIES = ("tests/libvirt", "tests/e2e_libvirt")
REAL_MARKS = "control_plane and not perf"
LIBVIRT_MARKS = "not perf and not control_plane"

TEST = (
    Tier("unit", ("tests/unit",), workers=2),
    Tier("api", API_DIRECTORIES),
    Tier("model", MODEL_DIRECTORIES, workers=2),
    Tier("control plane", REAL_DIRECTORIES, f"{REAL_MARKS} and not slow", workers=2, obstacle=lacks_control_plane),
    Tier("releases", RELEASES_DIRECTORIES, f"{REAL_MARKS} and not slow", obstacle=lacks_releases),
    Tier("libvirt", LIBVIRT_DIRECTORIES, f"{LIBVIRT_MARKS} and not slow and not post_copy", obstacle=lacks_libvirt),
    Tier("post-copy", LIBVIRT_DIRECTORIES, f"{LIBVIRT_MARKS} and not slow and post_copy", obstacle=lacks_post_copy),
)
TEST_ALL = (
    Tier("slow", ("tests/slow",), marks="not perf", workers=2, may_be_empty=True),
    Tier("marked slow", SLOW_DIRECTORIES, marks="slow and not control_plane", may_be_empty=True),
    Tier(
        "slow control plane",
        REAL_DIRECTORIES,
        f"{REAL_MARKS} and slow",
        may_be_empty=True,
        obstacle=lacks_control_plane,
    ),
    Tier(
        "slow libvirt",
        LIBVIRT_DIRECTORIES,
        f"{LIBVIRT_MARKS} and slow and not post_copy",
        may_be_empty=True,
        obstacle=lacks_libvirt,
    ),
    Tier(
        "slow post-copy",
        LIBVIRT_DIRECTORIES,
        f"{LIBVIRT_MARKS} and slow and post_copy",
        may_be_empty=True,
        obstacle=lacks_post_copy,
    ),
)
NO_TEST_YET = "no test there yet"
SUITES = {"test": TEST, "test-all": TEST_ALL}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one tier ended: `passed`, `failed`, `empty` or `left out`, and in how many seconds."""

    tier: Tier
    word: str
    detail: str = ""
    duration_s: float = 0.0


def has_tests(tier: Tier) -> tuple[str, ...]:
    """The tier's directories that hold at least one test file."""
    return tuple(path for path in tier.directories if next((ROOT / path).rglob("test_*.py"), None))


def emptiness(tier: Tier) -> str | None:
    """That a tier which should have tests has none; known before anything runs."""
    return None if tier.may_be_empty or has_tests(tier) else NO_TEST_YET


def run(tier: Tier, without_kubectl: bool) -> Outcome:
    """One pytest for the tier; its own output goes straight to the terminal."""
    if reason := tier.obstacle():
        return Outcome(tier, "left out", reason)
    directories = has_tests(tier)
    if not directories:
        return Outcome(tier, "empty", NO_TEST_YET)
    marks = f"({tier.marks}) and not kubectl" if without_kubectl else tier.marks
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", "-m", marks, *directories]
    if tier.workers > 1:
        command += ["-n", str(tier.workers), "--dist", "loadfile"]
    print(f"\n== {tier.name}: {' '.join(directories)}", flush=True)
    began = time.monotonic()
    code = _until_it_ended(command)
    duration_s = time.monotonic() - began
    if code == NO_TESTS_COLLECTED:
        return Outcome(tier, "empty", NO_TEST_YET, duration_s)
    return Outcome(tier, "failed" if code else "passed", f"pytest exit {code}" if code else "", duration_s)


def _until_it_ended(command: list[str]) -> int:
    """The exit code. On Ctrl-C pytest, which hears it too, is left the time to take down what it started."""
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as running:
        try:
            return running.wait()
        except KeyboardInterrupt:
            running.wait()
            raise


def coverage_line(suite: str, left_out: dict[str, str]) -> str:
    """The line that opens and closes a run."""
    if not left_out:
        return f"make {suite}: no tier left out"
    reasons = "; ".join(f"{name} ({reason})" for name, reason in left_out.items())
    return f"make {suite}: LEFT OUT: {reasons}"


def main(suite: str) -> int:
    """Runs every tier of the suite, whatever happens to the ones before. Returns the exit code."""
    strict = any(os.environ.get(name) for name in ("CI", "WHIMBREL_NO_SKIP"))
    tiers = SUITES[suite]
    without_kubectl = binaries.obstacle(("kubectl",))
    left_out = {tier.name: reason for tier in tiers if (reason := tier.obstacle() or emptiness(tier))}
    if without_kubectl:
        left_out["tests marked kubectl"] = without_kubectl
    print(coverage_line(suite, left_out), flush=True)

    outcomes: list[Outcome] = []
    interrupted = False
    try:
        outcomes.extend(run(tier, without_kubectl is not None) for tier in tiers)  # what ran before stays
    except KeyboardInterrupt:
        interrupted = True
        left_out |= {tier.name: "interrupted" for tier in tiers[len(outcomes) :]}

    print()
    for outcome in outcomes:
        print(f"{outcome.tier.name:12} {outcome.word:9} {outcome.duration_s:6.1f} s  {outcome.detail}".rstrip())
    left_out |= {o.tier.name: o.detail for o in outcomes if o.word == "empty" and not o.tier.may_be_empty}
    failed = any(outcome.word == "failed" for outcome in outcomes)
    if strict and left_out:
        print("Nothing may be left out where CI or WHIMBREL_NO_SKIP is set: this run has failed.")
        failed = True
    print(coverage_line(suite, left_out), flush=True)
    return INTERRUPTED if interrupted else int(failed)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SUITES:
        sys.exit(f"usage: {sys.argv[0]} {{{'|'.join(SUITES)}}}")
    sys.exit(main(sys.argv[1]))
