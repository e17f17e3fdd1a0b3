"""What a block or a function did: recorded with its outcome, and with its exception if it raised one."""

import asyncio
import functools
import inspect
import time
from types import TracebackType
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional, Type, TypeVar, Union, cast

from .aio import AsyncClient
from .client import Client
from .errors import AuditError, Unconfirmed
from .event import new_id
from .handler import Failure, to_stderr
from .item import Seq

F = TypeVar("F", bound=Callable[..., Any])
#: A text, or the name of an argument in braces (`"{user_id}"`), or a function of the call's arguments.
Field = Union[None, str, Callable[[Mapping[str, Any]], Optional[str]]]


class Recording:
    """A context manager, for `with` and `async with`, that records one event at its end.

        with recording(audit, "invoice.delete", actor=user, target="17") as event:
            event.details["lines"] = delete(17)

    `outcome` is `success`, or `failure` with `details.exception`. The exception goes on. If the event of a block that went
    well is not recorded, that error is raised: nothing counts as done that left no trail. If both went wrong, the block's
    exception goes on, and `on_failure` is told of the event.
    """

    def __init__(self, client: Union[Client, AsyncClient], event_type: str, *, actor: Optional[str] = None,
                 source: Optional[str] = None, target: Optional[str] = None, details: Optional[Mapping[str, Any]] = None,
                 on_failure: Failure = to_stderr) -> None:
        self.client, self.event_type = client, event_type
        self.actor, self.source, self.target = actor, source, target
        self.details: Dict[str, Any] = dict(details or {})
        self.outcome: Optional[str] = None
        self.on_failure = on_failure
        #: The record's, once it is over.
        self.seq: Optional[Seq] = None
        self._begun = 0.0

    def _event(self, error: Optional[BaseException]) -> Dict[str, Any]:
        details = {**self.details, "seconds": round(time.perf_counter() - self._begun, 6)}
        if error is not None:
            details["exception"] = {"type": type(error).__name__, "message": str(error)[:10_000]}
        event: Dict[str, Any] = {"event_type": self.event_type, "id": new_id(),
                                 "outcome": self.outcome or ("failure" if error else "success"),
                                 "details": details}
        for name in ("actor", "source", "target"):
            value = getattr(self, name)
            if value is not None:
                event[name] = value
        return event

    def _not_recorded(self, event: Mapping[str, Any], failed: AuditError, error: Optional[BaseException]) -> None:
        if error is None:
            raise failed
        self._tell(event, failed)

    def _tell(self, event: Mapping[str, Any], failed: AuditError) -> None:
        client = self.client.client if isinstance(self.client, AsyncClient) else self.client
        self.on_failure(client.redacted(event), failed)

    def __enter__(self) -> "Recording":
        if not isinstance(self.client, Client):
            raise TypeError("an AsyncClient is for `async with`")
        self._begun = time.perf_counter()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        event = self._event(error)
        try:
            self.seq = cast(Client, self.client).record_event(event)
        except AuditError as failed:
            self._not_recorded(event, failed, error)

    async def __aenter__(self) -> "Recording":
        self._begun = time.perf_counter()
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        client = self.client if isinstance(self.client, AsyncClient) else AsyncClient(client=self.client)
        event = self._event(error)
        try:
            self.seq = await client.record_event(event)
        except asyncio.CancelledError:
            self._tell(event, Unconfirmed("unconfirmed", "the task was cancelled while its event was recorded", event["id"]))
            raise
        except AuditError as failed:
            self._not_recorded(event, failed, error)


#: `with recording(client, "invoice.delete"): …`
recording = Recording


def audited(client: Union[Client, AsyncClient], event_type: str, *, actor: Field = None, source: Field = None, target: Field = None,
            details: Optional[Callable[[Mapping[str, Any]], Mapping[str, Any]]] = None,
            on_failure: Failure = to_stderr) -> Callable[[F], F]:
    """A decorator for functions and coroutine functions: each call is recorded, with its outcome.

        @audited(audit, "user.delete", actor="{admin}", target="{user_id}")
        def delete_user(admin: str, user_id: int) -> None: …

    Arguments are not recorded unless they are named.
    """

    def wrap(function: F) -> F:
        signature = inspect.signature(function)

        def begin(args: "tuple[Any, ...]", named: Dict[str, Any]) -> Recording:
            bound = signature.bind(*args, **named)
            bound.apply_defaults()
            given = bound.arguments
            return Recording(client, event_type, actor=_field(actor, given), source=_field(source, given),
                             target=_field(target, given), details=details(given) if details is not None else None,
                             on_failure=on_failure)

        if inspect.iscoroutinefunction(function):
            @functools.wraps(function)
            async def awaited(*args: Any, **named: Any) -> Any:
                async with begin(args, named):
                    return await cast("Awaitable[Any]", function(*args, **named))
            return cast(F, awaited)

        @functools.wraps(function)
        def called(*args: Any, **named: Any) -> Any:
            with begin(args, named):
                return function(*args, **named)
        return cast(F, called)

    return wrap


def _field(field: Field, arguments: Mapping[str, Any]) -> Optional[str]:
    if field is None:
        return None
    if isinstance(field, str):
        return field.format_map(arguments)
    return field(arguments)


