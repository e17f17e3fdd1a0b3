// A collector in this process, to do to clients what a real one does on its bad days. That a client works
// with the real one is what the contract's suite shows.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { AuditClient, type ClientOptions } from "../src/index.js";

export const HELLO = '{"ok":{"hello":{"protocol":1,"version":"0.0.0","features":["ids","query"]}}}\n';

export interface Logged {
  id: string;
  line: string;
}

/** What a line is answered; undefined: as a collector does. `null`: the connection ends. */
export type Script = (line: string, nth: number, connection: number) => string | null | undefined;

export class FakeCollector {
  readonly path: string;
  readonly log: Logged[] = [];
  readonly #ids = new Map<string, number>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  script: Script = () => undefined;
  hello = HELLO;
  /** How answers are handed to the connection. */
  write: (socket: Socket, text: string, connection: number) => void = (socket, text) => socket.write(text);
  /** Bytes that are taken of a connection before it is cut. */
  cutAfter: (connection: number) => number = () => Number.POSITIVE_INFINITY;
  connections = 0;
  lines = 0;

  constructor(t: TestContext, path?: string) {
    this.path = path ?? join(directory(t), "audit.sock");
    this.#server = createServer((socket) => this.#serve(socket));
    cleanup(t, () => this.close());
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.path, resolve));
    return this;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #serve(socket: Socket): void {
    const connection = ++this.connections;
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    let text = "";
    let taken = 0;
    socket.on("data", (chunk: Buffer) => {
      const room = this.cutAfter(connection) - taken;
      taken += chunk.length;
      text += chunk.subarray(0, Math.max(0, room)).toString("utf8");
      const lines = text.split("\n");
      text = lines.pop() as string;
      const goesOn = lines.every((line) => this.#line(socket, line, connection));
      if (!goesOn || chunk.length >= room) socket.destroy();
    });
  }

  #line(socket: Socket, line: string, connection: number): boolean {
    if (line.startsWith('{"hello"')) {
      this.write(socket, this.hello, connection);
      return true;
    }
    this.lines++;
    const scripted = this.script(line, this.lines, connection);
    if (scripted === null) return false;
    this.write(socket, scripted ?? this.record(line), connection);
    return true;
  }

  record(line: string): string {
    const { id } = JSON.parse(line) as { id: string };
    const known = this.#ids.get(id);
    if (known !== undefined) {
      return this.log[known]?.line === line
        ? `{"ok":{"seq":${known},"duplicate":true}}\n`
        : '{"error":{"kind":"conflict","message":"the id was used for other content"}}\n';
    }
    const seq = this.log.push({ id, line }) - 1;
    this.#ids.set(id, seq);
    return `{"ok":{"seq":${seq}}}\n`;
  }
}

const cleanups = new WeakMap<TestContext, (() => unknown)[]>();

/** What a test made is ended in reverse: a directory goes after those that write into it. */
export function cleanup(t: TestContext, end: () => unknown): void {
  const known = cleanups.get(t);
  if (known !== undefined) return void known.push(end);
  const ends = [end];
  cleanups.set(t, ends);
  t.after(async () => {
    for (const one of ends.reverse()) await one();
  });
}

export function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "auditctl-node-"));
  cleanup(t, () => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function client(t: TestContext, options: ClientOptions): AuditClient {
  const made = new AuditClient({ timeout: 20_000, maxBackoff: 5, ...options });
  cleanup(t, () => made.close({ timeout: 0 }));
  return made;
}

export async function collector(t: TestContext): Promise<FakeCollector> {
  return new FakeCollector(t).listen();
}

export function events(count: number): { event_type: string; target: string }[] {
  return Array.from({ length: count }, (_, at) => ({ event_type: "test", target: String(at) }));
}

/** The targets in the log, in its order. */
export function targets(fake: FakeCollector): string[] {
  return fake.log.map(({ line }) => (JSON.parse(line) as { target: string }).target);
}
