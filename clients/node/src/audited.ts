import type { AuditError } from "./errors.js";
import type { AuditEvent } from "./event.js";
import type { Receipt } from "./outbox.js";

type Of<Args extends unknown[], T> = T | ((...args: Args) => T);

export interface AuditedOptions<Args extends unknown[], Result> {
  /** What happened. */
  event_type: string;
  /** Each a value, or a function of the call's arguments. */
  actor?: Of<Args, string | undefined>;
  source?: Of<Args, string | undefined>;
  target?: Of<Args, string | undefined>;
  details?: Of<Args, Record<string, unknown> | undefined>;
  /** More details, of what came out. */
  result?: (result: Result) => Record<string, unknown> | undefined;
  /**
   * What happens when the call ended and its event cannot be recorded. Unless given, the call
   * rejects: with {@link AuditFailed}, which holds what the call returned or threw. `event` is redacted.
   */
  onAuditError?: (error: AuditError, event: AuditEvent) => void;
}

export type Audited<Args extends unknown[], Result> = (...args: Args) => Promise<Result>;

/** The call ended, and its event was not recorded. */
export class AuditFailed extends Error {
  override readonly name = "AuditFailed";
  /** How the call itself ended. */
  readonly outcome: { result: unknown } | { thrown: unknown };

  constructor(cause: AuditError, outcome: { result: unknown } | { thrown: unknown }) {
    const how = "result" in outcome ? "succeeded" : "failed";
    super(`the call ${how}, and its event was not recorded: ${cause.message}`, { cause });
    this.outcome = outcome;
  }
}

export function audited<Args extends unknown[], Result>(
  record: (event: AuditEvent) => Promise<Receipt>,
  redacted: (event: AuditEvent) => AuditEvent,
  options: AuditedOptions<Args, Result>,
  inner: (...args: Args) => Result | Promise<Result>,
): Audited<Args, Result> {
  const finish = async (event: AuditEvent, outcome: { result: unknown } | { thrown: unknown }): Promise<void> => {
    try {
      await record(event);
    } catch (error) {
      if (options.onAuditError === undefined) throw new AuditFailed(error as AuditError, outcome);
      options.onAuditError(error as AuditError, redacted(event));
    }
  };
  return async (...args) => {
    // Before the call, which may change its arguments.
    const event: AuditEvent = {
      event_type: options.event_type,
      actor: of(options.actor, args),
      source: of(options.source, args),
      target: of(options.target, args),
      details: { ...of(options.details, args) },
    };
    let result: Result;
    try {
      result = await inner(...args);
    } catch (thrown) {
      event.outcome = "failure";
      event.details = { ...event.details, error: described(thrown) };
      await finish(event, { thrown });
      throw thrown;
    }
    event.outcome = "success";
    event.details = { ...event.details, ...options.result?.(result) };
    await finish(event, { result });
    return result;
  };
}

function of<Args extends unknown[], T>(value: Of<Args, T> | undefined, args: Args): T | undefined {
  return typeof value === "function" ? (value as (...args: Args) => T)(...args) : value;
}

function described(thrown: unknown): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { message: String(thrown).slice(0, 1_000) };
  return { name: thrown.name, message: thrown.message.slice(0, 1_000) };
}
