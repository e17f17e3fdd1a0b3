// What the contract's suite drives (clients/CONTRACT.md): commands as NDJSON on stdin, results on stdout.
import { createInterface } from "node:readline";
import { inspect } from "node:util";
import { AuditClient, AuditError, type AuditEvent, type ClientOptions, VERSION } from "../src/index.js";

interface Command {
  n: number;
  cmd: string;
  event: AuditEvent;
  events: AuditEvent[];
  timeout_ms?: number;
  [option: string]: unknown;
}

let client: AuditClient | undefined;
let options: ClientOptions = {};
let lastError: AuditError | undefined;

function opened(): AuditClient {
  if (client === undefined) throw new AuditError("usage", "nothing is open");
  return client;
}

function failure(error: unknown): Record<string, unknown> {
  const failed = error instanceof AuditError ? error : new AuditError("usage", String(error), { cause: error });
  lastError = failed;
  return { error: { kind: failed.kind, message: failed.message, ...(failed.id === undefined ? {} : { id: failed.id }) } };
}

async function recorded(event: AuditEvent): Promise<Record<string, unknown>> {
  const { seq, id, duplicate } = await opened().record(event);
  return { seq, id, ...(duplicate ? { duplicate } : {}) };
}

async function open(command: Command): Promise<void> {
  await client?.close();
  client = undefined;
  const given = {
    socket: command.socket,
    url: command.url,
    tokenFile: command.token_file,
    tokenEnv: command.token_env,
    caFile: command.ca_file,
    timeout: command.timeout_ms,
    maxInFlight: command.window,
    trustedUids: command.trusted_uids,
    redact: command.redact,
    spool: command.spool === undefined ? undefined : { dir: command.spool, maxBytes: command.spool_max_bytes },
  };
  options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as ClientOptions;
  client = new AuditClient(options);
}

async function run(command: Command): Promise<Record<string, unknown>> {
  switch (command.cmd) {
    case "describe":
      return { ok: { client: `auditctl-node/${VERSION}`, features: ["socket", "http", "https", "peer_check", "spool", "redact"] } };
    case "open":
      await open(command);
      return { ok: {} };
    case "record":
      return { ok: await recorded(command.event) };
    case "batch":
      return { results: await Promise.all(command.events.map((event) => recorded(event).then((ok) => ({ ok }), failure))) };
    case "spool":
      return { ok: await opened().spool(command.event) };
    case "drain": {
      const left = await opened()
        .drain({ timeout: command.timeout_ms })
        .catch((error: AuditError) => {
          if (error.kind === "no_ids") throw error;
          return opened().spoolStatus();
        });
      return { ok: { events: left.events, refused: left.refused } };
    }
    case "spool_state": {
      const { events, bytes, refused } = await opened().spoolStatus();
      return { ok: { events, bytes, refused } };
    }
    case "texts": {
      const deep = { depth: 20, showHidden: true };
      return { ok: { texts: [client, options, lastError].flatMap((one) => [inspect(one, deep), String(one), JSON.stringify(one) ?? ""]) } };
    }
    case "close":
      await client?.close();
      return { ok: {} };
    default:
      return { error: { kind: "unknown_command", message: `no command ${command.cmd}` } };
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  const command = JSON.parse(line) as Command;
  const result = await run(command).catch(failure);
  process.stdout.write(`${JSON.stringify({ n: command.n, ...result })}\n`);
}
await client?.close();
