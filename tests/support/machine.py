"""What a test needs to know of the machine that it runs on."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    """Looks again every 20 ms, for what tells nobody that it has happened; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


def processes_naming(text: str) -> list[int]:
    """The ids of all processes whose command line contains the text, except this one."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # ended meanwhile
            if text.encode() in command:
                found.append(int(entry.name))
    return found
