#!/usr/bin/env python3
"""Logs as the Python utilities wrote them, and what an import has made of them.

    python_audit.py write SEED COUNT KEY OUT     COUNT signed lines, of all kinds that Python can write
    python_audit.py compare LINES RECORDS        every line's object is put together again from its record
    python_audit.py hmac HEXKEY < VALUE          what stands for a redacted value

Nothing but Python's own modules; shares no code with auditctl.
"""

import base64
import datetime
import hashlib
import hmac
import json
import random
import struct
import sys


def sign(event, key):
    text = json.dumps(event, sort_keys=True)
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).hexdigest()


def a_float(rng):
    while True:
        kind = rng.randrange(6)
        if kind == 5:
            # Halfway between two shortest texts.
            return rng.randrange(2**52, 2**53) / 2 ** rng.randrange(1, 60)
        if kind == 0:
            return struct.unpack("<d", rng.randbytes(8))[0]
        if kind == 1:
            return rng.choice([0.0, -0.0, 1e16, 1e15, 1e-4, 1e-5, 1e-7, 1e22, 1e23, 5e-324, 0.1, 1.5])
        if kind == 2:
            return rng.random() * 10 ** rng.randrange(-20, 20)
        if kind == 3:
            return float(rng.randrange(10**17))
        return round(rng.random() * 1000, 2)


def a_text(rng):
    ranges = [(32, 127), (0, 32), (127, 160), (0xA0, 0x250), (0x2020, 0x2030), (0xD800, 0xE000),
              (0xE000, 0x10000), (0x1F600, 0x1F650), (0x10FFF0, 0x110000)]
    weights = [60, 4, 2, 5, 2, 1 if rng.random() < 0.2 else 0, 2, 3, 1]
    length = rng.choice([0, 1, 3, 8, 20])
    return "".join(chr(rng.randrange(*rng.choices(ranges, weights)[0])) for _ in range(length))


def a_key(rng):
    text = rng.choice(["user", "ip", "n", "a.b", "imported", "Password", "x\\y", ""]) if rng.random() < 0.6 else a_text(rng)
    return "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)


def a_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice([0, -1, 7, 2**53, -(2**63), 2**64, 10**30, 10**308, -(10**400)]) if rng.random() < 0.5 else rng.randrange(1000)
    if kind in (3, 4):
        return a_float(rng)
    if kind in (5, 6):
        return a_text(rng)
    if kind == 7:
        return [a_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {a_key(rng): a_value(rng, depth + 1) for _ in range(rng.randrange(5))}


def a_time(rng):
    at = datetime.datetime(2023, 1, 1) + datetime.timedelta(microseconds=rng.randrange(10**14))
    zone = rng.choice([None, datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5, minutes=30))])
    at = at.replace(tzinfo=zone)
    kind = rng.randrange(20)
    if kind == 0:
        return str(at)
    if kind == 1:
        return at.replace(microsecond=0).isoformat()
    if kind == 2:
        return at.replace(tzinfo=datetime.timezone.utc).timestamp()
    if kind == 3:
        return at.replace(tzinfo=None).isoformat() + "Z"
    if kind == 4:
        return rng.choice(["", "yesterday", None, 12, [], "2023-99-01T00:00:00"])
    return at.isoformat()


def an_event(rng):
    event = {
        "timestamp": a_time(rng),
        "event_type": rng.choice(["login", "data_access", "lead.created", "audit.login", "x" * 200, "python.event", "a\nb"]) if rng.random() < 0.3 else "lead.updated",
        "actor": rng.choice(["alice", "", None, 17, "bob\x07", "y" * 300, a_text(rng), ["x"]]) if rng.random() < 0.3 else "alice",
        "lead_id": rng.choice([None, 12345, "L-17", "", -3, 1.5, True]),
        "workflow": rng.choice([None, "nightly", "w" * 257, {"name": "w"}]) if rng.random() < 0.3 else "nightly",
        "details": a_value(rng) if rng.random() < 0.1 else {a_key(rng): a_value(rng) for _ in range(rng.randrange(6))},
    }
    if rng.random() < 0.1:
        del event[rng.choice(list(event))]
    if rng.random() < 0.2:
        event[a_key(rng) or "ip_address"] = a_value(rng)
    if rng.random() < 0.005:
        event["details"] = {"log": "é\"\\" * rng.randrange(20_000, 80_000)}
    return event


def a_line(rng, event):
    items = list(event.items())
    rng.shuffle(items)
    style = rng.randrange(4)
    if style == 0:
        return json.dumps(dict(items), separators=(",", ":"))
    if style == 1:
        try:
            text = json.dumps(dict(items), ensure_ascii=False)
            text.encode("utf-8")
            return text
        except UnicodeEncodeError:
            pass
    return json.dumps(dict(items))


def write(seed, count, key_file, out):
    rng = random.Random(int(seed))
    key = open(key_file, "rb").read().rstrip(b"\r\n")
    with open(out, "w", encoding="utf-8", newline="\n") as file:
        for _ in range(int(count)):
            event = an_event(rng)
            event["signature"] = sign(event, key)
            file.write(a_line(rng, event) + "\n")


def steps(path):
    step, found, chars = "", [], iter(path)
    for char in chars:
        if char == "\\":
            step += next(chars)
        elif char == ".":
            found.append(step)
            step = ""
        else:
            step += char
    return found + [step]


def put_back(record, path):
    at = record
    *way, last = steps(path)
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    last = int(last) if isinstance(at, list) else last
    at[last] = json.loads(at[last])


def rebuild(record):
    """The object that a record was made of."""
    imported = record["details"]["imported"]
    for path in imported.get("replaced", []):
        put_back(record, path)
    fields = dict(imported.get("fields", {}))
    event = {}
    own = {"event_type": "event_type", "actor": "actor", "workflow": "source", "lead_id": "target"}
    for name, place in own.items():
        if name not in fields and place in record:
            event[name] = record[place]
    if event.get("event_type") == "python.event":
        del event["event_type"]
    if "timestamp" not in fields and "recorded_at" in record:
        event["timestamp"] = record["timestamp"]
    details = {key: value for key, value in record["details"].items() if key != "imported"}
    if "details.imported" in fields:
        details["imported"] = fields.pop("details.imported")
    if details:
        event["details"] = details
    if "hmac" in imported:
        event["signature"] = imported["hmac"]
    event.update(fields)
    return event


def compare(lines_file, records_file):
    lines = [line for line in open(lines_file, "rb").read().split(b"\n") if line.strip()]
    events = []
    for record in map(json.loads, open(records_file, encoding="utf-8")):
        imported = record.get("details", {}).get("imported")
        if imported is None:
            continue
        if record["event_type"] == "import.part":
            text = imported.get("text", "").encode() or base64.b64decode(imported["text_base64"])
            assert imported["part"] == len(events[-1][1]) + 1, record
            events[-1][1].append(text)
        else:
            events.append((record, []))
    assert len(events) == len(lines), f"{len(lines)} lines, {len(events)} events"
    whole = 0
    for number, (line, (record, parts)) in enumerate(zip(lines, events), 1):
        imported = record["details"]["imported"]
        if "text_parts" in imported:
            assert len(parts) == imported["text_parts"], record
            assert b"".join(parts) == line, f"line {number}: its text differs"
        elif record["event_type"] == "import.unreadable":
            text = imported.get("text", "").encode() or base64.b64decode(imported["text_base64"])
            assert text == line, f"line {number}: its text differs"
        else:
            was = json.dumps(json.loads(line), sort_keys=True)
            now = json.dumps(rebuild(record), sort_keys=True)
            assert was == now, f"line {number}:\n{was}\n{now}"
            whole += 1
    print(f"{len(lines)} lines, {whole} of them put together again")


def main():
    command, *args = sys.argv[1:]
    if command == "write":
        write(*args)
    elif command == "compare":
        compare(*args)
    elif command == "hmac":
        value = sys.stdin.buffer.read()
        print("hmac-sha256:" + hmac.new(bytes.fromhex(args[0]), value, hashlib.sha256).hexdigest())
    else:
        sys.exit(__doc__)


main()
