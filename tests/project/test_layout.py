"""What the tree must look like for the packaging to work, and what must never get into it."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import whimbrel

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

MACHINE_PATH = re.compile(r"(?<![\w.-])/(?:(?:work|home)/|root\b)")
REGISTRY_HOST = re.compile(
    r"\b(?:pypi|files\.pythonhosted|registry\.npmjs|proxy\.golang|deb\.debian)" + re.escape(".org") + r"\b"
)
SELF = Path(__file__).relative_to(ROOT)


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Every tracked file that is text and there, with its content."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield Path(name), (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


@pytest.mark.parametrize("name", ["__init__.py", "conftest.py"])
def test_the_source_root_operator_is_no_package_or_python_itself_would_break(name: str) -> None:
    assert not (ROOT / "operator" / name).exists()


def test_no_test_directory_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_version_is_the_same_wherever_it_stands() -> None:
    chart = yaml.safe_load((ROOT / "charts/whimbrel/Chart.yaml").read_text())

    versions = {PYPROJECT["project"]["version"], whimbrel.__version__, chart["version"], chart["appVersion"]}

    assert versions == {whimbrel.__version__}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert not re.search(r"--(?:extra-)?index-url|--find-links|--trusted-host|file:", text)
    assert not re.search(r"(?m)(?:^|\s)/\w", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_of_a_lock_has_hashes(lock: str) -> None:
    entries = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / lock).read_text())[1:]

    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_tests_run_against_exactly_the_versions_that_ship() -> None:
    shipped, tested = (set(re.findall(r"(?m)^([a-z0-9-]+==[^ ;]+)", (ROOT / lock).read_text())) for lock in LOCKS)

    assert shipped <= tested


def test_every_dependency_is_in_the_lock() -> None:
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "requirements-dev.txt").read_text()))
    extras = PYPROJECT["project"]["optional-dependencies"]["dev"]

    wanted = {re.split(r"[<>=~!; \[]", line)[0] for line in PYPROJECT["project"]["dependencies"] + extras}

    assert wanted - locked == set()


def test_no_tracked_file_names_a_path_of_somebodys_machine_or_a_package_registry() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in tracked_texts()
        if path != SELF
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line) or REGISTRY_HOST.search(line)
    ]

    assert found == []


SLASH = "/"  # so that this file itself names no such path


@pytest.mark.parametrize(
    "line",
    [
        f"cd {SLASH}work{SLASH}main",
        f"HOME={SLASH}root",
        f"see {SLASH}home{SLASH}anna{SLASH}x",
        f"`{SLASH}root{SLASH}.cache`",
        "from pypi" + ".org",
    ],
)
def test_the_search_for_machine_paths_finds_them(line: str) -> None:
    assert MACHINE_PATH.search(line) or REGISTRY_HOST.search(line)


def test_no_python_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(path): text.count("\n") for path, text in tracked_texts() if path.suffix == ".py"}

    assert {path: length for path, length in lengths.items() if length > 450} == {}


def test_every_make_target_stands_in_make_help() -> None:
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    targets = set(phony.split()[1:]) - {"bootstrap"}

    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout

    assert {line.split()[0] for line in shown.splitlines()} == targets


def test_the_import_contracts_of_the_rooms_hold() -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'hack'}"}
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]

    run = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout


def test_what_ships_is_the_package_alone() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert wheel == {"packages": ["operator/whimbrel"]}
