"""The loop: hears of calls and cancels, one call at a time."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Optional

from ._call import Call, log
from ._declare import Registry
from ._errors import Busy, DeclarationError
from ._faults import describe
from ._port import INPUT_LIMIT, Gone, LineTooLong, Port
from ._run import run
from ._values import line_of

EXIT_PROTOCOL, EXIT_CONFIGURATION = 65, 64


class Server:
    """Serves the calls that come through a port, until its input ends."""

    def __init__(self, registry: Registry, port: Port, worker: bool) -> None:
        self._registry, self._port, self._worker = registry, port, worker
        #: Bytes of a line of output, if the agent says it.
        self._line_limit = _limit("REDPOLL_LINE_LIMIT")
        self._inbox: "queue.SimpleQueue[Optional[dict[str, Any]]]" = queue.SimpleQueue()
        self._lock = threading.Lock()
        #: The call that runs or waits to; there is never a second one.
        self._busy: Optional[Call] = None
        self._taken = False
        self._problem: Optional[str] = None
        self._interrupts = any(procedure.options.cancel == "interrupt" for procedure in registry.all())
        #: Written to by signals as they arrive, and to have the thread at the other end look.
        self._woken, self._wake = os.pipe()

    def serve(self) -> int:
        """Returns the code to exit with."""
        self._catch_signals()
        for work in (self._listen, self._obey):
            threading.Thread(target=work, name=f"redpoll{work.__name__}", daemon=True).start()
        try:
            if self._worker:
                self._port.write(line_of({"ready": True}))
            self._work()
        except Gone:
            # the agent is gone or has had enough; there is nobody to tell
            return 0
        if self._problem is not None:
            log(f"redpoll: {self._problem}")
            return EXIT_PROTOCOL
        return 0

    def _work(self) -> None:
        while (message := self._inbox.get()) is not None:
            if "ping" in message:
                # here and not where it is heard: whoever is answered knows that this thread is free
                self._port.write(line_of({"pong": message["ping"]}))
                continue
            call = self._busy
            if call is None:
                continue
            run(self._registry, message, call, self._port, on_end=self._free)
            if not self._worker:
                return
            self._port.repair()

    def _free(self) -> None:
        # before the end is said: what was printed belongs to this call, and the next one may come as soon as the end has been read
        self._port.flush()
        with self._lock:
            self._busy = None

    def _listen(self) -> None:
        try:
            for line in self._port.lines(INPUT_LIMIT):
                if line.strip():
                    self._hear(line)
        except (LineTooLong, ValueError, RecursionError) as error:
            self._problem = f"the agent sent what cannot be understood: {error}"
        except Gone:
            pass
        except BaseException as error:
            # a process that hears nothing any more must not live on
            self._problem = f"the input cannot be read: {error!r}"
        if not self._worker and not self._taken and self._problem is None:
            self._problem = "the input ended before a call came"
        with self._lock:
            call = self._busy
        if call is not None:
            call.questions.refuse("agent_gone", "the agent ended the input; what was asked may be done all the same")
        self._inbox.put(None)

    def _hear(self, line: bytes) -> None:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
        if not isinstance(message, dict):
            raise ValueError("a line is an object")
        if "cancel" in message:
            self._cancel(message["cancel"])
        elif isinstance(message.get("answer"), dict):
            self._answered(message["answer"])
        elif isinstance(message.get("ping"), int):
            self._inbox.put({"ping": message["ping"]})
        elif isinstance(message.get("procedure"), str):
            self._take(message)
        else:
            raise ValueError("a line has neither `procedure`, `cancel`, `answer` nor `ping`")

    def _take(self, message: "dict[str, Any]") -> None:
        mark = {"call": message.get("call")} if self._worker else {}
        call = Call(message, self._port, mark, self._line_limit)
        if not self._worker and "REDPOLL_MANAGER" not in os.environ:
            # the input ends here, and who asks without being answered is ended
            call.questions.refuse("forbidden", "its manifest has no [manager], which on an agent says what it may ask the manager for")
        with self._lock:
            free = self._busy is None
            if free:
                self._busy, self._taken = call, True
        if free:
            self._inbox.put(message)
        elif self._worker:
            call.end({"exception": describe(Busy("another call is running; this process takes one at a time"))})

    def _answered(self, answer: "dict[str, Any]") -> None:
        with self._lock:
            call = self._busy
        # one that is not here has ended in the meantime
        if call is not None and call.id == answer.get("call"):
            call.questions.answered(answer)

    def _cancel(self, which: Any) -> None:
        with self._lock:
            call = self._busy
        # one that is not here has ended in the meantime
        if call is not None and call.id == which:
            call.ask_to_cancel()
            try:
                os.write(self._wake, b"\0")
            except BlockingIOError:
                # it is full, so there is enough in it to wake up for
                pass

    def _catch_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._terminated)
        if self._interrupts:
            signal.signal(signal.SIGUSR1, self._interrupted)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals, after_in_child=_release_signals)

    def _terminated(self, _signal: int, _frame: Optional[FrameType]) -> None:
        """A worker finishes what it has. A process of one call is not wanted any more, and neither is the call."""
        self._inbox.put(None)
        call = self._busy
        if call is not None and not self._worker:
            # no lock may be taken here, so this is not yet all of a cancel: the rest is done by the thread that is woken
            call.terminated = True
            call.interrupt()

    def _interrupted(self, _signal: int, _frame: Optional[FrameType]) -> None:
        call = self._busy
        if call is not None and call.cancel_by == "interrupt":
            call.interrupt()

    def _obey(self) -> None:
        """Makes a procedure feel a cancel or a signal, however long it sits in a call of the system."""
        while piece := os.read(self._woken, 1024):
            call = self._busy
            if call is None:
                continue
            if signal.SIGTERM in piece and not self._worker:
                call.terminated = True
                call.ask_to_cancel()
            if call.terminated:
                self._nudge(call, signal.SIGTERM)
            elif call.cancelled and call.cancel_by == "interrupt":
                self._nudge(call, signal.SIGUSR1)

    def _nudge(self, call: Call, number: int) -> None:
        # a signal that comes just before a call of the system is only noted, and that call waits: so again, until it is felt
        while call.is_to_feel():
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            time.sleep(0.02)


_OURS = (signal.SIGTERM, signal.SIGUSR1)
_held = threading.local()


def _hold_signals() -> None:
    """Before a fork: one that comes to the child before it has let go of our handlers would be lost."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def _let_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, getattr(_held, "mask", ()))


def _release_signals() -> None:
    """In a fork: its signals are its own, or `terminate()` would not end it."""
    try:
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_DFL)
    except ValueError:
        # forked from a thread, in a Python that does not let it
        pass
    _let_signals()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _limit(name: str) -> Optional[int]:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and int(text) > 0 else None


def serve_registry(registry: Registry, worker: bool, port: Optional[Port] = None) -> int:
    """Serves until the end, in the mode that was asked for. Returns the code to exit with."""
    port = port or Port.take()
    try:
        registry.prepare()
    except DeclarationError as error:
        log(f"redpoll: {error}")
        return EXIT_CONFIGURATION
    if not registry.all():
        log("redpoll: no procedures are declared; write @redpoll.procedure above a function")
        return EXIT_CONFIGURATION
    return Server(registry, port, worker).serve()


def leave(code: int) -> None:
    """Ends the process, also when threads of a procedure have not ended: the work is done, and the agent waits."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if not others:
        sys.exit(code)
    log(f"redpoll: {len(others)} threads outlive their call and end with the process: {', '.join(t.name for t in others[:5])}")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue
    os._exit(code)
