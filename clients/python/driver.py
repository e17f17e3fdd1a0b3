#!/usr/bin/env python3
"""The driver of this client for the contract suite: see clients/CONTRACT.md."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from auditctl import AuditError, Client, Outcome, __version__

FEATURES = ["socket", "http", "https", "peer_check", "spool", "fork", "redact"]


class Driver:
    """A client, and the commands for it."""

    def __init__(self) -> None:
        self.client: Optional[Client] = None
        self.last = ""

    def run(self, command: Dict[str, Any]) -> Dict[str, Any]:
        name = command.get("cmd")
        handler = getattr(self, "do_%s" % name, None)
        if handler is None:
            return {"error": {"kind": "unknown_command", "message": str(name)}}
        try:
            result: Dict[str, Any] = handler(command)
            return result
        except AuditError as error:
            return self.error(error)

    def error(self, error: AuditError) -> Dict[str, Any]:
        self.last = "%s %r" % (error, error)
        return {"error": {"kind": error.kind, "message": error.message, "id": error.id}}

    def outcome(self, outcome: Outcome) -> Dict[str, Any]:
        if isinstance(outcome, AuditError):
            return self.error(outcome)
        ok: Dict[str, Any] = {"seq": int(outcome), "id": outcome.id}
        if outcome.duplicate:
            ok["duplicate"] = True
        return {"ok": ok}

    def the_client(self) -> Client:
        assert self.client is not None, "open comes first"
        return self.client

    def do_describe(self, _: Dict[str, Any]) -> Dict[str, Any]:
        return {"ok": {"client": "auditctl-python/" + __version__, "features": FEATURES}}

    def do_open(self, command: Dict[str, Any]) -> Dict[str, Any]:
        if self.client is not None:
            self.client.close()
        options = {key: value for key, value in command.items() if key not in ("n", "cmd", "timeout_ms")}
        self.client = Client(timeout=command.get("timeout_ms", 30_000) / 1000, drain_every=None, **options)
        return {"ok": {}}

    def do_record(self, command: Dict[str, Any]) -> Dict[str, Any]:
        return self.outcome(self.the_client().record_event(command["event"]))

    def do_batch(self, command: Dict[str, Any]) -> Dict[str, Any]:
        return {"results": self.batch(command["events"])}

    def batch(self, events: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        return [self.outcome(outcome) for outcome in self.the_client().record_many(events)]

    def do_spool(self, command: Dict[str, Any]) -> Dict[str, Any]:
        return {"ok": {"id": self.the_client().spool(command["event"])}}

    def do_drain(self, command: Dict[str, Any]) -> Dict[str, Any]:
        drained = self.the_client().drain(command["timeout_ms"] / 1000)
        return {"ok": {"events": drained.events, "refused": drained.refused}}

    def do_spool_state(self, _: Dict[str, Any]) -> Dict[str, Any]:
        state = self.the_client().spool_state()
        return {"ok": {"events": state.events, "bytes": state.bytes, "refused": state.refused}}

    def do_fork(self, command: Dict[str, Any]) -> Dict[str, Any]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(reader)
                with open(writer, "w", encoding="utf-8") as out:
                    json.dump(self.batch(command["child_events"]), out)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        mine = self.batch(command["events"])
        with open(reader, encoding="utf-8") as inp:
            theirs = json.load(inp)
        os.waitpid(child, 0)
        return {"results": mine, "child_results": theirs}

    def do_texts(self, _: Dict[str, Any]) -> Dict[str, Any]:
        client = self.the_client()
        texts = [repr(client), str(client), repr(vars(client)), repr(client.token), self.last]
        return {"ok": {"texts": texts}}

    def do_close(self, _: Dict[str, Any]) -> Dict[str, Any]:
        self.the_client().close()
        return {"ok": {}}


def main() -> None:
    driver = Driver()
    for line in sys.stdin.buffer:
        command = json.loads(line)
        result = {"n": command.get("n"), **driver.run(command)}
        sys.stdout.buffer.write(json.dumps(result).encode() + b"\n")
        sys.stdout.buffer.flush()
    if driver.client is not None:
        driver.client.close()


if __name__ == "__main__":
    main()
