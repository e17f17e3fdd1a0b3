"""What can go wrong, one class for each thing that a caller would do about it."""

from typing import Dict, Optional, Type


class AuditError(Exception):
    """An event was not recorded, or it is not known whether it was.

    `kind` is the collector's word (docs/codes.md) or the client's. `id` is the event's: with it the caller may try
    again, and the event is recorded once. `may_be_recorded` says whether it may be in the log all the same.
    """

    may_be_recorded = False

    def __init__(self, kind: str, message: str, id: Optional[str] = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.id = id

    def __str__(self) -> str:
        return "%s: %s" % (self.kind, self.message)

    def __repr__(self) -> str:
        return "%s(%r, %r, id=%r)" % (type(self).__name__, self.kind, self.message, self.id)

    def __reduce__(self) -> "tuple[object, ...]":
        return (type(self), (self.kind, self.message, self.id))


class Refused(AuditError):
    """The event as it is will never be taken: `invalid`, `malformed`, `too_large`."""


class Conflict(Refused):
    """Its id was used for an event with other content."""


class NotAllowed(AuditError):
    """This sender may not: `forbidden`, `unauthorized`."""


class Unreachable(AuditError):
    """Nobody took the event before the deadline. It is certainly not recorded."""


class Unconfirmed(AuditError):
    """The event was sent, and no answer came. It may be recorded: try again with its `id`."""

    may_be_recorded = True


class ForeignCollector(AuditError):
    """Another user's program listens at the socket. Nothing was sent to it."""


class TlsFailed(AuditError):
    """The server's certificate was not accepted. Nothing was sent."""


class ProtocolError(AuditError):
    """The answer is not one that a collector gives. The event may be recorded."""

    may_be_recorded = True


class QueueFull(AuditError):
    """Too many events wait in this process already. This one was not taken."""


class SpoolError(AuditError):
    """The spool cannot be used."""


class SpoolFull(SpoolError):
    """The spool holds as much as it may. The event was not taken."""


class Closed(AuditError):
    """The client is closed."""


class UsageError(AuditError, ValueError):
    """An option makes no sense, or a token cannot be used."""


_CLASSES: Dict[str, Type[AuditError]] = {
    "invalid": Refused,
    "malformed": Refused,
    "too_large": Refused,
    "conflict": Conflict,
    "forbidden": NotAllowed,
    "unauthorized": NotAllowed,
    "unreachable": Unreachable,
    "unconfirmed": Unconfirmed,
    "foreign_collector": ForeignCollector,
    "tls": TlsFailed,
    "protocol": ProtocolError,
    "queue_full": QueueFull,
    "spool": SpoolError,
    "spool_full": SpoolFull,
    "closed": Closed,
    "usage": UsageError,
}


def error_of(kind: str, message: str, id: Optional[str] = None) -> AuditError:
    """The error of that kind."""
    return _CLASSES.get(kind, AuditError)(kind, message, id)
