"""What procedures ask the manager for."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Callable

import pytest

from conftest import Served
from test_cli import redpoll as command

#: What an agent sets where the manifest has the table [manager].
MAY = {"REDPOLL_MANAGER": "1"}

TEXT = """
    import asyncio, threading

    @redpoll.procedure
    def deploys(agent: str):
        job = redpoll.submit(
            "web.deploy", agents=agent, args=[1], kwargs={"tag": "v7"}, key="k", queue="q", concurrency=2,
            start_within="90s", run_timeout=1.5, max_attempts=3, idempotent=False, timeout=5,
        )
        return [job.id, job.new, job.runs]

    @redpoll.procedure
    def notes():
        yield redpoll.call_manager("site.note@2", 1, text="done")
        yield "after"
        return redpoll.call_manager("site.other")

    @redpoll.procedure
    def gives():
        return redpoll.call_manager("site.note")

    @redpoll.procedure
    def catches():
        try:
            redpoll.submit("web.deploy")
        except redpoll.ManagerFault as fault:
            return [fault.code, fault.message, fault.cls, fault.data, fault.retry_after, str(fault)]

    @redpoll.procedure
    def fails():
        redpoll.submit("web.deploy")

    @redpoll.procedure
    async def later():
        return (await asyncio.to_thread(redpoll.submit, "web.deploy", key="a")).id

    @redpoll.procedure
    def threads():
        call, found = redpoll.current(), {}
        def work(name):
            found[name] = call.call_manager("site.note", name=name)
        started = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
        for thread in started: thread.start()
        for thread in started: thread.join()
        return found

    @redpoll.procedure
    async def both():
        await asyncio.gather(*(asyncio.to_thread(redpoll.submit, "web.deploy", key=key) for key in "ab"))

    LEFT = []

    @redpoll.procedure
    def leaves():
        call = redpoll.current()
        def work():
            for _ in range(2):
                try:
                    call.submit("web.deploy")
                except (redpoll.ManagerFault, redpoll.CallEnded) as error:
                    LEFT.append(type(error).__name__ + ": " + str(error))
        thread = threading.Thread(target=work)
        LEFT.append(thread)
        thread.start()
        redpoll.call_manager("site.note")
        return "left it"

    @redpoll.procedure
    def found():
        LEFT.pop(0).join()
        return LEFT

    @redpoll.procedure(cancel="poll")
    def patient():
        return redpoll.call_manager("site.note")

    @redpoll.procedure
    def refused(code: str):
        return eval(code)
"""

SUBMIT = {
    "procedure": "web.deploy",
    "agents": ["web-2"],
    "args": [1],
    "kwargs": {"tag": "v7"},
    "key": "k",
    "queue": "q",
    "concurrency": 2,
    "start_within": "90s",
    "run_timeout": 1.5,
    "max_attempts": 3,
    "idempotent": False,
}

#: What cannot be asked, and what is said of it.
REFUSED = [
    ("redpoll.submit('p', timeout=0)", "timeout is a number of seconds above 0"),
    ("redpoll.submit('p', timeout=True)", "timeout is a number of seconds above 0"),
    ("redpoll.call_manager('p', timeout='5s')", "timeout is a number of seconds above 0"),
    ("redpoll.call_manager('p', a=float('nan'))", "at kwargs.a: nan has no JSON form"),
    ("redpoll.submit('p', info=object())", "at submit.info: builtins.object has no JSON form"),
    ("redpoll.submit('p', key='x' * (1 << 20))", "a line of"),
]


def test_a_job_is_submitted_in_both_modes(worker: Served, once: Served) -> None:
    for start in (worker, once):
        with start(TEXT, MAY) as process:
            call = process.start("deploys", agent="web-2")
            ask = process.asked(call)
            assert ask == {"id": ask["id"], "submit": SUBMIT, "timeout": 5}
            process.answer(call, ask, result={"job": "j1", "existing": True, "runs": 1, "more": [1]})
            assert process.finish(call).result == ["j1", False, 1]


def test_a_generator_calls_the_manager_between_its_values(worker: Served, once: Served) -> None:
    for start in (worker, once):
        with start(TEXT, MAY) as process:
            call = process.start("notes")
            first = process.asked(call)
            assert first == {"id": first["id"], "procedure": "site.note@2", "args": [1], "kwargs": {"text": "done"}}
            process.answer(call, first, result={"n": 1})
            assert process.next(call)["value"] == {"n": 1} and process.next(call)["value"] == "after"
            second = process.asked(call)
            assert second == {"id": second["id"], "procedure": "site.other"} and second["id"] != first["id"]
            process.answer(call, second, result=None)
            assert process.finish(call).result is None


def test_a_fault_is_an_exception_with_a_code(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("catches")
        fault = {"code": "failed", "message": "no", "class": "E", "data": {"a": 1}, "retry_after_ms": 1500}
        process.answer(call, process.asked(call), fault=fault)
        assert process.finish(call).result == ["failed", "no", "E", {"a": 1}, 1.5, "failed: no"]
        call = process.start("fails")
        process.answer(call, process.asked(call), fault={"code": "forbidden", "message": "agents.submit"})
        exception = process.finish(call).exception
        assert (exception["class"], exception["module"], exception["message"]) == ("ManagerFault", "redpoll", "forbidden: agents.submit")
        assert exception["state"]["code"] == "forbidden"


def test_coroutines_and_threads_ask_for_their_call(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("later")
        process.answer(call, process.asked(call), result={"job": "j2", "existing": False, "runs": 1})
        assert process.finish(call).result == "j2"
        call = process.start("threads")
        asks = [process.asked(call) for _ in range(8)]
        assert len({ask["id"] for ask in asks}) == 8
        for ask in reversed(asks):
            process.answer(call, ask, result=ask["kwargs"]["name"])
        assert process.finish(call).result == {str(n): str(n) for n in range(8)}


def test_a_cancel_ends_the_wait_unless_the_procedure_polls(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("gives")
        late = process.asked(call)
        process.cancel(call)
        assert process.finish(call).exception["class"] == "Cancelled"
        process.answer(call, late, result="late")
        call = process.start("patient")
        ask = process.asked(call)
        process.cancel(call)
        process.answer(call, ask, result="patient")
        assert process.finish(call).result == "patient"


def test_a_cancel_ends_the_wait_of_every_thread(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        for _ in range(5):
            call = process.start("both")
            assert {process.asked(call)["submit"]["key"] for _ in range(2)} == {"a", "b"}
            process.cancel(call)
            assert process.finish(call).exception["class"] == "Cancelled"


def test_the_end_of_a_call_ends_the_wait_of_its_threads(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("leaves")
        asks = {"submit" in ask: ask for ask in (process.asked(call), process.asked(call))}
        process.answer(call, asks[False], result=None)
        assert process.finish(call).result == "left it"
        first, second = process.call("found").result
        assert first.startswith("ManagerFault: agent_gone: the call of leaves has ended")
        assert second.startswith("CallEnded: ")


def test_a_process_of_one_call_is_interrupted_while_it_waits(once: Served) -> None:
    with once(TEXT, MAY) as process:
        call = process.start("gives")
        process.asked(call)
        process.process.send_signal(signal.SIGTERM)
        assert process.finish(call).exception["class"] == "Cancelled"


def test_answers_of_other_calls_and_asks_are_thrown_away(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("gives")
        ask = process.asked(call)
        process.answer("c0", ask, result="of another call")
        process.answer(call, {"id": "99"}, result="of another ask")
        process.answer(call, ask, result="own")
        process.answer(call, ask, result="again")
        assert process.finish(call).result == "own"
        process.answer(call, ask, result="too late")
        call = process.start("gives")
        process.answer(call, process.asked(call), result="next")
        assert process.finish(call).result == "next"


def test_the_end_of_the_input_ends_the_wait(worker: Served) -> None:
    with worker(TEXT, MAY) as process:
        call = process.start("catches")
        process.asked(call)
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.finish(call).result[0] == "agent_gone"
        assert process.exit() == 0


def test_in_once_mode_nobody_is_asked_without_the_table_of_the_manifest(once: Served) -> None:
    with once(TEXT) as process:
        result: Any = process.call("catches").result
        assert result[0] == "forbidden" and "no [manager]" in result[1]


@pytest.mark.parametrize(("code", "text"), REFUSED)
def test_what_cannot_be_asked_is_refused_where_it_is_asked(worker: Served, code: str, text: str) -> None:
    with worker(TEXT, MAY) as process:
        exception = process.call("refused", code=code).exception
        assert exception["class"] == "ValueRefused" and text in exception["message"]


def test_without_an_agent_there_is_nobody_to_ask(written: "Callable[[str], Path]") -> None:
    done = command("call", str(written(TEXT)), "catches")
    assert done.stdout.startswith('["agent_away", ')
