import { randomBytes } from "node:crypto";
import { AuditError } from "./errors.js";
import type { Redactor } from "./redact.js";

/** What a caller submits. The collector checks it; what it refuses is an {@link AuditError}. */
export interface AuditEvent {
  /** What happened, such as `login`; at most 128 bytes. */
  event_type: string;
  /** Who did it; this and the next three at most 256 bytes each. */
  actor?: string | undefined;
  /** Which service says so: the key of the rate limit. The client's `source` unless given. */
  source?: string | undefined;
  /** What it was done to. */
  target?: string | undefined;
  /** How it went, such as `success`, `failure`, `denied`. */
  outcome?: string | undefined;
  /** When it happened; the time at which it is accepted unless given. */
  timestamp?: string | Date | undefined;
  /** Whatever else; an object. At most 50 KiB as JSON, unless the collector allows more. */
  details?: Record<string, unknown> | undefined;
  /**
   * The sender's own key of this event: the same id again is recorded once. Made by the client
   * unless given; give one to be safe across restarts of your own process.
   */
  id?: string | undefined;
}

/** A line of the protocol is no longer than this; a longer one would end the connection. */
export const MAX_LINE_BYTES = 1 << 20;
const MAX_ID_BYTES = 128;
/** Deeper than this the collector reads no JSON. */
export const MAX_DEPTH = 120;

const KEYS = ["event_type", "actor", "source", "target", "outcome", "timestamp", "details"];
const FIELDS = new Set([...KEYS, "id"]);

/**
 * An id that nobody else makes: 128 random bits, and the time. A process that is restored twice from one snapshot
 * may draw the same numbers twice, and a counter it would count on twice.
 */
export function makeId(): string {
  return `${randomBytes(16).toString("base64url")}.${Date.now().toString(36)}`;
}

function checkId(id: unknown): void {
  if (typeof id !== "string") throw new AuditError("invalid", "id must be a string");
  const bytes = Buffer.byteLength(id);
  if (bytes < 1 || bytes > MAX_ID_BYTES) {
    throw new AuditError("invalid", `id has ${bytes} bytes; it must have 1 to ${MAX_ID_BYTES}`);
  }
  if (/[\p{Cc}\p{Surrogate}\u2028\u2029]/u.test(id)) {
    throw new AuditError("invalid", "id must not have control characters and line separators");
  }
}

/** An event as it goes over the wire. */
export interface Encoded {
  id: string;
  /** The event without its id, for a collector that knows none. */
  body: string;
}

export function withId(encoded: Encoded): string {
  return `{"id":${JSON.stringify(encoded.id)},${encoded.body.slice(1)}`;
}

/** Copies, redacts and encodes. What the caller changes afterwards changes nothing. */
export function encode(
  event: AuditEvent,
  redactor: Redactor,
  newId: () => string,
  defaults: { source?: string | undefined; timestamp?: string | undefined },
): Encoded {
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    throw new AuditError("usage", "an event must be an object with event_type");
  }
  for (const key of Object.keys(event)) {
    if (!FIELDS.has(key)) {
      const known = [...KEYS, "id"].join(", ");
      throw new AuditError("invalid", `unknown key ${JSON.stringify(key)}; an event has ${known} (put other keys into details)`);
    }
  }
  const id = event.id === undefined ? newId() : event.id;
  checkId(id);
  const whole: Record<string, unknown> = {};
  for (const key of KEYS) {
    const value = (event as unknown as Record<string, unknown>)[key];
    const given = value ?? (key === "source" ? defaults.source : key === "timestamp" ? defaults.timestamp : undefined);
    if (given !== undefined && given !== null) whole[key] = given;
  }
  let body: string;
  try {
    body = JSON.stringify(redactor.clean(whole, MAX_DEPTH));
  } catch (error) {
    if (error instanceof AuditError) throw error;
    throw new AuditError("usage", `the event cannot be written as JSON: ${String(error)}`, { cause: error, id });
  }
  const encoded = { id, body };
  const bytes = Buffer.byteLength(withId(encoded));
  if (bytes > MAX_LINE_BYTES) {
    throw new AuditError("too_large", `the event has ${bytes} bytes as JSON, more than ${MAX_LINE_BYTES}`, { id });
  }
  return encoded;
}
