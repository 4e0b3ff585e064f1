"""What an agent would refuse in a manifest is refused before one is written."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Annotated, Any, Callable, Optional, Union

import pytest

from redpoll import Arg, ArgumentError, DeclarationError, ValueRefused
from redpoll._hints import kind_of
from redpoll._options import Options
from redpoll._procedure import Procedure
from redpoll._values import plain, shown
from test_cli import redpoll


def nothing(to: int = 1, *, word: Annotated[str, Arg(pattern="^[a-z]+$")] = "a") -> None:
    """Does nothing."""


REFUSED: "list[tuple[dict[str, Any], str]]" = [
    ({"run_timeout": "400d"}, "run_timeout is a duration from 1s to 365d"),
    ({"run_timeout": "0"}, "run_timeout is a duration from 1s to 365d"),
    ({"idle_timeout": "999ms"}, "idle_timeout is a duration from 1s"),
    ({"grace": "2h"}, "grace is a duration from 0s to 1h"),
    ({"grace": "1s 1h"}, "grace is a duration such as"),
    ({"ready_timeout": "2h"}, "ready_timeout is a duration from 1s to 1h"),
    ({"idle_shutdown": "31d"}, "idle_shutdown is a duration from 0s to 30d"),
    ({"health_interval": "25h"}, "health_interval is a duration from 1s to 1d"),
    ({"concurrency": 0}, "concurrency is an integer from 1 to 4096"),
    ({"concurrency": 5000}, "concurrency is an integer from 1 to 4096"),
    ({"concurrency": True}, "concurrency is an integer from 1 to 4096"),
    ({"description": 5}, "description is text"),
    ({"description": "x" * 4097}, "description has more than 4096 bytes"),
    ({"deprecated": 5}, "deprecated is text"),
    ({"idempotent": "x"}, "idempotent is True or False"),
    ({"redact": 5}, "redact is a list of paths"),
    ({"limits": {"cpu": "50%"}}, "limits.cpu is an integer from 1 to 100000"),
    ({"limits": {"processes": 0}}, "limits.processes is an integer from 1"),
    ({"limits": {"memory": 5}}, "limits.memory is a size from 1MiB to 64TiB"),
    ({"limits": {"line": "65MiB"}}, "limits.line is a size from 1KiB to 64MiB"),
    ({"limits": 5}, "limits is a table"),
    ({"manager": {"submit": 1}}, "manager.submit is True or False"),
    ({"manager": {"calls": "site.*"}}, "manager.calls is a list"),
    ({"manager": {"calls": ["rp.jobs"]}}, "'rp.jobs' is no procedure of the manager"),
    ({"manager": {"calls": ["Rp.*"]}}, "'Rp.*' is no procedure of the manager"),
    ({"manager": {"calls": ["a b"]}}, "'a b' is no procedure of the manager"),
    ({"user": "a b"}, "user is the name of a user"),
    ({"group": "g" * 65}, "group is the name of a group"),
    ({"env": {"A": "\0"}}, "env is a table of texts"),
    ({"schedule": {"every": "0s"}}, "schedule.every is a duration from 1s"),
    ({"schedule": {"every": "1h", "jitter": "2h"}}, "schedule.jitter is not shorter than every"),
    ({"schedule": {"every": "1h", "jitter": "60m"}}, "schedule.jitter is not shorter than every"),
    ({"schedule": {"every": "1h", "at_start": 1}}, "schedule.at_start is True or False"),
    ({"schedule": {"every": "1h", "kwargs": {"to": "x"}}}, "kwargs do not fit: argument to: expected an integer"),
    ({"schedule": {"every": "1h", "kwargs": {"two": 1}}}, "kwargs do not fit: argument two: is unknown"),
    ({"schedule": {"every": "1h", "kwargs": {"to": None}}}, "hold what a manifest has no form for"),
]


@pytest.mark.parametrize(("options", "text"), REFUSED)
def test_an_option_beyond_what_an_agent_takes_is_refused(options: "dict[str, Any]", text: str) -> None:
    with pytest.raises(DeclarationError, match="nothing") as caught:
        Procedure(nothing, "nothing", Options(**options)).prepare()
    assert text in str(caught.value)


def test_the_ends_of_the_bounds_are_taken() -> None:
    limits = {"cpu": 1, "processes": 1_000_000, "memory": "1MiB", "output": "1TiB", "line": 1024}
    schedule = {"every": "365d", "jitter": "0s", "kwargs": {"to": 3, "word": "b"}}
    times = {"run_timeout": "365d", "idle_timeout": "1s", "grace": "1h", "ready_timeout": "60m", "idle_shutdown": "0", "health_interval": "1000ms"}
    options: "dict[str, Any]" = {**times, "limits": limits, "schedule": schedule, "concurrency": 4096, "manager": {"calls": ["site.*", "a@2"]}}
    Procedure(nothing, "n" * 117, Options(**options)).prepare()


NARROWED: "list[tuple[Any, Arg, str]]" = [
    (str, Arg(pattern="(?=a)"), "look-around, which an agent does not know"),
    (str, Arg(pattern="a(?<!b)"), "look-around"),
    (str, Arg(pattern=r"(a)\1"), "back-references"),
    (str, Arg(pattern=r"(?P<x>a)(?P=x)"), "back-references"),
    (str, Arg(pattern=r"\d+\Z"), r"\Z, which an agent does not know: write `$`"),
    (str, Arg(pattern="a" * 1025), "more than 1024 bytes"),
    (str, Arg(min_length=-1), "min_length is an integer from 0"),
    (str, Arg(max_length=1.5), "max_length is an integer from 0"),  # type: ignore[arg-type]
    (str, Arg(min_length=5, max_length=1), "min_length is 5, and more than max_length, 1"),
    (int, Arg(min=5, max=1), "min is 5, and more than max, 1"),
    (Union[int, str], Arg(min=1), "which of several types is narrowed?"),
    (Optional[str], Arg(min=1), "min and max are for numbers"),
]


@pytest.mark.parametrize(("hint", "arg", "text"), NARROWED)
def test_an_arg_that_no_agent_understands_or_nothing_fits_is_refused(hint: Any, arg: Arg, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        kind_of(Annotated[hint, arg], "here")
    assert text in str(caught.value)


@pytest.mark.parametrize("pattern", [r"[(?=]\\Z$", r"^(?:a|b)[^]\]x]+$", r"(?P<x>a)\.\d", r"\\1"])
def test_a_pattern_that_only_looks_like_that_is_taken(pattern: str) -> None:
    assert kind_of(Annotated[str, Arg(pattern=pattern)], "here").schema()["pattern"] == pattern


def test_the_bounds_of_what_may_be_null_are_those_of_the_other() -> None:
    kind = kind_of(Annotated[Optional[int], Arg("how many", min=1)], "here")
    assert kind.schema() == {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "description": "how many"}
    assert (kind.read(None, "x"), kind.read(1, "x")) == (None, 1)
    with pytest.raises(ArgumentError, match="at least 1"):
        kind.read(0, "x")


INNER: Any = Annotated[Optional[int], "inner"]


@pytest.mark.parametrize(
    ("hint", "rules", "told"),
    [
        (Annotated[Optional[int], Arg(min=1), Arg(max=5)], {"minimum": 1, "maximum": 5}, {}),
        (Annotated[Optional[int], "text", Arg(min=1)], {"minimum": 1}, {"description": "text"}),
        (Annotated[Optional[int], Arg("first", max=5), "last", Arg(min=1)], {"minimum": 1, "maximum": 5}, {"description": "last"}),
        (Annotated[Optional[int], Arg(min=1), Arg("last", examples=[3])], {"minimum": 1}, {"description": "last", "examples": [3]}),
    ],
)
def test_what_may_be_null_is_narrowed_and_described_step_by_step(hint: Any, rules: "dict[str, Any]", told: "dict[str, Any]") -> None:
    kind = kind_of(hint, "here")
    assert kind.schema() == {"anyOf": [{"type": "integer", **rules}, {"type": "null"}], **told}
    assert (kind.read(None, "x"), kind.read(3, "x")) == (None, 3)
    with pytest.raises(ArgumentError, match="at least 1"):
        kind.read(0, "x")


def test_bounds_reach_what_may_be_null_twice_and_never_several_types() -> None:
    kind = kind_of(Annotated[Union[INNER, None], Arg(max=5)], "here")
    with pytest.raises(ArgumentError, match="at most 5"):
        kind.read(6, "x")
    for hint in (Annotated[Union[int, str], "text", Arg(min=1)], Annotated[Union[int, str, None], Arg("text"), Arg(min=1)]):
        with pytest.raises(DeclarationError, match="which of several types is narrowed"):
            kind_of(hint, "here")
    with pytest.raises(DeclarationError, match="min and max are for numbers; this is text"):
        kind_of(Annotated[Optional[str], "text", Arg(min=1)], "here")


@dataclasses.dataclass
class Wrong:
    n: int = "x"  # type: ignore[assignment]


def wrong(n: int = "x") -> None:  # type: ignore[assignment]
    """A default of another type."""


def low(n: Annotated[int, Arg(min=5)] = 1) -> None:
    """A default below its bound."""


def within(n: Wrong) -> None:
    """A default in a class."""


def unset(n: str = None) -> None:  # type: ignore[assignment]
    """No default that a schema shows."""


@pytest.mark.parametrize(("function", "text"), [(wrong, "expected an integer"), (low, "at least 5"), (within, "field n: its default does not fit")])
def test_a_default_that_would_be_refused_is_refused(function: "Callable[..., None]", text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Procedure(function, "p", Options()).prepare()
    assert text in str(caught.value)


def test_a_default_that_no_schema_shows_is_left_to_the_function() -> None:
    Procedure(unset, "p", Options()).prepare()
    assert shown("\ud800") is None and shown({"\ud800": 1}) is None


def test_a_row_of_a_database_is_to_be_sent_as_a_map() -> None:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    row = database.execute("select 1 as a").fetchone()
    database.close()
    with pytest.raises(ValueRefused, match=r"send dict\(value\)"):
        plain(row)


UNWRITTEN = """
    from typing import Literal

    @redpoll.procedure
    def chosen(word: Literal["\\ud800"]): "Takes half of a character."

    @redpoll.procedure
    def given(word: str = "\\ud800"): "Has half of a character for a default."
"""


def test_a_manifest_that_cannot_be_written_leaves_nothing_behind(written: "Callable[[str], Path]", tmp_path: Path) -> None:
    file, folder = written(UNWRITTEN), tmp_path / "manifests"
    folder.mkdir()
    for words in ([], ["--write", str(folder)], ["--write", str(folder), "--force"]):
        done = redpoll("manifest", str(file), *words, code=1)
        assert "chosen@1: a description, a choice or another text of it is not Unicode" in done.stderr and "Traceback" not in done.stderr
        assert list(folder.iterdir()) == []
    file = written(UNWRITTEN.replace('Literal["\\ud800"]', "str"))
    redpoll("manifest", str(file), "--write", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["chosen.toml", "given.toml"]


MIXED = """
    @redpoll.procedure
    def takes(*words: str, **others: int): return [list(words), others]
"""


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["--kwargs", '{"k": 1}', "a", "b"], '[["a", "b"], {"k": 1}]'),
        (["a", "--kwargs", '{"k": 1}', "-5", "n:=2"], '[["a", "-5"], {"k": 1, "n": 2}]'),
        (["--", "-x", "--kwargs"], '[["-x", "--kwargs"], {}]'),
    ],
)
def test_options_of_a_call_stand_anywhere_among_its_arguments(written: "Callable[[str], Path]", words: "list[str]", result: str) -> None:
    assert redpoll("call", str(written(MIXED)), "takes", *words).stdout == f"{result}\n"


def test_arguments_that_are_refused_are_told_in_a_line(written: "Callable[[str], Path]") -> None:
    file = str(written(MIXED))
    assert redpoll("call", file, "takes", "k=x", code=3).stderr == "refused: ArgumentError: argument k: expected an integer, found text\n"
    assert "unrecognized arguments: --y" in redpoll("call", file, "takes", "--y", code=2).stderr
