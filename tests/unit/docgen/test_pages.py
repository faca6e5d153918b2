"""The generated reference says of the code what a reader needs, and nothing that is not there."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import whimbrel
from docgen import corpus, embedded_server, fields, metrics, others, reasons
from docgen.__main__ import ROOMS
from whimbrel.api import KINDS, MigrationPlan
from whimbrel.preflight import ALL_REASONS
from whimbrel.preflight.family import PreflightReason, PreflightUnknown, PreflightWarning
from whimbrel.schedule import reasons as waits
from whimbrel_lab.controlplane.embedded.deviations import Deviation

EXAMPLES = {**others.examples(), **corpus.examples(corpus.cases())}


def test_every_field_of_a_kind_has_a_line_with_its_meaning() -> None:
    for model in KINDS:
        lines = [line for line in fields.page(model).splitlines() if line.startswith("| `")]

        assert lines
        assert [line for line in lines if line.rstrip().endswith("|  |")] == []


def test_a_field_of_a_list_is_found_under_its_list() -> None:
    assert "| `virtualMachines.selector.matchExpressions[].operator` |" in fields.page(MigrationPlan)


def test_bounds_and_defaults_stand_beside_the_type() -> None:
    page = fields.page(MigrationPlan)

    assert "| `migration.attempts` | integer, default `3`, 1 to 10 |" in page
    assert "| `virtualMachines` | object, **needed** |" in page


def test_the_rules_of_the_api_server_are_told_in_its_words() -> None:
    assert "virtualMachines needs at least one of names, selector and onNodes" in fields.page(MigrationPlan)


def test_a_reason_is_told_with_cause_evidence_remedy_and_example() -> None:
    class TooHeavy(PreflightReason):
        """The guest is heavier
        than the bird."""

        evidence = "kubectl get vmi NAME -o yaml; a pair of scales"
        remedy = "Take a bigger bird than {found}."

    page = reasons.page([TooHeavy], {"TooHeavy": TooHeavy("spec.bird", "wren", "stork", "node-2")})

    assert "| [`TooHeavy`](#tooheavy) | `Block` | no | The guest is heavier than the bird. |" in page
    assert page.endswith(
        """## TooHeavy

- **Cause**: The guest is heavier than the bird.
- **Evidence**: `kubectl get vmi NAME -o yaml`; a pair of scales
- **Remedy**: Take a bigger bird than {found}.
- **Example**: `spec.bird` at node-2: found `wren`, needed `stork`. Take a bigger bird than wren.
"""
    )


def test_a_reason_is_told_with_its_judgement_and_whether_it_passes_by_itself() -> None:
    class Moulting(PreflightWarning):
        """It flies slower."""

    class Unweighed(PreflightUnknown):
        """Nobody knows its weight."""

    class AsleepOrNot(PreflightUnknown):
        """Nobody knows whether it sleeps."""

        blocks = True
        transient = True

    page = reasons.page([Moulting, Unweighed, AsleepOrNot], {})

    assert "| [`Moulting`](#moulting) | `Warn` | no |" in page
    assert "| [`Unweighed`](#unweighed) | `Unknown` | no |" in page
    assert "| [`AsleepOrNot`](#asleepornot) | `Unknown`, blocks | yes |" in page


@pytest.mark.parametrize("reason", ALL_REASONS, ids=lambda reason: reason.__name__)
def test_every_code_is_told_with_cause_evidence_remedy_and_example(reason: type[PreflightReason]) -> None:
    name = reason.__name__

    assert inspect.getdoc(reason), f"{name} needs a docstring: its cause"
    assert reason.evidence, f"{name} needs `evidence`: where to see it, one of whimbrel.preflight.where or words"
    assert reason.remedy, f"{name} needs `remedy`: what to do about it"
    assert name in EXAMPLES, f"{name} needs a class in tests/data/blockers/*.yaml that expects it: its example"


@pytest.mark.parametrize("reason", ROOMS, ids=lambda reason: reason.__name__)
def test_every_reason_of_other_rooms_is_told_with_cause_evidence_remedy_and_example(
    reason: type[PreflightReason],
) -> None:
    assert reason.__dict__.get("__doc__")
    assert reason.evidence
    assert reason.remedy
    assert reason.__name__ in EXAMPLES or reason.example, (
        f"{reason.__name__} needs an example: here, or in docgen.others"
    )


def test_no_reason_on_the_page_is_without_an_example() -> None:
    sections = reasons.page(ROOMS, EXAMPLES).split("\n## ")[1:]

    assert len(sections) == len(ROOMS)
    assert [section.split("\n")[0] for section in sections if "- **Example**: " not in section] == []


def test_a_reason_without_a_made_example_is_told_with_its_own() -> None:
    class Waits(PreflightReason):
        """It waits."""

        example = "node-2 is full."

    assert "- **Example**: node-2 is full.\n" in reasons.page([Waits], {})


def wait_words(path: Path) -> Iterator[tuple[str, str]]:
    """Every code that a source file gives a `Wait`, with a pattern of how its words begin where they stand there."""
    tree = ast.parse(path.read_text())
    named = {
        target.id: each.value
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Wait":
            words = call.args[1]
            words = named.get(words.id, words) if isinstance(words, ast.Name) else words
            parts = words.values if isinstance(words, ast.JoinedStr) else [words]
            pattern = "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)
            for code in ast.walk(call.args[0]):
                if isinstance(code, ast.Constant):
                    yield str(code.value), pattern


def test_the_example_of_what_a_move_waits_for_is_in_the_words_of_the_code() -> None:
    package = Path(whimbrel.__file__).parent
    said = [
        each for path in (*(package / "schedule").rglob("*.py"), package / "engine.py") for each in wait_words(path)
    ]
    own = {
        reason.__name__: reason.example for reason in waits.REASONS if reason.example and reason is not waits.NoTarget
    }

    true = {code for code, pattern in said if code in own and re.match(pattern, own[code])}

    assert all(pattern != ".+" for code, pattern in said if code in own)
    assert sorted(own.keys() - true) == []


def wait_codes(path: Path) -> Iterator[str]:
    """Every code that a source file gives a `Wait`, an unknown expression in words."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Wait":
            said = call.args[0]
            if isinstance(said, ast.Attribute) and said.attr == "code":
                continue  # of a reason
            constants = [each.value for each in ast.walk(said) if isinstance(each, ast.Constant)]
            yield from (code for code in constants if code[:1].isupper()) if constants else [ast.unparse(said)]


def test_every_code_of_a_wait_is_on_the_page() -> None:
    package = Path(whimbrel.__file__).parent
    sources = [*(package / "schedule").rglob("*.py"), package / "engine.py"]
    codes = {code for path in sources for code in wait_codes(path)}

    assert {"OutboundLimit", "InboundLimit", "ClaimedByPlan", "AbortNotCarriedOut"} <= codes
    assert sorted(codes - {reason.__name__ for reason in ROOMS}) == []


def test_every_metric_has_a_line() -> None:
    assert "| `whimbrel_leader` | gauge |" in metrics.page()


def test_a_deviation_of_the_embedded_server_is_a_line_that_says_how_loud_it_is() -> None:
    page = embedded_server.page([Deviation("feathers", "brown", "none", "warned")])

    assert page.endswith("| feathers | brown | none | warned |\n")
