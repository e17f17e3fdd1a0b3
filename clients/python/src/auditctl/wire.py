"""The collector's answers, read strictly: what is not understood is no success."""

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional

from .errors import ProtocolError

#: An answer to an event, in bytes, at most; far more than any has.
MAX_ANSWER_BYTES = 1 << 20
#: The same for the answer to a query.
MAX_QUERY_BYTES = 64 << 20
MAX_SEQ = (1 << 64) - 1

#: Trying again makes sense.
AGAIN = frozenset({
    "rate_limited", "busy", "disk_full", "unavailable", "timeout", "closed", "failed", "too_many_connections",
    "too_many_refusals",
})

#: These are final, whatever else the answer says. Any other kind is final unless it has a time to try again.
FINAL = frozenset({"invalid", "malformed", "too_large", "conflict", "forbidden", "unauthorized", "unknown_request"})

_RECORDED = re.compile(rb'\{"ok":\{"seq":([0-9]{1,20})(,"duplicate":true)?\}\}')
_NO_ID = "unknown key `id`"


class Answer(NamedTuple):
    """What became of one event."""

    seq: Optional[int]
    duplicate: bool = False
    kind: str = ""
    message: str = ""
    #: In seconds.
    retry_after: Optional[float] = None
    #: Whoever said this may have passed the event on: it may be recorded.
    uncertain: bool = False

    @property
    def again(self) -> bool:
        """Whether sending it again makes sense."""
        return self.kind in AGAIN or (self.retry_after is not None and self.kind not in FINAL)

    @property
    def knows_no_id(self) -> bool:
        """An older collector refused the key `id`: nothing was recorded."""
        return self.kind == "invalid" and self.message.startswith(_NO_ID)


def document(text: bytes) -> Dict[str, Any]:
    """A JSON object, or `protocol`."""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ProtocolError("protocol", "the answer is not JSON: %s" % shown(text)) from None
    if not isinstance(value, dict):
        raise ProtocolError("protocol", "the answer is no object: %s" % shown(text))
    return value


def shown(text: bytes) -> str:
    """The beginning of a text, safe to print."""
    return ascii(text[:80].decode("utf-8", "replace"))


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """A text of others without what a terminal would obey."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def answer(line: bytes) -> Answer:
    """The answer to an event, over the socket."""
    match = _RECORDED.fullmatch(line)
    if match is not None:
        seq = int(match.group(1))
        if seq <= MAX_SEQ:
            return Answer(seq, match.group(2) is not None)
    value = document(line)
    if ("ok" in value) == ("error" in value):
        raise ProtocolError("protocol", "neither ok nor error: %s" % shown(line))
    return recorded(value["ok"]) if "ok" in value else refused(value["error"])


def recorded(ok: object) -> Answer:
    """`{"seq":42}`, perhaps with `duplicate`."""
    seq = ok.get("seq") if isinstance(ok, dict) else None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_SEQ:
        raise ProtocolError("protocol", "a success without its seq")
    assert isinstance(ok, dict)
    return Answer(seq, ok.get("duplicate") is True)


def refused(error: object) -> Answer:
    """`{"kind":…,"message":…,"retry_after_ms":…}`."""
    kind = error.get("kind") if isinstance(error, dict) else None
    if not isinstance(kind, str) or not kind:
        raise ProtocolError("protocol", "an error without its kind")
    assert isinstance(error, dict)
    after = error.get("retry_after_ms")
    wait: Optional[float] = None
    if isinstance(after, (int, float)) and not isinstance(after, bool) and 0 <= after < 1e9:
        wait = after / 1000
    message = error.get("message")
    return Answer(None, False, plain(kind[:64]), plain(message[:2000]) if isinstance(message, str) else "", wait)


def results(value: Dict[str, Any], count: int) -> "List[Optional[Answer]]":
    """What an NDJSON body of so many lines was answered; None: that line was not looked at."""
    found = value.get("results")
    if not isinstance(found, list) or len(found) > count:
        raise ProtocolError("protocol", "no results for the lines of the body")
    out: "List[Optional[Answer]]" = []
    for entry in found:
        if not isinstance(entry, dict):
            raise ProtocolError("protocol", "a result that is no object")
        if "error" in entry:
            out.append(refused(entry["error"]))
        else:
            out.append(recorded(entry))
    if len(out) < count and "stopped" not in value:
        raise ProtocolError("protocol", "%d results for %d lines" % (len(out), count))
    out += [None] * (count - len(out))
    return out


class Hello(NamedTuple):
    """What a collector says of itself."""

    protocol: int
    version: str
    features: "frozenset[str]"

    @property
    def ids(self) -> bool:
        """Whether an event may have an id."""
        return self.protocol >= 1 and "ids" in self.features


OLD = Hello(0, "", frozenset())


def hello(line: bytes) -> Hello:
    """The answer to hello; any error is an older collector."""
    value = document(line)
    if "error" in value:
        return OLD
    ok = value.get("ok")
    said = ok.get("hello") if isinstance(ok, dict) else None
    if not isinstance(said, dict) or not isinstance(said.get("protocol"), int):
        raise ProtocolError("protocol", "no answer to hello: %s" % shown(line))
    features = said.get("features")
    names = [name for name in features if isinstance(name, str)] if isinstance(features, list) else []
    return Hello(said["protocol"], str(said.get("version", "")), frozenset(names))
