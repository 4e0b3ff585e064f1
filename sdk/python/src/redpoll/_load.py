"""Loads a file of procedures for the command line."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Iterator

from ._declare import REGISTRY, Registry
from ._errors import DeclarationError

#: True while a file is loaded: its own `serve()` does nothing then.
loading = False


def load(path: str) -> Registry:
    """Runs a file and returns what it declares. Raises DeclarationError; what the file itself raises comes through."""
    file = os.path.abspath(path)
    if not os.path.isfile(file):
        raise DeclarationError(f"there is no file {path}")
    # its neighbours can be imported, as when it is run by itself
    sys.path.insert(0, os.path.dirname(file))
    name = os.path.splitext(os.path.basename(file))[0]
    if name in sys.modules or not name.isidentifier():
        name = f"procedures_{abs(hash(name)):x}"
    from importlib.machinery import SourceFileLoader

    loader = SourceFileLoader(name, file)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise DeclarationError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _loading():
        loader.exec_module(module)
    return REGISTRY


@contextlib.contextmanager
def _loading() -> "Iterator[None]":
    global loading
    loading = True
    try:
        # what it prints while it is loaded is no part of what we print
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        loading = False
