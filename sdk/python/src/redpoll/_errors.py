"""What can go wrong, by name."""

from __future__ import annotations

from typing import Any, Optional


class Failure(Exception):
    """The procedure failed, and says so on purpose.

    ``data`` is anything with a JSON form; the caller gets it as it is, beside the text.
    """

    def __init__(self, message: str, *, data: Any = None) -> None:
        super().__init__(message)
        self.data = data


class ManagerFault(Exception):
    """The manager, or the agent on the way to it, refuses what was asked, or gives no answer.

    ``code`` is for programs: `forbidden` where the manifest or the manager does not allow it, `timed_out` and `agent_gone` where it may
    have been done all the same, `agent_away` where there is no manager now, `overloaded`, `bad_arguments`, `failed` and others.
    """

    def __init__(
        self, code: str, message: str, *, data: Any = None, cls: Optional[str] = None, retry_after: Optional[float] = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        #: What a procedure of the manager that failed told beside the text, and the class of its exception.
        self.data = data
        self.cls = cls
        #: Seconds after which to try again, if that is known.
        self.retry_after = retry_after


class Cancelled(BaseException):
    """The caller does not want the call any more.

    Like ``KeyboardInterrupt`` no ``Exception``, so that a procedure that goes on after every error does not go on after this.
    """


class ArgumentError(ValueError):
    """An argument does not fit the procedure. The text names the place and the rule, and never the value."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"argument {path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class DeclarationError(TypeError):
    """A procedure is declared in a way that cannot be offered: a type without a JSON form, a name taken twice."""


class ValueRefused(ValueError):
    """A value, a result, progress or an event that cannot cross: no JSON form, too deep, too long."""


class UnknownProcedure(LookupError):
    """The file has no procedure of this name and version."""


class CallEnded(RuntimeError):
    """A thread that outlived its call wants to say something about it."""


class NoCall(RuntimeError):
    """Something of a call was asked for where none is running."""


class Busy(RuntimeError):
    """A second call came while one was running. Concurrency is by processes: this is a fault of the agent."""


def nearest(word: str, known: "list[str]") -> Optional[str]:
    """The known word that was probably meant."""
    import difflib

    found = difflib.get_close_matches(word, known, n=1)
    return found[0] if found else None


for _public in (
    Failure,
    ManagerFault,
    Cancelled,
    ArgumentError,
    DeclarationError,
    ValueRefused,
    UnknownProcedure,
    CallEnded,
    NoCall,
    Busy,
):
    # callers see these names in faults: the module that people import is the one to say
    _public.__module__ = "redpoll"
