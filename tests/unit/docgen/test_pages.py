"""The generated reference says of the code what a reader needs, and nothing that is not there."""

from docgen import embedded_server, fields, metrics, reasons
from whimbrel.api import KINDS, MigrationPlan
from whimbrel.preflight.family import PreflightReason, PreflightUnknown, PreflightWarning
from whimbrel_lab.controlplane.embedded.deviations import Deviation


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


def test_a_reason_is_told_with_its_cause_and_its_cure() -> None:
    class TooHeavy(PreflightReason):
        """The guest is heavier
        than the bird."""

        remedy = "Take a bigger bird than {found}."

    line = "| `TooHeavy` | `Block` | no | The guest is heavier than the bird. | Take a bigger bird than {found}. |"
    assert line in reasons.page([TooHeavy])


def test_a_reason_is_told_with_its_judgement_and_whether_it_passes_by_itself() -> None:
    class Moulting(PreflightWarning):
        """It flies slower."""

    class Unweighed(PreflightUnknown):
        """Nobody knows its weight."""

    class AsleepOrNot(PreflightUnknown):
        """Nobody knows whether it sleeps."""

        blocks = True
        transient = True

    page = reasons.page([Moulting, Unweighed, AsleepOrNot])

    assert "| `Moulting` | `Warn` | no |" in page
    assert "| `Unweighed` | `Unknown` | no |" in page
    assert "| `AsleepOrNot` | `Unknown`, blocks | yes |" in page


def test_every_metric_has_a_line() -> None:
    assert "| `whimbrel_leader` | gauge |" in metrics.page()


def test_a_deviation_of_the_embedded_server_is_a_line_that_says_how_loud_it_is() -> None:
    page = embedded_server.page([Deviation("feathers", "brown", "none", "warned")])

    assert page.endswith("| feathers | brown | none | warned |\n")
