"""Collectors that are killed, connections that are cut, and collectors that are away."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .checking import Events, Told, all_recorded, check, kind, told
from .collector import Collector, Failed, Skipped
from .proxies import HELLO, Cutting, Http, Lines, Old, RawHttp, Script, Server, TlsFront
from .scene import Certificates, Scene, scenario


def kill_rounds(scene: Scene, collector: Collector, name: str, **options: Any) -> None:
    driver = scene.driver(**options)
    events = Events(name)
    # How long a batch takes here, so that kills fall within one.
    batch = events.many(1_000)
    seen = told(batch, driver.batch(batch))
    begun = time.monotonic()
    batch = events.many(1_000)
    seen += told(batch, driver.batch(batch))
    took = time.monotonic() - begun
    within = rounds = 0
    while rounds < scene.rounds or (within < 2 and rounds < 6 * scene.rounds):
        rounds += 1
        batch = events.many(scene.random.choice([1, 1_000, 1_000]))
        n = driver.send("batch", events=batch)
        time.sleep(scene.random.random() * took)
        collector.kill()
        collector.start()
        results = told(batch, driver.results(driver.result(n), len(batch)))
        all_recorded(results)
        within += cut_by_a_kill(results)
        seen += results
    driver.end()
    if within < 2:
        raise Failed("of %d kills %d fell within a batch: it shows nothing" % (rounds, within))
    check(collector, seen)


def cut_by_a_kill(batch: Told) -> bool:
    """Whether a part of it was recorded before the kill: it was there when it came again, or the log was opened in between."""
    seqs = [result["ok"]["seq"] for _, result in batch]
    return max(seqs) - min(seqs) >= len(seqs) or any(result["ok"].get("duplicate") for _, result in batch)


@scenario
def kill(scene: Scene) -> None:
    collector = scene.collector(needs_ids=True)
    kill_rounds(scene, collector, "kill", socket=collector.socket)


@scenario
def kill_http(scene: Scene) -> None:
    collector = scene.collector(http=True, needs_ids=True)
    kill_rounds(scene, collector, "kill_http", url="http://127.0.0.1:%d" % collector.port, token_file=collector.token_file)


def cut_rounds(scene: Scene, collector: Collector, proxy: Cutting, name: str, **options: Any) -> None:
    driver = scene.driver(**options)
    events = Events(name)
    seen = []
    for _ in range(scene.rounds):
        batch = events.many(scene.random.choice([1, 30, 400]))
        with proxy.lock:
            proxy.cuts_left += 3
        seen += told(batch, driver.batch(batch))
        one = events.one()
        seen += told([one], [driver.call("record", event=one)])
    driver.end()
    if proxy.cut < scene.rounds:
        raise Failed("only %d connections were cut" % proxy.cut)
    all_recorded(seen)
    check(collector, seen)


@scenario
def cut_socket(scene: Scene) -> None:
    collector = scene.collector(needs_ids=True)
    path = scene.folder("proxy") / "cut.sock"
    proxy = scene.serve(Cutting(path, str(collector.socket), scene.random, 1, 40_000))
    cut_rounds(scene, collector, proxy, "cut_socket", socket=path)


@scenario
def cut_http(scene: Scene) -> None:
    collector = scene.collector(http=True, needs_ids=True)
    proxy = scene.serve(Cutting(None, ("127.0.0.1", collector.port), scene.random, 1, 40_000))
    cut_rounds(scene, collector, proxy, "cut_http", url="http://127.0.0.1:%d" % proxy.port, token_file=collector.token_file)


@scenario
def away(scene: Scene) -> None:
    collector = scene.collector(start=False)
    driver = scene.driver(socket=collector.socket)
    events = Events("away")
    seen: Told = []
    for pause in (1.0, 0.3):
        event = events.one()
        n = driver.send("record", event=event)
        time.sleep(pause)
        collector.start()
        seen += told([event], [driver.result(n)])
        batch = events.many(50)
        seen += told(batch, driver.batch(batch))
        all_recorded(seen)
        collector.stop()
    driver.end()
    check(collector, seen)


@scenario
def away_for_good(scene: Scene) -> None:
    nowhere = scene.folder("nowhere") / "audit.sock"
    events = Events("away_for_good")
    doors: List[Dict[str, Any]] = [{"socket": nowhere}, {"url": "http://127.0.0.1:9"}]
    for options in doors:
        driver = scene.driver(timeout_ms=700, **options)
        begun = time.monotonic()
        result = driver.call("record", event=events.one())
        if kind(result) != "unreachable" or not result["error"].get("id"):
            raise Failed("nobody is there: %s" % result)
        if time.monotonic() - begun < 0.6:
            raise Failed("it gave up before its deadline")
        results = driver.batch(events.many(3))
        if [kind(result) for result in results] != ["unreachable"] * 3:
            raise Failed("nobody is there: %s" % results)
        for bad in ("", "x" * 129, "a\nb", "\u0085", "a\u2028b", "a\u2029b"):
            result = driver.call("record", event=events.one(id=bad))
            if kind(result) != "invalid":
                raise Failed("the client has to refuse the id %r itself: %s" % (bad, result))
        driver.end()
    # An address that is not this machine's: whoever uses proxies uses one for it.
    driver = scene.driver(url="http://192.0.2.1:9750", timeout_ms=500)
    driver.call("record", event=events.one())
    driver.end()


@scenario
def silent(scene: Scene) -> None:
    collector = scene.collector(needs_ids=True)
    path = scene.folder("proxy") / "silent.sock"
    server = scene.serve(Lines(path, lambda nth, count, line: b"", HELLO))
    driver = scene.driver(socket=path, timeout_ms=800)
    event = Events("silent").one()
    result = driver.call("record", event=event)
    if kind(result) != "unconfirmed" or not result["error"].get("id"):
        raise Failed("no answer: %s" % result)
    sent = {json.loads(line)["id"] for line in server.seen}
    if sent != {result["error"]["id"]}:
        raise Failed("the event was sent under %s, and the error says %s" % (sent, result["error"]["id"]))
    # The caller goes on with the id: it is recorded once, however often.
    driver.ok("open", socket=str(collector.socket), timeout_ms=60_000)
    event["id"] = result["error"]["id"]
    seen = told([event], [driver.call("record", event=event)])
    driver.ok("record", event=event)
    driver.end()
    all_recorded(seen)
    check(collector, seen)


@scenario
def retry_after(scene: Scene) -> None:
    times: Dict[int, float] = {}

    def script(nth: int, count: int, line: bytes) -> Optional[bytes]:
        times[len(times)] = time.monotonic()
        if len(times) == 1:
            return b'{"error":{"kind":"rate_limited","message":"slowly","retry_after_ms":900}}\n'
        if len(times) == 2:
            return b'{"error":{"kind":"busy","message":"slowly","retry_after_ms":700}}\n'
        return b'{"ok":{"seq":7}}\n'

    server = scene.serve(Lines(scene.folder("proxy") / "retry.sock", script, HELLO))
    driver = scene.driver(socket=server.path)
    ok = driver.ok("record", event=Events("retry_after").one())
    driver.end()
    if ok["seq"] != 7 or len(times) != 3 or times[1] - times[0] < 0.9 or times[2] - times[1] < 0.7:
        raise Failed("asked again too early: %s" % times)
    if len({json.loads(line)["id"] for line in server.seen}) != 1:
        raise Failed("a try again had another id")


@scenario
def http_retry(scene: Scene) -> None:
    collector = scene.collector(http=True, needs_ids=True)
    answers: Dict[int, Tuple[int, str, Any]] = {}

    def refuse(nth: int) -> Optional[Tuple[int, str, Any]]:
        return answers.get(nth)

    def error(kind_: str) -> Dict[str, Any]:
        return {"error": {"kind": kind_, "message": "by script"}}

    proxy = scene.serve(Http(("127.0.0.1", collector.port), refuse))
    driver = scene.driver(url="http://127.0.0.1:%d" % proxy.port, token_file=collector.token_file)
    events = Events("http_retry")
    seen = []
    # HTML from a proxy in between, too.
    for nth, status in enumerate((429, 502, 503, 504, 408), start=1):
        answers[nth] = (status, "retry-after: 1\r\n" if status == 429 else "", error("busy") if status != 502 else "<html>")
    event = events.one()
    seen += told([event], [driver.call("record", event=event)])
    if len(proxy.requests) != 6 or proxy.requests[1][0] - proxy.requests[0][0] < 1.0:
        raise Failed("%d requests; Retry-After was 1 s" % len(proxy.requests))
    base = len(proxy.requests)
    answers[base + 1] = (503, "retry-after: 1\r\n", error("busy"))
    batch = events.many(30)
    seen += told(batch, driver.batch(batch))
    all_recorded(seen)
    for status, name in ((403, "forbidden"), (422, "invalid"), (400, "malformed"), (413, "too_large"), (409, "conflict"),
                         (401, "unauthorized")):
        base = len(proxy.requests)
        for nth in range(base + 1, base + 50):
            answers[nth] = (status, "", error(name))
        result = driver.call("record", event=events.one())
        if kind(result) != name:
            raise Failed("%d: %s" % (status, result))
        if len(proxy.requests) != base + 1:
            raise Failed("%d was tried again" % status)
        answers.clear()
    base = len(proxy.requests)
    answers[base + 1] = (307, "location: http://127.0.0.1:%d/v1/events\r\n" % collector.port, {})
    result = driver.call("record", event=events.one())
    if "ok" in result:
        raise Failed("a redirect was followed")
    driver.end()
    check(collector, seen)


@scenario
def old_collector(scene: Scene) -> None:
    collector = scene.collector()
    old = scene.serve(Old(scene.folder("proxy") / "old.sock", str(collector.socket), [30, 1, 40]))
    driver = scene.driver(socket=old.path, timeout_ms=20_000)
    events = Events("old")
    seen = []
    for count in (100, 1, 100, 20):
        batch = events.many(count)
        seen += told(batch, driver.batch(batch))
    if "spool" in driver.ok("describe")["features"]:
        driver.ok("open", socket=str(old.path), spool=str(scene.home / "spool"), timeout_ms=2_000)
        driver.ok("spool", event=events.one())
        result = driver.call("drain", timeout_ms=2_000)
        if "ok" in result or driver.ok("spool_state")["events"] != 1:
            raise Failed("a spool was drained without ids: %s" % result)
    driver.end()
    if old.ids_seen:
        raise Failed("an old collector was sent %d ids" % old.ids_seen)
    lost = [result for _, result in seen if "ok" not in result]
    if not lost or any(kind(result) != "unconfirmed" for result in lost):
        raise Failed("three connections were cut, without ids: %s" % lost[:5])
    if len(lost) == len(seen):
        raise Failed("nothing was recorded")
    check(collector, seen, ids=False)


def always(answer: bytes) -> Script:
    """A collector that says the same to everything."""
    return lambda nth, count, line: answer


@scenario
def hostile_answers(scene: Scene) -> None:
    endless = b'{"ok":{"seq":' + b"1" * (8 << 20)
    bad = {
        "garbage": b"garbage\n", "a list": b"[]\n", "no seq": b'{"ok":{}}\n', "below zero": b'{"ok":{"seq":-1}}\n',
        "a text": b'{"ok":{"seq":"7"}}\n', "a fraction": b'{"ok":{"seq":7.5}}\n', "true": b'{"ok":{"seq":true}}\n',
        "nothing": b"{}\n", "null": b"null\n", "no UTF-8": b'{"ok":{"seq":7},"\xff":1}\n', "endless": endless,
        "both": b'{"ok":{"seq":7},"error":{"kind":"busy","message":"x"}}\n', "an error without kind": b'{"error":{}}\n',
        "deep": b"[" * 100_000 + b"\n",
    }
    for name, answer in bad.items():
        path = scene.folder("proxy") / ("h-%s.sock" % name.replace(" ", "-"))
        server = scene.serve(Lines(path, always(answer), HELLO))
        driver = scene.driver(socket=path, timeout_ms=1_500)
        result = driver.call("record", event=Events("hostile").one())
        if kind(result) not in ("protocol", "unconfirmed"):
            raise Failed("%s: %s" % (name, json.dumps(result)[:500]))
        driver.end()
        server.close()
    head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n"
    by_http: Dict[str, Tuple[bytes, bytes]] = {
        "garbage": (b"garbage\r\n\r\n", b""), "no seq": (head + b"content-length: 2\r\n\r\n{}", b""),
        "a text": (head + b'content-length: 11\r\n\r\n{"seq":"7"}', b""), "cut": (head + b'content-length: 99\r\n\r\n{"seq":7}', b""),
        "a wrong length": (head + b"content-length: -1\r\n\r\n", b""), "a status that is none": (b"HTTP/1.1 999999999 x\r\n\r\n", b""),
        "endless headers": (head, b"x: " + b"y" * 8_000 + b"\r\n"), "an endless line": (head, b"y" * 65_536),
        "an endless body": (head + b"transfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        "not a collector": (b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>", b""),
    }
    for name, (answer, endless) in by_http.items():
        web = scene.serve(RawHttp(answer, endless))
        driver = scene.driver(url="http://127.0.0.1:%d" % web.port, timeout_ms=800)
        result = driver.call("record", event=Events("hostile").one())
        if kind(result) not in ("protocol", "unconfirmed"):
            raise Failed("HTTP, %s: %s" % (name, json.dumps(result)[:500]))
        driver.end()
        web.close()
    # What a collector says is printed somewhere: no escape sequences.
    text = json.dumps({"error": {"kind": "invalid", "message": "a\u001b[31mb\r\nc\u009bd\u202ee"}}).encode()
    path = scene.folder("proxy") / "controls.sock"
    scene.serve(Lines(path, always(text + b"\n"), HELLO))
    driver = scene.driver(socket=path, timeout_ms=1_500)
    result = driver.call("record", event=Events("hostile").one())
    if kind(result) != "invalid" or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in result["error"]["message"]):
        raise Failed("control characters: %s" % result)
    driver.end()
    # An answer that came with hello's is no event's.
    path = scene.folder("proxy") / "early.sock"
    scene.serve(Lines(path, lambda nth, count, line: None, HELLO + b'\n{"ok":{"seq":1}}'))
    driver = scene.driver(socket=path, timeout_ms=1_500)
    result = driver.call("record", event=Events("hostile").one())
    if "ok" in result:
        raise Failed("an answer that came before its event was taken: %s" % result)
    driver.end()
    # An answer that nobody asked for is not the next event's.
    path = scene.folder("proxy") / "twice.sock"
    scene.serve(Lines(path, lambda nth, count, line: b'{"ok":{"seq":1}}\n{"ok":{"seq":2}}\n' if nth == 1 else None, HELLO))
    driver = scene.driver(socket=path, timeout_ms=1_500)
    events = Events("hostile")
    first = driver.call("record", event=events.one())
    time.sleep(0.1)
    second = driver.call("record", event=events.one())
    if "ok" in second:
        raise Failed("an answer that nobody asked for was taken: %s, %s" % (first, second))
    driver.end()


@scenario
def tls(scene: Scene) -> None:
    certificates = Certificates(scene.folder("tls"))
    others = Certificates(scene.folder("others"), "audit.example.com")
    collector, url, _ = scene.https(certificates)
    events = Events("tls")
    cases: List[Tuple[str, Dict[str, Any]]] = [("an unknown authority", {"url": url, "ca_file": others.ca}),
                                              ("the system's authorities", {"url": url})]
    for name, options in cases:
        driver = scene.driver(token_file=collector.token_file, timeout_ms=20_000, **options)
        result = driver.call("record", event=events.one())
        if kind(result) != "tls":
            raise Failed("%s: %s" % (name, result))
        driver.end()
    plain_address = ("127.0.0.1", collector.port)
    front = scene.serve(TlsFront(plain_address, others.cert, others.key))
    driver = scene.driver(url="https://localhost:%d" % front.port, ca_file=others.ca, token_file=collector.token_file, timeout_ms=20_000)
    result = driver.call("record", event=events.one())
    if kind(result) != "tls" or front.requests:
        raise Failed("another name: %s, %d requests" % (result, front.requests))
    driver.end()
    check(collector, [])


@scenario
def token(scene: Scene) -> None:
    collector = scene.collector(http=True)
    secret = collector.token_file.read_text().strip()
    url = "http://127.0.0.1:%d" % collector.port
    scene.environment = {"CONTRACT_TOKEN": secret}
    events = Events("token")
    driver = scene.driver(url=url, token_env="CONTRACT_TOKEN")
    event = events.one()
    seen = told([event], [driver.call("record", event=event)])
    texts = [*driver.ok("texts")["texts"], *arguments(driver.process.pid)]
    revoked = collector.run("token", "revoke", "driver")
    if revoked.returncode != 0:
        raise Failed(revoked.stderr)
    until = time.monotonic() + 30
    # The same event, under its id: it is recorded once, also where there are no ids to say so.
    while collector.ids and "ok" in driver.call("record", event=dict(event, id=seen[0][1]["ok"]["id"])):
        if time.monotonic() > until:
            raise Failed("the token was not revoked")
        time.sleep(0.2)
    if not collector.ids:
        time.sleep(3)
    result = driver.call("record", event=events.one())
    texts += driver.ok("texts")["texts"]
    if kind(result) != "unauthorized":
        raise Failed("a revoked token: %s" % result)
    driver.end()
    # From a file, which is read again when it was changed.
    del scene.environment["CONTRACT_TOKEN"]
    second = collector.token("second", "write")
    third = collector.token("third", "write")
    # The collector looks at its tokens once a second.
    time.sleep(1.5)
    driver = scene.driver(url=url, token_file=second)
    event = events.one()
    seen += told([event], [driver.call("record", event=event)])
    collector.run("token", "revoke", "second")
    second.write_text(third.read_text())
    until = time.monotonic() + 3
    while time.monotonic() < until:
        event = events.one()
        seen += told([event], [driver.call("record", event=event)])
        time.sleep(0.3)
    texts += [*driver.ok("texts")["texts"], *arguments(driver.process.pid)]
    # One that others can read, and one on a way that is not private.
    second.chmod(0o644)
    result = driver.call("open", url=url, token_file=str(second))
    first_use = driver.call("record", event=events.one()) if "ok" in result else result
    if kind(first_use) not in ("usage", "token"):
        raise Failed("a token file that others can read: %s" % first_use)
    second.chmod(0o600)
    result = driver.call("open", url="http://audit.example.com:9750", token_file=str(second))
    if kind(result) != "usage":
        raise Failed("a token in the clear to another machine: %s" % result)
    driver.end()
    all_recorded(seen)
    secrets = [path.read_text().strip() for path in collector.home.glob("token.*")] + [secret]
    said = "".join(texts) + driver.messages() + b"".join(driver.stdout_seen).decode("utf-8", "replace")
    if any(secret[:20] in said for secret in secrets):
        raise Failed("a token is in what the client says")
    check(collector, seen)


def arguments(pid: int) -> List[str]:
    """What anybody on the machine can read of a program and of what it started."""
    out = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1])
            if pid in (int(entry.name), parent):
                out.append((entry / "cmdline").read_text(errors="replace"))
        except (OSError, ValueError, IndexError):
            continue
    return out


class Foreigner(Server):
    """Takes what is sent to it, and never answers."""

    def serve(self, stream: Any, nth: int) -> None:
        while True:
            part = stream.recv(65_536)
            if not part:
                return
            with open(str(self.path) + ".seen", "ab") as seen:
                seen.write(part)


@scenario
def foreign(scene: Scene) -> None:
    if os.geteuid() != 0:
        raise Skipped("only root can be another user as well", ours=False)
    folder = scene.folder("foreign")
    folder.chmod(0o777)
    scene.home.chmod(0o711)
    path = folder / "audit.sock"
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            Foreigner(path)
            path.chmod(0o666)
            threading.Event().wait()
        finally:
            os._exit(1)
    try:
        until = time.monotonic() + 20
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
        driver = scene.driver("peer_check", socket=path, timeout_ms=5_000)
        result = driver.call("record", event=Events("foreign").one())
        if kind(result) != "foreign_collector":
            raise Failed("another user's program: %s" % result)
        if os.path.exists(str(path) + ".seen"):
            raise Failed("it was sent something")
        driver.end()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
