"""What a procedure asks the manager for, through its agent: one line out, one answer in, and the procedure waits for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union

from ._errors import ManagerFault, ValueRefused
from ._values import plain

#: A duration: text such as "90s", or seconds.
Duration = Union[str, float]


@dataclass(frozen=True)
class Submitted:
    """A job that the manager has on its disk."""

    #: Its id.
    id: str
    #: False: it was there before, under the same key.
    new: bool
    #: On how many agents it runs.
    runs: int


Submitted.__module__ = "redpoll"


class Question:
    """One that waits for its answer."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.woken = threading.Event()
        self.answer: "Optional[dict[str, Any]]" = None


class Questions:
    """Those of one call that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: "dict[str, Question]" = {}
        self._asked = 0
        #: Why there will be no answer to any.
        self._refusal: Optional[ManagerFault] = None

    def begin(self) -> Question:
        """A new one. Raises ManagerFault where nobody answers."""
        with self._lock:
            if self._refusal is not None:
                raise ManagerFault(self._refusal.code, self._refusal.message)
            self._asked += 1
            question = Question(str(self._asked))
            self._open[question.id] = question
            return question

    def forget(self, question: Question) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._open.pop(question.id, None)

    def answered(self, answer: "dict[str, Any]") -> None:
        """The agent answers one; an answer that nobody waits for is thrown away."""
        with self._lock:
            question = self._open.pop(str(answer.get("id")), None)
        if question is not None:
            question.answer = answer
            question.woken.set()

    def wake(self) -> None:
        """Something else happened: all look around."""
        with self._lock:
            waiting = list(self._open.values())
        for question in waiting:
            question.woken.set()

    def refuse(self, code: str, message: str) -> None:
        """Nobody answers from now on, and nobody needs to ask."""
        with self._lock:
            self._refusal = self._refusal or ManagerFault(code, message)
        self.end(code, message)

    def end(self, code: str, message: str) -> None:
        """Nobody answers what is open."""
        with self._lock:
            waiting = list(self._open.values())
        for question in waiting:
            self.answered({"id": question.id, "fault": {"code": code, "message": message}})


class Asking:
    """The part of a call that asks the manager."""

    def __init__(self) -> None:
        self.questions = Questions()

    def submit(
        self,
        procedure: str,
        *,
        agents: Union[str, Sequence[str], None] = None,
        args: Sequence[Any] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
        key: Optional[str] = None,
        queue: Union[str, Mapping[str, Any], None] = None,
        concurrency: Optional[int] = None,
        offline: Optional[str] = None,
        start_within: Optional[Duration] = None,
        run_timeout: Optional[Duration] = None,
        idle_timeout: Optional[Duration] = None,
        grace: Optional[Duration] = None,
        output_limit: Union[str, int, None] = None,
        overflow: Optional[str] = None,
        max_attempts: Optional[int] = None,
        idempotent: Optional[bool] = None,
        held: Optional[bool] = None,
        info: Any = None,
        callback: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Submitted:
        """Submits a job, on this agent unless ``agents`` names others, and waits until the manager has it on its disk.

        Give it a ``key``: the same key is the same job, so that a submit whose answer was lost can be repeated. Jobs of agents
        are not ``held`` and have no ``callback``: managers refuse both. Raises ManagerFault.
        """
        job = {
            "procedure": procedure,
            "agents": [agents] if isinstance(agents, str) else agents,
            "args": list(args) or None,
            "kwargs": dict(kwargs or {}) or None,
            "key": key,
            "queue": queue,
            "concurrency": concurrency,
            "offline": offline,
            "start_within": start_within,
            "run_timeout": run_timeout,
            "idle_timeout": idle_timeout,
            "grace": grace,
            "output_limit": output_limit,
            "overflow": overflow,
            "max_attempts": max_attempts,
            "idempotent": idempotent,
            "held": held,
            "info": info,
            "callback": callback,
        }
        result = self._ask({"submit": {name: part for name, part in job.items() if part is not None}}, timeout)
        return Submitted(str(result["job"]), not result.get("existing", False), int(result.get("runs", 0)))

    def call_manager(self, procedure: str, /, *args: Any, timeout: Optional[float] = None, **kwargs: Any) -> Any:
        """Calls a procedure that the manager offers, `name` or `name@version`, and returns its result. Raises ManagerFault."""
        ask = {"procedure": procedure, "args": list(args) or None, "kwargs": kwargs or None}
        return self._ask({name: part for name, part in ask.items() if part is not None}, timeout)

    def _ask(self, ask: "dict[str, Any]", timeout: Optional[float]) -> Any:
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
                raise ValueRefused("timeout is a number of seconds above 0")
            ask = {**ask, "timeout": timeout}
        self.raise_if_cancelled()
        message = plain(ask)
        question = self.questions.begin()
        try:
            self._say({"ask": {"id": question.id, **message}})
            # the agent gives every ask its end in time, so there is no clock here
            while question.answer is None:
                # before each wait: a cancel that comes after this finds the question, and wakes it
                self.raise_if_cancelled()
                question.woken.wait()
                question.woken.clear()
        finally:
            self.questions.forget(question)
        return _result(question.answer)

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled when the call was cancelled and the procedure lets it."""
        raise NotImplementedError

    def _say(self, message: "dict[str, Any]") -> None:
        raise NotImplementedError


def _result(answer: "dict[str, Any]") -> Any:
    fault = answer.get("fault")
    if fault is None:
        return answer.get("result")
    wait = fault.get("retry_after_ms")
    raise ManagerFault(
        str(fault.get("code")),
        str(fault.get("message")),
        data=fault.get("data"),
        cls=fault.get("class"),
        retry_after=None if wait is None else wait / 1000,
    )
