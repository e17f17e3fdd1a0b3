import { AuditError, verdictOf } from "./errors.js";
import type { Encoded } from "./event.js";
import { backoff, MOST_HOLD_MS, Pacer } from "./pacer.js";
import type { Answer, Listener, Parcel, Transport } from "./transport.js";

/** What became of an event: it is durable in the log, as the record with this `seq`. */
export interface Receipt {
  seq: number;
  /** Its id: the caller's own, or one that the client made. */
  id: string;
  /** It was there already, sent before under the same id. */
  duplicate: boolean;
}

/** An event on its way, whose caller waits. */
export class Pending implements Parcel {
  readonly encoded: Encoded;
  readonly bytes: number;
  /** Its place among all: what comes back for another try goes before what came later. */
  readonly order: number;
  /** It may have been sent before, by a process that is no more: it must not go without its id. */
  readonly needsIds: boolean;
  settled = false;
  /** With the transport. */
  inFlight = false;
  /** It may be in the log although nobody said so. */
  unsure = false;
  /** What the last try said. */
  trouble: AuditError | undefined;
  sentWithId = true;
  readonly #settle: (result: Receipt | AuditError) => void;

  constructor(encoded: Encoded, order: number, needsIds: boolean, settle: (result: Receipt | AuditError) => void) {
    this.encoded = encoded;
    this.bytes = Buffer.byteLength(encoded.body) + encoded.id.length + 8;
    this.order = order;
    this.needsIds = needsIds;
    this.#settle = settle;
  }

  settle(result: Receipt | AuditError): void {
    if (this.settled) return;
    this.settled = true;
    this.#settle(result);
  }

  fail(kind: string, message: string, cause?: unknown): void {
    const maybeRecorded = this.unsure || this.inFlight;
    const retryAfterMs = this.trouble?.retryAfterMs;
    this.settle(new AuditError(kind, message, { cause, retryAfterMs, maybeRecorded, id: this.encoded.id }));
  }

  /**
   * It is refused for good. A refusal for the sender's sake says nothing of an earlier try that nobody answered.
   */
  end(kind: string, message: string, cause?: AuditError): void {
    if (!this.unsure || verdictOf(kind) !== "denied" || kind === "protocol") return this.fail(kind, message, cause);
    const why = "an earlier try was not answered, so it is not known whether the event was recorded; the last said";
    const last = cause ?? new AuditError(kind, message, { id: this.encoded.id });
    this.fail("unconfirmed", `${why} ${kind}: ${message}`, last);
  }

  /** Its time is over. */
  expire(after: string): void {
    const why = this.trouble === undefined ? "the collector did not answer" : this.trouble.message;
    if (this.unsure || this.inFlight) {
      this.fail("unconfirmed", `${after}, and it is not known whether the event was recorded: ${why}`, this.trouble);
    } else {
      const last = this.trouble === undefined || this.trouble.kind === "unreachable" ? why : `${this.trouble.kind}: ${why}`;
      this.fail("unreachable", `${after}, and the event was not recorded: ${last}`, this.trouble);
    }
  }
}

/** Events between their callers and the transport: in order, retried, paced. */
export class Outbox implements Listener<Pending> {
  readonly #maxBackoff: number;
  readonly #pacer = new Pacer();
  #transport!: Transport<Pending>;
  /** Came back for another try, by order. */
  #again: Pending[] = [];
  #fresh: Pending[] = [];
  #freshHead = 0;
  #failures = 0;
  #connecting = false;
  #connectAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #scheduled = false;
  #closed = false;
  retries = 0;
  lastTrouble: AuditError | undefined;

  constructor(maxBackoff: number) {
    this.#maxBackoff = maxBackoff;
  }

  use(transport: Transport<Pending>): void {
    this.#transport = transport;
  }

  push(pending: Pending): void {
    this.#fresh.push(pending);
    this.#schedule();
  }

  /** Callers that say much in one go have it sent in one go. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  changed(): void {
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#transport.close();
  }

  #peek(): Pending | undefined {
    for (;;) {
      const first = this.#again[0] ?? this.#fresh[this.#freshHead];
      if (first === undefined || !first.settled) return first;
      this.#drop();
    }
  }

  #drop(): void {
    if (this.#again.length > 0) {
      this.#again.shift();
      return;
    }
    this.#freshHead++;
    if (this.#freshHead >= 1_024 && this.#freshHead * 2 > this.#fresh.length) {
      this.#fresh = this.#fresh.slice(this.#freshHead);
      this.#freshHead = 0;
    }
  }

  #pump(): void {
    while (!this.#closed && this.#peek() !== undefined) {
      const now = performance.now();
      if (!this.#transport.isUp) return now < this.#connectAt ? this.#wake(this.#connectAt - now) : this.#connect();
      const room = this.#transport.room;
      if (room.events < 1 || room.bytes < 1) return;
      const allowed = Math.min(room.events, this.#pacer.allowance(now));
      if (allowed < 1) return this.#wake(this.#pacer.waitMs(now));
      const batch = this.#take(allowed, room.bytes);
      this.#pacer.took(batch.length);
      if (batch.length > 0) this.#transport.send(batch);
    }
  }

  #take(events: number, bytes: number): Pending[] {
    const batch: Pending[] = [];
    let left = bytes;
    while (batch.length < events) {
      const first = this.#peek();
      // At least one, however large.
      if (first === undefined || (batch.length > 0 && first.bytes > left)) break;
      this.#drop();
      first.sentWithId = this.#transport.knowsIds;
      if (first.needsIds && !first.sentWithId) {
        first.fail("no_ids", `the collector at ${this.#transport.where} knows no ids, so nothing is drained: update it`);
        continue;
      }
      left -= first.bytes;
      first.inFlight = true;
      batch.push(first);
    }
    return batch;
  }

  #wake(waitMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#schedule(), Math.max(1, Math.ceil(waitMs)));
  }

  #connect(): void {
    if (this.#connecting) return;
    this.#connecting = true;
    this.#transport
      .connect()
      .catch((error: unknown) => this.#unreachable(error as AuditError))
      .finally(() => {
        this.#connecting = false;
        if (this.#closed) this.#transport.close();
        else this.#schedule();
      });
  }

  #unreachable(error: AuditError): void {
    this.lastTrouble = error;
    const wait = Math.max(Math.min(error.retryAfterMs ?? 0, MOST_HOLD_MS), backoff(this.#failures++, this.#maxBackoff));
    this.#connectAt = performance.now() + wait;
    const denied = verdictOf(error.kind, error.retryAfterMs !== undefined) !== "again";
    const waiting = [...this.#again, ...this.#fresh.slice(this.#freshHead)];
    for (const pending of waiting) {
      pending.trouble = error;
      // Those who come later try anew: by then it may be another one who answers.
      if (denied) pending.end(error.kind, error.message, error);
    }
  }

  answered(pending: Pending, answer: Answer): void {
    pending.inFlight = false;
    if ("seq" in answer) {
      this.#failures = 0;
      this.#pacer.accepted();
      return pending.settle({ seq: answer.seq, id: pending.encoded.id, duplicate: answer.duplicate });
    }
    const { kind, message, retryAfterMs } = answer;
    const unsure = answer.unsure === true || kind === "unavailable";
    pending.unsure ||= unsure;
    pending.trouble = new AuditError(kind, message, { retryAfterMs, id: pending.encoded.id });
    const verdict = verdictOf(kind, retryAfterMs !== undefined);
    if (verdict !== "refused") {
      this.lastTrouble = pending.trouble;
      this.#hold(answer);
    }
    if (verdict !== "again") return pending.end(kind, message);
    if (unsure && !pending.sentWithId) {
      const why = "it may have been recorded, and is not sent again, as the collector knows no ids";
      return pending.fail("unconfirmed", `${message}; ${why}`, pending.trouble);
    }
    if (!pending.settled) this.#retry(pending);
  }

  #hold(answer: { kind: string; retryAfterMs?: number | undefined; events?: number }): void {
    const now = performance.now();
    const { kind, retryAfterMs } = answer;
    if (kind === "rate_limited" && retryAfterMs !== undefined) {
      return this.#pacer.limited(now, retryAfterMs, answer.events ?? 1);
    }
    // Over the socket the next thing is another connection.
    if (!this.#transport.isUp) {
      if (now < this.#connectAt) return;
      this.#connectAt = now + backoff(this.#failures++, this.#maxBackoff);
      return;
    }
    // What a window is refused with comes all at once, and counts once.
    const isNew = now >= this.#pacer.heldUntil;
    if (retryAfterMs !== undefined) this.#pacer.hold(now, retryAfterMs * (1 + Math.random() / 20));
    else if (isNew) this.#pacer.hold(now, backoff(this.#failures, this.#maxBackoff));
    if (isNew) this.#failures++;
  }

  #retry(pending: Pending): void {
    this.retries++;
    // Nearly always the last: it comes back in the order in which it went.
    let at = this.#again.length;
    while (at > 0 && (this.#again[at - 1] as Pending).order > pending.order) at--;
    this.#again.splice(at, 0, pending);
  }
}
