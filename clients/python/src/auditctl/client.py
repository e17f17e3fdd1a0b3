"""A client of the collector, for threads."""

import atexit
import contextlib
import datetime
import os
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from . import event as events
from . import wire
from ._version import __version__
from .errors import AuditError, Closed, ProtocolError, QueueFull, SpoolError, Unreachable, UsageError
from .item import Group, Item, Outcome, Seq, now
from .queue import Queue
from .redact import Redactor
from .sender import Sender, SocketSender, WebSender
from .spool import Draining, Spool, SpoolState
from .stream import Lost, Stream
from .token import Token
from .web import Target, Web, context

NAME = "auditctl-python/" + __version__
DEFAULT_SOCKET = "/run/auditctl/audit.sock"
MAX_WINDOW = 16_384
#: Of a batch so many events are sent while the next ones are encoded.
AT_ONCE = 512

#: A part of a batch has so many bytes at most.
BYTES_AT_ONCE = 4 << 20

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
#: Those whose thread runs: what was submitted to them is sent, also if nobody holds them any more.
_running: "Set[Client]" = set()


class Client:
    """Records events with a collector, over its Unix socket or HTTP(S).

    One client serves all threads of a process. A thread of its own keeps a connection, on which events of all callers
    are pipelined. After a fork the child makes its own thread and connection.

    `socket`: the collector's socket. `url`: `http://127.0.0.1:9750` or `https://…`, instead. `token_file`, `token_env`: where
    the token for HTTP is. `ca_file`: the authorities for HTTPS, instead of the system's. `timeout`: seconds until a call
    gives up. `window`: events in flight. `capacity`, `capacity_bytes`: how much may wait in this process; a call beyond that
    waits, up to its timeout. `redact`: names and paths whose values never leave the process. `trusted_uids`: users whose
    collector is trusted besides root, this user, and the owner of the socket's directory. `spool`: a directory for events
    while the collector is away, of `spool_max_bytes`; a thread drains it each `drain_every` seconds (None: only `drain` does).
    """

    def __init__(self, socket: Optional[str] = None, *, url: Optional[str] = None, token_file: Optional[str] = None,
                 token_env: Optional[str] = None, ca_file: Optional[str] = None, timeout: float = 30.0, window: int = 1024,
                 capacity: int = 100_000, capacity_bytes: int = 64 << 20, redact: Sequence[str] = (), trusted_uids: Iterable[int] = (),
                 spool: Optional[str] = None, spool_max_bytes: int = 64 << 20, drain_every: Optional[float] = 5.0,
                 allow_plain_http: bool = False) -> None:
        if socket is not None and url is not None:
            raise UsageError("usage", "give socket or url, not both")
        if not 1 <= window <= MAX_WINDOW:
            raise UsageError("usage", "window is %d; it may be 1 to %d" % (window, MAX_WINDOW))
        if not timeout > 0 or capacity < 1 or capacity_bytes < 1:
            raise UsageError("usage", "timeout, capacity and capacity_bytes are greater than 0")
        self.timeout, self.window, self.capacity, self.capacity_bytes = float(timeout), window, capacity, capacity_bytes
        self.token = Token(token_file, token_env)
        self.trusted_uids = frozenset(trusted_uids)
        self.redactor = Redactor(redact) if redact else None
        self.target: Optional[Target] = None
        self.context = None
        if url is None:
            if token_file is not None or token_env is not None or ca_file is not None:
                raise UsageError("usage", "tokens and ca_file are for url; at a socket the kernel says who it is")
            self.path = os.fspath(socket if socket is not None else DEFAULT_SOCKET)
        else:
            self.path = ""
            self.target = Target.of(url)
            if self.target.secure:
                self.context = context(ca_file)
            elif self.token and not self.target.is_loopback and not allow_plain_http:
                raise UsageError("usage", "a token would cross the network in the clear to %s; use https, or say allow_plain_http "
                                          "where the way is private" % (self.target,))
        self.spooled = Spool(os.fspath(spool), spool_max_bytes) if spool is not None else None
        self.drain_every = drain_every if spool is not None else None
        #: The last error that no caller was told, of the thread that drains the spool.
        self.last_drain_error: Optional[AuditError] = None
        self._closed = False
        self._begin()
        _clients.add(self)

    def __repr__(self) -> str:
        where = "url='%s', token=%r" % (self.target, self.token) if self.target is not None else "socket=%r" % self.path
        return "Client(%s, timeout=%g, window=%d)" % (where, self.timeout, self.window)

    def _begin(self) -> None:
        """What belongs to this process alone, and is made anew in a child."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting = 0
        self._queue = Queue()
        self._sender: Optional[Sender] = None
        self._asking = threading.Lock()
        self._asker: Optional[Stream] = None
        self._asker_web: Optional[Web] = None
        self._drain_stop = threading.Event()
        self._drainer: Optional[threading.Thread] = None

    def _in_child(self) -> None:
        """After a fork: the parent's events and connection stay the parent's."""
        sender, asker, web = self._sender, self._asker, self._asker_web
        if isinstance(sender, SocketSender) and sender.stream is not None:
            sender.stream.socket.close()
        if isinstance(sender, WebSender):
            _drop(sender.web)
        if sender is not None:
            sender.wake_reader.close()
            sender.wake_writer.close()
        if asker is not None:
            asker.socket.close()
        if web is not None:
            _drop(web)
        self._begin()

    # Sending

    def _started(self) -> Sender:
        """The sender, with the lock held."""
        if self._closed:
            raise Closed("closed", "the client is closed")
        if self._sender is None:
            try:
                made: Sender = (WebSender(self._queue, self.window, self._web()) if self.target is not None
                                else SocketSender(self._queue, self.window, 4 << 20, self._connect))
                made.start()
            except (OSError, RuntimeError) as error:
                raise Unreachable("unreachable", "this process cannot start the client's thread: %s; nothing was sent" % error) from None
            self._sender = made
            _running.add(self)
            _end_with_the_child()
        if self.drain_every is not None and self._drainer is None:
            drainer = threading.Thread(target=self._drain_now_and_then, name="auditctl-spool", daemon=True)
            try:
                drainer.start()
                self._drainer = drainer
            except RuntimeError as error:
                self.last_drain_error = SpoolError("spool", "this process cannot start the thread that drains: %s" % error)
        return self._sender

    def _connect(self, timeout: float) -> Stream:
        return Stream(self.path, NAME, self.trusted_uids, timeout)

    def _web(self) -> Web:
        assert self.target is not None
        return Web(self.target, self.token, self.context, NAME)

    def _submit(self, items: "List[Item]", wait: bool = True) -> None:
        """Puts them into the queue, in one piece, once there is room."""
        size = sum(item.size for item in items)
        with self._lock:
            sender = self._started()
            # The thread that makes room cannot wait for it.
            wait = wait and sender.thread is not threading.current_thread()
            # A batch that is larger than the queue may have it alone.
            while len(self._queue) and (len(self._queue) + len(items) > self.capacity or self._queue.bytes + size > self.capacity_bytes):
                left = items[0].deadline - now()
                if not wait or left <= 0:
                    raise QueueFull("queue_full", "%d events wait in this process; this one was not taken" % len(self._queue),
                                    items[0].encoded.id)
                self._room.wait(min(left, 0.05))
                sender = self._started()
            if not self._queue.put(items):
                raise Closed("closed", "the client is closed")
        sender.poke()

    def encode(self, event: Mapping[str, Any]) -> events.Encoded:
        """The event as it will be sent: redacted, with its id. Raises `Refused`."""
        return events.encode(event, self.redactor)

    def redacted(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The event as it may be shown: without what is named in `redact`."""
        if self.redactor is None:
            return event
        try:
            return self.redactor.event(event)
        except Exception:
            return {"event_type": event.get("event_type"), "id": event.get("id")}

    def submit(self, event: Mapping[str, Any], *, timeout: Optional[float] = None, wait: bool = True) -> "Future[Seq]":
        """Sends an event without waiting; the future has its seq once it is durable, or the error.

        A future that is cancelled before its event was sent withdraws it. With `wait=False` a full queue raises `QueueFull`
        at once. In a callback of a future, which runs in the client's own thread, a full queue always does.
        """
        future: "Future[Seq]" = Future()
        deadline = now() + (self.timeout if timeout is None else timeout)
        self._submit([Item(self.encode(event), deadline, future=future)], wait)
        return future

    def record(self, event_type: str, *, actor: Optional[str] = None, source: Optional[str] = None, target: Optional[str] = None,
               outcome: Optional[str] = None, details: Optional[Mapping[str, Any]] = None, timestamp: Any = None,
               id: Optional[str] = None, timeout: Optional[float] = None) -> Seq:
        """Records an event; returns its seq once it is durable. Raises an `AuditError`."""
        fields = (("actor", actor), ("source", source), ("target", target), ("outcome", outcome), ("timestamp", timestamp),
                  ("details", details), ("id", id))
        return self.record_event(events.members(event_type, fields), timeout=timeout)

    def record_event(self, event: Mapping[str, Any], *, timeout: Optional[float] = None) -> Seq:
        """The same for an event as a mapping."""
        outcome = self._outcomes([event], timeout)[0]
        if isinstance(outcome, AuditError):
            raise outcome
        return outcome

    def record_many(self, events: Iterable[Mapping[str, Any]], *, timeout: Optional[float] = None) -> "List[Outcome]":
        """Records events, pipelined and in order. For each its seq, or its error (returned, not raised)."""
        return self._outcomes(list(events), timeout)

    def _outcomes(self, given: "List[Mapping[str, Any]]", timeout: Optional[float]) -> "List[Outcome]":
        self._not_in_the_sender()
        deadline = now() + (self.timeout if timeout is None else timeout)
        group = Group(len(given))
        items: "List[Item]" = []
        size = 0
        for at, event in enumerate(given):
            try:
                items.append(Item(self.encode(event), deadline, group, at))
                size += items[-1].size
            except AuditError as error:
                group.settle(at, error)
            if len(items) == AT_ONCE or size >= BYTES_AT_ONCE:
                self._submit_or_settle(items)
                items, size = [], 0
        self._submit_or_settle(items)
        return group.wait(deadline)

    def _not_in_the_sender(self) -> None:
        """A callback of a future runs in the thread that sends: it would wait for itself."""
        if self.in_its_own_thread():
            raise UsageError("usage", "this is the client's own thread, where a call cannot wait; use submit")

    def in_its_own_thread(self) -> bool:
        """Whether this is the thread that sends."""
        sender = self._sender
        return sender is not None and sender.thread is threading.current_thread()

    def _submit_or_settle(self, items: "List[Item]") -> None:
        """What is sent already is on its way: those that are not taken get their error."""
        try:
            if items:
                self._submit(items)
        except AuditError as error:
            for item in items:
                item.failed(error.kind, error.message)

    def flush(self, timeout: Optional[float] = None) -> None:
        """Returns once everything that was submitted has its outcome; raises after `timeout` seconds."""
        self._not_in_the_sender()
        until = now() + (self.timeout if timeout is None else timeout)
        while len(self._queue):
            if now() > until:
                raise AuditError("timeout", "%d events have no outcome yet" % len(self._queue))
            time.sleep(0.002)

    def close(self, timeout: Optional[float] = None) -> None:
        """Waits for what was submitted, then ends the connection. Nothing is taken any more.

        Each event has its own deadline; after `timeout` seconds what has no outcome gets one: `Unreachable`, or `Unconfirmed`.
        """
        until = None if timeout is None else now() + timeout
        with self._lock:
            if self._closed:
                return
            self._closed = True
            sender, drainer = self._sender, self._drainer
        self._drain_stop.set()
        with self._queue.lock:
            self._queue.closing = True
        if sender is not None and sender.thread is not None and sender.thread is not threading.current_thread():
            sender.poke()
            sender.thread.join(timeout)
            if sender.thread.is_alive():
                self._queue.cut = True
                sender.abort()
                sender.poke()
                sender.thread.join(0.5)
            if sender.thread.is_alive():
                # It makes a connection, which cannot be ended from here.
                sender.abandon()
        if drainer is not None and drainer is not threading.current_thread():
            drainer.join(self.timeout if until is None else max(0.1, until - now()))
        _running.discard(self)
        with self._asking:
            if self._asker is not None:
                self._asker.socket.close()
                self._asker = None
            if self._asker_web is not None:
                self._asker_web.close()
                self._asker_web = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The spool

    def spool(self, event: Mapping[str, Any]) -> str:
        """Puts an event into the spool; returns its id once it is on this machine's disk. It gets the time of now."""
        encoded = self.encode(_with_time(event))
        self._spool().append(encoded)
        with self._lock, contextlib.suppress(AuditError):
            # It is there, whether a thread can be started now or not.
            if not self._closed:
                self._started()
        return encoded.id

    def record_or_spool(self, event: Mapping[str, Any], *, timeout: Optional[float] = None) -> Optional[Seq]:
        """Records the event; None: the collector was away, or older events wait in the spool, and now it is there."""
        spool = self._spool()
        # Before the first try: each later one has to send the same content.
        with_id = _with_time(event)
        with_id.setdefault("id", events.new_id())
        if spool.is_empty():
            try:
                return self.record_event(with_id, timeout=timeout)
            except AuditError as error:
                if error.kind not in ("unreachable", "unconfirmed", "queue_full"):
                    raise
        self.spool(with_id)
        return None

    def drain(self, timeout: Optional[float] = None) -> Draining:
        """Sends what the spool holds, in order, until it is empty or the time is over."""
        return self._spool().drain(self._deliver, now() + (self.timeout if timeout is None else timeout))

    def spool_state(self) -> SpoolState:
        """What the spool holds."""
        return self._spool().state()

    def _spool(self) -> Spool:
        if self.spooled is None:
            raise UsageError("usage", "this client has no spool")
        return self.spooled

    def _deliver(self, encoded: "List[events.Encoded]", deadline: float) -> "List[Outcome]":
        self._not_in_the_sender()
        group = Group(len(encoded))
        items = [Item(one, deadline, group, at) for at, one in enumerate(encoded)]
        for item in items:
            item.needs_ids = True
        self._submit_or_settle(items)
        return group.wait(deadline)

    def _drain_now_and_then(self) -> None:
        assert self.drain_every is not None
        while not self._drain_stop.wait(self.drain_every):
            try:
                if not self._spool().is_empty():
                    self.drain(min(self.timeout, 10.0))
                self.last_drain_error = None
            except AuditError as error:
                self.last_drain_error = error
            except Exception as error:
                # It goes on: the next time may be better.
                self.last_drain_error = SpoolError("spool", "%s: %s" % (type(error).__name__, error))

    def knows_ids(self) -> bool:
        """Whether the collector knows ids, as far as this client has seen."""
        sender = self._sender
        if isinstance(sender, SocketSender):
            return sender.stream is None or sender.stream.hello.ids
        return not isinstance(sender, WebSender) or sender.web.ids

    # Asking

    def ask(self, *, timeout: Optional[float] = None, **request: Any) -> Dict[str, Any]:
        """One page of an answer, as `auditctl query --json` gives it. The keys are those of docs/queries.md; `type` for
        event_type, and `where` for conditions."""
        wanted = {key.rstrip("_"): _asked(value) for key, value in request.items() if value is not None}
        until = now() + (max(self.timeout, 60.0) if timeout is None else timeout)
        while True:
            with self._asking:
                answer = self._ask_web(wanted, until) if self.target is not None else self._ask_socket({"query": wanted}, until)
            error = answer.get("error")
            if not isinstance(error, dict):
                break
            refused = wire.refused(error)
            if not refused.again or now() + (refused.retry_after or 0.2) > until:
                raise AuditError(refused.kind, refused.message)
            time.sleep(refused.retry_after or 0.2)
        ok = answer if self.target is not None else answer.get("ok", {}).get("query")
        if not isinstance(ok, dict):
            raise ProtocolError("protocol", "no answer to a query")
        return ok

    def query(self, *, limit: int = 100, timeout: Optional[float] = None, **request: Any) -> "List[Dict[str, Any]]":
        """Up to `limit` records (0: all of them), newest first, or with `order="oldest"`."""
        return list(self.records(limit=limit, timeout=timeout, **request))

    def records(self, *, limit: int = 0, timeout: Optional[float] = None, **request: Any) -> "Iterator[Dict[str, Any]]":
        """The same, page by page as they are asked for."""
        left = limit
        while True:
            page = self.ask(limit=left, timeout=timeout, **request)
            records = page.get("records")
            if not isinstance(records, list):
                raise ProtocolError("protocol", "an answer without records")
            yield from records
            left -= len(records) if limit else 0
            following = page.get("next")
            if page.get("more") is not True or not isinstance(following, dict) or (limit and left <= 0):
                return
            request = {**request, **following}

    def status(self, timeout: Optional[float] = None) -> Dict[str, Any]:
        """What the collector says of itself; at the socket only."""
        if self.target is not None:
            raise UsageError("usage", "status is for a client with a socket; over HTTP see /health")
        with self._asking:
            answer = self._ask_socket({"status": {}}, now() + (self.timeout if timeout is None else timeout))
        status = answer.get("ok", {}).get("status") if isinstance(answer.get("ok"), dict) else None
        if not isinstance(status, dict):
            raise AuditError(*_refusal(answer))
        return status

    def metrics(self, timeout: Optional[float] = None) -> str:
        """The collector's metrics, in Prometheus's text format; over HTTP only."""
        if self.target is None:
            raise UsageError("usage", "metrics are for a client with a url; at a socket see status")
        until = now() + (self.timeout if timeout is None else timeout)
        with self._asking:
            if self._asker_web is None:
                self._asker_web = self._web()
            try:
                reply = self._asker_web.request("GET", "/metrics", b"", {"accept": "text/plain"}, until)
            except Lost as why:
                raise AuditError("unreachable", str(why)) from None
        if reply.status != 200:
            raise AuditError(*_refusal(wire.document(reply.body)))
        return reply.body.decode("utf-8", "replace")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _ask_socket(self, request: Dict[str, Any], until: float) -> Dict[str, Any]:
        line = events._encoder.encode(request).encode("utf-8")
        if len(line) > events.MAX_LINE_BYTES:
            raise UsageError("usage", "the query is longer than a line may be")
        for attempt in (1, 2):
            kept = self._asker is not None
            try:
                if self._asker is None:
                    self._asker = self._connect(max(0.001, until - now()))
                return wire.document(self._asker.ask(line, max(0.001, until - now())))
            except Lost as why:
                self._drop_asker()
                # One that was kept may have ended long ago.
                if not kept or attempt == 2:
                    raise AuditError("unreachable", str(why)) from None
            except BaseException:
                self._drop_asker()
                raise
        raise AssertionError("unreachable")

    def _drop_asker(self) -> None:
        if self._asker is not None:
            self._asker.socket.close()
            self._asker = None

    def _ask_web(self, wanted: Dict[str, Any], until: float) -> Dict[str, Any]:
        from urllib.parse import urlencode

        if self._asker_web is None:
            self._asker_web = self._web()
        pairs = [(key, _text(one)) for key, value in wanted.items() for one in (value if isinstance(value, list) else [value])]
        try:
            reply = self._asker_web.request("GET", "/v1/events?" + urlencode(pairs), b"", {}, until)
        except Lost as why:
            raise AuditError("unreachable", str(why)) from None
        value = wire.document(reply.body)
        if reply.status != 200 and "error" not in value:
            raise ProtocolError("protocol", "the answer is HTTP %d" % reply.status)
        return value


def _drop(web: Web) -> None:
    """In a child: closes this process's copy of the connection, and says nothing to the other side."""
    if web._timed is not None:
        _close_copy(web._timed.stream)
        web._timed = None


def _close_copy(stream: Any) -> None:
    try:
        os.close(stream.detach())
    except OSError:
        pass


def _with_time(event: Mapping[str, Any]) -> Dict[str, Any]:
    members = dict(event)
    if members.get("timestamp") is None:
        members["timestamp"] = events.timestamp_text(datetime.datetime.now(datetime.timezone.utc))
    return members


def _asked(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return events.timestamp_text(value)
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(answer: Dict[str, Any]) -> Tuple[str, str]:
    refused = wire.refused(answer.get("error"))
    return refused.kind, refused.message


def _after_fork() -> None:
    for client in list(_clients):
        client._in_child()


_ends_with = 0


def _end_with_the_child() -> None:
    """A process of multiprocessing ends without `atexit`: it has an own list of what is to be done."""
    global _ends_with  # noqa: PLW0603
    module = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if module is None or process is None or process.parent_process() is None or _ends_with == os.getpid():
        return
    module.Finalize(None, _at_exit, exitpriority=100)
    _ends_with = os.getpid()


def _at_exit() -> None:
    for client in {*_running, *_clients}:
        try:
            client.close()
        except AuditError:
            pass


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
