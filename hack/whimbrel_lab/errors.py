"""What a lab can fail of: one base class for whatever a person is told in words rather than by a traceback."""

import asyncio
from collections.abc import Iterator


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


def check_running(task: asyncio.Task[None] | None, what: str) -> None:
    """LabError when a task that should run for ever has ended with an error, from that error."""
    if task is None or not task.done() or task.cancelled():
        return
    if (problem := task.exception()) is not None:
        raise LabError(f"{what} has ended: {'; '.join(map(repr, _causes(problem)))}") from problem


def _causes(problem: BaseException) -> Iterator[BaseException]:
    if isinstance(problem, BaseExceptionGroup):
        for each in problem.exceptions:
            yield from _causes(each)
    else:
        yield problem
