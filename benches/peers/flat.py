"""Whether what was sampled each second stayed flat, in numbers and as a picture."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Tuple

BEGIN, END = "<!-- soak: begin -->\n", "<!-- soak: end -->"
# Column, what it is, unit, how much more at the end is still flat, and what is too little to matter.
WATCHED: List[Tuple[str, str, str, float, float]] = [
    ("rss_kib", "memory of the collector (RSS)", "KiB", 0.10, 1024),
    ("descriptors", "descriptors", "", 0.05, 3),
    ("threads", "threads", "", 0.05, 2),
    ("socket_p50_ms", "acknowledgement over the socket, median of a second", "ms", 0.25, 0.5),
    ("socket_p99_ms", "acknowledgement over the socket, 99% of a second", "ms", 0.25, 2),
    ("http_p50_ms", "batch of 100 over HTTP, median of a second", "ms", 0.25, 0.5),
    ("http_p99_ms", "batch of 100 over HTTP, 99% of a second", "ms", 0.25, 2),
]
WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 110, 90, 24, 34


def _known(samples: List[Dict[str, float]], column: str) -> List[Tuple[float, float]]:
    return [(sample["second"], sample[column]) for sample in samples if not math.isnan(sample[column])]


def slope(points: List[Tuple[float, float]]) -> float:
    """Of the line that fits best, in units a second."""
    if len(points) < 2:
        return 0.0
    middle = statistics.fmean(x for x, _ in points)
    mean = statistics.fmean(y for _, y in points)
    of_x = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - mean) for x, y in points) / of_x if of_x else 0.0


def verdicts(samples: List[Dict[str, float]]) -> List[Dict[str, Any]]:
    """For each thing that is watched: the first tenth beside the last, and how it grew in the last half."""
    found = []
    for column, what, unit, share, least in WATCHED:
        points = _known(samples, column)
        tenth = max(1, len(points) // 10)
        first = statistics.median(y for _, y in points[:tenth])
        last = statistics.median(y for _, y in points[-tenth:])
        half = points[len(points) // 2 :]
        per_second = slope(half)
        # How much the fitted line rises over the last half.
        rise = per_second * (half[-1][0] - half[0][0]) if half else 0.0
        most = max(share * statistics.median(y for _, y in half), least)
        found.append(
            {
                "column": column,
                "what": what,
                "unit": unit,
                "first": first,
                "last": last,
                "median": statistics.median(y for _, y in points),
                "max": max(y for _, y in points),
                "per_hour": per_second * 3600,
                "rise": rise,
                "flat": rise <= most and last - first <= max(share * first, least),
            }
        )
    return found


def render(result: Dict[str, Any]) -> str:
    """The figures as text."""
    machine = result["machine"]
    hours = result["minutes"] / 60
    where = (machine["cores"], machine["cpu"], machine["kernel"], machine["file_system"], result["others"] * 100)
    counts = (
        f"{result['acknowledged']:,}",
        f"{result['acknowledged'] / hours / 3600:,.0f}",
        f"{result['refused']:,}",
        f"{result['events']:,}",
    )
    held_back = (
        "The load was held back so that the disk lasts." if result["paced"] else "The load was as high as clients and collector could."
    )
    lines = [
        "`python3 benches/peers/soak.py`, %s, %s: %g minutes, %d cores (%s), Linux %s, %s; others took %.1f%% of the CPU time.\n"
        % (result["date"], result["auditctl"], result["minutes"], *where),
        "%s events acknowledged (%s a second), %s refused; %s are in the log, which was verified. "
        "%d alerts arrived, retention removed records %d times. %s\n" % (*counts, result["alerts"], result["pruned"], held_back),
        "| what | first tenth | last tenth | most | slope over the last half, an hour | flat |\n|---|---|---|---|---|---|",
    ]
    for of in result["verdicts"]:
        unit = " " + of["unit"] if of["unit"] else ""
        lines.append(
            "| %s | %.4g%s | %.4g%s | %.4g%s | %+.3g%s | %s |"
            % (of["what"], of["first"], unit, of["last"], unit, of["max"], unit, of["per_hour"], unit, "yes" if of["flat"] else "**no**")
        )
    lines.append("\n| beside it | times | median | most |\n|---|---|---|---|")
    lines += ["| %s | %d | %.3g s | %.3g s |" % (name, of["times"], of["median"], of["max"]) for name, of in result["times"].items()]
    lines += ["\nNot exercised: %s." % note for note in result["notes"]]
    lines += ["\n**Failed**: %s" % failure for failure in result["failures"]]
    return "\n".join(lines) + "\n"


def write(page: Path, text: str) -> None:
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("%s: the marks %r and %r are missing" % (page, BEGIN, END))
    picture = "![Memory, descriptors, threads, latency, events a second and segments over the time of the soak](screens/soak.svg)\n"
    page.write_text(head + BEGIN + text + "\n" + picture + END + tail, encoding="utf-8")


def plot(samples: List[Dict[str, float]]) -> str:
    """One picture, a panel for each thing over the same time."""
    panels: List[Tuple[str, List[Tuple[str, str]], float]] = [
        ("memory (RSS), MiB", [("rss_kib", "#0b62a4")], 1 / 1024),
        ("descriptors and threads", [("descriptors", "#0b62a4"), ("threads", "#c2410c")], 1),
        ("acknowledgement over the socket, ms: median, 99%", [("socket_p50_ms", "#0b62a4"), ("socket_p99_ms", "#c2410c")], 1),
        ("100 events over HTTP, ms: median, 99%", [("http_p50_ms", "#0b62a4"), ("http_p99_ms", "#c2410c")], 1),
        ("events a second, thousands", [("events_per_second", "#0b62a4")], 1e-3),
        ("events not yet durable", [("queue_events", "#0b62a4")], 1),
        ("segments", [("segments", "#0b62a4")], 1),
    ]
    height = TOP + len(panels) * (HEIGHT + GAP)
    last = max(sample["second"] for sample in samples)
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
        % (WIDTH + LEFT + 20, height),
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for at, (title, columns, factor) in enumerate(panels):
        top = TOP + at * (HEIGHT + GAP)
        lines = [(colour, [(x, y * factor) for x, y in _known(samples, column)]) for column, colour in columns]
        most = max((y for _, points in lines for _, y in points), default=1.0) * 1.05 or 1.0
        out.append('<text x="%d" y="%d" fill="#333">%s</text>' % (LEFT, top - 6, title))
        out.append('<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>' % (LEFT, top, WIDTH, HEIGHT))
        for part in (0.0, 0.5, 1.0):
            y = top + HEIGHT * (1 - part)
            out.append('<text x="%d" y="%.1f" text-anchor="end" fill="#333">%.4g</text>' % (LEFT - 6, y + 4, most * part))
        for colour, points in lines:
            drawn = " ".join("%.1f,%.1f" % (LEFT + WIDTH * x / last, top + HEIGHT * (1 - y / most)) for x, y in _thinned(points))
            out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="1"/>' % (drawn, colour))
    bottom = TOP + len(panels) * (HEIGHT + GAP) - GAP + 16
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(
            '<text x="%.1f" y="%d" text-anchor="middle" fill="#333">%.3g min</text>' % (LEFT + WIDTH * part, bottom, last * part / 60)
        )
    return "\n".join([*out, "</svg>\n"])


def _thinned(points: List[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """As many as there are pixels: of each step the least and the most, so that no peak is lost."""
    step = max(1, len(points) * 2 // WIDTH)
    found: List[Tuple[float, float]] = []
    for at in range(0, len(points), step):
        part = points[at : at + step]
        found += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return found
