"""What a run makes and starts. All of it is gone when the run ends, however it ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Callable, Dict, Optional, Sequence, Type

PR_SET_PDEATHSIG = 1
# A collector that ends compresses, ships and signs what it has.
PATIENCE = 180.0


class Failed(Exception):
    """A program ended as it should not have; the text says which, and what it said."""


def _die_with_parent(number: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, number) and None


def _interrupt(number: int, _frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt(number)


class Scratch:
    """A directory of the run's own, and the servers that it starts."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        # What a killed run left.
        for left in parent.glob("run-*"):
            if not Path("/proc", left.name[len("run-") :]).exists():
                shutil.rmtree(left, ignore_errors=True)
        self.home = parent.resolve() / ("run-%d" % os.getpid())
        self.home.mkdir(mode=0o755)
        # With the signal that ends each at once, and leaves nothing behind.
        self._servers: Dict["subprocess.Popen[bytes]", int] = {}

    def __enter__(self) -> "Scratch":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        return self

    def __exit__(self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _trace: Optional[TracebackType]) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for server, end in list(self._servers.items()):
            self.stop(server, end)
        shutil.rmtree(self.home, ignore_errors=True)

    def dir(self, name: str) -> Path:
        """A new, empty directory; what was there under the name is removed."""
        path = self.home / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def start(self, command: Sequence[str], end: int = signal.SIGKILL, **options: Any) -> "subprocess.Popen[bytes]":
        """A server: not reached by the terminal's Ctrl-C, and ended by that signal if this process is killed."""
        server: "subprocess.Popen[bytes]" = subprocess.Popen(
            command, start_new_session=True, preexec_fn=_die_with_parent(end), stdin=subprocess.DEVNULL, **options
        )
        self._servers[server] = end
        return server

    def stop(self, server: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> None:
        """Ends a server, and waits for it."""
        if server.poll() is None:
            server.send_signal(number)
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._servers.pop(server, None)


def run(command: Sequence[str], ok: Sequence[int] = (0,), **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Runs a program to its end; its stdout is in the result unless it goes elsewhere."""
    options.setdefault("stdout", subprocess.PIPE)
    done: "subprocess.CompletedProcess[bytes]" = subprocess.run(
        list(command), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, **options
    )
    if done.returncode not in ok:
        said = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise Failed("%s: exit code %d: %s" % (" ".join(command[:4]), done.returncode, said))
    return done


def say(text: str) -> None:
    """To people; stdout is for nothing here."""
    print(text, file=sys.stderr, flush=True)
