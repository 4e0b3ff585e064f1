"""How exceptions cross."""

from __future__ import annotations

import base64
from typing import Any, Union

import pytest

from conftest import Served

TEXT = """
    import sys

    class Broken(Exception):
        def __init__(self, what, handle):
            super().__init__(what, handle)
            self.what, self.handle, self.count = what, handle, 3

    @redpoll.procedure
    def custom():
        raise Broken("disk", object())

    @redpoll.procedure
    def fails():
        raise redpoll.Failure("no space", data={"free": 12, "on": ["/", "/tmp"]})

    @redpoll.procedure
    def chained():
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("outer") from error

    @redpoll.procedure
    def hostile():
        class Hostile(Exception):
            def __str__(self): raise RuntimeError("no")
            def __repr__(self): raise RuntimeError("no")
            __dict__ = property(lambda self: 1 / 0)
        raise Hostile("x", Hostile())

    @redpoll.procedure
    def leaving():
        class Kind(type):
            @property
            def __module__(self): raise SystemExit(3)
        class Leaving(Exception, metaclass=Kind):
            def __str__(self): raise SystemExit(3)
            def __repr__(self): raise KeyboardInterrupt
            __dict__ = property(lambda self: sys.exit(3))
        raise Leaving("x", Leaving())

    @redpoll.procedure
    def deep(): return deep()

    @redpoll.procedure
    def memory(): return bytearray(1 << 62)

    @redpoll.procedure
    def leaves(code: int): sys.exit(code)

    @redpoll.procedure
    def interrupted(): raise KeyboardInterrupt

    @redpoll.procedure
    def stops(): raise StopIteration(1)

    @redpoll.procedure
    def half():
        yield 1
        raise ValueError("in the middle")

    @redpoll.procedure
    def large(): raise ValueError("x" * 10_000_000, ["y" * 10_000] * 1000)

    @redpoll.procedure
    def surrogate():
        error = ValueError("\\udc80 name", "\\ud800")
        error.state = {"\\udfff": "\\udc00"}
        raise error

    @redpoll.procedure
    def odd(): raise redpoll.Failure("odd", data={"f": float("nan"), "o": print, "i": 1 << 70, "s": "\\ud800"})

    @redpoll.procedure
    def without_args():
        class Other(Exception):
            args = None
        raise Other("a", 1)

    @redpoll.procedure
    def other_args():
        class Other(Exception):
            @property
            def args(self): raise RuntimeError("no")
            @property
            def __dict__(self): raise RuntimeError("no")
        Other.__module__ = None
        raise Other("a", 1)

    @redpoll.procedure
    def text_of_its_own():
        class Text(str):
            def __len__(self): raise RuntimeError("no")
            def encode(self, *more): return self
            def decode(self, *more): return 7
        class Other(Exception):
            def __str__(self): return Text("said")
        raise Other(Text("a"))

    @redpoll.procedure
    def unset():
        import dataclasses
        @dataclasses.dataclass
        class Half:
            a: int
            b: int = dataclasses.field(init=False)
        raise redpoll.Failure("half", data=Half(1))

    @redpoll.procedure
    def other_data():
        class Other(redpoll.Failure):
            @property
            def data(self): raise RuntimeError("no")
            @data.setter
            def data(self, value): pass
        raise Other("no data")

    @redpoll.procedure
    def carries(size: int, message: str = "no space"):
        raise redpoll.Failure(message, data="d" * size)

    @redpoll.procedure
    def stores(data):
        error = redpoll.Failure("cannot store", data=data)
        error.args = ("cannot store", data, [{"deep": data}])
        error.held = data
        vars(error)["$b64"] = data
        raise error

    @redpoll.procedure
    def marks(data):
        error = ValueError(data)
        vars(error)["$b64"] = "no"
        raise error

    @redpoll.procedure
    def fine(): return "fine"
"""


def marks_of(value: Any) -> "list[str]":
    """All texts that an agent takes for bytes."""
    if isinstance(value, dict):
        if set(value) == {"$b64"} and isinstance(value["$b64"], str):
            return [value["$b64"]]
        value = list(value.values())
    return [mark for part in value for mark in marks_of(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("data", [b"a", b"a" * 700, b"a" * 800, b"a" * 100_000, "no", "Y", "YQ", "YR==", "\u00e9"], ids=lambda data: f"{data[:4]!r}-{len(data)}")
def test_what_is_told_of_an_exception_with_bytes_is_what_an_agent_takes_for_bytes(worker: Served, data: Union[bytes, str]) -> None:
    given = {"$b64": base64.b64encode(data).decode() if isinstance(data, bytes) else data}
    with worker(TEXT) as process:
        for name in ("stores", "marks"):
            exception = process.call(name, given).exception
            marks = marks_of(exception)
            assert all(base64.b64encode(base64.b64decode(mark, validate=True)).decode() == mark for mark in marks), marks
            assert exception["message"] and exception["args"] and isinstance(exception["state"], dict)
        assert isinstance(data, str) or process.call("stores", given).exception["data"] == given
        assert len(data) != 1 or isinstance(data, str) or exception["args"] == [given]


def test_an_exception_crosses_with_class_module_message_trace_args_and_state(worker: Served) -> None:
    with worker(TEXT) as process:
        exception = process.call("custom").exception
        assert (exception["class"], exception["module"]) == ("Broken", "zoo")
        assert exception["args"][0] == "disk" and "<object object" in exception["args"][1]
        assert exception["state"]["count"] == 3 and "<object object" in exception["state"]["handle"]
        assert 'raise Broken("disk", object())' in exception["trace"] and "_run.py" not in exception["trace"]
        assert exception["data"] is None


def test_a_failure_carries_data(worker: Served) -> None:
    with worker(TEXT) as process:
        exception = process.call("fails").exception
        assert (exception["class"], exception["module"], exception["message"]) == ("Failure", "redpoll", "no space")
        assert exception["data"] == {"free": 12, "on": ["/", "/tmp"]}
        data = process.call("odd").exception["data"]
        assert data["f"] == "nan" and "built-in function print" in data["o"] and data["i"] == str(1 << 70) and data["s"] == "\\ud800"


def test_a_cause_is_in_the_trace(worker: Served) -> None:
    with worker(TEXT) as process:
        trace = process.call("chained").exception["trace"]
        assert "KeyError: 'x'" in trace and "direct cause" in trace


def test_whatever_a_procedure_does_a_worker_says_one_end_and_lives(worker: Served) -> None:
    with worker(TEXT) as process:
        for name, kind, message in [
            ("hostile", "hostile.<locals>.Hostile", "whose text cannot be had"),
            ("leaving", "leaving.<locals>.Leaving", "whose text cannot be had"),
            ("deep", "RecursionError", "recursion"),
            ("memory", "MemoryError", ""),
            ("interrupted", "KeyboardInterrupt", ""),
            ("stops", "StopIteration", "1"),
            ("large", "ValueError", "left out"),
            ("surrogate", "ValueError", "\\\\udc80"),
        ]:
            exception = process.call(name).exception
            assert exception["class"] == kind
            assert message.replace("\\\\", "\\") in exception["message"], exception["message"]
        assert "sys.exit(3)" in process.call("leaves", code=3).exception["message"]
        assert "sys.exit(0)" in process.call("leaves", code=0).exception["message"]
        answer = process.call("half")
        assert answer.values == [1] and answer.exception["message"] == "in the middle"
        assert process.call("fine").result == "fine"
        assert process.close() == 0


def test_what_is_said_of_an_exception_has_a_bound(worker: Served) -> None:
    import json

    with worker(TEXT) as process:
        assert len(json.dumps(process.call("large").end)) < 1_000_000


def test_a_class_that_has_something_else_where_an_exception_has_its_own_is_described_all_the_same(worker: Served) -> None:
    with worker(TEXT) as process:
        for name, message, args in [
            ("without_args", "a", ["a", 1]),
            ("other_args", "a", ["a", 1]),
            ("text_of_its_own", "said", ["'a'"]),
            ("other_data", "no data", ["no data"]),
        ]:
            exception = process.call(name).exception
            assert args == exception["args"] and (message in exception["message"] or "('a', 1)" in exception["message"]), exception
        exception = process.call("unset").exception
        assert exception["message"] == "half" and "whose repr cannot be had" in exception["data"]
        assert process.call("fine").result == "fine"
        assert process.close() == 0


def test_an_exception_that_is_too_long_for_a_line_keeps_its_class_and_message(worker: Served) -> None:
    with worker(TEXT) as process:
        exception = process.call("carries", size=2_000_000).exception
        assert (exception["class"], exception["message"], exception["data"]) == ("Failure", "no space", None)
        assert "args, state and data were left out" in exception["trace"] and "raise redpoll.Failure" in exception["trace"]
    for limit in (2000, 1200):
        with worker(TEXT, {"REDPOLL_LINE_LIMIT": str(limit)}) as process:
            exception = process.call("carries", size=10, message="begin" + "x" * 5000).exception
            assert exception["class"] == "Failure" and exception["message"].startswith("begin")
            assert process.call("fine").result == "fine"
