"""Type hints as JSON Schema, and as readers that turn JSON into what the hint promises.

A :class:`Kind` is both, so that the schema that others check and the check made here cannot drift apart.
No schema contains ``null``: TOML, in which manifests are written, has none.
"""

from __future__ import annotations

import base64
import binascii
import math
import pathlib
from typing import Any, Callable, Iterable, Optional, Sequence

from ._errors import ArgumentError, DeclarationError, nearest

Schema = "dict[str, Any]"


def found(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def wrong(path: str, expected: str, value: Any) -> ArgumentError:
    """The error for a value of another kind than expected; it does not show the value."""
    return ArgumentError(path, f"expected {expected}, found {found(value)}")


class Kind:
    """One kind of value."""

    #: In words, with an article: "an integer".
    words = "anything"

    def schema(self) -> "dict[str, Any]":
        """The JSON Schema (draft 2020-12), new each time."""
        return {}

    def json_type(self) -> "Optional[str]":
        """The ``type`` of its schema; None where there are several, or any."""
        name = self.schema().get("type")
        return name if isinstance(name, str) else None

    def read(self, value: Any, path: str) -> Any:
        """What the function gets for this JSON value. Raises ArgumentError."""
        return value

    def measured(self, value: Any) -> Any:
        """The JSON value as its schema sees it, once it has been read."""
        return value

    def inside(self) -> "Sequence[Kind]":
        """The kinds of what is within."""
        return ()


class Plain(Kind):
    """Text, a boolean or null: what it is, it is."""

    def __init__(self, words: str, name: str, kind: type) -> None:
        self.words, self._name, self._kind = words, name, kind

    def schema(self) -> "dict[str, Any]":
        return {"type": self._name}

    def read(self, value: Any, path: str) -> Any:
        if type(value) is self._kind:
            return value
        raise wrong(path, self.words, value)


class Integer(Kind):
    words = "an integer"

    def schema(self) -> "dict[str, Any]":
        return {"type": "integer"}

    def read(self, value: Any, path: str) -> Any:
        if type(value) is int:
            return value
        # 3.0 is an integer to JSON Schema, and for some languages the only way to write one
        if type(value) is float and value.is_integer():
            return int(value)
        raise wrong(path, self.words, value)


class Number(Kind):
    words = "a number"

    def schema(self) -> "dict[str, Any]":
        return {"type": "number"}

    def read(self, value: Any, path: str) -> Any:
        if type(value) not in (int, float):
            raise wrong(path, self.words, value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ArgumentError(path, "expected a finite number")
        return number


class Base64(Kind):
    words = "base64 text"

    def schema(self) -> "dict[str, Any]":
        return {"type": "string", "contentEncoding": "base64"}

    def measured(self, value: Any) -> Any:
        # what was bytes on the wire, rather than a text, comes marked
        return value["$b64"] if type(value) is dict and list(value) == ["$b64"] else value

    def read(self, value: Any, path: str) -> Any:
        value = self.measured(value)
        if type(value) is not str:
            raise wrong(path, self.words, value)
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise ArgumentError(path, "expected base64 text; this is not base64") from None


class Path(Kind):
    words = "a path"

    def schema(self) -> "dict[str, Any]":
        return {"type": "string"}

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not str:
            raise wrong(path, self.words, value)
        if "\0" in value:
            raise ArgumentError(path, "a path has no zero byte")
        return pathlib.Path(value)


class Items(Kind):
    """A list, a set, or a tuple of any length."""

    words = "a list"

    def __init__(self, item: Kind, make: Callable[[Any], Any], unique: bool) -> None:
        self._item, self._make, self._unique = item, make, unique

    def inside(self) -> "Sequence[Kind]":
        return [self._item]

    def schema(self) -> "dict[str, Any]":
        schema: "dict[str, Any]" = {"type": "array"}
        if below := self._item.schema():
            schema["items"] = below
        if self._unique:
            schema["uniqueItems"] = True
        return schema

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not list:
            raise wrong(path, self.words, value)
        items = [self._item.read(part, f"{path}[{place}]") for place, part in enumerate(value)]
        try:
            made = self._make(items)
        except TypeError:
            raise ArgumentError(path, "a set cannot hold lists or objects") from None
        if self._unique and len(made) != len(items):
            raise ArgumentError(path, "expected no item twice")
        return made


class Row(Kind):
    """A tuple with a kind for each place."""

    def __init__(self, items: "Sequence[Kind]") -> None:
        self._items = list(items)
        self.words = f"a list of {len(self._items)}"

    def inside(self) -> "Sequence[Kind]":
        return self._items

    def schema(self) -> "dict[str, Any]":
        count = len(self._items)
        schema: "dict[str, Any]" = {"type": "array", "minItems": count, "maxItems": count}
        if count:
            schema["prefixItems"] = [item.schema() for item in self._items]
        return schema

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not list:
            raise wrong(path, self.words, value)
        if len(value) != len(self._items):
            raise ArgumentError(path, f"expected {self.words}, found a list of {len(value)}")
        pairs = enumerate(zip(self._items, value))
        return tuple(kind.read(part, f"{path}[{place}]") for place, (kind, part) in pairs)


class Map(Kind):
    """An object with any keys."""

    words = "an object"

    def __init__(self, value: Kind) -> None:
        self._value = value

    def inside(self) -> "Sequence[Kind]":
        return [self._value]

    def schema(self) -> "dict[str, Any]":
        below = self._value.schema()
        return {"type": "object", "additionalProperties": below} if below else {"type": "object"}

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise wrong(path, self.words, value)
        return {key: self._value.read(part, f"{path}.{key}") for key, part in value.items()}


class Field:
    """One key of a :class:`Record`."""

    def __init__(self, kind: Kind, required: bool, default: Any = None) -> None:
        self.kind, self.required, self.default = kind, required, default

    def schema(self) -> "dict[str, Any]":
        """With what holds where it is left out."""
        return {**self.kind.schema(), **({} if self.default is None else {"default": self.default})}


class Record(Kind):
    """An object with known keys: a dataclass, a TypedDict."""

    words = "an object"

    def __init__(self, fields: "dict[str, Field]", make: Callable[..., Any]) -> None:
        self._fields, self._make = fields, make

    def inside(self) -> "Sequence[Kind]":
        return [field.kind for field in self._fields.values()]

    def schema(self) -> "dict[str, Any]":
        return object_schema(self._fields)

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise wrong(path, self.words, value)
        values = {}
        for key, part in value.items():
            field = self._fields.get(key)
            if field is None:
                raise ArgumentError(f"{path}.{key}", unknown_key(key, self._fields))
            values[key] = field.kind.read(part, f"{path}.{key}")
        for key, field in self._fields.items():
            if field.required and key not in values:
                raise ArgumentError(f"{path}.{key}", "is missing")
        try:
            return self._make(**values)
        except (ValueError, TypeError) as error:
            raise ArgumentError(path, str(error)) from error


class Named(Kind):
    """A class. If it is met more than once its schema stands once, in ``$defs``, and is referred to wherever it is meant.

    Classes that contain themselves, or one another, have no end otherwise, and those that share others may have one far away.
    """

    words = "an object"

    def __init__(self, meant: type) -> None:
        self.meant, self.name = meant, meant.__name__
        #: What it is; known once all its fields are.
        self.kind = Kind()
        #: Whether it is met more than once; known once all hints of the schema are.
        self.is_shared = False

    def inside(self) -> "Sequence[Kind]":
        return [self.kind]

    def schema(self) -> "dict[str, Any]":
        return {"$ref": f"#/$defs/{self.name}"} if self.is_shared else self.kind.schema()

    def json_type(self) -> "Optional[str]":
        # also while its fields are not known yet
        return "object"

    def read(self, value: Any, path: str) -> Any:
        return self.kind.read(value, path)


def definitions(kinds: "Iterable[Kind]") -> "dict[str, Any]":
    """What belongs into ``$defs`` for these kinds to be understood. Classes of the same name are told apart."""
    names: "dict[type, str]" = {}
    found: "dict[str, Named]" = {}
    seen: "set[int]" = set()
    left = list(kinds)
    while left:
        kind = left.pop(0)
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        left.extend(kind.inside())
        if isinstance(kind, Named) and kind.is_shared:
            if kind.meant not in names:
                plain, count = kind.meant.__name__, 1
                names[kind.meant] = plain
                while names[kind.meant] in found:
                    count += 1
                    names[kind.meant] = f"{plain}{count}"
            kind.name = names[kind.meant]
            found.setdefault(kind.name, kind)
    return {name: named.kind.schema() for name, named in found.items()}


def unknown_key(key: str, known: "dict[str, Field]") -> str:
    """What to say of a key that is not known."""
    near = nearest(key, list(known))
    return f"is unknown; did you mean {near}?" if near else "is unknown"


def object_schema(fields: "dict[str, Field]", others: "Optional[Kind]" = None) -> "dict[str, Any]":
    """The schema of an object with these keys; ``others`` is what any further key holds."""
    properties = {name: field.schema() for name, field in fields.items()}
    schema: "dict[str, Any]" = {"type": "object"}
    if properties:
        schema["properties"] = properties
    if required := [name for name, field in fields.items() if field.required]:
        schema["required"] = required
    schema["additionalProperties"] = False if others is None else (others.schema() or True)
    return schema


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and neither is true."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


class Choice(Kind):
    """One of a few values: a Literal or an Enum."""

    def __init__(self, choices: "Sequence[tuple[Any, Any]]", where: str) -> None:
        for written, _ in choices:
            if not isinstance(written, (str, int, float)):
                raise DeclarationError(f"{where}: a choice is text, a number or a boolean, not {type(written).__name__}")
        self._choices = list(choices)
        self.words = "one of " + ", ".join(repr(written) for written, _ in choices)

    def schema(self) -> "dict[str, Any]":
        return {"enum": [written for written, _ in self._choices]}

    def read(self, value: Any, path: str) -> Any:
        for written, meant in self._choices:
            if same(value, written):
                return meant
        raise ArgumentError(path, f"expected {self.words}")


class Either(Kind):
    """The first of several kinds that fits."""

    def __init__(self, kinds: "Sequence[Kind]") -> None:
        self._kinds = list(kinds)
        self.words = " or ".join(kind.words for kind in kinds)

    def inside(self) -> "Sequence[Kind]":
        return self._kinds

    def mapped(self, change: "Callable[[Kind], Kind]") -> "Optional[Either]":
        """The same with its one kind that is not null changed; None if there are several."""
        if sum(kind.words != "null" for kind in self._kinds) != 1:
            return None
        return Either([kind if kind.words == "null" else change(kind) for kind in self._kinds])

    def schema(self) -> "dict[str, Any]":
        return {"anyOf": [kind.schema() for kind in self._kinds]}

    def read(self, value: Any, path: str) -> Any:
        problems = []
        for kind in self._kinds:
            try:
                return kind.read(value, path)
            except ArgumentError as problem:
                problems.append(problem)
        # null is rarely what was meant: with Optional, the rule of the other kind is the one to know
        told = [p for kind, p in zip(self._kinds, problems) if kind.words != "null"]
        if len(told) == 1 and value is not None:
            raise told[0]
        deeper = [problem for problem in told if problem.path != path]
        raise deeper[0] if len(deeper) == 1 else wrong(path, self.words, value)
