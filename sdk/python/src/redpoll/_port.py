"""The two pipes to the agent, out of reach of everything else in the process.

Descriptors 0 and 1 are replaced before a procedure runs: what reads standard input finds nothing, and what is printed, by Python, by C or
by a child process, goes to standard error. The copies of the real ones are not inherited by programs, and closed in forks.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Iterator, Optional

#: Bytes of a line that the agent takes, unless the manifest says `limits.line`.
LINE_LIMIT = 1024 * 1024
#: Bytes of a line that are taken from the agent.
INPUT_LIMIT = 64 * 1024 * 1024
_PIECE = 64 * 1024


class LineTooLong(ValueError):
    """The agent sent a line beyond the limit."""


class Gone(Exception):
    """Nobody listens any more."""


class Port:
    """Reads and writes lines."""

    def __init__(self, source: int, sink: int, spare_error: Optional[int] = None) -> None:
        self._source, self._sink, self._spare_error = source, sink, spare_error
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.gone = False
        os.register_at_fork(after_in_child=self._forked)

    @classmethod
    def take(cls) -> "Port":
        """Takes descriptors 0 and 1 for itself and puts harmless ones in their place."""
        sys.stdout.flush()
        port = cls(os.dup(0), os.dup(1), os.dup(2))
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        if nothing > 2:
            os.close(nothing)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8", errors="replace")
        sys.stdout = _text(1)
        return port

    def repair(self) -> None:
        """Undoes what a procedure did to the standard streams, so that the next one can print."""
        if self._spare_error is not None:
            for descriptor in (2, 1):
                if not _is_open(descriptor):
                    os.dup2(self._spare_error, descriptor)
            if not _is_open(0):
                _reopen_null()
        if sys.stdout is None or getattr(sys.stdout, "closed", True):
            sys.stdout = _text(1)
        if sys.stderr is None or getattr(sys.stderr, "closed", True):
            sys.stderr = _text(2)

    def flush(self) -> None:
        """Writes out what was printed and not yet written."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                continue

    def write(self, line: bytes) -> None:
        """Writes one line whole. Raises Gone."""
        if os.getpid() != self._owner:
            raise Gone("this is a fork of the process that the call was given to")
        with self._lock:
            left = memoryview(line)
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except OSError as error:
                    self.gone = True
                    raise Gone(str(error)) from None

    def lines(self, limit: int) -> "Iterator[bytes]":
        """Every line until the end of the input, without its newline. Raises LineTooLong."""
        rest = bytearray()
        while True:
            try:
                piece = os.read(self._source, _PIECE)
            except OSError:
                piece = b""
            start = 0
            while (end := piece.find(b"\n", start)) >= 0:
                rest += piece[start:end]
                if len(rest) > limit:
                    raise LineTooLong(f"a line of more than {limit} bytes")
                yield bytes(rest)
                rest.clear()
                start = end + 1
            rest += piece[start:]
            if len(rest) > limit:
                raise LineTooLong(f"a line of more than {limit} bytes")
            if not piece:
                if rest:
                    yield bytes(rest)
                return

    def close(self) -> None:
        """Tells the agent that nothing more comes."""
        with self._lock:
            if self._sink >= 0:
                os.close(self._sink)
                self._sink = -1

    def is_fork(self) -> bool:
        """Whether this process is not the one that the agent started."""
        return os.getpid() != self._owner

    def _forked(self) -> None:
        # or a daemon that a procedure leaves behind would keep the agent waiting for the end of the output
        for descriptor in (self._source, self._sink):
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        self._source = self._sink = -1


def _text(descriptor: int) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    # whatever is printed arrives, also in a locale that cannot write it
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _reopen_null() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
