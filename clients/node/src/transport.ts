import type { Encoded } from "./event.js";

/**
 * What the collector said about one event, or what kept it from saying anything. `unsure`: the event may be
 * recorded. `events`: so many may come together after that wait, 1 unless given.
 */
export type Answer =
  | { seq: number; duplicate: boolean }
  | { kind: string; message: string; retryAfterMs?: number | undefined; unsure?: boolean; events?: number };

/** An event on its way. */
export interface Parcel {
  readonly encoded: Encoded;
  readonly bytes: number;
}

/** A way to the collector. It gives each parcel back with exactly one answer. */
export interface Transport<P extends Parcel> {
  /** Who is at the other end, for messages. */
  readonly where: string;
  /** Whether `send` may be called. */
  readonly isUp: boolean;
  /** Whether the collector knows ids, so that sending twice records once. */
  readonly knowsIds: boolean;
  /** How many parcels, and bytes of them, it takes at the moment. */
  readonly room: { events: number; bytes: number };
  /** Connects. Rejects with an `AuditError`. */
  connect(): Promise<void>;
  send(parcels: P[]): void;
  close(): void;
}

export interface Listener<P extends Parcel> {
  answered(parcel: P, answer: Answer): void;
  /** There may be room again, or the connection ended. */
  changed(): void;
}

/** Reads an answer's `error`; what is not there or not what it should be is made good. */
export function errorOf(value: unknown): { kind: string; message: string; retryAfterMs: number | undefined } | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, message, retry_after_ms: wait } = value as Record<string, unknown>;
  if (typeof kind !== "string") return undefined;
  return {
    kind: kind.slice(0, 64),
    message: typeof message === "string" ? printable(message.slice(0, 2_000)) : "",
    retryAfterMs: typeof wait === "number" && Number.isFinite(wait) && wait >= 0 ? wait : undefined,
  };
}

/** What a collector says may end in somebody's terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, " ");
}

export function seqOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
