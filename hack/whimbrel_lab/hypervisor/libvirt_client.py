"""The few libvirt calls that KubeVirt's launcher makes, by ctypes on the C library that libvirt's clients install.

No compiler, no binding to build, 0.1 ms a call where a `virsh` costs 20 ms. All calls block and may be made from any
thread: libvirt.py calls them from its own. Numbers and layouts: libvirt's public headers (ABI-stable since 1.0).
"""

import ctypes
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum, IntFlag
from functools import cache
from typing import Any

from whimbrel_lab.hypervisor import HypervisorError

Typed = int | float | str | bool


class Migrate(IntFlag):
    """virDomainMigrateFlags"""

    LIVE = 1
    PEER2PEER = 2
    PERSIST_DEST = 8
    UNDEFINE_SOURCE = 16
    UNSAFE = 512
    AUTO_CONVERGE = 8192
    POSTCOPY = 32768


PAUSED_BY_MIGRATION = 2
"""VIR_DOMAIN_PAUSED_MIGRATION"""
JOB_STATS_COMPLETED = 1
"""VIR_DOMAIN_JOB_STATS_COMPLETED"""


class DomainState(IntEnum):
    """virDomainState"""

    NOSTATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUTOFF = 5
    CRASHED = 6
    PMSUSPENDED = 7


class ErrorCode(IntEnum):
    """virErrorNumber, those that are told apart."""

    NO_DOMAIN = 42
    OPERATION_INVALID = 55


class LibvirtError(HypervisorError):
    """libvirt's own words, and its number."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Error(ctypes.Structure):
    """virError"""

    _fields_ = [("code", ctypes.c_int), ("domain", ctypes.c_int), ("message", ctypes.c_char_p)]


class _Value(ctypes.Union):
    _fields_ = [
        ("i", ctypes.c_int),
        ("ui", ctypes.c_uint),
        ("ll", ctypes.c_longlong),
        ("ull", ctypes.c_ulonglong),
        ("d", ctypes.c_double),
        ("b", ctypes.c_char),
        ("s", ctypes.c_char_p),
    ]


class _Parameter(ctypes.Structure):
    """virTypedParameter"""

    _fields_ = [("field", ctypes.c_char * 80), ("type", ctypes.c_int), ("value", _Value)]


class _MemoryStatistic(ctypes.Structure):
    """virDomainMemoryStatStruct"""

    _fields_ = [("tag", ctypes.c_int), ("value", ctypes.c_ulonglong)]


_RESIDENT_SET = 7
"""VIR_DOMAIN_MEMORY_STAT_RSS, in KiB"""
_MOST_MEMORY_STATISTICS = 32
_KINDS = {1: "i", 2: "ui", 3: "ll", 4: "ull", 5: "d", 6: "b", 7: "s"}
_ULLONG, _STRING = 4, 7
_ErrorReceiver = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


def _unheard(_user: int | None, _error: int | None) -> None:
    """Keeps libvirt from printing errors, all of which are raised."""


_UNHEARD = _ErrorReceiver(_unheard)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libvirt.so.0")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
    for name, result, arguments in (
        ("virGetLastError", ctypes.POINTER(_Error), []),
        ("virSetErrorFunc", None, [pointer, _ErrorReceiver]),
        ("virConnectOpen", pointer, [text]),
        ("virConnectClose", ctypes.c_int, [pointer]),
        ("virDomainFree", ctypes.c_int, [pointer]),
        ("virDomainDefineXML", pointer, [pointer, text]),
        ("virDomainCreate", ctypes.c_int, [pointer]),
        ("virDomainLookupByName", pointer, [pointer, text]),
        ("virDomainDestroy", ctypes.c_int, [pointer]),
        ("virDomainUndefine", ctypes.c_int, [pointer]),
        ("virDomainSuspend", ctypes.c_int, [pointer]),
        ("virDomainResume", ctypes.c_int, [pointer]),
        ("virDomainAbortJob", ctypes.c_int, [pointer]),
        ("virDomainGetState", ctypes.c_int, [pointer, pointer, pointer, number]),
        ("virDomainMigrateToURI3", ctypes.c_int, [pointer, text, pointer, number, number]),
        ("virDomainMigrateStartPostCopy", ctypes.c_int, [pointer, number]),
        ("virDomainMigrateSetMaxSpeed", ctypes.c_int, [pointer, ctypes.c_ulong, number]),
        ("virDomainMigrateSetMaxDowntime", ctypes.c_int, [pointer, ctypes.c_ulonglong, number]),
        ("virDomainMemoryStats", ctypes.c_int, [pointer, pointer, number, number]),
        ("virDomainGetJobStats", ctypes.c_int, [pointer, pointer, pointer, pointer, number]),
        ("virTypedParamsFree", None, [pointer, ctypes.c_int]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.virSetErrorFunc(None, _UNHEARD)
    return library


@cache
def _monitor_library() -> ctypes.CDLL:
    library = ctypes.CDLL("libvirt-qemu.so.0")
    library.virDomainQemuMonitorCommand.restype = ctypes.c_int
    library.virDomainQemuMonitorCommand.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint]
    return library


@cache
def _c_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    return library


def missing() -> str | None:
    """Which client library cannot be loaded, None when both can."""
    try:
        _library()
        _monitor_library()
    except OSError as problem:
        return str(problem)
    return None


def _last_error() -> LibvirtError:
    error = _library().virGetLastError()
    if not error:
        return LibvirtError(0, "libvirt gave no reason")
    code: int = error.contents.code
    message: bytes | None = error.contents.message
    return LibvirtError(code, message.decode(errors="replace") if message else f"error {code}")


def _checked(result: int) -> None:
    if result < 0:
        raise _last_error()


class Domain:
    """One domain of a connection, valid within `Connection.domain`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def start(self) -> None:
        _checked(_library().virDomainCreate(self._handle))

    def destroy(self) -> None:
        """Pull the plug."""
        _checked(_library().virDomainDestroy(self._handle))

    def undefine(self) -> None:
        _checked(_library().virDomainUndefine(self._handle))

    def suspend(self) -> None:
        _checked(_library().virDomainSuspend(self._handle))

    def resume(self) -> None:
        _checked(_library().virDomainResume(self._handle))

    def abort_job(self) -> None:
        _checked(_library().virDomainAbortJob(self._handle))

    def state(self) -> DomainState:
        return self._state()[0]

    def stopped_to_migrate(self) -> bool:
        """Whether a migration has paused it; a suspension while one runs counts as that."""
        return self._state() == (DomainState.PAUSED, PAUSED_BY_MIGRATION)

    def _state(self) -> tuple[DomainState, int]:
        state, reason = ctypes.c_int(), ctypes.c_int()
        _checked(_library().virDomainGetState(self._handle, ctypes.byref(state), ctypes.byref(reason), 0))
        return DomainState(state.value), reason.value

    def resident_bytes(self) -> int | None:
        """Resident set of its process; None where libvirt does not say."""
        array = (_MemoryStatistic * _MOST_MEMORY_STATISTICS)()
        count: int = _library().virDomainMemoryStats(self._handle, array, len(array), 0)
        _checked(count)
        return next((1024 * each.value for each in array[:count] if each.tag == _RESIDENT_SET), None)

    def migrate(self, connection: str, parameters: Mapping[str, int | str], flags: Migrate) -> None:
        """Peer to peer to another daemon; returns when the guest has moved."""
        array = (_Parameter * len(parameters))()
        for slot, (name, value) in zip(array, parameters.items(), strict=True):
            slot.field = name.encode()
            if isinstance(value, str):
                slot.type, slot.value.s = _STRING, value.encode()
            else:
                slot.type, slot.value.ull = _ULLONG, value
        _checked(_library().virDomainMigrateToURI3(self._handle, connection.encode(), array, len(array), int(flags)))

    def start_post_copy(self) -> None:
        _checked(_library().virDomainMigrateStartPostCopy(self._handle, 0))

    def limit_downtime(self, milliseconds: int) -> None:
        _checked(_library().virDomainMigrateSetMaxDowntime(self._handle, milliseconds, 0))

    def limit_migration(self, mebibytes_per_second: int) -> None:
        _checked(_library().virDomainMigrateSetMaxSpeed(self._handle, mebibytes_per_second, 0))

    def job_statistics(self) -> dict[str, Typed]:
        """Of the running job, by libvirt's names; empty when there is none."""
        return self._job_statistics(0)

    def finished_job_statistics(self) -> dict[str, Typed]:
        """Of the migration that brought the domain here, once: libvirt forgets them when they are read."""
        return self._job_statistics(JOB_STATS_COMPLETED)

    def _job_statistics(self, flags: int) -> dict[str, Typed]:
        kind, count = ctypes.c_int(), ctypes.c_int()
        array = ctypes.POINTER(_Parameter)()
        _checked(
            _library().virDomainGetJobStats(
                self._handle, ctypes.byref(kind), ctypes.byref(array), ctypes.byref(count), flags
            )
        )
        try:
            return {} if kind.value == 0 else dict(_typed(array[place]) for place in range(count.value))
        finally:
            _library().virTypedParamsFree(array, count)

    def monitor(self, command: str, **arguments: Any) -> Any:
        """One QMP command; returns its `return`."""
        answer = ctypes.c_void_p()
        _checked(
            _monitor_library().virDomainQemuMonitorCommand(
                self._handle, json.dumps({"execute": command, "arguments": arguments}).encode(), ctypes.byref(answer), 0
            )
        )
        try:
            content = json.loads(ctypes.string_at(answer))
        finally:
            _c_library().free(answer)
        if "error" in content:
            raise HypervisorError(f"{command}: {content['error'].get('desc')}")
        return content.get("return")


class Connection:
    """An open connection to one libvirtd."""

    def __init__(self, uri: str) -> None:
        self._handle: int | None = _library().virConnectOpen(uri.encode())
        if not self._handle:
            raise _last_error()

    def close(self) -> None:
        """Safe to call twice; not while other threads are in a call."""
        if self._handle:
            _library().virConnectClose(self._handle)
            self._handle = None

    def define(self, xml: str) -> None:
        self._release(_library().virDomainDefineXML(self._handle, xml.encode()))

    @contextmanager
    def domain(self, name: str) -> Iterator[Domain]:
        """Raises LibvirtError NO_DOMAIN when there is none of this name."""
        handle = _library().virDomainLookupByName(self._handle, name.encode())
        if not handle:
            raise _last_error()
        try:
            yield Domain(handle)
        finally:
            self._release(handle)

    def _release(self, handle: int | None) -> None:
        if not handle:
            raise _last_error()
        _library().virDomainFree(handle)


def _typed(parameter: _Parameter) -> tuple[str, Typed]:
    value = getattr(parameter.value, _KINDS[parameter.type])
    return parameter.field.decode(), value.decode() if isinstance(value, bytes) else value
