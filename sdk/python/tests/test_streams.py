"""Nothing that a procedure does to its streams, its children or its threads reaches the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from conftest import Served

TEXT = """
    import asyncio, atexit, os, subprocess, sys, threading, time, ctypes

    @redpoll.procedure
    def prints():
        print("from print")
        sys.stdout.write("from write\\n")
        os.write(1, b"from the descriptor\\n")
        os.system("echo from a child")
        subprocess.run(["sh", "-c", "echo from another; cat; echo error >&2"], check=True)
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        redpoll.log("from log", 1)
        return sys.stdin.read()

    @redpoll.procedure
    def closes():
        sys.stdout.close()
        sys.stderr.close()
        os.close(1)
        os.close(0)
        os.close(2)
        yield 1
        return 2

    @redpoll.procedure
    def forks(how: str):
        child = os.fork()
        if child == 0:
            if how == "exits":
                sys.exit(3)
            if how == "raises":
                raise ValueError("in the child")
            if how == "speaks":
                try:
                    redpoll.progress(99)
                except redpoll.CallEnded:
                    os._exit(7)
            return "from the child"
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @redpoll.procedure
    def forks_and_yields():
        child = os.fork()
        yield "once" if child else "from the child"
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else "from the child"

    def marked(mark: str):
        '''Forks with a note of who leaves as a process does that ends of itself.'''
        atexit.register(lambda: open(mark, "a").write("x"))
        return os.fork()

    def ended(child: int, mark: str):
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.path.exists(mark)]

    @redpoll.procedure
    def generator(mark: str, how: str):
        yield 1
        child = marked(mark)
        if child == 0 and how == "raises":
            raise ValueError("in the child")
        return ended(child, mark) if child else None

    @redpoll.procedure
    async def coroutine(mark: str, how: str):
        child = marked(mark)
        if child == 0 and how == "raises":
            raise ValueError("in the child")
        return ended(child, mark) if child else None

    @redpoll.procedure
    async def drips(mark: str, how: str):
        child = marked(mark)
        if child == 0 and how == "raises":
            raise ValueError("in the child")
        try:
            yield ended(child, mark) if child else None
        finally:
            if child == 0:
                open(mark, "a").write("closed")

    @redpoll.procedure
    async def waits(mark: str):
        child = marked(mark)
        if child:
            yield ended(child, mark)
            await asyncio.sleep(1000)

    @redpoll.procedure
    def daemon(held: str):
        # a double fork, as daemons do it: it keeps everything open that it inherited
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with open(held) as waits:
                    waits.read()
            os._exit(0)
        os.wait()
        return "left one behind"

    LEFT = []

    @redpoll.procedure
    def thread(wait: bool = False):
        call, go = redpoll.current(), threading.Event()
        def work():
            try:
                redpoll.progress(1)
            except redpoll.NoCall:
                LEFT.append("no call")
            call.progress(1, 2)
            go.wait()
            try:
                call.progress(2, 2)
            except redpoll.CallEnded:
                LEFT.append("ended")
        t = threading.Thread(target=work)
        t.start()
        LEFT.append((t, go))
        while len(LEFT) < 2:
            time.sleep(0.001)
        time.sleep(0)
        call.progress(0, 2)
        return "started"

    @redpoll.procedure
    def left():
        t, go = next(part for part in LEFT if isinstance(part, tuple))
        go.set()
        t.join()
        return [part for part in LEFT if isinstance(part, str)]

    @redpoll.procedure
    def forever():
        threading.Thread(target=time.sleep, args=(1000,)).start()
        return "done"

    @redpoll.procedure
    def pool():
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as workers:
            return sorted(workers.map(abs, [-1, -2, -3]))

    @redpoll.procedure
    def dies():
        yield 1
        os._exit(9)
"""


def test_what_is_printed_goes_to_stderr_whoever_prints_it_and_stdin_is_empty(worker: Served) -> None:
    with worker(TEXT) as process:
        assert process.call("prints").result == ""
        assert process.call("prints").result == ""
        assert process.close() == 0
        stderr = process.stderr()
        for words in ("print", "write", "the descriptor", "a child", "another", "C", "log 1"):
            assert stderr.count(f"from {words}\n") == 2, stderr


def test_a_procedure_that_closes_every_stream_hurts_neither_itself_nor_the_next(worker: Served) -> None:
    with worker(TEXT) as process:
        for _ in range(2):
            answer = process.call("closes")
            assert (answer.values, answer.result) == ([1], 2)
        assert process.call("prints").result == ""
        assert process.close() == 0
        assert "from print" in process.stderr() and "from C" in process.stderr()


def test_a_fork_that_comes_back_does_not_speak_for_its_parent(worker: Served) -> None:
    with worker(TEXT) as process:
        for how, code in [("exits", 3), ("raises", 1), ("speaks", 7), ("returns", 0)]:
            assert process.call("forks", how=how).result == code
        answer = process.call("forks_and_yields")
        assert (answer.values, answer.result) == (["once"], 0)
        assert process.call("pool").result == [1, 2, 3]
        assert process.close() == 0
        assert "ValueError: in the child" in process.stderr()


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_fork_that_comes_back_leaves_what_is_its_parents_alone(worker: Served, tmp_path: Path, how: str) -> None:
    mark = str(tmp_path / "mark")
    with worker(TEXT) as process:
        code = 1 if how == "raises" else 0
        assert process.call("generator", mark=mark, how=how).result == [code, False]
        assert process.call("coroutine", mark=mark, how=how).result == [code, False]
        assert process.call("drips", mark=mark, how=how).values == [[code, False]]
        assert process.close() == 0


def test_a_coroutine_hears_of_a_cancel_also_after_a_fork_came_back(worker: Served, tmp_path: Path) -> None:
    with worker(TEXT) as process:
        call = process.start("waits", mark=str(tmp_path / "mark"))
        assert process.next(call)["value"] == [0, False]
        process.cancel(call)
        assert process.finish(call).exception["class"] == "Cancelled"
        assert process.close() == 0


def test_a_daemon_that_is_left_behind_does_not_hold_the_output_open(once: Served, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    with once(TEXT) as process:
        # reads to the end of the output, while the daemon lives: it waits in the pipe below
        assert process.call("daemon", held=str(held)).result == "left one behind"
        assert process.exit() == 0
        held.open("w").close()


def test_a_thread_speaks_for_its_call_while_it_runs_and_never_for_the_next(worker: Served) -> None:
    with worker(TEXT) as process:
        answer = process.call("thread")
        assert answer.result == "started"
        assert {"completed": 0, "total": 2} in answer.progress
        assert process.call("left").result == ["no call", "ended"]


def test_a_thread_that_never_ends_does_not_hold_the_process(once: Served, worker: Served) -> None:
    with once(TEXT) as process:
        assert process.call("forever").result == "done"
        assert process.exit() == 0
        assert "outlive" in process.stderr()
    with worker(TEXT) as process:
        assert process.call("forever").result == "done"
        assert process.close() == 0


def test_a_process_that_dies_ends_its_output(worker: Served) -> None:
    with worker(TEXT) as process:
        call = process.start("dies")
        assert process.next(call)["value"] == 1
        process.ends_quietly()
        assert process.exit() == 9


def test_what_a_file_prints_while_it_is_loaded_goes_to_stderr(worker: Served) -> None:
    with worker("\n    print('loading')" + TEXT) as process:
        assert process.call("prints").result == ""
        assert process.close() == 0
        assert "loading" in process.stderr()


def test_nobody_listening_ends_a_worker_quietly(worker: Served) -> None:
    text = """
        @redpoll.procedure
        def endless():
            try:
                number = 0
                while True:
                    yield "x" * 1000
            finally:
                redpoll.log("cleaned up")
    """
    with worker(text) as process:
        process.start("endless")
        process.line()
        process.stop_listening()
        assert process.exit() == 0
        assert process.stderr() == "cleaned up\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@redpoll.procedure\ndef f(x: print): ...\n", "broken.py:2: f, parameter x"),
        ("@redpoll.procedure\ndef f(): ...\n@redpoll.procedure(name='f')\ndef g(): ...\n", "f@1 is declared already, at"),
        ("@redpoll.procedure(idempotnet=True)\ndef f(): ...\n", "did you mean idempotent?"),
        ("@redpoll.procedure\nclass C: ...\n", "for a class there is @expose"),
        ("def (\n", "invalid syntax"),
        ("import nowhere_at_all\n", "nowhere_at_all"),
    ],
)
def test_a_file_that_cannot_be_served_says_why(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(f"import redpoll\n{text}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", "serve", "--worker", str(file)],
        env={**os.environ, **harness.sdk_env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=harness.DEADLINE,
        check=False,
    )
    assert done.returncode == 64 and done.stdout == ""
    assert words in done.stderr


def test_a_ping_is_answered_by_the_thread_that_takes_calls(worker: Served) -> None:
    text = """
        @redpoll.procedure
        def waits():
            yield "begun"
            while not redpoll.cancelled():
                redpoll.sleep(0.01)
            return "ended"
    """
    with worker(text.replace("@redpoll.procedure", '@redpoll.procedure(cancel="poll")')) as process:
        process.send({"ping": 1})
        assert process.line() == {"pong": 1}
        call = process.start("waits")
        assert process.next(call)["value"] == "begun"
        process.send({"ping": 2})
        process.send({"cancel": call})
        # not before the call has its end: an answer says that the next call would be taken
        assert process.finish(call).result == "ended"
        assert process.line() == {"pong": 2}
        assert process.close() == 0


def test_children_that_are_forked_can_be_terminated_and_do_not_stop_their_parent(worker: Served) -> None:
    text = """
        import multiprocessing, os, signal, time

        @redpoll.procedure
        def kills():
            child = os.fork()
            if child == 0:
                time.sleep(1000)
            os.kill(child, signal.SIGTERM)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    """
    with worker(text) as process:
        for _ in range(3):
            assert process.call("kills").result == -15
        assert process.close() == 0
