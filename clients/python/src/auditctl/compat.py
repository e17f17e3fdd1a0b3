"""The call surface of the Python audit module that auditctl replaces, over the collector.

    from auditctl.compat import get_audit_logger        # was: from automation_orchestrator.audit import get_audit_logger

Every call returns once its event is durable. What differs, and the command for each of the old command line's, is in
docs/migrating.md. Where the collector is: `audit.sock` beside `audit_file`, or the environment's `AUDIT_TRAIL_SOCKET`,
or `AUDIT_TRAIL_URL` with `AUDIT_TRAIL_TOKEN_FILE` and `AUDIT_TRAIL_CA_FILE`.
"""

import datetime
import hashlib
import hmac
import json
import os
import secrets
import threading
import warnings
from collections import deque
from typing import Any, Deque, Dict, List, Mapping, Optional, Union

from .client import Client
from .errors import AuditError, UsageError
from .event import encode, timestamp_text

#: As there: characters, and bytes of details as JSON.
MAX_EVENT_TYPE = 50
MAX_NAME = 100
MAX_STRING = 10_000
MAX_DETAILS_BYTES = 50 * 1024
#: Measurements kept for each operation.
MAX_SAMPLES = 1_000
MAX_OPERATIONS = 1_000

PERSONAL = ("email", "phone", "name", "address", "ssn")
_RESERVED = "audit."


class CollectorSetting(UserWarning):
    """What was asked for is a setting of the collector today; the call did nothing."""


class AuditLogger:
    """Records events, and asks for them, by the calls of old. Raises `TypeError` and `ValueError` for invalid input, and
    `AuditError` when an event is not recorded: nothing is dropped silently, also not beyond the rate limit (the call then
    waits for its turn, up to `timeout` seconds)."""

    def __init__(self, audit_file: str = "logs/audit.log", max_file_size_mb: float = 50, retention_days: int = 90,
                 enable_rotation: bool = True, enable_integrity: bool = True, secret_key: Union[None, str, bytes] = None, *,
                 client: Optional[Client] = None, timeout: float = 30.0) -> None:
        self.audit_file = os.fspath(audit_file)
        self.client = client if client is not None else _client(self.audit_file, timeout)
        given = secret_key.encode("utf-8") if isinstance(secret_key, str) else secret_key
        # Never to sign with: only to make the same hash of the same value.
        self._hash_key = given if given else secrets.token_bytes(32)
        self._anonymize = False
        self._lock = threading.Lock()
        self._samples: "Dict[str, Deque[float]]" = {}
        self._counts: Dict[str, int] = {}
        if max_file_size_mb != 50:
            _setting("max_file_size_mb", "max_segment_size")
        if retention_days != 90:
            _setting("retention_days", "retention_days")
        if not enable_rotation:
            _setting("enable_rotation=False", "max_segment_size (segments are always sealed and compressed)")
        if not enable_integrity:
            _setting("enable_integrity=False", "nothing: the log is always one signed tree")
        if given:
            warnings.warn("secret_key signs nothing any more: the collector signs the whole log with its own key; take it out of this "
                          "service", CollectorSetting, stacklevel=2)

    def __repr__(self) -> str:
        return "AuditLogger(%r)" % self.client

    # Recording

    def log_event(self, event_type: str, details: Mapping[str, Any], actor: str = "system", lead_id: Optional[str] = None,
                  workflow: Optional[str] = None) -> None:
        """Records an event. `lead_id` becomes its target, `workflow` its source."""
        _check_text("event_type", event_type, MAX_EVENT_TYPE)
        if not isinstance(details, Mapping):
            raise TypeError("details is a %s; it is a dict" % type(details).__name__)
        _check_text("actor", actor, MAX_NAME)
        event: Dict[str, Any] = {"event_type": _type(event_type), "actor": actor}
        if lead_id is not None:
            # As an import of the old logs does it.
            name = str(lead_id) if isinstance(lead_id, int) and not isinstance(lead_id, bool) else lead_id
            event["target"] = _check_text("lead_id", name, MAX_NAME)
        if workflow is not None:
            event["source"] = _check_text("workflow", workflow, MAX_NAME)
        kept: Mapping[str, Any] = self.anonymize_data(details) if self._anonymize else details
        _check_details(kept)
        event["details"] = dict(kept)
        self.client.record_event(event)

    def log_lead_ingested(self, lead_id: str, source: str, lead_data: Mapping[str, Any], workflow: str) -> None:
        """`lead_ingested`."""
        self.log_event("lead_ingested", {"source": source, "lead_data": dict(lead_data)}, lead_id=lead_id, workflow=workflow)

    def log_lead_qualified(self, lead_id: str, qualified: bool, reason: str, workflow: str) -> None:
        """`lead_qualified`."""
        self.log_event("lead_qualified", {"qualified": qualified, "reason": reason}, lead_id=lead_id, workflow=workflow)

    def log_lead_routed(self, lead_id: str, destination: str, condition: str, workflow: str) -> None:
        """`lead_routed`."""
        self.log_event("lead_routed", {"destination": destination, "condition": condition}, lead_id=lead_id, workflow=workflow)

    def log_crm_create(self, lead_id: str, crm_record_id: str, crm_type: str, workflow: str) -> None:
        """`crm_create`."""
        self.log_event("crm_create", {"crm_record_id": crm_record_id, "crm_type": crm_type}, lead_id=lead_id, workflow=workflow)

    def log_crm_update(self, lead_id: str, crm_record_id: str, fields_updated: List[str], workflow: str) -> None:
        """`crm_update`."""
        details = {"crm_record_id": crm_record_id, "fields_updated": list(fields_updated)}
        self.log_event("crm_update", details, lead_id=lead_id, workflow=workflow)

    def log_email_sent(self, lead_id: str, recipient: str, subject: str, sequence_step: int, workflow: str) -> None:
        """`email_sent`."""
        details = {"recipient": recipient, "subject": subject, "sequence_step": sequence_step}
        self.log_event("email_sent", details, lead_id=lead_id, workflow=workflow)

    def log_email_scheduled(self, lead_id: str, recipient: str, sequence_length: int, workflow: str) -> None:
        """`email_scheduled`."""
        self.log_event("email_scheduled", {"recipient": recipient, "sequence_length": sequence_length}, lead_id=lead_id, workflow=workflow)

    def log_email_cancelled(self, lead_id: str, recipient: str, reason: str, workflow: str) -> None:
        """`email_cancelled`."""
        self.log_event("email_cancelled", {"recipient": recipient, "reason": reason}, lead_id=lead_id, workflow=workflow)

    def log_workflow_started(self, workflow: str) -> None:
        """`workflow_started`."""
        self.log_event("workflow_started", {}, workflow=workflow)

    def log_workflow_stopped(self, workflow: str, reason: str = "manual") -> None:
        """`workflow_stopped`."""
        self.log_event("workflow_stopped", {"reason": reason}, workflow=workflow)

    def log_error(self, error_type: str, error_message: str, lead_id: Optional[str] = None, workflow: Optional[str] = None,
                  traceback: Optional[str] = None) -> None:
        """`error`."""
        details: Dict[str, Any] = {"error_type": error_type, "error_message": error_message}
        if traceback is not None:
            details["traceback"] = traceback
        self.log_event("error", details, lead_id=lead_id, workflow=workflow)

    # Asking

    def query_events(self, event_type: Optional[str] = None, lead_id: Optional[str] = None, workflow: Optional[str] = None,
                     start_time: Optional[datetime.datetime] = None, end_time: Optional[datetime.datetime] = None,
                     limit: int = 100) -> List[Dict[str, Any]]:
        """The newest events that fit, newest first. Both times are within; one without a zone is this machine's local time."""
        request: Dict[str, Any] = {**_names(event_type, lead_id, workflow)}
        if start_time is not None:
            request["since"] = timestamp_text(_time("start_time", start_time))
        if end_time is not None:
            request["until"] = timestamp_text(_time("end_time", end_time) + datetime.timedelta(microseconds=1))
        return self._events(request, limit)

    def get_lead_history(self, lead_id: str) -> List[Dict[str, Any]]:
        """Everything about a lead, oldest first."""
        return self._events({**_names(None, lead_id, None), "order": "oldest"}, 0)

    def _events(self, request: Dict[str, Any], limit: int) -> List[Dict[str, Any]]:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ValueError("limit is a number of events")
        out: List[Dict[str, Any]] = []
        # The log's own records are no events of the service.
        for record in self.client.records(**request):
            if str(record.get("event_type", "")).startswith(_RESERVED):
                continue
            out.append(_old_form(record))
            if len(out) == limit:
                break
        return out

    def get_statistics(self, workflow: Optional[str] = None) -> Dict[str, Any]:
        """`total_events`, `event_types`, `leads_processed` (a count), `errors`."""
        names: Dict[str, Any] = dict(_names(None, None, workflow))
        answer = self.client.ask(group_by="type", **names)
        types = {str(group["group"]): int(group["records"]) for group in _groups(answer)
                 if not group.get("missing") and not str(group["group"]).startswith(_RESERVED)}
        leads = 0
        if answer.get("partial"):
            raise AuditError("query", "there are more types of events than the collector counts at once (max_memory_events)")
        if types:
            leads = self._count_leads({**names, "type": [_literal(name) for name in types]})
        return {"total_events": sum(types.values()), "event_types": types, "leads_processed": leads, "errors": types.get("error", 0)}

    def _count_leads(self, request: Dict[str, Any]) -> int:
        answer = self.client.ask(group_by="target", **request)
        if not answer.get("partial"):
            groups = _groups(answer)
            total = answer.get("groups_total")
            counted = total if isinstance(total, int) else len(groups)
            # Those without a target are a group of their own.
            return counted - sum(1 for group in groups if group.get("missing"))
        return len({record["target"] for record in self.client.records(**request) if "target" in record})

    def get_security_events(self, event_type: Optional[str] = None, last_n: int = 100) -> List[Dict[str, Any]]:
        """What was refused or cleaned, newest last: lines of the collector's `security_events.log`, beside `audit_file`.

        Only the log's owner and root can read it; elsewhere this raises.
        """
        path = os.path.join(os.path.dirname(os.path.abspath(self.audit_file)), "security_events.log")
        found: "Deque[Dict[str, Any]]" = deque(maxlen=last_n if last_n > 0 else None)
        for name in (path + ".1", path):
            try:
                with open(name, encoding="utf-8", errors="replace") as file:
                    for line in file:
                        event = _line(line)
                        if event is not None and event_type in (None, event.get("kind")):
                            found.append(event)
            except FileNotFoundError:
                if name == path and not os.path.isdir(os.path.dirname(path)):
                    raise UsageError("usage", "there is no %s: security events are in the collector's log directory, on its "
                                              "machine" % path) from None
            except OSError as error:
                raise UsageError("usage", "%s: %s; only the log's owner may read it" % (path, error.strerror)) from None
        return list(found)

    def get_rate_limit_stats(self) -> Dict[str, Any]:
        """The collector's counts since it opened the log: `accepted`, `rate_limited`, `invalid`, `busy`."""
        if self.client.target is None:
            status = self.client.status()
            return {key: status.get(key) for key in ("accepted", "rate_limited", "invalid", "busy")}
        return _metrics(self.client.metrics())

    # Measuring: in this process, as there

    def track_performance(self, operation: str, duration_seconds: float) -> None:
        """Notes how long something took; the newest 1,000 of each operation are kept, in this process."""
        _check_text("operation", operation, MAX_NAME)
        if isinstance(duration_seconds, bool) or not isinstance(duration_seconds, (int, float)):
            raise TypeError("duration_seconds is a number")
        with self._lock:
            if operation not in self._samples and len(self._samples) >= MAX_OPERATIONS:
                raise ValueError("more than %d operations are tracked" % MAX_OPERATIONS)
            self._samples.setdefault(operation, deque(maxlen=MAX_SAMPLES)).append(float(duration_seconds))
            self._counts[operation] = self._counts.get(operation, 0) + 1

    def get_performance_stats(self, operation: Optional[str] = None) -> Dict[str, Any]:
        """`count`, `min`, `max`, `avg`, `p95` of an operation, or of each."""
        with self._lock:
            if operation is not None:
                return self._stats(operation)
            return {name: self._stats(name) for name in self._samples}

    def _stats(self, operation: str) -> Dict[str, Any]:
        samples = sorted(self._samples.get(operation, ()))
        if not samples:
            return {}
        return {"count": self._counts[operation], "min": samples[0], "max": samples[-1], "avg": sum(samples) / len(samples),
                "p95": samples[min(len(samples) - 1, int(len(samples) * 0.95))]}

    # The collector's settings

    def configure_alerts(self, email_config: Optional[Mapping[str, Any]] = None, slack_webhook: Optional[str] = None,
                         discord_webhook: Optional[str] = None, error_threshold: int = 10, cooldown_seconds: int = 300) -> None:
        """Does nothing, and says so: alerts are set up in the collector, [[alerts]] in auditctl.toml (docs/alerts.md)."""
        _setting("configure_alerts", "[[alerts]] in auditctl.toml: see docs/alerts.md")

    def add_webhook(self, webhook_url: str) -> None:
        """Does nothing, and says so: see `configure_alerts`."""
        _setting("add_webhook", "[[alerts]] in auditctl.toml: see docs/alerts.md")

    # Privacy

    def anonymize_data(self, data: Mapping[str, Any]) -> Dict[str, Any]:
        """A copy in which `email`, `phone`, `name`, `address` and `ssn` are replaced, at any depth.

        By an HMAC-SHA256 under `secret_key`, or under a key of this process: a plain hash of such values can be guessed.
        """
        if not isinstance(data, Mapping):
            raise TypeError("data is a %s; it is a dict" % type(data).__name__)
        return {key: self._hidden(value) if str(key).lower() in PERSONAL else self._within(value) for key, value in data.items()}

    def _within(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.anonymize_data(value)
        return [self._within(one) for one in value] if isinstance(value, (list, tuple)) else value

    def _hidden(self, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {key: self._hidden(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(one) for one in value]
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return "hmac-sha256:" + hmac.new(self._hash_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def enable_compliance_mode(self, anonymize_pii: bool = True) -> None:
        """From now on details are anonymized before they leave this process. For everybody: the collector's `redact`."""
        self._anonymize = bool(anonymize_pii)

    # The end

    def flush(self) -> None:
        """Returns once everything is durable."""
        self.client.flush()

    def shutdown(self) -> None:
        """The same, and closes the client."""
        self.client.close()


_single: Optional[AuditLogger] = None
_single_lock = threading.Lock()


def get_audit_logger(audit_file: str = "logs/audit.log") -> AuditLogger:
    """The process's only one; made by the first call, with that call's file."""
    global _single  # noqa: PLW0603
    with _single_lock:
        if _single is None or _single.client.closed:
            _single = AuditLogger(audit_file)
        return _single


def _after_fork() -> None:
    global _single_lock  # noqa: PLW0603
    _single_lock = threading.Lock()
    if _single is not None:
        _single._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _client(audit_file: str, timeout: float) -> Client:
    said = {name: os.environ.get("AUDIT_TRAIL_" + name) or None for name in ("SOCKET", "URL", "TOKEN_FILE", "CA_FILE")}
    if said["URL"] is not None:
        return Client(url=said["URL"], token_file=said["TOKEN_FILE"], ca_file=said["CA_FILE"], timeout=timeout)
    path = said["SOCKET"] or os.path.join(os.path.dirname(os.path.abspath(audit_file)), "audit.sock")
    return Client(path, timeout=timeout)


def _setting(what: str, now: str) -> None:
    warnings.warn("%s is a setting of the collector today: %s. The call did nothing" % (what, now), CollectorSetting, stacklevel=3)


def _check_text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError("%s is a %s; it is a str" % (name, type(value).__name__))
    if not value or len(value) > most:
        raise ValueError("%s has %d characters; it may have 1 to %d" % (name, len(value), most))
    return value


def _check_details(details: Any, path: str = "details") -> None:
    if path == "details":
        try:
            size = len(encode({"details": details}).body)
        except AuditError as error:
            # As json.dumps says it: a TypeError for a value of a type that JSON does not have.
            kind = TypeError if error.kind == "invalid" and isinstance(error.__context__, TypeError) else ValueError
            raise kind(error.message) from None
        if size > MAX_DETAILS_BYTES + 12:
            raise ValueError("details has %d bytes as JSON; it may have %d" % (size - 12, MAX_DETAILS_BYTES))
    if isinstance(details, Mapping):
        for key, value in details.items():
            if not isinstance(key, str):
                raise TypeError("%s has the key %r; keys are texts" % (path, key))
            _check_details(value, "%s.%s" % (path, key))
    elif isinstance(details, (list, tuple)):
        for at, value in enumerate(details):
            _check_details(value, "%s.%d" % (path, at))
    elif isinstance(details, str) and len(details) > MAX_STRING:
        raise ValueError("%s has %d characters; it may have %d" % (path, len(details), MAX_STRING))


def _type(event_type: str) -> str:
    """`audit.…` is the log's own; an import of the old logs does the same."""
    return "python." + event_type if event_type.startswith(_RESERVED) else event_type


def _literal(text: str) -> str:
    """A pattern that stands for this text alone."""
    out, slashes = "", 0
    for character in text:
        if character == "*":
            out += "\\" * slashes + "\\*"
        else:
            out += character
        slashes = slashes + 1 if character == "\\" else 0
    return out


def _names(event_type: Optional[str], lead_id: Optional[str], workflow: Optional[str]) -> Dict[str, str]:
    out = {}
    for key, value in (("type", None if event_type is None else _type(event_type)), ("target", lead_id), ("source", workflow)):
        if value is not None:
            out[key] = _literal(str(value))
    return out


def _time(name: str, value: Any) -> datetime.datetime:
    if not isinstance(value, datetime.datetime):
        raise TypeError("%s is a %s; it is a datetime" % (name, type(value).__name__))
    return value


def _old_form(record: Mapping[str, Any]) -> Dict[str, Any]:
    details = record.get("details")
    imported = details.get("imported") if isinstance(details, Mapping) else None
    signature = imported.get("hmac") if isinstance(imported, Mapping) else None
    return {"timestamp": record.get("timestamp"), "event_type": record.get("event_type"), "actor": record.get("actor"),
            "lead_id": record.get("target"), "workflow": record.get("source"), "details": details if details is not None else {},
            "signature": signature}


def _groups(answer: Mapping[str, Any]) -> List[Dict[str, Any]]:
    groups = answer.get("groups")
    return [group for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []


def _line(text: str) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _metrics(text: str) -> Dict[str, Any]:
    out: Dict[str, Any] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == "auditctl_events_total":
            out["accepted"] = int(float(value))
        for reason in ("rate_limited", "invalid", "busy"):
            if name == 'auditctl_events_refused_total{reason="%s"}' % reason:
                out[reason] = int(float(value))
    return out
