"""What the fields of a manifest may hold, as an agent reads them: see config/src/manifest."""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Optional, Sequence

from ._errors import DeclarationError

_DURATION = re.compile(r"(0|(\d+\s*(ms|s|m|h|d)\s*)+)\Z")
_PART = re.compile(r"(\d+)\s*(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d{1,15})\s*(kB|MB|GB|TB|KiB|MiB|GiB|TiB)?\Z")
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
#: In milliseconds, the longest first: the order in which they are written.
_TIMES = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_ACCOUNT = re.compile(r"[^\s:\x00-\x1f\x7f-\x9f]+\Z")
_CALLED = re.compile(r"[A-Za-z0-9._*@-]+\Z")

#: By field: the shortest and the longest.
DURATIONS = {
    "run_timeout": ("1s", "365d"),
    "idle_timeout": ("1s", "365d"),
    "grace": ("0s", "1h"),
    "ready_timeout": ("1s", "1h"),
    "idle_shutdown": ("0s", "30d"),
    "health_interval": ("1s", "1d"),
}
_SIZES = {"memory": ("1MiB", "64TiB"), "output": ("1KiB", "1TiB"), "line": ("1KiB", "64MiB")}
_COUNTS = {"cpu": 100_000, "processes": 1_000_000}
_LIMITS = ("memory", "cpu", "processes", "output", "line")
_MANAGER = ("submit", "calls")
_SCHEDULE = ("every", "jitter", "at_start", "kwargs")
MAX_CONCURRENCY = 4096
_MAX_NOTE = 4096
_MAX_ACCOUNT = 64
_MAX_ENV = 256
_MAX_CALLS = 256
_MAX_CALLED = 128


def size(value: Any) -> Optional[int]:
    """`1MiB`, `500kB` or a number of bytes; None for anything else."""
    if type(value) is int and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2] or ""] if found else None


def duration(where: str, name: str, value: Any, least: str, most: str) -> int:
    """The milliseconds of a duration within these bounds."""
    found = _milliseconds(value)
    if found is None:
        raise DeclarationError(f'{where}: {name} is a duration such as "30s" or "1h 30m", not {value!r}')
    if not (_milliseconds(least) or 0) <= found <= (_milliseconds(most) or 0):
        raise DeclarationError(f"{where}: {name} is a duration from {least} to {most}, not {value!r}")
    return found


def _milliseconds(value: Any) -> Optional[int]:
    if not isinstance(value, str) or not _DURATION.match(value):
        return None
    parts = [(int(number), _TIMES[unit]) for number, unit in _PART.findall(value)]
    units = [unit for _, unit in parts]
    # each unit once, and the longer before the shorter
    return sum(number * unit for number, unit in parts) if units == sorted(set(units), reverse=True) else None


def count(where: str, name: str, value: Any, most: int) -> None:
    """Refuses what is no integer from 1 on."""
    if type(value) is not int or not 1 <= value <= most:
        raise DeclarationError(f"{where}: {name} is an integer from 1 to {most}, not {value!r}")


def flag(where: str, name: str, value: Any) -> None:
    """Refuses what is neither true nor false."""
    if not isinstance(value, bool):
        raise DeclarationError(f"{where}: {name} is True or False, not {value!r}")


def note(where: str, name: str, value: Any) -> None:
    """Refuses what is no text, or a long one."""
    if not isinstance(value, str):
        raise DeclarationError(f"{where}: {name} is text, not {value!r}")
    if len(value.encode("utf-8", "replace")) > _MAX_NOTE:
        raise DeclarationError(f"{where}: {name} has more than {_MAX_NOTE} bytes")


def one_of(where: str, key: str, value: Any, known: Sequence[str]) -> None:
    """Refuses what is none of these words."""
    if value not in known:
        raise DeclarationError(f"{where}: {key} is one of {', '.join(known)}, not {value!r}")


def account(where: str, name: str, value: Any) -> None:
    """Refuses what is no name of a user or a group."""
    if not (isinstance(value, str) and _ACCOUNT.match(value) and len(value.encode("utf-8", "replace")) <= _MAX_ACCOUNT):
        raise DeclarationError(f"{where}: {name} is the name of a {'group' if name == 'group' else 'user'}, not {value!r}")


def limits(where: str, values: Any) -> None:
    """What a run may use."""
    for name, value in _table(where, "limits", values).items():
        one_of(where, "limits", name, _LIMITS)
        if name in _COUNTS:
            count(where, f"limits.{name}", value, _COUNTS[name])
            continue
        found, (least, most) = size(value), _SIZES[name]
        if found is None:
            raise DeclarationError(f'{where}: limits.{name} is a size such as "64MiB", not {value!r}')
        if not (size(least) or 0) <= found <= (size(most) or 0):
            raise DeclarationError(f"{where}: limits.{name} is a size from {least} to {most}, not {value!r}")


def manager(where: str, values: Any) -> None:
    """What it may ask the manager for."""
    for name in _table(where, "manager", values):
        one_of(where, "manager", name, _MANAGER)
    flag(where, "manager.submit", values.get("submit", False))
    calls = values.get("calls", ())
    if not isinstance(calls, (list, tuple)) or len(calls) > _MAX_CALLS:
        raise DeclarationError(f'{where}: manager.calls is a list of at most {_MAX_CALLS} names such as ["site.*"], not {calls!r}')
    for name in calls:
        good = isinstance(name, str) and _CALLED.match(name) and len(name) <= _MAX_CALLED
        if not good or name.split(".")[0].lower() == "rp":
            raise DeclarationError(f'{where}: manager.calls: {name!r} is no procedure of the manager, such as "site.*" or "site.note@1"')


def environment(where: str, values: Any) -> None:
    """Variables of its own."""
    if len(_table(where, "env", values)) > _MAX_ENV:
        raise DeclarationError(f"{where}: env has more than {_MAX_ENV} variables")
    for name, value in values.items():
        if not (isinstance(name, str) and isinstance(value, str) and "\0" not in value):
            raise DeclarationError(f"{where}: env is a table of texts, not {name!r}: {value!r}")
        if not name or "=" in name or "\0" in name or name.startswith("REDPOLL_"):
            raise DeclarationError(f"{where}: env: {name!r} is no name of a variable of one's own")


def schedule(where: str, values: Any) -> None:
    """When it runs by itself; whether its arguments fit is seen when the parameters are known."""
    for name in _table(where, "schedule", values):
        one_of(where, "schedule", name, _SCHEDULE)
    if "every" not in values:
        raise DeclarationError(f'{where}: schedule says how often, such as schedule={{"every": "1h"}}')
    every = duration(where, "schedule.every", values["every"], "1s", "365d")
    if "jitter" in values and duration(where, "schedule.jitter", values["jitter"], "0s", "365d") >= every:
        raise DeclarationError(f"{where}: schedule.jitter is not shorter than every")
    flag(where, "schedule.at_start", values.get("at_start", False))
    _table(where, "schedule.kwargs", values.get("kwargs", {}))


def fitting_kwargs(where: str, values: "Mapping[str, Any]", bind: "Callable[[dict[str, Any]], Any]", written: Any) -> None:
    """Refuses arguments of a schedule that do not fit, or that no manifest can hold."""
    if values and written is None:
        raise DeclarationError(f"{where}: schedule.kwargs hold what a manifest has no form for, such as None")
    try:
        bind(dict(values))
    except ValueError as error:
        raise DeclarationError(f"{where}: schedule.kwargs do not fit: {error}") from None


def _table(where: str, name: str, value: Any) -> "Mapping[str, Any]":
    if not isinstance(value, Mapping):
        raise DeclarationError(f"{where}: {name} is a table, such as {{…}}, not {value!r}")
    return value
