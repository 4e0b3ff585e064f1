"""Ctrl-C while a procedure runs without an agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

import harness

SLOW = """
    import asyncio, time

    @redpoll.procedure
    def sleeps():
        redpoll.progress(0)
        redpoll.sleep(1000)

    @redpoll.procedure
    def blocks():
        redpoll.progress(0)
        time.sleep(1000)

    @redpoll.procedure
    async def awaits():
        redpoll.progress(0)
        await asyncio.sleep(1000)

    @redpoll.procedure
    async def joins():
        redpoll.progress(0)
        await asyncio.to_thread(redpoll.sleep, 1000)

    @redpoll.procedure(cancel="poll")
    def polls():
        redpoll.progress(0)
        while not redpoll.cancelled(): redpoll.sleep(0.01)
        return "tidy"
"""


@pytest.mark.parametrize(("name", "code"), [("sleeps", 7), ("blocks", 7), ("awaits", 7), ("joins", 7), ("polls", 0)])
def test_an_interrupt_cancels_what_runs_without_an_agent(written: "Callable[[str], Path]", name: str, code: int) -> None:
    command = [sys.executable, "-m", "redpoll", "call", str(written(SLOW)), name]
    env = {**os.environ, **harness.sdk_env()}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None and process.stdout is not None
            assert process.stderr.readline().startswith("progress: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(harness.DEADLINE) == code
            assert process.stdout.read() == ('"tidy"\n' if code == 0 else "")
        finally:
            process.kill()
