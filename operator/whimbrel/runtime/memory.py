"""Keeps what the process takes near what it needs: lists of large objects come and go, records stay.

Settings of CPython's collector and of glibc's allocator; where there is no glibc, nothing happens.
"""

import ctypes
import gc

M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
BIG_BYTES = 256 * 1024


def set_up() -> None:
    """To be called once, before any thread is started."""
    # Parsing JSON makes and drops containers by the thousand; looking for cycles after every 700 of them is waste.
    gc.set_threshold(20_000, 20, 20)
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, BIG_BYTES)


def give_back() -> None:
    """Returns free memory to the system; for after a large list."""
    gc.collect()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
