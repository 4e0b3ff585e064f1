"""Calls a procedure in this process, as `rpctl call` would through an agent: the same checks, the same lines."""

from __future__ import annotations

import json
import os
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
    """`ARG`, `KEY=TEXT` and `KEY:=JSON`, as rpctl reads them."""
    args: "list[Any]" = []
    named: "dict[str, Any]" = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            args.append(word)
        elif key.endswith(":"):
            named[key[:-1]] = _json(value, key[:-1])
        else:
            named[key] = value
    return args, named


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
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
                    print(content["trace"].rstrip(), file=sys.stderr)
                    refused = content["module"] == "redpoll" and content["class"] == "ArgumentError"
                    print(f"{'refused' if refused else 'failed'}: {content['class']}: {content['message']}", file=sys.stderr)
                    code = 3 if refused else 7 if content["class"] == "Cancelled" else 1
                elif label in ("progress", "emit"):
                    print(f"{label}: {json.dumps(content, ensure_ascii=False)}", file=sys.stderr)
                else:
                    print(json.dumps(content, ensure_ascii=False), file=shown, flush=True)
                    code = 0 if label.startswith("result") else code
    return code
