"""Things timed in turn: ours, a peer, ours, the peer …; and the ratio of each pair."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Union

from machine import Watch
from scratch import Failed, say

PAIRS = 9
# A peer that takes longer than this takes part in few rounds only.
SLOW_SECONDS = 10.0
SLOW_PAIRS = 3


@dataclass
class Run:
    """What one run gave: seconds or a rate; its answer, where others have to give the same; what else it told."""

    value: float
    answer: Any = None
    told: Dict[str, float] = field(default_factory=dict)


Runner = Callable[[], Union[Run, float]]


@dataclass
class Peer:
    """What ours stands beside."""

    name: str
    run: Runner
    # How many times as fast ours is meant to be; None where there is no goal.
    goal: Optional[float] = None


@dataclass
class Contest:
    """One thing that ours does, and what it is measured against."""

    section: str
    what: str
    ours: Runner
    peers: List[Peer]
    # "s": less is better; anything else is a rate, of which more is better.
    unit: str = "s"


def _measured(run: Runner) -> Run:
    found = run()
    return found if isinstance(found, Run) else Run(found)


def summary(values: List[float]) -> Dict[str, float]:
    """The median, and the least and the most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compete(contest: Contest, pairs: int, missing: Dict[str, str]) -> List[Dict[str, Any]]:
    """The rows of a contest: one for each peer that could be run. Who could not is named in `missing`."""
    if not contest.peers:
        return []
    say("  %s" % contest.what)
    racers: Dict[str, Runner] = {"": contest.ours, **{peer.name: peer.run for peer in contest.peers}}
    values: Dict[str, List[Run]] = {name: [] for name in racers}
    limit = dict.fromkeys(racers, pairs)
    with Watch() as watch:
        # Once before it counts: files come into the page cache, and who cannot run says so.
        for name, run in list(racers.items()):
            begun = time.monotonic()
            try:
                _measured(run)
            except Failed as why:
                if name == "":
                    raise
                missing[name] = str(why)
                del racers[name]
                continue
            if time.monotonic() - begun > SLOW_SECONDS:
                limit[name] = min(pairs, SLOW_PAIRS)
        for turn in range(pairs):
            names = [name for name in racers if turn < limit[name] or name == ""]
            # Another one begins each time, so that nobody always has the same one before it.
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                try:
                    values[name].append(_measured(racers[name]))
                except Failed as why:
                    if name == "":
                        raise
                    missing[name] = str(why)
                    del racers[name]
    rows = [_row(contest, peer, values, watch.share) for peer in contest.peers if peer.name in racers]
    for row in rows:
        say("    %-42s %6.2f  (%.2f to %.2f)" % (row["peer_name"], row["ratio"]["median"], row["ratio"]["min"], row["ratio"]["max"]))
    return rows


def _row(contest: Contest, peer: Peer, values: Dict[str, List[Run]], others: float) -> Dict[str, Any]:
    theirs = values[peer.name]
    ours = values[""][: len(theirs)]
    ratios = [a.value / b.value for a, b in zip(ours, theirs)]
    if contest.unit == "s":
        ratios = [1 / ratio for ratio in ratios]
    answers = [run.answer for run in ours + theirs if run.answer is not None]
    row: Dict[str, Any] = {
        "section": contest.section,
        "what": contest.what,
        "unit": contest.unit,
        "ours": summary([run.value for run in ours]),
        "peer_name": peer.name,
        "peer": summary([run.value for run in theirs]),
        "ratio": summary(ratios),
        "goal": peer.goal,
        "pairs": len(theirs),
        "others": round(others, 4),
        "same_answer": None if not answers else all(answer == answers[0] for answer in answers),
    }
    for whose, runs in (("ours", ours), ("peer", theirs)):
        told = {key for run in runs for key in run.told}
        for key in sorted(told):
            row[whose][key] = statistics.median(run.told[key] for run in runs if key in run.told)
    return row
