#!/usr/bin/env python3
"""What Python's decimal and str say of the values in records.

Reads one JSON object from standard input: `lines` are stored records, `questions` are
conditions on `details.v` as [operator, value as JSON], `csv` is what `--format csv
--fields seq,details.v` printed of them. Prints one JSON object: `counts`, how many
records meet each question; `groups`, [value as JSON, type, records] of each value of
`details.v`; `cells`, what is wrong with the CSV (nothing). Standard library only.
"""

import csv
import io
import json
import sys
from decimal import Decimal


class Number(Decimal):
    """A number that knows how it was written."""

    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number


def read(text):
    return json.loads(text, parse_float=Number, parse_int=Number)


def kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Decimal):
        return "number"
    return {str: "text", dict: "object", list: "array"}[type(value)]


def holds(found, operator, wanted):
    same = kind(found) == kind(wanted) and found == wanted
    if operator == "=":
        return same
    if operator == "!=":
        return not same
    if kind(found) != kind(wanted) or kind(found) not in ("number", "text"):
        return False
    if kind(found) == "text":
        found, wanted = found.encode(), wanted.encode()
    return {
        "<": found < wanted,
        "<=": found <= wanted,
        ">": found > wanted,
        ">=": found >= wanted,
    }[operator]


def main():
    asked = json.load(sys.stdin)
    records = [read(line) for line in asked["lines"]]
    values = [record["details"]["v"] for record in records]
    counts = []
    for operator, wanted in asked["questions"]:
        wanted = read(wanted)
        counts.append(sum(holds(value, operator, wanted) for value in values))
    groups = {}
    for value in values:
        name = kind(value)
        key = (name, Decimal(value) if name == "number" else value)
        spelled, records_of = groups.get(key, (None, 0))
        text = value.text if name == "number" else json.dumps(value)
        if spelled is None or (len(text), text) < (len(spelled), spelled):
            spelled = text
        groups[key] = (spelled, records_of + 1)
    wrong = []
    rows = csv.DictReader(io.StringIO(asked["csv"], newline=""))
    cells = {int(row["seq"]): row["details.v"] for row in rows}
    for record in records:
        value = record["details"]["v"]
        expected = value.text if kind(value) == "number" else value
        if kind(value) in ("boolean", "null"):
            expected = json.dumps(value)
        found = cells.get(int(record["seq"]))
        if found != expected:
            wrong.append([str(record["seq"]), found, expected])
    json.dump(
        {
            "counts": counts,
            "groups": sorted([spelled, key[0], n] for key, (spelled, n) in groups.items()),
            "cells": wrong,
        },
        sys.stdout,
    )


main()
