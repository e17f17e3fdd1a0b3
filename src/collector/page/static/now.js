// "Now": how the log is, from the collector's status, as it was looked at last.

import { gauge, spark, table } from "./chart.js";
import { add, badge, bytes, count, el, fill, many, milliseconds, rate, shown, span, stateClass } from "./text.js";
import { time } from "./time.js";

const WORDS = { healthy: "Healthy", warning: "Warning", critical: "Critical", unknown: "Unknown" };

export class Now {
  constructor() {
    this.verdict = el("div.verdict", { "data-part": "verdict" });
    this.findings = el("div.findings");
    this.tiles = el("div.tiles");
    this.checks = el("div");
    this.all = el("details.checks", el("summary", "All checks"), this.checks);
    this.node = el("div.now", el("h1", { tabindex: "-1" }, "Now"), this.verdict, this.findings,
      el("h2.unseen-label", "Figures"), this.tiles, this.all);
    fill(this.verdict, el("p", "Asking the collector…"));
  }

  open() { if (this.status) this.show(this.status); }

  close() {}

  show(status) {
    this.status = status;
    const { verdict, checks } = status;
    const word = WORDS[verdict.status] ?? "Unknown";
    this.verdict.className = `verdict ${stateClass(verdict.status)}`;
    fill(this.verdict, el("p.word", badge(verdict.status, word)), el("p.sentence", shown(verdict.sentence, 2000)),
      verdict.remedy && el("p.remedy", el("b", "What to do: "), shown(verdict.remedy, 2000)));
    const others = checks.filter((check) => check.status !== "healthy" && check.message !== verdict.sentence);
    fill(this.findings, others.length > 0 && el("h2", "Also"), others.length > 0 && el("ul", others.map((check) => el("li",
      badge(check.status), " ", el("b", name(check.component)), " ", shown(check.message, 2000),
      check.hint && el("p.remedy", shown(check.hint, 2000))))));
    fill(this.tiles, tiles(status));
    fill(this.checks, table(`Checks at ${status.now}`, ["Check", "State", "What it found"],
      checks.map((check) => [name(check.component), badge(check.status), shown(check.message, 2000)])));
  }
}

function name(component) {
  const text = String(component ?? "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A figure with what belongs to it. A state is shown where it is not a good one. */
function tile(title, value, { unit = "", state = null, chart = null, notes = [] } = {}) {
  const known = notes.filter(([, note]) => note !== null && note !== undefined);
  const odd = state && stateClass(state) !== "good";
  return el("div", { role: "group", class: `tile ${odd ? stateClass(state) : ""}`, "data-tile": title, "aria-label": title },
    el("h3", title), odd && badge(state), el("p.figure", value, unit && el("small", ` ${unit}`)), chart,
    known.length > 0 && el("dl", known.map(([term, note]) => el("div", el("dt", term), el("dd", note)))));
}

function tiles(status) {
  const sample = status.sample ?? {};
  return [events, sync, buffer, cache, refusals, security, log, disk, checkpoint, backup, archive, writer].map((one) => one(sample, status));
}

function latest(series, key) {
  return (series?.[key] ?? []).filter((value) => typeof value === "number");
}

/** What a line shows, in words. */
function told(series, key, what, form) {
  const values = latest(series, key);
  if (values.length === 0) return `${what}: no values yet.`;
  const minutes = Math.max(1, Math.round(((series[key].length) * (series.step_seconds ?? 10)) / 60));
  return `${what} over ${many(minutes, "minute")}: now ${form(values.at(-1))}, least ${form(Math.min(...values))}, most ${form(Math.max(...values))}.`;
}

function chart(series, key, what, form) {
  return spark(series?.[key] ?? [], told(series, key, what, form));
}

function events(sample, { rates, series }) {
  const of = sample.events;
  return tile("Events per second", rate(rates?.minute ?? of?.per_second), {
    unit: "in the last minute", chart: chart(series, "events_per_second", "Events per second", rate),
    notes: [["last hour", per(rates?.hour)], ["last day", per(rates?.day)], ["since opened", of && many(of.total, "event")], ["newest", of?.last_event_at && time(of.last_event_at)]],
  });
}

function per(number) {
  return typeof number === "number" ? `${rate(number)} a second` : "not known yet";
}

function sync(sample, { series }) {
  const of = sample.sync;
  const ms = (seconds) => milliseconds(typeof seconds === "number" ? seconds * 1000 : null);
  return tile("Sync latency", ms(of?.mean_seconds), {
    unit: "mean", state: of?.errors > 0 ? "warning" : null, chart: chart(series, "sync_mean_ms", "Sync latency", milliseconds),
    notes: [["longest", of && ms(of.max_seconds)], ["syncs", of && count(of.count)], ["errors", of && count(of.errors)]],
  });
}

function buffer(sample) {
  const of = sample.write_buffer;
  return tile("Write buffer", of ? count(of.events) : "–", {
    unit: of && `of ${many(of.capacity_events, "event")}`, state: of?.status,
    chart: of && gauge(of.fill_percent, 100, `${rate(of.fill_percent)} % full`, stateClass(of.status)),
    notes: [["waits longest", of && (typeof of.oldest_waiting_seconds === "number" ? milliseconds(of.oldest_waiting_seconds * 1000) : "nothing waits")], ["bytes", of && `${bytes(of.bytes)} of ${bytes(of.capacity_bytes)}`]],
  });
}

function cache(sample) {
  const of = sample.query_cache;
  return tile("Query cache", of ? (typeof of.hit_rate_percent === "number" ? `${rate(of.hit_rate_percent)} %` : "unused") : "–", {
    unit: typeof of?.hit_rate_percent === "number" ? "hits" : "", chart: of && gauge(of.entries, of.capacity, `${count(of.entries)} of ${many(of.capacity, "answer")} kept`),
    notes: [["answers", of && `${count(of.entries)} of ${count(of.capacity)}`], ["bytes", of && bytes(of.bytes)], ["evicted", of && count(of.evictions)]],
  });
}

function refusals(sample, { series }) {
  const of = sample.rate_limiting;
  const top = of?.top_blocked;
  return tile("Refused", sample.events ? count(sample.events.refused) : "–", {
    unit: "since opened", state: of?.status, chart: chart(series, "refused_per_second", "Refused per second", rate),
    notes: [["by rate limit, last hour", of && count(of.blocked_last_hour)], ["most of them", top && add(shown(top.source, 60), ` (${count(top.count)})`)], ["active sources", of && count(of.active_sources)]],
  });
}

function security(sample) {
  const of = sample.security;
  const kinds = Object.entries(of?.by_kind ?? {}).filter(([, number]) => number > 0);
  return tile("Security events", of ? count(of.last_hour) : "–", {
    unit: "in the last hour", state: of?.status, notes: [["in all", of && count(of.total)], ...kinds.map(([kind, number]) => [name(kind), count(number)])],
  });
}

function log(sample, { log: of }) {
  const size = sample.log;
  return tile("Log", count(of?.next ?? sample.events?.records), {
    unit: "records", notes: [["on disk", size && bytes(size.bytes)], ["sealed segments", size && count(size.segments)], ["active segment", size && bytes(size.active_bytes)], ["grows", size && (typeof size.growth_bytes_per_day === "number" ? `${bytes(size.growth_bytes_per_day)} a day` : "not known yet")]],
  });
}

function disk(sample) {
  const of = sample.disk;
  return tile("Disk", of ? bytes(of.available_bytes) : "–", {
    unit: "free", state: of?.status, chart: of && gauge(of.total_bytes - of.available_bytes, of.total_bytes, `${bytes(of.available_bytes)} free of ${bytes(of.total_bytes)}`, stateClass(of.status)),
    notes: [["of", of && bytes(of.total_bytes)]],
  });
}

function checkpoint(sample) {
  const of = sample.checkpoint;
  return tile("Checkpoint", of ? `${span(of.age_seconds)} ago` : "none yet", { notes: [["covers", of && many(of.records, "record")], ["at", of && time(of.at)]] });
}

function backup(sample) {
  const of = sample.backup;
  return tile("Backup", of ? `${span(of.age_seconds)} ago` : "none", { notes: [["made", of && time(of.at)]] });
}

function archive(sample) {
  const of = sample.archive;
  if (!of || typeof of.lag_records !== "number") return tile("Archive", "not set up", { notes: [["setting", el("code", "[archive] destination")]] });
  return tile("Archive", of.lag_records === 0 ? "complete" : many(of.lag_records, "record"), {
    unit: of.lag_records === 0 ? "" : "behind", state: of.status,
    notes: [["not shipped yet", bytes(of.lag_bytes)], ["newest", typeof of.age_seconds === "number" ? `${span(of.age_seconds)} ago` : null], ["removed unshipped", of.removed_unshipped ? count(of.removed_unshipped) : null]],
  });
}

function writer(sample) {
  const of = sample.writer;
  return tile("Writer", name(of?.state ?? "unknown"), {
    state: of?.status, notes: [["process", of?.pid && count(of.pid).replaceAll(",", "")], ["up", typeof of?.uptime_seconds === "number" ? span(of.uptime_seconds) : null],
      ["last sign of life", of?.last_update && time(of.last_update)], ["age of it", typeof of?.age_seconds === "number" ? span(of.age_seconds) : null]],
  });
}
