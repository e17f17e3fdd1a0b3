"""One connection to the collector's socket: lines go out and answers come in, at the same time."""

import select
import socket
import time
from collections import deque
from typing import Deque, Iterable, List, Optional, Tuple

from . import trust, wire
from .errors import AuditError, ProtocolError, error_of
from .item import Item

READ_BYTES = 256 << 10


class Lost(Exception):
    """The connection ended, or could not be made."""

    def __init__(self, words: str, retry_after: Optional[float] = None) -> None:
        super().__init__(words)
        #: When whoever refused it wants to be asked again, in seconds.
        self.retry_after = retry_after


class Stream:
    """A connection that said hello."""

    def __init__(self, path: str, client: str, trusted: Iterable[int], timeout: float) -> None:
        self.path = path
        self.received = b""
        self.outgoing = bytearray()
        #: Bytes that the kernel took, and bytes that were ever added to `outgoing`.
        self.sent, self.added = 0, 0
        self.inflight: "Deque[Item]" = deque()
        self.inflight_bytes = 0
        #: Why nothing more is believed that comes on it.
        self.broken: Optional[ProtocolError] = None
        #: This user may not send; a query may still be allowed.
        self.refusal: Optional[AuditError] = None
        #: Writing failed: nothing more is sent on it, and what was not sent whole has no answer.
        self.torn = False
        try:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise Lost("this process can open no socket: %s" % (error.strerror or error)) from None
        try:
            self.hello = self._begin(client, trusted, timeout)
        except BaseException:
            self.socket.close()
            raise

    def _begin(self, client: str, trusted: Iterable[int], timeout: float) -> wire.Hello:
        until = time.monotonic() + timeout
        self.socket.settimeout(max(timeout, 0.001))
        try:
            self.socket.connect(self.path)
        except OSError as error:
            raise Lost("no collector at %s: %s" % (self.path, error.strerror or error)) from None
        trust.check(self.socket, self.path, trusted)
        try:
            self.socket.sendall(b'{"hello":{"client":"%s"}}\n' % client.encode())
            line = self._line(until)
        except OSError as error:
            raise Lost("the collector at %s went away: %s" % (self.path, error.strerror or error)) from None
        self.socket.setblocking(False)
        # A refused connection is told so instead of hello's answer.
        said = wire.document(line).get("error")
        if isinstance(said, dict) and said.get("kind"):
            refused = wire.refused(said)
            if refused.again:
                raise Lost("%s: %s" % (refused.kind, refused.message), refused.retry_after)
            if refused.kind in ("forbidden", "unauthorized"):
                self.refusal = error_of(refused.kind, refused.message)
        if self.received:
            raise ProtocolError("protocol", "the collector said something that nobody asked for: %s" % wire.shown(self.received))
        return wire.hello(line)

    def _line(self, until: float) -> bytes:
        while b"\n" not in self.received:
            left = until - time.monotonic()
            if left <= 0:
                raise Lost("the collector at %s does not answer" % self.path)
            self.socket.settimeout(left)
            part = self.socket.recv(READ_BYTES)
            if not part:
                raise Lost("the collector at %s ended the connection" % self.path)
            self.received += part
            if len(self.received) > wire.MAX_ANSWER_BYTES:
                raise ProtocolError("protocol", "an answer without end")
        line, self.received = self.received.split(b"\n", 1)
        return line

    def ask(self, request: bytes, timeout: float) -> bytes:
        """One request, and its answer, while nothing is in flight."""
        until = time.monotonic() + timeout
        self.socket.settimeout(max(timeout, 0.001))
        try:
            self.socket.sendall(request + b"\n")
            parts = [self.received]
            size = len(self.received)
            while not parts[-1].endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0:
                    raise Lost("the collector at %s did not answer in time" % self.path)
                self.socket.settimeout(left)
                part = self.socket.recv(READ_BYTES)
                if not part:
                    raise Lost("the collector at %s ended the connection" % self.path)
                parts.append(part)
                size += len(part)
                if size > wire.MAX_QUERY_BYTES:
                    raise ProtocolError("protocol", "an answer without end")
        except OSError as error:
            raise Lost("the collector at %s went away: %s" % (self.path, error.strerror or error)) from None
        self.received = b""
        return b"".join(parts)

    def add(self, items: "List[Item]") -> None:
        """Puts their lines behind what is to be sent."""
        with_id = self.hello.ids
        start, out = self.added, self.outgoing
        for item in items:
            item.start = start
            line = item.encoded.line(with_id)
            out += line
            out += b"\n"
            start += len(line) + 1
            self.inflight_bytes += len(line)
        self.added = start
        self.inflight.extend(items)

    def turn(self, wake: socket.socket, timeout: float) -> "List[Tuple[Item, wire.Answer]]":
        """Sends and receives what can be, once; what was answered. Ends early when `wake` has something."""
        if self.broken is not None:
            raise self.broken
        self.send()
        if self.torn:
            timeout = min(timeout, 1.0)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | (select.POLLOUT if self.outgoing else 0))
        poll.register(wake, select.POLLIN)
        events = dict(poll.poll(max(0.0, timeout) * 1000))
        if wake.fileno() in events:
            drain(wake)
        got = events.get(self.socket.fileno(), 0)
        if got & select.POLLOUT:
            self.send()
        if got & ~select.POLLOUT:
            return self.receive()
        if self.torn and not events:
            raise Lost("the collector at %s takes nothing more" % self.path)
        return []

    def send(self) -> None:
        """What the kernel takes now."""
        while self.outgoing:
            try:
                count = self.socket.send(memoryview(self.outgoing)[: 1 << 20])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # What was answered before is still to be read. Behind half a line nothing can follow.
                self.torn = True
                self.outgoing.clear()
                return
            self.sent += count
            del self.outgoing[:count]

    def receive(self) -> "List[Tuple[Item, wire.Answer]]":
        """The answers that are there."""
        try:
            part = self.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise Lost("the collector at %s went away: %s" % (self.path, error.strerror or error)) from None
        if not part:
            raise Lost("the collector at %s ended the connection" % self.path)
        lines = (self.received + part).split(b"\n")
        self.received = lines.pop()
        out: "List[Tuple[Item, wire.Answer]]" = []
        inflight, with_id = self.inflight, self.hello.ids
        for line in lines:
            if not inflight:
                self.broken = ProtocolError("protocol", "the collector said something that nobody asked for: %s" % wire.shown(line))
                break
            try:
                answered = wire.answer(line)
            except ProtocolError as error:
                # What was understood before it counts.
                self.broken = error
                break
            length = inflight[0].encoded.length(with_id)
            if inflight[0].start + length >= self.sent:
                self.broken = ProtocolError("protocol", "the collector answered an event that was not sent whole")
                break
            item = inflight.popleft()
            self.inflight_bytes -= length
            out.append((item, answered))
        if len(self.received) > wire.MAX_ANSWER_BYTES:
            self.broken = ProtocolError("protocol", "an answer without end")
        if self.broken is not None and not out:
            raise self.broken
        return out

    def is_clean(self) -> bool:
        """Whether nothing came that nobody asked for, and the collector is still there."""
        if self.inflight:
            return True
        if self.received or self.broken is not None or self.torn:
            return False
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return False
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    def give_up(self) -> "Tuple[List[Item], List[Item]]":
        """Closes it: what may have been recorded, and of what no byte was sent."""
        self.socket.close()
        seen = [item for item in self.inflight if item.start < self.sent]
        unseen = [item for item in self.inflight if item.start >= self.sent]
        self.inflight.clear()
        return seen, unseen


def drain(wake: socket.socket) -> None:
    """Takes what was written to wake somebody."""
    try:
        while len(wake.recv(4096)) == 4096:
            pass
    except (BlockingIOError, InterruptedError):
        pass


def pair() -> "Tuple[socket.socket, socket.socket]":
    """Two ends; a byte written to the second wakes who waits for the first."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader, writer


def poke(writer: Optional[socket.socket]) -> None:
    """Wakes."""
    if writer is None:
        return
    try:
        writer.send(b"x")
    except OSError:
        pass
