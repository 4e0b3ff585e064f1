"""`python -m redpoll`: serves a file of procedures, writes its manifests, tries it without an agent."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Optional, Sequence

from . import _load
from ._declare import REGISTRY, Registry
from ._errors import ArgumentError, DeclarationError, UnknownProcedure
from ._local import call_here
from ._manifest import MARK, file_name, manifest, theirs
from ._port import Port
from ._options import MODES
from ._serve import EXIT_CONFIGURATION, leave, serve_registry

USAGE, REFUSED = 2, 3


def serve(argv: Optional[Sequence[str]] = None) -> None:
    """Serves the procedures declared so far and ends the process: the last line of a file of procedures.

    The mode is what the flag `--once` or `--worker` says, else what the variable `REDPOLL_MODE` says, else once. With `manifest`, `schema`,
    `check`, `list` or `call` behind the file's name it does what `python -m redpoll` does with it.
    """
    if _load.loading:
        return
    words = list(sys.argv[1:] if argv is None else argv)
    file = os.path.abspath(sys.argv[0])
    if words and words[0] in _VERBS:
        sys.exit(main([words[0], file, *words[1:]], REGISTRY))
    parser = argparse.ArgumentParser(description="Serves procedures to a Redpoll agent over standard input and output.")
    _mode_flags(parser)
    chosen = parser.parse_args(words)
    if not chosen.mode and "REDPOLL_MODE" not in os.environ and sys.stdin is not None and sys.stdin.isatty():
        parser.error(f"an agent starts this; to try it by hand: {os.path.basename(file)} call NAME key=value")
    _serve(REGISTRY, _mode(chosen.mode, parser))


def main(argv: Optional[Sequence[str]] = None, registry: Optional[Registry] = None) -> int:
    """The command line. Returns the code to exit with: 0, 1 failed, 2 wrong usage, 3 arguments refused; of `serve`, which only returns
    when the file cannot be served, 64."""
    parser, calls = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    # options may stand among the arguments of a call, which a parser with verbs does not take
    called = calls.parse_intermixed_args(words[1:], argparse.Namespace(verb="call")) if words[:1] == ["call"] else None
    chosen = called or parser.parse_args(words)
    port = None
    if chosen.verb == "serve":
        chosen.mode = _mode(chosen.mode, parser)
        # before the file is loaded: it may print
        port = Port.take()
    try:
        registry = registry or _load.load(chosen.file)
        if port is not None:
            _serve(registry, chosen.mode, port)
        registry.prepare()
        return _VERBS[chosen.verb](registry, chosen)
    except (DeclarationError, UnknownProcedure, ArgumentError, SyntaxError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, (UnknownProcedure, ArgumentError)):
            return REFUSED
        return USAGE if port is None else EXIT_CONFIGURATION


def _serve(registry: Registry, mode: str, port: Optional[Port] = None) -> None:
    port = port or Port.take()
    code = serve_registry(registry, mode == "worker", port)
    port.close()
    leave(code)


def _mode(flag: Optional[str], parser: argparse.ArgumentParser) -> str:
    mode = flag or os.environ.get("REDPOLL_MODE") or "once"
    if mode not in MODES:
        parser.error(f"REDPOLL_MODE is once or worker, not {mode!r}")
    return mode


def _mode_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--once", dest="mode", action="store_const", const="once", help="one call, then end")
    group.add_argument("--worker", dest="mode", action="store_const", const="worker", help="call after call, until the input ends")


def _parser() -> "tuple[argparse.ArgumentParser, argparse.ArgumentParser]":
    """That of the command line, and that of the verb `call`."""
    parser = argparse.ArgumentParser(prog="redpoll", description="Procedures for Redpoll in Python.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.add_argument("file", metavar="FILE.py")
        return added

    _mode_flags(verb("serve", "serve the procedures to an agent over standard input and output"))
    one = verb("manifest", "print the manifests, or write them")
    one.add_argument("--write", metavar="DIR", help="write one file for each procedure, such as /etc/redpoll/procedures.d")
    one.add_argument("--force", action="store_true", help="replace what was written before; the lines below it, which are yours, stay")
    one.add_argument("--python", default=sys.executable, metavar="PATH", help="the Python that runs it (this one)")
    _mode_flags(one)
    one = verb("schema", "print the JSON Schema of the arguments")
    one.add_argument("name", nargs="?", metavar="NAME")
    calls = verb("call", "call a procedure here, without an agent")
    calls.add_argument("name", metavar="NAME")
    calls.add_argument("words", nargs="*", metavar="ARG|KEY=VALUE|KEY:=JSON|@FILE")
    calls.add_argument("--kwargs", metavar="JSON", help="all named arguments")
    calls.add_argument("--init", metavar="JSON", help="arguments of the constructor, an object or a list")
    one = verb("check", "load it and say what is wrong or missing")
    one.add_argument("--strict", action="store_true", help="what is missing is wrong too")
    verb("list", "list the procedures")
    return parser, calls


def _manifests(registry: Registry, chosen: argparse.Namespace) -> int:
    for procedure in registry.all():
        mode = chosen.mode or procedure.options.mode
        command = [chosen.python, "-m", "redpoll", "serve", f"--{mode}", os.path.abspath(chosen.file)]
        path = os.path.join(chosen.write or "", file_name(procedure))
        try:
            if chosen.write is None:
                print(f"# {path}\n{manifest(procedure, command, mode)}")
                continue
            _refuse_other_case(path)
            _write(path, lambda kept: manifest(procedure, command, mode, kept), chosen.force)
        except FileExistsError:
            print(f"error: {path} is there already; --force replaces what was written here, and keeps what you have written below it", file=sys.stderr)
            return 1
        except ValueError as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"error: cannot write {path}: {error.strerror}", file=sys.stderr)
            return 1
        print(path)
    return 0


def _refuse_other_case(path: str) -> None:
    """Raises ValueError if a file beside it is called the same but for case: of both an agent takes one, and what the other says is lost."""
    folder, name = os.path.split(path)
    others = [] if os.path.lexists(path) else [other for other in os.listdir(folder or ".") if other.lower() == name.lower()]
    if others:
        raise ValueError(f"differs from {others[0]}, which is there, by case alone; rename that to {name} and write it anew with --force, or remove it")


def _write(path: str, text: "Callable[[str], str]", force: bool) -> None:
    """Writes a manifest, or replaces one as a whole. Raises ValueError if what is there would be lost."""
    if not (force and os.path.lexists(path)):
        _beside(path, text(""), lambda _descriptor: None, 0o666, _put)
        return
    with open(path, encoding="utf-8") as there:
        kept, there_is = theirs(there.read()), os.fstat(there.fileno())
    if kept is None:
        raise ValueError(f"was not written here, and its lines would be lost; move it away, or give it the line\n{MARK}\nwith yours below it")

    def owned(descriptor: int) -> None:
        if os.geteuid() == 0:
            os.fchown(descriptor, there_is.st_uid, there_is.st_gid)
        os.fchmod(descriptor, there_is.st_mode & 0o7777)

    _beside(os.path.realpath(path), text(kept), owned, 0o600, os.replace)


def _put(new: str, path: str) -> None:
    """Gives a file its name, unless another has it."""
    os.link(new, path)
    os.unlink(new)


def _beside(path: str, whole: str, owned: "Callable[[int], None]", mode: int, put: "Callable[[str, str], None]") -> None:
    """Writes a file beside the place that it gets as a whole, or not at all."""
    content = whole.encode("utf-8")
    if os.path.lexists(path) and put is _put:
        raise FileExistsError(path)
    # no *.toml, so that nobody loads half of one
    new = f"{path}.new"
    try:
        # what somebody put there is not written through
        os.unlink(new)
    except FileNotFoundError:
        pass
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            owned(descriptor)
        put(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _schemas(registry: Registry, chosen: argparse.Namespace) -> int:
    if chosen.name is not None:
        shown: Any = registry.find(chosen.name).schema()
    else:
        shown = {procedure.id: procedure.schema() for procedure in registry.all()}
    print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


def _check(registry: Registry, chosen: argparse.Namespace) -> int:
    warnings = 0
    for procedure in registry.all():
        problems = [f"parameter {name} has no type hint: anything is taken for it" for name in procedure.untyped]
        if not procedure.description:
            problems.append("has no description: write a docstring")
        for problem in problems:
            print(f"{procedure.id}: {problem}", file=sys.stderr)
        warnings += len(problems)
    print(f"{len(registry.all())} procedures, {warnings} warnings")
    if not registry.all():
        print("error: no procedures are declared; write @redpoll.procedure above a function", file=sys.stderr)
        return USAGE
    return 1 if warnings and chosen.strict else 0


def _list(registry: Registry, chosen: argparse.Namespace) -> int:
    for procedure in registry.all():
        print(f"{procedure.id}\t{procedure.description}")
    return 0


def _call(registry: Registry, chosen: argparse.Namespace) -> int:
    return call_here(registry, chosen.name, chosen.words, chosen.kwargs, chosen.init)


def _never(registry: Registry, chosen: argparse.Namespace) -> int:
    return USAGE


_VERBS: "dict[str, Callable[[Registry, argparse.Namespace], int]]" = {
    "serve": _never,
    "manifest": _manifests,
    "schema": _schemas,
    "call": _call,
    "check": _check,
    "list": _list,
}
