"""The result as tables, between the marks of docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from machine import QUIET

BEGIN, END = "<!-- peers: begin -->\n", "<!-- peers: end -->"
HOW = {
    "Recording": "Events a second; the ratio is ours to the peer's. W1 unless the row says otherwise.",
    "Asking": "Seconds of the whole process for ours, rg and jq; for DuckDB and chDB the statement's alone. "
    "The ratio is the peer's time to ours.",
    "Packing": "Seconds; the ratio is the peer's time to ours. *×* is how many times smaller the result is.",
    "Start": "Seconds from start to exit, medians of many starts; the ratio is the peer's time to ours.",
}


def _number(value: float) -> str:
    if value >= 10_000:
        return f"{float('%.3g' % value):,.0f}"
    return "%.3g" % value if value < 1000 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    return "%.3g s" % value if value >= 0.1 else "%.3g ms" % (value * 1e3)


def _value(row: Dict[str, Any], whose: str) -> str:
    of = row[whose]
    text = _seconds(of["median"]) if row["unit"] == "s" else _number(of["median"]) + "/s"
    if "packed" in of:
        text += ", %.2f ×" % of["packed"]
    if "read" in of:
        text += ", %.3g%% of the blocks read" % of["read"]
    if "per_sync" in of:
        text += ", %.0f a sync" % of["per_sync"]
    if "peak_mib" in of:
        text += ", %.1f MiB" % of["peak_mib"]
    return text


def _ratio(row: Dict[str, Any]) -> str:
    ratio = row["ratio"]
    return "%.3g (%.3g to %.3g)" % (ratio["median"], ratio["min"], ratio["max"])


def _goal(row: Dict[str, Any]) -> str:
    goal = row["goal"]
    if goal is None:
        return ""
    return "%.3g, %s" % (goal, "reached" if row["ratio"]["median"] >= goal else "not reached")


def render(result: Optional[Dict[str, Any]]) -> str:
    """The text between the marks."""
    if result is None:
        return "Nothing has been measured yet.\n"
    machine, work, pairs = result["machine"], result["work"], result["pairs"]
    text = []
    if result["quick"]:
        text.append("**A try with small sizes (`--quick`): nothing here says how fast anything is.**\n")
    version = result["auditctl"].splitlines()[0].split(" ", 1)[-1]
    where = (machine["cores"], machine["cpu"], machine["kernel"], machine["file_system"])
    sizes = (f"{work['small_events']:,}", f"{work['real_events']:,}", work["real_bytes"] // 1_000_000)
    text.append(
        "`python3 benches/peers/run.py`, %s, auditctl %s. %d cores (%s), Linux %s, %s. W1: %s events of about 300 bytes as stored. "
        "W2: %s real events, %d MB. %d pairs in turn, or as many as the row says; median, and from the least to the most.\n"
        % (result["date"], version, *where, *sizes, pairs)
    )
    rows: List[Dict[str, Any]] = result["rows"]
    noisy = [row for row in rows if row["others"] > QUIET]
    most = max((row["others"] for row in rows), default=0.0)
    if noisy:
        text.append(
            "The machine was **not quiet**: in rows marked with ~ other programs took more than %.0f%% of its CPU time, up to %.0f%%.\n"
            % (QUIET * 100, most * 100)
        )
    else:
        text.append("The machine was quiet: in no row did other programs take more than %.1f%% of its CPU time.\n" % (most * 100))
    for section in dict.fromkeys(row["section"] for row in rows):
        answers = {row["same_answer"] for row in rows if row["section"] == section}
        same = " All gave the same answer." if answers == {True} else ""
        text.append("### %s\n\n%s%s\n" % (section, HOW[section], same))
        text.append("| what | ours | beside it | its figure | ratio | goal |\n|---|---|---|---|---|---|")
        last = None
        for row in (row for row in rows if row["section"] == section):
            what = row["what"] if row["what"] != last else ""
            marks = "%s%s" % (" ~" if row["others"] > QUIET else "", " (%d pairs)" % row["pairs"] if row["pairs"] != pairs else "")
            if row["same_answer"] is False:
                marks += " **another answer**"
            ours = _value(row, "ours") if what else ""
            text.append(
                "| %s | %s | %s | %s | %s%s | %s |" % (what, ours, row["peer_name"], _value(row, "peer"), _ratio(row), marks, _goal(row))
            )
            last = row["what"]
        text.append("")
    versions = "; ".join("%s: %s" % (name, version) for name, version in sorted(result["versions"].items()))
    text.append("Versions: %s.\n" % versions)
    if result["missing"]:
        text.append("Not measured: %s.\n" % "; ".join("%s (%s)" % pair for pair in sorted(result["missing"].items())))
    return "\n".join(text)


def _parts(page: Path) -> "tuple[str, str, str]":
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    inside, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("%s: the marks %r and %r are missing" % (page, BEGIN, END))
    return head, inside, tail


def write(page: Path, result: Optional[Dict[str, Any]]) -> None:
    head, _, tail = _parts(page)
    page.write_text(head + BEGIN + render(result) + END + tail, encoding="utf-8")


def is_current(page: Path, result: Optional[Dict[str, Any]]) -> bool:
    """Whether the page has this result."""
    return _parts(page)[1] == render(result)
