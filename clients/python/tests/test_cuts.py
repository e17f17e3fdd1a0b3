"""An answer that is cut off at any byte is no answer: the event is sent again, under its id."""

import json
import socket
from pathlib import Path
from typing import Any, List

from suite.proxies import HELLO, Server, read_message

from auditctl import Client

SINGLE = b'HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 11\r\ndate: x\r\n\r\n{"seq":42}\n'
BATCH_BODY = b'{"recorded":2,"duplicates":0,"rejected":0,"results":[{"seq":42},{"seq":43}]}\n'
BATCH = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BATCH_BODY), BATCH_BODY)
CHUNKED = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"seq\r\n5\r\n\":42}\r\n0\r\n\r\n"


class Cut(Server):
    """Answers the first request with so many bytes of its answer, and each later one with all of it."""

    def __init__(self, answer: bytes, length: int) -> None:
        self.answer, self.length = answer, length
        self.bodies: List[bytes] = []
        super().__init__(None)

    def serve(self, stream: socket.socket, nth: int) -> None:
        with stream.makefile("rb") as requests:
            while True:
                head, body = read_message(requests)
                if not head:
                    return
                self.bodies.append(body)
                if len(self.bodies) == 1:
                    stream.sendall(self.answer[:self.length])
                    stream.shutdown(socket.SHUT_WR)
                    requests.read()
                    return
                stream.sendall(self.answer)


def at_every_byte(answer: bytes, count: int) -> None:
    for length in range(len(answer)):
        server = Cut(answer, length)
        client = Client(url="http://127.0.0.1:%d" % server.port, timeout=20)
        outcomes: Any = client.record_many([{"event_type": "x"}] * count)
        client.close()
        server.close()
        assert outcomes == [42, 43][:count], (length, outcomes)
        first, *again = server.bodies
        # The last bytes of a chunked answer may be missing: all of its content was there.
        assert set(again) <= {first} and (again or answer is CHUNKED), length


def test_an_answer_over_http_that_is_cut_at_any_byte_is_no_answer() -> None:
    at_every_byte(SINGLE, 1)
    at_every_byte(BATCH, 2)
    at_every_byte(CHUNKED, 1)


class CutLines(Server):
    """The same at the socket."""

    def __init__(self, path: Path, answer: bytes, length: int) -> None:
        self.answer, self.length = answer, length
        self.ids: List[str] = []
        super().__init__(path)

    def serve(self, stream: socket.socket, nth: int) -> None:
        with stream.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b'{"hello"'):
                    stream.sendall(HELLO + b"\n")
                    continue
                self.ids.append(json.loads(line)["id"])
                if nth == 1:
                    stream.sendall(self.answer[:self.length])
                    return
                stream.sendall(self.answer)


def test_an_answer_at_the_socket_that_is_cut_at_any_byte_is_no_answer(home: Path) -> None:
    answer = b'{"ok":{"seq":42,"duplicate":true}}\n'
    for length in range(len(answer)):
        server = CutLines(home / ("%d.sock" % length), answer, length)
        client = Client(str(home / ("%d.sock" % length)), timeout=20)
        assert client.record("x") == 42
        client.close()
        server.close()
        assert len(server.ids) == 2 and len(set(server.ids)) == 1
