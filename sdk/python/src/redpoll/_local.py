"""Calls a procedure in this process, as `rpctl call` would through an agent: the same checks, the same lines."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import Any, Optional, Sequence

from ._call import Call
from ._declare import Registry
from ._errors import ArgumentError
from ._port import Port
from ._run import run

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")


def call_here(registry: Registry, name: str, words: Sequence[str], kwargs: Optional[str], init: Optional[str]) -> int:
    """Prints values and the result to standard output, the rest to standard error. Ctrl-C cancels."""
    args, named = read_words(words)
    if kwargs is not None:
        named = {**_object(kwargs, "--kwargs"), **named}
    if init is not None:
        named["init"] = _json(init, "--init")
    procedure = registry.find(name)
    message = {"call": 1, "procedure": procedure.name, "version": procedure.version, "args": args, "kwargs": named}
    out, source, sink = os.dup(1), *os.pipe()
    sys.stdout.flush()
    os.dup2(2, 1)
    port = Port(os.open(os.devnull, os.O_RDONLY), sink)
    call = Call(message, port, {}, None)
    call.questions.refuse("agent_away", "there is no agent here, and so no manager")
    ends: "list[int]" = []
    with os.fdopen(out, "w", encoding="utf-8", errors="backslashreplace") as shown:
        reader = threading.Thread(target=lambda: ends.append(_show(source, shown)))
        reader.start()

        woken, wake = os.pipe()

        def obeys() -> None:
            if os.read(woken, 1):
                call.ask_to_cancel()

        def asked(_signal: int, _frame: Optional[FrameType]) -> None:
            # no lock may be taken here: the thread does what takes one, and wakes coroutines
            call.terminated = True
            os.write(wake, b"\0")
            call.interrupt()

        threading.Thread(target=obeys, daemon=True).start()
        signal.signal(signal.SIGINT, asked)
        run(registry, message, call, port)
        port.close()
        reader.join()
    return ends[0] if ends else 1


def read_words(words: Sequence[str]) -> "tuple[list[Any], dict[str, Any]]":
    """`ARG`, `KEY=TEXT`, `KEY:=JSON` and `@FILE` in place of what stands there, as rpctl reads them."""
    args: "list[Any]" = []
    named: "dict[str, Any]" = {}
    for word in words:
        before, equals, after = word.partition("=")
        key = before[:-1] if before.endswith(":") else before
        if not equals or not _KEY.match(key):
            args.append(_text(_unescaped(before, equals, after) if equals else word, "an argument by place"))
        elif key in named:
            raise ArgumentError(key, "is given twice")
        else:
            named[key] = _text(after, key) if key == before else _json(after, key)
    return args, named


def _unescaped(before: str, equals: str, after: str) -> str:
    """`a\\=b` and `a:\\=b`: without the backslash it would have a key."""
    bare = before.rstrip("\\")
    key = bare[:-1] if bare.endswith(":") else bare
    return f"{before[:-1] if before != bare and _KEY.match(key) else before}{equals}{after}"


def _text(text: str, where: str) -> Any:
    """Text, or a file's content after `@`: text if it is UTF-8, else bytes."""
    if not text.startswith("@"):
        return text[1:] if text.startswith("\\") and text.lstrip("\\").startswith("@") else text
    content = _file(text[1:], where)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"$b64": base64.b64encode(content).decode("ascii")}


def _file(path: str, where: str) -> bytes:
    try:
        with open(0, "rb", closefd=False) if path == "-" else open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise ArgumentError(where, f"{path} cannot be read: {error}") from None


def _json(text: str, where: str) -> Any:
    found = _file(text[1:], where) if text.startswith("@") else text
    try:
        return json.loads(found)
    except ValueError as error:
        raise ArgumentError(where, f"is not JSON: {error}") from None


def _object(text: str, where: str) -> "dict[str, Any]":
    value = _json(text, where)
    if not isinstance(value, dict):
        raise ArgumentError(where, "is not a JSON object")
    return value


def _show(source: int, shown: Any) -> int:
    code = 1
    with os.fdopen(source, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            for label, content in message.items():
                if label == "exception":
                    refused = content["module"] == "redpoll" and content["class"] == "ArgumentError"
                    if not refused:
                        print(content["trace"].rstrip(), file=sys.stderr)
                    print(f"{'refused' if refused else 'failed'}: {content['class']}: {content['message']}", file=sys.stderr)
                    code = 3 if refused else 7 if content["class"] == "Cancelled" else 1
                elif label in ("progress", "emit"):
                    print(f"{label}: {json.dumps(content, ensure_ascii=False)}", file=sys.stderr)
                else:
                    print(json.dumps(content, ensure_ascii=False), file=shown, flush=True)
                    code = 0 if label.startswith("result") else code
    return code
