"""A real collector for the tests: AUDITCTL_BIN, or the debug build."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

CLIENTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CLIENTS / "python" / "src"), str(CLIENTS / "contract")]

from suite.collector import Collector  # noqa: E402

from auditctl import Client  # noqa: E402

Make = Callable[..., Collector]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a short name: a socket's path has a hundred bytes."""
    path = Path(tempfile.mkdtemp(prefix="at-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """Makes collectors, which end with the test."""
    target = os.environ.get("CARGO_TARGET_DIR", str(CLIENTS.parent / "target"))
    auditctl = os.environ.get("AUDITCTL_BIN", os.path.join(target, "debug", "auditctl"))
    made: List[Collector] = []

    def one(**options: Any) -> Collector:
        collector = Collector(auditctl, home / ("c%d" % len(made)), **options)
        made.append(collector)
        collector.start()
        collector.ids = collector.has_ids()
        return collector

    yield one
    for collector in made:
        collector.kill()


@pytest.fixture
def collector(make: Make) -> Collector:
    """One with a socket and HTTP."""
    return make(http=True)


@pytest.fixture
def audit(collector: Collector) -> Iterator[Client]:
    """A client of it."""
    client = Client(str(collector.socket))
    yield client
    client.close()


@pytest.fixture
def by_http(collector: Collector) -> Iterator[Client]:
    """A client of it over HTTP."""
    client = Client(url="http://127.0.0.1:%d" % collector.port, token_file=str(collector.token_file))
    yield client
    client.close()
