"""The spool: events that wait on the client's disk."""

import json
import time

from .checking import Events, Told, all_recorded, check, kind, told
from .collector import Failed
from .proxies import HELLO, Lines
from .scene import Scene, scenario


@scenario
def spool(scene: Scene) -> None:
    collector = scene.collector(start=False, needs_ids=True)
    folder = scene.home / "spool"
    options = {"socket": collector.socket, "spool": folder, "spool_max_bytes": 200_000, "timeout_ms": 2_000}
    driver = scene.driver("spool", **options)
    events = Events("spool")
    kept: Told = []
    while True:
        event = events.one(event_type="") if events.count == 20 else events.one()
        result = driver.call("spool", event=event)
        if kind(result) == "spool_full":
            break
        if "ok" not in result:
            # A client may refuse at once what it knows to be refused.
            if kind(result) != "invalid":
                raise Failed("spool: %s" % result)
            continue
        event["id"] = result["ok"]["id"]
        kept.append((event, {"ok": {"id": event["id"]}}))
        if events.count > 2_000:
            raise Failed("a spool of 200,000 bytes holds 2,000 events")
    state = driver.ok("spool_state")
    if state["events"] != len(kept) or not 0 < state["bytes"] <= 200_000:
        raise Failed("it holds %d events, and says %s" % (len(kept), state))
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode & 0o777
        if mode != (0o700 if path.is_dir() else 0o600):
            raise Failed("%s has mode %o" % (path.name, mode))
    left = driver.ok("drain", timeout_ms=700)
    if left["events"] != len(kept):
        raise Failed("drained to nobody: %s" % left)
    driver.kill()
    collector.start()
    driver = scene.driver("spool", **options)
    left = driver.ok("drain", timeout_ms=60_000)
    bad = [event for event, _ in kept if not event["event_type"]]
    if left != {"events": 0, "refused": len(bad)}:
        raise Failed("after a drain: %s" % left)
    # There is room again.
    event = events.one()
    result = driver.call("spool", event=event)
    all_recorded([(event, result)])
    driver.ok("drain", timeout_ms=60_000)
    driver.end()
    collector.stop()
    by_id = {record.get("id"): record for record in collector.records()}
    seen: Told = []
    event["id"] = result["ok"]["id"]
    for one in [spooled for spooled, _ in kept if spooled not in bad] + [event]:
        if one["id"] not in by_id:
            raise Failed("%s was spooled and is not in the log" % one["target"])
        seen.append((one, {"ok": {"seq": by_id[one["id"]]["seq"], "id": one["id"]}}))
    check(collector, seen)


@scenario
def spool_kill(scene: Scene) -> None:
    collector = scene.collector(needs_ids=True)
    options = {"socket": collector.socket, "spool": scene.home / "spool", "timeout_ms": 20_000}
    events = Events("spool_kill")
    kept: Told = []
    #: Those whose call had not returned: they may be in the log, once.
    begun = []
    for round_ in range(scene.rounds):
        driver = scene.driver("spool", **options)
        drains = round_ % 2 == 1
        if drains:
            n = driver.send("drain", timeout_ms=20_000)
            time.sleep(scene.random.random() * 0.05)
            if scene.random.random() < 0.3:
                collector.kill()
                collector.start()
            driver.kill()
            continue
        # Commands are sent without waiting, so that the kill comes in the middle of one.
        sent = events.many(40)
        numbers = [driver.send("spool", event=event) for event in sent]
        time.sleep(scene.random.random() * 0.05)
        driver.kill()
        for n, event in zip(numbers, sent):
            try:
                result = driver.result(n, patience=10)
            except (Failed, ValueError):
                begun.append(event)
                continue
            all_recorded([(event, result)])
            event["id"] = result["ok"]["id"]
            kept.append((event, result))
    driver = scene.driver("spool", **options)
    left = driver.ok("drain", timeout_ms=60_000)
    driver.end()
    if left != {"events": 0, "refused": 0}:
        raise Failed("after the last drain: %s" % left)
    if not kept:
        raise Failed("no call of spool returned before its kill")
    collector.stop()
    records = {record.get("target"): record for record in collector.records()}
    seen: Told = []
    for event, _ in kept:
        if event["target"] not in records:
            raise Failed("%s was spooled and is not in the log" % event["target"])
        seen.append((event, {"ok": {"seq": records[event["target"]]["seq"], "id": event["id"]}}))
    seen += told(begun, [{"error": {"kind": "unconfirmed"}}] * len(begun))
    check(collector, seen)


@scenario
def spool_torn(scene: Scene) -> None:
    """A line that was cut at any byte is cut off; what came before it is all sent."""
    collector = scene.collector(needs_ids=True)
    events = Events("spool_torn")
    seen: Told = []
    for round_ in range(4):
        folder = scene.home / ("spool%d" % round_)
        options = {"socket": collector.socket, "spool": folder, "timeout_ms": 20_000}
        driver = scene.driver("spool", **options)
        kept = events.many(5)
        for event in kept:
            event["id"] = driver.ok("spool", event=event)["id"]
        driver.kill()
        (path,) = [one for one in folder.iterdir() if kept[-1]["target"].encode() in one.read_bytes()]
        line = path.read_bytes().split(b"\n")[-2].replace(kept[-1]["id"].encode(), b"torn-line")
        with open(path, "ab") as file:
            file.write(line[:scene.random.randrange(1, len(line))] if round_ else line)
        driver = scene.driver("spool", **options)
        more = events.one()
        more["id"] = driver.ok("spool", event=more)["id"]
        left = driver.ok("drain", timeout_ms=20_000)
        if left != {"events": 0, "refused": 0}:
            raise Failed("a torn line: %s" % left)
        driver.end()
        seen += [(event, {"ok": {"id": event["id"]}}) for event in [*kept, more]]
    collector.stop()
    seqs = {record.get("id"): record["seq"] for record in collector.records()}
    for event, result in seen:
        if event["id"] not in seqs:
            raise Failed("%s was spooled and is not in the log" % event["target"])
        result["ok"]["seq"] = seqs[event["id"]]
    check(collector, seen)


@scenario
def spool_two(scene: Scene) -> None:
    """Two processes drain one spool at the same time: one of them does it, and nothing is sent twice."""
    def script(nth: int, count: int, line: bytes) -> bytes:
        time.sleep(0.002)
        return b'{"ok":{"seq":%d}}\n' % count

    server = scene.serve(Lines(scene.folder("proxy") / "two.sock", script, HELLO))
    options = {"socket": server.path, "spool": scene.home / "spool", "timeout_ms": 20_000}
    drivers = [scene.driver("spool", **options) for _ in range(2)]
    events = Events("spool_two")
    for n, event in enumerate(events.many(200)):
        drivers[n % 2].ok("spool", event=event)
    numbers = [driver.send("drain", timeout_ms=20_000) for driver in drivers]
    results = [driver.result(n) for driver, n in zip(drivers, numbers)]
    # Whoever came second did nothing, or waited.
    if not any("ok" in result for result in results):
        raise Failed("neither drained: %s" % results)
    left = drivers[0].ok("drain", timeout_ms=20_000)
    if left != {"events": 0, "refused": 0}:
        raise Failed("after a drain of its own: %s" % left)
    sent = [json.loads(line)["target"] for line in server.seen]
    if sorted(sent) != sorted(set(sent)) or len(sent) != 200:
        raise Failed("200 events were sent %d times" % len(sent))
    for driver in drivers:
        driver.end()
