"""Events: what a caller submits becomes the bytes that are sent, once."""

import datetime
import decimal
import enum
import json
import os
import pathlib
import uuid
from typing import Any, Dict, Mapping, Optional, Tuple

from .errors import Refused
from .redact import Redactor

#: A line, in bytes, at most.
MAX_LINE_BYTES = 1 << 20
#: An id, in bytes of UTF-8, at most.
MAX_ID_BYTES = 128

#: The keys that an event may have, besides `id`.
KEYS = ("event_type", "actor", "source", "target", "outcome", "timestamp", "details")


class Encoded:
    """An event that is ready to be sent: each try sends the same bytes."""

    __slots__ = ("body", "id", "id_json")

    def __init__(self, body: bytes, id: str, id_json: bytes) -> None:
        self.body = body
        self.id = id
        self.id_json = id_json

    def line(self, with_id: bool) -> bytes:
        """One line of JSON, without its end."""
        if not with_id:
            return self.body
        if self.body == b"{}":
            return b'{"id":' + self.id_json + b"}"
        return b'{"id":' + self.id_json + b"," + self.body[1:]

    def length(self, with_id: bool) -> int:
        """Bytes of that line."""
        return len(self.body) + (len(self.id_json) + (6 if len(self.body) > 2 else 5) if with_id else 0)


def new_id() -> str:
    """128 random bits, as text."""
    return os.urandom(16).hex()


def check_id(given: object) -> str:
    """That id, or `invalid`."""
    if not isinstance(given, str):
        raise Refused("invalid", "id is a %s; it is a text of 1 to 128 bytes" % type(given).__name__)
    try:
        length = len(given.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refused("invalid", "id holds half of a surrogate pair") from None
    if not 1 <= length <= MAX_ID_BYTES:
        raise Refused("invalid", "id has %d bytes; it may have 1 to %d" % (length, MAX_ID_BYTES))
    if any(ord(character) < 32 or 127 <= ord(character) < 160 or character in "\u2028\u2029" for character in given):
        raise Refused("invalid", "id holds a control character")
    return given


def _other(value: object) -> object:
    """JSON for what Python has and JSON has not."""
    if isinstance(value, datetime.datetime):
        return timestamp_text(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError("values of the type %s have none" % type(value).__name__)


def timestamp_text(at: datetime.datetime) -> str:
    """RFC 3339. A time without a zone is the local time of this machine, as Python takes it."""
    return at.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other)


def encode(event: Mapping[str, Any], redactor: Optional[Redactor] = None) -> Encoded:
    """The event, redacted and encoded, under its id or a new one."""
    if not isinstance(event, Mapping):
        raise Refused("malformed", "an event is a mapping, not a %s" % type(event).__name__)
    members: Dict[str, Any] = dict(event)
    if "id" in members:
        id = check_id(members.pop("id"))
        id_json = json.dumps(id, ensure_ascii=False).encode()
    else:
        id = new_id()
        id_json = b'"' + id.encode() + b'"'
    at = members.get("timestamp")
    if isinstance(at, datetime.datetime):
        members["timestamp"] = timestamp_text(at)
    try:
        if redactor is not None:
            members = redactor.event(members)
        body = _encoder.encode(members).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused("invalid", "the event has no form in JSON: %s" % _why(error), id) from None
    length = len(body) + len(id_json) + 6
    if length > MAX_LINE_BYTES:
        raise Refused("too_large", "the event has %d bytes; a line may have %d" % (length, MAX_LINE_BYTES), id)
    return Encoded(body, id, id_json)


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "a text holds half of a surrogate pair"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)


def members(event_type: str, fields: "Tuple[Tuple[str, object], ...]") -> Dict[str, Any]:
    """An event of these fields; what is None is left out."""
    event: Dict[str, Any] = {"event_type": event_type}
    for name, value in fields:
        if value is not None:
            event[name] = value
    return event
