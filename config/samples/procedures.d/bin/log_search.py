#!/usr/bin/env python3
"""log.search: the Python SDK at work. Try it: `./log_search.py call log.search path=/etc/services pattern=^ssh`."""

import os
import re
from typing import Annotated, Any, Dict, Iterator, Generator

import redpoll
from redpoll import Arg


@redpoll.procedure(name="log.search", idempotent=True)
def search(
    path: Annotated[str, Arg("the file", pattern="^/")],
    pattern: Annotated[str, Arg("a regular expression", min_length=1, max_length=1000)],
    most: Annotated[int, Arg("stop after so many", min=1, max=10_000)] = 100,
) -> Generator[Dict[str, Any], None, Dict[str, int]]:
    """Finds the lines of a text file that match a pattern."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise redpoll.Failure(f"{pattern!r} is no regular expression: {error}", data={"at": error.pos}) from None
    found = number = read = 0
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        for number, line in enumerate(lines(file), 1):
            read += len(line)
            # every line would be too often; a cancel is felt here, and at each yield
            if number % 1000 == 1:
                redpoll.progress(read, max(total, read), f"{found} found")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if wanted.search(text):
                found += 1
                yield {"line": number, "text": text[:2000]}
                if found == most:
                    break
    return {"found": found, "lines": number}


def lines(file: Any) -> Iterator[bytes]:
    """Lines, those without end in pieces."""
    while line := file.readline(1 << 20):
        yield line


if __name__ == "__main__":
    redpoll.serve()
