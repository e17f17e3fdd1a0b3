"""Databases that people keep audit trails in: PostgreSQL and SQLite."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from scratch import Failed, Scratch, run
from turns import Run

TABLE = (
    "CREATE TABLE audit (seq %s PRIMARY KEY, at %s NOT NULL DEFAULT CURRENT_TIMESTAMP, event_type text NOT NULL, actor text, "
    "source text, outcome text, details %s)"
)
# W1 as one statement; pgbench sends `:n` as a parameter of the prepared one.
INSERT = (
    "\\set n random(1, 1000000000)\n"
    "INSERT INTO audit (event_type, actor, source, outcome, details) VALUES ('data_access', 'alice', 'service-' || (:n % 500)::text, "
    '\'success\', (\'{"index":\' || :n::text || \',"data":"the quick brown fox jumps over the lazy dog","ip":"10.248.16.43",'
    '"user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}\')::jsonb);\n'
)
BATCH = 1_000


def _programs() -> Optional[Path]:
    """The newest version's, as Debian installs them, or what is on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres:
    """A server of the run's own, with its defaults: fsync and synchronous_commit on. A Unix socket, and no port."""

    def __init__(self, scratch: Scratch, bin_dir: Path, version: str) -> None:
        self._scratch, self._bin, self.version = scratch, bin_dir, version
        self._home = scratch.dir("postgres")
        # It refuses to run as root.
        self._as: Dict[str, Any] = {}
        if os.geteuid() == 0:
            user = next((name for name in ("postgres", "nobody") if _has_user(name)), None)
            if user is None:
                raise Failed("there is no user to run it as")
            entry = pwd.getpwnam(user)
            os.chown(self._home, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        data = self._home / "data"
        self._run("initdb", "--pgdata", str(data), "--username", "bench", "--auth", "trust", "--encoding", "UTF8", "--no-locale")
        options = ["-D", str(data), "-c", "listen_addresses=", "-c", "unix_socket_directories=%s" % self._home]
        with (self._home / "stderr").open("wb") as said:
            command = [str(bin_dir / "postgres"), *options]
            # Killed, it would leave shared memory behind.
            self._server = scratch.start(command, signal.SIGQUIT, cwd=self._home, stdout=said, stderr=said, **self._as)
        for _ in range(600):
            if self._ask("select 1", ok=(0, 1, 2)).returncode == 0:
                break
            if self._server.poll() is not None:
                raise Failed("postgres ended: %s" % (self._home / "stderr").read_text(encoding="utf-8", errors="replace"))
            time.sleep(0.05)
        self._ask(TABLE % ("bigserial", "timestamptz", "jsonb"))
        self._script = self._home / "insert.sql"
        self._script.write_text(INSERT, encoding="ascii")

    @classmethod
    def start(cls, scratch: Scratch, missing: Dict[str, str]) -> Optional["Postgres"]:
        bin_dir = _programs()
        if bin_dir is None:
            missing["PostgreSQL"] = "initdb is neither below /usr/lib/postgresql nor on PATH"
            return None
        if not (bin_dir / "pgbench").exists() and shutil.which("pgbench") is None:
            missing["PostgreSQL"] = "pgbench is not installed"
            return None
        try:
            version = run([str(bin_dir / "postgres"), "--version"]).stdout.decode().strip()
            return cls(scratch, bin_dir, version)
        except (Failed, OSError) as why:
            missing["PostgreSQL"] = str(why)
            return None

    def _run(self, name: str, *args: str, ok: Tuple[int, ...] = (0,)) -> "subprocess.CompletedProcess[bytes]":
        path = self._bin / name
        command = str(path) if path.exists() else name
        return run([command, *args], ok=ok, cwd=self._home, env={**os.environ, "LC_ALL": "C"}, **self._as)

    def _ask(self, statement: str, ok: Tuple[int, ...] = (0,)) -> "subprocess.CompletedProcess[bytes]":
        return self._run(
            "psql", "--host", str(self._home), "--username", "bench", "--no-psqlrc", "--quiet", "--command", statement, "postgres", ok=ok
        )

    def insert(self, clients: int, seconds: float) -> Run:
        """Events a second of so many clients, each of which waits for its commit; the statement is prepared."""
        # What one run leaves, the next one does not carry.
        self._ask("truncate audit")
        self._ask("checkpoint")
        done = self._run(
            *("pgbench", "--host", str(self._home), "--username", "bench", "--no-vacuum", "--protocol", "prepared"),
            *("--client", str(clients), "--jobs", "2", "--time", str(max(2, round(seconds))), "--file", str(self._script), "postgres"),
        )
        text = done.stdout.decode()
        rate = re.search(r"^tps = ([0-9.]+)", text, re.MULTILINE)
        failed = re.search(r"failed transactions: (\d+)", text)
        if rate is None or (failed is not None and failed.group(1) != "0"):
            raise Failed("pgbench: %s" % text)
        return Run(float(rate.group(1)))

    def copy(self, lines: Path, events: int) -> Run:
        """Events a second: a file of JSON lines into a jsonb column, in one transaction."""
        self._ask("drop table if exists imported")
        self._ask("create table imported (seq bigserial primary key, at timestamptz not null default now(), event jsonb not null)")
        begun = time.perf_counter()
        # Quote and delimiter that no line of JSON holds: each is one value.
        with lines.open("rb") as source:
            statement = r"copy imported (event) from stdin with (format csv, quote e'\x01', delimiter e'\x02')"
            command = [*("psql", "--host", str(self._home), "--username", "bench", "--no-psqlrc", "--quiet")]
            done = subprocess.run(
                [str(self._bin / command[0]), *command[1:], "--command", statement, "postgres"],
                stdin=source, capture_output=True, check=False, cwd=self._home, **self._as,
            )  # fmt: skip
        took = time.perf_counter() - begun
        if done.returncode != 0:
            raise Failed("psql: %s" % done.stderr.decode("utf-8", "replace"))
        return Run(events / took)

    def stop(self) -> None:
        self._scratch.stop(self._server)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _rows(first: int) -> Iterator[Tuple[str, str, str, str, str]]:
    """W1 as rows, without end."""
    n = first
    while True:
        details = (
            '{"index":%d,"data":"the quick brown fox jumps over the lazy dog","ip":"10.248.16.43",'
            '"user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}' % n
        )
        yield ("data_access", "alice", "service-%d" % (n % 500), "success", details)
        n += 1


def sqlite_insert(scratch: Scratch, seconds: float, batch: int) -> Run:
    """Events a second: WAL and synchronous=FULL, so many in a transaction."""
    home = scratch.dir("sqlite")
    connection = sqlite3.connect(str(home / "audit.db"), isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(TABLE % ("integer", "text", "text"))
        statement = "INSERT INTO audit (event_type, actor, source, outcome, details) VALUES (?, ?, ?, ?, ?)"
        rows = _rows(0)
        done = 0
        # The rows are made beforehand: it is not Python that is measured.
        ready: List[Tuple[str, str, str, str, str]] = [next(rows) for _ in range(max(batch, BATCH))]
        begun = time.perf_counter()
        while (took := time.perf_counter() - begun) < seconds:
            if batch == 1:
                connection.execute(statement, ready[done % len(ready)])
            else:
                connection.execute("BEGIN")
                connection.executemany(statement, ready[:batch])
                connection.execute("COMMIT")
            done += batch
        return Run(done / took)
    finally:
        connection.close()
