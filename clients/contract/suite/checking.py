"""What the log says of what a driver was told."""

import json
from typing import Any, Dict, List, Optional, Tuple

from .collector import Collector, Failed, Record
from .driver import Result

Event = Dict[str, Any]

#: Errors after which an event may be in the log, once.
UNCERTAIN = ("unconfirmed",)


class Events:
    """Events of a scenario, each of which can be told from all others by its `target`."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0

    def one(self, **more: Any) -> Event:
        self.count += 1
        n = self.count
        details: Dict[str, Any] = {
            "n": n, "text": "é \u2028 \" \\ \u0001 %s" % ("x" * (n % 97)), "list": [1, 2.5, None, True, {"deep": ["ü"]}],
        }
        return {"event_type": "contract." + self.name, "actor": "driver-%d" % (n % 7), "source": "contract",
                "target": "%s-%06d" % (self.name, n), "outcome": "success", "details": details, **more}

    def many(self, count: int) -> List[Event]:
        return [self.one() for _ in range(count)]


Told = List[Tuple[Event, Result]]


def told(events: List[Event], results: List[Result]) -> Told:
    return list(zip(events, results))


def kind(result: Result) -> Optional[str]:
    error = result.get("error")
    return None if error is None else error.get("kind", "")


def all_recorded(told: Told) -> None:
    for event, result in told:
        if "ok" not in result:
            raise Failed("%s: %s" % (event.get("target"), json.dumps(result)[:1000]))


def check(collector: Collector, told: Told, *, ordered: bool = True, ids: Optional[bool] = None) -> List[Record]:
    """Stops the collector, reads its log, and compares it with what the driver said.

    Whatever was acknowledged is there once, under that seq, with that content; in the order of `told` if `ordered`.
    Whatever was refused is not there. Nothing else is there.
    """
    collector.stop()
    records = collector.records()
    collector.verify()
    ids = collector.ids if ids is None else ids
    by_target: Dict[str, List[Record]] = {}
    seen_ids: Dict[str, int] = {}
    for at, record in enumerate(records):
        if record["seq"] != at:
            raise Failed("record %d has seq %d" % (at, record["seq"]))
        if record["event_type"].startswith("audit."):
            continue
        by_target.setdefault(record.get("target", ""), []).append(record)
        if "id" in record:
            if record["id"] in seen_ids:
                raise Failed("id %s is in records %d and %d" % (record["id"], seen_ids[record["id"]], at))
            seen_ids[record["id"]] = at
    last = -1
    for event, result in told:
        found = by_target.get(event.get("target", ""), [])
        if "ok" in result:
            if len(found) != 1:
                raise Failed("%s was acknowledged (%s) and is in the log %d times" % (event["target"], result["ok"], len(found)))
            compare(event, result["ok"], found[0], ids)
            duplicate = result["ok"].get("duplicate", False)
            if ordered and not duplicate and found[0]["seq"] <= last:
                raise Failed("%s has seq %d, after %d" % (event["target"], found[0]["seq"], last))
            last = max(last, found[0]["seq"])
        elif kind(result) in UNCERTAIN:
            if len(found) > 1:
                raise Failed("%s is in the log %d times" % (event["target"], len(found)))
        elif found and not any("ok" in other for same, other in told if same.get("target") == event.get("target")):
            raise Failed("%s was refused (%s) and is in the log" % (event.get("target"), result["error"]))
    known = {event.get("target") for event, _ in told}
    for target in by_target:
        if target not in known:
            raise Failed("a record that nobody knows: %s" % target)
    return records


def compare(event: Event, ok: Dict[str, Any], record: Record, ids: bool) -> None:
    for key in ("event_type", "actor", "source", "target", "outcome", "details"):
        if key in event and record.get(key) != event[key]:
            raise Failed("record %d: %s is %r, and %r was sent" % (record["seq"], key, record.get(key), event[key]))
    if record["seq"] != ok.get("seq"):
        raise Failed("%s has seq %d, and the client said %r" % (event["target"], record["seq"], ok.get("seq")))
    if not ids:
        return
    if "id" in event and record.get("id") != event["id"]:
        raise Failed("record %d: its id is %r, and %r was sent" % (record["seq"], record.get("id"), event["id"]))
    if not record.get("id") or record["id"] != ok.get("id"):
        raise Failed("record %d: its id is %r, and the client said %r" % (record["seq"], record.get("id"), ok.get("id")))
