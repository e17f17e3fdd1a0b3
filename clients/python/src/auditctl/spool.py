"""Events that wait on this machine's disk while the collector is away.

A directory (0700) with files (0600): `spool.<number>.ndjson`, whose lines are eight hex digits of a CRC-32, a space and the
event; `position`, up to where they were acknowledged; `refused.ndjson`, what the collector will never take, or what was
damaged. `append.lock` is held for each change, `drain.lock` by the one who drains. A line counts once it was synced.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
import weakref
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from .errors import AuditError, SpoolError, SpoolFull, UsageError
from .event import Encoded
from .item import Outcome, now

#: Events that are sent at a time while draining.
AT_ONCE = 500
#: What a file of the spool grows to, at most.
MAX_FILE_BYTES = 1 << 20
#: Bytes of them.
BYTES_AT_ONCE = 4 << 20
#: Nobody holds the lock for a change for so many seconds, unless something is wrong.
PATIENCE = 30.0
#: Refusals after which an event will never be taken.
FOR_GOOD = ("invalid", "malformed", "too_large", "conflict")


#: Not every system can leave the file's times out.
_sync = getattr(os, "fdatasync", os.fsync)


class SpoolState(NamedTuple):
    """What a spool holds."""

    events: int
    bytes: int
    #: Refused for good; the newest are kept in `refused.ndjson` and `refused.1.ndjson`.
    refused: int
    #: Seconds since the oldest event was put there; None for an empty spool. By the file's time: a hint.
    oldest_seconds: Optional[float]


class Draining(NamedTuple):
    """What came of draining."""

    sent: int
    #: What is left.
    events: int
    refused: int


class _Line(NamedTuple):
    encoded: Optional[Encoded]
    text: bytes
    end: int


class Spool:
    """A spool in a directory, which several processes may use."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        if max_bytes < 4096:
            raise UsageError("usage", "spool_max_bytes is at least 4096")
        self.directory, self.max_bytes = os.path.abspath(directory), max_bytes
        self.file_bytes = min(MAX_FILE_BYTES, max(1024, max_bytes // 8))
        self._draining = threading.Lock()
        #: Files that are locked now; a child of a fork has them open as well.
        self._held: "Set[int]" = set()
        #: The file whose name this process knows to be on disk.
        self._named = 0
        with self._told():
            self._make()
        _spools.add(self)

    def in_child(self) -> None:
        """After a fork: the locks are the parent's, and would outlive it here."""
        held, self._held = self._held, set()
        for handle in held:
            with contextlib.suppress(OSError):
                os.close(handle)
        self._draining = threading.Lock()

    def __repr__(self) -> str:
        return "Spool(%r, %d)" % (self.directory, self.max_bytes)

    def _make(self) -> None:
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass
        entry = os.lstat(self.directory)
        if not stat.S_ISDIR(entry.st_mode):
            raise UsageError("usage", "the spool %s is no directory" % self.directory)
        if entry.st_uid != os.geteuid() or entry.st_mode & 0o077:
            raise UsageError("usage", "the spool %s must belong to this user and be 0700; it has mode %04o and user %d"
                             % (self.directory, stat.S_IMODE(entry.st_mode), entry.st_uid))
        # Another process may have made it a moment ago. Where this user cannot read the one above, it is an old one.
        with contextlib.suppress(PermissionError):
            _sync_directory(os.path.dirname(self.directory))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the system become ours."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            made = SpoolFull if full else SpoolError
            raise made("spool_full" if full else "spool", "the spool %s: %s" % (self.directory, error.strerror or error)) from None

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._path(name), flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[bool]:
        handle = self._open(name, os.O_RDWR | os.O_CREAT)
        self._held.add(handle)
        try:
            if not self._lock(handle, now() + (PATIENCE if wait else 0.0)):
                if wait:
                    raise SpoolError("spool", "the spool %s has been locked by another process for %d s" % (self.directory, PATIENCE))
                yield False
                return
            yield True
        finally:
            if handle in self._held:
                self._held.discard(handle)
                # In so many words: a copy in a child would keep it.
                fcntl.flock(handle, fcntl.LOCK_UN)
                os.close(handle)

    @staticmethod
    def _lock(handle: int, until: float) -> bool:
        pause = 0.0005
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if now() >= until:
                    return False
            time.sleep(pause)
            pause = min(0.01, pause * 2)

    def _numbers(self) -> List[int]:
        """The files, oldest first."""
        out = []
        for name in os.listdir(self.directory):
            middle = name[6:-7]
            if name.startswith("spool.") and name.endswith(".ndjson") and len(middle) == 20 and middle.isdigit():
                out.append(int(middle))
        return sorted(out)

    # Putting in

    def append(self, encoded: Encoded) -> None:
        """Returns once the event is on disk."""
        line = encoded.line(True)
        data = b"%08x %s\n" % (zlib.crc32(line), line)
        with self._told(), self._locked("append.lock"):
            numbers = self._numbers()
            held = sum(os.stat(self._path(_name(number))).st_size for number in numbers)
            if held + len(data) > self.max_bytes:
                raise SpoolFull("spool_full", "the spool %s holds %d bytes of %d; the event was not taken"
                                % (self.directory, held, self.max_bytes), encoded.id)
            number = self._to_write(numbers, len(data))
            handle = self._open(_name(number), os.O_RDWR | os.O_CREAT)
            try:
                self._write(handle, data)
            finally:
                os.close(handle)
            # Another process may have made it, and died before it got this far.
            if number != self._named:
                _sync_directory(self.directory)
                self._named = number

    def _to_write(self, numbers: List[int], length: int) -> int:
        position, offset = self._position()
        if numbers:
            size = os.stat(self._path(_name(numbers[-1]))).st_size
            # Below the position nothing is read any more: a crash has taken what was there.
            if size + length <= max(self.file_bytes, length) and not (numbers[-1] == position and size < offset):
                return numbers[-1]
        if numbers:
            # A torn end must not be taken for damage once another file follows.
            handle = self._open(_name(numbers[-1]), os.O_RDWR)
            try:
                _cut_torn(handle)
                _sync(handle)
            finally:
                os.close(handle)
        # Never a number again that the position may still name.
        return max(numbers[-1] if numbers else 0, position) + 1

    @staticmethod
    def _write(handle: int, data: bytes) -> None:
        end = _cut_torn(handle)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(handle, data[done:], end + done)
            _sync(handle)
        except OSError:
            # The caller is told that it is not there.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, end)
            raise

    # Taking out

    def _position(self) -> Tuple[int, int]:
        """A file's number, and up to which byte it was acknowledged."""
        try:
            with open(self._path("position"), "rb") as file:
                said = json.loads(file.read(200))
            number, offset = said["file"], said["offset"]
            if isinstance(number, int) and isinstance(offset, int) and number >= 0 and offset >= 0:
                return number, offset
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            # Without it events are sent again, under their ids.
            pass
        return 0, 0

    def _set_position(self, number: int, offset: int) -> None:
        handle = self._open("position.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(handle, json.dumps({"file": number, "offset": offset}).encode())
            _sync(handle)
        finally:
            os.close(handle)
        os.rename(self._path("position.new"), self._path("position"))
        _sync_directory(self.directory)

    def drain(self, deliver: "Callable[[List[Encoded], float], List[Outcome]]", deadline: float) -> Draining:
        """Sends events in order, a few hundred at a time, until there are none or the time is over.

        What remains stays for the next time. Raises where trying again makes no sense (another user's collector, no
        right to send). Only one process drains; others return at once.
        """
        sent = 0
        with self._told(), self._locked("drain.lock", wait=False) as mine:
            if mine and self._draining.acquire(blocking=False):
                try:
                    refused = self._refused_ids()
                    while now() < deadline:
                        count, more = self._drain_some(deliver, deadline, refused)
                        sent += count
                        if not more:
                            break
                finally:
                    self._draining.release()
        state = self.state()
        return Draining(sent, state.events, state.refused)

    def _drain_some(self, deliver: "Callable[[List[Encoded], float], List[Outcome]]", deadline: float,
                    refused: "set[str]") -> Tuple[int, bool]:
        numbers = self._numbers()
        at, offset = self._position()
        numbers = [number for number in numbers if self._is_left(number, at)]
        if not numbers:
            return 0, False
        number = numbers[0]
        offset = offset if number == at else 0
        lines = self._read(number, offset, AT_ONCE)
        if not lines:
            return 0, self._finish(number, offset, len(numbers) > 1)
        outcomes = iter(deliver([line.encoded for line in lines if line.encoded is not None], deadline))
        done, stopped = 0, None
        for line in lines:
            outcome = next(outcomes) if line.encoded is not None else None
            if isinstance(outcome, AuditError) and outcome.kind not in FOR_GOOD:
                stopped = outcome
                break
            if outcome is None or isinstance(outcome, AuditError):
                self._refuse(line, outcome, refused)
            done += 1
            offset = line.end
        if done:
            self._set_position(number, offset)
        if stopped is not None and stopped.kind not in ("unreachable", "unconfirmed", "queue_full", "closed"):
            raise stopped
        return done, stopped is None

    def _is_left(self, number: int, at: int) -> bool:
        """A file before the position was done, and only its removal was not."""
        if number >= at:
            return True
        os.unlink(self._path(_name(number)))
        return False

    def _read(self, number: int, offset: int, most: int) -> "List[_Line]":
        """What is on disk. A line that was written and not synced could be sent, and be gone after a crash; others would then be
        written where it was taken from already."""
        out: "List[_Line]" = []
        size = 0
        with self._locked("append.lock"), open(self._open(_name(number), os.O_RDWR), "rb") as file:
            _sync(file.fileno())
            file.seek(offset)
            while len(out) < most and size < BYTES_AT_ONCE:
                text = file.readline()
                if not text.endswith(b"\n"):
                    break
                offset += len(text)
                size += len(text)
                out.append(_Line(_parsed(text), text, offset))
        return out

    def _finish(self, number: int, offset: int, followed: bool) -> bool:
        """A file was sent to its end: it goes, unless something was added meanwhile. Whether there is more."""
        with self._locked("append.lock"):
            path = self._path(_name(number))
            handle = self._open(_name(number), os.O_RDWR)
            try:
                if _cut_torn(handle) > offset:
                    return True
            finally:
                os.close(handle)
            # First, so that the number is not used again.
            self._set_position(number, offset)
            os.unlink(path)
            _sync_directory(self.directory)
        return followed

    def _refused_ids(self) -> "set[str]":
        out = set()
        for line in self._refused_lines():
            if line.startswith(b'{"id":'):
                with contextlib.suppress(ValueError, KeyError):
                    out.add(json.loads(line)["id"])
        return out

    def _refused_lines(self) -> List[bytes]:
        out: List[bytes] = []
        for name in ("refused.1.ndjson", "refused.ndjson"):
            with contextlib.suppress(FileNotFoundError), open(self._open(name, os.O_RDONLY), "rb") as file:
                out += [line for line in file.read(self.max_bytes + (4 << 20)).split(b"\n") if line]
        return out

    def _dropped(self) -> int:
        """How many refused events were thrown away, since too many were kept."""
        try:
            with open(self._path("refused.dropped"), "rb") as file:
                return int(file.read(20))
        except (FileNotFoundError, ValueError):
            return 0

    def _make_room(self) -> None:
        """The file is full: it takes the place of the one before it, whose events are counted, and gone."""
        older = 0
        with contextlib.suppress(FileNotFoundError), open(self._open("refused.1.ndjson", os.O_RDONLY), "rb") as file:
            older = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
        if older:
            handle = self._open("refused.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(handle, b"%d" % (self._dropped() + older))
                _sync(handle)
            finally:
                os.close(handle)
            os.rename(self._path("refused.new"), self._path("refused.dropped"))
        os.rename(self._path("refused.ndjson"), self._path("refused.1.ndjson"))

    def _refuse(self, line: _Line, error: Optional[AuditError], refused: "set[str]") -> None:
        """Keeps aside what will never be taken, once."""
        kept: Dict[str, Any] = {}
        if line.encoded is not None and error is not None:
            if line.encoded.id in refused:
                return
            kept = {"id": line.encoded.id, "error": {"kind": error.kind, "message": error.message},
                    "event": json.loads(line.encoded.line(True))}
            refused.add(line.encoded.id)
        else:
            kept = {"id": "damaged:%08x" % zlib.crc32(line.text), "error": {"kind": "damaged", "message": "its CRC-32 does not fit"},
                    "text": line.text.decode("utf-8", "backslashreplace")}
            if kept["id"] in refused:
                return
            refused.add(kept["id"])
        data = json.dumps(kept, ensure_ascii=True).encode() + b"\n"
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path("refused.ndjson")).st_size + len(data) > self.max_bytes:
                self._make_room()
        handle = self._open("refused.ndjson", os.O_RDWR | os.O_CREAT)
        try:
            self._write(handle, data)
        finally:
            os.close(handle)
        _sync_directory(self.directory)

    # Saying

    def is_empty(self) -> bool:
        """Whether nothing waits; reads no events."""
        with self._told(), self._locked("append.lock"):
            at, offset = self._position()
            return not any(number > at or (number == at and os.stat(self._path(_name(number))).st_size > offset)
                           for number in self._numbers())

    def state(self) -> SpoolState:
        """Counts what is there; reads the spool."""
        with self._told(), self._locked("append.lock"):
            at, from_ = self._position()
            events, size, oldest = 0, 0, None
            for number in self._numbers():
                if number < at:
                    continue
                with open(self._open(_name(number), os.O_RDONLY), "rb") as file:
                    entry = os.fstat(file.fileno())
                    file.seek(from_ if number == at else 0)
                    count = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
                events += count
                size += entry.st_size
                if count and oldest is None:
                    oldest = max(0.0, time.time() - entry.st_mtime)
            return SpoolState(events, size, len(self._refused_lines()) + self._dropped(), oldest)


def _name(number: int) -> str:
    return "spool.%020d.ndjson" % number


def _parsed(text: bytes) -> Optional[Encoded]:
    """The event of a line; None if the line is damaged."""
    try:
        if text[8:9] != b" " or int(text[:8], 16) != zlib.crc32(text[9:-1]):
            return None
        event = json.loads(text[9:-1])
        id = event["id"]
    except (ValueError, KeyError, TypeError):
        return None
    id_json = json.dumps(id, ensure_ascii=False).encode()
    # The same bytes as before: `{"id":…,` and the rest.
    rest = text[9 + 6 + len(id_json):-1]
    return Encoded(b"{" + rest[1:] if rest[:1] == b"," else b"{}", id, id_json)


def _cut_torn(handle: int) -> int:
    """Cuts off what a killed process has left without its end; the length then."""
    size = os.fstat(handle).st_size
    end = size
    while end > 0:
        begin = max(0, end - 65_536)
        at = os.pread(handle, end - begin, begin).rfind(b"\n")
        if at >= 0:
            end = begin + at + 1
            break
        end = begin
    if end < size:
        os.ftruncate(handle, end)
    return end


def _sync_directory(path: str) -> None:
    handle = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_spools: "weakref.WeakSet[Spool]" = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
