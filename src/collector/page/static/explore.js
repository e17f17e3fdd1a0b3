// "Explore": a question, how its records lie over time, who is in them, and the records themselves, a page at a time.

import { askJson, askText, Refusal, told } from "./api.js";
import { bars, Histogram, table } from "./chart.js";
import { Download } from "./download.js";
import { get, list, parse, plain, whole } from "./json.js";
import { FIELDS, fromAddress, isSame, range, SINGLE, toAddress, toCommand, toFilters } from "./question.js";
import { RecordPanel } from "./record.js";
import { Rows } from "./rows.js";
import { button, copy, count, el, fill, many, named, note, pattern, shown } from "./text.js";
import { stamp, typed, zoneName } from "./time.js";

const PAGE = 100;
const FOLLOWED = 200;
const BUCKETS = 120;
const NEWEST = Number.MAX_SAFE_INTEGER;
const TOPS = [
  ["type", "Event types"],
  ["actor", "Actors"],
  ["source", "Sources"],
  ["outcome", "Outcomes"],
  ["target", "Targets"],
];
const PERIODS = [
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
  ["", "all"],
];
const HINTS = {
  type: "login, payment.*",
  actor: "alice, DOMAIN\\user",
  source: "web-*",
  target: "invoice-7",
  outcome: "failure",
  id: "the sender's id",
  where: "details.amount >= 1000",
  grep: "10.0.0.7",
};

const UNITS = { s: "second", m: "minute", h: "hour", d: "day" };

function stepWord(step) {
  const found = /^(\d+)([a-z]+?)s?$/.exec(step ?? "");
  return found ? many(Number(found[1]), UNITS[found[2]] ?? found[2]) : "the whole time";
}

function short(time) {
  return time.replace(/\.0+Z$/, "Z");
}

/** Whether the page was just loaded by a link: not again, not by going back, and not moved to by itself. */
let loaded = performance.getEntriesByType("navigation")[0]?.type === "navigate" && location.hash.includes("?");
function isFromElsewhere() {
  const from = loaded;
  loaded = false;
  return from;
}

export class Explore {
  constructor() {
    this.question = null;
    this.page = null;
    this.asking = {};
    this.follow = null;
    this.build();
  }

  build() {
    this.field = el(
      "select",
      { id: "field", onchange: () => this.hint() },
      FIELDS.map(([key, label]) => el("option", { value: key }, label)),
    );
    this.value = el("input", {
      id: "value",
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      autocapitalize: "off",
    });
    this.single = Object.fromEntries(
      SINGLE.map((key) => [key, el("input", { id: key, type: "text", autocomplete: "off", spellcheck: "false" })]),
    );
    this.single.since.placeholder = "24h, 7d, 2026-11-01";
    this.single.until.placeholder = "2026-11-01 12:30";
    this.single.seq.placeholder = "100..200";
    this.order = el(
      "select",
      { id: "order", onchange: () => this.change({ order: this.order.value, at: null }) },
      el("option", { value: "newest" }, "newest first"),
      el("option", { value: "oldest" }, "oldest first"),
    );
    this.zoneNote = el("span.note");
    this.chips = el("ul.chips", { label: "Filters of this question" });
    const labelled = (label, input) => el("p.labelled", el("label", { for: input.id }, label), input);
    this.form = el(
      "form.question",
      { role: "search", label: "Question", onsubmit: (event) => this.submitted(event) },
      el(
        "div.line",
        labelled("Filter by", this.field),
        labelled("Value", this.value),
        el("button", { type: "submit" }, "Add and ask"),
      ),
      el(
        "div.line",
        labelled("Since", this.single.since),
        labelled("Until", this.single.until),
        labelled("Records (seq)", this.single.seq),
        labelled("Order", this.order),
      ),
      el(
        "div.line",
        el(
          "div.periods",
          { role: "group", label: "Period" },
          PERIODS.map(([since, label]) =>
            button(label, () => this.change({ since, until: "", at: null }), { "data-since": since }),
          ),
        ),
        this.zoneNote,
      ),
      this.chips,
    );

    this.said = el("p.said-of", { role: "status" });
    this.histogram = new Histogram((from, to) => this.brushed(from, to));
    this.axis = el("p.axis", { "aria-hidden": "true" });
    this.counts = el("div");
    this.tops = el("div.tops");
    this.summary = el(
      "section.summary",
      { label: "Summary" },
      el(
        "figure",
        el("figcaption", this.said),
        this.histogram.node,
        this.axis,
        el("details.as-table", el("summary", "Over time, as a table"), this.counts),
      ),
      this.tops,
    );

    this.followed = button("Follow live", () => this.toggleFollow(), { class: null, "aria-pressed": "false" });
    this.followNote = el("span.note", { "data-part": "follow" });
    this.download = new Download(() => this.question);
    this.command = el("code", { "data-part": "command" });
    const commandBox = el("pre", { tabindex: "0", label: "Command" }, this.command);
    const copied = button("Copy", () => copy(toCommand(this.question), this.command, copied));
    this.tools = el(
      "div.tools",
      this.followed,
      this.followNote,
      button("Refresh", () => this.refresh()),
      this.download.node,
      el("details.command", el("summary", "The same as a command"), commandBox, copied),
    );

    this.error = el("div.alarm", { role: "alert", hidden: true });
    this.rows = new Rows((seq) => this.change({ record: seq }));
    this.newer = [button("Newest", () => this.ends(true)), button("‹ Newer", () => this.turn("from"))];
    this.older = [button("Older ›", () => this.turn("before")), button("Oldest", () => this.ends(false))];
    this.where = el("span", { "data-part": "where" });
    this.goTo = el("input", {
      id: "go-to",
      type: "text",
      inputmode: "numeric",
      pattern: "[0-9]*",
      size: "10",
      autocomplete: "off",
    });
    this.pager = el(
      "nav.pager",
      { label: "Pages of records" },
      this.newer,
      this.where,
      this.older,
      el(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            this.jump(this.goTo.value.trim());
          },
        },
        el("label", { for: "go-to" }, "Go to record"),
        " ",
        this.goTo,
        el("button", { type: "submit", class: "quiet" }, "Go"),
      ),
    );
    this.panel = new RecordPanel({
      close: () => this.closeRecord(),
      show: (seq) => this.change({ record: seq }),
      filter: (key, value) => this.filter(key, value),
      address: (seq) => toAddress({ ...this.question, record: seq }),
    });
    this.node = el(
      "div.explore",
      el("h1", { tabindex: "-1" }, "Explore"),
      this.form,
      this.error,
      this.summary,
      this.tools,
      el("div.split", el("section.records", { label: "Records" }, this.rows.node, this.pager), this.panel.node),
    );
    this.hint();
  }

  hint() {
    this.value.placeholder = HINTS[this.field.value];
  }

  open(address) {
    const question = fromAddress(address);
    const before = this.question;
    this.question = question;
    this.showQuestion();
    if (!before && address && isFromElsewhere()) this.hold();
    else if (!before || !isSame(before, question)) {
      this.held = false;
      this.run();
    } else if (this.followOnce) this.followOnce = false;
    else if (before.at !== question.at || before.order !== question.order) {
      this.stopFollow();
      this.askPage();
    }
    if (question.record !== null && !this.held) {
      if (question.record !== this.panel.seq) this.panel.open(question.record);
    } else if (this.panel.seq !== null) {
      this.panel.shut();
    }
    this.rows.mark(question.record);
  }

  /** A link of somebody else must not ask, and be recorded, in the name of who follows it. */
  hold() {
    this.held = true;
    const ask = button(
      "Ask it",
      () => {
        this.error.hidden = true;
        this.held = false;
        this.question = null;
        this.open(toAddress(fromAddress(location.hash.split("?")[1])).split("?")[1] ?? "");
      },
      { class: null },
    );
    fill(this.error, el("p", "This question came with the address. "), ask);
    this.error.hidden = false;
  }

  close() {
    this.stopFollow();
    for (const asking of Object.values(this.asking)) asking.abort();
    this.question = null;
    this.panel.shut();
  }

  back() {
    if (this.follow) this.tick();
    else if (this.broken) this.run();
    if (this.panel.broken) this.panel.open(this.panel.seq);
  }

  zone() {
    this.showQuestion();
    if (this.found) this.showSummary(this.found);
    if (this.page) this.showPage();
    this.panel.again();
  }

  seen(visible) {
    if (this.follow && visible) this.tick();
  }

  go(question) {
    const address = toAddress(question);
    if (location.hash === address) this.run();
    else location.hash = address;
  }

  change(parts) {
    this.go({ ...this.question, ...parts });
  }

  submitted(event) {
    event.preventDefault();
    const question = { ...this.question, at: null };
    for (const key of SINGLE)
      question[key] = key === "seq" ? this.single.seq.value.trim() : typed(this.single[key].value);
    const value = this.value.value;
    const key = this.field.value;
    if (value.trim() !== "" && !question[key].includes(value))
      question[key] = [...question[key], key === "grep" ? value : value.trim()];
    this.value.value = "";
    this.go(question);
  }

  filter(key, value) {
    const wanted = key === "grep" || key === "where" ? value : pattern(value);
    const has = this.question[key].includes(wanted);
    this.change({ [key]: has ? this.question[key].filter((one) => one !== wanted) : [wanted], at: null });
  }

  showQuestion() {
    const { question } = this;
    for (const key of SINGLE) this.single[key].value = question[key];
    this.order.value = question.order;
    this.zoneNote.textContent = `Times without a zone are ${zoneName()}.`;
    for (const button of this.form.querySelectorAll("[data-since]")) {
      button.setAttribute("aria-pressed", String(button.dataset.since === question.since && question.until === ""));
    }
    fill(
      this.chips,
      FIELDS.flatMap(([key, label]) =>
        question[key].map((value) =>
          el(
            "li",
            el("span", `${label}: `, shown(value, 80)),
            el(
              "button",
              {
                type: "button",
                label: `Remove the filter ${label} ${named(value, 80)}`,
                onclick: () => this.change({ [key]: question[key].filter((one) => one !== value), at: null }),
              },
              "✕",
            ),
          ),
        ),
      ),
    );
    this.command.textContent = toCommand(question);
  }

  async run() {
    if (!this.question) return;
    this.stopFollow();
    this.broken = false;
    await Promise.all([this.askSummary(), this.askPage()]);
  }

  /** Only the newest of a kind is answered; the others are given up. */
  begin(kind) {
    this.asking[kind]?.abort();
    const asking = (this.asking[kind] = new AbortController());
    this.node.classList.add("asking");
    return asking.signal;
  }

  ended(kind, signal) {
    if (this.asking[kind]?.signal === signal) delete this.asking[kind];
    this.node.classList.toggle("asking", Object.keys(this.asking).length > 0);
  }

  /** Nothing of an earlier question stands under a later one, or is left when somebody signs out. */
  clear() {
    this.stopFollow();
    this.found = this.page = null;
    this.broken = true;
    fill(this.said);
    fill(this.tops);
    fill(this.where);
    fill(this.counts);
    this.histogram.node.hidden = this.axis.hidden = true;
    this.rows.show([]);
    this.panel.empty();
  }

  refresh() {
    if (this.follow) this.askSummary();
    else this.run();
  }

  async askSummary() {
    const signal = this.begin("summary");
    this.said.textContent = "Counting…";
    const filters = toFilters(this.question);
    filters.set("buckets", String(BUCKETS));
    filters.set("top", "8");
    for (const [key] of TOPS) filters.append("by", key);
    try {
      const began = performance.now();
      const answer = await askJson(`/v1/summary?${filters}`, { signal, patience: 120_000 });
      if (signal.aborted) return;
      const found = { ...answer, ...answer.summary };
      found.took = performance.now() - began;
      this.found = found;
      this.showSummary(found);
    } catch (error) {
      if (signal.aborted) return;
      this.found = null;
      fill(this.tops);
      this.histogram.node.hidden = this.axis.hidden = true;
      this.said.textContent = "The records were not counted.";
      this.failed(error);
    } finally {
      this.ended("summary", signal);
    }
  }

  /** `at` says where in the answer the page begins: `from.N` upwards, `before.N` downwards; else at its beginning. */
  async askPage() {
    const signal = this.begin("page");
    const { question } = this;
    const filters = toFilters(question);
    const [kind, place] = question.at?.split(".") ?? [null, null];
    let up = question.order === "oldest";
    if (kind) {
      up = kind === "from";
      const [begin, end] = range(question.seq);
      filters.set(
        "seq",
        up ? `${Math.max(begin, Number(place))}..${end ?? ""}` : `${begin}..${Math.min(end ?? NEWEST, Number(place))}`,
      );
    }
    filters.set("order", up ? "oldest" : "newest");
    filters.set("limit", String(PAGE));
    try {
      const answer = parse(await askText(`/v1/events?${filters}`, { signal, patience: 120_000 }));
      if (signal.aborted) return;
      this.error.hidden = true;
      const records = list(answer, "records");
      if (up !== (question.order === "oldest")) records.reverse();
      this.page = { answer, records, up, kind };
      this.showPage();
    } catch (error) {
      if (signal.aborted) return;
      this.page = null;
      this.rows.show([]);
      fill(this.where);
      this.failed(error);
    } finally {
      this.ended("page", signal);
    }
  }

  failed(error) {
    this.broken = true;
    if (error instanceof Refusal && error.kind === "signed_out") return;
    fill(this.error, el("p", el("b", "The question was not answered. "), shown(told(error), 2000)));
    this.error.hidden = false;
  }

  showSummary(found) {
    const { counts, starts, end, step, earlier, later, undated } = found.histogram;
    const at = (bucket) => starts[bucket] ?? end;
    const label = (bucket) => stamp(at(bucket), 0);
    const most = counts.indexOf(Math.max(...counts, 1));
    const beyond = [
      [earlier, "earlier"],
      [later, "later"],
      [undated, "without a time"],
    ]
      .filter(([number]) => number > 0)
      .map(([number, where]) => `${many(number, "record")} ${where}`);
    const sentence =
      found.total === 0
        ? "No record meets this question."
        : `${many(found.total, "record")}, from ${stamp(found.from, 0)} to ${stamp(found.to, 0)}.${most >= 0 ? ` The most in ${stepWord(step)}: ${count(counts[most])}, from ${label(most)}.` : ""}`;
    fill(
      this.said,
      sentence,
      " ",
      beyond.length > 0 && `Not in the chart: ${beyond.join(", ")}. `,
      this.lacks(found),
      el(
        "span.note",
        ` Counted in ${count(Math.max(1, Math.round(found.took)))} ms, up to record ${count(Math.max(0, found.end - 1))}.`,
      ),
    );
    this.buckets = at;
    this.histogram.show(counts, label, sentence);
    this.histogram.node.hidden = this.axis.hidden = counts.length === 0;
    fill(this.axis, el("span", label(0)), el("span", `a bar is ${stepWord(step)}`), el("span", label(counts.length)));
    fill(
      this.counts,
      table(
        `Records over time (${zoneName()})`,
        ["From", "Records"],
        counts.map((value, bucket) => [label(bucket), count(value)]).filter((_, bucket) => counts[bucket] > 0),
      ),
    );
    fill(
      this.tops,
      TOPS.filter(([key]) => found.by[key]).map(([key, name]) => this.top(key, name, found)),
    );
  }

  lacks(found) {
    const told = [];
    if (!found.complete)
      told.push(
        `The time was up: only records from ${count(found.looked_from)} on were counted. Ask about a shorter period.`,
      );
    if (found.pruned)
      told.push(`Records ${count(found.pruned.begin)} to ${count(found.pruned.end - 1)} were removed by retention.`);
    if (found.missing)
      told.push(
        `Records ${count(found.missing.begin)} to ${count(found.missing.end - 1)} are missing, although they were signed.`,
      );
    if (found.unreadable > 0) told.push(`${many(found.unreadable, "line is", "lines are")} no records.`);
    if (found.damaged?.length > 0) told.push(`${many(found.damaged.length, "place")} could not be read.`);
    return told.length > 0 && el("strong.warn", `▲ ${told.join(" ")} `);
  }

  top(key, label, found) {
    const { values, other, distinct, exact, error } = found.by[key];
    const name = (value, full) => {
      if (value.missing) return full ? "none" : el("i", "none");
      const said = typeof value.value === "string" ? value.value : JSON.stringify(value.value);
      return full ? named(said, 120) : shown(said, 120);
    };
    const rest = [
      other > 0 && `${many(other, "record")} of others`,
      !exact && `counts may be up to ${count(error)} too high; at least ${count(distinct)} values`,
    ].filter(Boolean);
    return el(
      "section.top",
      { "data-top": key, label: label },
      el("h2", label),
      values.length === 0
        ? note("none")
        : bars(
            values,
            found.total,
            (value) => this.question[key].includes(pattern(value)),
            (value) => this.filter(key, value),
            name,
          ),
      rest.length > 0 && note(rest.join("; ")),
    );
  }

  brushed(from, to) {
    this.change({ since: short(this.buckets(from)), until: short(this.buckets(to)), at: null });
  }

  showPage() {
    const { records, answer, up, kind } = this.page;
    this.rows.show(records, (seq) => toAddress({ ...this.question, record: seq }));
    this.rows.mark(this.question.record);
    const more = get(answer, "more")?.value === "true";
    const [hasNewer, hasOlder] = up
      ? [more, kind === "from" && !/\.0$/.test(this.question.at)]
      : [kind === "before", more];
    for (const button of this.newer) button.disabled = !hasNewer;
    for (const button of this.older) button.disabled = !hasOlder;
    const seqs = this.rows.seqs();
    const lacks = this.lacks({
      complete: true,
      looked_from: 0,
      pruned: plain(get(answer, "pruned")),
      missing: plain(get(answer, "missing")),
      unreadable: whole(answer, "unreadable") ?? 0,
      damaged: plain(get(answer, "damaged")) ?? [],
    });
    fill(
      this.where,
      seqs.length === 0
        ? "No records here."
        : `Records ${count(Math.min(...seqs))} to ${count(Math.max(...seqs))}, ${seqs.length} shown. `,
      lacks,
    );
  }

  turn(kind) {
    const seqs = this.rows.seqs();
    if (seqs.length === 0) {
      this.change({ at: null });
      return;
    }
    this.change({ at: kind === "from" ? `from.${Math.max(...seqs) + 1}` : `before.${Math.min(...seqs)}` });
  }

  ends(newest) {
    const first = (this.question.order === "newest") === newest;
    this.change({ at: first ? null : newest ? `before.${NEWEST}` : "from.0" });
  }

  jump(text) {
    const seq = Number(text.replaceAll(",", ""));
    if (!Number.isSafeInteger(seq) || seq < 0) {
      this.goTo.focus();
      return;
    }
    this.change({ at: this.question.order === "newest" ? `before.${seq + 1}` : `from.${seq}` });
  }

  closeRecord() {
    const seq = this.question.record;
    this.change({ record: null });
    this.rows.focus(seq);
  }

  // Following: the newest records since the last look, once each; what goes by too fast is said and not shown.

  toggleFollow() {
    if (this.follow) {
      this.stopFollow();
      return;
    }
    if (this.question.order !== "newest" || this.question.at) {
      this.followOnce = true;
      this.change({ order: "newest", at: null });
    }
    this.follow = { end: null, log: null, fresh: 0, tries: 0, timer: null, asking: null, since: null };
    this.followed.setAttribute("aria-pressed", "true");
    this.tick();
  }

  stopFollow() {
    if (!this.follow) return;
    clearTimeout(this.follow.timer);
    this.follow.asking?.abort();
    this.follow = null;
    this.followed.setAttribute("aria-pressed", "false");
    this.followNote.textContent = "";
  }

  async tick() {
    const { follow } = this;
    if (!follow || document.hidden) return;
    clearTimeout(follow.timer);
    follow.asking?.abort();
    const asking = new AbortController();
    follow.asking = asking;
    const filters = toFilters(this.question);
    const [begin, end] = range(this.question.seq);
    if (follow.end !== null) filters.set("seq", `${Math.max(begin, follow.end)}..${end ?? ""}`);
    filters.set("order", "newest");
    filters.set("limit", String(follow.end === null ? PAGE : FOLLOWED));
    if (follow.end !== null) filters.set("follow", "true");
    try {
      const answer = parse(await askText(`/v1/events?${filters}`, { signal: asking.signal }));
      if (asking.signal.aborted || this.follow !== follow) return;
      this.followedTo(answer);
      follow.tries = 0;
    } catch (error) {
      if (asking.signal.aborted || this.follow !== follow) return;
      if (error instanceof Refusal && error.kind === "signed_out") return;
      follow.tries += 1;
      this.followNote.textContent = `■ ${told(error)} Continues from record ${count(follow.end ?? 0)} when it is back.`;
      if (error instanceof Refusal && [400, 403].includes(error.status)) {
        this.failed(error);
        this.stopFollow();
        return;
      }
    }
    follow.timer = setTimeout(() => this.tick(), Math.min(15_000, 1_000 * 2 ** Math.min(follow.tries, 4)));
  }

  followedTo(answer) {
    const { follow } = this;
    const log = `${get(answer, "log_id")?.raw} ${get(answer, "epoch")?.raw}`;
    const end = whole(answer, "end") ?? 0;
    const records = list(answer, "records");
    if (follow.log !== null && (follow.log !== log || end < follow.end)) {
      Object.assign(follow, { log: null, end: null });
      this.followNote.textContent = "▲ The log was replaced or restored. Beginning again with its newest records.";
      return;
    }
    const passed = follow.end !== null && get(answer, "more")?.value === "true";
    follow.passed ||= passed;
    if (follow.end === null) {
      this.page = { answer, records, up: false, kind: null };
      this.showPage();
    } else {
      follow.fresh += records.length;
      this.rows.prepend(records, FOLLOWED, passed);
    }
    Object.assign(follow, { log, end });
    this.followNote.textContent = `● Live, up to record ${count(Math.max(0, end - 1))}; ${count(follow.fresh)} new${follow.passed ? ". Some passed by too fast to be shown" : ""}.`;
  }
}
