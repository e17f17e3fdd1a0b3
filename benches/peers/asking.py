"""Asking: seconds from the question to the answer, over records in the page cache; everybody has to give the same answer."""

from __future__ import annotations

import glob
import json
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from programs import Auditctl, Measure, package_version, version_of
from scratch import Failed, Scratch, run, say
from turns import Contest, Peer, Run
from work import ACTOR, RARE, Work

SECTION = "Asking"
HERE = Path(__file__).resolve().parent
# Columns that a statement needs, and no other: the fastest way there is.
SELECTS = {
    "actor": ("actor VARCHAR", "select count(*) from t where actor = '%s'" % ACTOR),
    "rare": ("actor VARCHAR", "select count(*) from t where actor = '%s'" % RARE),
    "group": ("actor VARCHAR", "select actor, count(*) from t group by actor"),
    "details": ('details STRUCT("awsRegion" VARCHAR)', "select count(*) from t where details.awsRegion = 'us-east-1'"),
    "time": ("timestamp TIMESTAMPTZ", "select count(*) from t where timestamp >= '{since}' and timestamp < '{until}'"),
}
# Where the details are a column of text.
IN_TEXT = "select count(*) from t where json_extract_string(details, '$.awsRegion') = 'us-east-1'"
CLICKHOUSE = {
    "actor": ("actor Nullable(String)", "select count() from t where actor = '%s'" % ACTOR),
    "rare": ("actor Nullable(String)", "select count() from t where actor = '%s'" % RARE),
    "group": ("actor Nullable(String)", "select actor, count() from t group by actor"),
    "details": ("details Tuple(awsRegion Nullable(String))", "select count() from t where details.awsRegion = 'us-east-1'"),
    "time": (
        "timestamp DateTime64(6, \\'UTC\\')",
        "select count() from t where timestamp >= parseDateTime64BestEffort('{since}', 6, 'UTC') "
        "and timestamp < parseDateTime64BestEffort('{until}', 6, 'UTC')",
    ),
}


def _names(group: bool, text: str) -> Any:
    """An answer that can be compared: a number, or names with numbers."""
    return {str(key): int(value) for key, value in json.loads(text)} if group else int(text)


class Asking:
    """The contests of asking."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, measure: Measure, work: Work, python: Optional[Path]) -> None:
        self._scratch, self._auditctl, self._measure, self._work, self._python = scratch, auditctl, measure, work, python
        self._parquet: List[str] = []
        self._parquet_by = ""

    def contests(self, missing: Dict[str, str], versions: Dict[str, str]) -> List[Contest]:
        for program in ("rg", "jq", "zcat"):
            version = version_of(program)
            if version is None:
                missing[program] = "not installed"
            else:
                versions[program] = version
        for package in ("duckdb", "chdb"):
            version = None if self._python is None else package_version(self._python, package)
            if version is not None:
                versions[package] = version
        if "duckdb" in versions:
            self._make_parquet()
        questions = {
            "actor": ("one actor, counted", ["--actor", ACTOR, "--count"]),
            "group": ("grouped by actor", ["--group-by", "actor", "--top", "1000"]),
            "details": ("a condition in the details, counted", ["--where", "details.awsRegion = us-east-1", "--count"]),
            "time": ("10 minutes of time, counted", ["--since", self._work.since, "--until", self._work.until, "--count"]),
            "rare": ("a name that is there once, counted", ["--actor", RARE, "--count"]),
        }
        found = []
        for key, (what, args) in questions.items():
            for home, where, beside in (
                (self._work.plain, "plain lines", self._beside_plain),
                (self._work.sealed, "sealed", self._beside_sealed),
            ):
                found.append(Contest(SECTION, "%s; %s" % (what, where), self._ours(home, key, args), beside(key, versions)))
        return found

    def _ours(self, home: Path, key: str, args: List[str]) -> Callable[[], Run]:
        command = self._auditctl.command(home, "query", "--direct", "--json", *args)

        def measured() -> Run:
            begun = time.perf_counter()
            done = run(command, cwd=home)
            took = time.perf_counter() - begun
            told = json.loads(done.stdout)
            effort = told["effort"]
            read = {"read": 100 * effort["blocks_read"] / effort["blocks"]} if effort["blocks"] else {}
            if key != "group":
                return Run(took, told["count"], read)
            groups = {str(group["group"]): group["records"] for group in told["groups"]}
            return Run(took, groups, read)

        return measured

    def _beside_plain(self, key: str, versions: Dict[str, str]) -> List[Peer]:
        lines = str(self._work.lines)
        peers = []
        name = {"actor": ACTOR, "rare": RARE}.get(key)
        if "rg" in versions and name is not None:
            peers.append(Peer("rg -c", self._piped(["rg", "-c", "--fixed-strings", '"actor":"%s"' % name, lines]), 1))
        if "duckdb" in versions:
            goal = {"group": 4.0}.get(key, 1.0)
            columns, select = SELECTS[key]
            peers.append(Peer("DuckDB, the column declared", self._duckdb(key, self._json_view(columns), select), goal))
            if key == "details":
                view = self._json_view("details JSON")
                peers.append(Peer("DuckDB, details as JSON", self._duckdb(key, view, IN_TEXT)))
        if "chdb" in versions:
            columns, select = CLICKHOUSE[key]
            peers.append(Peer("chDB, the column declared", self._chdb(key, "file('%s', JSONEachRow, '%s')" % (lines, columns), select)))
        if "jq" in versions and key in ("actor", "details"):
            test = '.actor == "%s"' % ACTOR if key == "actor" else '.details.awsRegion? == "us-east-1"'
            peers.append(Peer("jq, select", self._lines_of(["jq", "-c", "select(%s)" % test, lines]), 50 if key == "actor" else None))
        return peers

    def _beside_sealed(self, key: str, versions: Dict[str, str]) -> List[Peer]:
        peers = []
        name = {"actor": ACTOR, "rare": RARE}.get(key)
        files = sorted(glob.glob(str(self._work.sealed / "logs/audit.0*.log.gz")))
        if name is not None and "rg" in versions and "zcat" in versions:
            peers.append(Peer("zcat, rg -c", self._shell('zcat "$@" | rg -c --fixed-strings \'"actor":"%s"\'' % name, files)))
        if self._parquet:
            asked = self._duckdb(key, self._parquet_view(), self._in_parquet(key))
            peers.append(Peer("DuckDB, Parquet by %s" % self._parquet_by, asked, 1 / 3))
        if self._parquet and "chdb" in versions:
            source = "file('%s', Parquet)" % self._parquet_glob()
            select = CLICKHOUSE[key][1]
            if key == "details":
                select = "select count() from t where JSONExtractString(details, 'awsRegion') = 'us-east-1'"
            peers.append(Peer("chDB, Parquet by %s" % self._parquet_by, self._chdb(key, source, select)))
        return peers

    @staticmethod
    def _in_parquet(key: str) -> str:
        return IN_TEXT if key == "details" else SELECTS[key][1]

    def _json_view(self, columns: str) -> str:
        name, _, kind = columns.partition(" ")
        declared = "{'%s': '%s'}" % (name, kind)
        return "read_json('%s', format='newline_delimited', columns=%s, maximum_object_size=2000000)" % (self._work.lines, declared)

    def _parquet_glob(self) -> str:
        return self._parquet[0]

    def _parquet_view(self) -> str:
        return "read_parquet('%s')" % self._parquet_glob()

    def _make_parquet(self) -> None:
        """The archive's objects, of the same log; where this build makes none, DuckDB's own file."""
        bucket = self._scratch.dir("archive")
        try:
            self._measure.json("parquet", str(self._work.sealed / "logs"), str(bucket))
            self._parquet, self._parquet_by = [str(bucket / "parquet/v1/*/*/*.parquet")], "the archive"
            return
        except Failed as why:
            say("    no Parquet from the archive (%s); DuckDB makes it" % str(why)[-200:])
        made = str(bucket / "all.parquet")
        texts = ", ".join("'%s': 'VARCHAR'" % name for name in ("event_type", "actor", "source", "target", "outcome"))
        columns = "{'timestamp': 'TIMESTAMPTZ', %s, 'details': 'JSON'}" % texts
        log = self._work.sealed / "logs"
        files = "['%s/audit.0*.log.gz', '%s/audit.log']" % (log, log)
        view = "read_json(%s, format='newline_delimited', columns=%s, maximum_object_size=2000000)" % (files, columns)
        self._engine("duckdb", view, "copy (select * from t) to '%s' (format parquet, compression zstd)" % made)
        self._parquet, self._parquet_by = [made], "DuckDB"

    def _engine(self, name: str, view: str, select: str) -> Tuple[float, str]:
        select = select.replace("{since}", self._work.since).replace("{until}", self._work.until)
        done = run([str(self._python), str(HERE / "engine.py"), name, view, select])
        told = json.loads(done.stdout)
        return told["seconds"], told["answer"]

    def _duckdb(self, key: str, view: str, select: str) -> Callable[[], Run]:
        return lambda: self._answered("duckdb", key, view, select)

    def _chdb(self, key: str, source: str, select: str) -> Callable[[], Run]:
        return lambda: self._answered("chdb", key, source, select)

    def _answered(self, name: str, key: str, view: str, select: str) -> Run:
        seconds, answer = self._engine(name, view, select)
        return Run(seconds, _names(key == "group", answer))

    def _piped(self, command: List[str]) -> Callable[[], Run]:
        def measured() -> Run:
            begun = time.perf_counter()
            done = run(command)
            return Run(time.perf_counter() - begun, int(done.stdout))

        return measured

    def _lines_of(self, command: List[str]) -> Callable[[], Run]:
        """Counted by wc, whose time is next to nothing beside jq's."""
        return self._shell('"$@" | wc -l', command)

    def _shell(self, script: str, args: List[str]) -> Callable[[], Run]:
        return self._piped([shutil.which("sh") or "/bin/sh", "-c", script, "sh", *args])
