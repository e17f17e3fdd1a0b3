import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import fs, {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { AuditClient } from "../src/index.js";
import { Spool } from "../src/spool.js";
import { client, collector, directory, events, FakeCollector, targets } from "./collector.js";

const SPOOLER = new URL("./programs/spooler.js", import.meta.url).pathname;
const files = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => /\.(ndjson|draining)$/.test(name) && name !== "refused.ndjson")
    .sort();

test("what is spooled is drained in order, once, and then gone", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: fake.path, spool: { dir } });
  const kept = await Promise.all(events(600).map((event) => audit.spool(event)));
  assert.equal(statSync(dir).mode & 0o777, 0o700);
  for (const name of files(dir)) assert.equal(statSync(join(dir, name)).mode & 0o777, 0o600);
  const status = await audit.spoolStatus();
  assert.equal(status.events, 600);
  assert.ok(status.oldest instanceof Date && status.bytes > 0);
  assert.deepEqual((await audit.drain()).events, 0);
  assert.deepEqual(
    fake.log.map(({ id }) => id),
    kept.map(({ id }) => id),
  );
  assert.deepEqual(files(dir), []);
  const first = JSON.parse(fake.log[0]?.line as string) as { timestamp: string };
  assert.ok(Math.abs(Date.parse(first.timestamp) - Date.now()) < 60_000);
});

test("a file that ends at any byte gives every event that was promised, and no half one", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: fake.path, spool: { dir } });
  for (const event of events(2)) await audit.spool(event);
  await audit.close();
  const name = files(dir)[0] as string;
  const whole = readFileSync(join(dir, name));
  const ends = [...whole.entries()].filter(([, byte]) => byte === 0x0a).map(([at]) => at + 1);
  for (let end = 0; end <= whole.length; end++) {
    rmSync(dir, { recursive: true });
    mkdirSync(dir, { mode: 0o700 });
    writeFileSync(join(dir, name), whole.subarray(0, end), { mode: 0o600 });
    const other = await collector(t);
    const again = client(t, { socket: other.path, spool: { dir } });
    assert.deepEqual(await again.drain(), { events: 0, bytes: 0, oldest: undefined, refused: 0 });
    assert.equal(other.log.length, ends.filter((at) => at <= end).length, `${end} bytes`);
    await again.close();
    other.close();
  }
});

test("a damaged line, and an event that is refused for good, are kept aside and block nothing", async (t) => {
  const fake = await collector(t);
  fake.script = (line) => (line.includes('"target":"1"') ? '{"error":{"kind":"invalid","message":"no"}}\n' : undefined);
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: fake.path, spool: { dir } });
  for (const event of events(2)) await audit.spool(event);
  appendFileSync(join(dir, files(dir)[0] as string), '{"id":"half\n\0\0\0\n');
  await audit.spool({ event_type: "test", target: "last" });
  assert.deepEqual(await audit.drain(), { events: 0, bytes: 0, oldest: undefined, refused: 3 });
  assert.deepEqual(targets(fake), ["0", "last"]);
  const aside = readFileSync(join(dir, "refused.ndjson"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    aside.map(({ kind }) => kind),
    ["invalid", "malformed", "malformed"],
  );
});

test("a full spool says so, and has room again once it is drained", async (t) => {
  const fake = await collector(t);
  const audit = client(t, { socket: fake.path, spool: { dir: join(directory(t), "spool"), maxBytes: 500 } });
  const results = await Promise.allSettled(events(10).map((event) => audit.spool(event)));
  const kinds = results.map((one) => (one.status === "fulfilled" ? "ok" : one.reason.kind));
  const kept = kinds.filter((kind) => kind === "ok").length;
  assert.ok(kept > 0 && kinds.every((kind, at) => kind === (at < kept ? "ok" : "spool_full")), String(kinds));
  await audit.drain();
  await audit.spool({ event_type: "x" });
});

test("a drain that ends early keeps what is left, and loses no place", async (t) => {
  const path = join(directory(t), "late.sock");
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: path, spool: { dir } });
  await Promise.all(events(700).map((event) => audit.spool(event)));
  await assert.rejects(audit.drain({ timeout: 100 }), { kind: "unreachable" });
  assert.equal((await audit.spoolStatus()).events, 700);
  const fake = new FakeCollector(t, path);
  // It dies after 300 events.
  fake.script = (_line, nth) => (nth > 300 ? null : undefined);
  await fake.listen();
  await assert.rejects(audit.drain({ timeout: 500 }));
  assert.ok((await audit.spoolStatus()).events < 700);
  fake.script = () => undefined;
  await audit.drain();
  assert.deepEqual(
    targets(fake),
    events(700).map(({ target }) => target),
  );
});

test("a collector that knows no ids is sent nothing of a spool", async (t) => {
  const fake = await collector(t);
  fake.hello = '{"error":{"kind":"invalid","message":"old"}}\n';
  const audit = client(t, { socket: fake.path, spool: { dir: join(directory(t), "spool") } });
  await audit.spool({ event_type: "x" });
  await assert.rejects(audit.drain(), { kind: "no_ids" });
  assert.equal(fake.lines, 0);
  assert.equal((await audit.spoolStatus()).events, 1);
});

test("an event that could not be recorded is spooled under the same id, and recorded once", async (t) => {
  const fake = await collector(t);
  let silent = true;
  fake.script = (line) => {
    const answer = fake.record(line);
    return silent ? "" : answer;
  };
  const audit = client(t, { socket: fake.path, answerTimeout: 100, spool: { dir: join(directory(t), "spool") } });
  const first = await audit.recordOrSpool({ event_type: "x" }, { timeout: 80 });
  assert.ok("spooled" in first);
  silent = false;
  await audit.drain();
  assert.deepEqual(
    fake.log.map(({ id }) => id),
    [first.id],
  );
  assert.ok("seq" in (await audit.recordOrSpool({ event_type: "y" })));
  await assert.rejects(audit.recordOrSpool({ event_type: "x", id: "a\n" }), { kind: "invalid" });
});

test("two who write, and two who drain, lose nothing and record nothing twice", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const clients = [0, 1].map(() => client(t, { socket: fake.path, spool: { dir } }));
  const drains: Promise<unknown>[] = [];
  const kept: string[] = [];
  let writing = true;
  const drainer = async (audit: AuditClient): Promise<void> => {
    while (writing) await audit.drain().catch(() => {});
  };
  for (const audit of clients) drains.push(drainer(audit));
  await Promise.all(
    clients.map(async (audit) => {
      for (let at = 0; at < 150; at++) kept.push((await audit.spool({ event_type: "x" })).id);
    }),
  );
  writing = false;
  await Promise.all(drains);
  await clients[0]?.drain();
  assert.deepEqual(fake.log.map(({ id }) => id).sort(), kept.sort());
});

test("writers that are killed, and drainers that are killed, lose no event whose call had returned", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const promised = new Set<string>();
  const start = (what: string): ChildProcess => {
    const child = spawn(process.execPath, [SPOOLER, what, fake.path, dir], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout?.on("data", (part) => {
      text += part;
      const lines = text.split("\n");
      text = lines.pop() as string;
      for (const line of lines) promised.add(line);
    });
    return child;
  };
  for (let round = 0; round < 6; round++) {
    const children = [start("write"), start("write"), start("drain")];
    const wanted = promised.size + 20;
    while (promised.size < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
    await Promise.all(children.map((child) => new Promise((resolve) => child.once("close", resolve).kill("SIGKILL"))));
  }
  const audit = client(t, { socket: fake.path, spool: { dir } });
  const left = await audit.drain();
  assert.equal(left.events, 0);
  assert.equal(left.refused, 0);
  const ids = fake.log.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(promised.size > 50, `${promised.size} events`);
  const missing = [...promised].filter((id) => !ids.includes(id));
  assert.deepEqual(missing, []);
});

test("a clock that was set back puts no new event before an old one", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const real = Date.now;
  t.after(() => {
    Date.now = real;
  });
  for (const [at, jump] of [0, -86_400_000, 3_600_000].entries()) {
    Date.now = () => real() + jump;
    const audit = client(t, { socket: fake.path, spool: { dir } });
    await audit.spool({ event_type: "x", target: String(at) });
    await audit.close();
  }
  await client(t, { socket: fake.path, spool: { dir } }).drain();
  assert.deepEqual(targets(fake), ["0", "1", "2"]);
});

test("a note of the place that lies costs sending twice, and no event", async (t) => {
  const dir = join(directory(t), "spool");
  for (const note of ["999999\n", "7\n", "-1\n", "x", ""]) {
    const fake = await collector(t);
    const audit = client(t, { socket: fake.path, spool: { dir } });
    for (const event of events(3)) await audit.spool(event);
    writeFileSync(`${join(dir, files(dir)[0] as string).replace(/ndjson$/, "draining")}.done`, note);
    await audit.drain();
    assert.deepEqual(targets(fake), ["0", "1", "2"], note);
    fake.close();
  }
});

test("a client drains by itself, and says why it could not", async (t) => {
  const path = join(directory(t), "late.sock");
  const audit = client(t, { socket: path, timeout: 40, spool: { dir: join(directory(t), "spool"), drainEvery: 20 } });
  await audit.spool({ event_type: "test", target: "0" });
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await until(() => audit.status.lastDrain?.kind === "unreachable");
  const fake = await new FakeCollector(t, path).listen();
  await until(() => fake.log.length === 1 && audit.status.lastDrain === undefined);
});

test("a directory that others can read is no spool", (t) => {
  const dir = join(directory(t), "open");
  mkdirSync(dir, { mode: 0o755 });
  assert.throws(() => new AuditClient({ socket: "x", spool: { dir } }), { kind: "usage" });
});

test("a file that is cut while its writer lives gets a new one, with nothing promised in it lost", async (t) => {
  const fake = await collector(t);
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: fake.path, spool: { dir } });
  await audit.spool({ event_type: "x", target: "0" });
  rmSync(join(dir, files(dir)[0] as string));
  await audit.spool({ event_type: "x", target: "1" });
  truncateSync(join(dir, files(dir)[0] as string), 0);
  await audit.spool({ event_type: "x", target: "2" });
  await audit.drain();
  assert.deepEqual(targets(fake), ["2"]);
});

test("the names of a new spool are synced, with those above it", (t) => {
  const home = directory(t);
  const { openSync, fsyncSync } = fs;
  const opened = new Map<number, string>();
  const synced: string[] = [];
  fs.openSync = ((path: string, flags: string) => {
    const fd = openSync(path, flags);
    opened.set(fd, path);
    return fd;
  }) as typeof fs.openSync;
  fs.fsyncSync = (fd) => {
    synced.push(opened.get(fd) as string);
    fsyncSync(fd);
  };
  syncBuiltinESMExports();
  try {
    client(t, { socket: "x", spool: { dir: join(home, "a", "b") } });
    client(t, { socket: "x", spool: { dir: join(home, "a", "b") } });
  } finally {
    fs.openSync = openSync;
    fs.fsyncSync = fsyncSync;
    syncBuiltinESMExports();
  }
  assert.deepEqual(synced, [join(home, "a"), home]);
});

test("a lock of a process that cannot be seen from here is kept, while it is touched", async (t) => {
  const dir = join(directory(t), "spool");
  const spool = new Spool({ dir }, 200);
  await spool.append({ id: "a", body: '{"event_type":"x"}' });
  const sent: string[] = [];
  const send = async ({ id }: { id: string }): Promise<void> => void sent.push(id);
  const lock = join(dir, "drain.lock");
  // This process's own pid, in another container.
  writeFileSync(lock, `${process.pid} 1 0123456789abcdef other/pid:[1]\n`);
  let beat = 1;
  const beats = setInterval(() => utimesSync(lock, beat, beat++), 20);
  await assert.rejects(spool.drain(send, performance.now() + 500), { kind: "spool" });
  clearInterval(beats);
  assert.deepEqual(sent, []);
  // It falls silent.
  await spool.drain(send, performance.now() + 10_000);
  assert.deepEqual(sent, ["a"]);
  // Of this machine it is known at once.
  await spool.append({ id: "b", body: '{"event_type":"x"}' });
  await spool.drain(async () => {
    const mine = readFileSync(lock, "latin1").split(" ");
    writeFileSync(join(dir, "copy"), ["999999999", ...mine.slice(1)].join(" "));
  }, performance.now() + 10_000);
  renameSync(join(dir, "copy"), lock);
  await spool.append({ id: "c", body: '{"event_type":"x"}' });
  await new Spool({ dir }, 1e9).drain(send, performance.now() + 10_000);
  assert.deepEqual(sent, ["a", "c"]);
  await spool.close();
});

test("what is refused is kept within bounds, and stops no drain", async (t) => {
  const fake = await collector(t);
  fake.script = () => '{"error":{"kind":"invalid","message":"no"}}\n';
  const dir = join(directory(t), "spool");
  const audit = client(t, { socket: fake.path, spool: { dir, maxBytes: 4_000 } });
  for (let round = 0; round < 8; round++) {
    for (const event of events(5)) await audit.spool(event);
    const left = await audit.drain();
    assert.equal(left.events, 0);
    assert.ok(left.refused >= 5 && left.refused < 40, `${left.refused}`);
  }
  const bytes = ["refused.ndjson", "refused.1.ndjson"].map((name) => statSync(join(dir, name)).size);
  assert.ok((bytes[0] as number) + (bytes[1] as number) <= 4_000, `${bytes}`);
});
