"""Writes the manifest of a procedure: what goes into `procedures.d/`."""

from __future__ import annotations

import json
import re
from typing import Any, Sequence

from ._procedure import Procedure

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def file_name(procedure: Procedure) -> str:
    """Such as `zoo.feed.toml`, and `zoo.feed@2.toml`."""
    return f"{procedure.name if procedure.version == 1 else procedure.id}.toml"


def manifest(procedure: Procedure, command: Sequence[str], mode: str) -> str:
    """The text of the manifest."""
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
        "concurrency": options.concurrency,
        "idempotent": options.idempotent or None,
        "limits": dict(options.limits) or None,
        "redact": list(options.redact) or None,
        "manager": None if options.manager is None else dict(options.manager),
        "args": procedure.schema(),
    }
    return "".join(f"{key} = {toml(value)}\n" for key, value in fields.items() if value is not None)


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
