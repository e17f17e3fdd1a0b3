import assert from "node:assert/strict";
import { test } from "node:test";
import { encode, makeId } from "../src/event.js";
import { AuditClient, type AuditEvent, REDACTED } from "../src/index.js";
import { Redactor } from "../src/redact.js";
import { client, collector } from "./collector.js";

function body(event: AuditEvent, redact: string[] = []): Record<string, unknown> {
  return JSON.parse(encode(event, new Redactor(redact), () => "made", {}).body);
}

test("names hide keys at any depth and fields, paths one place, in whatever case", () => {
  const event = {
    event_type: "x",
    actor: "alice",
    target: "kept",
    details: {
      Password: "1",
      deep: [{ api_TOKEN: 2, n: null }],
      card: { no: "3", of: { pin: 4 } },
      users: [{ pin: 5 }, { pin: 6 }],
      "a.b": 7,
      token: "kept",
    },
  };
  const redacted = body(event, ["password", "*_token", "details.card.*", "actor", "details.users.1.pin", "a\\.b"]);
  assert.deepEqual(redacted, {
    event_type: "x",
    actor: REDACTED,
    target: "kept",
    details: {
      Password: REDACTED,
      deep: [{ api_TOKEN: REDACTED, n: null }],
      card: { no: REDACTED, of: { pin: REDACTED } },
      users: [{ pin: 5 }, { pin: REDACTED }],
      "a.b": REDACTED,
      token: "kept",
    },
  });
  assert.deepEqual(body({ event_type: "x", details: { a: { b: 1 } } }, ["details"]).details, { a: { b: REDACTED } });
  for (const name of ["Details", "det*", "DETAILS.*"]) {
    assert.deepEqual(body({ event_type: "x", actor: "kept", details: { a: { b: 1 } } }, [name]), {
      event_type: "x",
      actor: "kept",
      details: { a: { b: REDACTED } },
    });
  }
  for (const bad of ["", "a..b", "event_type", "card.no"]) {
    assert.throws(() => new Redactor([bad]), { kind: "usage" }, bad);
  }
});

test("what JSON would lose or alter in silence is kept, or refused", () => {
  const details = {
    n: Number.NaN,
    big: 2n ** 70n,
    map: new Map([["a", 1]]),
    set: new Set([1]),
    error: new TypeError("t"),
    at: new Date(0),
    half: "\ud800x",
    none: undefined,
  };
  assert.deepEqual(body({ event_type: "x", details }).details, {
    n: "NaN",
    big: "1180591620717411303424",
    map: { a: 1 },
    set: [1],
    error: { name: "TypeError", message: "t" },
    at: "1970-01-01T00:00:00.000Z",
    half: "\ufffdx",
  });
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  assert.throws(() => body({ event_type: "x", details: loop }), { kind: "usage" });
  const own = JSON.parse('{"__proto__":{"admin":true}}');
  const { body: text } = encode({ event_type: "x", details: own }, new Redactor([]), () => "made", {});
  assert.match(text, /"__proto__":\{"admin":true\}/);
  assert.throws(() => body({ event_type: "x", typo: 1 } as unknown as AuditEvent), { kind: "invalid" });
  assert.throws(() => body({ event_type: "x", details: { text: "x".repeat(1 << 20) } }), { kind: "too_large" });
});

test("an id is 1 to 128 bytes without control characters", () => {
  for (const id of [null as unknown as string, "", "é".repeat(65), "a\nb", "\u0085", "\ud800", "a\u2028", "a\u2029"]) {
    assert.throws(() => encode({ event_type: "x", id }, new Redactor([]), () => "made", {}), { kind: "invalid" }, JSON.stringify(id));
  }
  assert.equal(encode({ event_type: "x", id: "é".repeat(64) }, new Redactor([]), () => "made", {}).id.length, 64);
});

test("no two ids have anything in common but the time", () => {
  const [first, second] = [makeId(), makeId()].map((id) => id.split(".")[0] as string) as [string, string];
  assert.equal(first.length, 22);
  // A counter or a prefix would be the same in one half.
  assert.notEqual(first.slice(0, 11), second.slice(0, 11));
  assert.notEqual(first.slice(11), second.slice(11));
});

test("options that make no sense are refused at once", () => {
  const bad = [
    {},
    { socket: "a", url: "http://localhost" },
    { url: "ftp://x" },
    { url: "http://u:p@localhost" },
    { socket: "a", timeout: -1 },
    { socket: "a", maxInFlight: 0 },
    { socket: "a", maxPendingBytes: 0 },
    { socket: "a", maxInFlight: 20_000 },
  ];
  for (const options of bad) assert.throws(() => new AuditClient(options), { kind: "usage" }, JSON.stringify(options));
});

test("what is told of a call that left no trail is redacted", async (t) => {
  const fake = await collector(t);
  fake.script = () => '{"error":{"kind":"invalid","message":"no"}}\n';
  const audit = client(t, { socket: fake.path, redact: ["password", "target"] });
  const told: AuditEvent[] = [];
  const call = audit.audited(
    {
      event_type: "login",
      actor: (user: string, _password: string) => user,
      target: "secret",
      details: (_user: string, password: string) => ({ password, fine: 1 }),
      onAuditError: (_error, event) => told.push(event),
    },
    async (_user: string, _password: string): Promise<void> => {
      throw new RangeError("no");
    },
  );
  await assert.rejects(call("alice", "secret"), RangeError);
  assert.deepEqual(JSON.parse(JSON.stringify(told)), [
    {
      event_type: "login",
      actor: "alice",
      target: REDACTED,
      outcome: "failure",
      details: { password: REDACTED, fine: 1, error: { name: "RangeError", message: "no" } },
    },
  ]);
});
