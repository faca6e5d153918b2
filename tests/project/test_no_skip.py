"""That a skip cannot hide where nothing may be left out: tests/conftest.py, run in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPS_ITSELF = "import pytest\ndef test_it():\n    pytest.skip('no such thing here')\n"
SKIPS_ITS_MODULE = "import pytest\npytest.skip('none here', allow_module_level=True)\n"
FAILS_AS_EXPECTED = "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n"


def run_pytest(folder: Path, source: str, variable: str | None) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(source)
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "WHIMBREL_NO_SKIP")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if variable:
        environment[variable] = "1"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    run = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    return run.returncode, run.stdout


@pytest.mark.parametrize("variable", ["CI", "WHIMBREL_NO_SKIP"])
@pytest.mark.parametrize("source", [SKIPS_ITSELF, SKIPS_ITS_MODULE])
def test_a_skip_fails_where_nothing_may_be_left_out(tmp_path: Path, source: str, variable: str) -> None:
    code, output = run_pytest(tmp_path, source, variable)

    assert code != 0
    assert "was skipped where nothing may be" in output


def test_a_skip_is_a_skip_on_a_developers_machine(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, SKIPS_ITSELF, None)

    assert code == 0
    assert "1 skipped" in output


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, FAILS_AS_EXPECTED, "CI")

    assert code == 0
    assert "1 xfailed" in output
