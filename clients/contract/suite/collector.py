"""A real collector on a directory of its own: started, killed, started again, and read."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

Record = Dict[str, Any]


class Failed(Exception):
    """What the suite saw is not what the contract says."""


class Skipped(Exception):
    """A scenario cannot run here. `ours`: for want of a driver's feature, which is not a fault."""

    def __init__(self, why: str, ours: bool = True) -> None:
        super().__init__(why)
        self.ours = ours


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def features(auditctl: str) -> List[str]:
    """The optional features of the binary."""
    text = subprocess.run([auditctl, "--version"], check=True, capture_output=True, text=True, timeout=60)
    for line in text.stdout.splitlines():
        if line.startswith("features:"):
            return [name.strip() for name in line.split(":", 1)[1].split(",")]
    return []


class Collector:
    """`auditctl serve`, as its users run it."""

    def __init__(self, auditctl: str, home: Path, *, http: bool = False, tls: Optional["Any"] = None,
                 rate: "tuple[int, int]" = (1_000_000, 1_000_000)) -> None:
        self.auditctl, self.home = auditctl, home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs = home / "logs"
        #: Whether it knows ids; asked when it was started.
        self.ids = True
        self.socket = self.logs / "audit.sock"
        self.port = free_port() if http else 0
        self.config = home / "auditctl.toml"
        self.process: Optional["subprocess.Popen[bytes]"] = None
        self.stderr = home / "serve.stderr"
        lines = ['log_dir = "%s"' % self.logs, "[collector]"]
        lines.append('http = "%s"' % ("127.0.0.1:%d" % self.port if http else "off"))
        if http:
            lines.append('token_file = "%s"' % (home / "tokens"))
            lines += ["token_rate = 1000000", "token_requests = 100000"]
        if tls is not None:
            lines += ['tls_cert = "%s"' % tls.cert, 'tls_key = "%s"' % tls.key]
        lines += ["[rate_limit]", "per_second = %d" % rate[0], "burst = %d" % rate[1]]
        self.config.write_text("\n".join(lines) + "\n")
        if http:
            self.token_file = self.token("driver", "read-write")

    def environment(self) -> Dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.home), "LC_ALL": "C.UTF-8"}

    def run(self, *args: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        command = [self.auditctl, "--config", str(self.config), *args]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout, env=self.environment(),
                              cwd=str(self.home), encoding="utf-8")

    def token(self, name: str, role: str) -> Path:
        made = self.run("token", "new", "--name", name, "--role", role)
        if made.returncode != 0:
            raise Failed("auditctl token new: " + made.stderr)
        path = self.home / ("token." + name)
        path.touch(mode=0o600)
        path.write_text(made.stdout.strip() + "\n")
        return path

    def start(self) -> "Collector":
        with open(self.stderr, "ab") as stderr:
            self.process = subprocess.Popen([self.auditctl, "--config", str(self.config), "serve"], stderr=stderr,
                                            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=str(self.home),
                                            env=self.environment())
        until = time.monotonic() + 60
        while not self.listens():
            if self.process.poll() is not None:
                raise Failed("the collector ended: " + self.stderr.read_text(errors="replace")[-2000:])
            if time.monotonic() > until:
                raise Failed("the collector did not listen within a minute")
            time.sleep(0.005)
        return self

    def listens(self) -> bool:
        if self.port:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                    return False
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def ask(self, line: str) -> Dict[str, Any]:
        """One line to the socket, and its answer."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(30)
            stream.connect(str(self.socket))
            stream.sendall(line.encode() + b"\n")
            with stream.makefile("rb") as answers:
                answer: Dict[str, Any] = json.loads(answers.readline())
                return answer

    def has_ids(self) -> bool:
        hello = self.ask('{"hello":{"client":"contract-suite"}}')
        said = hello.get("ok", {}).get("hello", {})
        return said.get("protocol", 0) >= 1 and "ids" in said.get("features", [])

    def refused_by_rate(self) -> int:
        count: int = self.ask('{"status":{}}')["ok"]["status"]["rate_limited"]
        return count

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM: what was taken is written, and the log is closed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("the collector did not stop within a minute") from None
        finally:
            self.process = None
        if code != 0:
            raise Failed("the collector stopped with exit code %d" % code)

    def records(self) -> List[Record]:
        """All records, as `auditctl query` reads them from the files."""
        asked = self.run("query", "--direct", "--format", "ndjson", "--oldest")
        if asked.returncode != 0:
            raise Failed("auditctl query: exit code %d: %s" % (asked.returncode, asked.stderr))
        return [json.loads(line) for line in asked.stdout.split("\n") if line]

    def verify(self) -> None:
        verified = self.run("verify")
        if verified.returncode != 0:
            raise Failed("auditctl verify: exit code %d\n%s%s" % (verified.returncode, verified.stdout, verified.stderr))
