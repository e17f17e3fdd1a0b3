#!/usr/bin/env python3
"""Measures auditctl beside what people would use instead, and writes the tables of docs/performance.md. See README.md here."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List

import machine
import tables
from asking import Asking
from packing import Packing
from programs import ROOT, Auditctl, Measure, build, python_version, python_with_packages
from recording import Recording
from scratch import Failed, Scratch, say
from starting import Starting
from turns import PAIRS, Contest, compete
from work import Work, make

PAGE = ROOT / "docs/performance.md"
LAST = Path(__file__).resolve().parent / "last.json"
SECTIONS = ("recording", "asking", "packing", "start")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="only these: %s [default: all]" % ", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="small sizes and three pairs: whether it works, not how fast anything is")
    parser.add_argument("--w2-mb", type=int, help="megabytes of real events [default: 588; with --quick 12]")
    parser.add_argument("--w1-events", type=int, help="small events [default: 1000000; with --quick 20000]")
    parser.add_argument("--seconds", type=float, help="how long one run of what has no end takes [default: 2; with --quick 1]")
    parser.add_argument("--pairs", type=int, help="[default: %d; with --quick 3]" % PAIRS)
    parser.add_argument("--features", help="cargo features of what is built [default: those of a release]")
    parser.add_argument("--target", type=Path, default=ROOT / "target/peers", help="where all of it goes [default: target/peers]")
    parser.add_argument("--auditctl", type=Path, help="a program that is built already; needs --measure")
    parser.add_argument("--measure", type=Path, help="the bench `peers` that is built already; needs --auditctl")
    parser.add_argument("--result", type=Path, help="where the result goes as JSON [default: last.json here; with --quick in --target]")
    parser.add_argument("--write", action="store_true", help="with --quick or SECTION: write docs/performance.md all the same")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the page from the last result")
    parser.add_argument("--check", action="store_true", help="measure nothing: exit code 1 unless the page has the last result")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.sections if name not in SECTIONS]
    if unknown:
        parser.error("no section %s; there are: %s" % (", ".join(unknown), ", ".join(SECTIONS)))
    if (chosen.auditctl is None) != (chosen.measure is None):
        parser.error("--auditctl and --measure need each other")
    defaults = {"w2_mb": (588, 12), "w1_events": (1_000_000, 20_000), "seconds": (2.0, 1.0), "pairs": (PAIRS, 3)}
    for name, (full, quick) in defaults.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, quick if chosen.quick else full)
        if getattr(chosen, name) <= 0:
            parser.error("--%s has to be above 0" % name.replace("_", "-"))
    if chosen.w2_mb > 3_500:
        parser.error("--w2-mb can be 3500 at most: all of it is one segment, which has 4 GiB at most")
    if chosen.result is None:
        chosen.result = LAST if not chosen.quick and not chosen.sections else chosen.target / "last.json"
    return chosen


def measured(chosen: argparse.Namespace) -> Dict[str, Any]:
    missing: Dict[str, str] = {}
    versions = {"Python": python_version()}
    chosen.target.mkdir(parents=True, exist_ok=True)
    paths = (chosen.auditctl, chosen.measure) if chosen.auditctl else build(chosen.target, chosen.features)
    sections = chosen.sections or list(SECTIONS)
    python = python_with_packages(chosen.target, missing) if "asking" in sections else None
    rows: List[Dict[str, Any]] = []
    with Scratch(chosen.target) as scratch:
        auditctl, measure = Auditctl(paths[0].resolve()), Measure(paths[1].resolve(), scratch.home)
        work = make(scratch, auditctl, measure, chosen.w2_mb, chosen.w1_events)
        told = machine.describe(scratch.home)
        for contests in plans(chosen, sections, scratch, auditctl, measure, work, python):
            for contest in contests(missing, versions):
                rows += compete(contest, chosen.pairs, missing)
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            "quick": chosen.quick,
            "pairs": chosen.pairs,
            "auditctl": auditctl.version(),
            "machine": told,
            "work": {"small_events": work.small_events, "real_events": work.real_events, "real_bytes": work.lines.stat().st_size},
            "versions": versions,
            "missing": missing,
            "rows": rows,
        }


def plans(
    chosen: argparse.Namespace,
    sections: List[str],
    scratch: Scratch,
    auditctl: Auditctl,
    measure: Measure,
    work: Work,
    python: "Path | None",
) -> List[Callable[[Dict[str, str], Dict[str, str]], Iterable[Contest]]]:
    """What each section measures; its servers start, and its files are made, when it is its turn."""
    starts = 10 if chosen.quick else 100
    made: Dict[str, Callable[[], Any]] = {
        "recording": lambda: Recording(scratch, auditctl, measure, work, chosen.seconds, chosen.w1_events),
        "asking": lambda: Asking(scratch, auditctl, measure, work, python),
        "packing": lambda: Packing(scratch, auditctl, work),
        "start": lambda: Starting(scratch, auditctl, measure, work, starts),
    }

    def contests(name: str) -> Callable[[Dict[str, str], Dict[str, str]], Iterable[Contest]]:
        def of_section(missing: Dict[str, str], versions: Dict[str, str]) -> Iterable[Contest]:
            say(name)
            found: Iterable[Contest] = made[name]().contests(missing, versions)
            return found

        return of_section

    return [contests(name) for name in SECTIONS if name in sections]


def last_result(path: Path) -> "Dict[str, Any] | None":
    """None where nothing was measured yet."""
    if not path.exists():
        return None
    found: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> int:
    chosen = arguments()
    if chosen.check:
        if tables.is_current(PAGE, last_result(chosen.result)):
            return 0
        say("docs/performance.md has not the result of %s; run with --render" % chosen.result)
        return 1
    if chosen.render:
        tables.write(PAGE, last_result(chosen.result))
        return 0
    result = measured(chosen)
    chosen.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say("\nthe result is in %s" % chosen.result)
    if chosen.write or not (chosen.quick or chosen.sections):
        tables.write(PAGE, result)
        say("its tables are in %s" % PAGE)
    else:
        print(tables.render(result))
    differing = [row for row in result["rows"] if row["same_answer"] is False]
    for row in differing:
        say("ANOTHER ANSWER: %s, beside %s" % (row["what"], row["peer_name"]))
    return 1 if differing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        say(re.sub(r"^", "run.py: ", str(failed)))
        sys.exit(3)
    except KeyboardInterrupt:
        say("run.py: interrupted; nothing is left")
        sys.exit(130)
