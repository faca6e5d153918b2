"""hack/tiers.py: what `make test` says when a machine cannot run everything."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FINDS_NOTHING = "import pytest\n@pytest.mark.slow\ndef test_it(): pass\n"


@pytest.fixture
def tiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, working on an empty tree, with neither CI nor its twin set."""
    specification = importlib.util.spec_from_file_location("tiers", ROOT / "hack/tiers.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "tiers", module)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for variable in ("CI", "WHIMBREL_NO_SKIP"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  perf\n  kubectl\n")
    return module


def write_test(root: Path, source: str) -> None:
    (root / "some").mkdir()
    (root / "some" / "test_it.py").write_text(source)


def test_a_tier_that_the_machine_lacks_something_for_is_named_first_and_last(
    tiers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_test(tmp_path, "def test_it(): pass\n")
    lacking = tiers.Tier("libvirt", ("some",), obstacle=lambda: "missing virsh")
    monkeypatch.setitem(tiers.SUITES, "test", (tiers.Tier("unit", ("some",)), lacking))

    code = tiers.main("test")

    lines = capfd.readouterr().out.strip().splitlines()
    assert code == 0
    assert "libvirt (missing virsh)" in lines[0]
    assert lines[-1] == lines[0]


def test_a_tier_left_out_is_a_failure_where_nothing_may_be(tiers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = tiers.Tier("libvirt", ("some",), obstacle=lambda: "missing virsh")
    monkeypatch.setitem(tiers.SUITES, "test", (lacking,))
    monkeypatch.setenv("WHIMBREL_NO_SKIP", "1")

    assert tiers.main("test") == 1


def test_a_failing_tier_does_not_keep_the_next_from_running(
    tiers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_test(tmp_path, "def test_it(): assert False\n")
    monkeypatch.setitem(tiers.SUITES, "test", (tiers.Tier("first", ("some",)), tiers.Tier("second", ("some",))))

    code = tiers.main("test")

    assert code == 1
    assert capfd.readouterr().out.count("1 failed") == 2


@pytest.mark.parametrize(("may_be_empty", "code"), [(True, 0), (False, 1)])
def test_a_tier_without_tests_fails_a_strict_run_unless_it_may_be_empty(
    tiers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_be_empty: bool, code: int
) -> None:
    write_test(tmp_path, FINDS_NOTHING)
    tier = tiers.Tier("some", ("some",), marks="not slow", may_be_empty=may_be_empty)
    monkeypatch.setitem(tiers.SUITES, "test", (tier,))
    monkeypatch.setattr(tiers, "lacks", lambda programs: None)
    monkeypatch.setenv("WHIMBREL_NO_SKIP", "1")

    assert tiers.main("test") == code


def test_every_folder_of_tests_belongs_to_a_tier(tiers: ModuleType) -> None:
    tests = ROOT / "tests"
    folders = {f"tests/{path.relative_to(tests).parts[0]}" for path in tests.rglob("test_*.py")}
    held = {directory for suite in tiers.SUITES.values() for tier in suite for directory in tier.directories}

    assert folders - held == set()
