"""Turns what a procedure gives into JSON, or says where it has none."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import json
import math
import numbers
import pathlib
import uuid
from typing import Any, Union

from ._errors import ValueRefused

#: Levels of lists and maps within each other, and values, keys included, in one value. The wire has 32 and 65,536; the record of a job
#: needs a part of them for itself.
MAX_DEPTH, MAX_VALUES = 24, 32 * 1024

#: What the wire can carry: 64 bit, with a sign or without.
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1

#: The largest integer of TOML.
MAX_TOML = 2**63 - 1

Binary = Union[bytes, bytearray, memoryview]
BINARY = (bytes, bytearray, memoryview)


def plain(value: Any) -> Any:
    """The JSON form of ``value``: dataclasses and maps become maps, tuples and sets lists, members of enums their values.

    Raises ValueRefused, which names the place.
    """
    return _Plain().of(value, "", 0)


class _Plain:
    """Makes the JSON form of one value."""

    def __init__(self) -> None:
        self._left = MAX_VALUES - 1

    def of(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return _integer(value, path)
        if kind is float:
            return _number(value, path)
        if isinstance(value, enum.Enum):
            return self.of(value.value, path, depth)
        if isinstance(value, dict):
            self._enter(2 * len(value), path, depth)
            return marked({_key(key, path): self.of(part, _below(path, key), depth + 1) for key, part in value.items()}, path)
        if isinstance(value, (list, tuple)):
            self._enter(len(value), path, depth)
            return [self.of(part, f"{path}[{place}]", depth + 1) for place, part in enumerate(value)]
        if isinstance(value, (set, frozenset)):
            self._enter(len(value), path, depth)
            return [self.of(part, f"{path}[…]", depth + 1) for part in _ordered(value)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            self._enter(2 * len(fields), path, depth)
            return {f.name: self.of(getattr(value, f.name), _below(path, f.name), depth + 1) for f in fields}
        return _other(value, path)

    def _enter(self, count: int, path: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise ValueRefused(f"{_at(path)} more than {MAX_DEPTH} levels of lists and maps within each other")
        self._left -= count
        if self._left < 0:
            raise ValueRefused(f"{_at(path)} more than {MAX_VALUES} values in one, keys of maps included; yield it in pieces")


def marked(value: "dict[str, Any]", path: str) -> "dict[str, Any]":
    """What stands for bytes to an agent has to be bytes."""
    text = value.get("$b64") if len(value) == 1 else None
    if isinstance(text, str):
        try:
            sound = base64.b64encode(base64.b64decode(text.encode("ascii"), validate=True)).decode("ascii") == text
        except ValueError:
            sound = False
        if not sound:
            raise ValueRefused(f"{_at(path)} a map with the key $b64 alone stands for bytes, and this is not base64")
    return value


def shown(value: Any) -> Any:
    """A default or an example as a schema shows it. None when it has no form there: TOML, in which manifests are written, has neither null nor
    integers of more than 63 bits, and no text that is not Unicode."""
    try:
        found = plain(value)
    except ValueRefused:
        return None
    left = [found]
    while left:
        part = left.pop()
        if part is None or (type(part) is int and part > MAX_TOML) or (type(part) is str and not is_unicode(part)):
            return None
        left.extend([*part, *part.values()] if isinstance(part, dict) else part if isinstance(part, list) else ())
    return found


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can carry it: half of a surrogate pair it cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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
    raise ValueRefused(f"{_at(path)} {type(value).__module__}.{type(value).__qualname__} has no JSON form{_instead(value)}")


def _instead(value: Any) -> str:
    """What to send in place of a value that has no JSON form, if that can be told."""
    if hasattr(value, "__next__"):
        return "; `yield from` gives its values one by one"
    if isinstance(value, (datetime.date, datetime.time)):
        return "; send value.isoformat()"
    if isinstance(value, (numbers.Number, datetime.timedelta, uuid.UUID)):
        return "; send str(value)"
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return "; send dict(value)"
    return ""


def _integer(value: int, path: str) -> int:
    if MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    raise ValueRefused(f"{_at(path)} an integer of more than 64 bits: there is room from -2**63 to 2**64 - 1. Send it as text")


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
