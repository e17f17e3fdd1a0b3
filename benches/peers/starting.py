"""Starting: seconds from start to exit, and the most memory, of commands that others run often."""

from __future__ import annotations

from typing import Callable, Dict, List

from programs import Auditctl, Collector, Measure
from scratch import Scratch
from turns import Contest, Peer, Run
from work import Work

SECTION = "Start"


class Starting:
    """The contests of starting: what there is to beat is doing nothing."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, measure: Measure, work: Work, starts: int) -> None:
        self._scratch, self._auditctl, self._measure, self._work, self._starts = scratch, auditctl, measure, work, starts

    def contests(self, _missing: Dict[str, str], _versions: Dict[str, str]) -> List[Contest]:
        home = self._work.sealed
        settings = (home / "auditctl.toml").read_text(encoding="utf-8")
        # It runs until the end of the run: there is something to look at.
        Collector(self._scratch, self._auditctl, home, settings)
        version = Peer("--version", self._started("--version"))
        nothing = Peer("/bin/true", self._program(["/bin/true"]))
        return [
            Contest(
                SECTION, "health --json, beside a collector (goal: 4 ms, 10 MB)", self._started("health", "--json"), [version, nothing]
            ),
            Contest(SECTION, "monitor --once --json", self._started("monitor", "--once", "--json"), [version]),
        ]

    def _started(self, *args: str) -> Callable[[], Run]:
        if args == ("--version",):
            return self._program([str(self._auditctl.path), "--version"])
        return self._program(self._auditctl.command(self._work.sealed, *args))

    def _program(self, command: List[str]) -> Callable[[], Run]:
        def measured() -> Run:
            told = self._measure.json("start", str(self._starts), *command)
            return Run(told["seconds"], told={"peak_mib": told["peak_kib"] / 1024})

        return measured
