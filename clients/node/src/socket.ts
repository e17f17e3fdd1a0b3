import { createConnection, type Socket } from "node:net";
import { AuditError } from "./errors.js";
import { withId } from "./event.js";
import { LineReader } from "./lines.js";
import { type Answer, errorOf, type Listener, messageOf, type Parcel, printable, seqOf, type Transport } from "./transport.js";
import { judge } from "./trust.js";
import { HELLO } from "./version.js";

/** An answer about an event is far shorter. */
const MAX_ANSWER_BYTES = 64 << 10;

const BAD_LINE = { too_long: "an answer without end", not_utf8: "an answer that is not UTF-8" };

export interface SocketOptions {
  path: string;
  trustedUids: readonly number[];
  connectTimeout: number;
  answerTimeout: number;
  maxInFlight: number;
  maxInFlightBytes: number;
}

/** Who listens there, as far as it says. */
export interface Hello {
  protocol: number;
  features: ReadonlySet<string>;
}

const NO_HELLO = new Set(["forbidden", "too_many_connections", "busy", "timeout", "closed", "failed"]);

/** Opens the socket and says hello; whatever comes afterwards is the caller's. */
export async function open(
  options: Pick<SocketOptions, "path" | "trustedUids" | "connectTimeout">,
  signal?: AbortSignal,
): Promise<{ socket: Socket; lines: LineReader; hello: Hello }> {
  const { path } = options;
  const unreachable = (error: unknown): AuditError =>
    error instanceof AuditError
      ? error
      : new AuditError("unreachable", `no collector answers at ${path}: ${messageOf(error)}`, { cause: error });
  try {
    await judge(path, options.trustedUids);
  } catch (error) {
    throw unreachable(error);
  }
  const socket = createConnection({ path });
  const lines = new LineReader();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(new Error(`no answer within ${options.connectTimeout} ms`)), options.connectTimeout);
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      socket.removeAllListeners();
    };
    const fail = (error: unknown): void => {
      done();
      // Whatever it says from now on concerns nobody.
      socket.on("error", () => {});
      socket.destroy();
      reject(unreachable(error));
    };
    const aborted = (): void => fail(new AuditError("cancelled", "the caller gave up", { cause: signal?.reason }));
    signal?.addEventListener("abort", aborted);
    if (signal?.aborted) return aborted();
    socket.once("connect", () => socket.write(HELLO));
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("it closed the connection before it answered")));
    socket.on("data", (chunk: Buffer) => {
      let found: Hello | undefined;
      const read = lines.push(
        chunk,
        () => MAX_ANSWER_BYTES,
        (line) => {
          try {
            found = helloOf(line);
          } catch (error) {
            fail(error);
          }
          return false;
        },
      );
      if (read === "too_long" || read === "not_utf8")
        return fail(new AuditError("protocol", `${path} does not speak the protocol: ${BAD_LINE[read]}`));
      if (found === undefined) return;
      // Nothing else was asked.
      if (chunk[chunk.length - 1] !== 0x0a || chunk.indexOf(0x0a) !== chunk.length - 1) {
        return fail(new AuditError("protocol", `${path} does not speak the protocol: more answers than questions`));
      }
      done();
      resolve({ socket, lines, hello: found });
    });
  });
}

function helloOf(line: string): Hello {
  const answer = parse(line);
  const hello = (answer?.ok as { hello?: unknown } | undefined)?.hello;
  if (typeof hello === "object" && hello !== null) {
    const { protocol, features } = hello as { protocol?: unknown; features?: unknown };
    const named = Array.isArray(features) ? features.filter((name): name is string => typeof name === "string") : [];
    return { protocol: seqOf(protocol) ?? 1, features: new Set(named) };
  }
  const error = errorOf(answer?.error);
  if (error === undefined) throw new AuditError("protocol", `no answer of a collector: ${printable(line.slice(0, 80))}`);
  // It lets nobody in, or not now.
  if (NO_HELLO.has(error.kind)) throw new AuditError(error.kind, error.message, { retryAfterMs: error.retryAfterMs });
  // A collector from before there was a hello takes it for an event.
  return { protocol: 0, features: new Set() };
}

export function parse(line: string): { ok?: unknown; error?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** One connection; events are pipelined, and answered in the order in which they were sent. */
export class SocketTransport<P extends Parcel> implements Transport<P> {
  readonly #options: SocketOptions;
  readonly #listener: Listener<P>;
  #socket: Socket | undefined;
  #lines = new LineReader();
  #hello: Hello = { protocol: 0, features: new Set() };
  /** Sent and not answered, oldest first from `#head`. */
  #inFlight: P[] = [];
  #head = 0;
  #bytes = 0;
  /** Events in flight at most: few after a connection was lost, so that some are answered before the next loss. */
  #window: number;
  #answers = 0;
  #watch: NodeJS.Timeout | undefined;
  /** When the last answer came, or the first event was sent after a silence. */
  #heard = 0;

  constructor(options: SocketOptions, listener: Listener<P>) {
    this.#options = options;
    this.#listener = listener;
    this.#window = options.maxInFlight;
  }

  get where(): string {
    return this.#options.path;
  }

  get isUp(): boolean {
    return this.#socket !== undefined;
  }

  get knowsIds(): boolean {
    return this.#hello.features.has("ids");
  }

  get room(): { events: number; bytes: number } {
    return { events: this.#window - this.#count, bytes: this.#options.maxInFlightBytes - this.#bytes };
  }

  get #count(): number {
    return this.#inFlight.length - this.#head;
  }

  async connect(): Promise<void> {
    const { socket, lines, hello } = await open(this.#options);
    this.#socket = socket;
    this.#lines = lines;
    this.#hello = hello;
    this.#answers = 0;
    socket.on("data", (chunk: Buffer) => this.#receive(socket, chunk));
    socket.on("error", (error) => this.#down(socket, error.message));
    socket.on("close", () => this.#down(socket, "it closed the connection"));
    // An idle connection keeps no process alive.
    socket.unref();
  }

  send(parcels: P[]): void {
    const socket = this.#socket;
    if (socket === undefined) throw new AuditError("lost", "not connected");
    if (this.#count === 0) {
      socket.ref();
      this.#heard = performance.now();
      this.#watch ??= setInterval(() => this.#look(socket), Math.max(10, this.#options.answerTimeout / 4)).unref();
    }
    const ids = this.knowsIds;
    let text = "";
    for (const parcel of parcels) {
      this.#inFlight.push(parcel);
      this.#bytes += parcel.bytes;
      text += `${ids ? withId(parcel.encoded) : parcel.encoded.body}\n`;
    }
    socket.write(text);
  }

  close(): void {
    this.#socket?.end();
    if (this.#socket !== undefined) this.#down(this.#socket, "the client was closed");
  }

  #receive(socket: Socket, chunk: Buffer): void {
    if (socket !== this.#socket) return;
    const read = this.#lines.push(
      chunk,
      () => MAX_ANSWER_BYTES,
      (line) => {
        this.#answer(socket, line);
        return socket === this.#socket;
      },
    );
    if (read === "too_long" || read === "not_utf8") this.#down(socket, BAD_LINE[read], "protocol");
    else if (read === "ok") this.#listener.changed();
  }

  #answer(socket: Socket, line: string): void {
    const answer = parse(line);
    const ok = answer?.ok as { seq?: unknown; duplicate?: unknown } | undefined;
    const seq = seqOf(ok?.seq);
    const error = errorOf(answer?.error);
    if ((seq === undefined) === (error === undefined)) {
      return this.#down(socket, `an answer that cannot be read: ${printable(line.slice(0, 80))}`, "protocol");
    }
    const parcel = this.#next();
    if (parcel === undefined) {
      // It says why it is about to hang up, or it is no collector.
      const why = error === undefined ? "an answer to nothing" : `${error.kind}: ${error.message}`;
      return this.#down(socket, why, error === undefined ? "protocol" : "lost");
    }
    this.#heard = performance.now();
    this.#answers++;
    this.#window = Math.min(this.#options.maxInFlight, this.#window + 1 + (this.#window >> 3));
    if (this.#count === 0) socket.unref();
    const told: Answer = seq === undefined ? (error as Answer) : { seq, duplicate: ok?.duplicate === true };
    this.#listener.answered(parcel, told);
  }

  #next(): P | undefined {
    const parcel = this.#inFlight[this.#head];
    if (parcel === undefined) return undefined;
    this.#head++;
    this.#bytes -= parcel.bytes;
    if (this.#head === this.#inFlight.length) {
      this.#inFlight = [];
      this.#head = 0;
    } else if (this.#head >= 1_024 && this.#head * 2 > this.#inFlight.length) {
      this.#inFlight = this.#inFlight.slice(this.#head);
      this.#head = 0;
    }
    return parcel;
  }

  #look(socket: Socket): void {
    const silent = performance.now() - this.#heard;
    if (this.#count > 0 && silent > this.#options.answerTimeout) {
      this.#down(socket, `no answer within ${this.#options.answerTimeout} ms`);
    }
  }

  #down(socket: Socket, why: string, kind = "lost"): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    clearInterval(this.#watch);
    this.#watch = undefined;
    socket.destroy();
    const lost = this.#inFlight.slice(this.#head);
    if (lost.length > 0) this.#window = this.#answers === 0 ? 1 : Math.min(this.#window, 8);
    this.#inFlight = [];
    this.#head = 0;
    this.#bytes = 0;
    const message = `the collector at ${this.where} went away before it answered: ${why}`;
    for (const parcel of lost) this.#listener.answered(parcel, { kind, message, unsure: true });
    this.#listener.changed();
  }
}
