"""What was written for the Python audit module runs with one import changed."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from auditctl import AuditError, Client, Unreachable
from auditctl.compat import AuditLogger, CollectorSetting, _literal

HERE = Path(__file__).resolve().parent
OLD = "from automation_orchestrator.audit import get_audit_logger"
NEW = "from auditctl.compat import get_audit_logger"


def old_service() -> str:
    text = (HERE / "examples" / "old_service.py").read_text(encoding="utf-8")
    assert text.count(OLD) == 1 and text.count("automation_orchestrator") == 1
    return text.replace(OLD, NEW)


def run(text: str, home: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    env = {"PYTHONPATH": str(HERE.parent / "src"), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kolkata", **env}
    return subprocess.run([sys.executable, "-c", text], check=False, cwd=str(home), env=env, capture_output=True, text=True, timeout=120)


def test_the_old_service_runs_unchanged_but_for_the_import(make: Any) -> None:
    collector = make()
    done = run(old_service(), collector.home)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the old service ran\n"
    assert done.stderr.count("CollectorSetting") == 2 and "s3cr3t" not in done.stderr
    collector.stop()
    collector.verify()
    types = [record["event_type"] for record in collector.records() if not record["event_type"].startswith("audit.")]
    assert len(types) == 21


def test_the_old_service_runs_over_http(make: Any) -> None:
    collector = make(http=True)
    done = run(old_service(), collector.home, AUDIT_TRAIL_URL="http://127.0.0.1:%d" % collector.port,
               AUDIT_TRAIL_TOKEN_FILE=str(collector.token_file))
    assert done.returncode == 0, done.stderr


def test_beyond_the_rate_limit_a_call_waits_or_raises_and_is_never_silent(make: Any) -> None:
    collector = make(rate=(20, 5))
    audit = AuditLogger(client=Client(str(collector.socket)))
    for n in range(15):
        audit.log_event("burst", {"n": n})
    assert audit.get_rate_limit_stats()["rate_limited"] > 0
    assert len(audit.query_events("burst")) == 15
    audit.shutdown()
    strict = AuditLogger(client=Client(str(collector.socket), timeout=0.05))
    with pytest.raises(AuditError) as error:
        for n in range(30):
            strict.log_event("burst", {"n": n})
    assert "rate_limited" in str(error.value)
    strict.shutdown()


def test_the_old_logs_are_asked_as_they_were(make: Any) -> None:
    collector = make()
    fixtures = HERE.parents[2] / "tests" / "fixtures" / "python-audit"
    imported = collector.run("record", "--format", "python-audit", "--file", str(fixtures / "audit.log"))
    assert imported.returncode in (0, 1), imported.stderr
    audit = AuditLogger(str(collector.logs / "audit.log"))
    events = audit.query_events(limit=5)
    assert len(events) == 5 and any(event["signature"] for event in events)
    audit.shutdown()


def test_settings_of_the_collector_are_said_to_be_that(home: Path) -> None:
    several: List[Dict[str, Any]] = [
        {"max_file_size_mb": 10}, {"retention_days": 30}, {"enable_rotation": False}, {"enable_integrity": False},
        {"secret_key": "s3cr3t"}]
    for options in several:
        with pytest.warns(CollectorSetting) as said:
            AuditLogger(str(home / "audit.log"), **options)
        assert "s3cr3t" not in str(said[0].message)


def test_a_collector_that_is_away_is_an_error(home: Path) -> None:
    audit = AuditLogger(str(home / "audit.log"), timeout=0.2)
    with pytest.raises(Unreachable):
        audit.log_workflow_started("w")
    with pytest.raises(AuditError):
        audit.query_events()
    time.sleep(0)


def test_a_name_is_asked_for_as_it_is() -> None:
    assert [_literal(text) for text in ("a", "a*", "\\", "\\*", "a\\b")] == ["a", "a\\*", "\\", "\\\\\\*", "a\\b"]
