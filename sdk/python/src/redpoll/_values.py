"""Turns what a procedure gives into JSON, or says where it has none."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import pathlib
from typing import Any, Union

from ._errors import ValueRefused

#: Levels of lists and maps within each other. The wire has no more.
MAX_DEPTH = 32

#: What the wire can carry: 64 bit, with a sign or without.
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1

Binary = Union[bytes, bytearray, memoryview]
BINARY = (bytes, bytearray, memoryview)


def plain(value: Any, path: str = "", depth: int = 0) -> Any:
    """The JSON form of ``value``: dataclasses and maps become maps, tuples and sets lists, members of enums their values.

    Raises ValueRefused, which names the place.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return _integer(value, path)
    if kind is float:
        return _number(value, path)
    if depth >= MAX_DEPTH:
        raise ValueRefused(f"{_at(path)} more than {MAX_DEPTH} levels of lists and maps within each other")
    if isinstance(value, enum.Enum):
        return plain(value.value, path, depth + 1)
    if isinstance(value, dict):
        return {_key(key, path): plain(part, _below(path, key), depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part, f"{path}[{place}]", depth + 1) for place, part in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [plain(part, f"{path}[…]", depth + 1) for part in _ordered(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: plain(getattr(value, f.name), _below(path, f.name), depth + 1) for f in fields}
    return _other(value, path)


def _other(value: Any, path: str) -> Any:
    # subclasses of the plain types, after what is looked for by its own name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _integer(int(value), path)
    if isinstance(value, float):
        return _number(float(value), path)
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, BINARY):
        raise ValueRefused(
            f"{_at(path)} bytes inside a value have no JSON form; yield or return them by themselves, or encode them as text"
        )
    hint = "; `yield from` gives its values one by one" if hasattr(value, "__next__") else ""
    raise ValueRefused(f"{_at(path)} {type(value).__module__}.{type(value).__qualname__} has no JSON form{hint}")


def _integer(value: int, path: str) -> int:
    if MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    raise ValueRefused(f"{_at(path)} an integer of {value.bit_length()} bits; there is room for 64. Send it as text")


def _number(value: float, path: str) -> float:
    if math.isfinite(value):
        return value
    raise ValueRefused(f"{_at(path)} {value!r} has no JSON form; use None")


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    raise ValueRefused(f"{_at(path)} keys of a map are text, not {type(key).__name__}")


def _ordered(value: Any) -> Any:
    try:
        return sorted(value)
    except TypeError:
        return value


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _at(path: str) -> str:
    return f"at {path}:" if path else "the value:"


def line_of(message: "dict[str, Any]") -> bytes:
    """One message as one line. Its parts have been through :func:`plain`.

    Raises ValueRefused for text that is not Unicode, such as a file name in another encoding.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        raise ValueRefused(
            "the value: text with half of a surrogate pair, such as a file name that is not UTF-8; "
            "send os.fsencode(name) by itself, or name.encode('utf-8', 'replace').decode()"
        ) from None


def labelled(label: str, value: Any) -> "dict[str, Any]":
    """``{"value": …}``, or ``{"value_b64": …}`` for bytes."""
    if isinstance(value, BINARY):
        return {f"{label}_b64": base64.b64encode(value).decode("ascii")}
    return {label: plain(value)}
