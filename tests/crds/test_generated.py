"""The generated files agree with the models, and the generator notices when they do not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from crdgen.__main__ import CHART, PLAIN, ROOT, drift, expected_files, leftovers, write
from crdgen.document import HEADER
from whimbrel.api import KINDS, definition


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return document


def test_the_tree_agrees_with_the_models_run_make_generate_if_not() -> None:
    assert drift(ROOT, expected_files()) == []


def test_what_is_written_shows_no_drift_and_what_is_edited_does(tmp_path: Path) -> None:
    files = expected_files()
    write(tmp_path, files)
    assert drift(tmp_path, files) == []

    edited = tmp_path / PLAIN / "migrationplans.yaml"
    edited.write_text(edited.read_text().replace("maxItems: 1000", "maxItems: 9999"))

    assert "maxItems: 9999" in "\n".join(drift(tmp_path, files))


def test_a_file_of_a_kind_that_is_gone_is_noticed_and_removed_but_nobody_elses(tmp_path: Path) -> None:
    files = expected_files()
    write(tmp_path, files)
    gone, foreign = tmp_path / PLAIN / "gone.yaml", tmp_path / PLAIN / "foreign.yaml"
    gone.write_text(HEADER)
    foreign.write_text("kind: ConfigMap\n")

    assert leftovers(tmp_path, files) == [PLAIN / "gone.yaml"]

    write(tmp_path, files)
    assert not gone.exists()
    assert foreign.exists()


def test_every_kind_has_a_file_for_kubectl_and_one_in_the_chart() -> None:
    names = {f"{model.CRD.plural}.yaml" for model in KINDS}  # type: ignore[attr-defined]

    for folder in (PLAIN, CHART):
        assert {path.name for path in (ROOT / folder).glob("*.yaml")} == names


@pytest.mark.parametrize("name", ["hostprofiles", "migrationplans", "virtualmachinemoves"])
def test_helm_keeps_the_definitions_and_with_them_the_plans_whoever_applied_them(name: str) -> None:
    plain, chart = load(PLAIN / f"{name}.yaml"), load(CHART / f"{name}.yaml")

    assert chart["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert chart == plain


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_a_definition_is_known_to_kubectl_by_its_short_name_and_category(model: Any) -> None:
    names = load(PLAIN / f"{model.CRD.plural}.yaml")["spec"]["names"]

    assert names["shortNames"] == list(model.CRD.short_names)
    assert names["categories"] == ["whimbrel"]
    assert names["listKind"] == f"{model.__name__}List"


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_status_is_written_apart_from_the_spec(model: Any) -> None:
    version = load(PLAIN / f"{model.CRD.plural}.yaml")["spec"]["versions"][0]

    assert version["subresources"] == {"status": {}}
    assert version["name"] == definition.VERSION


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_kubectl_is_never_asked_to_show_a_future_time_as_an_age(model: Any) -> None:
    dates = [column.json_path for column in model.CRD.printer_columns if column.type == "date"]

    assert dates == [".metadata.creationTimestamp"]
