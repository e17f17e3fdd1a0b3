"""When to try again: what the collector says, or a backoff with jitter; and how much at once."""

import random
from typing import Optional

FIRST = 0.05
LONGEST = 5.0
#: A time that somebody names is believed up to here; then it is asked once more.
LONGEST_NAMED = 60.0


class Pace:
    """Waits longer with each failure in a row, and sends fewer events at once after refusals."""

    def __init__(self, window: int) -> None:
        self.window = window
        #: Events that may be in flight now.
        self.at_once = window
        self._failures = 0

    def failed(self, retry_after: Optional[float] = None) -> float:
        """After a failure: how long to wait, in seconds."""
        self._failures += 1
        most = min(LONGEST, FIRST * 2.0 ** min(self._failures - 1, 10))
        jitter = random.uniform(0, most)
        if retry_after is None:
            return jitter
        retry_after = min(retry_after, LONGEST_NAMED)
        # Never earlier than it says; not all senders at the same moment.
        return retry_after + random.uniform(0, min(0.05, retry_after / 10 + 0.001))

    def refused(self) -> None:
        """Some of what was sent was refused for a while: less at once from now on."""
        self.at_once = max(1, self.at_once // 2)

    def went_well(self) -> None:
        """Something was taken, and nothing refused."""
        self._failures = 0
        self.at_once = min(self.window, self.at_once * 2)
