"""Fixtures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional

import pytest

import harness

Served = Callable[..., harness.Process]


@pytest.fixture
def written(tmp_path: Path) -> "Callable[[str], Path]":
    """Writes a file of procedures."""

    def write(text: str) -> Path:
        file = tmp_path / "zoo.py"
        file.write_text("import redpoll\n" + textwrap.dedent(text), encoding="utf-8")
        return file

    return write


@pytest.fixture
def worker(written: "Callable[[str], Path]") -> "Iterator[Served]":
    """Starts a worker of the procedures in a text."""
    started: "list[harness.Process]" = []

    def start(text: str, env: "Optional[Mapping[str, str]]" = None) -> harness.Process:
        started.append(harness.serve(written(text), "worker", env))
        return started[-1]

    yield start
    for process in started:
        process.__exit__(None, None, None)


@pytest.fixture
def once(written: "Callable[[str], Path]") -> "Iterator[Served]":
    """Starts a process for one call."""
    started: "list[harness.Process]" = []

    def start(text: str, env: "Optional[Mapping[str, str]]" = None) -> harness.Process:
        started.append(harness.serve(written(text), "once", env))
        return started[-1]

    yield start
    for process in started:
        process.__exit__(None, None, None)
