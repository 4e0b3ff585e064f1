"""What a decorator says of a procedure, and what no manifest may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional

from . import _bounds
from ._errors import DeclarationError
from ._port import LINE_LIMIT

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
        return _bounds.size(self.limits["line"]) or LINE_LIMIT if "line" in self.limits else LINE_LIMIT

    def check(self, where: str) -> None:
        """Refuses what no manifest may say."""
        _bounds.limits(where, self.limits)
        if self.manager is not None:
            _bounds.manager(where, self.manager)
        _bounds.one_of(where, "mode", self.mode, MODES)
        _bounds.one_of(where, "cancel", self.cancel, CANCELS)
        if type(self.version) is not int or not 1 <= self.version < 2**32:
            raise DeclarationError(f"{where}: version is an integer from 1, not {self.version!r}")
        for name in ("description", "deprecated"):
            if getattr(self, name) is not None:
                _bounds.note(where, name, getattr(self, name))
        for name in ("idempotent", "enabled", "admin"):
            _bounds.flag(where, name, getattr(self, name))
        if self.concurrency is not None:
            _bounds.count(where, "concurrency", self.concurrency, _bounds.MAX_CONCURRENCY)
        for name, (least, most) in _bounds.DURATIONS.items():
            if getattr(self, name) is not None:
                _bounds.duration(where, name, getattr(self, name), least, most)
        self._check_redact(where)
        self._check_surroundings(where)

    def _check_redact(self, where: str) -> None:
        """What nobody may see."""
        paths: Any = self.redact
        if isinstance(paths, str):
            raise DeclarationError(f"{where}: redact is a list of paths, not one text; write [{paths!r}]")
        if not isinstance(paths, tuple):
            raise DeclarationError(f"{where}: redact is a list of paths, not {paths!r}")
        if len(paths) > MAX_REDACT_PATHS:
            raise DeclarationError(f"{where}: redact has more than {MAX_REDACT_PATHS} paths")
        for path in paths:
            words = path.split(".") if isinstance(path, str) else [""]
            if "" in words or len(words) > MAX_REDACT_WORDS:
                raise DeclarationError(
                    f'{where}: redact: {path!r} is not a path such as "password", "user.pin" or "keys.*"'
                    f" of at most {MAX_REDACT_WORDS} words"
                )

    def _check_surroundings(self, where: str) -> None:
        """As whom and where it runs, and by itself."""
        for name in ("user", "group", "demote"):
            if getattr(self, name) is not None:
                _bounds.account(where, name, getattr(self, name))
        if self.user is not None and self.demote is not None:
            raise DeclarationError(f"{where}: demote does not stand beside user; it is for what runs as the agent where that is not root")
        if self.cwd is not None and not (isinstance(self.cwd, str) and self.cwd.startswith("/")):
            raise DeclarationError(f"{where}: cwd is an absolute path, not {self.cwd!r}")
        _bounds.environment(where, self.env)
        if self.schedule is not None:
            _bounds.schedule(where, self.schedule)
