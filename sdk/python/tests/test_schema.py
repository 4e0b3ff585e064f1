"""Type hints as JSON Schema, and the same rules when arguments are read."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, FrozenSet, List, Literal, Mapping, NewType, Optional, Sequence, Set, Tuple, TypedDict, Union

import pytest

from redpoll import Arg, ArgumentError, DeclarationError
from redpoll._hints import kind_of
from redpoll._kinds import definitions
from redpoll._options import Options as ProcedureOptions
from redpoll._procedure import Procedure
from redpoll._signature import Signature


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5
    tags: List[str] = dataclasses.field(default_factory=list)


class Base(TypedDict):
    a: int


class Options(Base, total=False):
    b: str


@dataclasses.dataclass
class Tree:
    name: str
    below: "List[Tree]" = dataclasses.field(default_factory=list)


class Link(TypedDict, total=False):
    value: int
    next: "Optional[Link]"
    tree: Tree


def other_tree() -> type:
    @dataclasses.dataclass
    class Tree:
        left: Any = None

    Tree.__annotations__["left"] = Optional[Tree]
    return Tree


@dataclasses.dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n is from 1")


Port = NewType("Port", int)

KINDS: "list[tuple[Any, dict[str, Any], list[tuple[Any, Any]], list[Any]]]" = [
    # hint, schema, what is read as what, what is refused
    (Any, {}, [(1, 1), (None, None), ([], [])], []),
    (int, {"type": "integer"}, [(1, 1), (3.0, 3), (-(2**63), -(2**63))], [True, "1", 1.5, None, [], {}]),
    (float, {"type": "number"}, [(1, 1.0), (1.5, 1.5)], [True, "1", None, 10**400]),
    (str, {"type": "string"}, [("", ""), ("ä", "ä")], [1, None, []]),
    (bool, {"type": "boolean"}, [(True, True)], [1, 0, "true", None]),
    (None, {"type": "null"}, [(None, None)], [0, ""]),
    (bytes, {"type": "string", "contentEncoding": "base64"}, [("AAE=", b"\0\1"), ("", b"")], ["A", "AA==\n", "ä", 1, "A-_="]),
    (Path, {"type": "string"}, [("/a/b", Path("/a/b"))], ["a\0b", 1]),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, [(1, 1), (None, None)], ["1"]),
    (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}, [(1, 1), ("1", "1")], [1.5, None]),
    (Literal["a", 1, True], {"enum": ["a", 1, True]}, [("a", "a"), (1, 1), (True, True)], ["b", False, 2]),
    (Literal[1, 0], {"enum": [1, 0]}, [(1, 1), (1.0, 1)], [True, False]),
    (Literal["a", None], {"anyOf": [{"enum": ["a"]}, {"type": "null"}]}, [("a", "a"), (None, None)], [1]),
    (Colour, {"enum": ["red", 2]}, [("red", Colour.RED), (2, Colour.BLUE)], ["RED", True]),
    (list, {"type": "array"}, [([1, "a"], [1, "a"])], [{}, "ab"]),
    (List[int], {"type": "array", "items": {"type": "integer"}}, [([1], [1]), ([], [])], [["1"], "1"]),
    (Sequence[str], {"type": "array", "items": {"type": "string"}}, [(["a"], ["a"])], ["a"]),
    (Set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, [([1, 2], {1, 2})], [[1, 1]]),
    (FrozenSet[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}, [(["a"], frozenset("a"))], [["a", "a"]]),
    (set, {"type": "array", "uniqueItems": True}, [([1], {1})], [[[]], [{}]]),
    (
        Tuple[int, str],
        {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        [([1, "a"], (1, "a"))],
        [[1], [1, "a", 2], ["a", 1]],
    ),
    (Tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [([1, 2], (1, 2))], [["a"]]),
    (Dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}, [({"a": 1}, {"a": 1})], [{"a": "1"}, []]),
    (Mapping[str, Any], {"type": "object"}, [({"a": 1}, {"a": 1})], [[]]),
    (dict, {"type": "object"}, [({}, {})], [None]),
    (Port, {"type": "integer"}, [(1, 1)], ["1"]),
    (
        Point,
        {
            "type": "object",
            "properties": {
                "x": {"type": "integer"},
                "y": {"type": "number", "default": 0.5},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["x"],
            "additionalProperties": False,
        },
        [({"x": 1}, Point(1)), ({"x": 1, "y": 2, "tags": ["a"]}, Point(1, 2.0, ["a"]))],
        [{}, {"x": "1"}, {"x": 1, "z": 1}, [1]],
    ),
    (
        Options,
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        [({"a": 1}, {"a": 1}), ({"a": 1, "b": "x"}, {"a": 1, "b": "x"})],
        [{"b": "x"}, {"a": 1, "c": 1}],
    ),
    (Annotated[int, Arg(min=1, max=9)], {"type": "integer", "minimum": 1, "maximum": 9}, [(1, 1), (9, 9)], [0, 10, "5"]),
    (
        Annotated[str, Arg("a word", pattern="^[a-z]+$", max_length=3)],
        {"type": "string", "maxLength": 3, "pattern": "^[a-z]+$", "description": "a word"},
        [("abc", "abc")],
        ["", "abcd", "A", "ab\n"],
    ),
    (Annotated[List[int], Arg(min_length=1)], {"type": "array", "items": {"type": "integer"}, "minItems": 1}, [([1], [1])], [[]]),
    (Annotated[Dict[str, int], Arg(max_length=1)], {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}, [], [{"a": 1, "b": 1}]),
    (Annotated[bool, "whether"], {"type": "boolean", "description": "whether"}, [(True, True)], [1]),
    (Positive, {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}, [], [{"n": 0}]),
]


@pytest.mark.parametrize(("hint", "schema", "read", "refused"), KINDS, ids=[str(row[0]) for row in KINDS])
def test_a_hint_has_a_schema_and_reads_by_the_same_rules(hint: Any, schema: Any, read: Any, refused: Any) -> None:
    kind = kind_of(hint, "here")
    assert kind.schema() == schema
    for given, expected in read:
        found = kind.read(given, "x")
        assert found == expected and type(found) is type(expected)
    for given in refused:
        with pytest.raises(ArgumentError):
            kind.read(given, "x")


@pytest.mark.skipif(sys.version_info < (3, 10), reason="`|` between types is Python 3.10")
def test_the_newer_way_to_write_a_union_is_understood() -> None:
    hint = eval("int | None")
    assert kind_of(hint, "here").schema() == kind_of(Optional[int], "here").schema()


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (print, "no JSON form"),
        (complex, "complex has no JSON form"),
        (Dict[int, str], "keys of a map are text, not int"),
        (Annotated[str, Arg(min=1)], "min and max are for numbers"),
        (Annotated[int, Arg(pattern="a")], "pattern is for text"),
        (Annotated[int, Arg(max_length=1)], "min_length and max_length are for text"),
        (Annotated[str, Arg(pattern="(")], "no regular expression"),
        (List[complex], "complex"),
        (Literal[b"x"], "not bytes"),
    ],
)
def test_a_hint_without_a_json_form_is_refused_with_the_reason(hint: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match="^here") as refused:
        kind_of(hint, "here")
    assert text in str(refused.value)


TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
    "required": ["name"],
    "additionalProperties": False,
}


def test_a_class_that_contains_itself_is_described_once_and_read_in_all_its_depth() -> None:
    kind = kind_of(Tree, "here")
    assert kind.schema() == {"$ref": "#/$defs/Tree"}
    assert definitions([kind]) == {"Tree": TREE}
    assert kind.read({"name": "a", "below": [{"name": "b"}]}, "x") == Tree("a", [Tree("b")])
    with pytest.raises(ArgumentError) as refused:
        kind.read({"name": "a", "below": [{"name": "b", "below": [{"name": 1}]}]}, "x")
    assert str(refused.value) == "argument x.below[0].below[0].name: expected text, found an integer"
    link = kind_of(List[Link], "here")
    link_schema = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/Link"}, {"type": "null"}]},
            "tree": {"$ref": "#/$defs/Tree"},
        },
        "additionalProperties": False,
    }
    assert link.schema() == {"type": "array", "items": {"$ref": "#/$defs/Link"}}
    assert definitions([link, kind]) == {"Link": link_schema, "Tree": TREE}
    chain = {"value": 1, "next": {"next": None, "tree": {"name": "a"}}}
    assert link.read([chain], "x") == [{"value": 1, "next": {"next": None, "tree": Tree("a")}}]


def test_classes_of_the_same_name_are_told_apart() -> None:
    both = [kind_of(Tree, "here"), kind_of(Annotated[other_tree(), "the other"], "here"), kind_of(Tree, "here")]
    names = definitions(both)
    assert list(names) == ["Tree", "Tree2"]
    assert [kind.schema()["$ref"] for kind in both] == ["#/$defs/Tree", "#/$defs/Tree2", "#/$defs/Tree"]
    assert names["Tree2"]["properties"]["left"]["anyOf"][0] == {"$ref": "#/$defs/Tree2"}


def mutual(count: int) -> "list[Any]":
    """Classes of which each contains all."""
    hints: "dict[str, Any]" = {}
    classes = [dataclasses.make_dataclass(f"Op{n}", [(f"left{n}", "Expr"), (f"right{n}", "Optional[Expr]", None)]) for n in range(count)]
    hints["Expr"] = Union[(int, *classes)]
    for one in classes:
        one.__annotations__ = {name: eval(str(hint), {"Optional": Optional}, hints) for name, hint in one.__annotations__.items()}
    return [hints["Expr"], *classes]


def test_classes_that_contain_one_another_are_looked_at_once_each() -> None:
    expr, *classes = mutual(12)
    met: "dict[Any, int]" = {}

    class Seen(Dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            met[key] = met.get(key, 0) + 1
            super().__setitem__(key, value)

    kind = kind_of(expr, "here", Seen())
    assert met == {one: 1 for one in classes}, "more would be without end with so many"
    below = {"anyOf": [{"type": "integer"}, *({"$ref": f"#/$defs/Op{n}"} for n in range(12))]}
    assert kind.schema() == below
    defs = definitions([kind])
    assert list(defs) == [f"Op{n}" for n in range(12)]
    assert defs["Op7"]["properties"] == {"left7": below, "right7": {"anyOf": [*below["anyOf"], {"type": "null"}]}}
    first, last = classes[0], classes[11]
    assert kind.read({"left11": {"left0": 1, "right0": 2}}, "x") == last(first(1, 2))


@dataclasses.dataclass
class Line:
    start: Point
    name: str = ""


def test_a_class_is_described_where_it_stands_unless_it_is_met_again() -> None:
    def once(line: Line) -> None: ...

    def twice(line: Line, points: "List[Point]") -> None: ...

    hints = {"Line": Line, "List": List, "Point": Point}
    once.__globals__.update(hints)
    point = next(schema for hint, schema, _, _ in KINDS if hint is Point)
    schema = Procedure(once, "line.once", ProcedureOptions()).schema()
    assert "$defs" not in schema and schema["properties"]["line"]["properties"]["start"] == point
    schema = Procedure(twice, "line.twice", ProcedureOptions()).schema()
    assert schema["$defs"] == {"Point": point}
    assert schema["properties"]["line"]["properties"]["start"] == {"$ref": "#/$defs/Point"}
    assert schema["properties"]["points"] == {"type": "array", "items": {"$ref": "#/$defs/Point"}}


class Draw:
    def __init__(self, origin: Point) -> None:
        self.origin = origin

    def to(self, end: Point) -> None: ...


def test_a_constructor_and_a_method_share_their_classes() -> None:
    schema = Procedure(Draw.to, "draw.to", ProcedureOptions(), Draw, constructed=True).schema()
    assert list(schema["$defs"]) == ["Point"]
    assert schema["properties"]["end"] == schema["properties"]["init"]["anyOf"][0]["properties"]["origin"] == {"$ref": "#/$defs/Point"}


class Open(TypedDict, total=False):
    a: int
    more: "Annotated[Open, Arg('the next', min_length=1)]"


def test_a_class_within_itself_is_narrowed_like_any_object() -> None:
    kind = kind_of(Open, "here")
    below = {"$ref": "#/$defs/Open", "description": "the next", "minProperties": 1}
    assert definitions([kind])["Open"]["properties"]["more"] == below
    assert kind.read({"more": {"more": {"a": 1}}}, "x") == {"more": {"more": {"a": 1}}}
    with pytest.raises(ArgumentError) as refused:
        kind.read({"more": {"more": {}}}, "x")
    assert str(refused.value) == "argument x.more.more: expected a length of at least 1, found 0"
    with pytest.raises(DeclarationError, match="pattern is for text; this is an object"):
        kind_of(Annotated[Open, Arg(pattern="a")], "here")


class Grow:
    def __init__(self, first: Tree) -> None:
        self.first = first

    def more(self, link: Optional[Link] = None) -> None: ...


def test_the_definitions_stand_at_the_top_of_a_procedure_also_for_its_constructor() -> None:
    procedure = Procedure(Grow.more, "grow.more", ProcedureOptions(), Grow, constructed=True)
    schema = procedure.schema()
    assert set(schema["$defs"]) == {"Link", "Tree"}
    assert schema["properties"]["init"]["anyOf"][0]["properties"]["first"] == {"$ref": "#/$defs/Tree"}


def test_an_error_names_the_place_and_never_the_value() -> None:
    kind = kind_of(Dict[str, List[Union[int, Point]]], "here")
    with pytest.raises(ArgumentError) as refused:
        kind.read({"a": [1, {"x": "hunter2"}]}, "secret")
    assert str(refused.value) == "argument secret.a[1].x: expected an integer, found text"
    with pytest.raises(ArgumentError) as refused:
        kind_of(Literal["a", "b"], "here").read("hunter2", "secret")
    assert "hunter2" not in str(refused.value)


def example(a: int, b: str = "x", *rest: int, c: bool = False, **more: float) -> None:
    """Takes all kinds of parameters."""


def test_all_kinds_of_parameters_are_bound() -> None:
    signature = Signature(example, "here")
    assert signature.schema() == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}, "c": {"type": "boolean", "default": False}},
        "required": ["a"],
        "additionalProperties": {"type": "number"},
        "x-positional": ["a", "b"],
    }
    given: "list[tuple[list[Any], dict[str, Any]]]" = [([1], {}), ([1, "y", 2, 3], {"c": True, "d": 1}), ([], {"a": 1, "b": "z"}), ([1], {"b": "y"})]
    for args, kwargs in given:
        placed, named = signature.bind(args, kwargs)
        inspect.signature(example).bind(*placed, **named)
    assert signature.bind([1, "y", 2, 3], {"d": 1}) == ([1, "y", 2, 3], {"d": 1.0})
    refused: "list[tuple[list[Any], dict[str, Any], str]]" = [
        ([], {}, "argument a: is missing"),
        ([1, "y", "z"], {}, "argument [2]: expected an integer, found text"),
        ([1], {"a": 1}, "argument a: is given twice, by place and by name"),
        ([1], {"d": "x"}, "argument d: expected a number, found text"),
    ]
    for args, kwargs, text in refused:
        with pytest.raises(ArgumentError) as error:
            signature.bind(args, kwargs)
        assert str(error.value) == text


def placed(a: int, b: int = 2, /, c: int = 3) -> "tuple[int, int, int]":
    """Takes two by place alone."""
    return a, b, c


def test_parameters_that_only_have_a_place_can_be_named_by_the_caller() -> None:
    signature = Signature(placed, "here")
    for kwargs, expected in [({"a": 1}, (1, 2, 3)), ({"a": 1, "b": 5}, (1, 5, 3)), ({"a": 1, "c": 5}, (1, 2, 5))]:
        args, named = signature.bind([], kwargs)
        assert placed(*args, **named) == expected
    with pytest.raises(ArgumentError, match="4 arguments by place, but there are 3"):
        signature.bind([1, 2, 3, 4], {})


def test_a_schema_names_what_has_a_place_and_nothing_else() -> None:
    def named(*, a: int = 1) -> None: ...

    def rest(*more: int, a: int = 1) -> None: ...

    assert Signature(placed, "here").schema()["x-positional"] == ["a", "b", "c"]
    assert "x-positional" not in Signature(named, "here").schema()
    # they have no names, and the function checks them
    assert Signature(rest, "here").schema()["x-positional"] is True
    assert "x-positional" not in Signature(lambda: None, "here").schema()


def test_no_schema_contains_null_because_toml_has_none() -> None:
    def none(a: Optional[int] = None, b: Optional[Colour] = Colour.RED) -> None: ...

    hints = {"Optional": Optional, "Colour": Colour}
    none.__globals__.update(hints)
    shown = str(Signature(none, "here").schema()).replace("'null'", "")
    assert "None" not in shown and "null" not in shown and "'default': 'red'" in shown
