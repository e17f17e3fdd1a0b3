/** No more than this is saved up for one go. */
const MOST_SAVED = 64;
const FREE_BELOW_MS = 0.05;
const LEAST_HOLD_MS = 5;
/** Whoever says "tomorrow" is asked again all the same: it may have been a proxy's page. */
export const MOST_HOLD_MS = 60_000;

/**
 * Heeds `retry_after`. After a refusal for the rate it sends no faster than the collector said it
 * may, and then a little faster with each event that is taken, until nothing is refused any more.
 * Without it a window of a thousand events would be refused a thousand times for each that is taken.
 */
export class Pacer {
  #notBefore = 0;
  /** Milliseconds for each event; 0: as fast as it goes. */
  #interval = 0;
  #saved = 0;
  #savedAt = 0;

  get heldUntil(): number {
    return this.#notBefore;
  }

  /** How many events may go now. */
  allowance(now: number): number {
    if (now < this.#notBefore) return 0;
    if (this.#interval === 0) return Number.MAX_SAFE_INTEGER;
    this.#saved = Math.min(MOST_SAVED, this.#saved + (now - this.#savedAt) / this.#interval);
    this.#savedAt = now;
    return Math.floor(this.#saved);
  }

  /** When that will be at least one. */
  waitMs(now: number): number {
    const hold = Math.max(0, this.#notBefore - now);
    if (this.#interval === 0) return hold;
    // A few at a time: a timer for each costs more than it gives.
    const wanted = Math.min(8, Math.max(1, 20 / this.#interval));
    return Math.max(hold, (wanted - this.#saved) * this.#interval);
  }

  took(events: number): void {
    if (this.#interval > 0) this.#saved -= events;
  }

  accepted(): void {
    if (this.#interval === 0) return;
    this.#interval *= 0.99;
    if (this.#interval < FREE_BELOW_MS) this.#interval = 0;
  }

  /** A refusal for the rate; after `waitMs` so many `events` may come. */
  limited(now: number, waitMs: number, events: number): void {
    const wait = Math.min(waitMs, MOST_HOLD_MS);
    // One window's refusals come together, and are one reason to slow down.
    const slower = now < this.#notBefore ? this.#interval : Math.min(MOST_HOLD_MS, this.#interval * 1.05);
    this.#interval = Math.max(wait / events, slower, FREE_BELOW_MS);
    this.hold(now, Math.max(wait, LEAST_HOLD_MS));
    this.#saved = 0;
    this.#savedAt = now;
  }

  /** Nothing goes before that time is over. */
  hold(now: number, waitMs: number): void {
    this.#notBefore = Math.max(this.#notBefore, now + Math.min(waitMs, MOST_HOLD_MS));
  }
}

/** By chance up to 50 ms, doubled with each failure, and up to `most`. */
export function backoff(failures: number, most: number): number {
  return Math.random() * Math.min(most, 50 * 2 ** Math.min(failures, 16));
}
