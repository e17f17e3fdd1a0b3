"""The client for asyncio: the same, awaited."""

import asyncio
import contextlib
import functools
from typing import Any, AsyncIterator, Callable, Dict, Iterable, List, Mapping, Optional, TypeVar

from . import event as events
from .client import Client
from .errors import AuditError
from .item import Group, Item, Outcome, Seq, now
from .spool import Draining, SpoolState

T = TypeVar("T")


class AsyncClient:
    """Records events without blocking the loop.

    Takes the options of `Client`, or wraps one: a process that has both threads and loops needs one connection. Calls of
    all tasks are pipelined. Of a call that is cancelled whatever was not sent is withdrawn; what was sent may be recorded,
    as of a call whose connection was lost. With an `id` of the caller's it can be recorded again.
    """

    def __init__(self, *args: Any, client: Optional[Client] = None, **options: Any) -> None:
        self.client = client if client is not None else Client(*args, **options)
        self._own = client is None

    def __repr__(self) -> str:
        return "AsyncClient(%r)" % self.client

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def record(self, event_type: str, *, actor: Optional[str] = None, source: Optional[str] = None,
                     target: Optional[str] = None, outcome: Optional[str] = None, details: Optional[Mapping[str, Any]] = None,
                     timestamp: Any = None, id: Optional[str] = None, timeout: Optional[float] = None) -> Seq:
        """Records an event; returns its seq once it is durable. Raises an `AuditError`."""
        fields = (("actor", actor), ("source", source), ("target", target), ("outcome", outcome), ("timestamp", timestamp),
                  ("details", details), ("id", id))
        return await self.record_event(events.members(event_type, fields), timeout=timeout)

    async def record_event(self, event: Mapping[str, Any], *, timeout: Optional[float] = None) -> Seq:
        """The same for an event as a mapping."""
        outcome = (await self.record_many([event], timeout=timeout))[0]
        if isinstance(outcome, AuditError):
            raise outcome
        return outcome

    async def record_many(self, given: Iterable[Mapping[str, Any]], *, timeout: Optional[float] = None) -> "List[Outcome]":
        """Records events, pipelined and in order. For each its seq, or its error (returned, not raised)."""
        loop = asyncio.get_running_loop()
        done: "asyncio.Future[List[Outcome]]" = loop.create_future()
        deadline = now() + (self.client.timeout if timeout is None else timeout)
        out: "List[Optional[Outcome]]" = []
        ready: "List[events.Encoded]" = []
        for event in given:
            try:
                ready.append(self.client.encode(event))
                out.append(None)
            except AuditError as error:
                out.append(error)

        def settled(outcomes: "List[Outcome]") -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_set, done, outcomes)

        group = Group(len(ready), settled)
        items = [Item(encoded, deadline, group, at) for at, encoded in enumerate(ready)]
        try:
            if items:
                await self._submit(items, deadline)
            outcomes = iter(await done)
        except asyncio.CancelledError:
            self.client._queue.withdraw(items)
            raise
        return [next(outcomes) if outcome is None else outcome for outcome in out]

    async def _submit(self, items: "List[Item]", deadline: float) -> None:
        """Waits for room without blocking the loop."""
        while True:
            try:
                self.client._submit(items, wait=False)
                return
            except AuditError as error:
                if error.kind != "queue_full" or now() > deadline:
                    for item in items:
                        item.failed(error.kind, error.message)
                    return
            await asyncio.sleep(0.005)

    async def spool(self, event: Mapping[str, Any]) -> str:
        """Puts an event into the spool; returns its id once it is on this machine's disk."""
        return await _in_thread(self.client.spool, event)

    async def record_or_spool(self, event: Mapping[str, Any], *, timeout: Optional[float] = None) -> Optional[Seq]:
        """See `Client.record_or_spool`."""
        return await _in_thread(self.client.record_or_spool, event, timeout=timeout)

    async def drain(self, timeout: Optional[float] = None) -> Draining:
        """Sends what the spool holds, in order."""
        return await _in_thread(self.client.drain, timeout)

    async def spool_state(self) -> SpoolState:
        """What the spool holds."""
        return await _in_thread(self.client.spool_state)

    async def ask(self, *, timeout: Optional[float] = None, **request: Any) -> Dict[str, Any]:
        """See `Client.ask`."""
        return await _in_thread(self.client.ask, timeout=timeout, **request)

    async def query(self, *, limit: int = 100, timeout: Optional[float] = None, **request: Any) -> "List[Dict[str, Any]]":
        """See `Client.query`."""
        return await _in_thread(self.client.query, limit=limit, timeout=timeout, **request)

    async def records(self, *, limit: int = 0, timeout: Optional[float] = None, **request: Any) -> "AsyncIterator[Dict[str, Any]]":
        """Page by page, as they are asked for."""
        pages = self.client.records(limit=limit, timeout=timeout, **request)
        end = object()
        while True:
            record = await _in_thread(next, pages, end)
            if record is end:
                return
            assert isinstance(record, dict)
            yield record

    async def flush(self, timeout: Optional[float] = None) -> None:
        """Returns once everything that was submitted has its outcome."""
        await _in_thread(self.client.flush, timeout)

    async def close(self) -> None:
        """Waits for what was submitted, and closes the client, unless it was given one."""
        if self._own:
            await _in_thread(self.client.close)


def _set(done: "asyncio.Future[List[Outcome]]", outcomes: "List[Outcome]") -> None:
    if not done.done():
        done.set_result(outcomes)


async def _in_thread(call: "Callable[..., T]", *args: Any, **options: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(call, *args, **options))
