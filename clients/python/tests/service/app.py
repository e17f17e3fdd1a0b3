"""A Flask service that leaves a trail, with one worker process that is started again when it dies.

    python app.py COLLECTOR_SOCKET    listens on a free port of loopback, and prints it with the worker's pid
"""

import os
import signal
import socket
import sys
from typing import Any, Tuple

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

from auditctl import AuditError, Client

# Made before the fork, as in a server that loads the application first.
audit = Client(sys.argv[1], timeout=20)
app = Flask(__name__)


@app.post("/pay/<order>")
def pay(order: str) -> Tuple[Any, int]:
    try:
        seq = audit.record("order.paid", actor=request.headers["x-user"], target=order, id=request.headers.get("idempotency-key"),
                           details={"amount": request.get_json()["amount"]})
    except AuditError as error:
        return jsonify(error=error.kind, maybe=error.may_be_recorded), 503
    return jsonify(seq=seq, duplicate=seq.duplicate), 200


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.set_inheritable(True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        worker = os.fork()
        if worker == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno()).serve_forever()
        print(listener.getsockname()[1], worker, flush=True)
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main()
