"""Events of which the client does not hear what became: what it says of them has to be true."""

import json
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from .checking import Events, Told, all_recorded, check, kind, told
from .collector import Collector, Failed
from .driver import Result
from .proxies import HELLO, Address, Http, Server, abort, connect, read_message
from .recording import http_of, socket_of
from .scene import Scene, scenario


class Withholding(Server):
    """Passes everything on. Once `instead` is set, the collector's answer to an event goes to nobody: the client is sent what
    `instead` gives, or the connection ends (None). What it is asked for before it passes anything on, `refuse` answers."""

    def __init__(self, where: Optional[Path], to: Address) -> None:
        self.to = to
        self.instead: Optional[Callable[[], Optional[bytes]]] = None
        self.refuse: Callable[[bytes], Optional[bytes]] = lambda request: None
        self.passed: List[bytes] = []
        super().__init__(where)

    def read(self, stream: Any) -> bytes:
        return b"".join(read_message(stream)) if self.path is None else bytes(stream.readline())

    def serve(self, stream: socket.socket, nth: int) -> None:
        there: Optional[socket.socket] = None
        with stream.makefile("rb") as requests:
            while True:
                request = self.read(requests)
                if not request:
                    break
                refusal = self.refuse(request)
                if refusal is not None:
                    stream.sendall(refusal)
                    continue
                if there is None:
                    there = connect(self.to)
                    answers = there.makefile("rb")
                there.sendall(request)
                answer = self.read(answers)
                is_event = not request.startswith(b'{"hello"')
                if is_event:
                    self.passed.append(request)
                if self.instead is not None and is_event:
                    said = self.instead()
                    if said is None:
                        break
                    answer = said
                stream.sendall(answer)
        if there is not None:
            abort(there)


def http(status: int, text: bytes) -> bytes:
    """An answer."""
    kind_ = b"application/json" if text.startswith(b"{") else b"text/html"
    return b"HTTP/1.1 %d By proxy\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (status, kind_, len(text), text)


def refusal(name: str, message: str = "by script") -> bytes:
    """An error as the collector says it."""
    return json.dumps({"error": {"kind": name, "message": message}}).encode()


def through(scene: Scene, collector: Collector, door: str) -> Tuple[Withholding, Dict[str, Any]]:
    """A proxy in front of that door, and a client's options for it."""
    if door == "socket":
        path = scene.folder("proxy") / ("withheld-%d.sock" % scene.random.randrange(1 << 30))
        return scene.serve(Withholding(path, str(collector.socket))), {**socket_of(collector), "socket": path}
    proxy = scene.serve(Withholding(None, ("127.0.0.1", collector.port)))
    return proxy, {**http_of(collector), "url": "http://127.0.0.1:%d" % proxy.port}


def always(text: bytes) -> Callable[[], Optional[bytes]]:
    """The same to everything."""
    return lambda: text


def is_unconfirmed(result: Result, when: str) -> None:
    if kind(result) != "unconfirmed" or not result["error"].get("id"):
        raise Failed("%s: the event may be in the log, and the client says %s" % (when, json.dumps(result)[:600]))


def is_in_the_log(collector: Collector, event: Dict[str, Any]) -> None:
    """Else the scenario has shown nothing."""
    if not any(record.get("target") == event["target"] for record in collector.records()):
        raise Failed("%s is not in the log: the scenario did not do what it should" % event["target"])


@scenario
def dies_after_recording(scene: Scene) -> None:
    """The event is recorded, its answer is lost, and nobody listens from then on: over a connection that was kept."""
    for door in ("socket", "http"):
        collector = scene.collector(http=True)
        proxy, options = through(scene, collector, door)
        driver = scene.driver(**options, timeout_ms=1_200)
        events = Events("dies_" + door)

        def die(collector: Collector = collector, proxy: Withholding = proxy) -> None:
            collector.kill()
            proxy.close()

        kept, lost, never = events.many(3)
        seen = told([kept], [driver.call("record", event=kept)])
        all_recorded(seen)
        proxy.instead = die
        seen += told([lost], [driver.call("record", event=lost)])
        is_unconfirmed(seen[-1][1], door)
        seen += told([never], [driver.call("record", event=never)])
        if kind(seen[-1][1]) != "unreachable":
            raise Failed("%s: nobody listened: %s" % (door, seen[-1][1]))
        driver.end()
        collector.start()
        check(collector, seen)
        is_in_the_log(collector, lost)


@scenario
def refused_after_recording(scene: Scene) -> None:
    """The answer is lost, and the next try is refused for a reason that says nothing of the first one."""
    for door, name in (("socket", "forbidden"), ("http", "forbidden"), ("http", "unauthorized")):
        collector = scene.collector(http=True, needs_ids=True)
        proxy, options = through(scene, collector, door)
        driver = scene.driver(**options, timeout_ms=5_000)
        events = Events("refused_after_%s_%s" % (door, name))
        answer = refusal(name) + b"\n" if door == "socket" else http(403 if name == "forbidden" else 401, refusal(name))

        def lose(proxy: Withholding = proxy, answer: bytes = answer) -> None:
            proxy.refuse = lambda request: answer

        proxy.instead = lose
        lost, clear = events.many(2)
        seen = told([lost], [driver.call("record", event=lost)])
        is_unconfirmed(seen[-1][1], "%s, then %s" % (door, name))
        # Of one that was never sent before, the refusal is all there is to say.
        seen += told([clear], [driver.call("record", event=clear)])
        if kind(seen[-1][1]) != name:
            raise Failed("%s: %s" % (name, seen[-1][1]))
        driver.end()
        check(collector, seen)
        is_in_the_log(collector, lost)


@scenario
def gateway(scene: Scene) -> None:
    """A proxy that passes requests on, and answers 502, 503 or 504 in the collector's place."""
    collector = scene.collector(http=True, needs_ids=True)
    proxy, options = through(scene, collector, "http")
    driver = scene.driver(**options, timeout_ms=700)
    events = Events("gateway")
    seen: Told = []
    for status in (502, 503, 504):
        text = http(status, b"<html>no answer in time</html>")
        proxy.instead = always(text)
        several = events.many(1 if status != 504 else 4)
        results = [driver.call("record", event=several[0])] if len(several) == 1 else driver.batch(several)
        for event, result in zip(several, results):
            # Of a batch some may never have been sent.
            if any(event["target"].encode() in request for request in proxy.passed):
                is_unconfirmed(result, "HTTP %d of a proxy" % status)
            seen.append((event, result))
    # One of the collector's own is a refusal: the event is certainly not there.
    proxy.refuse = lambda request: http(503, refusal("busy"))
    event = events.one()
    seen += told([event], [driver.call("record", event=event)])
    if kind(seen[-1][1]) != "unreachable":
        raise Failed("refused until the deadline: %s" % seen[-1][1])
    # A proxy's limit for bodies: what is too much at once may fit in parts.
    proxy.instead = None
    proxy.refuse = lambda request: http(413, b"<html>too large</html>") if len(request) > 4_000 else None
    driver.ok("open", **{key: str(value) for key, value in options.items()}, timeout_ms=30_000)
    batch = events.many(40)
    results = driver.batch(batch)
    all_recorded(told(batch, results))
    seen += told(batch, results)
    driver.end()
    check(collector, seen)


@scenario
def old_gateway(scene: Scene) -> None:
    """The same without ids: nothing may be sent twice."""
    collector = scene.collector(http=True)
    proxy, options = through(scene, collector, "http")
    unknown = http(422, refusal("invalid", "unknown key `id`; an event has event_type, actor, source, target, outcome, timestamp, details"))
    proxy.refuse = lambda request: unknown if b'"id":' in request.split(b"\r\n\r\n", 1)[1] else None
    proxy.instead = lambda: http(504, b"<html>no answer in time</html>")
    driver = scene.driver(**options, timeout_ms=3_000)
    event = Events("old_gateway").one()
    seen = told([event], [driver.call("record", event=event)])
    is_unconfirmed(seen[-1][1], "HTTP 504, without ids")
    driver.end()
    if len(proxy.passed) != 1:
        raise Failed("without ids it was sent %d times" % len(proxy.passed))
    check(collector, seen, ids=False)


class Torn(Server):
    """Its first connection stops reading in the middle of a batch, and says more than it was asked."""

    def __init__(self, where: Path) -> None:
        self.seen: List[bytes] = []
        super().__init__(where)

    def serve(self, stream: socket.socket, nth: int) -> None:
        lines = stream.makefile("rb")
        lines.readline()
        stream.sendall(HELLO + b"\n")
        if nth > 1:
            for count, _ in enumerate(lines):
                stream.sendall(b'{"ok":{"seq":%d}}\n' % (1_000_000 * nth + count))
            return
        for count in range(10):
            self.seen.append(lines.readline())
            stream.sendall(b'{"ok":{"seq":%d}}\n' % count)
        # Writing to it fails from here on; what it says still arrives.
        stream.shutdown(socket.SHUT_RD)
        self.seen += lines.read().split(b"\n")[:-1]
        for count in range(10, 20_000):
            stream.sendall(b'{"ok":{"seq":%d}}\n' % count)
            if count % 500 == 0:
                time.sleep(0.002)


@scenario
def torn_write(scene: Scene) -> None:
    """Writing fails, and answers still come: none of them is for an event that was not sent whole."""
    path = scene.folder("proxy") / "torn.sock"
    server = scene.serve(Torn(path))
    driver = scene.driver(socket=path, timeout_ms=10_000, window=16_384)
    batch = Events("torn").many(4_000)
    results = driver.batch(batch)
    for event, result in zip(batch, results):
        seq = result.get("ok", {}).get("seq")
        if seq is None or seq >= 1_000_000:
            continue
        line = server.seen[seq] if seq < len(server.seen) else b""
        if not line or json.loads(line)["target"] != event["target"]:
            raise Failed("%s was acknowledged with the answer %d, which is not its own" % (event["target"], seq))
    driver.end()


class Busy(Server):
    """Refuses its first connections instead of answering hello, with a time."""

    def __init__(self, where: Path) -> None:
        self.times: List[float] = []
        super().__init__(where)

    def serve(self, stream: socket.socket, nth: int) -> None:
        self.times.append(time.monotonic())
        with stream.makefile("rb") as lines:
            lines.readline()
            if nth == 1:
                stream.sendall(b'{"error":{"kind":"too_many_connections","message":"later","retry_after_ms":900}}\n')
                return
            stream.sendall(HELLO + b"\n")
            for _ in lines:
                stream.sendall(b'{"ok":{"seq":7}}\n')


@scenario
def busy_hello(scene: Scene) -> None:
    """A connection that is refused with a time is not made again earlier."""
    path = scene.folder("proxy") / "busy.sock"
    server = scene.serve(Busy(path))
    driver = scene.driver(socket=path)
    driver.ok("record", event=Events("busy_hello").one())
    driver.end()
    if server.times[1] - server.times[0] < 0.9:
        raise Failed("it was told to wait 0.9 s, and came back after %.3f s" % (server.times[1] - server.times[0]))


@scenario
def retry_after_date(scene: Scene) -> None:
    """`Retry-After` may be a date."""
    collector = scene.collector(http=True, needs_ids=True)
    answers: List[Tuple[int, str, Any]] = []
    proxy = scene.serve(Http(("127.0.0.1", collector.port), lambda nth: answers.pop() if answers else None))
    driver = scene.driver(url="http://127.0.0.1:%d" % proxy.port, token_file=collector.token_file)
    at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    answers.append((503, "retry-after: %s\r\n" % at, {"error": {"kind": "busy", "message": "by script"}}))
    event = Events("retry_after_date").one()
    seen = told([event], [driver.call("record", event=event)])
    driver.end()
    all_recorded(seen)
    if proxy.requests[1][0] - proxy.requests[0][0] < 1.5:
        raise Failed("Retry-After named %s, and it came back after %.3f s" % (at, proxy.requests[1][0] - proxy.requests[0][0]))
    check(collector, seen)
