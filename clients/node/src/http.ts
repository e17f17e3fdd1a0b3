import { readFileSync, statSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { AuditError } from "./errors.js";
import { withId } from "./event.js";
import { parse } from "./socket.js";
import { type Answer, errorOf, type Listener, messageOf, type Parcel, seqOf, type Transport } from "./transport.js";
import { AGENT } from "./version.js";

/**
 * Of up to 1,000 lines each is told of by itself. Fewer, because those that are refused for the rate are told
 * when *all* of them may come again.
 */
const MAX_BATCH = 256;
const MAX_BATCH_BYTES = 1 << 20;
/** A page of a query is at most about 1 MiB of records; groups are bounded, too. */
const MAX_ANSWER_BYTES = 32 << 20;
const MAX_TOKEN_BYTES = 4_096;

export interface HttpOptions {
  url: string;
  tokenFile?: string | undefined;
  tokenEnv?: string | undefined;
  caFile?: string | undefined;
  allowPlainHttp: boolean;
  answerTimeout: number;
}

export interface HttpRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
  timeout?: number | undefined;
}

export interface HttpAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** Requests to one collector. It follows no redirect: that could hand the token to somebody else. */
export class HttpCaller {
  readonly base: URL;
  readonly #options: HttpOptions;
  readonly #agent: http.Agent;
  #token: string | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
    try {
      this.base = new URL(options.url);
    } catch {
      throw new AuditError("usage", "url: not a URL");
    }
    const { protocol, username, password, hostname } = this.base;
    if (protocol !== "http:" && protocol !== "https:") {
      throw new AuditError("usage", `url: ${protocol} is neither http: nor https:`);
    }
    if (username !== "" || password !== "") throw new AuditError("usage", "url: a token goes into tokenFile, not into the URL");
    const hasToken = options.tokenFile !== undefined || options.tokenEnv !== undefined;
    if (hasToken && protocol === "http:" && !isLoopback(hostname) && !options.allowPlainHttp) {
      throw new AuditError(
        "usage",
        `url: a token would cross the network to ${hostname} in the clear; use https, or set allowPlainHttp where the way is private`,
      );
    }
    const shared = { keepAlive: true, maxSockets: 4 };
    if (protocol === "https:") {
      const ca = options.caFile === undefined ? {} : { ca: readOption("caFile", options.caFile) };
      this.#agent = new https.Agent({ ...shared, rejectUnauthorized: true, ...ca });
    } else {
      this.#agent = new http.Agent(shared);
    }
    this.#token = this.#readToken();
  }

  get where(): string {
    return this.base.origin;
  }

  /** One request; once more if the token was replaced meanwhile. */
  async call(asked: HttpRequest): Promise<HttpAnswer> {
    const used = this.#token;
    const answer = await this.#once(asked, used);
    if (answer.status !== 401 || used === undefined) return answer;
    let token: string | undefined;
    try {
      token = this.#readToken();
    } catch {
      return answer;
    }
    // Not with the newest: another request may have read that meanwhile.
    if (token === used) return answer;
    this.#token = token;
    return this.#once(asked, token);
  }

  #once(
    { method, path, headers, body, signal, timeout = this.#options.answerTimeout }: HttpRequest,
    token: string | undefined,
  ): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      // A base with a path is a collector behind a proxy.
      const target = new URL(this.base.pathname.replace(/\/$/, "") + path, this.base);
      let sent = false;
      const request = (target.protocol === "https:" ? https : http).request(target, {
        method,
        agent: this.#agent,
        ...(signal === undefined ? {} : { signal }),
        headers: {
          "user-agent": AGENT,
          ...headers,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
        },
      });
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeout} ms`)), timeout);
      const failed = (error: Error): void => {
        clearTimeout(timer);
        const kind = sent ? "lost" : isTls(error) ? "tls" : "unreachable";
        reject(new AuditError(kind, `the collector at ${this.where} cannot be reached: ${error.message}`, { cause: error }));
      };
      request.on("socket", (socket) => {
        const ready = target.protocol === "https:" ? "secureConnect" : "connect";
        if (!request.reusedSocket) socket.once(ready, () => (sent = true));
        else sent = true;
      });
      request.on("error", failed);
      request.on("response", (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on("data", (part: Buffer) => {
          bytes += part.length;
          if (bytes > MAX_ANSWER_BYTES) request.destroy(new Error("an answer without end"));
          else parts.push(part);
        });
        response.on("error", failed);
        response.on("close", () => {
          if (!response.complete) failed(new Error("the answer ended early"));
        });
        response.on("end", () => {
          if (!response.complete) return;
          clearTimeout(timer);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString("utf8") });
        });
      });
      request.end(body);
    });
  }

  #readToken(): string | undefined {
    const { tokenFile, tokenEnv } = this.#options;
    let text: string | undefined;
    if (tokenFile !== undefined) {
      text = readOption("tokenFile", tokenFile).split("\n", 1)[0];
      if ((statSync(tokenFile).mode & 0o007) !== 0) {
        throw new AuditError("usage", `tokenFile: others can read ${tokenFile}; make it 0600, and revoke the token`);
      }
    } else if (tokenEnv !== undefined) {
      text = process.env[tokenEnv];
    } else {
      return undefined;
    }
    const token = (text ?? "").trim();
    if (token === "" || token.length > MAX_TOKEN_BYTES || /[^\x21-\x7e]/.test(token)) {
      throw new AuditError("usage", `there is no token in ${tokenFile ?? `the environment's ${tokenEnv}`}`);
    }
    return token;
  }

  close(): void {
    this.#agent.destroy();
  }
}

function readOption(name: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new AuditError("usage", `${name}: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether it is the server's certificate or name. Any other trouble with TLS may pass. */
function isTls(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return /^(CERT_|CRL_|ERR_TLS_CERT_|ERROR_IN_C|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH_)/.test(
    code,
  );
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127(\.\d+){3}$/.test(host);
}

/** What an answer that is no 2xx says, whoever said it: the collector or a proxy before it. */
export function refusalOf(answer: HttpAnswer): { kind: string; message: string; retryAfterMs: number | undefined } {
  const told = errorOf(parse(answer.body)?.error);
  const retryAfterMs = told?.retryAfterMs ?? retryAfterOf(answer.headers, Date.now());
  if (told !== undefined) return { ...told, retryAfterMs };
  const passing = answer.status === 408 || answer.status === 429 || answer.status >= 500;
  const message = `HTTP status ${answer.status}, and not a collector's answer`;
  const kind = answer.status === 413 ? "too_large" : passing ? "unreachable" : "protocol";
  return { kind, message, retryAfterMs };
}

/** `Retry-After`: seconds, or a date, which is one of the clock that the answer's `Date` is of. */
export function retryAfterOf(headers: http.IncomingHttpHeaders, now: number): number | undefined {
  const text = headers["retry-after"]?.trim() ?? "";
  const wait = /^\d/.test(text) ? Number(text) * 1_000 : dateOf(text) - (dateOf(headers.date) || now);
  return Number.isFinite(wait) && wait > 0 ? wait : undefined;
}

/** No other form than HTTP's own: `Date.parse` makes something of much. */
function dateOf(text: string | undefined): number {
  return text !== undefined && / GMT$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** Events in batches, one request at a time: so their order stays, and what comes meanwhile is the next batch. */
export class HttpTransport<P extends Parcel> implements Transport<P> {
  readonly #caller: HttpCaller;
  readonly #listener: Listener<P>;
  #busy = false;
  readonly #closed = new AbortController();
  #most = MAX_BATCH;
  #mostBytes = MAX_BATCH_BYTES;
  readonly isUp = true;
  /** There is no hello over HTTP: an older collector refuses the id as a key that it does not know. */
  knowsIds = true;

  constructor(caller: HttpCaller, listener: Listener<P>) {
    this.#caller = caller;
    this.#listener = listener;
  }

  get where(): string {
    return this.#caller.where;
  }

  get room(): { events: number; bytes: number } {
    return this.#busy ? { events: 0, bytes: 0 } : { events: this.#most, bytes: this.#mostBytes };
  }

  async connect(): Promise<void> {}

  send(parcels: P[]): void {
    this.#busy = true;
    void this.#post(parcels).then((answers) => {
      this.#busy = false;
      parcels.forEach((parcel, at) => {
        this.#listener.answered(parcel, answers[at] as Answer);
      });
      this.#listener.changed();
    });
  }

  async #post(parcels: P[]): Promise<Answer[]> {
    const lines = parcels.map(({ encoded }) => (this.knowsIds ? withId(encoded) : encoded.body));
    const headers: Record<string, string> = { accept: "application/json", "content-type": "application/x-ndjson" };
    const only = parcels.length === 1 ? parcels[0] : undefined;
    if (only !== undefined) {
      headers["content-type"] = "application/json";
      // Other characters no header can have, or they mean something there; the id is in the body as well.
      if (this.knowsIds && /^[\w.~:/+=@-]+$/.test(only.encoded.id)) headers["idempotency-key"] = only.encoded.id;
    }
    const signal = this.#closed.signal;
    try {
      const answer = await this.#caller.call({ method: "POST", path: "/v1/events", headers, body: lines.join("\n"), signal });
      const told = only === undefined ? this.#readMany(answer, parcels) : [this.#readOne(answer)];
      this.#most = Math.min(MAX_BATCH, this.#most * 2);
      return told;
    } catch (error) {
      const { kind, message } = error as AuditError;
      // Fewer, so that some are answered before the next loss; and it may be another collector by then.
      this.#most = Math.max(1, this.#most >> 2);
      this.knowsIds = true;
      return parcels.map(() => ({ kind, message, unsure: kind === "lost" }));
    }
  }

  close(): void {
    this.#closed.abort();
    this.#caller.close();
  }

  #readOne(answer: HttpAnswer): Answer {
    const document = parse(answer.body) as { seq?: unknown; duplicate?: unknown } | undefined;
    const seq = seqOf(document?.seq);
    if ((answer.status === 200 || answer.status === 201) && seq !== undefined) {
      return { seq, duplicate: document?.duplicate === true };
    }
    const refused = this.#refusal(answer);
    const without = this.#withoutIds(refused);
    if (without !== refused) this.knowsIds = false;
    return without;
  }

  #refusal(answer: HttpAnswer): Answer {
    if (answer.status >= 200 && answer.status < 300) {
      return { kind: "protocol", message: `the answer of ${this.where} is not a collector's`, unsure: true };
    }
    const refused = refusalOf(answer);
    return { ...refused, unsure: answer.status >= 500 && refused.kind === "unreachable" };
  }

  /** An older collector refuses the id; nothing was recorded, and it goes on without. */
  #withoutIds(answer: Answer): Answer {
    if (!this.knowsIds || !("kind" in answer)) return answer;
    if (answer.kind !== "invalid" || !answer.message.startsWith("unknown key `id`")) return answer;
    return { kind: "busy", message: "the collector knows no ids", retryAfterMs: 0 };
  }

  #readMany(answer: HttpAnswer, parcels: P[]): Answer[] {
    const document = parse(answer.body) as { results?: unknown; stopped?: { error?: unknown } } | undefined;
    const results = Array.isArray(document?.results) ? document.results : undefined;
    if (results === undefined) {
      const refused = this.#refusal(answer);
      if ("kind" in refused && refused.kind === "too_large") {
        // It takes smaller bodies than most do. One event alone is told by itself.
        this.#mostBytes = Math.max(1, this.#mostBytes >> 1);
        return parcels.map(() => ({ ...refused, kind: "busy", retryAfterMs: 0 }));
      }
      return parcels.map(() => refused);
    }
    if (results.length > parcels.length) {
      const message = `${this.where} answered more events than it was sent`;
      return parcels.map(() => ({ kind: "protocol", message, unsure: true }));
    }
    const limited = results.filter((result) => errorOf(result?.error)?.kind === "rate_limited").length;
    const answers = parcels.map((_, at) => this.#result(results[at], limited, document?.stopped?.error));
    const without = answers.map((one) => this.#withoutIds(one));
    if (without.some((one, at) => one !== answers[at])) this.knowsIds = false;
    return without;
  }

  #result(result: unknown, limited: number, stopped: unknown): Answer {
    const told = result as { seq?: unknown; duplicate?: unknown; error?: unknown } | undefined;
    const error = errorOf(told?.error);
    // Over HTTP each is told when all of them may come again.
    if (error !== undefined) return { ...error, events: Math.max(1, limited) };
    const seq = seqOf(told?.seq);
    if (seq !== undefined) return { seq, duplicate: told?.duplicate === true };
    if (result !== undefined) return { kind: "protocol", message: "a result that cannot be read", unsure: true };
    // The body was not read so far.
    const why = errorOf(stopped) ?? { kind: "lost", message: "an event without its result", retryAfterMs: undefined };
    return ["malformed", "too_large", "timeout"].includes(why.kind) ? { ...why, kind: "lost" } : why;
  }
}
