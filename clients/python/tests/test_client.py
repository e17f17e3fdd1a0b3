"""Threads, loops, forks, logging and decorators, against a real collector."""

import asyncio
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from suite.collector import Collector

from auditctl import (
    AsyncClient,
    AuditError,
    AuditHandler,
    Client,
    Closed,
    NotAllowed,
    QueueFull,
    Refused,
    Seq,
    Unconfirmed,
    Unreachable,
    audited,
    recording,
)


def of(collector: Collector, event_type: str) -> List[Dict[str, Any]]:
    collector.stop()
    collector.verify()
    return [record for record in collector.records() if record["event_type"] == event_type]


def test_a_seq_is_an_int_that_knows_its_id(audit: Client) -> None:
    seq = audit.record("login", actor="alice", id=None)
    assert isinstance(seq, int) and seq.id and not seq.duplicate
    again = pickle.loads(pickle.dumps(seq))
    assert (again, again.id) == (seq, seq.id)
    error = pickle.loads(pickle.dumps(Unconfirmed("unconfirmed", "m", "i")))
    assert (type(error), error.id, error.may_be_recorded) == (Unconfirmed, "i", True)


def test_threads_share_a_client(collector: Collector, audit: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        seqs = list(pool.map(lambda n: audit.record("threads", target=str(n)), range(400)))
    assert len(set(seqs)) == 400
    records = {record["target"]: record["seq"] for record in of(collector, "threads")}
    assert [records[str(n)] for n in range(400)] == seqs


def test_events_of_one_thread_are_recorded_in_their_order(collector: Collector, audit: Client) -> None:
    futures = [audit.submit({"event_type": "order", "target": str(n)}) for n in range(500)]
    seqs = [future.result() for future in futures]
    assert seqs == sorted(seqs)
    assert [record["target"] for record in of(collector, "order")] == [str(n) for n in range(500)]


def test_a_future_that_is_cancelled_before_it_was_sent_withdraws_its_event(make: Any) -> None:
    collector = make()
    client = Client(str(collector.socket), timeout=20)
    collector.kill()
    first = client.submit({"event_type": "cancel", "target": "kept"})
    second = client.submit({"event_type": "cancel", "target": "withdrawn"})
    assert second.cancel()
    collector.start()
    first.result()
    client.close()
    assert [record["target"] for record in of(collector, "cancel")] == ["kept"]


def test_a_callback_that_would_wait_for_itself_is_told_so(audit: Client) -> None:
    seen: List[BaseException] = []

    def callback(_: Any) -> None:
        try:
            audit.record("inner")
        except AuditError as error:
            seen.append(error)

    # It is called in the thread that sends, if the event is not recorded yet.
    for _ in range(20):
        future = audit.submit({"event_type": "outer"})
        future.add_done_callback(callback)
        future.result()
    audit.close()
    assert all("own thread" in str(error) for error in seen)


def test_a_full_queue_waits_or_raises_and_never_drops(home: Path) -> None:
    client = Client(str(home / "nobody.sock"), timeout=0.4, capacity=3)
    futures = [client.submit({"event_type": "full"}) for _ in range(3)]
    with pytest.raises(QueueFull):
        client.submit({"event_type": "full"}, wait=False)
    # There is room once these have failed; then it is this one's turn.
    futures.append(client.submit({"event_type": "full"}, timeout=5))
    for future in futures[:3]:
        with pytest.raises(Unreachable):
            future.result()
    futures[3].cancel()
    client.close(0.1)


def test_loops_share_a_pipeline(collector: Collector) -> None:
    async def run() -> List[Seq]:
        async with AsyncClient(str(collector.socket)) as audit:
            seqs = await asyncio.gather(*(audit.record("loop", target=str(n)) for n in range(200)))
            many = await audit.record_many([{"event_type": "loop"}, {"event_type": ""}, {"event_type": "loop"}])
            assert [type(one) for one in many] == [Seq, Refused, Seq]
            with pytest.raises(Refused):
                await audit.record("")
            found = [record async for record in audit.records(type="loop")]
            assert len(found) == 202
            assert len(await audit.query(type="loop", limit=7)) == 7
            return list(seqs)

    assert len(set(asyncio.run(run()))) == 200


def test_a_loop_is_not_blocked_while_a_collector_is_away(home: Path) -> None:
    async def run() -> int:
        ticks = 0
        async with AsyncClient(str(home / "nobody.sock"), timeout=0.5, capacity=1) as audit:
            waiting = [asyncio.ensure_future(audit.record("away")) for _ in range(3)]
            while not all(task.done() for task in waiting):
                await asyncio.sleep(0.01)
                ticks += 1
            for task in waiting:
                assert isinstance(task.exception(), (Unreachable, QueueFull))
        return ticks

    assert asyncio.run(run()) > 10


@pytest.mark.parametrize("door", ["audit", "by_http"])
def test_a_child_of_a_fork_has_its_own_connection(request: Any, collector: Collector, door: str) -> None:
    client: Client = request.getfixturevalue(door)
    client.record("fork", target="before")
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [client.record("fork", target="busy-%d" % n) for n in range(10_000) if not stop.is_set()])
    busy.start()
    children = []
    for n in range(6):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                client.record("fork", target="child-%d" % n)
                client.close()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    busy.join()
    client.record("fork", target="after")
    assert codes == [0] * 6
    targets = [record["target"] for record in of(collector, "fork")]
    assert len(targets) == len(set(targets)) and {"before", "after", *("child-%d" % n for n in range(6))} <= set(targets)


def test_what_was_submitted_is_sent_when_the_program_ends(collector: Collector) -> None:
    src = str(Path(__file__).resolve().parents[1] / "src")
    program = ("import sys; sys.path.insert(0, %r)\nfrom auditctl import Client\nc = Client(%r)\n"
               "for n in range(300): c.submit({'event_type': 'exit'})\n" % (src, str(collector.socket)))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert len(of(collector, "exit")) == 300


def test_what_has_no_outcome_when_a_client_is_closed_gets_one(home: Path) -> None:
    client = Client(str(home / "nobody.sock"), timeout=3600)
    waiting = [client.submit({"event_type": "x"}) for _ in range(5)]
    client.close(0.1)
    assert [type(future.exception(5)) for future in waiting] == [Unreachable] * 5


def test_a_closed_client_says_so(audit: Client) -> None:
    audit.record("x")
    audit.close()
    audit.close()
    for call in (lambda: audit.record("x"), lambda: audit.submit({"event_type": "x"})):
        with pytest.raises(Closed):
            call()


@pytest.mark.parametrize("door", ["audit", "by_http"])
def test_queries_come_page_by_page_and_whole(request: Any, door: str) -> None:
    client: Client = request.getfixturevalue(door)
    client.record_many([{"event_type": "page", "target": str(n), "details": {"text": "x" * 20_000}} for n in range(120)])
    everything = client.query(type="page", limit=0, order="oldest")
    assert [record["target"] for record in everything] == [str(n) for n in range(120)]
    assert len(client.query(type="page", limit=70)) == 70
    assert client.ask(type="page", count=True)["count"] == 120
    with pytest.raises(AuditError) as error:
        client.ask(since="yesterday evening")
    assert error.value.kind in ("query", "invalid", "usage", "malformed")


def test_a_token_of_another_role_is_refused_and_seen_nowhere(collector: Collector) -> None:
    reader = collector.token("reader", "read")
    time.sleep(1.5)
    client = Client(url="http://127.0.0.1:%d" % collector.port, token_file=str(reader))
    with pytest.raises(NotAllowed) as error:
        client.record("x")
    secret = reader.read_text().strip()
    assert secret not in repr(client) + repr(vars(client)) + repr(error.value) + str(error.value)
    client.close()


def logger(handler: logging.Handler) -> logging.Logger:
    log = logging.Logger("app.orders")
    log.addHandler(handler)
    return log


def test_a_log_call_returns_once_its_event_is_durable(collector: Collector, audit: Client) -> None:
    log = logger(AuditHandler(audit))
    log.info("order %d paid", 17, extra={"audit": {"event_type": "order.paid", "actor": "alice", "details": {"n": 1}}, "cart": "c1"})
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("failed")
    paid = of(collector, "order.paid")
    assert paid[0]["actor"] == "alice"
    assert paid[0]["details"] == {"message": "order 17 paid", "logger": "app.orders", "level": "INFO", "cart": "c1", "n": 1}
    (failed,) = [record for record in collector.records() if record["event_type"] == "log.error"]
    assert failed["details"]["exception"]["type"] == "KeyError"


def test_a_log_call_that_is_not_recorded_raises(home: Path) -> None:
    client = Client(str(home / "nobody.sock"), timeout=0.3)
    with pytest.raises(Unreachable):
        logger(AuditHandler(client)).info("lost?")


def test_a_handler_that_does_not_wait_reports_each_event_that_failed(home: Path, capsys: Any) -> None:
    client = Client(str(home / "nobody.sock"), timeout=0.3, capacity=2)
    seen: List[Tuple[str, str]] = []
    handler = AuditHandler(client, wait=False, when_full="raise",
                           on_failure=lambda event, error: seen.append((event["details"]["message"], error.kind)))
    log = logger(handler)
    log.info("one")
    log.info("two")
    with pytest.raises(QueueFull):
        log.info("three")
    client.close()
    assert sorted(seen) == [("one", "unreachable"), ("two", "unreachable")] and handler.failed == 2
    client = Client(str(home / "nobody.sock"), timeout=0.3)
    logger(AuditHandler(client, wait=False)).info("four")
    client.close()
    said = capsys.readouterr().err
    assert "was not recorded" in said and "four" in said


def test_a_block_is_recorded_with_its_outcome_and_its_exception(collector: Collector, audit: Client) -> None:
    with recording(audit, "block", actor="alice", target="1") as event:
        event.details["lines"] = 3
    assert event.seq is not None
    with pytest.raises(ZeroDivisionError), recording(audit, "block", target="2"):
        1 / 0  # noqa: B018

    @audited(audit, "call", actor="{who}", target="{n}", details=lambda given: {"twice": given["n"] * 2})
    def double(who: str, n: int = 4) -> int:
        return n * 2

    @audited(audit, "call", target="{n}")
    async def fails(n: int) -> None:
        raise OSError("disk")

    assert double("bob") == 8
    with pytest.raises(OSError):
        asyncio.run(fails(9))
    blocks = of(collector, "block")
    assert [(one["target"], one["outcome"]) for one in blocks] == [("1", "success"), ("2", "failure")]
    assert blocks[0]["details"]["lines"] == 3 and blocks[1]["details"]["exception"]["type"] == "ZeroDivisionError"
    calls = [record for record in collector.records() if record["event_type"] == "call"]
    assert [(one.get("actor"), one["target"], one["outcome"]) for one in calls] == [("bob", "4", "success"), (None, "9", "failure")]
    assert calls[0]["details"]["twice"] == 8


def test_nothing_counts_as_done_that_left_no_trail(home: Path, capsys: Any) -> None:
    client = Client(str(home / "nobody.sock"), timeout=0.2)
    with pytest.raises(Unreachable), recording(client, "block"):
        pass
    with pytest.raises(KeyError), recording(client, "block"):
        raise KeyError("the block's own")
    assert "was not recorded" in capsys.readouterr().err


def test_a_parents_events_are_not_sent_by_its_child(make: Any) -> None:
    collector = make()
    client = Client(str(collector.socket), timeout=20)
    collector.kill()
    waiting = [client.submit({"event_type": "parent", "target": str(n)}) for n in range(20)]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            deadline = time.monotonic() + 20
            while not collector.listens() and time.monotonic() < deadline:
                time.sleep(0.02)
            client.record("child")
            client.close()
            code = 0
        finally:
            os._exit(code)
    collector.start()
    for future in waiting:
        future.result()
    assert os.waitpid(child, 0)[1] == 0
    client.close()
    assert [record["target"] for record in of(collector, "parent")] == [str(n) for n in range(20)]
