"""Whose program listens at a socket, asked of the kernel before anything is sent."""

import errno
import os
import socket
import stat
import struct
import sys
from typing import Iterable, List, Optional

from .errors import ForeignCollector

_CREDENTIALS = struct.Struct("3i")
# PyPy knows the option by no name. Where 17 is another option its value has another length, and says nothing.
_PEERCRED: Optional[int] = getattr(socket, "SO_PEERCRED", 17 if sys.platform == "linux" else None)


def peer_uid(stream: socket.socket) -> Optional[int]:
    """The user of whoever listens; None where the system does not say."""
    if _PEERCRED is None:
        return None
    said = stream.getsockopt(socket.SOL_SOCKET, _PEERCRED, _CREDENTIALS.size)
    if len(said) != _CREDENTIALS.size:
        return None
    _, uid, _ = _CREDENTIALS.unpack(said)
    return int(uid)


def owner_of_the_place(path: str) -> Optional[int]:
    """The owner of the socket's directory, if nobody else can have put there the socket, or anything that leads to it."""
    try:
        *above, directory = _directories(path)
        entry = os.stat(directory)
        if entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        for one in above:
            found = os.stat(one)
            # Also a sticky one: whoever may write there may put something there.
            if found.st_uid not in (0, entry.st_uid) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
        return entry.st_uid
    except OSError:
        return None


def _directories(path: str) -> List[str]:
    """Each directory in which something is looked up on the way to the socket, also for links; its own is the last."""
    left = os.path.join(os.getcwd(), path).split("/")
    here, out, links = "/", ["/"], 0
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        out.append(here)
        there = os.path.join(here, part)
        if stat.S_ISLNK(os.lstat(there).st_mode):
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, "too many links")
            to = os.readlink(there)
            here = "/" if to.startswith("/") else here
            left = to.split("/") + left
        else:
            here = there
    return out


def check(stream: socket.socket, path: str, trusted: Iterable[int]) -> None:
    """Raises ForeignCollector unless the program belongs to root, this user, or one who is trusted."""
    uid = peer_uid(stream)
    if uid is None or uid in (0, os.geteuid()) or uid in trusted:
        return
    owner = owner_of_the_place(path)
    if uid == owner:
        return
    raise ForeignCollector(
        "foreign_collector",
        "the program that listens at %s belongs to user %d, not to root, to this user, or to the owner of a directory "
        "that only its owner can write; nothing was sent. If user %d is the collector's, add it to trusted_uids" % (path, uid, uid),
    )
