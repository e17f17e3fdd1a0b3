"""A token: where it comes from, and that nobody sees it."""

import errno
import os
import re
import stat
from typing import Optional

from .errors import UsageError
from .stream import Lost

_FORM = re.compile(r"[\x21-\x7e]{1,4096}")


class Token:
    """Reads a token from a file or an environment variable. Its printed form is where it comes from."""

    __slots__ = ("_value", "env", "file")

    def __init__(self, file: Optional[str] = None, env: Optional[str] = None) -> None:
        if file is not None and env is not None:
            raise UsageError("usage", "give token_file or token_env, not both")
        self.file, self.env = file, env
        self._value: Optional[str] = None

    def __bool__(self) -> bool:
        return self.file is not None or self.env is not None

    def __repr__(self) -> str:
        return "Token(file=%r, env=%r)" % (self.file, self.env)

    def header(self) -> Optional[str]:
        """The value of `Authorization`."""
        if not self:
            return None
        if self._value is None:
            self._value = self._read()
        return "Bearer " + self._value

    def renew(self, used: Optional[str]) -> bool:
        """Reads it again; whether it is another one than the header that was refused."""
        if not self:
            return False
        self._value = self._read()
        return used != "Bearer " + self._value

    def _read(self) -> str:
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise UsageError("usage", "the environment has no %s to take the token from" % self.env)
            where = "the environment's %s" % self.env
        else:
            assert self.file is not None
            where = self.file
            value = self._from_file(self.file)
        value = value.strip()
        if not _FORM.fullmatch(value):
            raise UsageError("usage", "%s holds no token: one line of printable characters" % where)
        return value

    @staticmethod
    def _from_file(path: str) -> str:
        try:
            # A pipe or a device in its place must not make the caller wait.
            opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise Lost("the token file %s cannot be read now: %s" % (path, error.strerror)) from None
            raise UsageError("usage", "the token file %s cannot be read: %s" % (path, error.strerror)) from None
        with open(opened, "rb") as file:
            entry = os.fstat(file.fileno())
            if not stat.S_ISREG(entry.st_mode):
                raise UsageError("usage", "the token file %s is no file" % path)
            if entry.st_mode & stat.S_IRWXO:
                raise UsageError(
                    "usage", "others can read the token file %s (mode %04o); `chmod o= %s`, and use another token, since this "
                    "one may be known" % (path, stat.S_IMODE(entry.st_mode), path))
            return file.read(8192).split(b"\n", 1)[0].decode("ascii", "replace")
