"""The collector over HTTP and HTTPS: one request at a time on a connection that is kept."""

import contextlib
import email.utils
import http.client
import io
import ipaddress
import json
import select
import socket
import ssl
import time
import urllib.parse
from typing import Dict, List, NamedTuple, Optional, Union

from . import wire
from .errors import AuditError, ProtocolError, TlsFailed, UsageError
from .item import Item
from .stream import Lost
from .token import Token

#: Lines in a body at most, so that the answer lists each.
MAX_LINES = 1_000
MAX_BODY_BYTES = 4 << 20
MAX_ANSWER_BYTES = 8 << 20


class Target(NamedTuple):
    """Where the collector is."""

    host: str
    port: int
    secure: bool
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Target":
        """What a URL says."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError("usage", "the url cannot be understood: %s" % error) from None
        if parts.username is not None or parts.password is not None:
            raise UsageError("usage", "the url holds a user or a password; give a token by token_file or token_env")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UsageError("usage", "the url is http://HOST:PORT or https://HOST:PORT")
        secure = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    @property
    def is_loopback(self) -> bool:
        """Whether it cannot leave this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            # A name, such as 127.example.com.
            return False

    def __str__(self) -> str:
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "%s://%s:%d%s" % ("https" if self.secure else "http", host, self.port, self.prefix)


class _Timed:
    """A connection that ends at a moment, however slowly the other side speaks. Enough of a socket for http.client."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.until = 0.0
        #: The other side has said all that it will say.
        self.ended = False

    def _left(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout("the time for the request is over")
        self.stream.settimeout(left)

    def sendall(self, data: bytes) -> None:
        """In parts, so that the time counts for each."""
        view = memoryview(data)
        while view:
            self._left()
            view = view[self.stream.send(view[: 256 << 10]):]

    def recv_into(self, buffer: "Union[bytearray, memoryview]") -> int:
        """Reads what is there."""
        self._left()
        count = self.stream.recv_into(buffer)
        self.ended = count == 0
        return count

    def makefile(self, mode: str = "rb", *_: object, **__: object) -> io.BufferedReader:
        """What answers are read from."""
        return io.BufferedReader(_Reader(self), 65_536)

    def close(self) -> None:
        """Ends the connection."""
        self.stream.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self.timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        return self.timed.recv_into(buffer)


class Reply(NamedTuple):
    """An answer's status, headers that matter, and body."""

    status: int
    retry_after: Optional[float]
    body: bytes


class Web:
    """A connection that is made anew when it has to be."""

    def __init__(self, target: Target, token: Token, context: Optional[ssl.SSLContext], client: str) -> None:
        self.target, self.token, self.context, self.client = target, token, context, client
        self._timed: Optional[_Timed] = None
        #: False once an older collector refused the key `id`.
        self.ids = True

    def close(self) -> None:
        """Ends the connection. A child of a fork only drops its copy: nothing is sent."""
        if self._timed is not None:
            self._timed.close()
            self._timed = None

    def abort(self) -> None:
        """From another thread: a request that is under way ends."""
        timed = self._timed
        if timed is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(timed.stream, socket.SHUT_RDWR)

    def request(self, method: str, path: str, body: bytes, headers: Dict[str, str], until: float) -> Reply:
        """One request; `Lost` when there is no whole answer. Tries once more with a token that was changed."""
        used = self.token.header()
        reply = self._once(method, path, body, headers, until, used)
        # Another thread may have read the new one in the meantime.
        if reply.status == 401 and self.token.renew(used):
            reply = self._once(method, path, body, headers, until, self.token.header())
        return reply

    def _once(self, method: str, path: str, body: bytes, headers: Dict[str, str], until: float, authorization: Optional[str]) -> Reply:
        sent: Dict[str, str] = {"user-agent": self.client, "accept": "application/json", **headers}
        if authorization is not None:
            sent["authorization"] = authorization
        kept = self._timed is not None
        try:
            return self._exchange(method, path, body, sent, until)
        except Lost:
            # A kept connection may have ended before the question. An event is sent again by whoever knows that it was sent before.
            if not kept or method != "GET" or time.monotonic() >= until:
                raise
        return self._exchange(method, path, body, sent, until)

    def _exchange(self, method: str, path: str, body: bytes, headers: Dict[str, str], until: float) -> Reply:
        timed = self._connected(until)
        connection = http.client.HTTPConnection(self.target.host, self.target.port)
        connection.sock = timed
        keep = False
        try:
            connection.request(method, self.target.prefix + path, body, headers)
            answer = connection.getresponse()
            if answer.length is None and not answer.chunked:
                # A connection that is cut within the headers looks like their end.
                raise Lost("%s: it ended the connection in its answer" % (self.target,))
            text = self._body(answer)
            keep = not answer.will_close
            after = answer.getheader("retry-after")
            return Reply(answer.status, _seconds(after), text)
        except ssl.SSLError as error:
            raise self._not_accepted(error) from None
        except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
            raise Lost("%s: %s" % (self.target, _words(error))) from None
        except (http.client.HTTPException, ValueError) as error:
            if timed.ended:
                # Half a status line, or half a header.
                raise Lost("%s: %s" % (self.target, _words(error))) from None
            raise ProtocolError("protocol", "%s does not speak HTTP: %s" % (self.target, type(error).__name__)) from None
        finally:
            if not keep:
                self.close()

    @staticmethod
    def _body(answer: http.client.HTTPResponse) -> bytes:
        text = answer.read(wire.MAX_QUERY_BYTES + 1)
        if answer.length and len(text) <= wire.MAX_QUERY_BYTES:
            # http.client takes the end of the connection for the body's, if it is asked for a part.
            raise http.client.IncompleteRead(text, answer.length)
        if len(text) > wire.MAX_QUERY_BYTES:
            raise ProtocolError("protocol", "an answer without end")
        answer.read()
        return text

    def _connected(self, until: float) -> _Timed:
        if self._timed is not None and _has_ended(self._timed.stream):
            self.close()
        if self._timed is None:
            left = max(until - time.monotonic(), 0.001)
            try:
                stream = socket.create_connection((self.target.host, self.target.port), left)
            except OSError as error:
                raise Unsent("no collector at %s: %s" % (self.target, _words(error))) from None
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                stream.settimeout(max(until - time.monotonic(), 0.001))
                try:
                    stream = self.context.wrap_socket(stream, server_hostname=self.target.host)
                except ssl.SSLCertVerificationError as error:
                    stream.close()
                    raise self._not_accepted(error) from None
                except OSError as error:
                    stream.close()
                    raise Unsent("no TLS with %s: %s" % (self.target, _words(error))) from None
            self._timed = _Timed(stream)
        self._timed.until = until
        return self._timed

    def _not_accepted(self, error: ssl.SSLError) -> AuditError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return TlsFailed("tls", "the certificate of %s is not accepted: %s" % (self.target, error.verify_message))
        raise Lost("%s: %s" % (self.target, _words(error)))

    def deliver(self, items: List[Item], until: float) -> "List[Optional[wire.Answer]]":
        """Sends these events in one request. None: that one was not looked at, and may be sent again."""
        lines = [item.encoded.line(self.ids) for item in items]
        if len(items) == 1:
            headers = {"content-type": "application/json"}
            if self.ids:
                name = _header(items[0].encoded.id)
                if name is not None:
                    headers["idempotency-key"] = name
            return [self._single(self.request("POST", "/v1/events", lines[0], headers, until))]
        body = b"\n".join(lines) + b"\n"
        reply = self.request("POST", "/v1/events", body, {"content-type": "application/x-ndjson"}, until)
        if reply.status == 413:
            raise BodyTooLarge
        value = self._object(reply)
        if isinstance(value, dict) and "results" in value:
            found = wire.results(value, len(items))
            return self._stopped(value, reply, found)
        return [self._refusal(reply, value)] * len(items)

    @staticmethod
    def _stopped(value: Dict[str, object], reply: Reply, found: "List[Optional[wire.Answer]]") -> "List[Optional[wire.Answer]]":
        stopped = value.get("stopped")
        if not isinstance(stopped, dict):
            return found
        why = wire.refused(stopped.get("error"))
        if why.retry_after is None:
            why = why._replace(retry_after=reply.retry_after)
        return [why if one is None else one for one in found]

    def _single(self, reply: Reply) -> wire.Answer:
        value = self._object(reply)
        if reply.status in (200, 201):
            return wire.recorded(value)
        return self._refusal(reply, value)

    @staticmethod
    def _object(reply: Reply) -> object:
        """A proxy in between may answer anything."""
        try:
            return json.loads(reply.body.decode("utf-8"))
        except (ValueError, RecursionError):
            return None

    @staticmethod
    def _refusal(reply: Reply, value: object) -> wire.Answer:
        status = reply.status
        again = status in (408, 429, 502, 503, 504)
        said: Optional[wire.Answer] = None
        if isinstance(value, dict) and "error" in value:
            try:
                said = wire.refused(value["error"])
            except ProtocolError:
                said = None
        if said is None:
            if 400 <= status < 500 and not again:
                kind = {401: "unauthorized", 403: "forbidden", 413: "too_large"}.get(status, "refused")
                return wire.Answer(None, False, kind, "HTTP %d" % status)
            if not again:
                raise ProtocolError("protocol", "the answer is HTTP %d, and not a collector's" % status)
            # A proxy's, which may have passed the request on.
            said = wire.Answer(None, False, "busy", "HTTP %d, and not a collector's answer" % status, uncertain=status >= 500)
        if again and said.kind not in wire.AGAIN:
            said = said._replace(kind="busy", message="HTTP %d: %s: %s" % (status, said.kind, said.message),
                                 uncertain=status >= 500)
        if said.retry_after is None:
            said = said._replace(retry_after=reply.retry_after)
        return said


class Unsent(Lost):
    """No byte of the request was sent."""


class BodyTooLarge(Exception):
    """Several events are too much for one request: in parts they may fit."""


def _seconds(retry_after: Optional[str]) -> Optional[float]:
    """What `Retry-After` says: seconds, or a date."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(0.0, at.timestamp() - time.time())


def _has_ended(stream: socket.socket) -> bool:
    """Whether a kept connection has something to say before it is asked: its end."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(0))


def _header(id: str) -> Optional[str]:
    """An id as a header's value; None where a header cannot hold it, which the body does. Quotes around it would be no part of it."""
    return id if id.isascii() and id.strip() == id and not id.startswith(chr(34)) else None


def _words(error: BaseException) -> str:
    if isinstance(error, socket.timeout):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return {"IncompleteRead": "it ended the connection in its answer"}.get(type(error).__name__, "it ended the connection")


def context(ca_file: Optional[str]) -> ssl.SSLContext:
    """Certificates and names are verified, always."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UsageError("usage", "the ca_file %s cannot be used: %s" % (ca_file, error.strerror or error)) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


