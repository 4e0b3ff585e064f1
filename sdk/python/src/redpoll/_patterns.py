"""Regular expressions that an agent and Python understand alike."""

from __future__ import annotations

import re
from typing import Optional

from ._errors import DeclarationError

MAX_PATTERN = 1024

#: What stands behind `(?` of a group, and has no form in an agent.
_GROUPS = {"=": "look-around", "!": "look-around", "<=": "look-around", "<!": "look-around", "P=": "back-references", "(": "conditions", ">": "atomic groups", "#": "comments"}
#: Escapes that are Python's alone, and what to write.
_ESCAPES = {"Z": "write `$`", "N": "write the character"}


def compiled(pattern: "Optional[str]", where: str) -> "Optional[re.Pattern[str]]":
    """For a search as JSON Schema means it. Raises DeclarationError, also for what an agent would not understand."""
    if pattern is None:
        return None
    if not isinstance(pattern, str):
        raise DeclarationError(f"{where}: a pattern is text, not {pattern!r}")
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise DeclarationError(f"{where}: the pattern is no regular expression: {error}") from None
    if len(pattern.encode("utf-8", "replace")) > MAX_PATTERN:
        raise DeclarationError(f"{where}: the pattern has more than {MAX_PATTERN} bytes")
    if foreign := _foreign(pattern):
        raise DeclarationError(f"{where}: the pattern has {foreign}")
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        # Python lets `$` match before a newline at the end; JSON Schema does not
        found = re.compile(pattern[:-1] + r"\Z")
    return found


def _foreign(pattern: str) -> "Optional[str]":
    """What of it an agent, which searches in linear time, does not have."""
    place, in_class = 0, False
    while place < len(pattern):
        rest = pattern[place:]
        if rest[0] == "\\":
            escaped = rest[1:2]
            if escaped in _ESCAPES:
                return f"\\{escaped}, which an agent does not know: {_ESCAPES[escaped]}"
            if escaped in "123456789" and not in_class:
                return "back-references, which an agent does not know"
            place += 2
        elif in_class:
            in_class = rest[0] != "]"
            place += 1
        elif rest[0] == "[":
            # a bracket that comes first is meant as one
            in_class, begin = True, re.match(r"\[\^?\]?", rest)
            place += begin.end() if begin else 1
        else:
            said = next((words for mark, words in _GROUPS.items() if rest.startswith(f"(?{mark}")), None)
            if said is not None:
                return f"{said}, which an agent does not know"
            place += 1
    return None
