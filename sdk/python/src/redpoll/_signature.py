"""The parameters of a function: their schema, and arguments checked and put in their places."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Optional, Sequence

from ._errors import ArgumentError, DeclarationError
from ._hints import Classes, fitting, kind_of, resolved
from ._kinds import Field, Kind, object_schema, unknown_key
from ._values import shown

#: The keyword of a schema that says what arguments without a name mean.
POSITIONAL = "x-positional"

Bound = "tuple[list[Any], dict[str, Any]]"


class Signature:
    """What a function takes. ``skip`` leaves out that many parameters at the front: ``self``.

    Signatures whose schemas stand in one share ``classes``.
    """

    def __init__(self, function: Callable[..., Any], where: str, skip: int = 0, classes: Optional[Classes] = None) -> None:
        hints = resolved(function, where)
        self._fields: "dict[str, Field]" = {}
        self._placed: "list[str]" = []
        self._only_placed: "set[str]" = set()
        self._rest: Optional[Kind] = None
        self._others: Optional[Kind] = None
        #: Parameters without a type hint: anything is taken for them.
        self.untyped: "list[str]" = []
        self._classes: Classes = {} if classes is None else classes
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        for parameter in parameters:
            self._add(parameter, hints, where)

    def _add(self, parameter: inspect.Parameter, hints: "dict[str, Any]", where: str) -> None:
        name = parameter.name
        if name not in hints:
            self.untyped.append(name)
        kind = kind_of(hints.get(name, Any), f"{where}, parameter {name}", self._classes)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            self._rest = kind
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            self._others = kind
        else:
            required = parameter.default is inspect.Parameter.empty
            default = None if required else shown(parameter.default)
            fitting(kind, default, f"{where}, parameter {name}")
            self._fields[name] = Field(kind, required, default)
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                self._only_placed.add(name)
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                self._placed.append(name)

    def reserve(self, name: str, where: str) -> None:
        """Refuses a parameter of this name: it means something else."""
        if name in self._fields:
            raise DeclarationError(f"{where}: `{name}` carries the arguments of the constructor; give this parameter another name")

    def schema(self) -> "dict[str, Any]":
        """The schema of the named arguments, and by which names those go that are given by place."""
        schema = object_schema(self._fields, self._others)
        if self._placed:
            # what follows in `*rest` has no name: the schema lets no more pass than these
            schema[POSITIONAL] = list(self._placed)
        elif self._rest is not None:
            # any number, and checked by the function's own hint
            schema[POSITIONAL] = True
        return schema

    def kinds(self) -> "list[Kind]":
        """The kinds of all parameters."""
        others = [kind for kind in (self._rest, self._others) if kind is not None]
        return [field.kind for field in self._fields.values()] + others

    def row_schema(self) -> "dict[str, Any]":
        """The schema of the same arguments as a list."""
        fields = [self._fields[name] for name in self._placed]
        schema: "dict[str, Any]" = {"type": "array"}
        if fields:
            schema["prefixItems"] = [field.schema() for field in fields]
        if least := sum(field.required for field in fields):
            schema["minItems"] = least
        if self._rest is None:
            schema["maxItems"] = len(fields)
        elif below := self._rest.schema():
            schema["items"] = below
        return schema

    def place(self, name: str) -> Optional[int]:
        """By which place a parameter can be given, if by any."""
        return self._placed.index(name) if name in self._placed else None

    @property
    def must_be_given(self) -> bool:
        """Whether there is a parameter without a default."""
        return any(field.required for field in self._fields.values())

    def bind(self, args: "Sequence[Any]", kwargs: "dict[str, Any]", prefix: str = "") -> "tuple[list[Any], dict[str, Any]]":
        """Checks and converts. Raises ArgumentError, which names the first argument that does not fit."""
        if len(args) > len(self._placed) and self._rest is None:
            raise ArgumentError(prefix.rstrip("."), f"{len(args)} arguments by place, but there are {len(self._placed)}")
        given = dict(zip(self._placed, args))
        for name in kwargs:
            if name in given:
                raise ArgumentError(prefix + name, "is given twice, by place and by name")
            if name not in self._fields and self._others is None:
                raise ArgumentError(prefix + name, unknown_key(name, self._fields))
        named = {**given, **kwargs}
        for name, field in self._fields.items():
            if field.required and name not in named:
                raise ArgumentError(prefix + name, "is missing")
        return self._read(named, args[len(self._placed) :], prefix)

    def _read(self, named: "dict[str, Any]", rest: "Sequence[Any]", prefix: str) -> "tuple[list[Any], dict[str, Any]]":
        values = {}
        for name, value in named.items():
            field = self._fields.get(name)
            kind = field.kind if field is not None else self._others
            values[name] = (kind or Kind()).read(value, prefix + name)
        if rest:
            # all places before the rest are filled, or there would be no rest
            placed = [values.pop(name) for name in self._placed]
            more = [(self._rest or Kind()).read(value, f"{prefix}[{place}]") for place, value in enumerate(rest, len(placed))]
            return placed + more, values
        placed = []
        for name in self._placed:
            if name not in self._only_placed or name not in values:
                break
            placed.append(values.pop(name))
        for name in self._only_placed & set(values):
            raise ArgumentError(prefix + name, "can be given only together with those before it")
        return placed, values
