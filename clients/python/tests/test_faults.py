"""What goes wrong around the client: no call waits for ever, and nothing is said that is not so."""

import asyncio
import contextlib
import enum
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from suite.proxies import HELLO, Lines, Server, read_message

from auditctl import AsyncClient, AuditError, AuditHandler, Client, QueueFull, Unconfirmed, Unreachable, UsageError, recording
from auditctl import trust as trust_module
from auditctl.event import encode
from auditctl.item import Item, now
from auditctl.pace import LONGEST_NAMED, Pace
from auditctl.queue import Queue
from auditctl.redact import REDACTED, Redactor
from auditctl.sender import SocketSender
from auditctl.stream import Lost, Stream
from auditctl.token import Token
from auditctl.web import Target, Web, _seconds

SRC = str(Path(__file__).resolve().parents[1] / "src")


def item(deadline: float = 1e18) -> Item:
    return Item(encode({"event_type": "x"}), deadline)


@contextlib.contextmanager
def scripted(path: Path, script: Any) -> Iterator[Lines]:
    server = Lines(path, script, HELLO)
    yield server
    server.close()


def answers(nth: int, count: int, line: bytes) -> bytes:
    return b'{"ok":{"seq":%d}}\n' % count


# Threads and callbacks

def test_where_no_thread_can_be_started_the_call_says_so_and_the_next_one_works(home: Path, monkeypatch: Any) -> None:
    with scripted(home / "s", answers):
        client = Client(str(home / "s"), timeout=5)

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for _ in range(2):
                with pytest.raises(Unreachable):
                    client.record("x")
        assert client.record("x") == 1
        client.close()


def test_a_call_ends_a_while_after_its_deadline_whatever_the_thread_does(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("auditctl.item.GRACE", 0.1)
    monkeypatch.setattr(SocketSender, "_turn", lambda self: time.sleep(0.5))
    client = Client(str(home / "nobody"), timeout=0.1)
    with pytest.raises(Unconfirmed) as error:
        client.record_event({"event_type": "x", "id": "own"})
    assert error.value.id == "own"
    monkeypatch.undo()
    client.close(0)


def test_callbacks_that_fail_or_exit_or_log_leave_the_client_working(home: Path, capsys: Any) -> None:
    with scripted(home / "s", answers):
        client = Client(str(home / "s"), timeout=5, capacity=1)
        handler = AuditHandler(client)
        root = logging.getLogger()
        root.addHandler(handler)
        full: List[BaseException] = []

        def submits(_: Any) -> None:
            # With a queue that is full, in the thread that would empty it.
            try:
                for _ in range(3):
                    client.submit({"event_type": "inner"})
            except QueueFull as error:
                full.append(error)

        def fails(_: Any) -> None:
            raise ValueError("of the callback")

        try:
            for callback in (fails, lambda _: sys.exit(3), lambda _: logging.getLogger("app").warning("inside"), submits):
                future = client.submit({"event_type": "outer"})
                future.add_done_callback(callback)
                future.result(5)
        finally:
            root.removeHandler(handler)
        assert client.record("after", timeout=5) > 0
        client.close()


def test_what_is_logged_in_the_clients_own_thread_is_reported_and_not_waited_for(home: Path) -> None:
    with scripted(home / "s", answers):
        client = Client(str(home / "s"), timeout=5)
        seen: List[str] = []
        handler = AuditHandler(client, on_failure=lambda event, error: seen.append(error.kind))
        monkey = client.in_its_own_thread
        client.in_its_own_thread = lambda: True  # type: ignore[method-assign]
        handler.emit(logging.makeLogRecord({"msg": "inside"}))
        client.in_its_own_thread = monkey  # type: ignore[method-assign]
        assert seen == ["usage"] and handler.failed == 1
        client.close()


def test_what_is_taken_is_counted_at_once() -> None:
    queue = Queue()
    queue.put([item() for _ in range(3)])
    assert queue.bytes > 0
    queue.take(2, 1 << 30)
    assert (len(queue.items), queue.taken, len(queue)) == (1, 2, 3)
    queue.take(9, 1 << 30)
    assert len(queue) == 3 and queue.bytes == 0


def test_what_waits_is_bounded_in_bytes_too(home: Path) -> None:
    client = Client(str(home / "nobody"), timeout=0.5, capacity_bytes=3_000)
    client.submit({"event_type": "x", "details": {"text": "x" * 2_000}})
    with pytest.raises(QueueFull):
        client.submit({"event_type": "x", "details": {"text": "x" * 2_000}}, wait=False)
    client.close(0)


def test_a_process_without_file_descriptors_tries_again(home: Path) -> None:
    with scripted(home / "s", answers):
        client = Client(str(home / "s"), timeout=10)
        assert client.record("x") == 1
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # What is open stays open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            client._sender.stream.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
            # PyPy opens a file to make an id.
            future = client.submit({"event_type": "y", "id": "one"})
            time.sleep(0.3)
            assert not future.done()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert future.result(10) == 1
        client.close()


class Stuck(Server):
    """Takes requests, and never answers."""

    def serve(self, stream: socket.socket, nth: int) -> None:
        while stream.recv(65_536):
            pass


def test_close_keeps_its_time_also_while_a_request_is_under_way() -> None:
    server = Stuck(None)
    client = Client(url="http://127.0.0.1:%d" % server.port, timeout=3600)
    future = client.submit({"event_type": "x"})
    time.sleep(0.3)
    client.close(0.2)
    assert isinstance(future.exception(10), Unconfirmed)
    server.close()


CHILD = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from auditctl import Client
client = Client(sys.argv[2])
client.record("parent")
def child():
    for _ in range(50):
        client.submit({"event_type": "child"})
one = multiprocessing.get_context("fork").Process(target=child)
one.start()
one.join()
def held_by_nobody():
    Client(sys.argv[2]).submit({"event_type": "child"})
held_by_nobody()
"""


def test_a_child_of_multiprocessing_sends_what_it_submitted_before_it_ends(make: Any) -> None:
    collector = make()
    subprocess.run([sys.executable, "-c", CHILD, SRC, str(collector.socket)], check=True, timeout=60)
    collector.stop()
    assert len([record for record in collector.records() if record["event_type"] == "child"]) == 51


# Outcomes

def test_a_refusal_after_a_lost_answer_says_that_the_event_may_be_recorded() -> None:
    for kind, said in (("forbidden", "unconfirmed"), ("tls", "unconfirmed"), ("foreign_collector", "unconfirmed"), ("invalid", "invalid")):
        client_item = item()
        seen: List[Any] = []
        client_item.group = type("G", (), {"settle": lambda self, at, outcome, seen=seen: seen.append(outcome)})()
        client_item.maybe = True
        client_item.failed(kind, "no")
        assert seen[0].kind == said and kind in str(seen[0])


def test_writing_that_failed_ends_the_connection_for_what_comes_after(home: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home / "s"))
    listener.listen(1)

    def hello() -> None:
        there, _ = listener.accept()
        there.recv(1000)
        there.sendall(HELLO + b"\n")
        there.shutdown(socket.SHUT_RD)
        kept.append(there)
        ready.set()

    kept: List[socket.socket] = []
    ready = threading.Event()
    threading.Thread(target=hello, daemon=True).start()
    stream = Stream(str(home / "s"), "test", (), 5)
    ready.wait()
    stream.add([item()])
    stream.send()
    assert stream.torn
    # An answer that comes all the same is for nothing that was sent.
    kept[0].sendall(b'{"ok":{"seq":1}}\n')
    time.sleep(0.05)
    with pytest.raises(AuditError):
        stream.receive()
    stream.give_up()
    kept[0].close()
    listener.close()


def test_a_time_that_is_named_is_read_in_both_forms_and_believed_up_to_a_minute() -> None:
    assert _seconds("7") == 7.0 and _seconds("soon") is None and _seconds(None) is None
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 28 < (_seconds(later) or 0) <= 30
    assert _seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    for named in ("86400", "9" * 400):
        assert Pace(8).failed(_seconds(named)) <= LONGEST_NAMED + 1


@pytest.mark.parametrize(("url", "loopback"), [
    ("http://127.0.0.1:1", True), ("http://127.9.9.9:1", True), ("http://[::1]:1", True), ("http://localhost:1", True),
    ("http://127.evil.example:1", False), ("http://127.0.0.1.nip.io:1", False), ("http://10.0.0.1:1", False), ("http://127.1.:1", False)])
def test_only_an_address_that_is_loopback_s_gets_a_token_in_the_clear(url: str, loopback: bool) -> None:
    assert Target.of(url).is_loopback is loopback
    if not loopback:
        with pytest.raises(UsageError):
            Client(url=url, token_env="T")


def test_a_token_that_somebody_else_has_renewed_is_used(home: Path) -> None:
    path = home / "token"
    path.touch(mode=0o600)
    path.write_text("first\n")
    token = Token(str(path))
    used = token.header()
    path.write_text("second\n")
    assert token.renew(used)
    # The other request, which was refused with the first one as well.
    assert token.renew(used) and not token.renew(token.header())


# Whose socket

def trusted(path: Path) -> Any:
    return trust_module.owner_of_the_place(str(path))


def test_a_directory_that_others_can_write_is_trusted_nowhere_on_the_way(home: Path) -> None:
    good = home / "good"
    good.mkdir(mode=0o755)
    # /tmp itself is one; so a root of its own stands for the file system.
    real = trust_module._directories
    inside = len(home.parts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trust_module, "_directories", lambda path: [one for one in real(path) if len(Path(one).parts) >= inside])
        home.chmod(0o755)
        (good / "s").touch()
        assert trusted(good / "s") == os.geteuid()
        home.chmod(0o1777)
        assert trusted(good / "s") is None
        home.chmod(0o755)
        # A link in a directory that anybody can write leads wherever anybody likes.
        anybody = home / "anybody"
        anybody.mkdir()
        (anybody / "link").symlink_to(good)
        assert trusted(anybody / "link" / "s") == os.geteuid()
        anybody.chmod(0o1777)
        assert trusted(anybody / "link" / "s") is None
        (good / "to-s").symlink_to(anybody / "link" / "s")
        assert trusted(good / "to-s") is None
        (good / "loop").symlink_to(good / "loop")
        assert trusted(good / "loop") is None


# Redaction

class Secrets(enum.Enum):
    CARD = {"password": "s3cr3t"}  # noqa: RUF012


class Key(str, enum.Enum):
    PASSWORD = "password"


def test_an_enumeration_hides_nothing_from_redaction() -> None:
    for details in ({"card": Secrets.CARD}, {Key.PASSWORD: "s3cr3t"}, {"list": [Secrets.CARD]}):
        body = encode({"event_type": "x", "details": details}, Redactor(["password"])).body
        assert b"s3cr3t" not in body and REDACTED.encode() in body
    for names in (["det*"], ["Details"], ["*"]):
        assert b"s3cr3t" not in encode({"event_type": "x", "details": {"a": ["s3cr3t"]}}, Redactor(names)).body


def test_what_is_printed_of_an_event_that_was_not_recorded_is_redacted(home: Path, capsys: Any) -> None:
    client = Client(str(home / "nobody"), timeout=0.1, redact=["password"])
    log = logging.getLogger("test.redacted")
    handler = AuditHandler(client, wait=False)
    log.addHandler(handler)
    log.warning("x", extra={"audit": {"details": {"password": "s3cr3t"}}})
    with pytest.raises(KeyError), recording(client, "block", details={"password": "s3cr3t"}):
        raise KeyError("x")
    client.close()
    log.removeHandler(handler)
    said = capsys.readouterr().err
    assert "s3cr3t" not in said and said.count(REDACTED) == 2


# asyncio

def test_a_task_that_is_cancelled_withdraws_what_was_not_sent(make: Any, capsys: Any) -> None:
    collector = make()
    collector.kill()

    async def run() -> None:
        async with AsyncClient(str(collector.socket), timeout=20) as audit:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(audit.record("cancelled"), 0.2)

            async def block() -> None:
                async with recording(audit, "block"):
                    pass
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(block(), 0.2)
            collector.start()
            await audit.record("kept")

    asyncio.run(run())
    collector.stop()
    assert [r["event_type"] for r in collector.records() if not r["event_type"].startswith("audit.")] == ["kept"]
    assert "cancelled" in capsys.readouterr().err


def test_a_batch_that_finds_no_room_or_a_closed_client_has_outcomes(home: Path) -> None:
    async def run() -> None:
        audit = AsyncClient(str(home / "nobody"), timeout=0.2, capacity=1)
        first = asyncio.ensure_future(audit.record_many([{"event_type": "x"}], timeout=1))
        await asyncio.sleep(0.05)
        outcomes: List[Any] = await audit.record_many([{"event_type": "x"}] * 2, timeout=0.1)
        assert [one.kind for one in outcomes] == ["queue_full"] * 2
        await first
        await audit.close()
        closed: List[Any] = await audit.record_many([{"event_type": "x"}] * 2)
        assert [one.kind for one in closed] == ["closed"] * 2

    asyncio.run(run())


# Spooling

def test_what_is_spooled_after_a_lost_answer_has_the_time_of_its_first_try(home: Path) -> None:
    with scripted(home / "s", lambda nth, count, line: b"") as server:
        client = Client(str(home / "s"), spool=str(home / "spool"), timeout=0.3, drain_every=None)
        assert client.record_or_spool({"event_type": "x"}) is None
        client.close(0)
        sent = json.loads(server.seen[0])
    (file,) = (home / "spool").glob("spool.*.ndjson")
    spooled: Dict[str, Any] = json.loads(file.read_bytes()[9:])
    assert sent == spooled and "timestamp" in sent


def test_the_thread_that_drains_goes_on_after_any_fault(home: Path, monkeypatch: Any) -> None:
    with scripted(home / "s", answers):
        client = Client(str(home / "s"), spool=str(home / "spool"), timeout=5, drain_every=0.05)
        faults = [RuntimeError("a fault")]
        real = client._deliver

        def deliver(*args: Any) -> Any:
            if faults:
                raise faults.pop()
            return real(*args)

        monkeypatch.setattr(client, "_deliver", deliver)
        client.spool({"event_type": "x"})
        until = time.monotonic() + 20
        while client.spool_state().events and time.monotonic() < until:
            time.sleep(0.02)
        assert not faults and client.spool_state().events == 0
        client.close()


def test_over_http_an_event_is_sent_once_a_try(home: Path) -> None:
    """A second try inside of the first would hide that the first may have been recorded."""
    class Ends(Server):
        requests = 0

        def serve(self, stream: socket.socket, nth: int) -> None:
            requests = stream.makefile("rb")
            while read_message(requests)[0]:
                Ends.requests += 1
                if Ends.requests > 1:
                    return
                stream.sendall(b'HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{"seq":1}')

    server = Ends(None)
    web = Web(Target.of("http://127.0.0.1:%d" % server.port), Token(), None, "test")
    web.deliver([item()], now() + 5)
    with pytest.raises(Lost):
        web.deliver([item()], now() + 5)
    server.close()
    assert Ends.requests == 2
