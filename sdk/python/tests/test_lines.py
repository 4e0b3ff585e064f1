"""Lines that are too long, not JSON or not text; values that have no JSON form; large ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from conftest import Served

TEXT = """
    import os
    from typing import Any, Dict, List

    @redpoll.procedure(limits={"line": 20_000_000})
    def same(value: Any): return value

    @redpoll.procedure
    def gives(what: str): return eval(what)

    @redpoll.procedure
    def yields(what: str):
        try:
            yield eval(what)
        except redpoll.ValueRefused as refused:
            yield f"refused: {refused}"
        return "went on"

    @redpoll.procedure
    async def yields_later(what: str):
        try:
            yield eval(what)
        except redpoll.ValueRefused as refused:
            yield f"refused: {refused}"
            try:
                yield eval(what)
            except redpoll.ValueRefused:
                yield "again"

    @redpoll.procedure
    def counts(what: str):
        try:
            redpoll.progress(*eval(what))
        except redpoll.ValueRefused as refused:
            return f"refused: {refused}"

    @redpoll.procedure(limits={"line": "16MiB"})
    def blob(size: int):
        yield bytes(size)
        return "x" * size

    @redpoll.procedure
    def nested(depth: int, leaf: str = "1"):
        value = eval(leaf)
        for _ in range(depth):
            value = [value]
        return value
"""

#: An expression, and what is said of it.
REFUSED = [
    ("float('nan')", "nan has no JSON form"),
    ("{'a': [1, float('-inf')]}", "at a[1]: -inf has no JSON form"),
    ("1 << 64", "an integer of more than 64 bits"),
    ("-(1 << 63) - 1", "an integer of more than 64 bits"),
    ("__import__('datetime').datetime(2026, 1, 2)", "datetime.datetime has no JSON form; send value.isoformat()"),
    ("__import__('datetime').timedelta(1)", "send str(value)"),
    ("__import__('decimal').Decimal('0.1')", "send str(value)"),
    ("__import__('uuid').UUID(int=1)", "send str(value)"),
    ("__import__('types').MappingProxyType({})", "send dict(value)"),
    ("{'a': b'x'}", "at a: bytes inside a value"),
    ("{1: 2}", "keys of a map are text, not int"),
    ("[print]", "builtin_function_or_method has no JSON form"),
    ("(x for x in [1])", None),
    ("iter([1])", "`yield from`"),
    ("'\\ud800'", "half of a surrogate pair"),
    ("{'\\udc80': 1}", "half of a surrogate pair"),
    ("[{'$b64': 'no base64'}]", "at [0]: a map with the key $b64 alone"),
    ("{'$b64': 'AB=='}", "not base64"),
    ("object()", "builtins.object has no JSON form"),
]


#: What progress is told, and what the agent is, or what is said of it.
COUNTS = [
    ("(0, 2**64 - 1)", {"completed": 0, "total": 2**64 - 1}),
    ("(1.5, None)", {"completed": 1.5}),
    ("(-0.0, -0.0)", {"completed": 0, "total": 0}),
    ("(1, 2, -3)", {"completed": 1, "total": 2, "details": -3}),
    ("(-1,)", "completed is a number from 0 on"),
    ("(1, -0.5)", "total is a number from 0 on"),
    ("(1e30,)", "completed is a number from 0 on, of 64 bits"),
    ("(2**64,)", "completed is a number from 0 on, of 64 bits"),
    ("(float('nan'),)", "completed is a number from 0 on"),
    ("(1, float('inf'))", "total is a number from 0 on"),
    ("(None,)", "completed is a number, not NoneType"),
    ("(True,)", "completed is a number, not bool"),
    ("('1',)", "completed is a number, not str"),
]


@pytest.mark.parametrize(("what", "expected"), COUNTS)
def test_progress_is_what_the_agent_takes_or_refused(worker: Served, what: str, expected: Any) -> None:
    with worker(TEXT) as process:
        answer = process.call("counts", what=what)
        if isinstance(expected, str):
            assert answer.progress == [] and answer.result.startswith("refused: progress: ") and expected in answer.result
        else:
            assert (answer.progress, answer.result) == ([expected], None)


def test_an_asynchronous_generator_is_told_at_its_yield_what_cannot_be_sent(worker: Served) -> None:
    with worker(TEXT) as process:
        answer = process.call("yields_later", what="object()")
        assert answer.values[0].startswith("refused: the value: builtins.object") and answer.values[1:] == ["again"]
        assert answer.result is None


def test_text_of_any_kind_comes_back_as_it_was(worker: Served) -> None:
    values = ["", "ä€😀\u0000\u2028\r\n\t\x7f\x1b[0m", 2**64 - 1, -(2**63), 1.5, [], {}, None, True, {"": {"\n": [[]]}}]
    with worker(TEXT) as process:
        for value in values:
            assert process.call("same", value=value).result == value


@pytest.mark.parametrize("label", ["gives", "yields"])
def test_a_value_without_a_json_form_is_refused_with_its_place(worker: Served, label: str) -> None:
    with worker(TEXT) as process:
        for what, text in REFUSED:
            if text is None:
                continue
            answer = process.call(label, what=what)
            if label == "gives":
                assert answer.exception["class"] == "ValueRefused"
                assert text in answer.exception["message"], what
            else:
                assert answer.values[0].startswith("refused: ") and text in answer.values[0], what
                assert answer.result == "went on"


def test_values_within_each_other_have_a_bound(worker: Served) -> None:
    with worker(TEXT) as process:
        assert process.call("nested", depth=24).result
        assert process.call("nested", depth=23, leaf="__import__('pathlib').Path('/')").result
        for depth in (25, 100_000):
            assert "more than 24 levels" in process.call("nested", depth=depth).exception["message"]


#: An expression, and whether it has at most as many values as one may have.
MANY = [
    ("list(range(32_767))", True),
    ("list(range(32_768))", False),
    ("[[0] * 181] * 180", True),
    ("[[0] * 182] * 180", False),
    ("{str(n): n for n in range(16_383)}", True),
    ("{str(n): n for n in range(16_384)}", False),
    ("set(range(70_000))", False),
]


@pytest.mark.parametrize(("what", "fits"), MANY)
def test_values_in_one_have_a_bound(worker: Served, what: str, fits: bool) -> None:
    with worker(TEXT) as process:
        answer = process.call("gives", what=what)
        if fits:
            assert answer.result
        else:
            assert "more than 32768 values in one" in answer.exception["message"]


def test_values_of_ten_mebibytes_cross(worker: Served) -> None:
    size = 10 << 20
    with worker(TEXT) as process:
        answer = process.call("blob", size=size)
        assert base64.b64decode(answer.values[0]) == bytes(size)
        assert answer.result == "x" * size
        assert process.call("same", value="y" * size).result == "y" * size


def test_a_line_longer_than_the_agent_takes_is_refused_before_it_is_written(worker: Served) -> None:
    with worker(TEXT, {"REDPOLL_LINE_LIMIT": "1000"}) as process:
        exception = process.call("blob", size=1000).exception
        assert exception["class"] == "ValueRefused" and "the agent takes 1000" in exception["message"]
        assert process.call("same", value=1).result == 1


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"[]\n", b"{}\n", b'{"procedure": 1}\n', b"\xff\xfe\n", b'{"procedure": "same", "args": [NaN]}\n', b"[" * 100_000 + b"\n"],
)
@pytest.mark.parametrize("mode", ["worker", "once"])
def test_what_is_not_a_call_ends_the_process_with_a_reason(worker: Served, once: Served, mode: str, line: bytes) -> None:
    with (worker if mode == "worker" else once)(TEXT) as process:
        process.send(line)
        process.ends_quietly()
        assert process.exit() == 65
        assert "cannot be understood" in process.stderr()


def test_without_a_word_of_anybody_a_line_has_a_mebibyte(worker: Served) -> None:
    with worker(TEXT) as process:
        assert len(process.call("gives", what="'x' * 1_000_000").result) == 1_000_000
        assert "the agent takes 1048576" in process.call("gives", what="'x' * 1_048_600").exception["message"]


def test_a_line_without_end_is_not_collected_for_ever(worker: Served) -> None:
    with worker(TEXT, {"REDPOLL_LINE_LIMIT": "100000"}) as process:
        try:
            for _ in range(65):
                process.send(b"x" * (1 << 20))
        except BrokenPipeError:
            pass
        process.ends_quietly()
        assert process.exit() == 65
        assert "more than 67108864 bytes" in process.stderr()


def test_input_that_ends_before_a_call_is_an_error_of_once_and_none_of_a_worker(worker: Served, once: Served) -> None:
    with worker(TEXT) as process:
        assert process.close() == 0
    with once(TEXT) as process:
        assert process.close() == 65
        assert "before a call came" in process.stderr()


def test_arguments_that_are_no_list_and_no_object_are_refused(worker: Served) -> None:
    with worker(TEXT) as process:
        assert "not a list" in process.finish(process.start("same", more={"args": {}})).exception["message"]
        assert "not an object" in process.finish(process.start("same", more={"kwargs": []})).exception["message"]


def test_a_call_id_of_any_kind_is_said_back(worker: Served) -> None:
    with worker(TEXT) as process:
        for call in ["é", 7, {"a": [1]}]:
            process.send(json.dumps({"call": call, "procedure": "same", "kwargs": {"value": 1}}).encode() + b"\n")
            assert process.line() == {"call": call, "result": 1}
