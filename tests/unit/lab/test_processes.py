"""The keeper of child processes: starts, ends, adopts and cleans up."""

import signal
import sys
from pathlib import Path

import pytest

from support.machine import processes_naming, until
from whimbrel_lab.processes import ProcessError, ProcessKeeper

DETACH = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]], start_new_session=True)
"""


async def test_a_process_gets_its_environment_folder_and_log_and_its_exit_code_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with ProcessKeeper() as keeper:
        child = await keeper.spawn(
            ["/bin/sh", "-c", "echo $WORD; pwd; exit 7"], environment={"WORD": "swift"}, cwd=tmp_path, log=log
        )

        assert await child.wait() == 7
    assert log.read_text() == f"swift\n{tmp_path}\n"


async def test_a_program_that_is_not_there_is_named() -> None:
    async with ProcessKeeper() as keeper:
        with pytest.raises(ProcessError, match=r"/no/such/program.*No such file"):
            await keeper.spawn(["/no/such/program"])


async def test_a_process_that_ignores_the_polite_signal_is_killed_after_the_grace() -> None:
    async with ProcessKeeper() as keeper:
        child = await keeper.spawn(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"])

        assert await child.end(grace_s=0.1) in (-signal.SIGKILL, -signal.SIGTERM)


async def test_a_polite_process_ends_by_the_first_signal() -> None:
    async with ProcessKeeper() as keeper:
        child = await keeper.spawn(["sleep", "60"])

        assert await child.end() == -signal.SIGTERM
        child.send_signal(signal.SIGTERM)
        assert child.exit_code == -signal.SIGTERM


async def test_stopping_ends_daemons_too_and_removes_folders(tmp_path: Path) -> None:
    mark = str(tmp_path / "daemon")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "file").touch()
    keeper = ProcessKeeper()
    await keeper.start()
    keeper.remove_at_end(folder)
    parent = await keeper.spawn([sys.executable, "-c", DETACH, mark])
    await parent.wait()

    async def detached() -> bool:
        return len(processes_naming(mark)) == 1

    await until(detached)
    await keeper.stop()
    await keeper.stop()

    assert processes_naming(mark) == []
    assert not folder.exists()


async def test_a_process_still_running_when_its_keeper_stops_is_reported_as_ended() -> None:
    keeper = ProcessKeeper()
    await keeper.start()
    child = await keeper.spawn(["sleep", "60"])

    await keeper.stop()

    assert await child.wait() == -signal.SIGKILL
    with pytest.raises(ProcessError, match="does not run"):
        await keeper.spawn(["sleep", "60"])
