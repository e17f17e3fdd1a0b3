// What the README and the examples say is run as it stands, beside a real collector: AUDITCTL_BIN.
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cleanup, client, directory, events } from "./collector.js";

const HERE = fileURLToPath(new URL("../..", import.meta.url));
const bin = process.env.AUDITCTL_BIN;
const run = promisify(execFile);

async function started(t: TestContext, socket: string): Promise<ChildProcess> {
  const home = directory(t);
  writeFileSync(join(home, "auditctl.toml"), "[rate_limit]\nenabled = false\n");
  // Each variable of that prefix is a setting of its own.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("AUDITCTL_")));
  const serving = spawn(bin as string, ["serve", "--http", "off", "--socket", socket], {
    cwd: home,
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  cleanup(t, () => ended(serving));
  let said = "";
  await new Promise<void>((resolve, reject) => {
    serving.once("exit", () => reject(new Error(`the collector ended: ${said}`)));
    serving.stderr?.on("data", (text: Buffer) => {
      said += text;
      if (said.includes("ready")) resolve();
    });
  });
  return serving;
}

/** Kills it, if it lives, and waits until it is gone. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/** A project that has the package installed, as npm links a folder. */
function project(t: TestContext): string {
  const home = directory(t);
  mkdirSync(join(home, "node_modules"));
  symlinkSync(HERE, join(home, "node_modules", "auditctl"));
  return home;
}

test("ten thousand events are pipelined, and a query finds them in order", { skip: bin === undefined }, async (t) => {
  const socket = join(directory(t), "audit.sock");
  await started(t, socket);
  const audit = client(t, { socket });
  await Promise.all(events(10_000).map((event) => audit.record(event)));
  let found = 0;
  for await (const record of audit.query({ type: "test", order: "oldest" })) assert.equal(record.target, String(found++));
  assert.equal(found, 10_000);
  assert.equal((await audit.ask({ type: "test", count: true })).count, 10_000);
  await assert.rejects(audit.ask({ where: "no such thing" }), { kind: "usage" });
});

test("the README's programs run", { skip: bin === undefined }, async (t) => {
  const home = project(t);
  const socket = join(home, "audit.sock");
  await started(t, socket);
  const text = readFileSync(join(HERE, "README.md"), "utf8");
  const programs = [...text.matchAll(/<!-- run -->\n```js\n(.*?)```/gs)].map(([, program]) => program as string);
  assert.ok(programs.length >= 4);
  for (const [at, program] of programs.entries()) {
    const path = join(home, `program-${at}.mjs`);
    writeFileSync(path, program.replaceAll("/run/auditctl/audit.sock", socket));
    const { stderr } = await run(process.execPath, [path], { cwd: home, timeout: 60_000 });
    assert.equal(stderr, "");
  }
});

test("the examples run, and what they are asked is in the log", { skip: bin === undefined }, async (t) => {
  const home = project(t);
  const socket = join(home, "audit.sock");
  await started(t, socket);
  const env = { ...process.env, AUDIT_SOCKET: socket, PORT: "0" };
  for (const name of readdirSync(join(HERE, "examples"))) writeFileSync(join(home, name), readFileSync(join(HERE, "examples", name)));
  const serving = spawn(process.execPath, ["server.mjs"], { cwd: home, env });
  cleanup(t, () => ended(serving));
  const port = await new Promise<string>((resolve) =>
    serving.stdout.once("data", (said: Buffer) => resolve(/port (\d+)/.exec(String(said))?.[1] ?? "")),
  );
  const statuses = [];
  for (const amount of ["5", "-1"]) {
    const answer = await fetch(`http://127.0.0.1:${port}/?amount=${amount}&password=s3cr3t`, { headers: { "x-user": "alice" } });
    statuses.push(answer.status);
    await answer.text();
  }
  assert.deepEqual(statuses, [200, 400]);
  const gone = new Promise((resolve) => serving.once("exit", resolve));
  serving.kill("SIGTERM");
  assert.equal(await gone, 0);
  for (const name of ["spool.mjs", "query.mjs"]) {
    const { stderr } = await run(process.execPath, [name], { cwd: home, env, timeout: 60_000 });
    assert.equal(stderr, "");
  }
  const audit = client(t, { socket });
  const found = [];
  for await (const { event_type, actor, outcome } of audit.query({ type: ["transfer", "http.request", "door.*"], order: "oldest" })) {
    found.push([event_type, actor, outcome]);
  }
  assert.deepEqual(found.sort(), [
    ["door.opened", "badge-1138", undefined],
    ["http.request", "alice", "failure"],
    ["http.request", "alice", "success"],
    ["transfer", "alice", "failure"],
    ["transfer", "alice", "success"],
  ]);
});
