"""From the guest's assembly source to a kernel that QEMU starts, with one guest's parameters filled in.

Needs binutils that know x86; the program is assembled once per content and kept in the user's cache folder.
"""

import hashlib
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from whimbrel_lab.hypervisor import GuestSpec, HypervisorError

SOURCE = Path(__file__).with_name("beating.s")
PAGE_BYTES = 4096
FIRST_BYTE = 2 * 1024**2
"""Where the pattern begins; below are the BIOS, the program and its stack (`FILLED` in the source)."""
RESERVED_BYTES = FIRST_BYTE + 2 * 1024**2
"""Memory that a guest cannot touch: the part below the pattern and ACPI's tables at the top."""
CLOCK_HZ = 3_579_545
"""The ACPI power management timer, by which the guest paces itself."""
MARK = b"whimbrel"
FRAME_S = 0.12
"""A frame of the guest's beats, by which it knows how old it is."""


def assembler() -> tuple[str, str] | None:
    """The programs that assemble and link x86 code, or None where there are none."""
    prefixes = ["x86_64-linux-gnu-", "i686-linux-gnu-"]
    if platform.machine() in ("x86_64", "i686"):
        prefixes.insert(0, "")
    for prefix in prefixes:
        if (found := shutil.which(f"{prefix}as")) and (linker := shutil.which(f"{prefix}ld")):
            return found, linker
    return None


def program() -> bytes:
    """The guest's program without parameters, from the cache or freshly assembled."""
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whimbrel"
    cached = folder / f"guest-{name}.bin"
    try:
        return cached.read_bytes()
    except OSError:
        pass
    assembled = _assemble()
    try:  # a cache that cannot be written costs 50 ms, not the lab
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as draft:
            draft.write(assembled)
        os.replace(draft.name, cached)
    except OSError:
        pass
    return assembled


def kernel(guest: GuestSpec) -> bytes:
    """The program with the parameters of `guest`; raises HypervisorError for a guest that cannot be."""
    most = guest.memory_bytes - RESERVED_BYTES
    if not PAGE_BYTES <= guest.touched_bytes <= most:
        raise HypervisorError(
            f"guest {guest.name}: touched_bytes is {guest.touched_bytes}, must be from {PAGE_BYTES} to {most} "
            f"(memory_bytes less {RESERVED_BYTES} for the guest's own program)"
        )
    if not 0 <= guest.working_set_bytes <= guest.touched_bytes:
        raise HypervisorError(
            f"guest {guest.name}: working_set_bytes is {guest.working_set_bytes}, must be from 0 to touched_bytes"
            f" ({guest.touched_bytes})"
        )
    if (guest.later_dirty_bytes_per_second is None) != (guest.changes_after_s <= 0):
        raise HypervisorError(
            f"guest {guest.name}: a later rate needs a time after which it changes, and the other way round"
        )
    working_pages = guest.working_set_bytes // PAGE_BYTES

    def pace(bytes_per_second: int) -> int:
        return round(bytes_per_second / PAGE_BYTES * 2**24 / CLOCK_HZ) if working_pages else 0

    parameters = struct.pack(
        "<IIIII",
        guest.touched_bytes // PAGE_BYTES,
        working_pages,
        pace(guest.dirty_bytes_per_second),
        max(1, round(guest.changes_after_s / FRAME_S)) if guest.changes_after_s > 0 else 0,
        pace(guest.later_dirty_bytes_per_second or 0),
    )
    image = program()
    at = image.index(MARK) + len(MARK)
    return image[:at] + parameters + image[at + len(parameters) :]


def _assemble() -> bytes:
    tools = assembler()
    if tools is None:
        raise HypervisorError("no assembler for x86: install binutils (binutils-x86-64-linux-gnu on other processors)")
    with tempfile.TemporaryDirectory(prefix="wl-") as folder:
        compiled, image = Path(folder, "guest.o"), Path(folder, "guest.bin")
        flat = ("-m", "elf_i386", "-Ttext", "0x100000", "-e", "start", "--oformat", "binary")
        steps: list[list[str | Path]] = [
            [tools[0], "--32", "-o", compiled, SOURCE],
            [tools[1], *flat, "-o", image, compiled],
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                raise HypervisorError(f"the guest's program cannot be assembled by {step[0]}: {done.stderr.strip()}")
        return image.read_bytes()
