"""The work: W1, small events of about 300 bytes as stored; W2, real events, repeated, with times that go on."""

from __future__ import annotations

import datetime
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Tuple

from programs import Auditctl, Measure
from scratch import Scratch, run, say

FIXTURE = Path(__file__).resolve().parents[2] / "tests/fixtures/cloudtrail.ndjson.gz"
# In one of eleven of the fixture's events.
ACTOR = "arn:aws:iam::123837392027:user/benjamin"
RARE = "rare"
SEGMENTS = 12
# Nothing is refused, removed or cut short; the queue is as long as a batch of imports.
SETTINGS = 'durability = "interval"\nretention_days = 0\nmax_segment_size = "%d"\nmax_segment_age = "365d"\n[rate_limit]\nenabled = false\n'
# The most that a segment may have.
ONE_SEGMENT = 4 << 30


def small(n: int) -> str:
    """W1 as a line, the same that the benches in Rust send."""
    return (
        '{"event_type":"data_access","actor":"alice","source":"service-%d","outcome":"success","details":{"index":%d,'
        '"data":"the quick brown fox jumps over the lazy dog","ip":"10.248.16.43",'
        '"user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}}\n' % (n % 500, n)
    )


def write_small(path: Path, events: int) -> None:
    with path.open("w", encoding="ascii", newline="") as out:
        out.writelines(map(small, range(events)))


class Real:
    """W2: the fixture's 2,000 events again and again, each time half an hour later."""

    def __init__(self) -> None:
        self._parts: List[Tuple[str, datetime.datetime, str]] = []
        with gzip.open(FIXTURE, "rt", encoding="utf-8", newline="") as lines:
            for line in lines:
                head, _, rest = line.partition('"timestamp":"')
                time, _, tail = rest.partition('"')
                at = datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ")
                self._parts.append((head + '"timestamp":"', at, '"' + tail))
        times = [at for _, at, _ in self._parts]
        self.begin = min(times)
        self.period = max(times) - self.begin + datetime.timedelta(seconds=1)

    def lines(self, first_round: int = 0) -> Iterator[str]:
        """Without end."""
        turn = first_round
        while True:
            later = self.period * turn
            for head, at, tail in self._parts:
                yield head + (at + later).strftime("%Y-%m-%dT%H:%M:%SZ") + tail
            turn += 1


@dataclass
class Work:
    """What there is to ask, to pack and to check."""

    small: Path
    small_events: int
    real: Path
    real_events: int
    # One active segment, of plain lines.
    plain: Path
    # The same records, sealed and compressed.
    sealed: Path
    # A time range that is in about two rounds of the fixture, half way.
    since: str
    until: str
    # More of it, to add: one in a hundred.
    more: Path

    @property
    def lines(self) -> Path:
        """The plain log's lines, as stored."""
        return self.plain / "logs/audit.log"


def make(scratch: Scratch, auditctl: Auditctl, measure: Measure, megabytes: int, events: int) -> Work:
    """Files, and logs that hold them."""
    home = scratch.dir("work")
    say("making %d MB of W2 and %d events of W1" % (megabytes, events))
    small_path, real_path, more_path = home / "w1.ndjson", home / "w2.ndjson", home / "more.ndjson"
    write_small(small_path, events)
    real = Real()
    lines, middle, count, turn = real.lines(), megabytes * 500_000, 0, 0
    with real_path.open("w", encoding="utf-8", newline="") as out:
        written, has_rare = 0, False
        while written < megabytes * 1_000_000:
            if written > middle and not has_rare:
                has_rare, turn = True, count // 2_000
                line = '{"event_type":"login","actor":"%s","timestamp":"%sZ"}\n' % (RARE, (real.begin + real.period * turn).isoformat())
            else:
                line = next(lines)
            written += len(line.encode())
            count += 1
            out.write(line)
    with more_path.open("w", encoding="utf-8", newline="") as out:
        later = real.lines(count // 2_000 + 1)
        out.writelines(next(later) for _ in range(max(1, count // 100)))
    plain = log_of(scratch, auditctl, "plain", real_path, ONE_SEGMENT)
    # So many whole segments; what is left, a few percent, is sealed as well, below.
    size = (plain / "logs/audit.log").stat().st_size * 97 // 100 // SEGMENTS
    sealed = log_of(scratch, auditctl, "sealed", real_path, size)
    measure.json("seal", str(sealed / "logs"))
    since = real.begin + real.period * turn
    return Work(
        small_path,
        events,
        real_path,
        count,
        plain,
        sealed,
        since.isoformat() + "Z",
        (since + datetime.timedelta(minutes=10)).isoformat() + "Z",
        more_path,
    )


def log_of(scratch: Scratch, auditctl: Auditctl, name: str, events: Path, segment: int) -> Path:
    """A directory with settings and a log of those events."""
    home = scratch.dir(name)
    (home / "auditctl.toml").write_text(SETTINGS % segment, encoding="ascii")
    told = json.loads(run(auditctl.command(home, "record", "--json", "--file", str(events)), cwd=home).stdout)
    assert told["rejected"] == [] or told["rejected"] == 0, told
    return home
