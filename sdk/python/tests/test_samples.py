"""The samples of `config/samples/procedures.d/`, each run as its manifest says."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness

tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

SAMPLES = Path(__file__).resolve().parents[3] / "config" / "samples" / "procedures.d"
NAMES = ["disk.report", "disk.watch", "load.sample", "log.search", "process.memory", "tree.digest"]


def manifest(name: str) -> "dict[str, Any]":
    """A manifest as it is."""
    found = tomllib.loads((SAMPLES / f"{name}.toml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def start(name: str, folder: Path = SAMPLES) -> harness.Process:
    """Starts the process of a sample, its program beside the manifest."""
    found = manifest(name)
    program, *words = found["command"]
    assert program.startswith("./")
    # one SDK for all tests, also where it is not installed; in `/`, as an agent does it
    return harness.Process([str(folder / program), *words], found["mode"] == "worker", harness.sdk_env(), cwd=Path("/"))


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_what_it_is_and_has_limits(name: str) -> None:
    found = manifest(name)
    assert found["name"] == name and found["description"]
    for key in ("run_timeout", "grace", "concurrency", "idempotent"):
        assert key in found, key
    # what Node reserves is no measure of what it uses: its heap has the limit
    heap = "--max-old-space-size" in found.get("env", {}).get("NODE_OPTIONS", "")
    assert set(found["limits"]) == ({"output"} if heap else {"memory", "output"})
    assert found["args"]["type"] == "object" and found["args"]["additionalProperties"] is False


def test_every_manifest_is_tested() -> None:
    assert sorted(path.name[: -len(".toml")] for path in SAMPLES.glob("*.toml")) == NAMES


def test_the_shell_script_prints_text() -> None:
    found = manifest("disk.report")
    done = subprocess.run(
        [str(SAMPLES / found["command"][0])],
        env={"PATH": os.environ["PATH"], "REDPOLL_JOB": "j1", "REDPOLL_AGENT": "web-1"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=harness.DEADLINE,
        check=True,
    )
    assert done.stdout.startswith("job j1, on web-1\n")
    assert any(line.endswith(" /") and "MiB free" in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("is_placed", [True, False])
def test_the_script_that_asks_looks_at_the_folder_that_it_is_given(tmp_path: Path, is_placed: bool) -> None:
    def watch(path: str, most: int) -> "tuple[harness.Process, str]":
        process = start("disk.watch")
        return process, process.start("disk.watch", path, most=most) if is_placed else process.start("disk.watch", path=path, most=most)

    process, call = watch(str(tmp_path / "nowhere"), 100)
    with process:
        assert process.finish(call).exception["class"] == "FileNotFoundError"
    process, call = watch(str(tmp_path), 0)
    with process:
        asked = process.asked(call)
        assert asked["submit"]["procedure"] == "disk.report" and f" {tmp_path} " in asked["submit"]["key"]
        process.answer(call, asked, result={"job": "j1", "existing": True, "runs": 1})
        assert process.finish(call).result["job"] == "j1"


def test_the_worker_in_plain_python_digests_a_tree_with_progress(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(b"bb")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "large").write_bytes(b"x" * 100)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff")).write_bytes(b"n")
    with start("tree.digest") as process:
        for _ in range(2):
            answer = process.call("tree.digest", path=str(tmp_path), largest=10)
            assert answer.result == {"files": 3, "left_out": 1}
            found = {value["path"][len(str(tmp_path)) + 1 :]: value["sha256"] for value in answer.values}
            assert found == {"a": hashlib.sha256(b"").hexdigest(), "deep/b": hashlib.sha256(b"bb").hexdigest(), "n\ufffd": hashlib.sha256(b"n").hexdigest()}
            assert [step["completed"] for step in answer.progress] == [0, 1, 2, 3]
        assert process.call("tree.digest", path=str(tmp_path / "nowhere")).exception["class"] == "NotADirectoryError"
        assert process.close() == 0


def test_the_worker_in_plain_python_is_cancelled(tmp_path: Path) -> None:
    for number in range(20_000):
        (tmp_path / str(number)).touch()
    with start("tree.digest") as process:
        call = process.start("tree.digest", path=str(tmp_path))
        # while it looks for files it does not know how many there are
        assert process.next(call)["progress"] == {"completed": 0, "details": "1000 files and folders found"}
        process.cancel(call)
        answer = process.finish(call)
        assert answer.exception["class"] == "Cancelled" and len(answer.values) < 20_000
        (tmp_path / "one").mkdir()
        assert process.call("tree.digest", path=str(tmp_path / "one")).result == {"files": 0, "left_out": 0}


def test_the_worker_with_the_sdk_searches_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\r\ntwo \xff\n" + b"three\n" * 5000)
    with start("log.search") as process:
        answer = process.call("log.search", path=str(file), pattern="^t", most=3)
        assert answer.values[0] == {"line": 2, "text": "two \ufffd"}
        assert answer.result == {"found": 3, "lines": 4}
        assert len(process.call("log.search", path=str(file), pattern="nothing").progress) == 6
        assert process.call("log.search", path=str(file), pattern="(").exception["data"] == {"at": 0}
        assert process.call("log.search", path="log", pattern="x").exception["message"].startswith("argument path:")
        assert process.call("log.search", path="/nowhere", pattern="x").exception["class"] == "FileNotFoundError"
        assert process.close() == 0


def test_the_schema_of_the_sdks_sample_is_that_of_its_hints() -> None:
    command = [sys.executable, "-m", "redpoll", "schema", str(SAMPLES / "bin" / "log_search.py"), "log.search"]
    printed = subprocess.run(command, env={**os.environ, **harness.sdk_env()}, capture_output=True, check=True).stdout
    assert json.loads(printed) == manifest("log.search")["args"]


@pytest.fixture
def node() -> None:
    """Fails without node: a sample that is not run is not known to work."""
    if shutil.which("node") is None:
        pytest.fail("there is no node on the PATH; install it, for example `apt install nodejs`")


@pytest.mark.usefixtures("node")
def test_the_node_script_samples_the_load() -> None:
    with start("load.sample") as process:
        answer = process.call("load.sample", samples=3, interval_ms=1)
        assert len(answer.values) == 3 and set(answer.values[0]) == {"load", "free_bytes"}
        assert answer.progress[-1] == {"completed": 3, "total": 3}
        assert answer.result["samples"] == 3
        assert process.exit() == 0


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("how", ["cancel", "SIGTERM"])
def test_the_node_script_is_cancelled(how: str) -> None:
    with start("load.sample") as process:
        call = process.start("load.sample", samples=1000, interval_ms=60_000)
        process.next(call)
        if how == "cancel":
            process.cancel(call)
        else:
            process.process.send_signal(signal.SIGTERM)
        assert process.finish(call).exception["class"] == "AbortError"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Rust sample, built as its manifest says, elsewhere."""
    folder = tmp_path_factory.mktemp("procedures")
    (folder / "bin").mkdir()
    shutil.copy(SAMPLES / "bin" / "process-memory.rs", folder / "bin")
    text = (SAMPLES / "process.memory.toml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("#     rustc "))
    subprocess.run([*line[1:].split(), "-Dwarnings"], cwd=folder, check=True, timeout=300)
    return folder


def test_the_rust_program_lists_processes(built: Path) -> None:
    with start("process.memory", built) as process:
        rows = process.call("process.memory", top=3).result
        assert len(rows) == 3 and rows == sorted(rows, key=lambda row: -row["kib"])
    with start("process.memory", built) as process:
        more: "dict[str, Any]" = {"info": {"kwargs": {"top": 1}, "é": '\\"\u2028😀', "n": [1, -2.5e3, None, True, {}]}}
        rows = process.finish(process.start("process.memory", name="process-memo", more=more)).result
        assert process.process.pid in [row["pid"] for row in rows]


@pytest.mark.parametrize("kwargs", [{"top": "1"}, {"top": -1}, {"top": 1.5}, {"name": 1}])
def test_the_rust_program_refuses_what_it_does_not_understand(built: Path, kwargs: "dict[str, Any]") -> None:
    with start("process.memory", built) as process:
        assert process.call("process.memory", **kwargs).exception["class"] == "Argument"


@pytest.mark.parametrize("line", [b"", b"{\n", b"[" * 100_000 + b"\n", b'{"a":1}x\n', b'"\\ud800"\n', b"\xff\n"])
def test_the_rust_program_does_not_panic(built: Path, line: bytes) -> None:
    with start("process.memory", built) as process:
        if line:
            process.send(line)
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.line()["exception"]["class"] == "Input"
        assert process.exit() == 0

