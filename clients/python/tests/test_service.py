"""A real service beside a real collector, both killed and started again, many rounds."""

import http.client
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

pytest.importorskip("flask")
HERE = Path(__file__).resolve().parent
ROUNDS = int(os.environ.get("SERVICE_ROUNDS", "100"))
CALLERS = 4


class Service:
    """The service's master; its worker is killed."""

    def __init__(self, socket: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(HERE.parent / "src")}
        self.process = subprocess.Popen([sys.executable, str(HERE / "service" / "app.py"), str(socket)], stdout=subprocess.PIPE, env=env,
                                        stderr=subprocess.DEVNULL)
        self.workers: "queue.Queue[Tuple[int, int]]" = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port, self.worker = self.workers.get(timeout=60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            port, worker = line.split()
            self.workers.put((int(port), int(worker)))

    def kill_worker(self) -> None:
        os.kill(self.worker, signal.SIGKILL)
        self.port, self.worker = self.workers.get(timeout=60)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        os.kill(self.worker, signal.SIGKILL)


class Caller(threading.Thread):
    """Pays orders, one after the other. With ids it asks again until it has its answer, as a good client of the service does."""

    def __init__(self, name: str, port: int, retries: bool, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.who, self.port, self.retries, self.stop = name, port, retries, stop
        self.paid: Dict[str, int] = {}
        self.unknown: List[str] = []
        self.again = 0

    def run(self) -> None:
        n = 0
        while not self.stop.is_set():
            order = "%s-%d" % (self.who, n)
            n += 1
            seq = self.pay(order)
            while seq is None and self.retries:
                self.again += 1
                time.sleep(0.02)
                seq = self.pay(order)
            if seq is None:
                self.unknown.append(order)
            else:
                self.paid[order] = seq

    def pay(self, order: str) -> Optional[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"x-user": self.who, "content-type": "application/json", "idempotency-key": "key-" + order}
            connection.request("POST", "/pay/" + order, json.dumps({"amount": len(order)}), headers)
            answer = connection.getresponse()
            said: Dict[str, Any] = json.loads(answer.read())
            return int(said["seq"]) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def test_every_acknowledged_event_is_there_once_after_many_kills(make: Any) -> None:
    collector = make()
    rng = random.Random()
    service = Service(collector.socket)
    stop = threading.Event()
    callers = [Caller("caller-%d" % n, service.port, collector.ids, stop) for n in range(CALLERS)]
    try:
        for caller in callers:
            caller.start()
        for _ in range(ROUNDS):
            time.sleep(rng.random() * 0.1)
            # One right after the other, in either order, or both at once.
            if rng.random() < 0.5:
                service.kill_worker()
                time.sleep(rng.random() * 0.05)
                collector.kill()
            else:
                collector.kill()
                time.sleep(rng.random() * 0.05)
                service.kill_worker()
            collector.start()
        # All that was begun gets its answer.
        time.sleep(0.5)
        stop.set()
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive()
    finally:
        service.end()
    collector.stop()
    collector.verify()
    found: Dict[str, List[Dict[str, Any]]] = {}
    for record in collector.records():
        if record["event_type"] == "order.paid":
            found.setdefault(record["target"], []).append(record)
    paid = {order: seq for caller in callers for order, seq in caller.paid.items()}
    assert len(paid) >= ROUNDS, "too little was recorded to show anything"
    for order, seq in paid.items():
        (record,) = found.pop(order)
        assert (record["seq"], record["actor"], record["details"]) == (seq, order.rsplit("-", 1)[0], {"amount": len(order)})
    unknown = {order for caller in callers for order in caller.unknown}
    assert set(found) <= unknown and all(len(records) == 1 for records in found.values())
    if collector.ids:
        assert not unknown and not found
    print("%d rounds, %d events acknowledged, %d asked again, %d unknown" % (
        ROUNDS, len(paid), sum(caller.again for caller in callers), len(unknown)))
