import { randomBytes } from "node:crypto";
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { type FileHandle, link, open, readdir, readFile, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { AuditError, verdictOf } from "./errors.js";
import { type Encoded, withId } from "./event.js";
import { messageOf } from "./transport.js";

export interface SpoolOptions {
  /** A directory of its own, 0700; made if it is not there. Processes may share it. */
  dir: string;
  /** What it may hold, in bytes. 64 MiB. */
  maxBytes?: number | undefined;
  /** How often the client drains it by itself, in milliseconds. Not at all unless given. */
  drainEvery?: number | undefined;
}

export interface SpoolStatus {
  /** Events that wait there, and their bytes. */
  events: number;
  bytes: number;
  /** When the oldest of them was written. */
  oldest: Date | undefined;
  /**
   * Events that the collector refused for good, and damaged lines: each with its reason in `refused.ndjson`. That and
   * `refused.1.ndjson`, where older ones are, hold no more together than the spool may; the oldest give way.
   */
  refused: number;
}

const DEFAULT_MAX_BYTES = 64 << 20;
const SEGMENT_BYTES = 1 << 20;
/** Sent at a time. */
const BATCH_LINES = 256;
const BATCH_BYTES = 1 << 20;
const LOCK_LOOK_MS = 50;
/** `.ndjson` is written by the process that made it; `.draining` is not written any more. */
const NAME = /^(\d{16})-[0-9a-f]{16}\.(ndjson|draining)$/;
const REFUSED = "refused.ndjson";
const OLDER_REFUSED = "refused.1.ndjson";
const LOCK = "drain.lock";
/** How often a lock says that its holder lives, and how long one that says nothing is believed. */
const LOCK_BEAT_MS = 5_000;
const LOCK_SILENCE_MS = 30_000;
const LF = 0x0a;

interface Entry {
  line: string;
  bytes: number;
  resolve: () => void;
  reject: (error: AuditError) => void;
}

type Send = (line: Encoded) => Promise<unknown>;

/**
 * Events on disk, while the collector is away: files of NDJSON, a line an event, written and synced
 * before anybody is told that they are there, and removed once everything in them is acknowledged.
 *
 * Several processes may write and drain one directory, and none needs to know whether another lives.
 * Each writes files of its own. Whoever drains renames a file first and reads it then; a writer looks after
 * each sync whether its file still has its name, and otherwise writes the same lines into a new file. So an
 * event that was promised is in a file that will be read; at worst it is sent twice, under its id.
 */
export class Spool {
  readonly #dir: string;
  readonly #maxBytes: number;
  #active: { path: string; file: FileHandle; ino: bigint; bytes: number } | undefined;
  #queue: Entry[] = [];
  #writing: Promise<void> | undefined;
  #draining = false;
  #closed = false;
  /** How many lines a file has that did not change. */
  readonly #counted = new Map<string, { key: string; lines: number }>();
  readonly #lockSilence: number;
  /** A lock of which nobody here can say whether its holder lives, and since when it has not changed. */
  #watched: { key: string; since: number } | undefined;

  constructor(options: SpoolOptions, lockSilence = LOCK_SILENCE_MS) {
    this.#lockSilence = lockSilence;
    this.#dir = options.dir;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    try {
      const made = mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      if (made !== undefined) {
        chmodSync(this.#dir, 0o700);
        syncNames(made, resolve(this.#dir));
      }
      const { mode, uid } = statSync(this.#dir);
      if ((mode & 0o077) !== 0 || (process.geteuid !== undefined && uid !== process.geteuid())) {
        throw new Error("it must belong to this user, with mode 0700: events lie in it");
      }
    } catch (error) {
      throw new AuditError("usage", `the spool ${this.#dir} cannot be used: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Resolves once the event is on disk. */
  append(encoded: Encoded): Promise<void> {
    const line = `${withId(encoded)}\n`;
    const { id } = encoded;
    return new Promise<void>((resolve, reject) => {
      if (this.#closed) throw new AuditError("closed", "the client was closed", { id });
      const failed = (error: AuditError): void => reject(new AuditError(error.kind, error.message, { cause: error.cause, id }));
      this.#queue.push({ line, bytes: Buffer.byteLength(line), resolve, reject: failed });
      this.#writing ??= this.#write();
    });
  }

  /** What comes during a sync is the next one's. */
  async #write(): Promise<void> {
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      let taken = batch;
      try {
        taken = await this.#thatFit(batch);
        if (taken.length > 0) await this.#store(Buffer.from(taken.map(({ line }) => line).join("")));
        for (const { resolve } of taken) resolve();
      } catch (error) {
        const failed = new AuditError("spool", `the spool ${this.#dir} cannot be written: ${messageOf(error)}`, { cause: error });
        for (const { reject } of taken) reject(failed);
      }
    }
    this.#writing = undefined;
  }

  async #thatFit(batch: Entry[]): Promise<Entry[]> {
    let room = this.#maxBytes - (await this.status()).bytes;
    return batch.filter(({ bytes, reject }) => {
      if (bytes > room) {
        reject(new AuditError("spool_full", `the spool ${this.#dir} may hold ${this.#maxBytes} bytes, and has no room left`));
        return false;
      }
      room -= bytes;
      return true;
    });
  }

  async #store(text: Buffer): Promise<void> {
    for (;;) {
      this.#active ??= await this.#create();
      const active = this.#active;
      try {
        await active.file.appendFile(text);
        await active.file.datasync();
      } catch (error) {
        // What is in the file now is not known, and nobody was told of it: it gets nothing more.
        await this.#cutTo(active, active.bytes);
        await this.#retire();
        throw error;
      }
      const named = await stat(active.path, { bigint: true }).catch(() => undefined);
      if (named?.ino !== active.ino) {
        await this.#retire();
        continue;
      }
      active.bytes += text.length;
      if (active.bytes >= SEGMENT_BYTES) await this.#retire();
      return;
    }
  }

  async #cutTo({ file }: { file: FileHandle }, bytes: number): Promise<void> {
    await file.truncate(bytes).catch(() => {});
  }

  async #create(): Promise<{ path: string; file: FileHandle; ino: bigint; bytes: number }> {
    const time = String(Date.now() * 1_000 + (Math.floor(performance.now() * 1_000) % 1_000)).padStart(16, "0");
    const path = join(this.#dir, `${await this.#after(time)}-${randomBytes(8).toString("hex")}.ndjson`);
    const file = await open(path, "ax", 0o600);
    const { ino } = await file.stat({ bigint: true });
    await syncDirectory(this.#dir);
    return { path, file, ino, bytes: 0 };
  }

  /** A clock that was set back must not put new events before old ones. */
  async #after(time: string): Promise<string> {
    const newest = (await this.#files()).at(-1)?.slice(0, 16) ?? "";
    return time > newest ? time : String(BigInt(newest) + 1n).padStart(16, "0");
  }

  async #retire(): Promise<void> {
    const file = this.#active?.file;
    this.#active = undefined;
    await file?.close().catch(() => {});
  }

  /** The files, oldest first. */
  async #files(): Promise<string[]> {
    return (await readdir(this.#dir)).filter((name) => NAME.test(name)).sort();
  }

  async status(): Promise<SpoolStatus> {
    const status: SpoolStatus = { events: 0, bytes: 0, oldest: undefined, refused: 0 };
    for (const name of await this.#files()) {
      const found = await this.#count(name).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined; // Drained meanwhile.
        throw error;
      });
      if (found === undefined || found.lines === 0) continue;
      status.events += found.lines;
      status.bytes += found.bytes;
      status.oldest ??= new Date(Number(name.slice(0, 16)) / 1_000);
    }
    for (const name of [REFUSED, OLDER_REFUSED]) {
      status.refused += await this.#count(name).then(
        ({ lines }) => lines,
        (error: NodeJS.ErrnoException) => {
          if (error.code === "ENOENT") return 0;
          throw error;
        },
      );
    }
    return status;
  }

  async #count(name: string): Promise<{ lines: number; bytes: number }> {
    const path = join(this.#dir, name);
    const { size, ino } = await stat(path);
    const from = await this.#positionOf(path);
    const key = `${ino}:${size}:${from}`;
    const known = this.#counted.get(name);
    if (known?.key === key) return { lines: known.lines, bytes: size - from };
    const lines = count((await readFile(path)).subarray(from));
    if (this.#counted.size > 1_000) this.#counted.clear();
    this.#counted.set(name, { key, lines });
    return { lines, bytes: Math.max(0, size - from) };
  }

  /** Sends everything, oldest first. */
  async drain(send: Send, end: number): Promise<SpoolStatus> {
    if (this.#draining) throw new AuditError("spool", `the spool ${this.#dir} is being drained already`);
    this.#draining = true;
    try {
      const release = await this.#lock(end);
      try {
        for (;;) {
          const name = (await this.#files())[0];
          if (name === undefined) return await this.status();
          await this.#drainFile(name, send, end);
        }
      } finally {
        await release();
      }
    } catch (error) {
      if (error instanceof AuditError) throw error;
      throw new AuditError("spool", `the spool ${this.#dir} cannot be drained: ${messageOf(error)}`, { cause: error });
    } finally {
      this.#draining = false;
    }
  }

  async #drainFile(name: string, send: Send, end: number): Promise<void> {
    let path = join(this.#dir, name);
    if (name.endsWith(".ndjson")) {
      const from = path;
      path = path.replace(/ndjson$/, "draining");
      await rename(from, path);
    }
    let position = await this.#positionOf(path);
    const bytes = await readFile(path);
    while (position < bytes.length) {
      if (performance.now() >= end) throw new AuditError("unreachable", "the time is over before the spool is empty");
      position = await this.#sendSome(path, bytes, position, send);
    }
    await unlink(path);
    await unlink(`${path}.done`).catch(() => {});
    await syncDirectory(this.#dir);
  }

  /** Sends the next lines; gives the place behind those that are settled. */
  async #sendSome(path: string, bytes: Buffer, from: number, send: Send): Promise<number> {
    const lines: { text: string; end: number }[] = [];
    for (let at = from; lines.length < BATCH_LINES && at - from < BATCH_BYTES; ) {
      const end = bytes.indexOf(LF, at) + 1;
      // What has no end was not acknowledged: its writer was killed.
      if (end === 0) break;
      lines.push({ text: bytes.toString("utf8", at, end - 1), end });
      at = end;
    }
    if (lines.length === 0) return bytes.length;
    const results = await Promise.allSettled(lines.map(({ text }) => settled(text, send)));
    let position = from;
    for (const [at, result] of results.entries()) {
      const line = lines[at] as (typeof lines)[number];
      if (result.status === "rejected") {
        await this.#note(path, position);
        throw result.reason;
      }
      if (result.value !== undefined) await this.#setAside(line.text, result.value);
      position = line.end;
    }
    await this.#note(path, position);
    return position;
  }

  /** A hint: without it lines are sent once more, and answered as duplicates. */
  async #note(path: string, position: number): Promise<void> {
    await writeFile(`${path}.done`, `${position}\n`, { mode: 0o600 });
  }

  async #positionOf(path: string): Promise<number> {
    const text = await readFile(`${path}.done`, "latin1").catch(() => "");
    if (!/^\d{1,15}\n$/.test(text)) return 0;
    const position = Number(text);
    if (position === 0) return 0;
    const file = await open(path, "r");
    try {
      const last = Buffer.alloc(1);
      const { bytesRead } = await file.read(last, 0, 1, position - 1);
      return bytesRead === 1 && last[0] === LF ? position : 0;
    } finally {
      await file.close();
    }
  }

  /** What can never be recorded is kept: its caller was told that it is safe. */
  async #setAside(text: string, error: AuditError): Promise<void> {
    const refused = { refused_at: new Date().toISOString(), kind: error.kind, message: error.message, event: text };
    const path = join(this.#dir, REFUSED);
    const written = Buffer.from(`${JSON.stringify(refused)}\n`);
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    if (size > 0 && size + written.length > this.#maxBytes / 2) await rename(path, join(this.#dir, OLDER_REFUSED));
    const file = await open(path, "a", 0o600);
    try {
      await file.appendFile(written);
      await file.datasync();
    } finally {
      await file.close();
    }
    await syncDirectory(this.#dir);
  }

  /** Waits until nobody else drains; gives what ends that. */
  async #lock(end: number): Promise<() => Promise<void>> {
    const path = join(this.#dir, LOCK);
    const mine = join(this.#dir, `${LOCK}.${randomBytes(8).toString("hex")}`);
    const me = [process.pid, startOf(process.pid) ?? 0, randomBytes(8).toString("hex"), NAMESPACE];
    await writeFile(mine, `${me.join(" ")}\n`, { mode: 0o600 });
    const text = await readFile(mine, "latin1");
    try {
      for (;;) {
        const got = await link(mine, path).then(
          () => true,
          () => false,
        );
        if (got) break;
        const holder = await readFile(path, "latin1").catch(() => "");
        if (holder !== "" && !(await this.#isAlive(path, holder))) await this.#breakLock(path, holder);
        else if (performance.now() >= end) throw new AuditError("spool", `another process drains the spool ${this.#dir}`);
        else await new Promise((resolve) => setTimeout(resolve, LOCK_LOOK_MS));
      }
    } finally {
      await unlink(mine).catch(() => {});
    }
    const beat = setInterval(() => {
      const now = new Date();
      void utimes(path, now, now).catch(() => {});
    }, LOCK_BEAT_MS).unref();
    return async () => {
      clearInterval(beat);
      if ((await readFile(path, "latin1").catch(() => "")) === text) await unlink(path).catch(() => {});
    };
  }

  /**
   * Of a process of this machine, start and PID namespace its pid says it. Of any other only that it goes on
   * touching its lock, seen with this process's own clock.
   */
  async #isAlive(path: string, holder: string): Promise<boolean> {
    if (holder.trimEnd().split(" ")[3] === NAMESPACE) return isAlive(holder);
    const touched = await stat(path, { bigint: true }).then(
      ({ mtimeNs }) => mtimeNs,
      () => 0n,
    );
    const key = `${touched} ${holder}`;
    if (this.#watched?.key !== key) this.#watched = { key, since: performance.now() };
    return performance.now() - this.#watched.since < this.#lockSilence;
  }

  /** A dead process's. Should it be another's by now, that one gets it back. */
  async #breakLock(path: string, holder: string): Promise<void> {
    const aside = `${path}.${randomBytes(8).toString("hex")}`;
    await rename(path, aside).catch(() => {});
    const found = await readFile(aside, "latin1").catch(() => holder);
    if (found !== holder) await link(aside, path).catch(() => {});
    await unlink(aside).catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.#retire();
  }
}

/** Resolves with the reason if it can never be recorded; rejects if it may be later. */
async function settled(text: string, send: Send): Promise<AuditError | undefined> {
  const line = lineOf(text);
  if (line === undefined) return new AuditError("malformed", "the line in the spool is damaged");
  try {
    await send(line);
    return undefined;
  } catch (error) {
    if (error instanceof AuditError && verdictOf(error.kind) === "refused") return error;
    throw error;
  }
}

/** The id is taken off again: the transport adds it. */
function lineOf(text: string): Encoded | undefined {
  const found = /^\{"id":("(?:[^"\\]|\\.)*"),/.exec(text);
  if (found === null) return undefined;
  try {
    JSON.parse(text);
    return { id: JSON.parse(found[1] as string) as string, body: `{${text.slice(found[0].length)}` };
  } catch {
    return undefined;
  }
}

/** Within it a pid names one process: this start of the machine, and the namespace of pids, which a container has of its own. */
const NAMESPACE = namespaceOf();

function namespaceOf(): string {
  if (process.platform !== "linux") return "-";
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    return `${boot}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    // A name of its own: of no other process it is known whether it lives.
    return randomBytes(8).toString("hex");
  }
}

/** When a process began: with its pid it names one process until the machine starts again. */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in brackets may hold anything.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function isAlive(holder: string): boolean {
  const [pid, start] = holder.split(" ");
  const found = startOf(Number(pid));
  if (found !== undefined || process.platform === "linux") return found === start;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Lines with their ends: what a crash left unfinished is none. */
function count(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(LF); at !== -1; at = bytes.indexOf(LF, at + 1)) lines++;
  return lines;
}

/** What is in a directory that is gone after a crash is gone too: syncs the names from `first` down to `last`. */
function syncNames(first: string, last: string): void {
  for (let path = last; ; path = dirname(path)) {
    const above = openSync(dirname(path), "r");
    try {
      fsyncSync(above);
    } finally {
      closeSync(above);
    }
    if (path === resolve(first) || path === dirname(path)) return;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
