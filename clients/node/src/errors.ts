/** What the client itself can say, beside the kinds that a collector answers. */
export type OwnKind =
  /** Certainly not recorded by this call: never sent, or refused each time; the message names the last reason. */
  | "unreachable"
  /** It was sent, and nobody said what became of it. The same `id` again is safe. */
  | "unconfirmed"
  /** The caller's `AbortSignal` fired. */
  | "cancelled"
  /** The program that listens at the socket belongs to a user who is not trusted. */
  | "foreign_collector"
  /** The server's certificate or name is not accepted. */
  | "tls"
  /** What answers does not speak the protocol. */
  | "protocol"
  /** An option, or a value of the event, makes no sense. */
  | "usage"
  /** More events wait than `maxPending` allows. */
  | "overflow"
  /** The spool has no room left. */
  | "spool_full"
  /** The spool cannot be read, written or drained. */
  | "spool"
  /** The collector is too old for a spool; what is in it stays. */
  | "no_ids"
  /** The client was closed. */
  | "closed";

export interface AuditErrorOptions {
  retryAfterMs?: number | undefined;
  maybeRecorded?: boolean | undefined;
  id?: string | undefined;
  cause?: unknown;
}

/** Why an event was not recorded, or a query not answered. */
export class AuditError extends Error {
  override readonly name = "AuditError";
  /**
   * A stable name: one of {@link OwnKind}, or the collector's own word, such as `invalid`,
   * `too_large`, `conflict`, `rate_limited`, `disk_full`, `forbidden`, `unauthorized`.
   */
  readonly kind: string;
  /** When the collector said that another try makes sense. */
  readonly retryAfterMs: number | undefined;
  /** The event may be in the log all the same. Sending it again under the same `id` is safe. */
  readonly maybeRecorded: boolean;
  /** The event's id, with which it can be sent again. */
  readonly id: string | undefined;

  constructor(kind: string, message: string, options: AuditErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryAfterMs = options.retryAfterMs;
    this.maybeRecorded = options.maybeRecorded ?? false;
    this.id = options.id;
  }
}

/**
 * What an answer means for the event that it is about.
 *
 * - `again`: it was not recorded, or that is not known; another try can succeed.
 * - `refused`: the event itself is at fault; no other try can succeed.
 * - `denied`: the sender, or what answers, is at fault, whatever is sent.
 */
export type Verdict = "again" | "refused" | "denied";

const AGAIN = new Set([
  "rate_limited",
  "busy",
  "disk_full",
  "unavailable",
  "closed",
  "failed",
  "timeout",
  "too_many_connections",
  "too_many_refusals",
  "lost",
  "unreachable",
]);
const REFUSED = new Set(["malformed", "too_large", "invalid", "conflict"]);
const DENIED = new Set(["forbidden", "unauthorized", "foreign_collector", "tls", "protocol", "internal", "unknown_request", "no_ids"]);

/** A kind that nobody knows is final, unless it says when to come again. */
export function verdictOf(kind: string, saysWhen = false): Verdict {
  if (AGAIN.has(kind)) return "again";
  if (REFUSED.has(kind)) return "refused";
  return saysWhen && !DENIED.has(kind) ? "again" : "denied";
}
