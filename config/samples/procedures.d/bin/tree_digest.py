#!/usr/bin/env python3
"""tree.digest: a worker on the line protocol, with nothing but the standard library. Python 3.8 or newer."""

import hashlib
import json
import os
import queue
import sys
import threading
import traceback

CALLS = queue.SimpleQueue()
CANCELLED = set()
# what is printed by mistake must not get between the lines
OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


class Cancelled(Exception):
    """The caller does not want it any more."""


def say(**message):
    OUT.write(json.dumps(message) + "\n")
    OUT.flush()


def listen():
    """Hears of cancels while a call runs."""
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            CANCELLED.add(message["cancel"])
        else:
            CALLS.put(message)
    CALLS.put(None)


def files_below(folder, walked):
    """All files; calls `walked` for each file and folder that it comes by."""

    def unreadable(error):
        print(f"left out: {error}", file=sys.stderr)

    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{folder} is no folder")
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        walked()
        folders.sort()
        for name in sorted(names):
            walked()
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def digest(path, stop):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return found.hexdigest()
            found.update(piece)
            stop()


def tree_digest(call, path, largest=1 << 30):
    def stop():
        if call in CANCELLED:
            raise Cancelled("the call was cancelled")

    entries = 0

    def walked():
        # a large tree takes its time: whoever waits can cancel, and sees that something happens
        nonlocal entries
        stop()
        entries += 1
        if entries % 1000 == 0:
            say(call=call, progress={"completed": 0, "details": f"{entries} files and folders found"})

    files = list(files_below(path, walked))
    done = left_out = 0
    for number, file in enumerate(files):
        stop()
        # a name need not be UTF-8, what is sent must be
        shown = os.fsencode(file).decode("utf-8", "replace")
        say(call=call, progress={"completed": number, "total": len(files), "details": shown})
        try:
            size = os.path.getsize(file)
            if size <= largest:
                say(call=call, value={"path": shown, "bytes": size, "sha256": digest(file, stop)})
                done += 1
                continue
        except OSError as error:
            print(f"left out: {error}", file=sys.stderr)
        left_out += 1
    return {"files": done, "left_out": left_out}


def main():
    threading.Thread(target=listen, daemon=True).start()
    say(ready=True)
    while True:
        message = CALLS.get()
        if message is None:
            return
        call = message["call"]
        try:
            result = tree_digest(call, *message.get("args") or [], **message.get("kwargs") or {})
        except Exception as error:
            trace = traceback.format_exc()
            say(
                call=call,
                exception={
                    "class": type(error).__name__,
                    "module": type(error).__module__,
                    "message": str(error),
                    "trace": trace,
                    "args": [str(part) for part in error.args],
                    "state": {},
                    "data": None,
                },
            )
        else:
            say(call=call, result=result)
        CANCELLED.discard(call)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)
