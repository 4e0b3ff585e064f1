"""Cancel, the end of the input, and SIGTERM."""

from __future__ import annotations

import signal

import pytest

from conftest import Served

TEXT = """
    import asyncio, threading, time

    @redpoll.procedure
    def counts():
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            redpoll.log("cleaned up")

    @redpoll.procedure
    def works():
        redpoll.progress(0)
        while True:
            redpoll.progress(1)

    @redpoll.procedure
    def sleeps():
        redpoll.progress(0)
        try:
            redpoll.sleep(1000)
        except redpoll.Cancelled:
            # said once: cleaning up may report too
            redpoll.progress(1)
            raise

    @redpoll.procedure(cancel="poll")
    def polls():
        yield 0
        while not redpoll.cancelled():
            redpoll.progress(1)
        yield "saw it"
        return "tidy"

    @redpoll.procedure(cancel="interrupt")
    def blocks():
        redpoll.progress(0)
        time.sleep(1000)

    @redpoll.procedure(cancel="interrupt")
    def deaf():
        import signal
        ours = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        redpoll.progress(0)
        while not redpoll.cancelled():
            time.sleep(0.001)
        # the first signal is lost, as one is that comes just before a call of the system
        time.sleep(0.05)
        signal.signal(signal.SIGUSR1, ours)
        time.sleep(1000)

    @redpoll.procedure(cancel="interrupt")
    def busy():
        while True:
            redpoll.progress(0, details="x" * 1_000_000)

    @redpoll.procedure
    def once_blocks():
        redpoll.progress(0)
        time.sleep(1000)

    @redpoll.procedure
    async def awaits():
        redpoll.progress(0)
        await asyncio.sleep(1000)

    @redpoll.procedure
    async def drips():
        while True:
            yield 0
            await asyncio.sleep(0)

    @redpoll.procedure
    async def pours():
        # never waits: the loop has its turn all the same
        while True:
            yield 0

    @redpoll.procedure
    async def cleans():
        try:
            while True:
                yield 0
        except redpoll.Cancelled as cancelled:
            yield "last words"
            await asyncio.sleep(0.01)
            redpoll.progress(1)
            raise cancelled

    @redpoll.procedure
    async def reports():
        redpoll.progress(0)
        try:
            while True:
                # may be the first to hear of it, and the loop does not tell it again
                redpoll.progress(1)
                await asyncio.sleep(0)
        except (redpoll.Cancelled, asyncio.CancelledError):
            await asyncio.sleep(0.01)
            redpoll.progress(2)
            return "tidy"

    @redpoll.procedure
    async def beside():
        async def other():
            while True:
                try:
                    redpoll.progress(1)
                except redpoll.Cancelled:
                    pass
                await asyncio.sleep(0)
        task = asyncio.create_task(other())
        await asyncio.sleep(1000)

    @redpoll.procedure
    def watched():
        call, over = redpoll.current(), threading.Event()
        def reports():
            while not over.is_set():
                try:
                    call.progress(1)
                except redpoll.Cancelled:
                    heard.set()
        heard = threading.Event()
        thread = threading.Thread(target=reports)
        thread.start()
        try:
            yield 0
            while True:
                # whoever is told first, all are told
                if redpoll.cancelled(): heard.wait()
                yield 1
        finally:
            over.set()
            thread.join()
            redpoll.log("cleaned up")

    @redpoll.procedure
    def stubborn():
        yield 0
        try:
            while True:
                yield 1
        except redpoll.Cancelled:
            yield "last words"
            raise ValueError("while cancelled")

    @redpoll.procedure
    def swallows():
        for number in range(10**9):
            try:
                yield number
            except redpoll.Cancelled:
                return "so far"

    @redpoll.procedure
    def waits(file: str):
        redpoll.progress(0)
        open(file).read()
        return "waited"

    @redpoll.procedure
    def fine(): return "fine"
"""

CANCELLED = ["counts", "works", "sleeps", "blocks", "deaf", "busy", "awaits", "drips", "pours", "cleans", "beside", "watched"]


@pytest.mark.parametrize("name", CANCELLED)
def test_a_cancelled_call_ends_as_cancelled_and_the_worker_goes_on(worker: Served, name: str) -> None:
    with worker(TEXT) as process:
        rounds = 25 if name in ("blocks", "busy") else 3
        for _ in range(rounds):
            call = process.start(name)
            process.next(call)
            process.cancel(call)
            exception = process.finish(call).exception
            assert (exception["class"], exception["module"]) == ("Cancelled", "redpoll"), exception
            assert process.call("fine").result == "fine"
        assert process.close() == 0
        assert process.stderr().count("cleaned up") == (3 if name in ("counts", "watched") else 0)


def test_a_coroutine_hears_of_its_cancel_once(worker: Served) -> None:
    with worker(TEXT) as process:
        for _ in range(20):
            call = process.start("reports")
            process.next(call)
            process.cancel(call)
            assert process.finish(call).result == "tidy"
            call = process.start("cleans")
            process.next(call)
            process.cancel(call)
            answer = process.finish(call)
            assert answer.values[-1] == "last words" and answer.progress and answer.exception["class"] == "Cancelled"


def test_a_procedure_that_polls_decides_itself(worker: Served) -> None:
    with worker(TEXT) as process:
        call = process.start("polls")
        process.next(call)
        process.cancel(call)
        answer = process.finish(call)
        assert (answer.values, answer.result) == (["saw it"], "tidy")


def test_a_cancelled_generator_may_say_more_fail_or_have_a_result(worker: Served) -> None:
    with worker(TEXT) as process:
        call = process.start("stubborn")
        process.next(call)
        process.cancel(call)
        answer = process.finish(call)
        assert answer.values[-1] == "last words" and answer.exception["class"] == "ValueError"
        assert "Cancelled" in answer.exception["trace"]
        call = process.start("swallows")
        process.next(call)
        process.cancel(call)
        assert process.finish(call).result == "so far"


def test_a_cancel_of_another_call_does_nothing(worker: Served) -> None:
    with worker(TEXT) as process:
        process.cancel("c0")
        assert process.call("fine").result == "fine"
        process.cancel("c1")
        assert process.call("fine").result == "fine"


def test_a_second_call_while_one_runs_is_refused_and_the_first_goes_on(worker: Served) -> None:
    with worker(TEXT) as process:
        first = process.start("sleeps")
        process.next(first)
        second = process.start("fine")
        assert process.next(second)["exception"]["class"] == "Busy"
        process.cancel(first)
        assert process.finish(first).exception["class"] == "Cancelled"


@pytest.mark.parametrize("name", ["counts", "works", "sleeps", "once_blocks", "awaits", "drips", "pours"])
def test_sigterm_cancels_a_process_of_one_call_wherever_it_is(once: Served, name: str) -> None:
    with once(TEXT) as process:
        call = process.start(name)
        process.next(call)
        process.process.send_signal(signal.SIGTERM)
        assert process.finish(call).exception["class"] == "Cancelled"
        assert process.exit() == 0


def test_a_cancel_reaches_a_process_of_one_call(once: Served) -> None:
    with once(TEXT) as process:
        call = process.start("counts")
        process.next(call)
        process.cancel(call)
        assert process.finish(call).exception["class"] == "Cancelled"


def test_sigterm_lets_a_worker_finish_what_it_has(worker: Served, tmp_path: "pytest.TempPathFactory") -> None:
    import os

    gate = os.path.join(str(tmp_path), "gate")
    os.mkfifo(gate)
    with worker(TEXT) as process:
        call = process.start("waits", file=gate)
        process.next(call)
        process.process.send_signal(signal.SIGTERM)
        with open(gate, "w", encoding="utf-8"):
            pass
        assert process.finish(call).result == "waited"
        process.ends_quietly()
        assert process.exit() == 0


def test_sigterm_ends_a_worker_that_has_nothing_to_do(worker: Served) -> None:
    with worker(TEXT) as process:
        process.process.send_signal(signal.SIGTERM)
        process.ends_quietly()
        assert process.exit() == 0


def test_the_end_of_the_input_lets_a_worker_finish_what_it_has(worker: Served, tmp_path: "pytest.TempPathFactory") -> None:
    import os

    gate = os.path.join(str(tmp_path), "gate")
    os.mkfifo(gate)
    with worker(TEXT) as process:
        call = process.start("waits", file=gate)
        process.next(call)
        assert process.process.stdin is not None
        process.process.stdin.close()
        with open(gate, "w", encoding="utf-8"):
            pass
        assert process.finish(call).result == "waited"
        process.ends_quietly()
        assert process.exit() == 0
