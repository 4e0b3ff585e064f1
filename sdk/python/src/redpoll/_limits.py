"""Narrows a kind: ``Annotated[int, Arg(min=1, max=9)]``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence, Union

from ._errors import ArgumentError, DeclarationError
from ._kinds import Either, Kind
from ._patterns import compiled
from ._values import MAX_TOML, shown

_NUMBERS = ("integer", "number")


# each is itself alone: `typing` looks for hints by their hash, and examples may be a list
@dataclass(frozen=True, eq=False)
class Arg:
    """What an argument must be beyond its type, and what to tell about it.

    ``min`` and ``max`` hold for numbers, inclusive; ``min_length`` and ``max_length`` for text (in characters), lists, sets and
    maps; ``pattern`` for text: a regular expression that occurs somewhere in it, as JSON Schema has it, so write ``^…$``.
    """

    description: Optional[str] = None
    min: Union[int, float, None] = None
    max: Union[int, float, None] = None
    min_length: Optional[int] = None
    max_length: Optional[int] = None
    pattern: Optional[str] = None
    examples: Sequence[Any] = ()


Arg.__module__ = "redpoll"


def narrowed(kind: Kind, arg: Arg, where: str) -> Kind:
    """A kind with an Arg: of ``Optional[T]`` its bounds are those of `T`."""
    if not isinstance(_bare(kind), Either):
        return Narrowed(kind, arg, where)
    told = Arg(description=arg.description, examples=arg.examples)
    bounds = replace(arg, description=None, examples=())
    if any(bound is not None for bound in (arg.min, arg.max, arg.min_length, arg.max_length, arg.pattern)):
        kind = _within(kind, bounds, where)
    return Narrowed(kind, told, where)


def _bare(kind: Kind) -> Kind:
    """A kind without what was told of it."""
    while isinstance(kind, Narrowed):
        kind = kind.kind
    return kind


def _within(kind: Kind, bounds: Arg, where: str) -> Kind:
    """Bounds at the one type of an Either; what was told of the whole stays around it."""
    if isinstance(kind, Narrowed):
        return Narrowed(_within(kind.kind, bounds, where), kind.arg, where)
    within = kind.mapped(lambda kind: narrowed(kind, bounds, where)) if isinstance(kind, Either) else None
    if within is None:
        raise DeclarationError(f"{where}: which of several types is narrowed? Write it there, such as Union[Annotated[int, Arg(min=1)], str]")
    return within


class Narrowed(Kind):
    """A kind with an :class:`Arg`."""

    def __init__(self, kind: Kind, arg: Arg, where: str) -> None:
        self.kind, self.arg = kind, arg
        self.words = kind.words
        name = kind.json_type()
        if (arg.min is not None or arg.max is not None) and name not in _NUMBERS:
            raise DeclarationError(f"{where}: min and max are for numbers; this is {kind.words}")
        if (arg.min_length is not None or arg.max_length is not None) and name not in ("string", "array", "object"):
            raise DeclarationError(f"{where}: min_length and max_length are for text, lists and maps; this is {kind.words}")
        if arg.pattern is not None and name != "string":
            raise DeclarationError(f"{where}: pattern is for text; this is {kind.words}")
        for rule, length in (("min_length", arg.min_length), ("max_length", arg.max_length)):
            if length is not None and (type(length) is not int or not 0 <= length <= MAX_TOML):
                raise DeclarationError(f"{where}: {rule} is an integer from 0, not {length!r}")
        for bound in (arg.min, arg.max):
            if bound is not None and not (type(bound) in (int, float) and abs(bound) <= sys.float_info.max):
                raise DeclarationError(f"{where}: min and max are finite numbers; leave out what has no bound")
        for least, most, words in ((arg.min, arg.max, "min"), (arg.min_length, arg.max_length, "min_length")):
            if least is not None and most is not None and least > most:
                raise DeclarationError(f"{where}: {words} is {least}, and more than {words.replace('min', 'max')}, {most}: nothing would fit")
        self._examples = [example for example in map(shown, arg.examples) if example is not None]
        self._pattern = compiled(arg.pattern, where)
        self._lengths = {"string": "Length", "array": "Items", "object": "Properties"}.get(str(name), "")

    def inside(self) -> "Sequence[Kind]":
        return [self.kind]

    def measured(self, value: Any) -> Any:
        return self.kind.measured(value)

    def schema(self) -> "dict[str, Any]":
        schema, arg = self.kind.schema(), self.arg
        rules = {
            "minimum": arg.min,
            "maximum": arg.max,
            f"min{self._lengths}": arg.min_length,
            f"max{self._lengths}": arg.max_length,
            "pattern": arg.pattern,
            "description": arg.description,
            "examples": list(self._examples) or None,
        }
        schema.update({rule: value for rule, value in rules.items() if value is not None})
        return schema

    def read(self, value: Any, path: str) -> Any:
        read, arg = self.kind.read(value, path), self.arg
        if arg.min is not None and read < arg.min:
            raise ArgumentError(path, f"expected at least {arg.min}")
        if arg.max is not None and read > arg.max:
            raise ArgumentError(path, f"expected at most {arg.max}")
        # of the JSON, as the schema counts: bytes are longer as base64
        value = self.measured(value)
        if arg.min_length is not None and len(value) < arg.min_length:
            raise ArgumentError(path, f"expected a length of at least {arg.min_length}, found {len(value)}")
        if arg.max_length is not None and len(value) > arg.max_length:
            raise ArgumentError(path, f"expected a length of at most {arg.max_length}, found {len(value)}")
        if self._pattern is not None and not self._pattern.search(value):
            raise ArgumentError(path, f"expected text that matches {arg.pattern}")
        return read
