"""The client of auditctl's collector: https://docs.rs/auditctl, and `README.md` beside this package.

    from auditctl import Client
    audit = Client("/run/auditctl/audit.sock")
    seq = audit.record("login", actor="alice", details={"ip": "10.0.0.7"})   # it is on disk
"""

from ._version import __version__
from .client import Client
from .errors import (
    AuditError,
    Closed,
    Conflict,
    ForeignCollector,
    NotAllowed,
    ProtocolError,
    QueueFull,
    Refused,
    SpoolError,
    SpoolFull,
    TlsFailed,
    Unconfirmed,
    Unreachable,
    UsageError,
)
from .item import Outcome, Seq
from .spool import Draining, SpoolState

__all__ = [
    "AuditError", "Client", "Closed", "Conflict", "Draining", "ForeignCollector", "NotAllowed", "Outcome", "ProtocolError",
    "QueueFull", "Refused", "Seq", "SpoolError", "SpoolFull", "SpoolState", "TlsFailed", "Unconfirmed", "Unreachable",
    "UsageError", "__version__",
]
