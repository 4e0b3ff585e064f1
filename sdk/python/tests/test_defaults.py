"""What a schema says of what is left out: a policy judges by it."""

from __future__ import annotations

from redpoll._options import Options as ProcedureOptions
from redpoll._procedure import Procedure


class Deploy:
    def __init__(self, stage: str = "live", copies: int = 1) -> None:
        self.stage = stage

    def run(self) -> None: ...


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def show(self) -> None: ...


def test_what_is_left_out_of_a_constructor_has_its_default_by_name_and_by_place() -> None:
    init = Procedure(Deploy.run, "web.run", ProcedureOptions(), Deploy, constructed=True).schema()["properties"]["init"]
    assert init["default"] == {}
    by_name, by_place = init["anyOf"]
    assert by_name["properties"]["stage"] == by_place["prefixItems"][0] == {"type": "string", "default": "live"}
    assert by_place["prefixItems"][1]["default"] == 1
    assert "default" not in Procedure(Point.show, "point.show", ProcedureOptions(), Point, constructed=True).schema()["properties"]["init"]
