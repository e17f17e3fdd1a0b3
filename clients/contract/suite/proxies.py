"""What stands between a driver and the collector: cuts, refusals, TLS, and an older collector."""

import json
import os
import random
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple, Union

Address = Union[str, Tuple[str, int]]


def listen(where: Optional[Path]) -> socket.socket:
    """A Unix socket at that path, or TCP on a free port of loopback."""
    if where is None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(where))
        os.chmod(where, 0o600)
    listener.listen(64)
    return listener


def connect(to: Address) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX if isinstance(to, str) else socket.AF_INET)
    stream.connect(to)
    return stream


def abort(stream: socket.socket) -> None:
    """Ends a connection the hard way: what was not sent yet is lost."""
    try:
        if stream.family == socket.AF_INET:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    stream.close()


class Server:
    """Accepts connections until it is closed; each one is served by a thread."""

    def __init__(self, where: Optional[Path]) -> None:
        self.path = where
        self.listener = listen(where)
        self.port: int = 0 if where is not None else self.listener.getsockname()[1]
        self.connections = 0
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            if self.closed:
                stream.close()
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(stream, self.connections), daemon=True).start()

    def _serve(self, stream: socket.socket, nth: int) -> None:
        try:
            self.serve(stream, nth)
        except (OSError, ValueError):
            pass
        finally:
            abort(stream)

    def serve(self, stream: socket.socket, nth: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()


class Trap(Server):
    """Counts who comes, and says nothing."""

    def serve(self, stream: socket.socket, nth: int) -> None:
        stream.recv(1)


class Cutting(Server):
    """Passes bytes on, and cuts each connection after a random number of them, so often."""

    def __init__(self, where: Optional[Path], to: Address, rng: random.Random, cuts: int, most: int) -> None:
        self.to, self.rng, self.cuts_left, self.most = to, rng, cuts, most
        self.lock = threading.Lock()
        self.cut = 0
        super().__init__(where)

    def budget(self) -> Optional[int]:
        """After how many bytes a direction of a connection is cut, if it is its turn."""
        with self.lock:
            if self.cuts_left == 0 or self.rng.random() < 0.5:
                return None
            self.cuts_left -= 1
            # Short ones too: within the first line or answer of a connection.
            return self.rng.randrange(1, self.rng.choice([200, 2_000, self.most]))

    def serve(self, stream: socket.socket, nth: int) -> None:
        try:
            there = connect(self.to)
        except OSError:
            return
        ends = [threading.Thread(target=self._pass, args=pair, daemon=True) for pair in ((stream, there), (there, stream))]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        abort(there)

    def _pass(self, source: socket.socket, to: socket.socket) -> None:
        budget: Optional[int] = None
        try:
            while True:
                part = source.recv(65_536)
                if not part:
                    to.shutdown(socket.SHUT_WR)
                    return
                if budget is None:
                    budget = self.budget()
                if budget is not None and len(part) >= budget:
                    to.sendall(part[:budget])
                    with self.lock:
                        self.cut += 1
                    abort(source)
                    abort(to)
                    return
                if budget is not None:
                    budget -= len(part)
                to.sendall(part)
        except OSError:
            abort(source)
            abort(to)


class TlsFront(Server):
    """TLS in front of a collector that was built without it, as a proxy does it."""

    def __init__(self, to: Address, cert: Path, key: Path) -> None:
        self.to = to
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(str(cert), str(key))
        self.requests = 0
        super().__init__(None)

    def serve(self, stream: socket.socket, nth: int) -> None:
        secure = self.context.wrap_socket(stream, server_side=True)
        there = connect(self.to)
        secure.settimeout(0.02)
        down = threading.Thread(target=self._answers, args=(there, secure), daemon=True)
        down.start()
        try:
            while down.is_alive():
                try:
                    part = secure.recv(65_536)
                except (TimeoutError, socket.timeout, ssl.SSLWantReadError):
                    continue
                if not part:
                    return
                self.requests += 1
                there.sendall(part)
        finally:
            abort(there)

    @staticmethod
    def _answers(there: socket.socket, secure: ssl.SSLSocket) -> None:
        try:
            while True:
                part = there.recv(65_536)
                if not part:
                    return
                secure.sendall(part)
        except OSError:
            return


#: What a scripted collector does with a line: answers for it, or None to end the connection.
Script = Callable[[int, int, bytes], Optional[bytes]]


class Lines(Server):
    """A collector by script: `script(connection, line, text)`, both counted from 1, hello left out."""

    def __init__(self, where: Path, script: Script, hello: Optional[bytes]) -> None:
        self.script, self.hello = script, hello
        self.seen: List[bytes] = []
        super().__init__(where)

    def serve(self, stream: socket.socket, nth: int) -> None:
        count = 0
        with stream.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b'{"hello"'):
                    if self.hello is None:
                        stream.sendall(b'{"error":{"kind":"invalid","message":"`event_type` is missing"}}\n')
                    else:
                        stream.sendall(self.hello + b"\n")
                    continue
                count += 1
                self.seen.append(line)
                answer = self.script(nth, count, line)
                if answer is None:
                    return
                stream.sendall(answer)


HELLO = json.dumps({"ok": {"hello": {"protocol": 1, "version": "0.0.0", "features": ["ids", "query"]}}}).encode()


class Old(Server):
    """The real collector, as one without ids speaks: an error for hello, and for each event with an id.

    It cuts its first connections after so many events of theirs, of which the last is passed on and not answered.
    """

    def __init__(self, where: Path, to: Address, cut_after: List[int]) -> None:
        self.to, self.cut_after = to, cut_after
        self.ids_seen = 0
        super().__init__(where)

    def serve(self, stream: socket.socket, nth: int) -> None:
        there = connect(self.to)
        cut = self.cut_after[nth - 1] if nth <= len(self.cut_after) else None
        passed = 0
        with stream.makefile("rb") as lines, there.makefile("rb") as answers:
            for line in lines:
                if line.startswith(b'{"hello"'):
                    stream.sendall(b'{"error":{"kind":"invalid","message":"`event_type` is missing"}}\n')
                    continue
                if "id" in json.loads(line):
                    self.ids_seen += 1
                    text = "unknown key `id`; an event has event_type, actor, source, target, outcome, timestamp, details"
                    stream.sendall(json.dumps({"error": {"kind": "invalid", "message": text}}).encode() + b"\n")
                    continue
                there.sendall(line)
                answer = answers.readline()
                passed += 1
                if passed == cut:
                    return
                stream.sendall(answer)


class Http(Server):
    """HTTP between a driver and the collector: `refuse(nth request)` is an answer to give instead, or None."""

    def __init__(self, to: Address, refuse: Callable[[int], Optional[Tuple[int, str, Any]]]) -> None:
        self.to, self.refuse = to, refuse
        self.requests: List[Tuple[float, bytes]] = []
        self.lock = threading.Lock()
        super().__init__(None)

    def serve(self, stream: socket.socket, nth: int) -> None:
        there = connect(self.to)
        with stream.makefile("rb") as requests, there.makefile("rb") as answers:
            while True:
                head, body = read_message(requests)
                if not head:
                    break
                with self.lock:
                    self.requests.append((time.monotonic(), head))
                    number = len(self.requests)
                instead = self.refuse(number)
                if instead is not None:
                    status, headers, document = instead
                    text = json.dumps(document).encode()
                    stream.sendall(b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
                                   % (status, headers.encode(), len(text), text))
                    continue
                there.sendall(head + body)
                answer, text = read_message(answers)
                stream.sendall(answer + text)
        abort(there)


class RawHttp(Server):
    """A server that answers each request with the same bytes, and ends the connection or goes on for ever."""

    def __init__(self, answer: bytes, endless: bytes) -> None:
        self.answer, self.endless = answer, endless
        super().__init__(None)

    def serve(self, stream: socket.socket, nth: int) -> None:
        with stream.makefile("rb") as requests:
            head, _ = read_message(requests)
            if not head:
                return
            stream.sendall(self.answer)
            sent = 0
            while self.endless and sent < 256 << 20:
                sent += stream.send(self.endless)


def read_message(stream: Any) -> Tuple[bytes, bytes]:
    """An HTTP message with its length or in chunks, as it is: head and body."""
    head, length, chunked = b"", 0, False
    while True:
        line = stream.readline()
        if not line:
            return b"", b""
        head += line
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if name.lower() == b"transfer-encoding" and b"chunked" in value.lower():
            chunked = True
        if line in (b"\r\n", b"\n"):
            break
    if not chunked:
        return head, stream.read(length)
    body = b""
    while True:
        size = stream.readline()
        part = stream.read(int(size.split(b";")[0], 16) + 2)
        body += size + part
        if part == b"\r\n":
            return head, body
