"""What a decorator says of a procedure, and what no manifest may say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence

from ._errors import DeclarationError
from ._port import LINE_LIMIT

_DURATION = re.compile(r"(0|(\d+\s*(ms|s|m|h|d)\s*)+)\Z")
_SIZE = re.compile(r"(\d{1,15})\s*(kB|MB|GB|KiB|MiB|GiB)?\Z")
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LIMITS = ("memory", "cpu", "processes", "output", "line")
_MANAGER = ("submit", "calls")
_SCHEDULE = ("every", "jitter", "at_start", "kwargs")
#: As in every manifest.
MAX_REDACT_PATHS = 100
MAX_REDACT_WORDS = 16

#: What a cancelled call feels: an exception at its next yield or progress, at once, or nothing (it asks `cancelled()`).
CANCELS = ("raise", "interrupt", "poll")
MODES = ("once", "worker")


@dataclass(frozen=True)
class Options:
    """What a decorator says; the fields of a manifest have the same names."""

    name: Optional[str] = None
    version: int = 1
    description: Optional[str] = None
    deprecated: Optional[str] = None
    idempotent: bool = False
    redact: "tuple[str, ...]" = ()
    mode: str = "worker"
    cancel: str = "raise"
    run_timeout: Optional[str] = None
    idle_timeout: Optional[str] = None
    grace: Optional[str] = None
    concurrency: Optional[int] = None
    limits: "Mapping[str, Any]" = field(default_factory=dict)
    manager: "Optional[Mapping[str, Any]]" = None
    user: Optional[str] = None
    group: Optional[str] = None
    demote: Optional[str] = None
    cwd: Optional[str] = None
    env: "Mapping[str, str]" = field(default_factory=dict)
    enabled: bool = True
    admin: bool = False
    schedule: "Optional[Mapping[str, Any]]" = None
    ready_timeout: Optional[str] = None
    idle_shutdown: Optional[str] = None
    health_interval: Optional[str] = None

    @property
    def line_limit(self) -> int:
        """Bytes of a line that the agent takes, as the manifest will say."""
        return size(self.limits["line"]) or LINE_LIMIT if "line" in self.limits else LINE_LIMIT

    def check(self, where: str) -> None:
        """Refuses what no manifest may say."""
        for name, value in self.limits.items():
            _one_of(where, "limits", name, _LIMITS)
            if name in ("memory", "output", "line") and size(value) is None:
                raise DeclarationError(f'{where}: limits.{name} is a size such as "64MiB", not {value!r}')
        for name in self.manager or {}:
            _one_of(where, "manager", name, _MANAGER)
        _one_of(where, "mode", self.mode, MODES)
        _one_of(where, "cancel", self.cancel, CANCELS)
        if type(self.version) is not int or not 1 <= self.version < 2**32:
            raise DeclarationError(f"{where}: version is an integer from 1, not {self.version!r}")
        paths: Any = self.redact
        if isinstance(paths, str):
            raise DeclarationError(f"{where}: redact is a list of paths, not one text; write [{paths!r}]")
        if len(paths) > MAX_REDACT_PATHS:
            raise DeclarationError(f"{where}: redact has more than {MAX_REDACT_PATHS} paths")
        for path in paths:
            words = path.split(".") if isinstance(path, str) else [""]
            if "" in words or len(words) > MAX_REDACT_WORDS:
                raise DeclarationError(
                    f'{where}: redact: {path!r} is not a path such as "password", "user.pin" or "keys.*"'
                    f" of at most {MAX_REDACT_WORDS} words"
                )
        for name in ("run_timeout", "idle_timeout", "grace", "ready_timeout", "idle_shutdown", "health_interval"):
            _duration(where, name, getattr(self, name))
        self._check_surroundings(where)

    def _check_surroundings(self, where: str) -> None:
        """As whom and where it runs, and by itself."""
        for name in ("user", "group", "demote"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise DeclarationError(f"{where}: {name} is the name of a {'group' if name == 'group' else 'user'}, not {value!r}")
        if self.user is not None and self.demote is not None:
            raise DeclarationError(f"{where}: demote does not stand beside user; it is for what runs as the agent where that is not root")
        if self.cwd is not None and not (isinstance(self.cwd, str) and self.cwd.startswith("/")):
            raise DeclarationError(f"{where}: cwd is an absolute path, not {self.cwd!r}")
        for name, value in self.env.items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise DeclarationError(f"{where}: env is a table of texts, not {name!r}: {value!r}")
            if not name or "=" in name or name.startswith("REDPOLL_"):
                raise DeclarationError(f"{where}: env: {name!r} is no name of a variable of one's own")
        for name in ("enabled", "admin"):
            if not isinstance(getattr(self, name), bool):
                raise DeclarationError(f"{where}: {name} is True or False, not {getattr(self, name)!r}")
        if self.schedule is not None:
            for name in self.schedule:
                _one_of(where, "schedule", name, _SCHEDULE)
            if "every" not in self.schedule:
                raise DeclarationError(f'{where}: schedule says how often, such as schedule={{"every": "1h"}}')
            for name in ("every", "jitter"):
                _duration(where, f"schedule.{name}", self.schedule.get(name))


def size(value: Any) -> Optional[int]:
    """`1MiB`, `500kB` or a number of bytes; None for anything else."""
    if type(value) is int and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2] or ""] if found else None


def _duration(where: str, name: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and _DURATION.match(value)):
        raise DeclarationError(f'{where}: {name} is a duration such as "30s" or "1h 30m", not {value!r}')


def _one_of(where: str, key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DeclarationError(f"{where}: {key} is one of {', '.join(known)}, not {value!r}")
