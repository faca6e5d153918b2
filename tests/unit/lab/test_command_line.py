"""`python -m whimbrel_lab` says in words what cannot be done, and overwrites nothing of anybody's."""

import stat
import sys
from pathlib import Path

import pytest

from whimbrel_lab import __main__ as command
from whimbrel_lab import topology
from whimbrel_lab.controlplane.plane import check_kubeconfig_is_ours, write_kubeconfig
from whimbrel_lab.controlplane.users import Access


def test_a_kubeconfig_that_no_lab_wrote_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    path.write_text("current-context: production\n")
    monkeypatch.setattr(sys, "argv", ["whimbrel_lab", "up", "--kubeconfig", str(path)])

    code = command.main()

    assert code == 2
    assert "Name another file" in capsys.readouterr().err
    assert path.read_text() == "current-context: production\n"


def test_a_kubeconfig_of_a_lab_is_replaced_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", Access("http://127.0.0.1:1", "first"), name="real")
    path.chmod(0o644)

    check_kubeconfig_is_ours(path)
    write_kubeconfig(path, Access("http://127.0.0.1:1", "second"))

    assert "second" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("version", ["1.9", "v1.9", "v2.0.0", "newest"])
def test_a_version_of_kubevirt_that_is_none_is_refused(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["whimbrel_lab", "up", "--kubevirt", version])

    assert command.main() == 2
    assert f"--kubevirt {version}: no version such as v1." in capsys.readouterr().err


def test_a_busy_lab_has_one_guest_that_rewrites_most_of_its_memory() -> None:
    calm, busy = topology.simple(), topology.simple(busy_bytes_per_second=200 * topology.MIB)

    first, *others = busy.guests
    assert first.dirty_bytes_per_second == 200 * topology.MIB
    assert first.working_set_bytes > first.memory_bytes // 3
    assert tuple(others) == calm.guests[1:]


def test_programs_that_are_missing_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("WHIMBREL_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["whimbrel_lab", "up", "--control-plane", "real"])

    code = command.main()

    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("whimbrel_lab: missing etcd")
    assert said.count("\n") == 1
