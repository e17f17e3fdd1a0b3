"""A client's driver: a process that takes commands as NDJSON and says what came of them."""

import json
import queue
import shlex
import subprocess
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

from .collector import Failed

#: A result takes at most so many seconds; far more than any deadline that the suite sets.
PATIENCE = 90.0

Result = Dict[str, Any]


class Driver:
    """Commands go in with `send`, results come out with `result`, in the same order."""

    def __init__(self, command: str, home: Path, env: Dict[str, str]) -> None:
        self.stderr = home / "driver.stderr"
        self.stdout_seen: List[bytes] = []
        with open(self.stderr, "ab") as stderr:
            self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=stderr, env=env)
        self.count = 0
        self.lines: "queue.Queue[Optional[bytes]]" = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.stdout_seen.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def send(self, cmd: str, **rest: Any) -> int:
        self.count += 1
        line = json.dumps({"n": self.count, "cmd": cmd, **rest}, ensure_ascii=False)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode("utf-8", "surrogatepass") + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed("the driver is gone: %s\n%s" % (error, self.messages())) from None
        return self.count

    def result(self, n: Optional[int] = None, patience: float = PATIENCE) -> Result:
        """The next result; None of the driver's lines may be anything else."""
        try:
            line = self.lines.get(timeout=patience)
        except queue.Empty:
            raise Failed("the driver said nothing for %d s\n%s" % (patience, self.messages())) from None
        if line is None:
            self.lines.put(None)
            raise Failed("the driver ended (%s)\n%s" % (self.process.wait(), self.messages()))
        result: Result = json.loads(line)
        if result.get("n") != (self.count if n is None else n):
            raise Failed("a result of another command: %r" % line[:200])
        return result

    def call(self, cmd: str, **rest: Any) -> Result:
        return self.result(self.send(cmd, **rest))

    def ok(self, cmd: str, **rest: Any) -> Dict[str, Any]:
        """A command that must succeed."""
        result = self.call(cmd, **rest)
        if "ok" not in result:
            raise Failed("%s: %s\n%s" % (cmd, json.dumps(result)[:2000], self.messages()))
        ok: Dict[str, Any] = result["ok"]
        return ok

    def batch(self, events: List[Dict[str, Any]]) -> List[Result]:
        return self.results(self.call("batch", events=events), len(events))

    @staticmethod
    def results(result: Result, count: int, key: str = "results") -> List[Result]:
        results: Optional[List[Result]] = result.get(key)
        if results is None or len(results) != count:
            raise Failed("%s: no %d outcomes: %s" % (key, count, json.dumps(result)[:2000]))
        return results

    def messages(self) -> str:
        return self.stderr.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """The end of its input: it closes its client and exits with 0."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("the driver did not end at the end of its input") from None
        if code != 0:
            raise Failed("the driver ended with %d\n%s" % (code, self.messages()))
