"""What a procedure can know and say of the call it runs for."""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import sys
import threading
from typing import Any, Callable, Iterator, List, Mapping, NoReturn, Optional

from ._ask import Asking
from ._errors import CallEnded, Cancelled, NoCall, ValueRefused
from ._port import LINE_LIMIT, Gone, Port
from ._values import labelled, line_of, plain

#: Types of events: what the manager takes, see MAX_EMIT_TYPE and its neighbours in common/src/api/events.rs.
_EVENT_TYPE = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_EVENT_TYPE_LIMIT = 100


class Call(Asking):
    """One call. Its methods may be used from any thread, until the call has ended."""

    def __init__(self, message: "Mapping[str, Any]", port: Port, mark: "dict[str, Any]", line_limit: Optional[int]) -> None:
        super().__init__()
        self._message, self._port, self._mark, self._line_limit = message, port, mark, line_limit
        self._lock = threading.Lock()
        self._ended = False
        self._asked = threading.Event()
        #: Whether the procedure's main line of work has heard of its cancel; it does so once.
        self._told = False
        self._on_cancel: "list[Callable[[], None]]" = []
        self._shields = 0
        #: The limit that the procedure's own manifest sets; what the agent says goes first.
        self.manifest_limit = LINE_LIMIT
        #: Set by a signal handler, which may take no lock.
        self.terminated = False
        #: How a cancel is felt; the procedure says.
        self.cancel_by = "raise"
        #: Whether an event loop runs it, which has a way of its own to cancel.
        self.asynchronous = False
        #: Then, whether the main task of it is at work.
        self.in_main_task: Callable[[], bool] = lambda: True
        #: Whether the procedure's own code runs in the main thread just now.
        self.interruptible = False

    @property
    def id(self) -> Any:
        """As the agent says it."""
        return self._message.get("call")

    @property
    def procedure(self) -> str:
        """The name that was asked for."""
        return str(self._message.get("procedure"))

    @property
    def version(self) -> Optional[int]:
        """The version that was asked for."""
        version = self._message.get("version")
        return version if type(version) is int else None

    @property
    def job(self) -> Optional[str]:
        """The id of the job; None in a call."""
        return self._message.get("job")

    @property
    def attempt(self) -> Optional[int]:
        """Which try it is, from 1."""
        return self._message.get("attempt")

    @property
    def info(self) -> Any:
        """What the caller sent along; nobody but the caller gives it a meaning."""
        return self._message.get("info")

    @property
    def operator(self) -> Optional[str]:
        """Who asked."""
        return self._message.get("operator")

    @property
    def roles(self) -> Optional[List[str]]:
        """What the operator is by the manager's configuration; None where the manager does not say, which is not the same as an empty list."""
        said = self._message.get("roles")
        return [role for role in said if isinstance(role, str)] if isinstance(said, list) else None

    @property
    def cancelled(self) -> bool:
        """Whether the caller does not want it any more."""
        return self._asked.is_set() or self.terminated

    def progress(self, completed: float, total: Optional[float] = None, details: Any = None) -> None:
        """Says how far the work is. Raises Cancelled when the call was cancelled and the procedure lets it."""
        self.raise_if_cancelled()
        parts: "dict[str, Any]" = {"completed": _counted("completed", completed), "details": details}
        if total is not None:
            parts["total"] = _counted("total", total)
        self._say({"progress": plain({name: part for name, part in parts.items() if part is not None})})

    def emit(self, type: str, data: Any = None) -> None:
        """Puts an event into the manager's history, as `custom.TYPE`; nobody waits for it. Raises Cancelled as progress does."""
        self.raise_if_cancelled()
        if not isinstance(type, str):
            raise ValueRefused(f"emit: type is text, not {type.__class__.__name__}")
        if len(type) > _EVENT_TYPE_LIMIT or _EVENT_TYPE.fullmatch(type) is None:
            raise ValueRefused(f"emit: type is words of a-z, 0-9, _ and - with dots between them, at most {_EVENT_TYPE_LIMIT} characters")
        parts = {"type": type, "data": data}
        self._say({"emit": plain({name: part for name, part in parts.items() if part is not None})})

    def log(self, *words: object) -> None:
        """Writes a line to standard error, which is recorded. Raises CallEnded: a later line would stand in another call."""
        with self._lock:
            if self._ended:
                raise CallEnded(f"the call of {self.procedure} has ended; nothing more can be said of it")
        log(*words)

    def value(self, value: Any) -> None:
        """Sends one value."""
        self._say(labelled("value", value))

    def sleep(self, seconds: float) -> None:
        """Waits, and not longer than until a cancel."""
        self._asked.wait(seconds)
        self.raise_if_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled when the call was cancelled and the procedure did not choose to poll.

        Once in its main line of work, so that cleaning up may report too; every time in threads and tasks beside it, each of which has to end.
        """
        if self._port.gone and not self._port.is_fork():
            self._raise("nobody listens any more")
        if self.cancelled and self.cancel_by != "poll" and not (self._told and self._is_main()):
            self._raise("the call was cancelled")

    def _is_main(self) -> bool:
        return threading.current_thread() is threading.main_thread() and self.in_main_task()

    def _raise(self, why: str) -> NoReturn:
        if self._is_main():
            self._told = True
        raise Cancelled(why)

    # What follows is for this package alone.

    def is_to_hear(self) -> bool:
        """Notes that the main line of work hears of its cancel now. False: it has before. Only in the main thread."""
        told, self._told = self._told, True
        return not told

    def ask_to_cancel(self) -> None:
        """The agent says that it is not wanted any more."""
        with self._lock:
            if self._ended or self._asked.is_set():
                return
            self._asked.set()
            callbacks = list(self._on_cancel)
        self.questions.wake()
        for callback in callbacks:
            callback()

    def when_cancelled(self, callback: Callable[[], None]) -> None:
        """Has the callback run at a cancel, from the thread that hears of it; at once if that has been."""
        with self._lock:
            self._on_cancel.append(callback)
            late = self._asked.is_set()
        if late:
            callback()

    def interrupt(self) -> None:
        """In the main thread, from a signal handler: raises Cancelled into the procedure's code, but never into a write."""
        if self.interruptible and self._shields == 0 and self.cancelled and not self._told and self.cancel_by != "poll":
            self._raise("the call was cancelled")

    def is_to_feel(self) -> bool:
        """Whether the procedure runs and has not heard of its cancel."""
        return not (self._ended or self._told or self.asynchronous or self.cancel_by == "poll")

    def end(self, message: "dict[str, Any]") -> bool:
        """Says how it ended. False, and nothing is said, when that has been said. Raises ValueRefused, Gone."""
        line = self._line(message)
        with self._lock:
            if self._ended:
                return False
            self._ended = True
        # threads that ask would wait for answers that are thrown away from now on
        self.questions.end("agent_gone", f"the call of {self.procedure} has ended; what was asked may be done all the same")
        self._port.write(line)
        return True

    def _line(self, message: "dict[str, Any]") -> bytes:
        line = line_of({**self._mark, **message})
        limit = self._line_limit or self.manifest_limit
        if len(line) > limit:
            raise ValueRefused(
                f"the value: a line of {len(line)} bytes; the agent takes {limit}. Yield it in pieces, or raise limits.line in the manifest "
                "and in the decorator"
            )
        return line

    def _say(self, message: "dict[str, Any]") -> None:
        line = self._line(message)
        with self._shielded(), self._lock:
            if self._ended:
                raise CallEnded(f"the call of {self.procedure} has ended; nothing more can be said of it")
            try:
                self._port.write(line)
            except Gone:
                if self._port.is_fork():
                    raise CallEnded("this is a fork of the process that the call was given to") from None
        self.raise_if_gone()

    def raise_if_gone(self) -> None:
        """Ends the procedure's work when nobody can hear of it."""
        if self._port.gone:
            self._raise("nobody listens any more")

    @contextlib.contextmanager
    def _shielded(self) -> "Iterator[None]":
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._shields == 0:
                self.interrupt()


def _counted(name: str, number: Any) -> Any:
    """A number as an agent takes it in progress."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueRefused(f"progress: {name} is a number, not {type(number).__name__}")
    if not 0 <= number < 2**64:
        raise ValueRefused(f"progress: {name} is a number from 0 on, of 64 bits, not {number!r}")
    # -0.0 is 0, too
    return number or 0


CURRENT: "contextvars.ContextVar[Call]" = contextvars.ContextVar("redpoll_call")


def current() -> Call:
    """The call that runs here. A thread of one's own has none: hand it this object. Raises NoCall."""
    try:
        return CURRENT.get()
    except LookupError:
        raise NoCall("no call is running here; a thread gets the call from the code that starts it: `call = redpoll.current()`") from None


def progress(completed: float, total: Optional[float] = None, details: Any = None) -> None:
    """Says how far the work is: `progress(3, 10, "copying")`."""
    current().progress(completed, total, details)


def emit(type: str, data: Any = None) -> None:
    """Puts an event into the manager's history: `emit("disk.full", {"percent": 99})` is `custom.disk.full` there."""
    current().emit(type, data)


def cancelled() -> bool:
    """Whether the caller does not want the result any more."""
    return current().cancelled


def sleep(seconds: float) -> None:
    """Waits, and raises Cancelled as soon as the call is cancelled."""
    current().sleep(seconds)


def info() -> Any:
    """What the caller sent along, unchanged."""
    return current().info


def job() -> Optional[str]:
    """The id of the job; None in a call."""
    return current().job


def attempt() -> Optional[int]:
    """Which try it is, from 1."""
    return current().attempt


def operator() -> Optional[str]:
    """Who asked."""
    return current().operator


def roles() -> Optional[List[str]]:
    """What the operator is by the manager's configuration; None where the manager does not say."""
    return current().roles


def log(*words: object) -> None:
    """Writes a line to standard error, which is recorded beside the values."""
    text = " ".join(str(word) for word in words) + "\n"
    try:
        sys.stderr.flush()
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError, AttributeError):
        pass
