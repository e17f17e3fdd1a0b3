"""Which machine this is, and whether anybody else used it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Dict, List, Optional, Tuple, Type

PF_KTHREAD = 0x0020_0000
# Of all CPU time of the machine: more than this by others, and the run was not quiet.
QUIET = 0.03
TICKS = os.sysconf("SC_CLK_TCK")


def _stat_of(process: str) -> Optional[Tuple[int, int, bool, int, int]]:
    """pid, parent, whether it is the kernel's, its ticks, those of its children that it waited for."""
    try:
        text = Path("/proc", process, "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in brackets, and may hold any sign.
    fields = text[text.rindex(")") + 2 :].split()
    return (
        int(process),
        int(fields[1]),
        bool(int(fields[6]) & PF_KTHREAD),
        int(fields[11]) + int(fields[12]),
        int(fields[13]) + int(fields[14]),
    )


def _ticks() -> Tuple[int, int]:
    """Busy ticks of the machine, and those of this process, all below it, and the kernel's threads."""
    with open("/proc/stat", encoding="ascii") as stat:
        numbers = [int(number) for number in stat.readline().split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = numbers
    busy = user + nice + system + irq + softirq + steal
    processes = [found for found in map(_stat_of, filter(str.isdigit, os.listdir("/proc"))) if found]
    children: Dict[int, List[int]] = {}
    by_pid = {}
    known = 0
    for pid, parent, is_kernel, own, waited in processes:
        children.setdefault(parent, []).append(pid)
        by_pid[pid] = own + waited
        if is_kernel:
            known += own
    todo = [os.getpid()]
    while todo:
        pid = todo.pop()
        known += by_pid.get(pid, 0)
        todo.extend(children.get(pid, ()))
    return busy, known


class Watch:
    """How much of the machine's CPU time others took while it was open."""

    def __init__(self) -> None:
        self.share = 0.0

    def __enter__(self) -> "Watch":
        self._begun, self._ticks = time.monotonic(), _ticks()
        return self

    def __exit__(self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _trace: Optional[TracebackType]) -> None:
        busy, known = _ticks()
        took = time.monotonic() - self._begun
        others = (busy - self._ticks[0]) - (known - self._ticks[1])
        self.share = max(0.0, others / TICKS / (took * cores())) if took > 0 else 0.0


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _file_system(path: Path) -> str:
    """The kind of the one that is mounted nearest above."""
    device = os.stat(path).st_dev
    number = "%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0]
    return "unknown"


def describe(home: Path) -> Dict[str, object]:
    """The machine, and the file system that the work lies on."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                model = value.strip()
                break
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory = int(next(lines).split()[1]) // 1024
    return {
        "cores": cores(),
        "cpu": model or platform.machine(),
        "memory_mib": memory,
        "kernel": platform.release(),
        "file_system": _file_system(home),
    }
