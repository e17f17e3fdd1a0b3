#!/usr/bin/env python3
"""A collector under full load for an hour, and everything else that it does meanwhile.

Says whether memory, descriptors and latency stayed flat. See README.md here.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import flat
import machine
from programs import ROOT, Auditctl, Collector, build
from scratch import Failed, Scratch, run, say
from work import write_small

GIGABYTE = 1e9
SETTINGS = """
durability = "commit"
max_segment_size = "32MiB"
max_segment_age = "1m"
retention_days = 1
dedupe_window = "1h"

[rate_limit]
enabled = false

[backup]
output_dir = "{home}/backups"
incremental = true

[archive]
destination = "{home}/archive"
interval = "10s"

[alerting]
allow = ["127.0.0.1:{port}"]
allow_http = true

[[alerts]]
name = "alarm"
on = "event"
type = ["soak.alarm"]
cooldown = "1s"
url = "http://127.0.0.1:{port}/"

[[alerts]]
name = "failures"
on = "errors"
count = 5
within = "1m"
cooldown = "10s"
url = "http://127.0.0.1:{port}/"
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    parser.add_argument("--minutes", type=float, default=minutes, help="[default: SOAK_MINUTES, or 60]")
    help_text = "what log, backups and archive may take; the load is as high as that allows [default: 8]"
    parser.add_argument("--gigabytes", type=float, default=8.0, help=help_text)
    parser.add_argument("--features", help="cargo features of what is built [default: those of a release]")
    parser.add_argument("--target", type=Path, default=ROOT / "target/peers", help="where all of it goes [default: target/peers]")
    parser.add_argument("--auditctl", type=Path, help="a program that is built already; needs --measure")
    parser.add_argument("--measure", type=Path, help="the bench `peers` that is built already; needs --auditctl")
    parser.add_argument("--out", type=Path, default=ROOT / "target/peers", help="where soak.csv, soak.json and soak.svg go")
    parser.add_argument("--write", action="store_true", help="put the plot and the figures into docs/performance.md as well")
    chosen = parser.parse_args()
    if chosen.minutes <= 0:
        parser.error("--minutes has to be above 0")
    if (chosen.auditctl is None) != (chosen.measure is None):
        parser.error("--auditctl and --measure need each other")
    return chosen


class Hook:
    """A webhook on loopback; counts what it is told."""

    def __init__(self) -> None:
        hook = self
        self.told = 0

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                hook.told += 1
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Soak:
    """The collector, what is done to it, and what is seen of it."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, measure: Path, minutes: float) -> None:
        self._scratch, self._auditctl, self._measure = scratch, auditctl, measure
        self._seconds = minutes * 60
        self.home = scratch.dir("soak")
        self.notes: List[str] = []
        self.times: Dict[str, List[float]] = {}
        self.failures: List[str] = []
        self.started = ""
        self._over = threading.Event()
        self._threads: List[threading.Thread] = []
        self._browser: "Optional[subprocess.Popen[bytes]]" = None
        self._elsewhere = 0
        self._hook = Hook()
        for name in ("backups", "archive"):
            (self.home / name).mkdir()
        self.settings = SETTINGS.format(home=self.home, port=self._hook.port)
        if "alerts" not in auditctl.version():
            self.settings = self.settings[: self.settings.index("[alerting]")]
            self.notes.append("no alerts: this build is without them")

    def fill_yesterday(self) -> None:
        """Records that become a day old while the soak runs, so that retention has to remove them, some each minute."""
        if shutil.which("faketime") is None:
            self.notes.append("nothing was old enough for retention: faketime is not installed")
            return
        (self.home / "auditctl.toml").write_text(self.settings[: self.settings.index("[archive]")], encoding="utf-8")
        events = self.home / "old.ndjson"
        write_small(events, 20_000)
        command = self._auditctl.command(self.home, "record", "--json", "--from-start", "--file", str(events))
        minutes = max(2, round(self._seconds / 60))
        for minute in range(minutes):
            ago = 24 * 60 - minute
            run(["faketime", "-f", "-%dm" % ago, *command], cwd=self.home)
        say("%d segments of a day ago are there" % minutes)

    def _command(self, *args: str, ok: "tuple[int, ...]" = (0,)) -> "subprocess.CompletedProcess[bytes]":
        return run(self._auditctl.command(self.home, *args), ok=ok, cwd=self.home)

    def _again_and_again(self, name: str, every: float, act: Callable[[], object]) -> None:
        def forever() -> None:
            while not self._over.wait(every):
                begun = time.monotonic()
                try:
                    act()
                except (Failed, OSError, http.client.HTTPException) as why:
                    if not self._over.is_set():
                        self.failures.append("%s: %s" % (name, why))
                        say(self.failures[-1])
                self.times.setdefault(name, []).append(time.monotonic() - begun)

        thread = threading.Thread(target=forever, name=name)
        thread.start()
        self._threads.append(thread)

    def _look_as_the_page_does(self, address: str, token: str) -> None:
        for path in ("/v1/status", "/v1/events?limit=50"):
            connection = http.client.HTTPConnection(address, timeout=60)
            try:
                connection.request("GET", path, headers={"Authorization": "Bearer %s" % token, "Origin": "http://%s" % address})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise Failed("GET %s: %d" % (path, answer.status))
            finally:
                connection.close()

    def _open_page(self) -> None:
        told = json.loads(self._command("open", "--json").stdout)
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if chromium is None:
            self.notes.append("no Chromium: the page's requests without a page")
            address = told["address"].split("//")[1].rstrip("/")
            self._again_and_again("page", 2, lambda: self._look_as_the_page_does(address, told["token"]))
            return
        profile = self._scratch.dir("chromium")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += ["--user-data-dir=%s" % profile, "--remote-debugging-port=0", told["url"]]
        env = {**os.environ, "HOME": str(profile)}
        self._browser = self._scratch.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)

    def _start_others(self) -> None:
        asked = [
            ["--actor", "alice", "--limit", "100", "--json"],
            ["--since", "10s", "--group-by", "source", "--json"],
            ["--type", "soak.alarm", "--since", "1m", "--count"],
        ]
        turn = [0]

        def ask() -> None:
            turn[0] += 1
            self._command("query", *asked[turn[0] % len(asked)])

        def back_up() -> None:
            self._command("backup", "--json")
            self._command("cleanup", "--keep", "2", "--json")

        self._again_and_again("query", 1, ask)
        self._again_and_again("query of everything", 60, lambda: self._command("query", "--group-by", "event_type", "--json"))
        self._again_and_again("backup", 45, back_up)
        self._again_and_again("health", 5, lambda: self._command("health", "--json", ok=(0, 1, 2)))
        self._again_and_again("verify --quick", 60, lambda: self._command("verify", "--quick", "--json"))
        self._open_page()

    def run(self, gigabytes: float, csv_path: Path) -> List[Dict[str, float]]:
        self.started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        collector = Collector(self._scratch, self._auditctl, self.home, self.settings, http="127.0.0.1:0")
        found = re.search(r"http://([0-9.:]+)", collector.ready)
        assert found is not None, collector.ready
        address = found.group(1)
        self._start_others()
        load = subprocess.Popen(
            [str(self._measure), "load", str(self.home), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert load.stdin is not None and load.stdout is not None
        samples: List[Dict[str, float]] = []
        pace = Pace(gigabytes * GIGABYTE, self._seconds)
        begun = time.monotonic()
        try:
            with csv_path.open("w", newline="", encoding="ascii") as out:
                writer: Optional[csv.DictWriter[str]] = None
                for line in load.stdout:
                    sample = self._sample(collector.process.pid, address, json.loads(line))
                    if writer is None:
                        writer = csv.DictWriter(out, list(sample))
                        writer.writeheader()
                    writer.writerow(sample)
                    out.flush()
                    samples.append(sample)
                    if time.monotonic() - begun >= self._seconds:
                        break
                    limit = pace.limit(sample)
                    if limit is not None:
                        load.stdin.write("%d\n" % limit)
                        load.stdin.flush()
            self._over.set()
            load.stdin.close()
            for line in load.stdout:
                last = json.loads(line)
            if load.wait(60) != 0:
                raise Failed("the load ended with %d" % load.returncode)
        finally:
            self._over.set()
            load.kill()
            load.wait()
            for thread in self._threads:
                thread.join(120)
        self.paced = pace.was_needed
        if self._browser is not None:
            if self._browser.poll() is not None:
                self.failures.append("Chromium ended by itself")
            self._scratch.stop(self._browser)
        self._finish(collector, last)
        return samples

    def _finish(self, collector: Collector, last: Dict[str, int]) -> None:
        """Whether all that was acknowledged is there, and provable."""
        self.acknowledged, self.refused = last["socket"] + last["http"], last["refused"]
        collector.stop()
        if collector.process.returncode != 0:
            self.failures.append("serve ended with %d" % collector.process.returncode)
        counted = 0
        for kind in ("data_access", "soak.alarm"):
            told = self._command("query", "--direct", "--type", kind, "--since", self.started, "--count", "--json")
            counted += json.loads(told.stdout)["count"]
        # The load counts what it got an answer to; what was on its way when it ended is there all the same.
        if counted < self.acknowledged:
            self.failures.append("%d events were acknowledged, and %d are in the log" % (self.acknowledged, counted))
        self.recorded = counted
        verified = json.loads(self._command("verify", "--json", ok=(0, 1)).stdout)
        if not verified["passed"]:
            self.failures.append("verify: %s" % json.dumps(verified)[:500])
        listed = json.loads(self._command("query", "--direct", "--type", "audit.pruned", "--count", "--json").stdout)
        self.pruned = listed["count"]
        self.alerts = self._hook.told

    def _sample(self, pid: int, address: str, load: Dict[str, Any]) -> Dict[str, float]:
        status = Path("/proc", str(pid), "status").read_text(encoding="ascii", errors="replace")
        numbers = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request("GET", "/v1/status")
            sample = json.loads(connection.getresponse().read())["sample"]
        finally:
            connection.close()
        log = self._bytes("logs")
        if load["second"] % 10 == 1:
            self._elsewhere = self._bytes("backups") + self._bytes("archive")

        def milliseconds(of: str, part: str) -> float:
            return round(load[of][part], 3) if load[of] else float("nan")

        return {
            "second": load["second"],
            "rss_kib": int(numbers["VmRSS"]),
            "descriptors": len(os.listdir("/proc/%d/fd" % pid)),
            "threads": int(numbers["Threads"]),
            "socket_p50_ms": milliseconds("socket_ms", "p50"),
            "socket_p99_ms": milliseconds("socket_ms", "p99"),
            "http_p50_ms": milliseconds("http_ms", "p50"),
            "http_p99_ms": milliseconds("http_ms", "p99"),
            "events_per_second": load["socket"] + load["http"],
            "refused": load["refused"],
            "queue_events": sample["write_buffer"]["events"],
            "segments": sample["log"]["segments"],
            "log_bytes": log,
            "disk_bytes": log + self._elsewhere,
            "alerts": self._hook.told,
        }

    def _bytes(self, name: str) -> int:
        total = 0
        for folder, _, names in os.walk(self.home / name):
            for file in names:
                try:
                    total += os.lstat(os.path.join(folder, file)).st_size
                except FileNotFoundError:
                    pass
        return total


class Pace:
    """So many events a second that the disk lasts: no limit before the first minute, and none where none is needed."""

    def __init__(self, budget: float, seconds: float) -> None:
        self._budget, self._seconds, self._events, self._first = budget, seconds, 0.0, 0.0
        self.was_needed = False

    def limit(self, sample: Dict[str, float]) -> Optional[int]:
        if not self._events:
            self._first = sample["disk_bytes"]
        self._events += sample["events_per_second"]
        if sample["second"] % 10 or sample["second"] < min(60, self._seconds / 4):
            return None
        per_event = max(1.0, (sample["disk_bytes"] - self._first) / max(1.0, self._events))
        left = max(1.0, self._seconds - sample["second"])
        most = max(0.0, self._budget - sample["disk_bytes"]) / per_event / left
        if most > 2 * sample["events_per_second"] and not self.was_needed:
            return None
        self.was_needed = True
        return max(1_000, int(most))


def main() -> int:
    chosen = arguments()
    chosen.out.mkdir(parents=True, exist_ok=True)
    paths = (chosen.auditctl, chosen.measure) if chosen.auditctl else build(chosen.target, chosen.features)
    with Scratch(chosen.target) as scratch:
        auditctl = Auditctl(paths[0].resolve())
        soak = Soak(scratch, auditctl, paths[1].resolve(), chosen.minutes)
        soak.fill_yesterday()
        say("%.0f minutes begin" % chosen.minutes)
        with machine.Watch() as watch:
            samples = soak.run(chosen.gigabytes, chosen.out / "soak.csv")
        told = machine.describe(scratch.home)
    verdicts = flat.verdicts(samples)
    times = {
        name: {"times": len(took), "median": sorted(took)[len(took) // 2], "max": max(took)} for name, took in soak.times.items() if took
    }
    result = {
        "date": soak.started[:10],
        "auditctl": auditctl.version().splitlines()[0],
        "machine": told,
        "minutes": chosen.minutes,
        "events": soak.recorded,
        "acknowledged": soak.acknowledged,
        "refused": soak.refused,
        "alerts": soak.alerts,
        "pruned": soak.pruned,
        "paced": soak.paced,
        "others": round(watch.share, 4),
        "times": times,
        "verdicts": verdicts,
        "notes": soak.notes,
        "failures": soak.failures,
    }
    (chosen.out / "soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (chosen.out / "soak.svg").write_text(flat.plot(samples), encoding="utf-8")
    text = flat.render(result)
    print(text)
    say("soak.csv, soak.json and soak.svg are in %s" % chosen.out)
    if chosen.write:
        shutil.copy(chosen.out / "soak.svg", ROOT / "docs/screens/soak.svg")
        flat.write(ROOT / "docs/performance.md", text)
    return 1 if soak.failures or not all(verdict["flat"] for verdict in verdicts) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        say("soak.py: %s" % failed)
        sys.exit(3)
    except KeyboardInterrupt:
        say("soak.py: interrupted; nothing is left")
        sys.exit(130)
