"""The spool: events that wait on the client's disk."""

import time

from .checking import Events, Told, all_recorded, check, kind, told
from .collector import Failed
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
