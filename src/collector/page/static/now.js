// "Now": how the log is, from the collector's status, as it was looked at last.

import { gauge, spark, table } from "./chart.js";
import { badge, bytes, count, el, fill, many, milliseconds, rate, shown, span, stateClass } from "./text.js";
import { time } from "./time.js";

const WORDS = { healthy: "Healthy", warning: "Warning", critical: "Critical", unknown: "Unknown" };

export class Now {
  constructor() {
    this.verdict = el("div.verdict", { "data-part": "verdict" });
    this.findings = el("div.findings");
    this.tiles = el("div.tiles");
    this.checks = el("div");
    this.all = el("details.checks", el("summary", "All checks"), this.checks);
    this.node = el(
      "div.now",
      el("h1", { tabindex: "-1" }, "Now"),
      this.verdict,
      this.findings,
      el("h2.unseen-label", "Figures"),
      this.tiles,
      this.all,
    );
    fill(this.verdict, el("p", "Asking the collector…"));
  }

  open() {
    if (this.status) this.show(this.status);
  }

  close() {}

  show(status) {
    this.status = status;
    const { verdict, checks } = status;
    const word = WORDS[verdict.status] ?? "Unknown";
    this.verdict.className = `verdict ${stateClass(verdict.status)}`;
    fill(
      this.verdict,
      el("p.word", badge(verdict.status, word)),
      el("p.sentence", shown(verdict.sentence, 2000)),
      verdict.remedy && el("p.remedy", el("b", "What to do: "), shown(verdict.remedy, 2000)),
    );
    const others = checks.filter((check) => check.status !== "healthy" && check.message !== verdict.sentence);
    fill(
      this.findings,
      others.length > 0 && el("h2", "Also"),
      others.length > 0 &&
        el(
          "ul",
          others.map((check) =>
            el(
              "li",
              badge(check.status),
              " ",
              el("b", name(check.component)),
              " ",
              shown(check.message, 2000),
              check.hint && el("p.remedy", shown(check.hint, 2000)),
            ),
          ),
        ),
    );
    fill(
      this.tiles,
      TILES.map((of) => tile(of, status)),
    );
    fill(
      this.checks,
      table(
        `Checks at ${status.now}`,
        ["Check", "State", "What it found"],
        checks.map((check) => [name(check.component), badge(check.status), shown(check.message, 2000)]),
      ),
    );
  }
}

function name(component) {
  const text = String(component ?? "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function seconds(number) {
  return typeof number === "number" ? milliseconds(number * 1000) : null;
}

function each(number) {
  return typeof number === "number" ? `${rate(number)} a second` : "not known yet";
}

function chart(series, key, what, form) {
  const all = series?.[key] ?? [];
  const values = all.filter((value) => typeof value === "number");
  const minutes = Math.max(1, Math.round((all.length * (series?.step_seconds ?? 10)) / 60));
  return spark(
    all,
    values.length === 0
      ? `${what}: no values yet.`
      : `${what} over ${many(minutes, "minute")}: now ${form(values.at(-1))}, least ${form(Math.min(...values))}, most ${form(Math.max(...values))}.`,
  );
}

const TILES = [
  [
    "Events per second",
    "events",
    (of, { rates, series }) => [
      rate(rates?.minute ?? of.per_second),
      "in the last minute",
      chart(series, "events_per_second", "Events per second", rate),
      ["last hour", each(rates?.hour)],
      ["last day", each(rates?.day)],
      ["since opened", many(of.total, "event")],
      ["newest", time(of.last_event_at)],
    ],
  ],
  [
    "Sync latency",
    "sync",
    (of, { series }) => [
      seconds(of.mean_seconds) ?? "–",
      "mean",
      chart(series, "sync_mean_ms", "Sync latency", milliseconds),
      ["longest", seconds(of.max_seconds)],
      ["syncs", count(of.count)],
      ["errors", of.errors > 0 ? badge("warning", count(of.errors)) : "0"],
    ],
  ],
  [
    "Write buffer",
    "write_buffer",
    (of) => [
      count(of.events),
      `of ${many(of.capacity_events, "event")}`,
      gauge(of.fill_percent, 100, `${rate(of.fill_percent)} % full`, stateClass(of.status)),
      ["waits longest", seconds(of.oldest_waiting_seconds) ?? "nothing waits"],
      ["bytes", `${bytes(of.bytes)} of ${bytes(of.capacity_bytes)}`],
    ],
  ],
  [
    "Query cache",
    "query_cache",
    (of) => [
      typeof of.hit_rate_percent === "number" ? `${rate(of.hit_rate_percent)} % hits` : "unused",
      "",
      gauge(of.entries, of.capacity, `${count(of.entries)} of ${many(of.capacity, "answer")} kept`),
      ["answers", `${count(of.entries)} of ${count(of.capacity)}`],
      ["bytes", bytes(of.bytes)],
      ["evicted", count(of.evictions)],
    ],
  ],
  [
    "Refused",
    "rate_limiting",
    (of, { sample, series }) => [
      count(sample.events?.refused),
      "since opened",
      chart(series, "refused_per_second", "Refused per second", rate),
      ["by rate limit, last hour", count(of.blocked_last_hour)],
      ["most of them", of.top_blocked && [shown(of.top_blocked.source, 60), ` (${count(of.top_blocked.count)})`]],
      ["active sources", count(of.active_sources)],
    ],
  ],
  [
    "Security events",
    "security",
    (of) => [
      count(of.last_hour),
      "in the last hour",
      null,
      ["in all", count(of.total)],
      ...Object.entries(of.by_kind ?? {})
        .filter(([, number]) => number > 0)
        .map(([kind, number]) => [name(kind), count(number)]),
    ],
  ],
  [
    "Log",
    "log",
    (of, { log }) => [
      count(log?.next),
      "records",
      null,
      ["on disk", bytes(of.bytes)],
      ["sealed segments", count(of.segments)],
      ["active segment", bytes(of.active_bytes)],
      [
        "grows",
        typeof of.growth_bytes_per_day === "number" ? `${bytes(of.growth_bytes_per_day)} a day` : "not known yet",
      ],
    ],
  ],
  [
    "Disk",
    "disk",
    (of) => [
      bytes(of.available_bytes),
      "free",
      gauge(
        of.total_bytes - of.available_bytes,
        of.total_bytes,
        `${bytes(of.available_bytes)} free of ${bytes(of.total_bytes)}`,
        stateClass(of.status),
      ),
      ["of", bytes(of.total_bytes)],
    ],
  ],
  [
    "Checkpoint",
    "checkpoint",
    (of) => [`${span(of.age_seconds)} ago`, "", null, ["covers", many(of.records, "record")], ["at", time(of.at)]],
  ],
  ["Backup", "backup", (of) => [`${span(of.age_seconds)} ago`, "", null, ["made", time(of.at)]]],
  [
    "Archive",
    "archive",
    (of) =>
      typeof of.lag_records !== "number"
        ? ["not set up", "", null, ["setting", el("code", "[archive] destination")]]
        : [
            of.lag_records === 0 ? "complete" : many(of.lag_records, "record"),
            of.lag_records === 0 ? "" : "behind",
            null,
            ["not shipped yet", bytes(of.lag_bytes)],
            ["newest", typeof of.age_seconds === "number" && `${span(of.age_seconds)} ago`],
            ["removed unshipped", of.removed_unshipped && count(of.removed_unshipped)],
          ],
  ],
  [
    "Writer",
    "writer",
    (of) => [
      name(of.state),
      "",
      null,
      ["process", of.pid],
      ["up", typeof of.uptime_seconds === "number" && span(of.uptime_seconds)],
      ["last sign of life", of.last_update && time(of.last_update)],
      ["age of it", typeof of.age_seconds === "number" && span(of.age_seconds)],
    ],
  ],
];

function tile([title, key, made], status) {
  const of = status.sample?.[key];
  const [figure, unit, drawing, ...notes] = of
    ? made(of, status)
    : [key === "archive" ? "not set up" : "none", "", null];
  const odd = of?.status && stateClass(of.status) !== "good";
  return el(
    "div",
    { role: "group", class: `tile ${odd ? stateClass(of.status) : ""}`, "data-tile": title, label: title },
    el("h3", title),
    odd && badge(of.status),
    el("p.figure", figure, unit && el("small", ` ${unit}`)),
    drawing,
    el(
      "dl",
      notes.filter(([, note]) => note).map(([term, note]) => el("div", el("dt", term), el("dd", note))),
    ),
  );
}
