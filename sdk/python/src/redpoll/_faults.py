"""Describes an exception for a caller who has none of its classes. Never raises, and never says more than a bound."""

from __future__ import annotations

import math
import os
import traceback
from types import TracebackType
from typing import Any, Callable, Optional

from ._errors import Failure, ValueRefused
from ._values import MAX_INTEGER, MIN_INTEGER, marked, plain

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
    name: str = _or(lambda: sound(kind.__qualname__, MAX_PART), "an exception")
    return {
        "class": name,
        "module": _or(lambda: sound(str(kind.__module__), MAX_PART), ""),
        "message": _or(lambda: _message(error), f"<{name}, whose text cannot be had>"),
        "trace": _or(lambda: _trace(error), "<no trace: it cannot be written>"),
        "args": _or(lambda: _args(error, budget), []),
        "state": _or(lambda: _state(error, budget), {}),
        "data": _or(lambda: _data(error, budget), None),
    }


def shorter(described: "dict[str, Any]", step: int) -> "Optional[dict[str, Any]]":
    """What is left of an exception that is too long for a line: first without what else it carries, then with ever less text."""
    if step >= len(_STEPS):
        return None
    room = _STEPS[step]
    trace = described["trace"]
    trace = f"{sound(trace, room) if len(trace) > room else trace}\n(args, state and data were left out: they do not fit a line)"
    message = sound(described["message"], max(room, 200))
    return {**described, "message": message, "trace": trace, "args": [], "state": {}, "data": None}


#: Characters of a trace.
_STEPS = (MAX_TRACE, 4096, 256)


def _or(part: "Callable[[], Any]", otherwise: Any) -> Any:
    """A part of an exception, whose own code may do anything when it is asked for it, such as leave the process."""
    try:
        return part()
    except BaseException:
        return otherwise


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the procedure called sys.exit({_repr(error.code)}); it ends by returning, or by raising Failure"
    return sound(str(error), MAX_MESSAGE)


def _trace(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
    return sound("".join(lines), MAX_TRACE)


def _args(error: BaseException, budget: "list[int]") -> "list[Any]":
    # its class may have another attribute of this name
    args = vars(BaseException)["args"].__get__(error)
    return [_part(part, budget, 1) for part in _few(args)]


def _own(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    """Without the frames of this package at its top: they are the same every time."""
    first = trace
    while trace is not None and os.path.dirname(os.path.abspath(trace.tb_frame.f_code.co_filename)) == _HERE:
        trace = trace.tb_next
    return trace if trace is not None else first


def _state(error: BaseException, budget: "list[int]") -> "dict[str, Any]":
    state = dict(vars(error))
    if isinstance(error, Failure):
        state.pop("data", None)
    parts = {sound(str(name), MAX_PART): _part(state[name], budget, 1) for name in _few(list(state))}
    told = _carried(parts, state)
    return told if isinstance(told, dict) else {"state": told}


def _data(error: BaseException, budget: "list[int]") -> Any:
    if not isinstance(error, Failure):
        return None
    try:
        data = plain(error.data)
        _encodable(data)
        return data
    except Exception:
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
        return _carried({sound(key, MAX_PART): _part(value[key], budget, level + 1) for key in _few(list(value))}, value)
    return _repr(value)


def _carried(parts: "dict[str, Any]", value: Any) -> Any:
    """What an agent would take for bytes has to be some, or it hears nothing of the exception at all: a text that was cut is none."""
    try:
        return marked(parts, "")
    except ValueRefused:
        return _repr(value)


def _few(values: Any) -> Any:
    return values[:MAX_PARTS]


def _repr(value: Any) -> str:
    try:
        return sound(repr(value), MAX_PART)
    except BaseException:
        return f"<{type(value).__qualname__}, whose repr cannot be had>"


def sound(text: str, limit: int) -> str:
    """Text that UTF-8 can carry, of at most ``limit`` characters: its beginning and its end."""
    text = str.__str__(text)
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
