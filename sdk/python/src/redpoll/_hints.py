"""Finds the kind of a type hint."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import pathlib
import sys
import typing
from typing import Annotated, Any, Callable, Literal, Optional, Union, get_args, get_origin, get_type_hints

from ._errors import ArgumentError, DeclarationError
from ._kinds import Base64, Choice, Either, Field, Integer, Items, Kind, Map, Named, Number, Path, Plain, Record, Row
from ._limits import Arg, Narrowed, narrowed
from ._values import shown

_UNIONS: "tuple[Any, ...]" = (Union,)
if sys.version_info >= (3, 10):
    import types

    _UNIONS = (Union, types.UnionType)

_LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable, collections.abc.Collection)
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SIMPLE: "dict[Any, Kind]" = {
    Any: Kind(),
    object: Kind(),
    None: Plain("null", "null", type(None)),
    type(None): Plain("null", "null", type(None)),
    bool: Plain("a boolean", "boolean", bool),
    str: Plain("text", "string", str),
    int: Integer(),
    float: Number(),
    bytes: Base64(),
    pathlib.Path: Path(),
    pathlib.PurePath: Path(),
}


#: The classes that were met, each once: they may contain one another in any way.
Classes = dict[type, Named]


def kind_of(hint: Any, where: str, classes: Optional[Classes] = None) -> Kind:
    """The kind of values that a hint describes. ``where`` begins the text of an error.

    Hints of one schema share ``classes``: what occurs in several of them is described once.
    Raises DeclarationError for a hint without a JSON form.
    """
    classes = {} if classes is None else classes
    try:
        simple = _SIMPLE.get(hint)
    except TypeError:
        simple = None
    if simple is not None:
        return simple
    supertype = getattr(hint, "__supertype__", None)
    if supertype is not None:
        return kind_of(supertype, where, classes)
    origin = get_origin(hint)
    if origin is not None:
        return _generic(hint, origin, where, classes)
    if isinstance(hint, type):
        return _class(hint, where, classes)
    raise DeclarationError(f"{where}: {_name(hint)} has no JSON form")


def _generic(hint: Any, origin: Any, where: str, classes: Classes) -> Kind:
    parts = get_args(hint)
    if origin is Annotated:
        return _annotated(parts, where, classes)
    if origin is Literal:
        return _literal(parts, where)
    if origin in _UNIONS:
        return Either([kind_of(part, where, classes) for part in parts])
    if not parts and isinstance(origin, type) and (origin is not tuple or hint is typing.Tuple):
        # List and the like by themselves
        return _class(origin, where, classes)
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return Items(kind_of(parts[0], where, classes), tuple, unique=False)
        # tuple[()] has the argument () up to Python 3.10
        return Row([kind_of(part, where, classes) for part in parts if part != ()])
    if origin in _MAPS:
        if parts[0] not in (str, Any):
            raise DeclarationError(f"{where}: keys of a map are text, not {_name(parts[0])}")
        return Map(kind_of(parts[1], where, classes))
    if origin in _LISTS:
        return Items(kind_of(parts[0], where, classes), list, unique=False)
    if origin in _SETS or origin is frozenset:
        return Items(kind_of(parts[0], where, classes), frozenset if origin is frozenset else set, unique=True)
    raise DeclarationError(f"{where}: {_name(hint)} has no JSON form")


def _class(hint: type, where: str, classes: Classes) -> Kind:
    known = classes.get(hint)
    if known is not None:
        known.is_shared = True
        return known
    if hint is tuple or hint in _LISTS:
        return Items(Kind(), tuple if hint is tuple else list, unique=False)
    if hint is frozenset or hint in _SETS:
        return Items(Kind(), frozenset if hint is frozenset else set, unique=True)
    if hint in _MAPS:
        return Map(Kind())
    if issubclass(hint, enum.Enum):
        return Choice(members(hint), where)
    if dataclasses.is_dataclass(hint):
        return _once(Named(hint), _dataclass, where, classes)
    if issubclass(hint, dict) and hasattr(hint, "__total__"):
        return _once(Named(hint), _typed_dict, where, classes)
    raise DeclarationError(
        f"{where}: {_name(hint)} has no JSON form; there is one for int, float, str, bool, bytes, None, Path, list, tuple, set, dict, "
        "Optional, Union, Literal, Enum, TypedDict and dataclasses"
    )


def _once(named: Named, record: "Callable[[Any, str, Classes], Kind]", where: str, classes: Classes) -> Kind:
    """A class, entered before its fields are looked at: they may mean it."""
    classes[named.meant] = named
    named.kind = record(named.meant, where, classes)
    return named


def _annotated(parts: "tuple[Any, ...]", where: str, classes: Classes) -> Kind:
    kind = kind_of(parts[0], where, classes)
    for note in parts[1:]:
        if isinstance(note, str):
            kind = Narrowed(kind, Arg(description=note), where)
        elif isinstance(note, Arg):
            kind = narrowed(kind, note, where)
    return kind


def _literal(values: "tuple[Any, ...]", where: str) -> Kind:
    choices = Choice([(value.value if isinstance(value, enum.Enum) else value, value) for value in values if value is not None], where)
    if None not in values:
        return choices
    return Either([choices, _SIMPLE[None]]) if len(values) > 1 else _SIMPLE[None]


def _dataclass(hint: Any, where: str, classes: Classes) -> Kind:
    hints = resolved(hint, where)
    fields = {}
    for field in dataclasses.fields(hint):
        if not field.init:
            continue
        place = f"{where}, field {field.name}"
        default = field.default if field.default is not dataclasses.MISSING else None
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        kind, written = kind_of(hints[field.name], place, classes), shown(default)
        fitting(kind, written, place)
        fields[field.name] = Field(kind, required, written)
    return Record(fields, hint)


def fitting(kind: Kind, default: Any, where: str) -> None:
    """Refuses a default that would be refused if somebody gave it; None is none that a schema shows."""
    if default is None:
        return
    try:
        kind.read(default, "")
    except ArgumentError as error:
        raise DeclarationError(f"{where}: its default does not fit: {error}") from None


def _typed_dict(hint: Any, where: str, classes: Classes) -> Kind:
    fields = {}
    for name, part in resolved(hint, where).items():
        required = name in hint.__required_keys__
        while getattr(get_origin(part), "_name", None) in ("Required", "NotRequired", "ReadOnly"):
            mark = getattr(get_origin(part), "_name", None)
            required = required if mark == "ReadOnly" else mark == "Required"
            part = get_args(part)[0]
        fields[name] = Field(kind_of(part, f"{where}, key {name}", classes), required)
    return Record(fields, dict)


def resolved(thing: Any, where: str) -> "dict[str, Any]":
    """The hints of a function or a class, texts evaluated."""
    try:
        return get_type_hints(thing, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        hint = ""
        if sys.version_info < (3, 10) and "|" in str(error):
            hint = "; before Python 3.10 write Optional[…] or Union[…] for `|`"
        raise DeclarationError(f"{where}: a type hint cannot be understood: {error}{hint}") from None


def _name(hint: Any) -> str:
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__qualname__
    return str(hint).replace("typing.", "") if not isinstance(hint, typing.TypeVar) else f"the type variable {hint}"


def members(choice: "type[enum.Enum]") -> "list[tuple[Any, Any]]":
    """The members of an enum, each with the value that stands for it."""
    return [(member.value, member) for member in choice]
