"""What a scenario is given: a collector, a driver, and a directory, all ended with it."""

import os
import random
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from .collector import Collector, Failed, Skipped, features
from .driver import Driver
from .proxies import Server, TlsFront, Trap


class Certificates:
    """An authority and a certificate of it for localhost, made with openssl."""

    def __init__(self, home: Path, name: str = "localhost") -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.ca, self.cert, self.key = home / "ca.pem", home / "cert.pem", home / "key.pem"
        self._openssl(home, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", "/CN=contract suite", "-keyout", "ca.key", "-out", "ca.pem",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        self._openssl(home, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                      "-keyout", "key.pem", "-out", "request.pem")
        alternative = "DNS:%s" % name + (",IP:127.0.0.1" if name == "localhost" else "")
        (home / "extensions").write_text("subjectAltName=%s\nbasicConstraints=CA:FALSE\n" % alternative)
        self._openssl(home, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", "extensions", "-out", "cert.pem")
        for path in home.iterdir():
            path.chmod(0o600)

    @staticmethod
    def _openssl(home: Path, *args: str) -> None:
        try:
            subprocess.run(["openssl", *args], cwd=str(home), check=True, capture_output=True, timeout=60)
        except FileNotFoundError:
            raise Skipped("there is no openssl to make certificates with", ours=False) from None


class Scene:
    """One scenario's run."""

    def __init__(self, auditctl: str, driver: str, home: Path, seed: int, rounds: int, notes: List[str],
                 wanted: Optional[List[str]] = None) -> None:
        self.auditctl, self.command, self.home = auditctl, driver, home
        self.random, self.rounds, self.notes = random.Random(seed), rounds, notes
        self.stack = ExitStack()
        self.environment: Dict[str, str] = {}
        self.wanted = wanted
        self._features: Optional[List[str]] = None
        #: What the environment names as a proxy: no client may ever speak to it.
        self.trap = self.serve(Trap(None))
        self._made = 0

    def folder(self, name: str) -> Path:
        path = self.home / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def collector(self, *, start: bool = True, needs_ids: bool = False, **options: Any) -> Collector:
        self._made += 1
        collector = Collector(self.auditctl, self.home / ("c%d" % self._made), **options)
        self.stack.callback(collector.kill)
        collector.start()
        collector.ids = collector.has_ids()
        if not collector.ids:
            note = "this auditctl has no ids (its hello does not name them): what needs them was skipped"
            if note not in self.notes:
                self.notes.append(note)
            if needs_ids:
                raise Skipped("this auditctl has no ids", ours=False)
        if not start:
            collector.stop()
        return collector

    def driver(self, needs: str = "", **options: Any) -> Driver:
        """A driver with an open client; `needs` is the feature that the scenario is about."""
        env = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            env[name] = env[name.upper()] = "http://127.0.0.1:%d" % self.trap.port
        env.update(self.environment)
        driver = Driver(self.command, self.home, env)
        self.stack.callback(driver.kill)
        if self._features is None or needs:
            self._features = driver.ok("describe")["features"]
        if self.wanted is not None and sorted(self.wanted) != sorted(self._features):
            raise Failed("the driver has %s, and must have %s" % (self._features, self.wanted))
        if needs and needs not in self._features:
            raise Skipped("the driver has no " + needs)
        if options:
            options.setdefault("timeout_ms", 60_000)
            driver.ok("open", **{key: str(value) if isinstance(value, Path) else value for key, value in options.items()})
        return driver

    def close(self) -> None:
        """What holds for each scenario."""
        if self.trap.connections:
            raise Failed("the client used the proxy that the environment names")

    def serve(self, server: Server) -> Any:
        self.stack.callback(server.close)
        return server

    def https(self, certificates: Certificates) -> "tuple[Collector, str, Optional[TlsFront]]":
        """A collector behind TLS: its own, or a front's where the binary was built without."""
        if "tls" in features(self.auditctl):
            collector = self.collector(http=True, tls=certificates)
            return collector, "https://localhost:%d" % collector.port, None
        note = "HTTPS: this auditctl was built without TLS; a front speaks it instead"
        if note not in self.notes:
            self.notes.append(note)
        collector = self.collector(http=True)
        front = self.serve(TlsFront(("127.0.0.1", collector.port), certificates.cert, certificates.key))
        return collector, "https://localhost:%d" % front.port, front


Scenario = Callable[[Scene], None]
SCENARIOS: Dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Takes a scenario into the table, under its function's name."""
    SCENARIOS[run.__name__.rstrip("_")] = run
    return run
