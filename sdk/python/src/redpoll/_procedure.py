"""One procedure: a function with a name, a version and what its manifest says."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional, Sequence

from . import _bounds
from ._errors import ArgumentError, DeclarationError
from ._hints import Classes
from ._kinds import definitions
from ._options import MAX_REDACT_PATHS, Options
from ._signature import Signature
from ._values import shown

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*\Z")
#: As an agent has it: room for `@` and a version.
MAX_NAME = 117
#: First words that no agent takes from a manifest, in whatever case.
_RESERVED = ("rp", "sys", "exec", "file")


class Procedure:
    """A function under a name, or a method of an exposed class under `Class.method`."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        options: Options,
        owner: Optional[type] = None,
        constructed: bool = False,
    ) -> None:
        self.function, self.options = function, options
        #: The class that the function is a method of, and whether an object of it is made first.
        self.owner, self.constructed = owner, constructed
        self.where = f"{_file(function)}: {getattr(function, '__qualname__', name)}"
        self.name = checked_name(name, self.where)
        self.version = options.version
        options.check(self.where)
        _bounds.note(self.where, "description", self.description)
        self._signature: Optional[Signature] = None
        self._init: Optional[Signature] = None
        self._redact: "list[str]" = []

    @property
    def id(self) -> str:
        """Such as `zoo.feed@2`."""
        return f"{self.name}@{self.version}"

    @property
    def description(self) -> str:
        """What it does: as the decorator says, or the first paragraph of the documentation."""
        if self.options.description is not None:
            return self.options.description
        paragraph = (self.function.__doc__ or "").strip().split("\n\n")[0]
        return " ".join(paragraph.split())

    def prepare(self) -> None:
        """Reads the type hints, later than the decorator: they may name what stands below it. Raises DeclarationError."""
        if self._signature is not None:
            return
        takes_self = self.owner is not None and self.constructed
        classes: Classes = {}
        signature = Signature(self.function, self.where, 1 if takes_self else 0, classes)
        if takes_self and self.owner is not None:
            signature.reserve("init", self.where)
            maker: Any = getattr(self.owner, "__init__")
            if maker is object.__init__:
                maker = _nothing
            self._init = Signature(maker, f"{self.where} (constructor)", 1, classes)
        self._redact = _redacted(self.options.redact, self._init)
        if len(self._redact) > MAX_REDACT_PATHS:
            raise DeclarationError(
                f"{self.where}: redact has more than {MAX_REDACT_PATHS} paths: those of the constructor count twice, by name and by place"
            )
        self._signature = signature
        if options := self.options.schedule:
            kwargs = options.get("kwargs", {})
            _bounds.fitting_kwargs(self.where, kwargs, lambda given: self.bind([], given), shown(kwargs))

    @property
    def signature(self) -> Signature:
        """The parameters."""
        self.prepare()
        if self._signature is None:
            raise DeclarationError(f"{self.where}: has no signature")
        return self._signature

    @property
    def redact(self) -> "list[str]":
        """The paths of the manifest."""
        self.prepare()
        return list(self._redact)

    @property
    def untyped(self) -> "list[str]":
        """Parameters that take anything, because they have no type hint."""
        names = list(self.signature.untyped)
        return names + [f"init.{name}" for name in (self._init.untyped if self._init else [])]

    def schema(self) -> "dict[str, Any]":
        """The JSON Schema of the named arguments."""
        kinds = self.signature.kinds() + ([] if self._init is None else self._init.kinds())
        # first, for it gives the names that the others refer to
        defs = definitions(kinds)
        schema = {"$schema": DRAFT, **self.signature.schema()}
        if defs:
            schema["$defs"] = defs
        if self._init is not None:
            init: "dict[str, Any]" = {"anyOf": [self._init.schema(), self._init.row_schema()], "description": "arguments of the constructor, by name or by place"}
            if self._init.must_be_given:
                schema["required"] = ["init", *schema.get("required", [])]
            else:
                # left out it is this, and the defaults of its own hold
                init["default"] = {}
            schema["properties"] = {"init": init, **schema.get("properties", {})}
        return schema

    def bind(self, args: "Sequence[Any]", kwargs: "dict[str, Any]") -> Callable[[], Any]:
        """Checks all arguments and returns what runs the function with them. Raises ArgumentError."""
        signature = self.signature
        init = self._init
        if init is None:
            placed, named = signature.bind(args, kwargs)
            return lambda: self.function(*placed, **named)
        rest = dict(kwargs)
        first, first_named = _bind_init(init, rest.pop("init", {}))
        placed, named = signature.bind(args, rest)
        owner = self.owner
        return lambda: self.function(owner(*first, **first_named) if owner else None, *placed, **named)


def _redacted(paths: "Sequence[str]", init: Optional[Signature]) -> "list[str]":
    """With the places of the constructor's parameters: what is secret by name is so in the list, too."""
    found = list(paths)
    for path in paths:
        first, *names = path.split(".")
        place = init.place(names[0]) if init is not None and first == "init" and names else None
        if place is not None:
            found.append(".".join([first, str(place), *names[1:]]))
    return list(dict.fromkeys(found))


def _bind_init(init: Signature, given: Any) -> "tuple[list[Any], dict[str, Any]]":
    if isinstance(given, list):
        return init.bind(given, {}, prefix="init.")
    if isinstance(given, dict):
        return init.bind([], given, prefix="init.")
    raise ArgumentError("init", "expected an object with the constructor's arguments, or a list of them")


def _nothing(self: object) -> None:
    """Stands for the constructor of a class that has none."""


def checked_name(name: str, where: str) -> str:
    """A procedure's name, or DeclarationError."""
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.match(name):
        raise DeclarationError(
            f"{where}: {name!r} is no name of a procedure: words of letters of ASCII, digits, `_` and `-`, joined by dots, "
            f"at most {MAX_NAME} characters"
        )
    family = name.split(".")[0].lower()
    if family in _RESERVED:
        raise DeclarationError(f"{where}: names that begin with `{family}.`, in whatever case, belong to Redpoll; choose another first word")
    return name


def _file(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"
