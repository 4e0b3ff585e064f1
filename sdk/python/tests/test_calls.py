"""Calls through real processes: results, values, progress, and what a call knows of itself."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Callable

import harness
from conftest import Served

BASICS = """
    import asyncio, dataclasses, enum, threading
    from pathlib import Path
    from typing import Optional

    @redpoll.procedure
    def add(a: int, b: int = 2) -> int:
        return a + b

    @redpoll.procedure
    def count(to: int):
        for number in range(to):
            redpoll.progress(number, to, {"at": number})
            yield number
        return "done"

    @redpoll.procedure
    async def later(x: int):
        await asyncio.sleep(0)
        redpoll.progress(1)
        return x

    @redpoll.procedure
    async def drip(to: int):
        for number in range(to):
            await asyncio.sleep(0)
            yield number

    @redpoll.procedure
    def raw(data: bytes):
        yield data
        return data + b"!"

    @redpoll.procedure
    def told():
        call = redpoll.current()
        return [redpoll.job(), redpoll.attempt(), redpoll.info(), redpoll.operator(), call.procedure, call.version, redpoll.cancelled()]

    @dataclasses.dataclass
    class Point:
        x: int
        y: float = 0.5

    class Colour(enum.Enum):
        RED = "red"

    @redpoll.procedure
    def shapes(p: Point, c: Colour):
        assert isinstance(p, Point) and c is Colour.RED
        return {"p": p, "c": c, "t": (1, 2), "s": {3, 1}, "path": Path("/a"), "n": None}
"""


def test_roles_are_told_as_the_manager_says_them_or_not_at_all(worker: Served) -> None:
    source = """
    import redpoll

    @redpoll.procedure
    def mine():
        return redpoll.roles()
    """
    with worker(source) as process:
        assert process.call("mine").result is None
        for said in ([], ["deploy", "ops"]):
            assert process.call("mine", more={"roles": said}).result == said
        assert process.close() == 0


def test_a_result_comes_back_in_both_modes(worker: Served, once: Served) -> None:
    with worker(BASICS) as process:
        assert process.call("add", a=1).result == 3
        assert process.call("add", 1, 5).result == 6
        assert process.close() == 0
    with once(BASICS) as process:
        assert process.call("add", 1, b=5).result == 6
        assert process.exit() == 0


def test_a_generator_yields_values_and_returns_the_result(worker: Served) -> None:
    with worker(BASICS) as process:
        answer = process.call("count", to=3)
        assert (answer.values, answer.result) == ([0, 1, 2], "done")
        assert answer.progress[2] == {"completed": 2, "total": 3, "details": {"at": 2}}


def test_coroutines_and_asynchronous_generators_are_run(worker: Served) -> None:
    with worker(BASICS) as process:
        answer = process.call("later", x=4)
        assert (answer.result, answer.progress) == (4, [{"completed": 1}])
        answer = process.call("drip", to=2)
        assert (answer.values, answer.result) == ([0, 1], None)


def test_bytes_come_and_go_as_base64(once: Served) -> None:
    everything = bytes(range(256))
    with once(BASICS) as process:
        answer = process.call("raw", data=base64.b64encode(everything).decode())
    assert base64.b64decode(answer.values[0]) == everything
    assert base64.b64decode(answer.result) == everything + b"!"


def test_bytes_that_were_bytes_on_the_wire_come_marked(once: Served) -> None:
    with once(BASICS) as process:
        answer = process.call("raw", data={"$b64": "AP8="})
    assert base64.b64decode(answer.result) == b"\0\xff!"


def test_a_call_knows_its_job_its_attempt_its_caller_and_what_came_along(once: Served) -> None:
    with once(BASICS) as process:
        more = {"job": "j1", "attempt": 2, "info": {"ticket": 7}, "operator": "ada"}
        answer = process.finish(process.start("told", more=more))
        assert answer.result == ["j1", 2, {"ticket": 7}, "ada", "told", 1, False]


def test_dataclasses_and_enums_are_made_and_sent(worker: Served) -> None:
    with worker(BASICS) as process:
        expected = {"p": {"x": 1, "y": 2.0}, "c": "red", "t": [1, 2], "s": [1, 3], "path": "/a", "n": None}
        assert process.call("shapes", p={"x": 1, "y": 2}, c="red").result == expected


def test_arguments_that_do_not_fit_are_refused_before_anything_runs(worker: Served) -> None:
    with worker(BASICS) as process:
        refused: "list[tuple[dict[str, object], str]]" = [
            ({}, "argument a: is missing"),
            ({"a": "1"}, "argument a: expected an integer, found text"),
            ({"a": True}, "argument a: expected an integer, found a boolean"),
            ({"a": 1, "c": 2}, "argument c: is unknown"),
        ]
        for kwargs, text in refused:
            exception = process.call("add", **kwargs).exception
            assert (exception["class"], exception["module"]) == ("ArgumentError", "redpoll")
            assert exception["message"] == text
        assert "given twice" in process.call("add", 1, a=1).exception["message"]
        assert process.call("shapes", p={"x": 1, "z": 1}, c="red").exception["message"] == "argument p.z: is unknown"


def test_an_unknown_procedure_or_version_is_named_with_what_there_is(worker: Served) -> None:
    with worker(BASICS) as process:
        assert "did you mean count?" in process.call("cuont").exception["message"]
        answer = process.finish(process.start("add", 1, version=7))
        assert answer.exception["message"] == "there is no version 7 of add; there is 1"


def test_versions_stand_side_by_side_and_the_highest_is_meant_without_one(worker: Served) -> None:
    text = """
        @redpoll.procedure
        def v():
            return 1
        @redpoll.procedure(name="v", version=10)
        def v10():
            return 10
    """
    with worker(text) as process:
        assert process.finish(process.start("v", version=1)).result == 1
        assert process.finish(process.start("v", more={"version": None})).result == 10
        assert process.finish(process.start("v@1", more={"version": None})).result == 1


def test_a_class_is_exposed_with_its_constructor(worker: Served) -> None:
    text = """
        @redpoll.expose
        class Dog:
            def __init__(self, name: str, age: int = 1) -> None:
                self.name, self.age = name, age
            def bark(self, times: int):
                for _ in range(times):
                    yield self.name
                return self.age
            @redpoll.procedure(name="dog.new-tricks", version=2)
            def tricks(self):
                return "sit"
            @staticmethod
            def species():
                return "canis"
            @classmethod
            def named(cls, name: str):
                return cls(name).name
            def rollOver(self):
                return "rolled"
            def _private(self):
                return 1

        @redpoll.expose(name="Kennel.Cat")
        class Cat:
            def purr(self):
                return "purr"

        @redpoll.procedure
        def Count():
            return 7
    """
    with worker(text) as process:
        answer = process.call("Dog.bark", init={"name": "rex", "age": 3}, times=2)
        assert (answer.values, answer.result) == (["rex", "rex"], 3)
        assert process.call("dog.bark", 1, init=["rex"]).result == 1, "a manifest of before has it so"
        assert process.call("Dog.rollOver", init=["rex"]).result == "rolled"
        assert process.call("Kennel.Cat.purr").result == "purr" and process.call("Count").result == 7
        assert process.finish(process.start("dog.new-tricks", version=2, init=["rex"])).result == "sit"
        assert process.call("Dog.species").result == "canis"
        assert process.call("Dog.named", name="fido").result == "fido"
        assert process.call("Dog.bark", times=1).exception["message"] == "argument init.name: is missing"
        assert process.call("Dog.bark", init=["rex", "old"], times=1).exception["message"].startswith("argument init.age: expected an integer")
        assert "did you mean Dog.rollOver?" in process.call("DOG.rolover", init=["rex"]).exception["message"]
        assert "no procedure Dog._private" in process.call("Dog._private", init=["rex"]).exception["message"]


def test_the_mode_is_known_from_the_environment_when_no_flag_says_it(written: Callable[[str], Path]) -> None:
    import sys

    file = written(BASICS + "\n    if __name__ == '__main__':\n        redpoll.serve()\n")
    for mode in ("once", "worker"):
        with harness.Process([sys.executable, str(file)], mode == "worker", {**harness.sdk_env(), "REDPOLL_MODE": mode}) as process:
            assert process.call("add", a=1).result == 3
            assert process.close() == 0
    with harness.Process([sys.executable, str(file), "--worker"], True, harness.sdk_env()) as process:
        assert process.call("add", a=1).result == 3


def test_a_mode_that_does_not_exist_is_refused(once: Served, written: Callable[[str], Path]) -> None:
    import sys

    file = written(BASICS + "\n    redpoll.serve()\n")
    with harness.Process([sys.executable, str(file)], False, {**harness.sdk_env(), "REDPOLL_MODE": "twice"}) as process:
        assert process.exit() == 2
        assert "once or worker" in process.stderr()


LOGS = """
    import threading

    @redpoll.procedure
    def logs():
        call = redpoll.current()
        thread = threading.Thread(target=call.log, args=("from", "a thread"))
        thread.start()
        thread.join()
        return 1

    @redpoll.procedure
    def late():
        late.call = redpoll.current()

    @redpoll.procedure
    def later():
        try:
            late.call.log("not mine")
        except redpoll.CallEnded as error:
            return str(error)
"""


def test_the_call_as_an_object_writes_lines_too_until_its_end(worker: Served) -> None:
    with worker(LOGS) as process:
        assert process.call("logs").result == 1
        process.call("late")
        assert "has ended" in process.call("later").result
        process.close()
        assert "from a thread\n" in process.stderr() and "not mine" not in process.stderr()
