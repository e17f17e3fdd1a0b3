"""The spool survives a kill at any byte, is bounded, and says what it holds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List, Optional

import pytest

from auditctl import AuditError, Client, Seq, SpoolError, SpoolFull, UsageError
from auditctl.event import Encoded, encode
from auditctl.item import Outcome
from auditctl.spool import Spool

FAR = 1e18


def event(n: int, **more: Any) -> Encoded:
    return encode({"event_type": "spooled", "target": str(n), **more})


class Taker:
    """Takes what is delivered; a real collector takes it in the contract suite."""

    def __init__(self, stop_after: Optional[int] = None) -> None:
        self.taken: List[str] = []
        self.stop_after = stop_after

    def __call__(self, events: List[Encoded], deadline: float) -> List[Outcome]:
        out: List[Outcome] = []
        for one in events:
            if self.stop_after is not None and len(self.taken) >= self.stop_after:
                out.append(AuditError("unreachable", "away", one.id))
            elif b'"event_type":""' in one.body:
                out.append(AuditError("invalid", "event_type is empty", one.id))
            else:
                self.taken.append(one.id)
                out.append(Seq(len(self.taken), one.id))
        return out


def test_a_file_that_was_cut_at_any_byte_loses_no_event_whose_call_returned(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    events = [event(n) for n in range(3)]
    ends = []
    path = home / "s" / ("spool.%020d.ndjson" % 1)
    for one in events:
        spool.append(one)
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        there = [one.id for one, end in zip(events, ends) if end <= cut]
        # Whoever comes next adds an event behind what is whole, and all of it is sent.
        more = event(99)
        spool.append(more)
        taker = Taker()
        drained = spool.drain(taker, FAR)
        assert taker.taken == [*there, more.id], cut
        assert (drained.events, drained.refused) == (0, 0)
        for name in os.listdir(home / "s"):
            os.unlink(home / "s" / name)


def test_events_leave_in_order_and_what_was_not_taken_stays(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 22)
    events = [event(n, details={"text": "x" * 3000}) for n in range(700)]
    for one in events[:350]:
        spool.append(one)
    first = Taker(stop_after=123)
    assert not spool.is_empty()
    assert spool.drain(first, FAR).events == 350 - 123
    # A new process goes on where the last one was.
    spool = Spool(str(home / "s"), 1 << 22)
    second = Taker()
    assert not spool.is_empty()
    assert spool.drain(second, FAR) == (227, 0, 0)
    assert spool.is_empty()
    assert first.taken + second.taken == [one.id for one in events[:350]]
    spool.append(events[400])
    third = Taker()
    spool.drain(third, FAR)
    assert third.taken == [events[400].id]


def test_without_its_position_events_are_sent_again_under_their_ids(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    events = [event(n) for n in range(10)]
    for one in events:
        spool.append(one)
    spool.drain(Taker(stop_after=4), FAR)
    for junk in (None, b"", b"{", b'{"file":-1,"offset":0}', b'{"file":"1","offset":2}'):
        position = home / "s" / "position"
        position.unlink() if junk is None else position.write_bytes(junk)
        taker = Taker(stop_after=0)
        assert spool.drain(taker, FAR).events == 10
    taker = Taker()
    spool.drain(taker, FAR)
    assert taker.taken == [one.id for one in events]


def test_the_bytes_that_are_sent_are_those_that_were_put_in(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    odd = encode({"id": 'é"\\', "event_type": "é\u2028", "details": {"a": 1.10, "b": []}})
    spool.append(odd)
    seen: List[bytes] = []

    def deliver(events: List[Encoded], _: float) -> List[Outcome]:
        seen.extend(one.line(True) for one in events)
        return [Seq(1, one.id) for one in events]

    spool.drain(deliver, FAR)
    assert seen == [odd.line(True)]


def test_a_full_spool_says_so_and_keeps_what_it_has(home: Path) -> None:
    spool = Spool(str(home / "s"), 8192)
    kept = []
    with pytest.raises(SpoolFull) as full:
        for n in range(1000):
            one = event(n)
            spool.append(one)
            kept.append(one.id)
    assert full.value.kind == "spool_full"
    state = spool.state()
    assert state.events == len(kept) and 0 < state.bytes <= 8192 and state.oldest_seconds is not None
    taker = Taker()
    spool.drain(taker, FAR)
    assert taker.taken == kept
    spool.append(event(1))


def test_what_is_refused_for_good_is_kept_aside_once_and_blocks_nothing(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    spool.append(event(1))
    spool.append(event(2, event_type=""))
    spool.append(event(3))
    bad = home / "s" / ("spool.%020d.ndjson" % 1)
    data = bad.read_bytes()
    for _ in range(2):
        taker = Taker()
        assert spool.drain(taker, FAR) == (3, 0, 1)
        assert len(taker.taken) == 2
        # As if it had been killed before it noted how far it was.
        bad.write_bytes(data)
        (home / "s" / "position").unlink()
    kept = [json.loads(line) for line in (home / "s" / "refused.ndjson").read_text().splitlines()]
    assert [(one["event"]["target"], one["error"]["kind"]) for one in kept] == [("2", "invalid")]


def test_a_damaged_line_is_kept_aside_and_blocks_nothing(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    events = [event(n) for n in range(3)]
    for one in events:
        spool.append(one)
    path = home / "s" / ("spool.%020d.ndjson" % 1)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"target":"1"', b'"target":"7"'))
    taker = Taker()
    assert spool.drain(taker, FAR) == (3, 0, 1)
    assert taker.taken == [events[0].id, events[2].id]
    assert "damaged" in (home / "s" / "refused.ndjson").read_text()


def test_a_directory_that_others_can_enter_is_refused(home: Path) -> None:
    for mode in (0o755, 0o710, 0o777):
        path = home / oct(mode)
        path.mkdir()
        path.chmod(mode)
        with pytest.raises(UsageError):
            Spool(str(path), 1 << 20)
    (home / "link").symlink_to(home)
    with pytest.raises(UsageError):
        Spool(str(home / "link"), 1 << 20)
    with pytest.raises(SpoolError):
        Spool(str(home / "missing" / "s"), 1 << 20)
    old = os.umask(0)
    try:
        spool = Spool(str(home / "s"), 1 << 20)
        spool.append(event(1))
    finally:
        os.umask(old)
    assert (home / "s").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (home / "s").iterdir()} == {0o600}


PUT = """
import sys
sys.path.insert(0, sys.argv[1])
from auditctl.event import encode
from auditctl.spool import Spool
spool = Spool(sys.argv[2], 1 << 24)
n = 0
while True:
    one = encode({"event_type": "spooled", "target": sys.argv[3] + "-%d" % n})
    spool.append(one)
    print(one.id, flush=True)
    n += 1
"""


def test_two_processes_put_into_one_spool_and_are_killed_while_a_third_drains(home: Path) -> None:
    src = str(Path(__file__).resolve().parents[1] / "src")
    spool = Spool(str(home / "s"), 1 << 24)
    taker = Taker()
    returned: List[str] = []
    for round_ in range(6):
        putting = [subprocess.Popen([sys.executable, "-c", PUT, src, str(home / "s"), "%d-%d" % (round_, n)], stdout=subprocess.PIPE)
                   for n in range(2)]
        for one in putting:
            assert one.stdout is not None
            returned.append(one.stdout.readline().decode().strip())
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            spool.drain(taker, time.monotonic() + 0.05)
        for one in putting:
            one.send_signal(signal.SIGKILL)
            out, _ = one.communicate()
            lines = out.decode().split("\n")
            returned += lines[:-1]
    spool.drain(taker, FAR)
    assert spool.state().events == 0
    assert len(taker.taken) == len(set(taker.taken)), "nothing was sent twice: the drainer was not killed"
    assert set(returned) <= set(taker.taken) and len(returned) > 10


def test_a_client_spools_while_the_collector_is_away_and_drains_by_itself(make: Any, home: Path) -> None:
    collector = make()
    if not collector.ids:
        pytest.skip("this auditctl has no ids")
    with Client(str(collector.socket)) as direct:
        direct.record("spooled", target="direct")
    collector.kill()
    client = Client(str(collector.socket), spool=str(home / "s"), timeout=0.5, drain_every=0.1)
    for n in range(5):
        assert client.record_or_spool({"event_type": "spooled", "target": str(n)}) is None
    assert client.spool_state().events == 5
    collector.start()
    until = time.monotonic() + 30
    while client.spool_state().events and time.monotonic() < until:
        time.sleep(0.05)
    client.close()
    collector.stop()
    assert [record["target"] for record in collector.records() if record["event_type"] == "spooled"] == ["direct", *"01234"]


def test_a_child_of_a_fork_holds_no_lock_of_its_parent(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    spool.append(event(1))
    children = []

    def deliver(events: List[Encoded], deadline: float) -> List[Outcome]:
        # The parent drains, and holds drain.lock; somebody forks.
        with spool._locked("append.lock"):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
        return [Seq(1, one.id) for one in events]

    try:
        spool.drain(deliver, FAR)
        other = Spool(str(home / "s"), 1 << 20)
        other.append(event(2))
        taker = Taker()
        assert other.drain(taker, FAR).sent == 1
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_lock_of_a_process_that_was_killed_is_not_kept_by_its_child(home: Path) -> None:
    src = str(Path(__file__).resolve().parents[1] / "src")
    program = ("import os, signal, sys\nsys.path.insert(0, %r)\nfrom auditctl.spool import Spool\nspool = Spool(%r, 1 << 20)\n"
               "with spool._locked('append.lock'), spool._locked('drain.lock'):\n    child = os.fork()\n    if child == 0:\n"
               "        signal.pause()\n    print(child, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n" % (src, str(home / "s")))
    ended = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert ended.stdout is not None
    child = int(ended.stdout.readline())
    ended.wait()
    try:
        spool = Spool(str(home / "s"), 1 << 20)
        spool.append(event(1))
        assert spool.drain(Taker(), FAR).sent == 1
    finally:
        os.kill(child, signal.SIGKILL)
        ended.stdout.close()


def test_a_lock_that_is_never_released_is_an_error(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("auditctl.spool.PATIENCE", 0.1)
    spool = Spool(str(home / "s"), 1 << 20)
    with spool._locked("append.lock"), pytest.raises(SpoolError) as error:
        Spool(str(home / "s"), 1 << 20).append(event(1))
    assert error.value.kind == "spool"


def test_nothing_is_sent_that_is_not_on_disk(home: Path, monkeypatch: Any) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    spool.append(event(1))

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    taker = Taker()
    with monkeypatch.context() as patched:
        patched.setattr("auditctl.spool._sync", fails)
        with pytest.raises(SpoolError):
            spool.drain(taker, FAR)
    assert taker.taken == []


def test_an_event_is_never_put_below_the_position(home: Path) -> None:
    spool = Spool(str(home / "s"), 1 << 20)
    for n in range(3):
        spool.append(event(n))
    path = home / "s" / ("spool.%020d.ndjson" % 1)
    first = len(path.read_bytes().split(b"\n")[0]) + 1
    spool.drain(Taker(stop_after=2), FAR)
    # As after a crash that took what was acknowledged already.
    path.write_bytes(path.read_bytes()[:first])
    later = event(9)
    spool.append(later)
    taker = Taker()
    spool.drain(taker, FAR)
    assert taker.taken == [later.id]


def test_a_file_that_another_process_made_is_on_disk_by_name(home: Path, monkeypatch: Any) -> None:
    Spool(str(home / "s"), 1 << 20).append(event(1))
    synced: List[str] = []
    monkeypatch.setattr("auditctl.spool._sync_directory", synced.append)
    spool = Spool(str(home / "s"), 1 << 20)
    assert synced == [str(home)], "the directory of a spool that another process may have just made"
    spool.append(event(2))
    spool.append(event(3))
    assert synced[1:] == [str(home / "s")]


def test_too_much_that_was_refused_does_not_stop_what_follows(home: Path) -> None:
    spool = Spool(str(home / "s"), 4096)
    for n in range(60):
        spool.append(event(n, event_type="", details={"text": "x" * 300}))
        taker = Taker()
        spool.append(event(n))
        assert spool.drain(taker, FAR).events == 0
        assert len(taker.taken) == 1
    assert spool.state().refused == 60
    kept = [home / "s" / name for name in ("refused.ndjson", "refused.1.ndjson")]
    assert all(0 < path.stat().st_size <= 4096 for path in kept)
