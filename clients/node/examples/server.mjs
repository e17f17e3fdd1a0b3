// An HTTP service that leaves a record of each request: who, what, how it ended.
//
//   AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock node examples/server.mjs
import { createServer } from "node:http";
import { AuditClient, AuditError } from "auditctl";

const audit = new AuditClient({
  socket: process.env.AUDIT_SOCKET ?? "logs/audit.sock",
  source: "example-server",
  redact: ["password", "*_token", "authorization"],
  timeout: 5_000,
});

/** For `node:http`, and for Express and Connect as it is: `app.use(audited(audit, (request) => request.user?.name))`. */
function audited(client, actorOf) {
  return (request, response, next) => {
    response.once("close", () => {
      const event = {
        event_type: "http.request",
        actor: actorOf(request),
        // Without the query, which may hold secrets. What a stranger sends must not be too long to be recorded.
        target: `${request.method} ${request.url.split("?", 1)[0]}`.slice(0, 200),
        outcome: !response.writableFinished ? "aborted" : response.statusCode < 400 ? "success" : "failure",
        details: { status: response.statusCode, peer: request.socket.remoteAddress },
      };
      client.record(event).catch((error) => console.error(`not recorded: ${error.kind}: ${error.message}: ${event.target}`));
    });
    next();
  };
}

// What matters is recorded before the answer goes out: no record, no transfer.
const transfer = audit.audited(
  {
    event_type: "transfer",
    actor: (_from, _to, _amount, user) => user,
    target: (from) => from,
    details: (_from, to, amount) => ({ to, amount }),
  },
  async (from, to, amount) => {
    if (!(amount > 0)) throw new RangeError("an amount must be above zero");
    return { from, to, amount };
  },
);

const middleware = audited(audit, (request) => request.headers["x-user"]);
const server = createServer((request, response) => {
  middleware(request, response, async () => {
    try {
      const { searchParams } = new URL(request.url, "http://localhost");
      const done = await transfer("acct-7", "acct-8", Number(searchParams.get("amount")), request.headers["x-user"]);
      response.end(`${JSON.stringify(done)}\n`);
    } catch (error) {
      response.statusCode = error.cause instanceof AuditError ? 503 : 400;
      response.end(`${error.message}\n`);
    }
  });
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => console.log(`port ${server.address().port}`));

process.once("SIGTERM", async () => {
  server.close();
  server.closeAllConnections();
  await audit.close();
});
