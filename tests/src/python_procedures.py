"""Procedures of the Python SDK for tests with a real agent. MODE and FAMILY are filled in by the test."""

import os
import time

import redpoll


class Stubborn(Exception):
    """Carries more than a text."""

    def __init__(self, text, left):
        super().__init__(text, left)
        self.left = left
        self.inner = {"deep": [1, None]}


def named(name, **options):
    return redpoll.procedure(name=f"FAMILY.{name}", mode="MODE", **options)


@named("bytes")
def give_back(data: bytes, size: int):
    """Gives binary back as a value and as its result, and says what it got."""
    if len(data) != size or data != bytes(n % 256 for n in range(size)):
        raise redpoll.Failure("not the bytes that were sent", data={"len": len(data)})
    yield data
    yield {"sum": sum(data), "mode": redpoll.info()}
    return data[::-1]


@named("fails")
def fails(how: str):
    """Fails in one way or another."""
    if how == "class":
        raise Stubborn("no room", 3)
    if how == "data":
        raise redpoll.Failure("no space", data={"free": 12})
    if how == "later":
        yield 1
        raise KeyError("gone")
    if how == "exit":
        raise SystemExit(3)
    return "not at all"


@named("count")
def count(upto: int):
    """Counts, with progress."""
    for number in range(1, upto + 1):
        redpoll.progress(number, upto, f"at {number}")
        yield number
    return {"counted": upto, "pid": os.getpid()}


@named("patient", cancel="poll", grace="20s")
def patient(mark: str):
    """Works until it is cancelled, and cleans up."""
    with open(mark, "w") as file:
        file.write(str(os.getpid()))
    while not redpoll.cancelled():
        time.sleep(0.005)
    os.rename(mark, mark + ".seen")
    return "left in order"


@redpoll.expose(name="FAMILY.dog", mode="MODE")
class Dog:
    """Barks."""

    def __init__(self, name: str, age: int = 1) -> None:
        self.name, self.age = name, age

    def bark(self, times: int):
        """Barks so often."""
        for _ in range(times):
            yield f"{self.name} says wuff"
        return {"age": self.age}


if __name__ == "__main__":
    redpoll.serve()
