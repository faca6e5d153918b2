"""What the engine does while the API server does not permit something that a migration takes."""

from support.stage import Stage

ABORTS = "delete virtualmachineinstancemigrations.kubevirt.io"


def test_nothing_starts_while_a_migration_could_not_be_aborted_and_it_goes_on_once_it_could() -> None:
    stage = Stage()
    stage.denied = (ABORTS,)
    stage.plan()

    stage.settle()

    (wait,) = stage.status_of()["waits"]
    assert wait["reason"] == "OperatorLacksPermission"
    assert ABORTS in wait["message"]
    assert not stage.migrations()
    stage.denied = ()
    stage.settle()
    assert len(stage.migrations()) == 1
