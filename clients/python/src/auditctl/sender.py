"""The thread that talks to the collector: it sends what waits, in order, and says what became of it."""

import threading
from typing import Callable, List, Optional, Tuple

from . import stream, wire
from .errors import AuditError, ProtocolError
from .item import Item, now
from .pace import Pace
from .queue import Queue
from .stream import Lost, Stream
from .web import MAX_BODY_BYTES, MAX_LINES, BodyTooLarge, Unsent, Web

#: A thread without work looks around once in so many seconds.
IDLE = 60.0
#: While much is sent, deadlines of what waits are looked at so often.
LOOK = 0.1


class Sender:
    """What both ways of sending share: the queue, waiting, and what an answer means."""

    def __init__(self, queue: Queue, window: int) -> None:
        self.queue = queue
        self.pace = Pace(window)
        self.trouble = ""
        self.not_before = 0.0
        self.wake_reader, self.wake_writer = stream.pair()
        self.thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        if self.thread is None:
            made = threading.Thread(target=self._main, name="auditctl", daemon=True)
            self.thread = made
            try:
                made.start()
            except BaseException:
                self.thread = None
                self.wake_reader.close()
                self.wake_writer.close()
                raise

    def poke(self) -> None:
        """There is something to do."""
        stream.poke(self.wake_writer)

    def _main(self) -> None:
        try:
            while not self._over():
                try:
                    if self.queue.cut:
                        self._cut_off()
                    else:
                        self._turn()
                except BaseException as error:
                    # Nobody may wait for ever for a thread that has a fault.
                    self._faulty(error)
        finally:
            self._end()
            self.wake_reader.close()
            self.wake_writer.close()

    def _faulty(self, error: BaseException) -> None:
        words = "the client has a fault: %s" % type(error).__name__
        for item in self._held() + self.queue.take(1 << 30, 1 << 62):
            item.failed("unconfirmed", words)
        self.queue.taken = 0

    def _cut_off(self) -> None:
        """The client is closed, and waits no longer: everything gets its outcome all the same."""
        for item in self._held() + self.queue.take(1 << 30, 1 << 62):
            item.expired("the client was closed")
        self.queue.taken = 0

    def abort(self) -> None:
        """From another thread: whatever blocks the one that sends ends."""

    def abandon(self) -> None:
        """From another thread, which waits no longer for the one that sends: everything gets its outcome."""
        for item in self.under_way():
            item.maybe = True
            item.expired("the client was closed")
        for item in self.queue.take(1 << 30, 1 << 62):
            item.expired("the client was closed")

    def under_way(self) -> "List[Item]":
        """What may have been sent, and has no answer."""
        raise NotImplementedError

    def _held(self) -> "List[Item]":
        """What was taken from the queue; the connection is given up."""
        raise NotImplementedError

    def _over(self) -> bool:
        return self.queue.closing and len(self.queue) == 0

    def _turn(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _pause(self, until: Optional[float]) -> None:
        """Waits for that moment, or until somebody wakes it."""
        timeout = IDLE if until is None else max(0.0, min(IDLE, until - now()))
        self.wake_reader.settimeout(timeout or 0.000001)
        try:
            self.wake_reader.recv(4096)
        except (TimeoutError, OSError):
            pass
        self.wake_reader.setblocking(False)

    def _idle(self, nearest: Optional[float]) -> None:
        """There is nothing to do. Whoever closes has woken this thread before it looked at the queue."""
        if not self.queue.closing:
            self._pause(nearest)

    def _wait_for(self, nearest: Optional[float]) -> bool:
        """Whether nothing may be sent yet; it has waited then."""
        if now() >= self.not_before:
            return False
        self._pause(self.not_before if nearest is None else min(nearest, self.not_before))
        return True

    def _failed(self, words: str, retry_after: Optional[float] = None) -> None:
        self.trouble = words
        self.not_before = now() + self.pace.failed(retry_after)

    def answered(self, pairs: "List[Tuple[Item, wire.Answer]]", ids: bool) -> "List[Item]":
        """Settles what is decided; what is to be sent again."""
        again: "List[Item]" = []
        wait: Optional[float] = None
        timed = False
        for item, answer in pairs:
            if answer.seq is not None:
                item.recorded(answer.seq, answer.duplicate)
                continue
            if answer.kind == "unavailable" or answer.uncertain:
                # It was accepted, and may yet become durable; or a proxy passed it on.
                item.maybe = True
            if not answer.again:
                item.failed(answer.kind, answer.message)
            elif item.maybe and not ids:
                item.failed("unconfirmed", "%s: %s; this collector knows no ids, so the event is not sent again"
                            % (answer.kind, answer.message))
            else:
                item.last = "%s: %s" % (answer.kind, answer.message)
                again.append(item)
                timed = timed or answer.retry_after is not None
                if answer.retry_after is not None:
                    wait = max(wait or 0.0, answer.retry_after)
        if again:
            self.pace.refused()
            # A burst of refusals is one failure.
            self._failed(again[-1].last, wait if timed else None)
        elif pairs:
            self.pace.went_well()
        return again

    def lost(self, seen: "List[Item]", unseen: "List[Item]", ids: bool, why: str) -> None:
        """A connection ended: what had no answer is sent again before anything newer, if that cannot record it twice."""
        self.trouble = why
        for item in seen:
            item.maybe = True
            if not ids:
                item.failed("unconfirmed", "%s; this collector knows no ids, so the event is not sent again" % why)
        self.queue.again((seen if ids else []) + unseen)

    def fail_all(self, items: "List[Item]", error: AuditError) -> None:
        """None of these will be taken, for a reason that concerns all of them."""
        for item in items:
            item.failed(error.kind, error.message)


def without_spooled(items: "List[Item]") -> "List[Item]":
    """Events of the spool are not sent to a collector without ids."""
    for item in items:
        if item.needs_ids:
            item.no_ids()
    return [item for item in items if not item.settled]


class SocketSender(Sender):
    """Pipelines over the Unix socket."""

    def __init__(self, queue: Queue, window: int, window_bytes: int, connect: "Callable[[float], Stream]") -> None:
        super().__init__(queue, window)
        self.window_bytes = window_bytes
        self.connect = connect
        self.stream: Optional[Stream] = None
        #: Refused for a while: sent again once nothing is in flight.
        self.again: "List[Item]" = []
        self.next_look = 0.0

    def _end(self) -> None:
        if self.stream is not None:
            self.stream.socket.close()

    def under_way(self) -> "List[Item]":
        return list(self.stream.inflight) if self.stream is not None else []

    def _held(self) -> "List[Item]":
        held, self.again = self.again, []
        if self.stream is not None:
            seen, unseen = self.stream.give_up()
            for item in seen:
                item.maybe = True
            held += seen + unseen
            self.stream = None
        return held

    def _turn(self) -> None:
        nearest = self.queue.expire(self.trouble)
        busy = self.stream is not None and bool(self.stream.inflight)
        if not busy and not self.queue.items:
            self._idle(nearest)
            return
        if not busy and self._wait_for(nearest):
            return
        if self.stream is not None and not self.stream.is_clean():
            self._drop("the collector ended the connection")
        if self.stream is None and not self._connected(nearest):
            return
        assert self.stream is not None
        self._exchange(self.stream)

    def _connected(self, nearest: Optional[float]) -> bool:
        left = 5.0 if nearest is None else max(0.001, min(5.0, nearest - now()))
        try:
            made = self.connect(left)
            if made.refusal is not None:
                made.socket.close()
                raise made.refusal
            self.stream = made
            return True
        except Lost as why:
            self._failed(str(why), why.retry_after)
        except AuditError as error:
            # Not its program, or not our protocol: no try again helps those who wait now.
            self.fail_all(self.queue.take(1 << 30, 1 << 62), error)
            self.queue.taken = 0
        return False

    def _exchange(self, there: Stream) -> None:
        """Sends and reads until there is nothing to do, something fails, or the window has to wait."""
        while not self.queue.cut:
            self._fill(there)
            if not there.inflight:
                self._send_again()
                return
            oldest = there.inflight[0]
            self._look()
            try:
                answers = there.turn(self.wake_reader, max(0.0, oldest.deadline - now()))
            except Lost as why:
                self._drop(str(why))
                return
            except ProtocolError as error:
                self._not_understood(there, error)
                return
            if answers:
                self.again += self._settle(there, answers)
            elif oldest.deadline <= now() and not self._overdue(there):
                return

    def _look(self) -> None:
        """Deadlines of what still waits, now and then: it may be much."""
        if self.queue.items and now() >= self.next_look:
            self.next_look = now() + LOOK
            self.queue.expire(self.trouble)

    def _settle(self, there: Stream, answers: "List[Tuple[Item, wire.Answer]]") -> "List[Item]":
        again = self.answered(answers, there.hello.ids)
        self.queue.taken = len(there.inflight) + len(self.again) + len(again)
        return again

    def _fill(self, there: Stream) -> None:
        """Nothing more is sent while a refusal has to be waited for: what was refused comes first."""
        if self.again or there.torn or now() < self.not_before:
            return
        room = self.pace.at_once - len(there.inflight)
        # In parts: an answer wakes this thread for many events.
        if room <= 0 or (there.inflight and room < self.pace.at_once // 4) or there.inflight_bytes >= self.window_bytes:
            return
        items = self.queue.take(room, self.window_bytes - there.inflight_bytes)
        if not there.hello.ids:
            items = without_spooled(items)
        if items:
            there.add(items)
        self.queue.taken = len(there.inflight)

    def _send_again(self) -> None:
        if self.again:
            items, self.again = self.again, []
            self.queue.again(items)
        self.queue.taken = 0

    def _overdue(self, there: Stream) -> bool:
        """Those whose deadline is over have no answer; whether the connection may go on."""
        at = now()
        waits = False
        for item in there.inflight:
            if item.deadline <= at and not item.settled:
                item.maybe = item.start < there.sent
                item.expired("the collector does not answer")
            waits = waits or not item.settled
        if there.hello.ids or not waits:
            self._drop("the collector does not answer")
            return False
        return True

    def _drop(self, why: str) -> None:
        there, self.stream = self.stream, None
        if there is None:
            return
        had = bool(there.inflight)
        seen, unseen = there.give_up()
        # Both were sent before what still waits; what was refused was sent before what has no answer.
        items, self.again = self.again, []
        self.lost(seen, unseen, there.hello.ids, why)
        self.queue.again(items)
        self.queue.taken = 0
        if had:
            self.not_before = max(self.not_before, now() + self.pace.failed())

    def _not_understood(self, there: Stream, error: ProtocolError) -> None:
        """What comes after this answer belongs to no event any more."""
        for item in there.inflight:
            if item.start < there.sent:
                item.failed("protocol", error.message + "; the event may be recorded: try again with its id")
        self._drop(error.message)


class WebSender(Sender):
    """One request after the other over HTTP."""

    def __init__(self, queue: Queue, window: int, web: Web) -> None:
        super().__init__(queue, min(window, MAX_LINES))
        self.web = web
        self.held: "List[Item]" = []
        #: Of a body; less once a proxy refused one for its length.
        self.most_bytes = MAX_BODY_BYTES

    def _end(self) -> None:
        self.web.close()

    def abort(self) -> None:
        self.web.abort()

    def under_way(self) -> "List[Item]":
        return list(self.held)

    def _held(self) -> "List[Item]":
        self.web.close()
        return self.held

    def _turn(self) -> None:
        nearest = self.queue.expire(self.trouble)
        if not self.queue.items:
            self._idle(nearest)
            return
        if self._wait_for(nearest):
            return
        items = self.queue.take(self.pace.at_once, self.most_bytes)
        if not self.web.ids:
            items = without_spooled(items)
        if not items:
            self.queue.taken = 0
            return
        self.queue.taken, self.held = len(items), items
        self._deliver(items)
        self.queue.taken, self.held = 0, []

    def _deliver(self, items: "List[Item]") -> None:
        ids = self.web.ids
        try:
            answers = self.web.deliver(items, min(item.deadline for item in items))
        except BodyTooLarge:
            self.most_bytes = max(1, sum(item.size for item in items) // 2)
            self.queue.again(items)
            return
        except Unsent as why:
            self.lost([], items, ids, str(why))
            self._failed(str(why))
            return
        except Lost as why:
            self.lost(items, [], ids, str(why))
            self._failed(str(why))
            return
        except ProtocolError as error:
            self.fail_all(items, ProtocolError("protocol", error.message + "; the event may be recorded: try again with its id"))
            return
        except AuditError as error:
            self.fail_all(items, error)
            return
        pairs = [(item, answer) for item, answer in zip(items, answers) if answer is not None]
        if ids and any(answer.knows_no_id for _, answer in pairs):
            self.web.ids = False
            self.queue.again(items)
            return
        self.queue.again(self.answered(pairs, ids))
