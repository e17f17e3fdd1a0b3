"""Asks DuckDB or chDB in a process of its own: engine.py NAME VIEW STATEMENT.

The time is the statement's alone, not that of Python and of loading the engine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, List


def duckdb(view: str, select: str) -> "tuple[float, List[Any]]":
    import duckdb  # type: ignore[import-not-found, unused-ignore]

    connection = duckdb.connect(config={"threads": len(os.sched_getaffinity(0))})
    connection.execute("set timezone = 'UTC'")
    connection.execute("create view t as select * from %s" % view)
    begun = time.perf_counter()
    rows = connection.execute(select).fetchall()
    return time.perf_counter() - begun, rows


def chdb(view: str, select: str) -> "tuple[float, List[Any]]":
    from chdb import session  # type: ignore[import-not-found, unused-ignore]

    asked = session.Session()
    settings = "max_threads = %d" % len(os.sched_getaffinity(0))
    asked.query("select 1")
    begun = time.perf_counter()
    text = str(asked.query("%s settings %s" % (select.replace(" from t", " from " + view), settings), "JSONCompact"))
    return time.perf_counter() - begun, json.loads(text)["data"]


def main() -> None:
    name, view, select = sys.argv[1:4]
    seconds, rows = {"duckdb": duckdb, "chdb": chdb}[name](view, select)
    is_group = bool(rows) and len(rows[0]) > 1
    answer = json.dumps([list(row) for row in rows]) if is_group else str(rows[0][0] if rows else 0)
    print(json.dumps({"seconds": seconds, "answer": answer}))


if __name__ == "__main__":
    main()
