"""`python -m redpoll`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

import harness
from redpoll import ArgumentError
from redpoll._local import read_words
from redpoll._manifest import simple_keys

tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ZOO = """
    from typing import Annotated, Optional

    print("loading")

    @redpoll.procedure(
        name="zoo.feed", version=2, idempotent=True, redact=["keeper.pin"], run_timeout="30s", concurrency=4,
        limits={"memory": "64MiB", "output": 4096}, manager={"submit": True, "calls": ["site.*"]}, deprecated="use zoo.feed@3", mode="once",
    )
    def feed(
        animal: Annotated[str, redpoll.Arg('who "eats" \\u007f', pattern="^[a-z]+$")],
        amount: float = 1.5,
        keeper: Optional[dict] = None,
    ):
        '''Feeds an
        animal.

        With care.'''
        for part in range(2):
            redpoll.progress(part, 2)
            yield {"animal": animal, "part": part}
        return amount

    @redpoll.expose
    class Dog:
        '''A dog.'''
        def __init__(self, name: str): self.name = name
        def bark(self):
            '''Barks.'''
            return self.name

    @redpoll.procedure
    def untyped(x): return x

    @redpoll.procedure
    def fails(): raise redpoll.Failure("no", data=1)
"""


def redpoll(*words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Runs the command and expects its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", *words],
        env={**os.environ, **harness.sdk_env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=harness.DEADLINE,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


@pytest.fixture
def zoo(written: "Callable[[str], Path]") -> str:
    """The file above."""
    return str(written(ZOO))


def test_manifests_are_written_and_are_toml(zoo: str, tmp_path: Path) -> None:
    printed = redpoll("manifest", zoo, "--write", str(tmp_path)).stdout.split()
    assert [os.path.basename(path) for path in printed] == ["Dog.bark.toml", "fails.toml", "untyped.toml", "zoo.feed@2.toml"]
    found = tomllib.loads((tmp_path / "zoo.feed@2.toml").read_text(encoding="utf-8"))
    schema = found.pop("args")
    assert found == {
        "name": "zoo.feed",
        "version": 2,
        "description": "Feeds an animal.",
        "deprecated": "use zoo.feed@3",
        "command": [sys.executable, "-m", "redpoll", "serve", "--once", zoo],
        "mode": "once",
        "output": "json",
        "run_timeout": "30s",
        "concurrency": 4,
        "idempotent": True,
        "limits": {"memory": "64MiB", "output": 4096},
        "manager": {"submit": True, "calls": ["site.*"]},
        "redact": ["keeper.pin"],
    }
    assert schema["properties"]["animal"] == {"type": "string", "pattern": "^[a-z]+$", "description": 'who "eats" \x7f'}
    assert schema == json.loads(redpoll("schema", zoo, "zoo.feed").stdout)
    dog = tomllib.loads((tmp_path / "Dog.bark.toml").read_text(encoding="utf-8"))
    assert (dog["name"], dog["mode"], dog["args"]["required"]) == ("Dog.bark", "worker", ["init"])


MARKED = """
    @redpoll.expose
    class C:
        @redpoll.procedure(redact=["password"], version=4)
        @staticmethod
        def login(password: str) -> None: ...
        @redpoll.procedure(redact=["pin"], idempotent=True)
        @classmethod
        def enter(cls, pin: str) -> str: return cls.__name__ + pin
        @classmethod
        @redpoll.procedure(redact=["key"])
        def open(cls, key: str) -> None: ...
"""


def test_the_options_of_static_and_class_methods_hold_on_either_side_of_the_other_decorator(written: "Callable[[str], Path]") -> None:
    file = str(written(MARKED))
    found = {}
    for text in redpoll("manifest", file).stdout.strip().split("\n\n"):
        one = tomllib.loads(text)
        found[f"{one['name']}@{one['version']}"] = (one["redact"], one.get("idempotent", False))
    assert found == {"C.login@4": (["password"], False), "C.enter@1": (["pin"], True), "C.open@1": (["key"], False)}
    assert redpoll("call", file, "c.enter", "pin=7").stdout == '"C7"\n'


GUARDED = """
    @redpoll.expose(redact=["init.password", "init.keys.*", "init.0", "init.realm", "init.*", "init", "password"])
    class Db:
        def __init__(self, user: str, password: str, keys: list, *, realm: str = "") -> None: ...
        def dump(self, password: str = "") -> None: ...
        @staticmethod
        def plain(init: str, password: str = "") -> None: ...
"""


def test_a_secret_of_a_constructor_is_one_by_name_and_by_place(written: "Callable[[str], Path]") -> None:
    file = str(written(GUARDED))
    named = ["init.password", "init.keys.*", "init.0", "init.realm", "init.*", "init", "password"]
    found = [tomllib.loads(text)["redact"] for text in redpoll("manifest", file).stdout.strip().split("\n\n")]
    assert found == [[*named, "init.1", "init.2.*"], named]


def test_a_manifest_works_as_it_was_written(zoo: str, tmp_path: Path) -> None:
    redpoll("manifest", zoo, "--write", str(tmp_path))
    calls: "list[tuple[str, dict[str, Any], Any]]" = [("zoo.feed@2", {"animal": "rex"}, 1.5), ("Dog.bark", {"init": ["rex"]}, "rex")]
    for name, kwargs, result in calls:
        found = tomllib.loads((tmp_path / f"{name}.toml").read_text(encoding="utf-8"))
        with harness.Process(found["command"], found["mode"] == "worker", harness.sdk_env()) as process:
            call = process.start(found["name"], version=found["version"], **kwargs)
            assert process.finish(call).result == result


def test_a_manifest_that_is_there_is_replaced_when_asked_and_only_if_nothing_is_lost(zoo: str, tmp_path: Path) -> None:
    redpoll("manifest", zoo, "--write", str(tmp_path))
    mine = tmp_path / "fails.toml"
    assert "--force" in redpoll("manifest", zoo, "--write", str(tmp_path), code=1).stderr
    mine.write_text("mine")
    assert "its lines would be lost" in redpoll("manifest", zoo, "--write", str(tmp_path), "--force", code=1).stderr
    assert mine.read_text() == "mine"
    mine.unlink()
    redpoll("manifest", zoo, "--write", str(tmp_path), "--force", "--once")
    assert tomllib.loads(mine.read_text())["mode"] == "once"


def test_what_the_owner_wrote_below_a_manifest_stays_and_goes_first(zoo: str, tmp_path: Path) -> None:
    redpoll("manifest", zoo, "--write", str(tmp_path))
    file = tmp_path / "zoo.feed@2.toml"
    lines = 'user = "keeper"\nredact = ["animal"]\nenabled = false\n\n[limits] # less\nmemory = "8MiB"\n\n[env]\nA = "1"\n'
    with file.open("a") as out:
        out.write(lines)
    file.chmod(0o640)
    for mode in ("worker", "once"):
        redpoll("manifest", zoo, "--write", str(tmp_path), "--force", f"--{mode}")
        found = tomllib.loads(file.read_text())
        assert (found["mode"], found["user"], found["redact"], found["enabled"]) == (mode, "keeper", ["animal"], False)
        assert (found["limits"], found["env"], found["run_timeout"]) == ({"memory": "8MiB"}, {"A": "1"}, "30s")
        assert (file.read_text().endswith(lines), file.stat().st_mode & 0o777) == (True, 0o640)
    assert {path.suffix for path in tmp_path.iterdir()} == {".py", ".toml"}
    file.write_text(file.read_text() + "user = ")
    text = file.read_text()
    if sys.version_info >= (3, 11):
        assert str(file) in redpoll("manifest", zoo, "--write", str(tmp_path), "--force", code=1).stderr
        assert file.read_text() == text


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        ('user = "a" # b = 1\n\n# c = 1\nredact = ["x", "y"]', {"user", "redact"}),
        ('env = { A = "[" }\n[schedule.kwargs]\nversion = 3\nname = "x"\n  [limits]\nmemory = 1', {"env", "schedule", "limits"}),
        ("\"user\" = 'it\"s'\n'cwd' = '/'\nlimits.memory = 1", {"user", "cwd", "limits"}),
    ],
)
def test_what_the_owner_says_is_found_without_a_reader_of_toml(lines: str, keys: "set[str]") -> None:
    assert simple_keys(lines) == keys == set(tomllib.loads(lines))


@pytest.mark.parametrize("lines", ['redact = [\n  "user",\n]', 'deprecated = """\nuser = 1\n"""', "a = '''\nuser = 1\n'''", 'a = """x"\nuser = "y"""', "user"])
def test_what_cannot_be_told_without_a_reader_of_toml_is_refused(lines: str) -> None:
    with pytest.raises(ValueError, match="too much for a Python before 3.11"):
        simple_keys(lines)


def test_as_whom_where_and_when_it_runs_is_said_by_the_decorator(written: "Callable[[str], Path]") -> None:
    file = written(
        """
        @redpoll.procedure(
            demote="nobody", group="users", cwd="/srv", env={"LANG": "C"}, enabled=False, admin=True,
            schedule={"every": "1h", "jitter": "1m", "at_start": True, "kwargs": {"to": 3}}, ready_timeout="20s", idle_shutdown="0s",
            health_interval="30s",
        )
        def count(to: int): return to
        """
    )
    found = tomllib.loads(redpoll("manifest", str(file)).stdout)
    said = ("demote", "group", "cwd", "env", "enabled", "admin", "ready_timeout", "idle_shutdown", "health_interval")
    assert [found[name] for name in said] == ["nobody", "users", "/srv", {"LANG": "C"}, False, True, "20s", "0s", "30s"]
    assert found["schedule"] == {"every": "1h", "jitter": "1m", "at_start": True, "kwargs": {"to": 3}}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("user=7", "user is the name of a user"),
        ('user="a", demote="b"', "demote does not stand beside user"),
        ('cwd="srv"', "cwd is an absolute path"),
        ('env={"A": 1}', "env is a table of texts"),
        ('env={"REDPOLL_JOB": "1"}', "no name of a variable"),
        ('enabled="no"', "enabled is True or False"),
        ("schedule={}", "schedule says how often"),
        ('schedule={"every": "often"}', "schedule.every is a duration"),
        ('schedule={"each": "1h"}', "schedule is one of every"),
        ('idle_shutdown="never"', "idle_shutdown is a duration"),
    ],
)
def test_what_no_manifest_may_say_is_refused(written: "Callable[[str], Path]", options: str, text: str) -> None:
    file = written(f"@redpoll.procedure({options})\ndef count(to: int): return to\n")
    assert text in redpoll("check", str(file), code=2).stderr


def test_a_procedure_is_called_without_an_agent(zoo: str) -> None:
    done = redpoll("call", zoo, "zoo.feed", "animal=rex", "amount:=2")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"animal": "rex", "part": 0}, {"animal": "rex", "part": 1}, 2.0]
    assert done.stderr.splitlines() == ["loading", 'progress: {"completed": 0, "total": 2}', 'progress: {"completed": 1, "total": 2}']
    assert redpoll("call", zoo, "Dog.bark", "--init", '{"name": "rex"}').stdout == '"rex"\n'
    assert redpoll("call", zoo, "zoo.feed", "--kwargs", '{"animal": "rex"}').stdout.endswith("1.5\n")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["zoo.feed", "animal=REX"], 3, "refused: ArgumentError: argument animal: expected text that matches ^[a-z]+$"),
        (["zoo.feed", "animal:=x"], 3, "argument animal: is not JSON"),
        (["zoo.food"], 3, "did you mean zoo.feed?"),
        (["fails"], 1, "failed: Failure: no"),
    ],
)
def test_a_call_that_fails_says_how(zoo: str, words: "list[str]", code: int, text: str) -> None:
    assert text in redpoll("call", zoo, *words, code=code).stderr


@pytest.mark.parametrize(
    ("word", "text"),
    [
        # as in rpctl's own table
        *[(word, word) for word in ("x", "", "5", "-5", "a b", "ä=b", "http://host/?a=b", "=x", "5=x", "a b=c", ":=x", "a:b")],
        *[("\\@home", "@home"), ("\\\\@home", "\\@home"), ("a\\=b", "a=b"), ("a\\\\=b", "a\\=b"), ("a:\\=b", "a:=b")],
        *[("\\home", "\\home"), ("C:\\x\\=y", "C:\\x\\=y"), ("a\\=b=c", "a=b=c")],
    ],
)
def test_words_without_a_key_are_text_by_place(word: str, text: str) -> None:
    assert read_words([word]) == ([text], {})


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("a=b=c", "a", "b=c"),
        ("a.b-c_9=5", "a.b-c_9", "5"),
        ("_=", "_", ""),
        ("n:=-5", "n", -5),
        ('l:=[1, "="]', "l", [1, "="]),
        ("none:=null", "none", None),
        ("k=\\@home", "k", "@home"),
    ],
)
def test_words_with_a_key_are_named(word: str, key: str, value: Any) -> None:
    assert read_words([word]) == ([], {key: value})


def test_files_stand_for_what_is_in_them(tmp_path: Path) -> None:
    for name, content in [("text", "grüße\n".encode()), ("binary", b"\xff\0"), ("json", b'{"a": [1]}')]:
        (tmp_path / name).write_bytes(content)
    words = [f"@{tmp_path}/text", f"b=@{tmp_path}/binary", f"j:=@{tmp_path}/json"]
    assert read_words(words) == (["grüße\n"], {"b": {"$b64": "/wA="}, "j": {"a": [1]}})
    for words, problem in [
        ([f"@{tmp_path}/nowhere"], "nowhere cannot be read"),
        ([f"j:=@{tmp_path}/nowhere"], "argument j: .*nowhere cannot be read"),
        ([f"j:=@{tmp_path}/binary"], "argument j: is not JSON"),
        (["a=1", "a:=2"], "argument a: is given twice"),
    ]:
        with pytest.raises(ArgumentError, match=problem):
            read_words(words)


def test_check_says_what_is_missing(zoo: str) -> None:
    done = redpoll("check", zoo)
    assert "untyped@1: parameter x has no type hint" in done.stderr and "fails@1: has no description" in done.stderr
    assert done.stdout == "4 procedures, 3 warnings\n"
    redpoll("check", zoo, "--strict", code=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("@redpoll.procedure\n    def f(x: complex): ...", "complex has no JSON form"),
        ("@redpoll.procedure\n    def f(x: 'Nowhere'): ...", "Nowhere"),
        ("@redpoll.procedure(name='Big dog')\n    def f(): ...", "words of letters of ASCII"),
        ("@redpoll.procedure(name='Dög.bark')\n    def f(): ...", "words of letters of ASCII"),
        (f"@redpoll.procedure(name='{'d' * 118}')\n    def f(): ...", "at most 117 characters"),
        ("@redpoll.procedure(name='rp.x')\n    def f(): ...", "belong to Redpoll"),
        ("@redpoll.procedure(name='Exec.run')\n    def f(): ...", "`exec.`, in whatever case, belong to Redpoll"),
        ("@redpoll.expose\n    class File:\n        def read(self): ...", "`file.`, in whatever case, belong to Redpoll"),
        ("@redpoll.procedure\n    def F(): ...\n    @redpoll.procedure(version=2)\n    def f(): ...", "f differs from F, at "),
        ("@redpoll.procedure(version=0)\n    def f(): ...", "version is an integer from 1"),
        ("@redpoll.procedure(run_timeout='soon')\n    def f(): ...", "run_timeout is a duration"),
        ("@redpoll.procedure(idempotnet=True)\n    def f(): ...", "did you mean idempotent?"),
        ("@redpoll.procedure(redact='pin')\n    def f(): ...", "redact is a list of paths"),
        ("@redpoll.procedure(redact=['a..b'])\n    def f(): ...", "'a..b' is not a path such as"),
        ("@redpoll.procedure(redact=[7])\n    def f(): ...", "7 is not a path such as"),
        ("@redpoll.procedure(redact=['.'.join('a' * 17)])\n    def f(): ...", "at most 16 words"),
        ("@redpoll.procedure(redact=['a'] * 101)\n    def f(): ...", "more than 100 paths"),
        (
            "@redpoll.expose(redact=['init.a.' + str(n) for n in range(51)])\n    class C:\n"
            "        def __init__(self, a): ...\n        def f(self): ...",
            "those of the constructor count twice",
        ),
        ("@redpoll.procedure(limits={'memory': 'much'})\n    def f(): ...", "limits.memory is a size"),
        ("@redpoll.procedure(manager={'emit': True})\n    def f(): ...", "manager is one of submit, calls"),
        ("@redpoll.procedure(limits={'disk': 1})\n    def f(): ...", "limits is one of memory"),
        ("@redpoll.procedure(mode='twice')\n    def f(): ...", "mode is one of once, worker"),
        ("@redpoll.procedure\n    def f(): ...\n    @redpoll.procedure(name='f')\n    def g(): ...", "f@1 is declared already"),
        ("@redpoll.procedure\n    class C: ...", "for a class there is @expose"),
        ("@redpoll.procedure\n    @staticmethod\n    def f(): ...", "@procedure is enough for a function"),
        ("@redpoll.expose\n    class C: ...", "no public methods"),
        ("@redpoll.expose\n    class C:\n        def f(self, init: int): ...", "`init` carries the arguments"),
        ("def (", "invalid syntax"),
    ],
)
def test_a_wrong_declaration_is_an_error_with_a_remedy(written: "Callable[[str], Path]", text: str, problem: str) -> None:
    assert problem in redpoll("check", str(written(f"\n    {text}\n")), code=2).stderr


def test_a_hint_may_name_what_stands_below(written: "Callable[[str], Path]") -> None:
    text = """
        from __future__ import annotations
        import dataclasses
        import redpoll
        @redpoll.procedure
        def f(p: Point): return p.x
        @dataclasses.dataclass
        class Point:
            x: int
    """
    file = written("")
    import textwrap

    file.write_text(textwrap.dedent(text), encoding="utf-8")
    assert redpoll("call", str(file), "f", 'p:={"x": 3}').stdout == "3\n"


def test_a_file_does_the_same_by_itself(written: "Callable[[str], Path]") -> None:
    file = written(ZOO + "\n    redpoll.serve()\n")
    env = {**os.environ, **harness.sdk_env()}
    words: "list[Any]" = [sys.executable, str(file), "call", "Dog.bark", "--init", '["rex"]']
    assert subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.endswith('"rex"\n')
    assert redpoll("list", str(file)).stdout.splitlines()[0] == "Dog.bark@1\tBarks."
