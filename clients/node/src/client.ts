import { type Audited, type AuditedOptions, audited } from "./audited.js";
import { AuditError, verdictOf } from "./errors.js";
import { type AuditEvent, type Encoded, encode, MAX_DEPTH, makeId } from "./event.js";
import { HttpCaller, HttpTransport } from "./http.js";
import { Outbox, Pending, type Receipt } from "./outbox.js";
import { type AuditRecord, type Filter, HttpAsker, pages, type QueryAnswer, SocketAsker } from "./query.js";
import { Redactor } from "./redact.js";
import { SocketTransport } from "./socket.js";
import { Spool, type SpoolOptions, type SpoolStatus } from "./spool.js";

export interface ClientOptions {
  /** The collector's Unix socket. Either this or `url`. */
  socket?: string;
  /** The collector's HTTP address, such as `https://audit.example:9750`. */
  url?: string;
  /** The file that holds the token for HTTP, on its first line. Read again when a token is not accepted. */
  tokenFile?: string;
  /** The environment variable that holds it. */
  tokenEnv?: string;
  /** Certificates of the authorities that may sign the collector's, in PEM, in place of the system's. */
  caFile?: string;
  /** Whether a token may cross a network in the clear, because the way there is private. */
  allowPlainHttp?: boolean;
  /** Users whose socket is trusted, beside root, this user, and the owner of its directory. */
  trustedUids?: number[];
  /** The `source` of events that name none. */
  source?: string;
  /** Values that never leave the process, as in the collector's own setting `redact`. */
  redact?: readonly string[];
  /** How long `record` may take, over all tries, in milliseconds. 30,000. */
  timeout?: number;
  /** How long to wait for a connection, in milliseconds. 5,000. */
  connectTimeout?: number;
  /** How long a connection may leave everything unanswered, in milliseconds. 15,000. */
  answerTimeout?: number;
  /** The longest pause between two tries, in milliseconds. 5,000. */
  maxBackoff?: number;
  /** Events sent and not answered, over the socket. 1,024. */
  maxInFlight?: number;
  /** Bytes of them. 4 MiB. */
  maxInFlightBytes?: number;
  /** Events that may wait in all; more are refused with `overflow`. 65,536. */
  maxPending?: number;
  /** Bytes of them; one event alone may be larger. 64 MiB. */
  maxPendingBytes?: number;
  /** Where {@link AuditClient.spool} keeps events while the collector is away. */
  spool?: SpoolOptions;
}

export interface RecordOptions {
  /** Ends the wait. An event that was sent may be recorded all the same. */
  signal?: AbortSignal | undefined;
  /** In place of the client's own `timeout`, in milliseconds. */
  timeout?: number | undefined;
}

/** What a client has at the moment. */
export interface ClientStatus {
  /** Events whose callers wait. */
  pending: number;
  /** Tries after the first, since the client was made. */
  retries: number;
  /** Why the last try failed, if one did. */
  lastError: AuditError | undefined;
  /** Why the spool was not emptied when `drainEvery` last tried. */
  lastDrain: AuditError | undefined;
}

const DEFAULTS = {
  timeout: 30_000,
  connectTimeout: 5_000,
  answerTimeout: 15_000,
  maxBackoff: 5_000,
  maxInFlight: 1_024,
  maxInFlightBytes: 4 << 20,
  maxPending: 65_536,
  maxPendingBytes: 64 << 20,
};
/** Longer than this no timer of Node's can be. */
const MAX_TIMEOUT = 2 ** 31 - 1;
const MOST: Partial<Record<keyof typeof DEFAULTS, number>> = { maxInFlight: 16_384 };
const LEAST: Partial<Record<keyof typeof DEFAULTS, number>> = { maxInFlight: 1, maxInFlightBytes: 1, maxPending: 1, maxPendingBytes: 1 };

/** Sends events to one collector. One for each process is enough; it may be shared freely. */
export class AuditClient {
  readonly #options: ClientOptions & typeof DEFAULTS;
  readonly #redactor: Redactor;
  readonly #outbox: Outbox;
  readonly #http: HttpCaller | undefined;
  readonly #spool: Spool | undefined;
  readonly #pending = new Set<Pending>();
  #pendingBytes = 0;
  readonly #idle = new Set<() => void>();
  readonly #drains: NodeJS.Timeout | undefined;
  #drainTrouble: AuditError | undefined;
  #order = 0;
  #closed: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    if ((options.socket === undefined) === (options.url === undefined)) {
      throw new AuditError("usage", "give either socket or url");
    }
    this.#options = { ...DEFAULTS, ...defined(options) };
    for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
      const value = this.#options[name];
      const [least, most] = [LEAST[name] ?? 0, MOST[name] ?? MAX_TIMEOUT];
      if (typeof value !== "number" || !(value >= least && value <= most)) {
        throw new AuditError("usage", `${name}: ${String(value)} is not a number from ${least} to ${most}`);
      }
    }
    this.#redactor = new Redactor(options.redact ?? []);
    this.#spool = options.spool === undefined ? undefined : new Spool(options.spool);
    const drainEvery = options.spool?.drainEvery;
    if (drainEvery !== undefined) {
      if (!(drainEvery >= 1 && drainEvery <= MAX_TIMEOUT))
        throw new AuditError("usage", "spool.drainEvery: a number of milliseconds is expected");
      this.#drains = setInterval(() => void this.#drainQuietly(), drainEvery).unref();
    }
    this.#outbox = new Outbox(this.#options.maxBackoff);
    if (options.url !== undefined) {
      this.#http = new HttpCaller({ ...this.#options, url: options.url, allowPlainHttp: options.allowPlainHttp === true });
      this.#outbox.use(new HttpTransport(this.#http, this.#outbox));
    } else {
      const path = options.socket as string;
      this.#outbox.use(new SocketTransport({ ...this.#options, path, trustedUids: options.trustedUids ?? [] }, this.#outbox));
    }
  }

  /** Records an event, and resolves once it is durable in the log. Rejects with an {@link AuditError}. */
  async record(event: AuditEvent, options: RecordOptions = {}): Promise<Receipt> {
    return this.#send(this.#encode(event), false, options);
  }

  /**
   * Writes an event into the spool, and resolves once it is on disk. It goes to the collector with the next
   * {@link drain}. Its `timestamp` is now, unless it has one.
   */
  async spool(event: AuditEvent): Promise<{ id: string }> {
    const encoded = this.#encode(event, new Date().toISOString());
    await this.#needsSpool().append(encoded);
    return { id: encoded.id };
  }

  /**
   * Records an event, or spools it when that fails for a reason that passes. So it resolves once the event is
   * durable, here or there, and rejects if the collector refuses it for good, or the spool is full.
   */
  async recordOrSpool(event: AuditEvent, options: RecordOptions = {}): Promise<Receipt | { id: string; spooled: true }> {
    const spool = this.#needsSpool();
    // The same bytes go both ways, so that it is recorded once.
    const encoded = this.#encode(event, new Date().toISOString());
    try {
      return await this.#send(encoded, false, options);
    } catch (error) {
      const { kind } = error as AuditError;
      if (verdictOf(kind) === "refused" || kind === "cancelled") throw error;
      await spool.append(encoded);
      return { id: encoded.id, spooled: true };
    }
  }

  /**
   * Sends what is in the spool, in order, until it is empty or `timeout` milliseconds (30,000) are over. One
   * at a time drains a spool, also of several processes. Rejects when it ends before the spool is empty.
   */
  async drain(options: RecordOptions = {}): Promise<SpoolStatus> {
    const end = performance.now() + (options.timeout ?? this.#options.timeout);
    const send = (line: Encoded): Promise<Receipt> => this.#send(line, true, { ...options, timeout: Math.max(0, end - performance.now()) });
    return this.#needsSpool().drain(send, end);
  }

  /** What fails is in the status. */
  async #drainQuietly(): Promise<void> {
    try {
      if ((await this.spoolStatus()).events > 0) await this.drain();
      this.#drainTrouble = undefined;
    } catch (error) {
      this.#drainTrouble = error as AuditError;
    }
  }

  /** What is in the spool. */
  async spoolStatus(): Promise<SpoolStatus> {
    return this.#needsSpool().status();
  }

  #encode(event: AuditEvent, timestamp?: string): Encoded {
    return encode(event, this.#redactor, makeId, { source: this.#options.source, timestamp });
  }

  #needsSpool(): Spool {
    if (this.#spool === undefined) throw new AuditError("usage", "the client was made without a spool");
    return this.#spool;
  }

  #send(encoded: Encoded, needsIds: boolean, options: RecordOptions): Promise<Receipt> {
    const { id } = encoded;
    const { signal } = options;
    const timeout = Math.min(options.timeout ?? this.#options.timeout, MAX_TIMEOUT);
    return new Promise<Receipt>((resolve, reject) => {
      if (this.#closed !== undefined) throw new AuditError("closed", "the client was closed", { id });
      if (signal?.aborted) throw new AuditError("cancelled", "the caller gave up", { cause: signal.reason, id });
      const { maxPending, maxPendingBytes } = this.#options;
      if (this.#pending.size >= maxPending) {
        throw new AuditError("overflow", `more than ${maxPending} events wait for the collector`, { id });
      }
      const pending = new Pending(encoded, this.#order++, needsIds, (result) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        this.#pending.delete(pending);
        this.#pendingBytes -= pending.bytes;
        if (this.#pending.size === 0) this.#wakeIdle();
        if (result instanceof AuditError) reject(result);
        else resolve(result);
      });
      if (this.#pending.size > 0 && this.#pendingBytes + pending.bytes > maxPendingBytes) {
        throw new AuditError("overflow", `more than ${maxPendingBytes} bytes of events wait for the collector`, { id });
      }
      // What nobody waits for any more is dropped.
      const aborted = (): void => {
        pending.fail("cancelled", "the caller gave up", signal?.reason);
        this.#outbox.changed();
      };
      const timer = setTimeout(() => {
        pending.expire(`${Math.round(timeout)} ms are over`);
        this.#outbox.changed();
      }, timeout);
      signal?.addEventListener("abort", aborted, { once: true });
      this.#pending.add(pending);
      this.#pendingBytes += pending.bytes;
      this.#outbox.push(pending);
    });
  }

  /**
   * Records many, pipelined, in their order; yields what became of each, in the same order. It takes
   * from `events` no faster than the collector takes them.
   */
  async *recordEach(
    events: Iterable<AuditEvent> | AsyncIterable<AuditEvent>,
    options: RecordOptions = {},
  ): AsyncGenerator<Receipt | AuditError, void, void> {
    const window = 2 * this.#options.maxInFlight;
    const sent: Promise<Receipt | AuditError>[] = [];
    let head = 0;
    for await (const event of events) {
      sent.push(this.record(event, options).catch((error: unknown) => error as AuditError));
      if (sent.length - head < window) continue;
      yield await (sent[head++] as Promise<Receipt | AuditError>);
      if (head >= window) {
        sent.splice(0, head);
        head = 0;
      }
    }
    for (; head < sent.length; head++) yield await (sent[head] as Promise<Receipt | AuditError>);
  }

  /** Asks the log, page by page: every record that matches, or as many as `limit` says. */
  async *query(filter: Filter = {}, options: { signal?: AbortSignal; timeout?: number } = {}): AsyncGenerator<AuditRecord, void, void> {
    const asker = this.#asker();
    try {
      for await (const page of pages(asker, filter, options)) yield* page.records ?? [];
    } finally {
      asker.close();
    }
  }

  /** Asks once, and gives the answer as the collector gives it: for `count`, `group_by`, and what is missing. */
  async ask(filter: Filter, options: { signal?: AbortSignal; timeout?: number } = {}): Promise<QueryAnswer> {
    const asker = this.#asker();
    try {
      return await asker.ask(filter, options);
    } finally {
      asker.close();
    }
  }

  /** Wraps a function so that each call is recorded, with how it ended. */
  audited<Args extends unknown[], Result>(
    options: AuditedOptions<Args, Result>,
    inner: (...args: Args) => Result | Promise<Result>,
  ): Audited<Args, Result> {
    return audited(
      (event) => this.record(event),
      (event) => this.#cleaned(event),
      options,
      inner,
    );
  }

  /** As it would leave the process. */
  #cleaned(event: AuditEvent): AuditEvent {
    try {
      return this.#redactor.clean({ ...event }, MAX_DEPTH) as unknown as AuditEvent;
    } catch {
      // It refers to itself, or the like, which is why it was not recorded.
      return { event_type: event.event_type };
    }
  }

  get status(): ClientStatus {
    return {
      pending: this.#pending.size,
      retries: this.#outbox.retries,
      lastError: this.#outbox.lastTrouble,
      lastDrain: this.#drainTrouble,
    };
  }

  /** Resolves once nobody waits any more; what then became of each event its own caller knows. */
  async flush(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#idle.add(resolve));
  }

  /**
   * Takes no more events, waits for those that are under way, and ends. What is not acknowledged
   * within `timeout` milliseconds (5,000) is rejected: `unconfirmed` or `unreachable`.
   */
  close(options: { timeout?: number } = {}): Promise<void> {
    this.#closed ??= this.#end(options.timeout ?? 5_000);
    return this.#closed;
  }

  async #end(timeout: number): Promise<void> {
    clearInterval(this.#drains);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeout);
    });
    await Promise.race([this.flush(), late]);
    clearTimeout(timer);
    for (const pending of this.#pending) pending.expire("the client was closed");
    this.#outbox.close();
    await this.#spool?.close();
  }

  #asker(): SocketAsker | HttpAsker {
    if (this.#closed !== undefined) throw new AuditError("closed", "the client was closed");
    if (this.#http !== undefined) return new HttpAsker(this.#http);
    const { connectTimeout, trustedUids, socket } = this.#options;
    return new SocketAsker({ path: socket as string, connectTimeout, trustedUids: trustedUids ?? [] });
  }

  #wakeIdle(): void {
    for (const wake of this.#idle) wake();
    this.#idle.clear();
  }
}

/** An option that is there and undefined is one that is not there. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
