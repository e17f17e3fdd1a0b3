import { AuditError } from "./errors.js";

/** What stands in place of a value that must not leave the process. */
export const REDACTED = "[redacted]";

type Step = { any: true } | { any: false; matches: (key: string) => boolean };

interface Pattern {
  /** A key wherever it is in `details`, and a field of that name. */
  name?: (key: string) => boolean;
  /** One place, from the top of the event. */
  path?: Step[];
}

/** `*` stands for anything; upper and lower case are the same. */
function keyMatcher(text: string): (key: string) => boolean {
  let source = "";
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (char === "\\" && at + 1 < text.length) {
      source += escaped(text[++at] as string);
    } else {
      source += char === "*" ? ".*" : escaped(char);
    }
  }
  const expression = new RegExp(`^${source}$`, "isu");
  return (key) => expression.test(key);
}

function escaped(char: string): string {
  return char.replace(/[\\^$.*+?()[\]{}|/-]/u, "\\$&");
}

/** Splits at dots that no backslash escapes. */
function segments(text: string): string[] {
  const parts = [""];
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (char === "\\" && at + 1 < text.length) {
      parts[parts.length - 1] += char + text[++at];
    } else if (char === ".") {
      parts.push("");
    } else {
      parts[parts.length - 1] += char;
    }
  }
  return parts;
}

const FIELDS = ["actor", "source", "target", "outcome"];
const FIXED = new Set(["event_type", "timestamp", "id"]);

function parse(text: string): Pattern {
  const parts = segments(text);
  if (text === "" || parts.includes("")) {
    throw new AuditError("usage", `redact: ${JSON.stringify(text)} is no key and no path`);
  }
  if (parts.length === 1) {
    if (FIXED.has(text.toLowerCase())) {
      throw new AuditError("usage", `redact: ${text} cannot be hidden; for a key of that name write details.${text}`);
    }
    return { name: keyMatcher(text) };
  }
  if (parts[0]?.toLowerCase() !== "details") {
    throw new AuditError("usage", `redact: the path ${JSON.stringify(text)} must begin with details`);
  }
  const path = parts.map((part): Step => (part === "*" ? { any: true } : { any: false, matches: keyMatcher(part) }));
  return { path };
}

/**
 * Makes a plain copy of an event and replaces what its names and paths hide. They are written
 * as the collector's own setting `redact`: `password`, `*_token`, `details.card.*`, `actor`.
 */
export class Redactor {
  readonly #names: ((key: string) => boolean)[] = [];
  readonly #paths: Step[][] = [];
  /** Which keys the names hide: the same few keys come again and again. */
  readonly #known = new Map<string, boolean>();

  constructor(patterns: readonly string[]) {
    for (const pattern of patterns.map(parse)) {
      if (pattern.name !== undefined) this.#names.push(pattern.name);
      if (pattern.path !== undefined) this.#paths.push(pattern.path);
    }
  }

  clean(event: Record<string, unknown>, maxDepth: number): Record<string, unknown> {
    const copy: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(event)) {
      if (key === "details") {
        // A name that fits details hides all that is in it.
        copy[key] = this.#copy(value, this.#step(this.#paths, key), this.#hides(key), maxDepth, []);
      } else {
        const hidden = FIELDS.includes(key) && this.#hides(key);
        copy[key] = this.#copy(value, [], hidden, maxDepth, []);
      }
    }
    return copy;
  }

  #hides(key: string): boolean {
    if (this.#names.length === 0) return false;
    let hides = this.#known.get(key);
    if (hides === undefined) {
      hides = this.#names.some((matches) => matches(key));
      // Keys may be anything, such as ids of customers.
      if (this.#known.size < 1_000) this.#known.set(key, hides);
    }
    return hides;
  }

  #step(paths: Step[][], key: string): Step[][] {
    if (paths.length === 0) return paths;
    return paths.filter(([first]) => first !== undefined && (first.any || first.matches(key))).map((path) => path.slice(1));
  }

  #copy(value: unknown, paths: Step[][], hidden: boolean, depth: number, above: object[]): unknown {
    switch (typeof value) {
      case "string":
        return hidden ? REDACTED : wellFormed(value);
      case "number":
        // JSON has no such numbers and would say null.
        return hidden ? REDACTED : Number.isFinite(value) ? value : String(value);
      case "boolean":
        return hidden ? REDACTED : value;
      case "bigint":
        return hidden ? REDACTED : String(value);
      case "object":
        return value === null ? null : this.#object(value, paths, hidden, depth, above);
      default:
        return undefined;
    }
  }

  #object(value: object, paths: Step[][], hidden: boolean, depth: number, above: object[]): unknown {
    if (above.includes(value)) throw new AuditError("usage", "the event refers to itself");
    if (depth <= 0) throw new AuditError("usage", "the event is nested too deeply");
    const inside = [...above, value];
    const plain = plainOf(value);
    if (typeof plain !== "object" || plain === null) return this.#copy(plain, paths, hidden, depth - 1, inside);
    const child = (key: string, item: unknown): unknown => {
      const below = this.#step(paths, key);
      const hides = hidden || this.#hides(key) || below.some((path) => path.length === 0);
      return this.#copy(item, below, hides, depth - 1, inside);
    };
    if (Array.isArray(plain)) {
      return plain.map((item, index) => child(String(index), item) ?? null);
    }
    const entries: [string, unknown][] = [];
    for (const [key, item] of Object.entries(plain)) {
      const copied = child(key, item);
      if (copied !== undefined) entries.push([wellFormed(key), copied]);
    }
    // Not by assignment: a key may be `__proto__`.
    return Object.fromEntries(entries);
  }
}

/** What JSON would lose: maps, sets, errors. */
function plainOf(value: object): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), item]));
  if (value instanceof Set) return [...value];
  if (value instanceof Error) {
    const code = (value as { code?: unknown }).code;
    return { name: value.name, message: value.message, ...(code === undefined ? {} : { code }) };
  }
  if (value instanceof String || value instanceof Number || value instanceof Boolean) return value.valueOf();
  const toJSON = (value as { toJSON?: unknown }).toJSON;
  return typeof toJSON === "function" ? (toJSON as (key: string) => unknown).call(value, "") : value;
}

/** The collector refuses halves of surrogate pairs; nobody may keep an event out by sending one. */
function wellFormed(text: string): string {
  return /\p{Surrogate}/u.test(text) ? text.replace(/\p{Surrogate}/gu, "\u{fffd}") : text;
}
