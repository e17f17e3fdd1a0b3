"""What waits to be sent, in order."""

import threading
from collections import deque
from typing import Deque, Iterable, List, Optional

from .item import Item, now


class Queue:
    """Events in the order of their calls; those that come again go to the front."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: "Deque[Item]" = deque()
        #: Taken by the sender and without an outcome yet.
        self.taken = 0
        #: Of what waits.
        self.bytes = 0
        self.closing = False
        #: Nobody waits any longer.
        self.cut = False

    def __len__(self) -> int:
        with self.lock:
            return len(self.items) + self.taken

    def put(self, items: "List[Item]") -> bool:
        """Adds them at the end; false when nothing is taken any more."""
        with self.lock:
            if self.closing:
                return False
            self.items.extend(items)
            self.bytes += sum(item.size for item in items)
        return True

    def withdraw(self, items: "Iterable[Item]") -> None:
        """Nobody wants these any more: what was not sent, or was refused so far, goes. The rest is on its way."""
        gone = {id(item) for item in items if not item.maybe and not item.settled}
        with self.lock:
            for item in self.items:
                if id(item) in gone:
                    item.settled = True
            self._keep_unsettled()

    def _keep_unsettled(self) -> None:
        self.items = deque(item for item in self.items if not item.settled)
        self.bytes = sum(item.size for item in self.items)

    def again(self, items: "Iterable[Item]") -> None:
        """Puts what was taken back, before everything newer."""
        back = [item for item in items if not item.settled]
        with self.lock:
            self.items.extendleft(reversed(back))
            self.bytes += sum(item.size for item in back)

    def take(self, count: int, most_bytes: int) -> "List[Item]":
        """The next ones, as far as they fit; at least one, if there is room for one."""
        out: "List[Item]" = []
        size = 0
        with self.lock:
            while self.items and len(out) < count:
                item = self.items[0]
                length = item.size
                if out and size + length > most_bytes:
                    break
                self.items.popleft()
                self.bytes -= length
                if item.settled:
                    continue
                if item.future is not None and not item.future.running() and not item.future.set_running_or_notify_cancel():
                    item.settled = True
                    continue
                size += length
                out.append(item)
            # At once: at no moment is an event in neither count.
            self.taken += len(out)
        return out

    def expire(self, trouble: str) -> Optional[float]:
        """Ends what is over its deadline; when the next one is."""
        at = now()
        over: "List[Item]" = []
        nearest: Optional[float] = None
        with self.lock:
            for item in self.items:
                if item.settled:
                    continue
                if item.deadline <= at:
                    over.append(item)
                elif nearest is None or item.deadline < nearest:
                    nearest = item.deadline
            if over:
                gone = set(map(id, over))
                self.items = deque(item for item in self.items if id(item) not in gone and not item.settled)
                self.bytes = sum(item.size for item in self.items)
                self.taken += len(over)
        for item in over:
            if item.future is not None and not item.future.running() and not item.future.set_running_or_notify_cancel():
                item.settled = True
                continue
            item.expired(trouble)
        if over:
            with self.lock:
                self.taken -= len(over)
        return nearest
