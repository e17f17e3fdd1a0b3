import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import type { AuditError } from "../src/index.js";
import { Pacer } from "../src/pacer.js";
import { judge } from "../src/trust.js";
import { client, collector, directory, events, FakeCollector, targets } from "./collector.js";

const expected = (count: number): string[] => events(count).map(({ target }) => target);

test("answers that come a byte at a time, and many in one read, are each their event's", async (t) => {
  const fake = await collector(t);
  fake.write = (socket, text) => {
    for (const byte of text) socket.write(byte);
  };
  const audit = client(t, { socket: fake.path });
  const receipts = await Promise.all(events(100).map((event) => audit.record(event)));
  assert.deepEqual(
    receipts.map(({ seq }) => seq),
    Array.from({ length: 100 }, (_, at) => at),
  );
  assert.deepEqual(targets(fake), expected(100));
});

test("a connection that is cut at any byte of what is sent loses nothing and records nothing twice", async (t) => {
  for (let cut = 1; cut < 230; cut++) {
    const fake = await collector(t);
    fake.cutAfter = (connection) => (connection <= 2 ? cut : Number.POSITIVE_INFINITY);
    const audit = client(t, { socket: fake.path });
    const receipts = await Promise.all(events(2).map((event) => audit.record(event)));
    assert.deepEqual(targets(fake), expected(2), `cut after ${cut} bytes`);
    assert.deepEqual(
      receipts.map(({ seq }) => seq),
      [0, 1],
      `cut after ${cut} bytes`,
    );
    await audit.close();
    fake.close();
  }
});

test("a connection that is cut at any byte of the answers loses nothing and records nothing twice", async (t) => {
  for (let cut = 0; cut < 140; cut++) {
    const fake = await collector(t);
    const left = new Map<number, number>();
    fake.write = (socket, text, connection) => {
      const room = connection > 2 ? text.length : (left.get(connection) ?? cut);
      left.set(connection, room - text.length);
      socket.write(text.slice(0, Math.max(0, room)));
      if (text.length > room) socket.end();
    };
    const audit = client(t, { socket: fake.path });
    const receipts = await Promise.all(events(4).map((event) => audit.record(event)));
    assert.deepEqual(targets(fake), expected(4), `cut after ${cut} bytes`);
    assert.deepEqual(
      receipts.map(({ seq }) => seq),
      [0, 1, 2, 3],
    );
    await audit.close();
    fake.close();
  }
});

test("what answers without end, out of turn, or without sense is no collector, and records nothing", async (t) => {
  const answers = [
    `{"ok":{"seq":${"1".repeat(100_000)}`,
    "[]\n",
    '{"ok":{"seq":-1}}\n',
    '{"ok":{"seq":1.5}}\n',
    '{"ok":{"seq":9007199254740993}}\n',
    '{"ok":{"query":{}}}\n',
    "\n",
    '{"ok":{"seq":1},"error":{"kind":"busy"}}\n',
    '{"error":{"message":"x"}}\n',
  ];
  for (const answer of answers) {
    const fake = await collector(t);
    fake.script = () => answer;
    const audit = client(t, { socket: fake.path });
    await assert.rejects(audit.record({ event_type: "x" }), (error: AuditError) => {
      assert.equal(error.kind, "protocol", answer.slice(0, 80));
      assert.equal(error.maybeRecorded, true);
      return true;
    });
    await audit.close();
    fake.close();
  }
});

test("an answer that nobody asked for is never the next event's", async (t) => {
  const fake = await collector(t);
  fake.script = (line, nth) => (nth === 1 ? `${fake.record(line)}{"ok":{"seq":77}}\n` : undefined);
  const audit = client(t, { socket: fake.path });
  await audit.record({ event_type: "one" });
  assert.equal((await audit.record({ event_type: "two" })).seq, 1);
  assert.equal(fake.connections, 2);
});

test("a hello that is no hello, or with more behind it, is not spoken to", async (t) => {
  for (const hello of ["hi\n", '{"ok":{}}\n', `{"ok":{"hello":{"protocol":1,"features":[]}}}\n{"ok":{"seq":1}}\n`, "x".repeat(70_000)]) {
    const fake = await collector(t);
    fake.hello = hello;
    const audit = client(t, { socket: fake.path });
    await assert.rejects(audit.record({ event_type: "x" }), { kind: "protocol", maybeRecorded: false });
    assert.equal(fake.lines, 0);
    await audit.close();
    fake.close();
  }
});

test("retry_after is heeded, and a refused window is not sent again at once", async (t) => {
  const fake = await collector(t);
  // A bucket of 20, and one more every 2 ms.
  let tokens = 20;
  let at = performance.now();
  let refused = 0;
  fake.script = () => {
    const now = performance.now();
    tokens = Math.min(20, tokens + (now - at) / 2);
    at = now;
    if (tokens >= 1) {
      tokens--;
      return undefined;
    }
    refused++;
    return `{"error":{"kind":"rate_limited","message":"slowly","retry_after_ms":${Math.ceil((1 - tokens) * 2)}}}\n`;
  };
  const audit = client(t, { socket: fake.path });
  await Promise.all(events(400).map((event) => audit.record(event)));
  assert.deepEqual(targets(fake).sort(), expected(400).sort());
  assert.ok(refused < 800, `${refused} refusals of 400 events`);
});

test("one event that is refused fails alone", async (t) => {
  const fake = await collector(t);
  fake.script = (line) => (line.includes('"target":"1"') ? '{"error":{"kind":"invalid","message":"no \\u001b[31m"}}\n' : undefined);
  const audit = client(t, { socket: fake.path });
  const results = await Promise.allSettled(events(3).map((event) => audit.record(event)));
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const { reason } = results[1] as PromiseRejectedResult;
  assert.equal(reason.kind, "invalid");
  assert.doesNotMatch(reason.message, /\p{Cc}/u);
});

test("at its deadline an event is unreachable if it was never sent, and unconfirmed if it was", async (t) => {
  const nobody = client(t, { socket: join(directory(t), "none.sock"), timeout: 100 });
  await assert.rejects(nobody.record({ event_type: "x", id: "mine" }), { kind: "unreachable", maybeRecorded: false, id: "mine" });
  const fake = await collector(t);
  fake.script = () => "";
  const silent = client(t, { socket: fake.path, timeout: 100 });
  await assert.rejects(silent.record({ event_type: "x", id: "mine" }), { kind: "unconfirmed", maybeRecorded: true, id: "mine" });
  fake.script = () => '{"error":{"kind":"busy","message":"later","retry_after_ms":60000}}\n';
  const busy = client(t, { socket: fake.path, timeout: 1500 });
  await assert.rejects(busy.record({ event_type: "x" }), (error: AuditError) => {
    assert.equal(error.kind, "unreachable");
    assert.match(error.message, /busy: later/);
    return true;
  });
});

test("a collector that falls silent is left, and asked anew", async (t) => {
  const fake = await collector(t);
  fake.script = (_line, _nth, connection) => (connection === 1 ? "" : undefined);
  const audit = client(t, { socket: fake.path, answerTimeout: 60 });
  const receipts = await Promise.all(events(3).map((event) => audit.record(event)));
  assert.deepEqual(
    receipts.map(({ seq }) => seq),
    [0, 1, 2],
  );
});

test("a signal ends the wait, and its event is not sent if it was not yet", async (t) => {
  const fake = await collector(t);
  const audit = client(t, { socket: fake.path });
  const over = AbortSignal.abort(new Error("no more"));
  await assert.rejects(audit.record({ event_type: "x" }, { signal: over }), { kind: "cancelled" });
  const controller = new AbortController();
  const waits = audit.record({ event_type: "x" }, { signal: controller.signal });
  controller.abort();
  await assert.rejects(waits, { kind: "cancelled", maybeRecorded: false });
  await audit.record({ event_type: "y" });
  assert.equal(fake.log.length, 1);
});

test("an older collector gets no ids, and nothing twice", async (t) => {
  const fake = await collector(t);
  fake.hello = '{"error":{"kind":"invalid","message":"`event_type` is missing"}}\n';
  let cut = true;
  fake.script = (line) => {
    assert.doesNotMatch(line, /"id"/);
    if (line.includes('"target":"1"') && cut) {
      cut = false;
      return null;
    }
    return '{"ok":{"seq":5}}\n';
  };
  const audit = client(t, { socket: fake.path, maxInFlight: 1 });
  const results = await Promise.allSettled(events(3).map((event) => audit.record(event)));
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal((results[1] as PromiseRejectedResult).reason.kind, "unconfirmed");
});

test("a wall clock that jumps changes no wait and no deadline", async (t) => {
  const fake = await collector(t);
  fake.script = (_line, nth) => (nth === 1 ? '{"error":{"kind":"busy","message":"later","retry_after_ms":80}}\n' : undefined);
  const audit = client(t, { socket: fake.path, timeout: 5_000 });
  const real = Date.now;
  t.after(() => {
    Date.now = real;
  });
  const begun = performance.now();
  const waits = audit.record({ event_type: "x" });
  Date.now = () => real() + 86_400_000;
  await new Promise((resolve) => setTimeout(resolve, 20));
  Date.now = () => real() - 86_400_000;
  await waits;
  assert.ok(performance.now() - begun >= 80);
});

test("no more wait than may, and those that do are told when the client closes", async (t) => {
  const fake = await collector(t);
  fake.script = () => "";
  const audit = client(t, { socket: fake.path, maxPending: 2 });
  const waits = [audit.record({ event_type: "a" }), audit.record({ event_type: "b" })];
  await assert.rejects(audit.record({ event_type: "c" }), { kind: "overflow" });
  await new Promise((resolve) => setTimeout(resolve, 30));
  const closing = audit.close({ timeout: 10 });
  for (const one of waits) await assert.rejects(one, { kind: "unconfirmed" });
  await closing;
  await assert.rejects(audit.record({ event_type: "d" }), { kind: "closed" });
});

test("a stream of events is taken no faster than the collector takes it, and told of in order", async (t) => {
  const fake = await collector(t);
  const audit = client(t, { socket: fake.path, maxInFlight: 8 });
  let made = 0;
  let told = 0;
  function* source(): Generator<{ event_type: string; target: string }> {
    for (; made < 500; made++) {
      assert.ok(made - told <= 16, `${made - told} ahead`);
      yield { event_type: made === 7 ? "x".repeat(2 << 20) : "test", target: String(made) };
    }
  }
  for await (const result of audit.recordEach(source())) {
    if (told === 7) assert.equal((result as AuditError).kind, "too_large");
    else assert.equal("seq" in result && result.seq, told < 7 ? told : told - 1);
    told++;
  }
  assert.equal(told, 500);
});

test("an idle client keeps no process alive", async (t) => {
  const fake = await collector(t);
  const module = new URL("../src/index.js", import.meta.url);
  const script = `const { AuditClient } = await import(${JSON.stringify(module.href)});
    const audit = new AuditClient({ socket: ${JSON.stringify(fake.path)} });
    console.log((await audit.record({ event_type: "x" })).seq);`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 });
  assert.equal(stdout, "0\n");
});

test("a socket that others could have put there is not spoken to", async (t) => {
  if (process.geteuid?.() !== 0) return t.skip("only root can give a socket away");
  const { chown } = await import("node:fs/promises");
  const path = join(directory(t), "foreign.sock");
  let heard = 0;
  const server = createServer((socket) => socket.on("data", () => heard++));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  await chown(path, 4_242, 4_242);
  const audit = client(t, { socket: path });
  await assert.rejects(audit.record({ event_type: "x" }), { kind: "foreign_collector" });
  assert.equal(heard, 0);
  const trusting = client(t, { socket: path, trustedUids: [4_242], timeout: 50 });
  await assert.rejects(trusting.record({ event_type: "x" }), { kind: "unreachable" });
  assert.equal(heard, 1);
});

test("a collector that comes later takes what waits, in order", async (t) => {
  const path = join(directory(t), "late.sock");
  const audit = client(t, { socket: path });
  const waits = events(50).map((event) => audit.record(event));
  await new Promise((resolve) => setTimeout(resolve, 60));
  const fake = await new FakeCollector(t, path).listen();
  await Promise.all(waits);
  assert.deepEqual(targets(fake), expected(50));
});

test("a refusal after a try that nobody answered is unconfirmed", async (t) => {
  const fake = await collector(t);
  fake.script = (line, nth) => {
    if (nth > 1) return '{"error":{"kind":"forbidden","message":"not you"}}\n';
    fake.record(line);
    return null;
  };
  const audit = client(t, { socket: fake.path });
  await assert.rejects(audit.record({ event_type: "x", id: "mine" }), (error: AuditError) => {
    assert.equal(error.kind, "unconfirmed");
    assert.equal(error.maybeRecorded, true);
    assert.equal(error.id, "mine");
    assert.match(error.message, /forbidden: not you/);
    return true;
  });
  // Of an event that was not sent before, it is what it says.
  await assert.rejects(audit.record({ event_type: "x" }), { kind: "forbidden", maybeRecorded: false });
});

test("whoever says tomorrow is asked again in a minute", () => {
  const pacer = new Pacer();
  pacer.hold(0, 86_400_000);
  assert.equal(pacer.waitMs(0), 60_000);
  const limited = new Pacer();
  for (let round = 0; round < 3; round++) limited.limited(0, 3e9, 1);
  assert.ok(limited.waitMs(0) <= 60_000);
});

test("what waits is bounded in bytes", async (t) => {
  const fake = await collector(t);
  fake.script = () => "";
  const audit = client(t, { socket: fake.path, maxPendingBytes: 1_000 });
  const large = { event_type: "x", details: { text: "x".repeat(800) } };
  const first = audit.record(large);
  await assert.rejects(audit.record(large), { kind: "overflow", maybeRecorded: false });
  await audit.close({ timeout: 0 });
  await assert.rejects(first);
  fake.script = () => undefined;
  // One that is larger than all that may wait goes by itself, and what is done counts no more.
  const other = client(t, { socket: fake.path, maxPendingBytes: 1_000 });
  for (let at = 0; at < 3; at++) await other.record({ event_type: "x", details: { text: "x".repeat(2_000) } });
});

test("a link that others can turn leads to no socket", async (t) => {
  if (process.geteuid?.() !== 0) return t.skip("only root can give a directory away");
  // Not in /tmp, where anybody may write.
  const home = mkdtempSync("/var/lib/auditctl-node-");
  t.after(() => rmSync(home, { recursive: true }));
  chmodSync(home, 0o755);
  for (const name of ["inner", "open", "safe", "mine"]) mkdirSync(join(home, name), { mode: 0o755 });
  const server = createServer((socket) => socket.on("error", () => {}));
  await new Promise<void>((resolve) => server.listen(join(home, "inner/audit.sock"), resolve));
  const own = createServer();
  await new Promise<void>((resolve) => own.listen(join(home, "mine/audit.sock"), resolve));
  t.after(() => {
    server.close();
    own.close();
  });
  chownSync(join(home, "inner"), 4_242, 4_242);
  chownSync(join(home, "inner/audit.sock"), 4_242, 4_242);
  chmodSync(join(home, "open"), 0o1777);
  symlinkSync(join(home, "inner"), join(home, "open/turned"));
  symlinkSync(join(home, "inner/audit.sock"), join(home, "open/audit.sock"));
  symlinkSync(join(home, "mine"), join(home, "open/mine"));
  symlinkSync("../inner", join(home, "safe/inner"));
  symlinkSync(join(home, "open/turned"), join(home, "safe/through"));
  for (const [way, fine] of [
    ["inner/audit.sock", true],
    ["safe/inner/audit.sock", true],
    ["safe/../inner/./audit.sock", true],
    ["mine/audit.sock", true],
    ["open/turned/audit.sock", false],
    ["open/audit.sock", false],
    ["safe/through/audit.sock", false],
    ["open/turned/../inner/audit.sock", false],
    // Root's own, but who says that it still is at the next look?
    ["open/mine/audit.sock", false],
  ] as const) {
    const judged = judge(`${home}/${way}`, []);
    if (fine) await judged;
    else await assert.rejects(judged, { kind: "foreign_collector" }, way);
  }
  symlinkSync("loop", join(home, "safe/loop"));
  await assert.rejects(judge(join(home, "safe/loop/audit.sock"), []));
});
