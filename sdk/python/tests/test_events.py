"""Events that procedures emit."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from conftest import Served
from test_cli import redpoll as command

TEXT = """
    import asyncio, dataclasses, threading
    from pathlib import Path

    @dataclasses.dataclass
    class Disk:
        path: Path
        percent: int

    @redpoll.procedure
    def watch():
        redpoll.emit("disk.full", Disk(Path("/srv"), 99))
        yield "one value"
        redpoll.emit("disk.looked-at_2")
        return "done"

    @redpoll.procedure
    async def later():
        await asyncio.sleep(0)
        redpoll.emit("later", [1, 2])

    @redpoll.procedure
    def thread():
        call = redpoll.current()
        def work():
            call.emit("from.thread", 1)
        t = threading.Thread(target=work)
        t.start()
        t.join()

    LATE = []

    @redpoll.procedure
    def keeps():
        LATE.append(redpoll.current())

    @redpoll.procedure
    def late():
        LATE[0].emit("late")

    @redpoll.procedure
    def emits(type: str, data: str = "None"):
        redpoll.emit(eval(type), eval(data))
        return "taken"

    @redpoll.procedure
    def until_cancelled():
        yield "begun"
        while True:
            redpoll.emit("still.here")
"""

#: The two arguments of `emit` as expressions, and what is said of them.
REFUSED = [
    ("3", "None", "emit: type is text, not int"),
    ("None", "None", "emit: type is text, not NoneType"),
    ("b'disk.full'", "None", "emit: type is text, not bytes"),
    ("''", "None", "emit: type is words"),
    ("'Disk.full'", "None", "emit: type is words"),
    ("'disk..full'", "None", "emit: type is words"),
    ("'disk.full.'", "None", "emit: type is words"),
    ("'disk full'", "None", "emit: type is words"),
    ("'disk\\n'", "None", "emit: type is words"),
    ("'d' * 101", "None", "at most 100 characters"),
    ("'d'", "{'a': [1, float('nan')]}", "at data.a[1]: nan has no JSON form"),
    ("'d'", "b'x'", "at data: bytes inside a value"),
    ("'d'", "{1: 2}", "at data: keys of a map are text, not int"),
    ("'d'", "1 << 64", "at data: an integer of more than 64 bits"),
    ("'d'", "object()", "at data: builtins.object has no JSON form"),
    ("'d'", "'\\udc80'", "half of a surrogate pair"),
    ("'d'", "'x' * (1 << 20)", "a line of"),
]


def test_events_go_out_in_both_modes_between_the_values(worker: Served, once: Served) -> None:
    for start in (worker, once):
        with start(TEXT) as process:
            answer = process.call("watch")
            assert answer.events == [{"type": "disk.full", "data": {"path": "/srv", "percent": 99}}, {"type": "disk.looked-at_2"}]
            assert (answer.values, answer.result) == (["one value"], "done")


def test_coroutines_and_threads_emit_for_their_call(worker: Served) -> None:
    with worker(TEXT) as process:
        assert process.call("later").events == [{"type": "later", "data": [1, 2]}]
        assert process.call("thread").events == [{"type": "from.thread", "data": 1}]


@pytest.mark.parametrize(("kind", "data", "text"), REFUSED)
def test_what_cannot_be_an_event_is_refused_where_it_is_emitted(once: Served, kind: str, data: str, text: str) -> None:
    with once(TEXT) as process:
        answer = process.call("emits", type=kind, data=data)
        assert answer.events == [] and answer.exception["class"] == "ValueRefused"
        assert text in answer.exception["message"]


def test_the_longest_type_and_data_that_is_falsy_are_taken(worker: Served) -> None:
    with worker(TEXT) as process:
        assert process.call("emits", type="'d' * 100").events == [{"type": "d" * 100}]
        falsy: "list[object]" = [0, False, "", [], {}]
        for data in falsy:
            assert process.call("emits", type="'d'", data=repr(data)).events == [{"type": "d", "data": data}]


def test_a_cancel_is_felt_where_an_event_is_emitted(worker: Served) -> None:
    with worker(TEXT) as process:
        call = process.start("until_cancelled")
        assert process.next(call)["value"] == "begun"
        process.cancel(call)
        assert process.finish(call).exception["class"] == "Cancelled"
        assert process.call("later").result is None


def test_a_call_that_has_ended_emits_nothing_into_the_next(worker: Served) -> None:
    with worker(TEXT) as process:
        process.call("keeps")
        answer = process.call("late")
        assert answer.exception["class"] == "CallEnded" and answer.events == []


def test_without_an_agent_events_are_shown_on_stderr(written: "Callable[[str], Path]") -> None:
    done = command("call", str(written(TEXT)), "watch")
    assert done.stdout == '"one value"\n"done"\n'
    assert done.stderr.splitlines() == [
        'emit: {"type": "disk.full", "data": {"path": "/srv", "percent": 99}}',
        'emit: {"type": "disk.looked-at_2"}',
    ]
