"""The client of auditctl's collector: https://docs.rs/auditctl, and `README.md` beside this package.

    from auditctl import Client
    audit = Client("/run/auditctl/audit.sock")
    seq = audit.record("login", actor="alice", details={"ip": "10.0.0.7"})   # it is on disk
"""

from ._version import __version__
from .aio import AsyncClient
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
from .handler import AuditHandler
from .item import Outcome, Seq
from .recording import Recording, audited, recording
from .spool import Draining, SpoolState

__all__ = [
    "AsyncClient", "AuditError", "AuditHandler", "Client", "Closed", "Conflict", "Draining", "ForeignCollector",
    "NotAllowed", "Outcome", "ProtocolError", "QueueFull", "Recording", "Refused", "Seq", "SpoolError", "SpoolFull",
    "SpoolState", "TlsFailed", "Unconfirmed", "Unreachable", "UsageError", "__version__", "audited", "recording",
]
