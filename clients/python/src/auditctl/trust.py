"""Whose program listens at a socket, asked of the kernel before anything is sent."""

import os
import socket
import stat
import struct
from typing import Iterable, Optional

from .errors import ForeignCollector

_CREDENTIALS = struct.Struct("3i")


def peer_uid(stream: socket.socket) -> Optional[int]:
    """The user of whoever listens; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return int(uid)


def owner_of_the_place(path: str) -> Optional[int]:
    """The owner of the socket's directory, if nobody else can have put the socket there."""
    directory = os.path.dirname(os.path.abspath(path))
    try:
        entry = os.stat(directory)
        if entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        # What `..` and links lead through counts, not what is written.
        above = os.path.dirname(os.path.realpath(directory))
        while True:
            found = os.stat(above)
            if found.st_uid not in (0, entry.st_uid):
                return None
            writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            # In a directory such as /tmp nobody can move what is another's.
            if writable and not found.st_mode & stat.S_ISVTX:
                return None
            if above == os.path.dirname(above):
                return entry.st_uid
            above = os.path.dirname(above)
    except OSError:
        return None


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
