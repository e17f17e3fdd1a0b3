#!/usr/bin/env python3
"""How many events a second: one by one, pipelined, by HTTP batches, beside `logging` with fsync, in one run.

    python3 clients/python/bench.py --auditctl target/release/auditctl [--events 10000] [--json]

Starts a collector of its own on a temporary directory of the same file system for everything. `raw socket` is the least
that a program can do: the lines are made beforehand, sent at once, and the answers counted.
"""

import argparse
import json
import logging
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "src"), str(HERE.parent / "contract")]

from suite.collector import Collector  # noqa: E402

from auditctl import Client  # noqa: E402


def event(n: int) -> Dict[str, Any]:
    return {"event_type": "bench", "actor": "user-%d" % (n % 100), "target": "order-%d" % n, "details": {"n": n, "ip": "10.0.0.7"}}


def raw(path: str, count: int, with_id: bool) -> float:
    """Lines that are ready go to the socket; the answers are counted, not understood."""
    prefix = os.urandom(8).hex()
    lines = [dict(event(n), **({"id": "%s-%d" % (prefix, n)} if with_id else {})) for n in range(count)]
    data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        begun = time.perf_counter()
        sending = threading.Thread(target=stream.sendall, args=(data,))
        sending.start()
        left = count
        while left > 0:
            part = stream.recv(1 << 18)
            if b'"error"' in part or not part:
                raise SystemExit("the raw socket was refused: %r" % part[:200])
            left -= part.count(b"\n")
        sending.join()
        return time.perf_counter() - begun


def one_by_one(client: Client, count: int) -> float:
    begun = time.perf_counter()
    for n in range(count):
        client.record_event(event(n))
    return time.perf_counter() - begun


def pipelined(client: Client, count: int) -> float:
    events = [event(n) for n in range(count)]
    begun = time.perf_counter()
    outcomes = client.record_many(events)
    took = time.perf_counter() - begun
    assert all(isinstance(outcome, int) for outcome in outcomes), [o for o in outcomes if not isinstance(o, int)][:1]
    return took


def by_logging(folder: Path, count: int) -> float:
    """What services have without a collector: a file, and an fsync for each line."""
    class Synced(logging.FileHandler):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            os.fsync(self.stream.fileno())

    handler = Synced(str(folder / "app.log"))
    log = logging.getLogger("bench")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    begun = time.perf_counter()
    for n in range(count):
        log.info(json.dumps(event(n)))
    took = time.perf_counter() - begun
    log.removeHandler(handler)
    handler.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--auditctl", required=True)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ab-"))
    collector = Collector(str(Path(options.auditctl).resolve()), home / "c", http=True)
    try:
        collector.start()
        ids = collector.has_ids()
        by_socket = Client(str(collector.socket))
        by_http = Client(url="http://127.0.0.1:%d" % collector.port, token_file=str(collector.token_file))
        few, many = min(1_000, options.events), options.events
        runs: "Dict[str, tuple[int, Callable[[], float]]]" = {
            "logging.FileHandler + fsync": (few, lambda: by_logging(home, few)),
            "socket, one by one": (few, lambda: one_by_one(by_socket, few)),
            "HTTP, one by one": (few, lambda: one_by_one(by_http, few)),
            "HTTP, batches": (many, lambda: pipelined(by_http, many)),
            "socket, pipelined": (many, lambda: pipelined(by_socket, many)),
            "raw socket": (many, lambda: raw(str(collector.socket), many, ids)),
        }
        # In turns, so that what else the machine does falls on all of them.
        times: Dict[str, List[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, (_count, run) in runs.items():
                times[name].append(run())
        by_socket.close()
        by_http.close()
        collector.stop()
    finally:
        collector.kill()
        shutil.rmtree(home, ignore_errors=True)
    rows = {name: {"events": runs[name][0], "seconds": statistics.median(took), "best": min(took),
                   "per_second": round(runs[name][0] / statistics.median(took))} for name, took in times.items()}
    ratio = rows["socket, pipelined"]["seconds"] / rows["raw socket"]["seconds"]
    if options.json:
        print(json.dumps({"ids": ids, "rows": rows, "pipelined_to_raw": round(ratio, 2)}))
        return
    for name, row in rows.items():
        print("%-28s %6d events  %8.3f s (best %.3f)  %8d a second" % (name, row["events"], row["seconds"], row["best"], row["per_second"]))
    print("pipelined takes %.2f times as long as the raw socket; ids: %s" % (ratio, "yes" if ids else "no"))


if __name__ == "__main__":
    main()
