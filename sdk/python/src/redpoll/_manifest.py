"""Writes the manifest of a procedure: what goes into `procedures.d/`."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Optional, Sequence

from ._procedure import Procedure
from ._values import MAX_TOML, is_unicode

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
#: What a line says something of: the first word of a key, or of the name of a table.
_SAYS = re.compile(r"""\s*(?P<table>\[{1,2}\s*)?(?:"(?P<double>[^"\\]+)"|'(?P<single>[^']+)'|(?P<bare>[A-Za-z0-9_-]+))\s*[].=]""")
_TEXTS = re.compile(r"""\"(?:[^"\\]|\\.)*\"|'[^']*'""")

#: Ends what is written here.
MARK = "# What stands below this line is yours: --force keeps it, and it goes before what the Python says."


def file_name(procedure: Procedure) -> str:
    """Such as `zoo.feed.toml`, and `zoo.feed@2.toml`."""
    return f"{procedure.name if procedure.version == 1 else procedure.id}.toml"


def manifest(procedure: Procedure, command: Sequence[str], mode: str, theirs: str = "") -> str:
    """The text of the manifest, and below it the lines of the machine's owner: what they say goes before what the Python says.

    Raises ValueError when these are not TOML, and for what no file can hold.
    """
    options = procedure.options
    fields: "dict[str, Any]" = {
        "name": procedure.name,
        "version": procedure.version,
        "description": procedure.description or None,
        "deprecated": options.deprecated,
        "command": list(command),
        "mode": mode,
        "output": "json",
        "run_timeout": options.run_timeout,
        "idle_timeout": options.idle_timeout,
        "grace": options.grace,
        "ready_timeout": options.ready_timeout,
        "idle_shutdown": options.idle_shutdown,
        "health_interval": options.health_interval if mode == "worker" else None,
        "concurrency": options.concurrency,
        "idempotent": options.idempotent or None,
        "limits": dict(options.limits) or None,
        "redact": procedure.redact or None,
        "manager": None if options.manager is None else dict(options.manager),
        "user": options.user,
        "group": options.group,
        "demote": options.demote,
        "cwd": options.cwd,
        "env": dict(options.env) or None,
        "enabled": None if options.enabled else False,
        "admin": options.admin or None,
        "schedule": None if options.schedule is None else dict(options.schedule),
        "args": written(procedure.schema()),
    }
    said = _keys(theirs)
    # one user is as good as the other, and both together are refused
    said |= {"user", "demote"} if said & {"user", "demote"} else set()
    ours = "".join(f"{key} = {toml(value)}\n" for key, value in fields.items() if value is not None and key not in said)
    whole = f"{ours}{MARK}\n{theirs}"
    if not is_unicode(whole):
        raise ValueError(f"{procedure.id}: a description, a choice or another text of it is not Unicode, and no manifest can hold it")
    return whole


def theirs(text: str) -> Optional[str]:
    """What the owner of the machine has written below the manifest; None if it is none that was written here."""
    ours, found, rest = f"\n{text}".partition(f"\n{MARK}\n")
    return rest if found else None


def _keys(lines: str) -> "set[str]":
    """What lines of TOML say something of. Raises ValueError when they are no TOML, as far as this Python can tell."""
    if sys.version_info >= (3, 11):
        import tomllib

        return set(tomllib.loads(lines))
    return simple_keys(lines)


def simple_keys(lines: str) -> "set[str]":
    """The same for Pythons that read no TOML: of tables, and of keys whose value is on their line. Raises ValueError for anything else."""
    found, in_table = set(), False
    for number, line in enumerate(lines.splitlines(), 1):
        rest = _TEXTS.sub("", line).partition("#")[0]
        if not rest.strip():
            continue
        says = _SAYS.match(line)
        whole = '"""' not in line and "'''" not in line and all(rest.count(begin) == rest.count(end) for begin, end in (("[", "]"), ("{", "}"))) and '"' not in rest and "'" not in rest
        if not whole or says is None:
            raise ValueError(f"line {number} of yours is too much for a Python before 3.11: one line for each key, or take a newer Python")
        in_table = in_table or says["table"] is not None
        if says["table"] is not None or not in_table:
            found.add(says["double"] or says["single"] or says["bare"])
    return found


def written(schema: Any, key: str = "") -> Any:
    """A schema as TOML can write it, whose integers have 63 bits: bounds beyond become floating, never narrower; choices beyond are left to the function."""
    if isinstance(schema, dict):
        return {name: written(part, name) for name, part in schema.items() if not (name == "enum" and _has_beyond(part))}
    if isinstance(schema, list):
        return [written(part) for part in schema]
    if _is_beyond(schema):
        near = float(schema)
        if key == "minimum" and near > schema:
            return math.nextafter(near, -math.inf)
        return math.nextafter(near, math.inf) if key == "maximum" and near < schema else near
    return schema


def _has_beyond(values: Any) -> bool:
    return isinstance(values, list) and any(_is_beyond(value) for value in values)


def _is_beyond(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value <= MAX_TOML


def toml(value: Any) -> str:
    """A value as TOML. Lists are broken into lines where that helps; inline tables may not be."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # the escapes of JSON are those of TOML, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(part) for part in value) + "]"
    if isinstance(value, dict):
        parts = [f"{_key(str(key))} = {toml(part)}" for key, part in value.items() if part is not None]
        return "{ " + ", ".join(parts) + " }" if parts else "{}"
    raise TypeError(f"{type(value).__name__} has no TOML form")


def _key(key: str) -> str:
    return key if _BARE.match(key) else toml(key)
