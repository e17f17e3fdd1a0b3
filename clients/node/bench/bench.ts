// Events a second, beside a raw socket in the same run:
//
//   npm run bench -- /var/lib/auditctl/logs/audit.sock [http://127.0.0.1:9750 TOKEN_FILE]
//
// For a collector whose rate limit is off.
import { createConnection } from "node:net";
import { AuditClient } from "../src/index.js";

const EVENTS = 10_000;
const ROUNDS = 5;
const [, , socket, url, tokenFile] = process.argv;
if (socket === undefined) throw new Error("name the collector's socket");

const event = (at: number) => ({ event_type: "bench", actor: "alice", target: `acct-${at}`, details: { at } });

/** No client at all: the lines are ready, and only the ends of the answers are looked for. */
async function raw(path: string): Promise<void> {
  const text = Array.from({ length: EVENTS }, (_, at) => `${JSON.stringify(event(at))}\n`).join("");
  const connection = createConnection(path);
  let answers = 0;
  await new Promise<void>((resolve, reject) => {
    connection.on("error", reject);
    connection.on("data", (chunk: Buffer) => {
      for (let found = chunk.indexOf(10); found !== -1; found = chunk.indexOf(10, found + 1)) answers++;
      if (answers === EVENTS) resolve();
    });
    connection.write(text);
  });
  connection.destroy();
}

async function pipelined(audit: AuditClient): Promise<void> {
  await Promise.all(Array.from({ length: EVENTS }, (_, at) => audit.record(event(at))));
}

async function oneByOne(audit: AuditClient, events: number): Promise<void> {
  for (let at = 0; at < events; at++) await audit.record(event(at));
}

async function timed(what: string, events: number, run: () => Promise<void>): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now();
    await run();
    times.push(performance.now() - begun);
  }
  const best = Math.min(...times);
  const median = times.sort((one, other) => one - other)[ROUNDS >> 1] as number;
  const rate = Math.round((events / median) * 1_000).toLocaleString("en");
  console.log(`${what.padEnd(24)} ${events} events: median ${median.toFixed(0)} ms, best ${best.toFixed(0)} ms, ${rate} events/s`);
}

const audit = new AuditClient({ socket });
await timed("raw socket", EVENTS, () => raw(socket));
await timed("pipelined", EVENTS, () => pipelined(audit));
await timed("one by one", 200, () => oneByOne(audit, 200));
await audit.close();
if (url !== undefined) {
  const http = new AuditClient({ url, ...(tokenFile === undefined ? {} : { tokenFile }) });
  await timed("HTTP, in batches", EVENTS, () => pipelined(http));
  await http.close();
}
