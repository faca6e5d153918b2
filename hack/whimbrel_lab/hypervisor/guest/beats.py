"""Hearing the guest: one datagram per beat, stamped by the kernel when QEMU sent it.

A guest's serial port is a UDP socket of the lab's, the same for the QEMU it starts in and for each it moves to. The
kernel's stamps stay right however late the lab reads: its own work does not look like a blackout. They are taken from
the guest's host, not from its clock, because a stopped guest's clock stands still. Used by the libvirt hypervisor.
"""

import asyncio
import contextlib
import socket
import struct
import time

from whimbrel_lab.hypervisor import BeatReport
from whimbrel_lab.hypervisor.guest.image import PAGE_BYTES

INTERVAL_S = 0.01
FRAME_BEATS = 12
SO_TIMESTAMPNS = 35
"""asm-generic/socket.h; Python does not name it."""
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 4 * 1024**2
"""About 50 s of beats where the kernel grants it, 5 s where it holds us to its default."""


class BeatReader:
    """Collects the beats of one guest's life. `read` must be called every few seconds, or the socket overflows."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:  # needs root
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._closed = False
        self._beats = 0
        self._last_s: float | None = None
        self._gap_s = 0.0
        self._sequence = FrameSequence()

    async def first_beat(self) -> None:
        """Until the guest lives."""
        while not self._beats:
            self.read()
            await asyncio.sleep(INTERVAL_S)

    def read(self) -> None:
        """Take in what has arrived."""
        if self._closed:
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                beat, ancillary, _, _ = self._socket.recvmsg(16, 64)
                self._take(beat, _stamp_s(ancillary))

    def reset(self) -> None:
        """Forget the longest gap so far."""
        self.read()
        self._gap_s = 0.0

    def report(self) -> BeatReport:
        """A silence that still lasts counts as a gap."""
        self.read()
        silence_s = time.time() - self._last_s if self._last_s is not None and not self._closed else 0.0
        longest_s = max(self._gap_s, silence_s)
        return BeatReport(
            beats=self._beats,
            interval_ms=INTERVAL_S * 1000,
            longest_gap_ms=max(0.0, longest_s - INTERVAL_S) * 1000,
            restarts=self._sequence.restarts,
            memory_intact=not self._sequence.fault,
            sweeps=self._sequence.sweeps,
            written_bytes=self._sequence.written * PAGE_BYTES,
        )

    def close(self) -> None:
        """The last report stays."""
        self.read()
        self._closed = True
        self._socket.close()

    def _take(self, beat: bytes, stamp_s: float) -> None:
        self._beats += 1
        if self._last_s is not None:
            self._gap_s = max(self._gap_s, stamp_s - self._last_s)
        self._last_s = stamp_s
        for byte in beat:
            self._sequence.take(byte)


class FrameSequence:
    """The guest's frames put together from single bytes: see `send` in the guest's program.

    The first byte of a frame has its top bit set. A frame whose number is lower than the last one's means that the
    guest began anew. An incomplete frame (one being sent when QEMU was killed) is dropped.
    """

    def __init__(self) -> None:
        self.frame = -1
        self.restarts = 0
        self.fault = False
        self.sweeps = 0
        self.written = 0
        self._bytes: list[int] = []

    def take(self, byte: int) -> None:
        if byte & 0x80:
            self._bytes = [byte]
        elif self._bytes:
            self._bytes.append(byte)
        if len(self._bytes) == FRAME_BEATS:
            self._complete()

    def _complete(self) -> None:
        frame = _number(self._bytes[1:5])
        if frame <= self.frame:
            self.restarts += 1
        self.frame = frame
        self.fault = self.fault or bool(self._bytes[0] & 1)
        self.sweeps = _number(self._bytes[5:8])
        self.written = _number(self._bytes[8:12])
        self._bytes = []


def _number(sevens: list[int]) -> int:
    return sum(seven << 7 * place for place, seven in enumerate(sevens))


def _stamp_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(content) >= 16:
            seconds, nanoseconds = struct.unpack_from("=qq", content)
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()
