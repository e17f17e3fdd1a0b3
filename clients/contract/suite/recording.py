"""Recording, as long as all is well, and events that are refused."""

from typing import Any, Dict, List

from .checking import Events, all_recorded, check, kind, told
from .collector import Collector, Failed
from .scene import Certificates, Scene, scenario


def socket_of(collector: Collector) -> Dict[str, Any]:
    """The options for its socket."""
    return {"socket": collector.socket}


def http_of(collector: Collector) -> Dict[str, Any]:
    """The options for its HTTP."""
    return {"url": "http://127.0.0.1:%d" % collector.port, "token_file": collector.token_file}


def doors_of(collector: Collector) -> List[Dict[str, Any]]:
    """Both."""
    return [socket_of(collector), http_of(collector)]


def one_by_one_and_many(scene: Scene, name: str, collector: Collector, **options: Any) -> None:
    driver = scene.driver(**options)
    events = Events(name)
    first = events.many(20)
    seen = told(first, [driver.call("record", event=event) for event in first])
    batch = events.many(300)
    seen += told(batch, driver.batch(batch))
    driver.ok("close")
    driver.end()
    all_recorded(seen)
    check(collector, seen)


@scenario
def plain(scene: Scene) -> None:
    collector = scene.collector()
    one_by_one_and_many(scene, "plain", collector, **socket_of(collector))


@scenario
def http(scene: Scene) -> None:
    collector = scene.collector(http=True)
    one_by_one_and_many(scene, "http", collector, **http_of(collector))


@scenario
def https(scene: Scene) -> None:
    certificates = Certificates(scene.folder("tls"))
    collector, url, _ = scene.https(certificates)
    one_by_one_and_many(scene, "https", collector, url=url, token_file=collector.token_file, ca_file=certificates.ca)


@scenario
def ids(scene: Scene) -> None:
    collector = scene.collector(http=True, needs_ids=True)
    seen = []
    events = Events("ids")
    for door, options in enumerate(doors_of(collector)):
        driver = scene.driver(**options)
        event = events.one(id="own-%d" % door)
        first = driver.call("record", event=event)
        again = driver.call("record", event=event)
        all_recorded([(event, first), (event, again)])
        if again["ok"]["seq"] != first["ok"]["seq"] or again["ok"].get("duplicate") is not True or first["ok"].get("duplicate"):
            raise Failed("not a duplicate of its first time: %s, %s" % (first, again))
        other = dict(event, actor="somebody else")
        if kind(driver.call("record", event=other)) != "conflict":
            raise Failed("the same id with other content is no conflict")
        fresh = events.one(id="fresh-%d" % door)
        in_a_batch = driver.batch([event, other, fresh])
        if [kind(result) for result in in_a_batch] != [None, "conflict", None] or not in_a_batch[0]["ok"].get("duplicate"):
            raise Failed("a duplicate and a conflict in a batch: %s" % in_a_batch)
        for bad in ("", "x" * 129, "é" * 65, "a\nb", "\x7f", 7, None, ["x"]):
            result = driver.call("record", event=events.one(id=bad))
            if kind(result) != "invalid":
                raise Failed("the id %r: %s" % (bad, result))
        seen += [(event, first), (fresh, in_a_batch[2])]
        # A header may not hold each of them, or not as it is.
        for own in ("x" * 127, '"quoted"', '"', " blanks ", "é-ü", "a,b;c", "%41"):
            odd = events.one(id=own + str(door)[: 128 - len(own)] if own.endswith("x") else "%s%d%s" % (own, door, own))
            seen.append((odd, driver.call("record", event=odd)))
        driver.end()
    all_recorded(seen)
    collector.stop()
    found = [record for record in collector.records() if record.get("target") in {event["target"] for event, _ in seen}]
    if len(found) != len(seen):
        raise Failed("%d events, %d records" % (len(seen), len(found)))
    collector.verify()


@scenario
def pipelined(scene: Scene) -> None:
    collector = scene.collector()
    driver = scene.driver(socket=collector.socket)
    events = Events("pipelined").many(10_000)
    seen = told(events, driver.batch(events))
    driver.end()
    all_recorded(seen)
    check(collector, seen)


@scenario
def refused(scene: Scene) -> None:
    collector = scene.collector(http=True)
    events = Events("refused")
    seen = []
    for options in doors_of(collector):
        driver = scene.driver(**options)
        batch = [events.one(), events.one(event_type=""), events.one(), events.one(event_type="audit.forged"),
                 events.one(timestamp="yesterday"), events.one(unknown=1), events.one(details={"text": "x" * 60_000}),
                 events.one(details={"text": "x" * 1_100_000}), events.one()]
        results = driver.batch(batch)
        good = [0, 2, 8]
        for at, result in enumerate(results):
            if ("ok" in result) != (at in good):
                raise Failed("event %d: %s" % (at, result))
        if kind(results[6]) != "too_large" or kind(results[7]) != "too_large":
            raise Failed("large ones: %s, %s" % (results[6], results[7]))
        seen += told(batch, results)
        alone = events.one(event_type="")
        seen += told([alone], [driver.call("record", event=alone)])
        last = events.one()
        seen += told([last], [driver.call("record", event=last)])
        if "ok" not in seen[-1][1]:
            raise Failed("after refusals: %s" % seen[-1][1])
        driver.end()
    check(collector, seen)


@scenario
def rate_limited(scene: Scene) -> None:
    for door in ("socket", "http"):
        collector = scene.collector(http=door == "http", rate=(300, 50))
        driver = scene.driver(**socket_of(collector) if door == "socket" else http_of(collector))
        events = Events("rate_limited").many(400)
        seen = told(events, driver.batch(events))
        all_recorded(seen)
        refusals = collector.refused_by_rate()
        if refusals > 5 * len(events):
            raise Failed("%s: %d refusals for %d events: the client does not wait" % (door, refusals, len(events)))
        scene.notes.append("rate_limited by %s: %d refusals for %d events" % (door, refusals, len(events)))
        driver.end()
        check(collector, seen, ordered=False)


@scenario
def redact(scene: Scene) -> None:
    collector = scene.collector()
    driver = scene.driver("redact", socket=collector.socket, redact=["password", "*_token", "details.card.*", "target"])
    event = {"event_type": "contract.redact", "actor": "a", "target": "s3cr3t-1",
             "details": {"Password": "s3cr3t-2", "n": [{"x_token": "s3cr3t-3"}], "card": {"no": "s3cr3t-4"}, "kept": "visible"}}
    driver.ok("record", event=event)
    all_of_them = driver.batch([event])
    if "ok" not in all_of_them[0]:
        raise Failed(str(all_of_them))
    # A name that fits `details` hides all of it.
    driver.ok("open", socket=str(collector.socket), redact=["DET*"])
    driver.ok("record", event={"event_type": "contract.redact", "details": {"a": {"b": ["s3cr3t-5"]}, "c": "s3cr3t-6"}})
    driver.end()
    collector.stop()
    text = "".join(str(record) for record in collector.records())
    if "s3cr3t" in text or "visible" not in text:
        raise Failed("what is named left the process: " + text[-1000:])


@scenario
def fork(scene: Scene) -> None:
    for door in ("socket", "http"):
        collector = scene.collector(http=door == "http")
        driver = scene.driver("fork", **socket_of(collector) if door == "socket" else http_of(collector))
        events = Events("fork_" + door)
        first = events.many(3)
        seen = told(first, driver.batch(first))
        for _ in range(5):
            parent, child = events.many(200), events.many(200)
            result = driver.call("fork", events=parent, child_events=child)
            seen += told(parent, driver.results(result, 200)) + told(child, driver.results(result, 200, "child_results"))
        last = events.many(3)
        seen += told(last, driver.batch(last))
        driver.end()
        all_recorded(seen)
        check(collector, seen, ordered=False)
