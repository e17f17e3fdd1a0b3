"""Recording: events a second, each of them durable before it is acknowledged unless the row says otherwise."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

from databases import BATCH, Postgres, sqlite_insert
from programs import Auditctl, Collector, Measure
from scratch import Scratch, run
from turns import Contest, Peer, Run
from work import ONE_SEGMENT, SETTINGS, Work

SECTION = "Recording"
CALLERS = 64
SERVE = """
durability = "%s"
max_segment_size = "1GiB"
retention_days = 0
[collector]
max_connections_per_uid = 200
[rate_limit]
enabled = false
"""


class Recording:
    """The contests of recording."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, measure: Measure, work: Work, seconds: float, events: int) -> None:
        self._scratch, self._auditctl, self._measure, self._work = scratch, auditctl, measure, work
        self._seconds, self._events = seconds, events
        # Events a sync of the last run of ours, with which the bare loop writes as many.
        self._batch = 1.0

    def contests(self, missing: Dict[str, str], versions: Dict[str, str]) -> Iterator[Contest]:
        postgres = Postgres.start(self._scratch, missing)
        yield from self._beside(postgres, versions)
        # Nobody else is to be disturbed by it.
        if postgres is not None:
            postgres.stop()

    def _beside(self, postgres: Optional[Postgres], versions: Dict[str, str]) -> List[Contest]:
        versions["SQLite"] = sqlite3.sqlite_version
        waiting = [Peer("bare write + fdatasync of as many a sync", self._bare, 0.8)]
        sockets = []
        pipelined = [Peer("SQLite, WAL, FULL, %d a transaction" % BATCH, self._sqlite(BATCH))]
        imported = [Peer("the engine, events parsed beforehand", lambda: self._rate("engine", str(self._work.real_events)), 0.5)]
        if postgres is not None:
            versions["PostgreSQL"] = postgres.version
            insert = postgres.insert

            def clients() -> Run:
                return insert(CALLERS, self._seconds)

            name = "PostgreSQL, %d clients, prepared, jsonb" % CALLERS
            waiting.insert(0, Peer(name, clients, 4))
            sockets.append(Peer(name, clients))
            pipelined.insert(0, Peer(name, clients, 20))
            copy = postgres.copy
            imported.append(Peer("PostgreSQL, COPY into jsonb", lambda: copy(self._work.real, self._work.real_events)))
        return [
            Contest(SECTION, "%d callers that wait, in the process" % CALLERS, self._commit, waiting, "events/s"),
            Contest(SECTION, "%d clients of the socket that wait" % CALLERS, self._collector("waiting"), sockets, "events/s"),
            Contest(SECTION, "4 clients of the socket, pipelined", self._collector("hand-in"), pipelined, "events/s"),
            Contest(
                SECTION,
                "one caller that waits",
                lambda: self._rate("one", str(self._seconds)),
                [
                    Peer("bare write + fdatasync, one by one", lambda: self._rate("bare", str(self._seconds), "1"), 1 / 1.2),
                    Peer("SQLite, WAL, FULL, one by one", self._sqlite(1)),
                ],
                "events/s",
            ),
            Contest(
                SECTION,
                "interval durability, 2 producers, until durable",
                lambda: self._rate("interval", str(self._events)),
                [Peer("tracing-appender: no hash, no sync", lambda: self._rate("appender", str(self._events)), 1.5)],
                "events/s",
            ),
            Contest(SECTION, "import of W2 as NDJSON", self._import(self._work.real, self._work.real_events), imported, "events/s"),
            Contest(
                SECTION,
                "import of W1 as NDJSON",
                self._import(self._work.small, self._work.small_events),
                [Peer("the engine, 2 producers", lambda: self._rate("interval", str(self._work.small_events)), 0.5)],
                "events/s",
            ),
        ]

    def _rate(self, *args: str) -> Run:
        told = self._measure.json(*args)
        more = {"peak_mib": told["peak_kib"] / 1024} if "peak_kib" in told else {}
        return Run(told["rate"], told=more)

    def _commit(self) -> Run:
        told = self._measure.json("commit", str(self._seconds))
        self._batch = told["per_sync"]
        return Run(told["rate"], told={"per_sync": told["per_sync"]})

    def _bare(self) -> Run:
        return self._rate("bare", str(self._seconds), str(self._batch))

    def _sqlite(self, batch: int) -> Callable[[], Run]:
        return lambda: sqlite_insert(self._scratch, self._seconds, batch)

    def _collector(self, how: str) -> Callable[[], Run]:
        amount = str(self._events) if how == "hand-in" else str(self._seconds)

        def measured() -> Run:
            home = self._scratch.dir("collector")
            collector = Collector(self._scratch, self._auditctl, home, SERVE % "commit")
            try:
                told = self._measure.json(how, str(home), amount)
                return Run(told["rate"], told={"peak_mib": collector.peak_mib()})
            finally:
                collector.stop()

        return measured

    def _import(self, events: Path, count: int) -> Callable[[], Run]:
        def measured() -> Run:
            home = self._scratch.dir("import")
            (home / "auditctl.toml").write_text(SETTINGS % ONE_SEGMENT, encoding="ascii")
            begun = time.perf_counter()
            done = run(self._auditctl.command(home, "record", "--json", "--file", str(events)), cwd=home)
            took = time.perf_counter() - begun
            told = json.loads(done.stdout)
            assert told["recorded"] == count, told
            return Run(count / took)

        return measured
