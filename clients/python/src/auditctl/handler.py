"""Log records of `logging` as audit events, none of which is dropped silently."""

import logging
import sys
import threading
import traceback
from concurrent.futures import Future
from typing import Any, Callable, Dict, Mapping, Optional

from .client import Client
from .errors import AuditError, UsageError
from .item import Seq

#: What an attribute of a log record says of its event: `log.info("…", extra={"audit": {"actor": "alice"}})`.
EXTRA = "audit"
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", EXTRA}

Failure = Callable[[Mapping[str, Any], AuditError], None]


def to_stderr(event: Mapping[str, Any], error: AuditError) -> None:
    """Says on stderr that an event was not recorded, with all of it, so that it can be recorded by hand."""
    import json
    text = json.dumps(dict(event), ensure_ascii=True, default=str)
    sys.stderr.write("auditctl: an event was not recorded (%s): %s\n" % (ascii(str(error))[1:-1], text))


class AuditHandler(logging.Handler):
    """Sends log records to the collector.

    `wait=True` (the default): a call such as `log.info` returns once its record is durable, and raises the `AuditError` if it
    is not. `wait=False`: it returns once the event is in the client's queue. A full queue then makes it wait
    (`when_full="block"`, up to the client's timeout, then it raises) or raises `QueueFull` at once (`when_full="raise"`). What
    fails later is counted (`failed`) and given to `on_failure`, which prints it with its event on stderr.

    `event` makes an event of a log record; the default takes `extra={"audit": {"event_type": …, "actor": …}}`, and the message,
    logger and level into `details`.
    """

    def __init__(self, client: Client, level: int = logging.NOTSET, *, wait: bool = True, when_full: str = "block",
                 on_failure: Failure = to_stderr, event: Optional[Callable[[logging.LogRecord], Dict[str, Any]]] = None) -> None:
        super().__init__(level)
        if when_full not in ("block", "raise"):
            raise ValueError('when_full is "block" or "raise"')
        self.client, self.wait, self.when_full, self.on_failure = client, wait, when_full, on_failure
        self.event = event if event is not None else self.event_of
        #: Events that were not recorded after their call had returned.
        self.failed = 0
        self._counting = threading.Lock()

    def event_of(self, record: logging.LogRecord) -> Dict[str, Any]:
        """The event of a log record."""
        said = getattr(record, EXTRA, None)
        event: Dict[str, Any] = dict(said) if isinstance(said, Mapping) else {}
        details: Dict[str, Any] = {"message": record.getMessage(), "logger": record.name, "level": record.levelname}
        details.update((key, value) for key, value in vars(record).items() if key not in _PLAIN)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            details["exception"] = {"type": type(error).__name__, "message": str(error),
                                    "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__))[-10_000:]}
        given = event.get("details")
        if isinstance(given, Mapping):
            details.update(given)
        event["details"] = details
        event.setdefault("event_type", "log." + record.levelname.lower())
        return event

    def handle(self, record: logging.LogRecord) -> bool:
        """Without logging's lock around it: other threads need not wait for this one's event."""
        accepted = self.filter(record)
        if accepted:
            self.emit(accepted if isinstance(accepted, logging.LogRecord) else record)
        return bool(accepted)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends it. Errors are the caller's: an audit event that was not recorded is no small matter."""
        event = self.event(record)
        if self.wait and self.client.in_its_own_thread():
            # A callback logs: to wait for the event here would be to wait for itself.
            self._report(event, UsageError("usage", "it was logged in the client's own thread, where nothing can wait for it"))
            return
        if self.wait:
            self.client.record_event(event)
            return
        future = self.client.submit(event, wait=self.when_full == "block")
        future.add_done_callback(lambda done: self._settled(event, done))

    def _settled(self, event: Mapping[str, Any], done: "Future[Seq]") -> None:
        error = done.exception() if not done.cancelled() else None
        if error is None:
            return
        self._report(event, error if isinstance(error, AuditError) else AuditError("unconfirmed", str(error)))

    def _report(self, event: Mapping[str, Any], error: AuditError) -> None:
        with self._counting:
            self.failed += 1
        self.on_failure(self.client.redacted(event), error)

    def flush(self) -> None:
        """Returns once everything that was sent has its outcome."""
        try:
            self.client.flush()
        except AuditError as error:
            self.on_failure({"event_type": "log.flush"}, error)


