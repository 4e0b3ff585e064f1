"""What a procedure may be called, in the class's own capitals, and the files that its manifest may have."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from redpoll._declare import Registry
from redpoll._errors import DeclarationError, UnknownProcedure
from redpoll._manifest import MARK
from redpoll._options import Options
from redpoll._procedure import Procedure
from test_cli import redpoll

DOG = """
    @redpoll.expose
    class Dog:
        def bark(self) -> str: return "wuff"
"""


def declared(*names: "tuple[str, int]") -> Registry:
    """A registry with these names and versions."""
    registry = Registry()
    for name, version in names:
        registry.add(Procedure(lambda: None, name, Options(version=version)))
    return registry


def test_two_names_that_differ_by_case_alone_are_not_declared_together() -> None:
    registry = declared(("Dog.bark", 1), ("Dog.bark", 2), ("Dog.barks", 1))
    for name, version in (("dog.bark", 1), ("DOG.BARK", 3)):
        with pytest.raises(DeclarationError, match=f"{name} differs from Dog.bark, at .*, by case alone"):
            registry.add(Procedure(lambda: None, name, Options(version=version)))
    assert [procedure.id for procedure in registry.all()] == ["Dog.bark@1", "Dog.bark@2", "Dog.barks@1"]


def test_within_the_process_case_does_not_count() -> None:
    registry = declared(("Dog.bark", 1), ("Dog.bark", 2), ("zoo.feed", 1))
    for name, found in (("Dog.bark", "Dog.bark@2"), ("dog.bark@1", "Dog.bark@1"), ("ZOO.feed", "zoo.feed@1")):
        assert registry.find(name).id == found
    with pytest.raises(UnknownProcedure, match="no procedure DOG.brak; did you mean Dog.bark?"):
        registry.find("DOG.brak")
    with pytest.raises(UnknownProcedure, match="no version 3 of Dog.bark; there is 1, 2"):
        registry.find("dog.bark@3")


def test_a_manifest_is_not_put_beside_one_whose_file_differs_by_case_alone(written: "Callable[[str], Path]", tmp_path: Path) -> None:
    # as it was when names had no capitals: of both an agent takes the new one, without the lines of the owner
    file, folder = str(written(DOG)), tmp_path / "procedures.d"
    folder.mkdir()
    before, new = folder / "dog.bark.toml", folder / "Dog.bark.toml"
    lines = 'user = "keeper"\n'
    before.write_text(f'name = "dog.bark"\n{MARK}\n{lines}')
    said = redpoll("manifest", file, "--write", str(folder), code=1).stderr
    assert "differs from dog.bark.toml, which is there, by case alone; rename that to Dog.bark.toml" in said
    assert before.exists() and not new.exists()
    before.rename(new)
    redpoll("manifest", file, "--write", str(folder), "--force")
    text = new.read_text()
    assert text.startswith('name = "Dog.bark"\n') and text.endswith(f"{MARK}\n{lines}")
