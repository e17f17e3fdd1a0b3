import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import { retryAfterOf } from "../src/http.js";
import { AuditClient, type AuditError } from "../src/index.js";
import { client, directory, events } from "./collector.js";

interface Asked {
  request: IncomingMessage;
  lines: string[];
}

type Handler = (asked: Asked, answer: ServerResponse, nth: number) => void;

/** A server of HTTP, and what it was asked. */
async function server(t: TestContext, handler: Handler): Promise<{ url: string; asked: Asked[] }> {
  const asked: Asked[] = [];
  const made = createServer((request, answer) => {
    let text = "";
    request.setEncoding("utf8");
    request.on("data", (part: string) => (text += part));
    request.on("end", () => {
      asked.push({ request, lines: text.split("\n").filter((line) => line !== "") });
      handler(asked.at(-1) as Asked, answer, asked.length);
    });
  });
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    made.closeAllConnections();
    made.close();
  });
  return { url: `http://127.0.0.1:${(made.address() as AddressInfo).port}`, asked };
}

function json(answer: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}): void {
  answer.writeHead(status, { "content-type": "application/json", ...headers });
  answer.end(JSON.stringify(value));
}

/** As a collector that records everything. */
const record =
  (log: string[]): Handler =>
  ({ request, lines }, answer) => {
    const results = lines.map((line) => {
      const { id } = JSON.parse(line) as { id: string };
      const known = log.indexOf(id);
      return known === -1 ? { seq: log.push(id) - 1 } : { seq: known, duplicate: true };
    });
    if (request.headers["content-type"] === "application/json") json(answer, 201, results[0]);
    else json(answer, 200, { recorded: results.length, rejected: 0, results });
  };

test("one event goes with its key, several as lines, and each is told its own", async (t) => {
  const log: string[] = [];
  const { url, asked } = await server(t, record(log));
  const audit = client(t, { url });
  assert.deepEqual(await audit.record({ event_type: "x", id: "mine" }), { seq: 0, id: "mine", duplicate: false });
  assert.equal(asked[0]?.request.headers["idempotency-key"], "mine");
  assert.equal((await audit.record({ event_type: "x", id: "mine" })).duplicate, true);
  await audit.record({ event_type: "x", id: "schlüssel" });
  assert.equal(asked[2]?.request.headers["idempotency-key"], undefined);
  // Quotes mean something in a header: the collector would take them off.
  await audit.record({ event_type: "x", id: '"mine"' });
  assert.equal(asked[3]?.request.headers["idempotency-key"], undefined);
  const receipts = await Promise.all(events(1_000).map((event) => audit.record(event)));
  assert.deepEqual(
    receipts.map(({ seq }) => seq),
    Array.from({ length: 1_000 }, (_, at) => at + 3),
  );
  assert.ok(asked.length < 11, `${asked.length} requests`);
});

test("a part of the lines that is refused, or was not looked at, is dealt with by itself", async (t) => {
  const log: string[] = [];
  const { url, asked } = await server(t, (one, answer, nth) => {
    if (nth > 1) return record(log)(one, answer, nth);
    const slow = { error: { kind: "rate_limited", message: "slowly", retry_after_ms: 60 } };
    const results = [{ seq: 100 }, { error: { kind: "invalid", message: "no" }, line: 2 }, slow];
    return json(answer, 503, {
      recorded: 1,
      rejected: 2,
      results,
      stopped: { line: 4, error: { kind: "busy", message: "full", retry_after_ms: 1 } },
    });
  });
  const audit = client(t, { url });
  const begun = performance.now();
  const results = await Promise.allSettled(events(5).map((event) => audit.record(event)));
  assert.deepEqual(
    results.map((one) => (one.status === "fulfilled" ? one.value.seq : one.reason.kind)),
    [100, "invalid", 0, 1, 2],
  );
  assert.ok(performance.now() - begun >= 60);
  // Those of the rest, in their order, and no others.
  assert.deepEqual(
    asked.slice(1).flatMap(({ lines }) => lines),
    asked[0]?.lines.slice(2),
  );
});

test("what a proxy says is tried again or not, and no redirect is followed", async (t) => {
  const log: string[] = [];
  const statuses = [502, 503, 504, 408, 429];
  const { url, asked } = await server(t, (one, answer, nth) => {
    const status = statuses[nth - 1];
    if (status !== undefined) {
      answer.writeHead(status);
      return void answer.end("<html>");
    }
    return record(log)(one, answer, nth);
  });
  await client(t, { url }).record({ event_type: "x" });
  assert.equal(asked.length, 6);
  assert.equal(new Set(asked.map(({ lines }) => lines[0])).size, 1, "the same bytes each time");
  for (const [status, kind] of [
    [307, "protocol"],
    [404, "protocol"],
    [200, "protocol"],
  ] as const) {
    const other = await server(t, (_one, answer) => json(answer, status, { fine: true }, { location: url }));
    await assert.rejects(client(t, { url: other.url }).record({ event_type: "x" }), { kind });
    assert.equal(other.asked.length, 1);
  }
});

test("an answer that is cut off, or without end, is none", async (t) => {
  const log: string[] = [];
  const { url } = await server(t, (one, answer, nth) => {
    if (nth > 2) return record(log)(one, answer, nth);
    record(log)(one, { writeHead: () => {}, end: () => {} } as unknown as ServerResponse, nth);
    answer.writeHead(201, { "content-type": "application/json", "content-length": "1000" });
    answer.write('{"seq":0}');
    setTimeout(() => answer.destroy(), 5);
  });
  const audit = client(t, { url });
  assert.equal((await audit.record({ event_type: "x" })).duplicate, true);
  const endless = await server(t, (_one, answer) => {
    answer.writeHead(200);
    const part = Buffer.alloc(1 << 20, "1");
    const more = (): void => {
      if (!answer.destroyed) answer.write(part, more);
    };
    more();
  });
  await assert.rejects(client(t, { url: endless.url, timeout: 3_000 }).record({ event_type: "x" }), { kind: "unconfirmed" });
});

test("an older collector, which refuses the id, gets the events without", async (t) => {
  const { url, asked } = await server(t, ({ lines }, answer) => {
    const unknown = { error: { kind: "invalid", message: "unknown key `id`; an event has event_type" } };
    const results = lines.map((line, at) => (line.startsWith('{"id"') ? unknown : { seq: at }));
    if (lines.length === 1) json(answer, "error" in (results[0] as object) ? 422 : 201, results[0]);
    else json(answer, 207, { results });
  });
  const audit = client(t, { url });
  const receipts = await Promise.all(events(3).map((event) => audit.record(event)));
  assert.deepEqual(
    receipts.map(({ seq }) => seq),
    [0, 1, 2],
  );
  assert.equal(asked.length, 2);
});

test("a token is read again when it is not accepted, and is in no text", async (t) => {
  const file = join(directory(t), "token");
  writeFileSync(file, "actl_old\nnot this\n", { mode: 0o600 });
  const log: string[] = [];
  const { url, asked } = await server(t, (one, answer, nth) => {
    if (one.request.headers.authorization === "Bearer actl_new") return record(log)(one, answer, nth);
    return json(answer, 401, { error: { kind: "unauthorized", message: "the token is not valid" } });
  });
  const audit = client(t, { url, tokenFile: file });
  const failed = await audit.record({ event_type: "x" }).catch((error: AuditError) => error);
  assert.equal((failed as AuditError).kind, "unauthorized");
  assert.equal(asked.length, 1);
  writeFileSync(file, "actl_new\n");
  await audit.record({ event_type: "x" });
  assert.equal(asked.length, 3);
  for (const one of [audit, failed, audit.status]) {
    assert.doesNotMatch(inspect(one, { depth: 20, showHidden: true }) + JSON.stringify(one), /actl_/);
  }
  assert.throws(() => new AuditClient({ url: "http://audit.example:9750", tokenFile: file }), { kind: "usage" });
  for (const host of ["127.evil.example", "127.0.0.1.example", "localhost.example"]) {
    assert.throws(() => new AuditClient({ url: `http://${host}`, tokenFile: file }), { kind: "usage" }, host);
  }
  for (const host of ["127.0.0.2", "[::1]", "localhost"]) new AuditClient({ url: `http://${host}`, tokenFile: file });
  new AuditClient({ url: "https://audit.example:9750", tokenFile: file });
  chmodSync(file, 0o644);
  assert.throws(() => new AuditClient({ url, tokenFile: file }), { kind: "usage" });
});

test("a token that another request has just read anew is used by all", async (t) => {
  const file = join(directory(t), "token");
  writeFileSync(file, "actl_old\n", { mode: 0o600 });
  const refused: ServerResponse[] = [];
  let accepted = 0;
  const { url } = await server(t, ({ request }, answer) => {
    if (request.headers.authorization === "Bearer actl_new") {
      json(answer, 200, { records: [], more: false });
      // The second is refused once the first has the new one.
      if (++accepted === 1) json(refused[1] as ServerResponse, 401, { error: { kind: "unauthorized", message: "no" } });
      return;
    }
    refused.push(answer);
    if (refused.length < 2) return;
    writeFileSync(file, "actl_new\n");
    json(refused[0] as ServerResponse, 401, { error: { kind: "unauthorized", message: "no" } });
  });
  const audit = client(t, { url, tokenFile: file });
  await Promise.all([audit.ask({}), audit.ask({})]);
  assert.equal(accepted, 2);
  // One that is gone is not the call's trouble.
  const gone = await server(t, (_one, answer) => json(answer, 401, { error: { kind: "unauthorized", message: "no" } }));
  writeFileSync(file, "actl_old\n", { mode: 0o600 });
  const late = client(t, { url: gone.url, tokenFile: file });
  rmSync(file);
  await assert.rejects(late.record({ event_type: "x" }), { kind: "unauthorized" });
});

test("Retry-After is seconds, or a date of the server's clock", () => {
  const now = Date.UTC(2030, 0, 1, 12);
  const later = "Tue, 01 Jan 2030 12:00:07 GMT";
  const hour = { "retry-after": "Tue, 01 Jan 2030 13:00:07 GMT", date: "Tue, 01 Jan 2030 13:00:00 GMT" };
  for (const [headers, wanted] of [
    [{ "retry-after": "2" }, 2_000],
    [{ "retry-after": later }, 7_000],
    [hour, 7_000],
    [{ "retry-after": "Tue, 01 Jan 2030 11:00:00 GMT" }, undefined],
    [{ "retry-after": "-1" }, undefined],
    [{ "retry-after": "soon" }, undefined],
    [{}, undefined],
  ] as const) {
    assert.equal(retryAfterOf(headers, now), wanted, JSON.stringify(headers));
  }
});

test("a batch that a proxy finds too large goes in smaller ones", async (t) => {
  const log: string[] = [];
  const { url } = await server(t, (one, answer, nth) => {
    if (one.lines.length < 3) return record(log)(one, answer, nth);
    answer.writeHead(413, { "content-type": "text/html" });
    answer.end("<html>too large</html>");
  });
  const audit = client(t, { url });
  await Promise.all(events(40).map((event) => audit.record(event)));
  assert.equal(log.length, 40);
  const none = await server(t, (_one, answer) => void answer.writeHead(413).end());
  await assert.rejects(client(t, { url: none.url }).record({ event_type: "x" }), { kind: "too_large" });
});

test("a handshake that fails for another reason than the certificate is tried again", async (t) => {
  let connections = 0;
  const made = createTcpServer((socket) => {
    connections++;
    socket.on("error", () => {});
    // An alert, internal_error, as of one that is about to end; then one that speaks no TLS.
    const text = connections === 1 ? Buffer.from([21, 3, 3, 0, 2, 2, 80]) : "HTTP/1.1 503 Not Now\r\n\r\n";
    socket.once("data", () => socket.end(text));
  });
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  t.after(() => made.close());
  const audit = client(t, { url: `https://127.0.0.1:${(made.address() as AddressInfo).port}`, timeout: 1_000 });
  // At its end one may be under way.
  await assert.rejects(audit.record({ event_type: "x" }), ({ kind }: AuditError) => kind === "unreachable" || kind === "unconfirmed");
  assert.ok(connections > 2, `${connections}`);
});

test("trouble with TLS once the event is on its way is no word about the event", async (t) => {
  const home = directory(t);
  const [key, cert] = [join(home, "key.pem"), join(home, "cert.pem")];
  const certificate = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  execFileSync(
    "openssl",
    [...certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
    {
      stdio: "ignore",
    },
  );
  const log: string[] = [];
  const tls = { key: readFileSync(key), cert: readFileSync(cert) };
  // With TLS 1.3 the client is done, and has sent, before it hears that it should have a certificate of its own.
  const strict = createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" }, () => log.push("asked"));
  strict.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => strict.listen(0, "localhost", resolve));
  t.after(() => strict.close());
  const url = `https://localhost:${(strict.address() as AddressInfo).port}`;
  await assert.rejects(client(t, { url, caFile: cert, timeout: 1_500 }).record({ event_type: "x" }), { kind: "unconfirmed" });
  // A certificate that nobody vouches for is final, and nothing was sent.
  await assert.rejects(client(t, { url }).record({ event_type: "x" }), { kind: "tls", maybeRecorded: false });
  assert.deepEqual(log, []);
});

test("a query turns pages, and ends where it should", async (t) => {
  const { url, asked } = await server(t, ({ request }, answer) => {
    const wanted = new URL(request.url as string, "http://x").searchParams;
    const from = Number(wanted.get("seq")?.split("..")[0] ?? 0);
    const limit = Math.min(3, Number(wanted.get("limit")));
    const records = Array.from({ length: Math.min(limit, 10 - from) }, (_, at) => ({ seq: from + at, event_type: "x" }));
    const end = from + records.length;
    json(answer, 200, { records, more: end < 10, ...(end < 10 ? { next: { seq: `${end}..10` } } : {}) });
  });
  const audit = client(t, { url });
  const seqs: number[] = [];
  for await (const found of audit.query({ type: ["x", "y"], order: "oldest" })) seqs.push(found.seq);
  assert.deepEqual(seqs, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.match(asked[0]?.request.url as string, /type=x&type=y&order=oldest/);
  const some: number[] = [];
  for await (const found of audit.query({ limit: 4 })) some.push(found.seq);
  assert.deepEqual(some, [0, 1, 2, 3]);
  const again = await server(t, (_one, answer) => json(answer, 200, { records: [], more: true, next: {} }));
  await assert.rejects(
    (async () => {
      for await (const _ of client(t, { url: again.url }).query()) assert.fail();
    })(),
    { kind: "protocol" },
  );
});
