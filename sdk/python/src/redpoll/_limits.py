"""Narrows a kind: ``Annotated[int, Arg(min=1, max=9)]``."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any, Optional, Sequence, Union

from ._errors import ArgumentError, DeclarationError
from ._kinds import Kind
from ._values import shown

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


class Narrowed(Kind):
    """A kind with an :class:`Arg`."""

    def __init__(self, kind: Kind, arg: Arg, where: str) -> None:
        self._kind, self._arg = kind, arg
        self.words = kind.words
        name = kind.json_type()
        if (arg.min is not None or arg.max is not None) and name not in _NUMBERS:
            raise DeclarationError(f"{where}: min and max are for numbers; this is {kind.words}")
        if (arg.min_length is not None or arg.max_length is not None) and name not in ("string", "array", "object"):
            raise DeclarationError(f"{where}: min_length and max_length are for text, lists and maps; this is {kind.words}")
        if arg.pattern is not None and name != "string":
            raise DeclarationError(f"{where}: pattern is for text; this is {kind.words}")
        for bound in (arg.min, arg.max):
            if bound is not None and not (type(bound) in (int, float) and abs(bound) <= sys.float_info.max):
                raise DeclarationError(f"{where}: min and max are finite numbers; leave out what has no bound")
        self._examples = [example for example in map(shown, arg.examples) if example is not None]
        self._pattern = _compiled(arg.pattern, where)
        self._lengths = {"string": "Length", "array": "Items", "object": "Properties"}.get(str(name), "")

    def inside(self) -> "Sequence[Kind]":
        return [self._kind]

    def measured(self, value: Any) -> Any:
        return self._kind.measured(value)

    def schema(self) -> "dict[str, Any]":
        schema, arg = self._kind.schema(), self._arg
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
        read, arg = self._kind.read(value, path), self._arg
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


def _compiled(pattern: Optional[str], where: str) -> "Optional[re.Pattern[str]]":
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DeclarationError(f"{where}: the pattern is no regular expression: {error}") from None
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        # Python lets `$` match before a newline at the end; JSON Schema does not
        compiled = re.compile(pattern[:-1] + r"\Z")
    return compiled
