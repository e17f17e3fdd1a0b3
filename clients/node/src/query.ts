import type { Socket } from "node:net";
import { AuditError } from "./errors.js";
import { type HttpCaller, refusalOf } from "./http.js";
import type { LineReader } from "./lines.js";
import { open, parse } from "./socket.js";
import { errorOf, messageOf } from "./transport.js";

type Texts = string | string[];

/** Which records; each key as the option of `auditctl query` of that name. */
export interface Filter {
  type?: Texts;
  actor?: Texts;
  source?: Texts;
  target?: Texts;
  outcome?: Texts;
  where?: Texts;
  grep?: Texts;
  since?: string;
  until?: string;
  seq?: string;
  order?: "newest" | "oldest";
  /** So many records in all; every one that matches unless given. */
  limit?: number;
  count?: boolean;
  group_by?: string;
  top?: number;
}

/** A record, as the log has it. Numbers beyond 2^53 in `details` lose digits here. */
export interface AuditRecord {
  seq: number;
  timestamp: string;
  event_type: string;
  id?: string;
  actor?: string;
  source?: string;
  target?: string;
  outcome?: string;
  details?: Record<string, unknown>;
  origin?: Record<string, unknown>;
  recorded_at?: string;
}

/** What the collector answers to a query; docs/queries.md has every key. */
export interface QueryAnswer {
  records?: AuditRecord[];
  count?: number;
  groups?: Record<string, unknown>[];
  more?: boolean;
  next?: Record<string, unknown>;
  partial?: boolean;
  [key: string]: unknown;
}

export interface AskOptions {
  signal?: AbortSignal;
  /** For each page, in milliseconds. 60,000. */
  timeout?: number;
}

export interface Asker {
  ask(filter: Filter, options: AskOptions): Promise<QueryAnswer>;
  close(): void;
}

const PAGE_TIMEOUT = 60_000;
/** A page is about 1 MiB of records, groups at most 16 MiB. */
const MAX_PAGE_BYTES = 32 << 20;
const PAGE = 1_000;

/** Page after page, until there are no more, or as many records as were wanted. */
export async function* pages(asker: Asker, filter: Filter, options: AskOptions): AsyncGenerator<QueryAnswer, void, void> {
  let left = filter.limit ?? Number.POSITIVE_INFINITY;
  let asked: Filter = filter;
  while (left > 0) {
    const page = await asker.ask({ ...asked, limit: Math.min(left, PAGE) }, options);
    yield page;
    left -= page.records?.length ?? 0;
    if (page.more !== true || page.next === undefined) return;
    if (JSON.stringify({ ...asked, ...page.next }) === JSON.stringify(asked)) {
      throw new AuditError("protocol", "the collector answers the same page again and again");
    }
    asked = { ...asked, ...(page.next as Filter) };
  }
}

/** Asks over the socket, on a connection of its own: events do not wait behind queries. */
export class SocketAsker implements Asker {
  readonly #options: { path: string; connectTimeout: number; trustedUids: readonly number[] };
  #open: { socket: Socket; lines: LineReader } | undefined;

  constructor(options: { path: string; connectTimeout: number; trustedUids: readonly number[] }) {
    this.#options = options;
  }

  async ask(filter: Filter, { signal, timeout = PAGE_TIMEOUT }: AskOptions): Promise<QueryAnswer> {
    if (signal?.aborted) throw new AuditError("cancelled", "the caller gave up", { cause: signal.reason });
    this.#open ??= await open(this.#options, signal);
    const { socket, lines } = this.#open;
    const line = await this.#line(socket, lines, JSON.stringify({ query: filter }), signal, timeout);
    const answer = parse(line);
    const query = (answer?.ok as { query?: unknown } | undefined)?.query;
    if (typeof query === "object" && query !== null) return checked(query);
    const error = errorOf(answer?.error);
    if (error === undefined) throw new AuditError("protocol", "an answer that cannot be read");
    throw new AuditError(error.kind, error.message, { retryAfterMs: error.retryAfterMs });
  }

  #line(socket: Socket, lines: LineReader, request: string, signal: AbortSignal | undefined, timeout: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        socket.removeAllListeners();
        socket.on("error", () => {});
      };
      const fail = (kind: string, message: string, cause?: unknown): void => {
        end();
        this.close();
        reject(new AuditError(kind, message, { cause }));
      };
      const aborted = (): void => fail("cancelled", "the caller gave up", signal?.reason);
      const timer = setTimeout(() => fail("timeout", `no answer to the query within ${timeout} ms`), timeout);
      signal?.addEventListener("abort", aborted);
      socket.on("error", (error) => fail("lost", `the collector went away: ${messageOf(error)}`, error));
      socket.on("close", () => fail("lost", "the collector closed the connection"));
      socket.on("data", (chunk: Buffer) => {
        let found: string | undefined;
        const read = lines.push(
          chunk,
          () => MAX_PAGE_BYTES,
          (line) => {
            found = line;
            return false;
          },
        );
        if (read === "too_long" || read === "not_utf8") return fail("protocol", "an answer without end, or not UTF-8");
        if (found === undefined) return;
        end();
        resolve(found);
      });
      socket.write(`${request}\n`);
    });
  }

  close(): void {
    this.#open?.socket.destroy();
    this.#open = undefined;
  }
}

/** Asks over HTTP. */
export class HttpAsker implements Asker {
  readonly #caller: HttpCaller;

  constructor(caller: HttpCaller) {
    this.#caller = caller;
  }

  async ask(filter: Filter, { signal, timeout = PAGE_TIMEOUT }: AskOptions): Promise<QueryAnswer> {
    if (signal?.aborted) throw new AuditError("cancelled", "the caller gave up", { cause: signal.reason });
    const asked = new URLSearchParams();
    for (const [key, value] of Object.entries(filter)) {
      if (value === undefined) continue;
      for (const one of Array.isArray(value) ? value : [value]) asked.append(key, String(one));
    }
    const answer = await this.#call(`/v1/events?${asked}`, signal, timeout);
    if (answer.status !== 200) {
      const { kind, message, retryAfterMs } = refusalOf(answer);
      throw new AuditError(kind, message, { retryAfterMs });
    }
    const document = parse(answer.body);
    if (document === undefined) throw new AuditError("protocol", "an answer that cannot be read");
    return checked(document);
  }

  async #call(path: string, signal: AbortSignal | undefined, timeout: number) {
    try {
      return await this.#caller.call({ method: "GET", path, headers: { accept: "application/json" }, signal, timeout });
    } catch (error) {
      if (signal?.aborted) throw new AuditError("cancelled", "the caller gave up", { cause: signal.reason });
      throw error;
    }
  }

  close(): void {}
}

function checked(document: object): QueryAnswer {
  const { records } = document as { records?: unknown };
  if (records !== undefined && !Array.isArray(records)) throw new AuditError("protocol", "an answer that cannot be read");
  return document as QueryAnswer;
}
