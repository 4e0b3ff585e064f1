"""Describes an exception for a caller who has none of its classes. Never raises, and never says more than a bound."""

from __future__ import annotations

import math
import os
import traceback
from types import TracebackType
from typing import Any, Optional

from ._errors import Failure
from ._values import MAX_INTEGER, MIN_INTEGER, plain

MAX_MESSAGE = 8 * 1024
MAX_TRACE = 64 * 1024
MAX_PART = 1024
MAX_PARTS = 256
MAX_LEVELS = 6

_HERE = os.path.dirname(os.path.abspath(__file__))


def describe(error: BaseException) -> "dict[str, Any]":
    """The object that goes behind ``"exception"``."""
    budget = [MAX_PARTS]
    kind = type(error)
    return {
        "class": sound(kind.__qualname__, MAX_PART),
        "module": sound(str(kind.__module__), MAX_PART),
        "message": _message(error),
        "trace": _trace(error),
        "args": [_part(part, budget, 1) for part in _few(error.args)],
        "state": _state(error, budget),
        "data": _data(error, budget),
    }


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the procedure called sys.exit({_repr(error.code)}); it ends by returning, or by raising Failure"
    try:
        return sound(str(error), MAX_MESSAGE)
    except Exception:
        return f"<{type(error).__qualname__}, whose text cannot be had>"


def _trace(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
        return sound("".join(lines), MAX_TRACE)
    except Exception:
        return "<no trace: it cannot be written>"


def _own(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    """Without the frames of this package at its top: they are the same every time."""
    first = trace
    while trace is not None and os.path.dirname(os.path.abspath(trace.tb_frame.f_code.co_filename)) == _HERE:
        trace = trace.tb_next
    return trace if trace is not None else first


def _state(error: BaseException, budget: "list[int]") -> "dict[str, Any]":
    try:
        state = dict(vars(error))
    except Exception:
        return {}
    if isinstance(error, Failure):
        state.pop("data", None)
    return {sound(str(name), MAX_PART): _part(state[name], budget, 1) for name in _few(list(state))}


def _data(error: BaseException, budget: "list[int]") -> Any:
    if not isinstance(error, Failure):
        return None
    try:
        data = plain(error.data)
        _encodable(data)
        return data
    except (ValueError, RecursionError):
        return _part(error.data, budget, 0)


def _encodable(value: Any) -> None:
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for key, part in value.items():
            key.encode("utf-8")
            _encodable(part)
    elif isinstance(value, list):
        for part in value:
            _encodable(part)


def _part(value: Any, budget: "list[int]", level: int) -> Any:
    """What has a JSON form, as it is; the rest as its repr."""
    budget[0] -= 1
    if budget[0] < 0:
        return "…"
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return sound(value, MAX_PART)
    if kind is int and MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    if kind is float and math.isfinite(value):
        return value
    if kind in (list, tuple) and level < MAX_LEVELS:
        return [_part(part, budget, level + 1) for part in _few(value)]
    if kind is dict and level < MAX_LEVELS and all(type(key) is str for key in value):
        return {sound(key, MAX_PART): _part(value[key], budget, level + 1) for key in _few(list(value))}
    return _repr(value)


def _few(values: Any) -> Any:
    return values[:MAX_PARTS]


def _repr(value: Any) -> str:
    try:
        return sound(repr(value), MAX_PART)
    except Exception:
        return f"<{type(value).__qualname__}, whose repr cannot be had>"


def sound(text: str, limit: int) -> str:
    """Text that UTF-8 can carry, of at most ``limit`` characters: its beginning and its end."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
