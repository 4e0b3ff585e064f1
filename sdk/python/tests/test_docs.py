"""The examples in the documents work as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
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
    missing = command("call", file, "backup.files", f"source={tmp_path}/nowhere", f"target={tmp_path}/to", code=1)
    assert "is no folder" in missing.stderr and missing.stdout == ""


def test_the_package_is_copied_to_another_machine_and_updated_there(tmp_path: Path) -> None:
    section = GUIDE.read_text(encoding="utf-8").split("### The package on other machines")[1].split("\n### ")[0]
    copied, said = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    for folder in ("opt/procedures", "etc/redpoll/procedures.d"):
        (tmp_path / folder).mkdir(parents=True)
    Path(example(GUIDE, tmp_path)).rename(tmp_path / "opt/procedures/backup.py")
    for script in (copied, said, copied):
        script = re.sub("^rpctl .*", "", script, flags=re.MULTILINE).replace("python3", sys.executable)
        script = re.sub("/(opt|etc)/", rf"{tmp_path}/\1/", script)
        subprocess.run(["sh", "-ec", script], cwd=ROOT, check=True)
    lines = (tmp_path / "etc/redpoll/procedures.d/backup.files.toml").read_text(encoding="utf-8").splitlines()
    for key, value in (("user", '"backup"'), ("env", f'{{ PYTHONPATH = "{tmp_path}/opt/redpoll/python" }}')):
        assert [line for line in lines if line.startswith(f"{key} =")] == [f"{key} = {value}"]
    # the copy replaces the one before, and does not lie within it
    assert not (tmp_path / "opt/redpoll/python/src").exists()


def test_the_example_of_the_readme_counts(tmp_path: Path) -> None:
    file = example(ROOT / "sdk" / "python" / "README.md", tmp_path)
    command("check", file, "--strict")
    assert command("call", file, "count", "to:=3", "pause:=0").stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("name", [*Options.__dataclass_fields__, *redpoll.__all__])
def test_the_reference_names_everything_that_is_public(name: str) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    if name not in ("DeclarationError", "UnknownProcedure", "NoCall", "Busy", "Call"):
        assert re.search(rf"\b{name}\b", text), name
