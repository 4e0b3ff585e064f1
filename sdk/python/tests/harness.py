"""Plays the agent's side of the line protocol, strictly: what it would refuse, it refuses here.

Nothing of the SDK is used, so that a mistake in the SDK cannot hide in its test.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Mapping, Optional, Sequence, Type

#: How long anything may take before the test fails. Nothing waits this long when all is well.
DEADLINE = 30.0

SDK = Path(__file__).resolve().parent.parent / "src"

ENDS = ("result", "result_b64", "exception")
KINDS = ("value", "value_b64", "progress", "emit", "ask", *ENDS)
ASK = {"id", "submit", "procedure", "args", "kwargs", "timeout"}
FAULT = {"class", "module", "message", "trace", "args", "state", "data"}


class Violation(AssertionError):
    """The process broke the protocol."""


class Ended(Exception):
    """The output ended."""


def parse(line: bytes, worker: bool) -> "dict[str, Any]":
    """One line as the agent reads it."""
    if not line.endswith(b"\n"):
        raise Violation(f"a line without an end: {line[:200]!r}")
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_constant, object_pairs_hook=_pairs)
        json.dumps(message, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        raise Violation(f"not a line of JSON: {error}: {line[:200]!r}") from None
    if not isinstance(message, dict):
        raise Violation(f"not an object: {line[:200]!r}")
    if message == {"ready": True}:
        if not worker:
            raise Violation("only a worker is ready")
        return message
    if set(message) == {"pong"} and isinstance(message["pong"], int):
        if not worker:
            raise Violation("only a worker is sent pings")
        return message
    kinds = [key for key in message if key in KINDS]
    others = set(message) - set(KINDS) - ({"call"} if worker else set())
    if len(kinds) != 1 or others:
        raise Violation(f"not exactly one kind: {sorted(message)}")
    if worker and "call" not in message:
        raise Violation("a worker's line without `call`")
    values, levels = _cost(message[kinds[0]]) if kinds[0] in ("value", "result") else (0, 0)
    if values > 32 * 1024 or levels > 24:
        raise Violation(f"{values} values in {levels} levels, which the record of a job does not take")
    if kinds[0] == "progress":
        said = message["progress"]
        numbers = [said.get("completed"), said.get("total", 0)]
        if not set(said) <= {"completed", "total", "details"} or not all(_counts(number) for number in numbers):
            raise Violation(f"strange progress: {message}")
    if kinds[0] == "emit" and not (set(message["emit"]) <= {"type", "data"} and isinstance(message["emit"].get("type"), str)):
        raise Violation(f"strange event: {message}")
    if kinds[0] == "ask":
        ask = message["ask"]
        named = isinstance(ask.get("id"), str) and 1 <= len(ask["id"]) <= 64
        if not (named and set(ask) <= ASK and ("submit" in ask) != ("procedure" in ask)):
            raise Violation(f"strange ask: {message}")
    if kinds[0] == "exception" and not (set(message["exception"]) <= FAULT and {"class", "message"} <= set(message["exception"])):
        raise Violation(f"strange exception: {sorted(message['exception'])}")
    return message


def _cost(value: Any) -> "tuple[int, int]":
    """Values, keys included, and levels of lists and maps, as an agent counts them."""
    if isinstance(value, dict):
        parts, more = list(value.values()), len(value)
    elif isinstance(value, list):
        parts, more = value, 0
    else:
        return 1, 0
    costs = [_cost(part) for part in parts]
    return 1 + more + sum(values for values, _ in costs), 1 + max((levels for _, levels in costs), default=0)


def _counts(number: Any) -> bool:
    """Whether the agent takes it in progress."""
    return type(number) in (int, float) and 0 <= number < 2**64 and not str(number).startswith("-")


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _pairs(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


class Answer:
    """All that came of one call."""

    def __init__(self) -> None:
        self.values: "list[Any]" = []
        self.progress: "list[dict[str, Any]]" = []
        self.events: "list[dict[str, Any]]" = []
        self.end: "dict[str, Any]" = {}

    @property
    def result(self) -> Any:
        """The result; fails when it is an exception."""
        assert "exception" not in self.end, self.end
        return self.end.get("result", self.end.get("result_b64"))

    @property
    def exception(self) -> "dict[str, Any]":
        """The exception; fails when it is a result."""
        assert "exception" in self.end, self.end
        found = self.end["exception"]
        assert isinstance(found, dict)
        return found


class Process:
    """A process of a procedure: `once` or a worker."""

    def __init__(self, command: "Sequence[str]", worker: bool, env: "Optional[Mapping[str, str]]" = None, cwd: "Optional[Path]" = None) -> None:
        self.worker = worker
        self._next = 0
        clean = {"PATH": os.environ["PATH"], "LANG": "C", "HOME": os.environ.get("HOME", "/"), "REDPOLL_AGENT": "test"}
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**clean, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        self._lines: "queue.Queue[Optional[bytes]]" = queue.Queue()
        self._deaf = threading.Event()
        self._stderr: "list[bytes]" = []
        self._readers = [threading.Thread(target=self._read, daemon=True), threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self._readers:
            reader.start()
        if worker:
            assert self.line() == {"ready": True}

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(1.0)
        # a pipe that something left behind holds open is being read: closing it would wait for that
        held = any(reader.is_alive() for reader in self._readers)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and (pipe is self.process.stdin or not held):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self._lines.put(line)
                if self._deaf.is_set():
                    return
        except ValueError:
            pass
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        try:
            for line in self.process.stderr:
                self._stderr.append(line)
        except ValueError:
            pass

    def send(self, message: Any) -> None:
        """Writes a message, or bytes as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def start(self, procedure: str, *args: Any, version: int = 1, more: "Optional[Mapping[str, Any]]" = None, **kwargs: Any) -> str:
        """Sends a call and returns its id."""
        self._next += 1
        call = f"c{self._next}"
        fixed = {"call": call, "procedure": procedure, "version": version, "args": list(args), "kwargs": kwargs}
        self.send({**fixed, "job": None, "attempt": None, "info": None, "operator": "ada", **(more or {})})
        return call

    def line(self) -> "dict[str, Any]":
        """The next line. Raises Ended at the end of the output."""
        try:
            line = self._lines.get(timeout=DEADLINE)
        except queue.Empty:
            raise Violation(f"silence; on stderr: {self.stderr_so_far()}") from None
        if line is None:
            self._lines.put(None)
            raise Ended(self.stderr_so_far())
        return parse(line, self.worker)

    def next(self, call: str) -> "dict[str, Any]":
        """The next line of a call."""
        line = self.line()
        if self.worker and line.get("call") != call:
            raise Violation(f"an answer to {line.get('call')}, which is not {call}")
        return line

    def finish(self, call: str, answer: Optional[Answer] = None) -> Answer:
        """Reads up to the end of a call; in once mode also that nothing follows."""
        answer = answer or Answer()
        while not answer.end:
            line = self.next(call)
            for key in KINDS:
                if key not in line:
                    continue
                if key.startswith("value"):
                    answer.values.append(line[key])
                elif key == "progress":
                    answer.progress.append(line[key])
                elif key == "emit":
                    answer.events.append(line[key])
                else:
                    answer.end = {key: line[key]}
        if not self.worker:
            self.ends_quietly()
        return answer

    def call(self, procedure: str, *args: Any, **kwargs: Any) -> Answer:
        """One call from its beginning to its end."""
        return self.finish(self.start(procedure, *args, **kwargs))

    def asked(self, call: str) -> "dict[str, Any]":
        """The next line of a call, which asks the manager for something."""
        line = self.next(call)
        if "ask" not in line:
            raise Violation(f"no ask: {line}")
        found = line["ask"]
        assert isinstance(found, dict)
        return found

    def answer(self, call: str, ask: "dict[str, Any]", **answer: Any) -> None:
        """Answers an ask with `result=` or `fault=`."""
        self.send({"answer": {"id": ask["id"], "call": call, **answer}})

    def cancel(self, call: str) -> None:
        """Says that a call is not wanted any more."""
        self.send({"cancel": call})

    def stop_listening(self) -> None:
        """Closes the reading end of the output."""
        assert self.process.stdout is not None
        self._deaf.set()
        # wakes the thread that reads with what the process writes next
        self._readers[0].join(DEADLINE)
        self.process.stdout.close()

    def ends_quietly(self) -> None:
        """Nothing more comes."""
        try:
            line = self.line()
        except Ended:
            return
        raise Violation(f"a line after the end: {line}")

    def close(self) -> int:
        """Ends the input, expects the end of the output, and returns the exit code."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.ends_quietly()
        return self.exit()

    def exit(self) -> int:
        """Waits for the process and returns its exit code."""
        return self.process.wait(DEADLINE)

    def stderr(self) -> str:
        """All of stderr. Only after the process has ended, and all that it left behind."""
        self._readers[1].join(DEADLINE)
        return self.stderr_so_far()

    def stderr_so_far(self) -> str:
        """What has come on stderr."""
        return b"".join(self._stderr).decode("utf-8", "replace")


def sdk_env() -> "dict[str, str]":
    """What the SDK needs to be found without being installed."""
    return {"PYTHONPATH": str(SDK)}


def serve(file: Path, mode: str, env: "Optional[Mapping[str, str]]" = None) -> Process:
    """Serves a file of procedures the way its manifest says."""
    command = [sys.executable, "-m", "redpoll", "serve", f"--{mode}", str(file)]
    return Process(command, mode == "worker", {**sdk_env(), **(env or {})})
