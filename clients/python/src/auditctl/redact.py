"""Replaces what must not leave the process, by the names and paths of the collector's `redact` setting.

The collector puts an HMAC in the place of a value. A client has no key: it puts `[redacted]` there.
"""

import enum
import re
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .errors import UsageError

REDACTED = "[redacted]"
MAX_NAMES = 128
_FIELDS = ("actor", "source", "target", "outcome")
_KEPT = ("seq", "timestamp", "event_type", "origin", "recorded_at", "id")

_Pattern = "re.Pattern[str]"


def _segments(name: str) -> List[str]:
    """The parts between dots, with their escapes."""
    return re.findall(r"((?:\\.|[^.\\])*)(?:\.|$)", name)[: name_parts(name)]


def name_parts(name: str) -> int:
    """How many parts a name has: dots that are not escaped, and one more."""
    return len(re.findall(r"(?<!\\)(?:\\\\)*\.", name)) + 1


def _compile(part: str) -> "re.Pattern[str]":
    out, at = "", 0
    while at < len(part):
        if part[at] == "\\" and at + 1 < len(part):
            out += re.escape(part[at + 1])
            at += 2
        elif part[at] == "*":
            out += ".*"
            at += 1
        else:
            out += re.escape(part[at])
            at += 1
    return re.compile(out, re.IGNORECASE | re.DOTALL)


class Redactor:
    """Knows what to replace."""

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise UsageError("usage", "redact is a list of names and paths")
        if len(names) > MAX_NAMES:
            raise UsageError("usage", "redact has %d names; it may have %d" % (len(names), MAX_NAMES))
        self.names: "List[re.Pattern[str]]" = []
        self.paths: "List[Tuple[re.Pattern[str], ...]]" = []
        for name in names:
            parts = _segments(name)
            if not name or any(not part for part in parts):
                raise UsageError("usage", "redact: %r has an empty part" % name)
            if parts[0].lower() in _KEPT:
                hint = "; for a key of that name in details write details.%s" % name if len(parts) == 1 else ""
                raise UsageError("usage", "redact: %s cannot be hidden%s" % (parts[0], hint))
            compiled = tuple(_compile(part) for part in parts)
            if len(parts) == 1 and parts[0].lower() != "details":
                self.names.append(compiled[0])
            else:
                self.paths.append(compiled)

    def event(self, event: Mapping[str, Any]) -> Dict[str, Any]:
        """A copy in which what is named is replaced."""
        out = dict(event)
        for key, value in event.items():
            if key in _KEPT:
                continue
            starts = [path[1:] for path in self.paths if path[0].fullmatch(key)]
            if any(not rest for rest in starts) or (key in _FIELDS and self._named(key)):
                out[key] = _hide(value)
            elif key not in _FIELDS:
                # `details`, and what the collector may move there.
                out[key] = _hide(value) if self._named(key) else self._within(value, starts)
        return out

    def _named(self, key: str) -> bool:
        return any(name.fullmatch(key) for name in self.names)

    def _within(self, value: Any, paths: "List[Tuple[re.Pattern[str], ...]]") -> Any:
        while isinstance(value, enum.Enum) and not isinstance(value, (str, int, float)):
            # In JSON it is its value, which may hold anything.
            value = value.value
        if isinstance(value, Mapping):
            return {key: self._member(_text(key), member, paths, self._named(_text(key))) for key, member in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._member(str(at), member, paths, False) for at, member in enumerate(value)]
        return value

    def _member(self, key: str, value: Any, paths: "List[Tuple[re.Pattern[str], ...]]", named: bool) -> Any:
        rests = [path[1:] for path in paths if path and path[0].fullmatch(key)]
        if named or any(not rest for rest in rests):
            return _hide(value)
        return self._within(value, rests)


def _text(key: Any) -> str:
    """A key as JSON will have it; of an enumeration's member that is a text, its value."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return int.__repr__(key) if isinstance(key, int) else str(key)


def _hide(value: Any) -> Any:
    """Its shape and its keys stay."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _hide(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hide(member) for member in value]
    return REDACTED
