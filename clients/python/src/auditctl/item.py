"""An event on its way, and who waits for it."""

import sys
import threading
import time
import traceback
from concurrent.futures import Future
from typing import Callable, List, Optional, Union

from .errors import AuditError, error_of
from .event import Encoded


class Seq(int):
    """The seq of a record: an int that also knows the event's `id`, and whether it had been recorded before."""

    id: str
    duplicate: bool

    def __new__(cls, seq: int, id: str = "", duplicate: bool = False) -> "Seq":
        made = super().__new__(cls, seq)
        made.id = id
        made.duplicate = duplicate
        return made


#: What became of one event.
Outcome = Union[Seq, AuditError]

#: Refusals that speak of the event itself: they were as true of each earlier try.
OF_THE_EVENT = frozenset({"invalid", "malformed", "too_large", "conflict", "protocol", "unconfirmed", "no_ids"})
#: So many seconds after its deadline an event has an outcome, whatever the thread that sends does.
GRACE = 15.0


class Group:
    """Events that somebody waits for together."""

    __slots__ = ("_done", "ids", "left", "lock", "outcomes", "then")

    def __init__(self, count: int, then: "Optional[Callable[[List[Outcome]], None]]" = None) -> None:
        self.outcomes: "List[Optional[Outcome]]" = [None] * count
        self.ids: "List[Optional[str]]" = [None] * count
        self.left = count
        self.then = then
        self.lock = threading.Lock()
        self._done = threading.Event()
        if count == 0:
            self._end()

    def settle(self, at: int, outcome: Outcome) -> None:
        """The first outcome of an event counts."""
        with self.lock:
            if self.outcomes[at] is not None:
                return
            self.outcomes[at] = outcome
            self.left -= 1
            last = self.left == 0
        if last:
            self._end()

    def _end(self) -> None:
        self._done.set()
        if self.then is not None:
            self.then([outcome for outcome in self.outcomes if outcome is not None])

    def wait(self, deadline: float) -> "List[Outcome]":
        """Every outcome, in order; a while after the deadline at the latest."""
        if not self._done.wait(max(0.0, deadline - now()) + GRACE):
            for at, id in enumerate(self.ids):
                self.settle(at, error_of("unconfirmed", "the client's thread does not answer; the event may be recorded: try again with "
                                                        "its id", id))
        return [outcome for outcome in self.outcomes if outcome is not None]


class Item:
    """One event, from its submission to its outcome."""

    __slots__ = ("at", "deadline", "encoded", "future", "group", "last", "maybe", "needs_ids", "settled", "size", "start")

    def __init__(self, encoded: Encoded, deadline: float, group: Optional[Group] = None, at: int = 0,
                 future: "Optional[Future[Seq]]" = None) -> None:
        self.encoded = encoded
        self.deadline = deadline
        self.group, self.at, self.future = group, at, future
        #: About what it takes in memory and on the way.
        self.size = len(encoded.body) + 160
        if group is not None:
            group.ids[at] = encoded.id
        #: It was sent on a connection that ended without an answer.
        self.maybe = False
        #: The last refusal that allows another try, in words.
        self.last = ""
        #: Of the spool: without ids it could be recorded again and again.
        self.needs_ids = False
        self.settled = False
        #: Where its line begins in what this connection has sent.
        self.start = 0

    def recorded(self, seq: int, duplicate: bool) -> None:
        """It is durable."""
        self._settle(Seq(seq, self.encoded.id, duplicate))

    def failed(self, kind: str, message: str) -> None:
        """It will not be tried again. A refusal says nothing of an earlier try whose answer was lost."""
        if self.maybe and kind not in OF_THE_EVENT:
            kind, message = "unconfirmed", ("it was sent, and no answer came; the next try was refused (%s: %s); it may be recorded: "
                                            "try again with its id" % (kind, message))
        self._settle(error_of(kind, message, self.encoded.id))

    def no_ids(self) -> None:
        """The collector is an older one."""
        self.failed("no_ids", "this collector knows no ids, so events from the spool could be recorded twice; they stay in the spool")

    def expired(self, trouble: str) -> None:
        """Its deadline is over."""
        why = self.last or trouble or "there was no time to send it"
        if self.maybe:
            self.failed("unconfirmed", "it was sent, and no answer came before the deadline (%s); it may be recorded: try again with "
                                       "its id" % why)
        else:
            self.failed("unreachable", "it was not recorded before the deadline: %s" % why)

    def _settle(self, outcome: Outcome) -> None:
        if self.settled:
            return
        self.settled = True
        try:
            if self.group is not None:
                self.group.settle(self.at, outcome)
            if self.future is not None:
                if isinstance(outcome, AuditError):
                    self.future.set_exception(outcome)
                else:
                    self.future.set_result(outcome)
        except BaseException:
            # A callback's own fault, `sys.exit` too: the other events still need their outcomes.
            complain(traceback.format_exc())


def complain(text: str) -> None:
    """On stderr: there is nobody else to tell."""
    try:
        sys.stderr.write("auditctl: a callback failed: %s\n" % text)
    except Exception:
        pass


def now() -> float:
    """The clock of deadlines."""
    return time.monotonic()
