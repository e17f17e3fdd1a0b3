"""A service as it was written for the Python audit module: every call of its logger, in the ways that it was used."""

import datetime
import time

from automation_orchestrator.audit import get_audit_logger

audit = get_audit_logger("logs/audit.log")
assert get_audit_logger() is audit

begun = datetime.datetime.now() - datetime.timedelta(minutes=5)
audit.log_workflow_started("nightly")
for n in range(3):
    lead = f"L-{n}"
    audit.log_lead_ingested(lead, source="web", lead_data={"email": "a@example.com", "score": 0.5}, workflow="nightly")
    audit.log_lead_qualified(lead, True, "score above 0.4", "nightly")
    audit.log_lead_routed(lead_id=lead, destination="sales", condition="region == 'EU'", workflow="nightly")
audit.log_crm_create("L-1", "crm-7", "hubspot", "nightly")
audit.log_crm_update("L-1", "crm-7", ["status", "owner"], "nightly")
audit.log_email_sent("L-1", "a@example.com", "Welcome", 1, "nightly")
audit.log_email_scheduled("L-1", "a@example.com", 5, "nightly")
audit.log_email_cancelled("L-1", "a@example.com", "unsubscribed", "nightly")
audit.log_error("TimeoutError", "the CRM did not answer", lead_id="L-2", workflow="nightly", traceback="Traceback …")
audit.log_error("ConfigError", "no workflow")
audit.log_event("user_login", {"ip": "10.0.0.7", "mfa": True}, actor="alice")
audit.log_event("custom*type", {}, "bob", "L-*", "other")
audit.log_workflow_stopped("nightly")
audit.flush()

for bad, error in ((("x", "no dict"), TypeError), (("", {}), ValueError), (("x" * 51, {}), ValueError), ((7, {}), TypeError),
                   (("x", {"text": "x" * 10_001}), ValueError), (("x", {"o": object()}), TypeError),
                   (("x", {"a": ["y" * 6000] * 9}), ValueError)):
    try:
        audit.log_event(*bad)
    except error:
        continue
    raise AssertionError(f"{bad!r:.60} was taken")

events = audit.query_events(event_type="lead_qualified", workflow="nightly", start_time=begun, end_time=datetime.datetime.now(), limit=2)
assert [event["lead_id"] for event in events] == ["L-2", "L-1"], events
assert set(events[0]) == {"timestamp", "event_type", "actor", "lead_id", "workflow", "details", "signature"}
assert events[0]["details"] == {"qualified": True, "reason": "score above 0.4"} and events[0]["actor"] == "system"
assert [event["event_type"] for event in audit.query_events(lead_id="L-*")] == ["custom*type"]
assert audit.query_events(start_time=datetime.datetime.now() + datetime.timedelta(hours=1)) == []
assert len(audit.query_events()) == 20

history = audit.get_lead_history("L-1")
assert [event["event_type"] for event in history] == [
    "lead_ingested", "lead_qualified", "lead_routed", "crm_create", "crm_update", "email_sent", "email_scheduled", "email_cancelled"]

stats = audit.get_statistics()
assert stats["total_events"] == 20 and stats["leads_processed"] == 4 and stats["errors"] == 2, stats
assert stats["event_types"]["lead_ingested"] == 3
assert audit.get_statistics(workflow="other") == {"total_events": 1, "event_types": {"custom*type": 1}, "leads_processed": 1, "errors": 0}

started = time.perf_counter()
audit.track_performance("route", time.perf_counter() - started)
audit.track_performance("route", 0.5)
assert audit.get_performance_stats("route")["count"] == 2 and audit.get_performance_stats()["route"]["max"] == 0.5
assert audit.get_rate_limit_stats()["rate_limited"] == 0
assert isinstance(audit.get_security_events(last_n=10), list)

hidden = audit.anonymize_data({"email": "a@example.com", "score": 1, "contact": {"Phone": "1", "city": "Bonn"}})
assert hidden["score"] == 1 and hidden["contact"]["city"] == "Bonn" and "example" not in str(hidden)
audit.enable_compliance_mode()
audit.log_event("signup", {"email": "secret@example.com"})
assert "secret@" not in str(audit.query_events(event_type="signup"))

audit.configure_alerts(slack_webhook="https://hooks.example.com/s3cr3t", error_threshold=5)
audit.add_webhook("https://hooks.example.com/s3cr3t")
audit.shutdown()
print("the old service ran")
