"""Hints that are not written in full, limits of bytes, and what a manifest has no form for."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import math
import sys
import typing
from pathlib import Path
from typing import Annotated, Any, Callable, Literal, Optional

import pytest

from redpoll import Arg, ArgumentError, DeclarationError
from redpoll._hints import kind_of
from redpoll._manifest import manifest, toml, written
from redpoll._options import Options
from redpoll._procedure import Procedure
from redpoll._signature import Signature

tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

LIST, SET, MAP = {"type": "array"}, {"type": "array", "uniqueItems": True}, {"type": "object"}
ROW = {"type": "array", "minItems": 0, "maxItems": 0}

#: A hint by its name, its schema, and what a value of it is read as.
BARE: "list[tuple[str, Any, Any, Any]]" = [
    ("List", LIST, [1], [1]),
    ("Sequence", LIST, [1], [1]),
    ("Iterable", LIST, [1], [1]),
    ("Collection", LIST, [1], [1]),
    ("Tuple", LIST, [1, "a"], (1, "a")),
    ("Set", SET, [1], {1}),
    ("AbstractSet", SET, [1], {1}),
    ("FrozenSet", SET, [1], frozenset([1])),
    ("Dict", MAP, {"a": 1}, {"a": 1}),
    ("Mapping", MAP, {"a": 1}, {"a": 1}),
    ("MutableMapping", MAP, {"a": 1}, {"a": 1}),
    ("Optional[List]", {"anyOf": [LIST, {"type": "null"}]}, [1], [1]),
    ("Dict[str, List]", {"type": "object", "additionalProperties": LIST}, {"a": [1]}, {"a": [1]}),
    ("Tuple[()]", ROW, [], ()),
    ("tuple[()]", ROW, [], ()),
]


@pytest.mark.parametrize(("name", "schema", "given", "read"), BARE)
def test_a_hint_without_what_is_within_takes_anything_there(name: str, schema: Any, given: Any, read: Any) -> None:
    kind = kind_of(eval(name, vars(typing)), "here")
    assert kind.schema() == schema
    found = kind.read(given, "x")
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize("name", ["Deque", "Callable", "Type", "Union", "Optional", "Literal", "Counter"])
def test_what_has_no_form_is_refused_also_by_itself(name: str) -> None:
    with pytest.raises(DeclarationError, match="^here"):
        kind_of(getattr(typing, name), "here")


def test_examples_are_told_also_of_a_hint_within_another() -> None:
    maybe: Any = Optional[Annotated[int, Arg("x", examples=[1, 2])]]
    assert kind_of(maybe, "here").schema()["anyOf"][0] == {"type": "integer", "description": "x", "examples": [1, 2]}
    many: Any = typing.List[Annotated[Any, Arg(examples=[{"a": [1]}])]]
    assert kind_of(many, "here").schema()["items"] == {"examples": [{"a": [1]}]}


def test_the_limits_of_bytes_are_those_of_their_text_however_they_come() -> None:
    hint: Any = Annotated[bytes, "a note", Arg(min_length=8, max_length=8, pattern="^[A-Z]+=$")]
    kind = kind_of(hint, "here")
    for size, text in [(5, None), (2, "a length of at least 8, found 4"), (8, "a length of at most 8, found 12")]:
        data = bytes(size)
        encoded = base64.b64encode(data).decode()
        for given in (encoded, {"$b64": encoded}):
            if text is None:
                assert kind.read(given, "x") == data
            else:
                with pytest.raises(ArgumentError, match=text):
                    kind.read(given, "x")
    with pytest.raises(ArgumentError, match="matches"):
        kind.read({"$b64": "aaaaaaa="}, "x")


@dataclasses.dataclass
class Size:
    width: int
    note: Optional[str] = None


def strange(
    top: Annotated[int, Arg(max=2**64 - 1)] = 2**64 - 1,
    low: Annotated[int, Arg(min=2**63 + 1)] = 2**63 + 1,
    high: Annotated[int, Arg(max=2**63 + 1)] = 5,
    choice: Literal[1, 18446744073709551615] = 1,
    enum: Literal["a", "b"] = "a",
    maybe: Any = [1, None],
    inner: Any = {"a": {"b": None}},
    size: Annotated[Any, Arg(examples=[Size(1, "x"), Size(2), Path("/tmp"), None, b"x", 2**63, "é"])] = Size(1, "y"),
    fine: Any = [-(2**63), 2**63 - 1, 0.5, {"a": [True]}],
) -> None:
    """Has defaults, bounds and examples of all kinds."""


def test_what_toml_has_no_form_for_is_left_out_or_widened() -> None:
    text = manifest(Procedure(strange, "strange", Options()), ["true"], "once")
    found = tomllib.loads(text)["args"]["properties"]
    for name, keys in [("top", {"type", "maximum"}), ("low", {"type", "minimum"}), ("choice", {"default"}), ("maybe", set()), ("inner", set())]:
        assert set(found[name]) == keys, name
    assert found["top"]["maximum"] >= 2**64 - 1 and type(found["top"]["maximum"]) is float
    # next to the bound, on the side that lets all pass that may
    assert 2**63 <= found["low"]["minimum"] <= 2**63 + 1 <= found["high"]["maximum"] <= 2**63 + 2048
    assert found["enum"] == {"enum": ["a", "b"], "default": "a"}
    assert found["size"] == {"examples": [{"width": 1, "note": "x"}, "/tmp", "é"], "default": {"width": 1, "note": "y"}}
    assert found["fine"] == {"default": [-(2**63), 2**63 - 1, 0.5, {"a": [True]}]}


@pytest.mark.parametrize(("key", "number"), [("minimum", 2**63 + 1), ("minimum", 2**64 - 1), ("maximum", 2**63 + 1), ("maximum", 2**64 - 1), ("minimum", -(2**63) - 1)])
def test_a_bound_is_never_narrower_in_a_manifest(key: str, number: int) -> None:
    bound = tomllib.loads(f"x = {toml(written(number, key))}")["x"]
    assert type(bound) is float and (bound <= number if key == "minimum" else bound >= number)
    assert abs(bound - number) <= 4096


@pytest.mark.parametrize("bound", [math.inf, -math.inf, math.nan, 10**400, "1", True])
def test_a_bound_is_a_finite_number(bound: Any) -> None:
    for arg in (Arg(min=bound), Arg(max=bound)):
        hint: Any = Annotated[int, arg]
        with pytest.raises(DeclarationError, match="finite numbers"):
            kind_of(hint, "here")


def test_a_function_with_such_defaults_still_has_them() -> None:
    function: "Callable[..., Any]" = strange
    assert Signature(function, "here").bind([], {"top": 2**64 - 1}) == ([], {"top": 2**64 - 1})
