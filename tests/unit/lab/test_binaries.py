"""Where the control plane's programs are looked for, and which ones count."""

from pathlib import Path

import pytest

from whimbrel_lab.controlplane.real import binaries

WANTED = binaries.wanted_version("kubernetes")
MINOR = ".".join(WANTED.split(".")[:2])


def a_program(folder: Path, name: str = "kube-apiserver") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("")
    path.chmod(0o755)
    return path


def says(versions: dict[Path, str]) -> "Says":
    return Says(versions)


class Says:
    """Answers for programs instead of running them; notes which were asked."""

    def __init__(self, versions: dict[Path, str]) -> None:
        self._versions = versions
        self.asked: list[Path] = []

    def __call__(self, path: Path) -> str:
        self.asked.append(path)
        return self._versions[path]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "KUBEBUILDER_ASSETS": str(tmp_path / "assets"),
        "WHIMBREL_CACHE": str(tmp_path / "cache"),
        "PATH": str(tmp_path / "path"),
    }


def test_kubebuilders_assets_come_first_then_the_cache_then_the_path(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    cached = a_program(binaries.cache_folder("kubernetes", environment))
    asset, on_path = a_program(tmp_path / "assets"), a_program(tmp_path / "path")
    answers = says({asset: f"Kubernetes {WANTED}", on_path: f"Kubernetes {WANTED}"})

    found = []
    for path in (asset, cached, on_path):
        found.append(binaries.search("kube-apiserver", environment, answers).path == path)
        path.unlink()

    assert found == [True, True, True]
    assert binaries.search("kube-apiserver", environment, answers).path is None


def test_a_program_of_another_minor_version_is_passed_over_with_the_reason(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    old, new = a_program(tmp_path / "assets"), a_program(tmp_path / "path")
    answers = says({old: "Kubernetes v1.28.3", new: f"Kubernetes {MINOR}.99"})

    search = binaries.search("kube-apiserver", environment, answers)

    assert search.path == new
    assert search.rejected == (f"kube-apiserver of $KUBEBUILDER_ASSETS is v1.28.3, not {WANTED}",)


def test_a_program_that_does_not_answer_is_not_trusted(tmp_path: Path, environment: dict[str, str]) -> None:
    silent = a_program(tmp_path / "path")

    search = binaries.search("kube-apiserver", environment, says({silent: ""}))

    assert search.path is None
    assert search.rejected == (f"kube-apiserver of PATH is of no version, not {WANTED}",)


def test_what_lies_in_the_cache_is_named_after_its_version_and_not_asked(environment: dict[str, str]) -> None:
    cached = a_program(binaries.cache_folder("kubernetes", environment))
    answers = says({})

    assert binaries.search("kube-apiserver", environment, answers).path == cached
    assert answers.asked == []


def test_what_is_missing_is_named_with_a_way_out(environment: dict[str, str]) -> None:
    with pytest.raises(binaries.BinariesMissing, match=r"missing helm.*make control-plane"):
        binaries.find("helm", environment)
    assert binaries.obstacle(("etcd", "helm"), environment) == "missing etcd, helm"


def test_the_cache_is_outside_of_the_checkout_and_keyed_by_version() -> None:
    folder = binaries.cache_folder("etcd", {"XDG_CACHE_HOME": "/var/cache/somebody"})

    assert folder.parent == Path("/var/cache/somebody/whimbrel/control-plane")
    assert folder.name.startswith(f"etcd-{binaries.wanted_version('etcd')}-")


@pytest.mark.parametrize("module", binaries.REQUIRED)
def test_each_tool_module_says_its_version(module: str) -> None:
    assert binaries.wanted_version(module).startswith("v")
