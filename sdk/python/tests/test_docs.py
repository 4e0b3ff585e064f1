"""The examples in the documents work as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import redpoll
from redpoll._options import Options
from test_cli import redpoll as command

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "python.md"


def example(document: Path, where: Path) -> str:
    """The first example in Python of a document, as a file."""
    found = re.search(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    file = where / "example.py"
    file.write_text(found[1], encoding="utf-8")
    return str(file)


def test_the_example_of_the_guide_copies_files(tmp_path: Path) -> None:
    file = example(GUIDE, tmp_path)
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "a").write_text("text")
    (tmp_path / "from" / "large").write_text("x" * 100)
    command("check", file, "--strict")
    done = command("call", file, "backup.files", f"source={tmp_path}/from", f"target={tmp_path}/to", "largest:=50")
    value, result = map(json.loads, done.stdout.splitlines())
    assert value == {"file": f"{tmp_path}/from/deep/a", "bytes": 4} and result == {"copied": 1, "of": 2}
    assert (tmp_path / "to" / "deep" / "a").read_text() == "text"
    assert "left out:" in done.stderr


def test_the_example_of_the_readme_counts(tmp_path: Path) -> None:
    file = example(ROOT / "sdk" / "python" / "README.md", tmp_path)
    command("check", file, "--strict")
    assert command("call", file, "count", "to:=3", "pause:=0").stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("name", [*Options.__dataclass_fields__, *redpoll.__all__])
def test_the_reference_names_everything_that_is_public(name: str) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    if name not in ("DeclarationError", "UnknownProcedure", "NoCall", "Busy", "Call"):
        assert re.search(rf"\b{name}\b", text), name
