"""Events become bytes, once; answers are read strictly; what is named is replaced."""

import datetime
import decimal
import json
import uuid
from typing import Any, List

import pytest

from auditctl import AuditError, Client, Refused, UsageError, wire
from auditctl.event import Encoded, encode
from auditctl.redact import REDACTED, Redactor


@pytest.mark.parametrize("event", [{}, {"event_type": "x"}, {"event_type": "x", "id": "own"},
                                   {"id": "é\"\\"}, {"event_type": "x", "details": {"id": 1}}])
def test_a_line_with_its_id_holds_the_event_and_the_id(event: Any) -> None:
    encoded = encode(event)
    with_id, without = encoded.line(True), encoded.line(False)
    assert json.loads(with_id) == {**event, "id": encoded.id}
    assert json.loads(without) == {key: value for key, value in event.items() if key != "id"}
    assert (encoded.length(True), encoded.length(False)) == (len(with_id), len(without))
    assert b"\n" not in with_id


def test_each_event_without_an_id_gets_another_one() -> None:
    assert len({encode({"event_type": "x"}).id for _ in range(1000)}) == 1000


@pytest.mark.parametrize("bad", ["", "x" * 129, "é" * 65, "a\nb", "\x7f", "\x85", "a\u2028b", "a\u2029b", "\ud800", 7, None, ["x"]])
def test_an_id_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(Refused) as refused:
        encode({"event_type": "x", "id": bad})
    assert refused.value.kind == "invalid"


@pytest.mark.parametrize("details", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}, {1: {(1, 2): 3}}, {"a": b"bytes"}])
def test_what_has_no_form_in_json_is_refused_before_it_is_sent(details: Any) -> None:
    with pytest.raises(Refused):
        encode({"event_type": "x", "details": details})
    loop: List[Any] = []
    loop.append(loop)
    with pytest.raises(Refused):
        encode({"event_type": "x", "details": {"loop": loop}})


def test_what_python_has_and_json_has_not_gets_a_form() -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.timezone(datetime.timedelta(hours=2)))
    details = {"at": at, "id": uuid.UUID(int=1), "amount": decimal.Decimal("1.10"), "tags": {"b", "a"}, "day": at.date()}
    said = json.loads(encode({"event_type": "x", "timestamp": at, "details": details}).body)
    assert said["timestamp"] == "2026-01-02T01:04:05.000006Z"
    assert said["details"] == {"at": "2026-01-02T01:04:05.000006Z", "id": str(uuid.UUID(int=1)), "amount": "1.10", "tags": ["a", "b"],
                               "day": "2026-01-02"}


def test_a_line_that_is_too_long_is_refused_at_its_exact_length() -> None:
    def of(length: int) -> Encoded:
        return encode({"id": "x", "event_type": "e", "details": {"t": "x" * length}})
    base = len(of(0).line(True))
    assert len(of((1 << 20) - base).line(True)) == 1 << 20
    with pytest.raises(Refused) as refused:
        of((1 << 20) - base + 1)
    assert refused.value.kind == "too_large"


@pytest.mark.parametrize("line", [b"", b"garbage", b"[]", b"null", b"{}", b'{"ok":{}}', b'{"ok":{"seq":-1}}',
                                  b'{"ok":{"seq":"1"}}', b'{"ok":{"seq":1.5}}',
                                  b'{"ok":{"seq":true}}', b'{"ok":{"seq":18446744073709551616}}', b'{"ok":{"seq":1},"error":{"kind":"x"}}',
                                  b'{"error":{}}', b'{"error":7}', b'{"error":{"kind":""}}', b"\xff", b"[" * 100_000])
def test_an_answer_that_is_none_is_no_success(line: bytes) -> None:
    with pytest.raises(AuditError) as error:
        wire.answer(line)
    assert error.value.kind == "protocol"


def test_answers_are_read_whatever_else_they_hold() -> None:
    assert wire.answer(b'{"ok":{"seq":7}}') == wire.Answer(7)
    assert wire.answer(b'{"ok":{"seq":7,"duplicate":true}}') == wire.Answer(7, True)
    assert wire.answer(b'{"ok": {"new": 1, "seq": 18446744073709551615}}').seq == wire.MAX_SEQ
    error = wire.answer(b'{"error":{"kind":"busy","message":"m","retry_after_ms":120,"more":[]}}')
    assert error == wire.Answer(None, False, "busy", "m", 0.12)
    for strange in (b"-1", b'"1"', b"true", b"1e300", b"null"):
        assert wire.answer(b'{"error":{"kind":"busy","retry_after_ms":%s}}' % strange).retry_after is None


def test_a_text_of_the_collector_s_is_fit_for_a_terminal() -> None:
    said = wire.refused({"kind": "in\x1b[valid", "message": "a\x1b[2Jb\nc\x9bd\u2028e\u202ef é"})
    assert said.message == "a\\x1b[2Jb\\nc\\x9bd\\u2028e\\u202ef é" and said.kind.isprintable()


def test_results_that_do_not_fit_their_lines_are_no_success() -> None:
    assert wire.results({"results": [{"seq": 1}, {"error": {"kind": "invalid"}}]}, 2)[0] == wire.Answer(1)
    assert wire.results({"results": [{"seq": 1}], "stopped": {"line": 2}}, 2) == [wire.Answer(1), None]
    several: List[Any] = [{}, {"results": [{"seq": 1}]}, {"results": [{"seq": 1}] * 3}, {"results": [7, 7]}, {"runs": []}]
    for bad in several:
        with pytest.raises(AuditError):
            wire.results(bad, 2)


def redacted(names: List[str], event: Any) -> Any:
    return Redactor(names).event(event)


def test_names_and_paths_replace_what_the_collector_s_setting_would() -> None:
    event = {"event_type": "t", "actor": "a", "target": "T", "id": "i",
             "details": {"Password": "p", "n": [{"x_token": 1, "pin": 2}], "card": {"no": "4", "deep": {"a": None, "b": [True]}},
                         "a.b": "dot", "target": "inner", "users": {"u": {"pin": 3}}, "kept": "k"}}
    details = event["details"]
    assert isinstance(details, dict)
    assert redacted(["password"], event)["details"]["Password"] == REDACTED
    assert redacted(["*_token"], event)["details"]["n"] == [{"x_token": REDACTED, "pin": 2}]
    assert redacted(["details.card.*"], event)["details"]["card"] == {"no": REDACTED, "deep": {"a": None, "b": [REDACTED]}}
    assert redacted(["details.n.0.pin"], event)["details"]["n"] == [{"x_token": 1, "pin": REDACTED}]
    assert redacted(["details.users.*.pin"], event)["details"]["users"] == {"u": {"pin": REDACTED}}
    assert redacted(["a\\.b"], event)["details"]["a.b"] == REDACTED
    both = redacted(["target"], event)
    assert (both["target"], both["details"]["target"], both["actor"]) == (REDACTED, REDACTED, "a")
    assert redacted(["details"], event)["details"]["users"] == {"u": {"pin": REDACTED}}
    assert redacted(["other"], event) == event
    assert details["Password"] == "p", "the caller's own event stays"


@pytest.mark.parametrize("bad", [["seq"], ["timestamp"], ["event_type"], ["id"], [""], ["a..b"], ["x"] * 129])
def test_what_cannot_be_hidden_is_an_error(bad: List[str]) -> None:
    with pytest.raises(UsageError):
        Redactor(bad)


@pytest.mark.parametrize("options", [
    {"socket": "/x", "url": "http://localhost"}, {"socket": "/x", "token_file": "/y"}, {"window": 0}, {"window": 16_385}, {"timeout": 0},
    {"url": "ftp://x"}, {"url": "http://"}, {"url": "https://user:pass@host"}, {"url": "http://x:99999"},
    {"url": "http://10.0.0.1:1", "token_env": "T"},
    {"url": "https://localhost", "ca_file": "/nowhere"}, {"url": "http://localhost", "token_file": "a", "token_env": "b"}])
def test_options_that_make_no_sense_are_named(options: Any) -> None:
    with pytest.raises(UsageError) as error:
        Client(**options)
    assert "pass" not in str(error.value).replace("password", "")
