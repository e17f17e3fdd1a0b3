"""Asks an engine the questions of docs/engines.md, with the statements that stand there.

    ask.py ENGINE PLACE

ENGINE is a heading's mark in the document (duckdb, clickhouse, datafusion, spark). PLACE is
what stands instead of the document's bucket: a directory, or for clickhouse the bucket's URL
at a server. Prints one JSON object: for each question its rows, each value as text.
"""

import datetime
import json
import pathlib
import re
import sys

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "engines.md"
QUESTIONS = ["by-actor", "by-type-and-day", "time-range", "in-details", "newest-per-host", "count"]


def blocks():
    """Each SQL block with a mark before it, by its mark."""
    found = {}
    text = DOCUMENT.read_text()
    for mark, sql in re.findall(r"<!-- sql: ([a-z -]+) -->\n```sql\n(.*?)```", text, re.S):
        assert mark not in found, mark
        found[mark] = [one.strip() for one in sql.split(";\n") if one.strip()]
    return found


def text(value):
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return str(value)


def statements(engine, place):
    all_blocks = blocks()
    setup = [one.replace(BUCKETS[engine], place) for one in all_blocks[f"{engine} setup"]]
    ask = {}
    for question in QUESTIONS:
        own = all_blocks.get(f"{engine} {question}", all_blocks.get(question))
        assert own is not None and len(own) == 1, question
        ask[question] = own[0].rstrip(";")
    return setup, ask


BUCKETS = {
    "duckdb": "s3://acme-audit/trail",
    "clickhouse": "https://acme-audit.s3.amazonaws.com/trail",
    "datafusion": "s3://acme-audit/trail",
    "spark": "s3a://acme-audit/trail",
}


def duckdb(setup, ask):
    import duckdb

    connection = duckdb.connect()
    for one in setup:
        # What only a bucket needs.
        if not one.startswith(("INSTALL", "LOAD", "CREATE SECRET")):
            connection.execute(one)
    return {name: connection.execute(sql).fetchall() for name, sql in ask.items()}


def clickhouse(setup, ask):
    from chdb import session

    connection = session.Session()
    for one in setup:
        connection.query(one)
    answers = {}
    for name, sql in ask.items():
        lines = str(connection.query(sql, "JSONCompactEachRow")).splitlines()
        answers[name] = [json.loads(line) for line in lines]
    connection.close()
    return answers


def datafusion(setup, ask):
    import datafusion

    context = datafusion.SessionContext()
    for one in setup:
        context.sql(one)
    answers = {}
    for name, sql in ask.items():
        rows = []
        for batch in context.sql(sql).collect():
            columns = [column.to_pylist() for column in batch.columns]
            rows.extend(zip(*columns))
        answers[name] = rows
    return answers


def spark(setup, ask):
    import os
    import tempfile

    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.chdir(tempfile.mkdtemp())
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    builder = builder.config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1")
    builder = builder.config("spark.sql.shuffle.partitions", "2")
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for one in setup:
        session.sql(one)
    answers = {name: [tuple(row) for row in session.sql(sql).collect()] for name, sql in ask.items()}
    # Every worker is a process of its own, and two answered.
    workers = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
    assert workers == 2, workers
    session.stop()
    return answers


def main():
    engine, place = sys.argv[1:]
    setup, ask = statements(engine, place)
    answers = {"duckdb": duckdb, "clickhouse": clickhouse, "datafusion": datafusion, "spark": spark}
    found = answers[engine](setup, ask)
    print(json.dumps({name: [[text(it) for it in row] for row in rows] for name, rows in found.items()}))


main()
