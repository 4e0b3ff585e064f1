"""The decorators `@procedure` and `@expose`, and where they put what they find."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar, Union, overload

from ._errors import DeclarationError, UnknownProcedure, nearest
from ._options import Options
from ._procedure import Procedure

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

_MARK = "__redpoll_options__"


class Registry:
    """The procedures of one program."""

    def __init__(self) -> None:
        self._known: "dict[tuple[str, int], Procedure]" = {}
        #: The first of each name, by the name in lower case.
        self._names: "dict[str, Procedure]" = {}

    def add(self, procedure: Procedure) -> None:
        """Takes a procedure in. Raises DeclarationError when its name and version are taken, or its name is in another case."""
        first = self._names.setdefault(procedure.name.lower(), procedure)
        if first.name != procedure.name:
            raise DeclarationError(
                f"{procedure.where}: {procedure.name} differs from {first.name}, at {first.where}, by case alone, and one would be taken for the "
                "other; give one of the two another name"
            )
        key = (procedure.name, procedure.version)
        other = self._known.get(key)
        if other is not None:
            raise DeclarationError(f"{procedure.where}: {procedure.id} is declared already, at {other.where}; give it another name or version")
        self._known[key] = procedure

    def all(self) -> "list[Procedure]":
        """By name and version."""
        return [self._known[key] for key in sorted(self._known)]

    def prepare(self) -> None:
        """Reads the hints of all. Raises DeclarationError."""
        for procedure in self.all():
            procedure.prepare()

    def find(self, name: str, version: Optional[int] = None) -> Procedure:
        """By name, or `name@version`; without a version the highest. Within the process case does not count: `dog.bark` finds `Dog.bark`,
        for manifests that have it so.

        Raises UnknownProcedure.
        """
        word, _, number = name.partition("@")
        if number:
            if not (number.isascii() and number.isdigit()):
                raise UnknownProcedure(f"{name}: a version is a number")
            version = int(number[:12])
        first = self._names.get(word.lower())
        if first is None:
            near = nearest(word.lower(), list(self._names))
            help_ = f"did you mean {self._names[near].name}?" if near else f"there is {', '.join(p.id for p in self.all()) or 'none'}"
            raise UnknownProcedure(f"there is no procedure {word}; {help_}")
        word = first.name
        versions = {number: p for (known, number), p in self._known.items() if known == word}
        chosen = max(versions) if version is None else version
        if chosen not in versions:
            raise UnknownProcedure(f"there is no version {chosen} of {word}; there is {', '.join(map(str, sorted(versions)))}")
        return versions[chosen]


#: What the decorators fill and `serve()` offers.
REGISTRY = Registry()


@overload
def procedure(function: F) -> F: ...


@overload
def procedure(
    function: None = None,
    *,
    name: Optional[str] = None,
    version: int = 1,
    description: Optional[str] = None,
    deprecated: Optional[str] = None,
    idempotent: bool = False,
    redact: Sequence[str] = (),
    mode: str = "worker",
    cancel: str = "raise",
    run_timeout: Optional[str] = None,
    idle_timeout: Optional[str] = None,
    grace: Optional[str] = None,
    concurrency: Optional[int] = None,
    limits: Optional[Mapping[str, Any]] = None,
    manager: Optional[Mapping[str, Any]] = None,
    user: Optional[str] = None,
    group: Optional[str] = None,
    demote: Optional[str] = None,
    cwd: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    enabled: bool = True,
    admin: bool = False,
    schedule: Optional[Mapping[str, Any]] = None,
    ready_timeout: Optional[str] = None,
    idle_shutdown: Optional[str] = None,
    health_interval: Optional[str] = None,
) -> Callable[[F], F]: ...


def procedure(function: Optional[F] = None, **options: Any) -> Union[F, Callable[[F], F]]:
    """Offers a function under its name as it is written, or under ``name``. The function stays as it is.

    ``cancel`` says what a cancelled call feels: ``"raise"``, a :class:`Cancelled` at its next yield, ``progress()``, ``emit()`` or ``sleep()``;
    ``"interrupt"``, a :class:`Cancelled` at once, wherever it is; ``"poll"``, nothing: it asks ``cancelled()``.
    The other options are fields of the manifest, see docs/python.md.
    """

    def declare(function: F) -> F:
        # what is noted on the wrapper of a static or class method, nobody finds on the function
        inner: Any = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
        if isinstance(inner, type) or not callable(inner):
            raise DeclarationError("@procedure is for functions; for a class there is @expose")
        chosen = _options(options)
        if _is_method(inner):
            # the class does not exist yet: @expose finds what is noted here
            setattr(inner, _MARK, chosen)
        elif inner is not function:
            raise DeclarationError("@staticmethod and @classmethod are for methods; @procedure is enough for a function")
        else:
            REGISTRY.add(Procedure(function, function.__name__ if chosen.name is None else chosen.name, chosen))
        return function

    return declare if function is None else declare(function)


@overload
def expose(cls: C) -> C: ...


@overload
def expose(cls: None = None, *, name: Optional[str] = None, **options: Any) -> Callable[[C], C]: ...


def expose(cls: Optional[C] = None, *, name: Optional[str] = None, **options: Any) -> Union[C, Callable[[C], C]]:
    """Offers the public methods of a class, such as ``Dog.bark``; with ``name`` that stands for the name of the class.

    The constructor's arguments come in the argument ``init``, by name or as a list; each call has an object of its own. Options are those
    of :func:`procedure`, for all methods that have none of their own.
    """

    def declare(cls: C) -> C:
        if not isinstance(cls, type):
            raise DeclarationError("@expose is for classes; for a function there is @procedure")
        first = name or cls.__name__
        shared = _options(options)
        found = [member for member in _methods(cls)]
        if not found:
            raise DeclarationError(f"{cls.__qualname__} has no public methods to expose")
        for method, function, constructed in found:
            own: Options = getattr(function, _MARK, shared)
            REGISTRY.add(Procedure(function, f"{first}.{method}" if own.name is None else own.name, own, cls, constructed))
        return cls

    return declare if cls is None else declare(cls)


def _methods(cls: type) -> "list[tuple[str, Callable[..., Any], bool]]":
    """The public methods, those of base classes too: name, function, whether it needs an object."""
    methods = []
    for name in dir(cls):
        if name.startswith("_"):
            continue
        raw = inspect.getattr_static(cls, name)
        if isinstance(raw, staticmethod):
            methods.append((name, raw.__func__, False))
        elif isinstance(raw, classmethod):
            methods.append((name, getattr(cls, name), False))
        elif inspect.isfunction(raw):
            methods.append((name, raw, True))
    return methods


def _options(options: "dict[str, Any]") -> Options:
    known = Options.__dataclass_fields__
    for key in options:
        if key not in known:
            near = nearest(key, list(known))
            raise DeclarationError(f"there is no option {key}" + (f"; did you mean {near}?" if near else ""))
    values = {key: value for key, value in options.items() if value is not None}
    if isinstance(values.get("redact"), (list, set, frozenset)):
        values["redact"] = tuple(values["redact"])
    return Options(**values)


def _is_method(function: Callable[..., Any]) -> bool:
    outer = getattr(function, "__qualname__", "").rpartition(".")[0]
    return bool(outer) and not outer.endswith("<locals>")
