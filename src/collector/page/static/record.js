// One record: its fields, details and origin as a tree, the stored line, its neighbours, and its proof, which the

import { askText, Refusal, save, told } from "./api.js";
import { get, list, parse, text, whole } from "./json.js";
import { ProofResult } from "./proof-result.js";
import { add, button, copy, count, el, fill, many, note, scroller, shown } from "./text.js";
import { time } from "./time.js";

const FIELDS = [
  ["event_type", "Event type", "type"],
  ["actor", "Actor", "actor"],
  ["source", "Source", "source"],
  ["target", "Target", "target"],
  ["outcome", "Outcome", "outcome"],
  ["id", "Id", "id"],
];
const TIMES = [
  ["timestamp", "Time"],
  ["recorded_at", "Recorded at"],
];
const KNOWN = new Set(["seq", "details", "origin", ...FIELDS.map(([key]) => key), ...TIMES.map(([key]) => key)]);
const AROUND = 5;
const OPEN = 2;
const MOST = 60;
const LONG = 400;
const SMALL = { class: "quiet small" };

export class RecordPanel {
  constructor(does) {
    this.does = does;
    this.seq = null;
    this.heading = el("h2", { tabindex: "-1" });
    this.body = el("div");
    this.node = el(
      "section.record",
      { label: "Record", hidden: true, onkeydown: (event) => this.key(event) },
      el(
        "div.title",
        this.heading,
        button("Close", () => does.close()),
      ),
      this.body,
    );
  }

  key(event) {
    if (event.key !== "Escape") return;
    event.preventDefault();
    this.does.close();
  }

  shut() {
    this.seq = null;
    this.broken = false;
    this.asking?.abort();
    this.node.hidden = true;
    fill(this.body);
  }

  empty() {
    this.broken = this.seq !== null;
    this.asking?.abort();
    this.answer = null;
    fill(this.body, note("Sign in to see it."));
  }

  async open(seq) {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.seq = seq;
    this.answer = null;
    this.broken = false;
    this.node.hidden = false;
    this.heading.textContent = `Record ${seq}`;
    fill(this.body, note("Asking…"));
    this.heading.focus();
    try {
      const answer = parse(await askText(`/v1/records/${seq}?around=${AROUND}`, { signal: asking.signal }));
      if (asking.signal.aborted) return;
      this.answer = answer;
      this.show();
    } catch (error) {
      if (asking.signal.aborted) return;
      this.broken = true;
      if (error instanceof Refusal && error.kind === "signed_out") return;
      fill(this.body, el("p.alarm", { role: "alert" }, shown(told(error), 1000)));
    }
  }

  again() {
    if (this.seq !== null && this.answer) this.show();
  }

  show() {
    const record = get(this.answer, "record");
    if (record?.kind !== "object") {
      fill(
        this.body,
        el("p.alarm", "■ This line of the log is no record; auditctl verify says more."),
        this.line(record?.kind === "text" ? record.value : (record?.raw ?? "")),
      );
      return;
    }
    const others = record.entries.filter(([key]) => !KNOWN.has(key));
    fill(
      this.body,
      el(
        "dl.fields",
        TIMES.map(
          ([key, label]) =>
            text(record, key) !== null && el("div", el("dt", label), el("dd", time(text(record, key), 6))),
        ),
        FIELDS.map(([key, label, filter]) => this.field(label, filter, text(record, key))),
        others.map(([key, node]) => el("div", el("dt", shown(key, 100)), el("dd", tree(node, 1)))),
      ),
      this.tree("Details", get(record, "details")),
      this.tree("Origin", get(record, "origin")),
      this.line(record.raw),
      this.neighbours(),
      this.proof(),
    );
  }

  field(label, filter, value) {
    if (value === null) return null;
    return el(
      "div",
      el("dt", label),
      el(
        "dd",
        shown(value, 1000),
        " ",
        button("filter", () => this.does.filter(filter, value), {
          ...SMALL,
          label: `Filter by this ${label.toLowerCase()}`,
        }),
      ),
    );
  }

  tree(label, node) {
    if (!node) return null;
    return el("section.tree", { label: label, "data-part": label.toLowerCase() }, el("h3", label), tree(node, 0));
  }

  line(raw) {
    const box = el("pre", { tabindex: "0", label: "Stored line" });
    const copied = button("Copy", () => copy(raw, box, copied), SMALL);
    const whole = el(
      "details",
      { "data-part": "line" },
      el("summary", `As it is stored (${many(new TextEncoder().encode(raw).length, "byte")})`),
      box,
      copied,
    );
    // Long lines are laid out only when somebody wants to see them.
    whole.addEventListener("toggle", () => {
      if (whole.open && !box.firstChild) add(box, shown(raw, raw.length));
    });
    return whole;
  }

  neighbours() {
    const row = (node) => {
      const seq = whole(node, "seq");
      const own = String(seq) === this.seq;
      return el(
        "tr",
        own ? { class: "open", "aria-current": "true" } : {},
        el(
          "th",
          { scope: "row" },
          seq === null ? "–" : own ? String(seq) : el("a", { href: this.does.address(String(seq)) }, String(seq)),
        ),
        el("td", time(text(node, "timestamp"), 3, false)),
        el("td", shown(text(node, "event_type") ?? node.raw, 60)),
        el("td", shown(text(node, "actor") ?? "", 60)),
      );
    };
    const all = [...list(this.answer, "before"), get(this.answer, "record"), ...list(this.answer, "after")];
    return el(
      "section",
      { label: "Neighbours", "data-part": "neighbours" },
      el("h3", "Neighbours"),
      scroller(
        "Table of neighbours",
        el(
          "table.plain",
          el(
            "thead",
            el(
              "tr",
              ["Seq", "Time", "Type", "Actor"].map((head) => el("th", { scope: "col" }, head)),
            ),
          ),
          el("tbody", all.map(row)),
        ),
      ),
    );
  }

  proof() {
    const result = new ProofResult();
    const kept = button("Save the proof", null, { hidden: true });
    const { seq } = this;
    const begin = button(
      "Check the proof in this browser",
      async () => {
        begin.disabled = true;
        result.busy();
        const { raw } = get(this.answer, "record");
        try {
          const document = await askText(`/v1/proof/${seq}`, { patience: 60_000 });
          await result.check(document, raw);
          kept.hidden = false;
          kept.onclick = () => save([document], `record-${seq}.proof.json`, "application/json");
        } catch (error) {
          result.failed(told(error));
        }
        begin.disabled = false;
      },
      { class: null },
    );
    return el(
      "section",
      { label: "Proof", "data-part": "proof" },
      el("h3", "Proof"),
      note(
        "The collector hands out the record's path to the signed root; this browser computes it, and needs nobody for that.",
      ),
      begin,
      " ",
      kept,
      result.node,
    );
  }
}

/** A foldable tree. Deep, long and many-valued parts are folded, and made when they are opened. */
function tree(node, depth) {
  if (node.kind === "object") return branch(node.entries, depth, "{", "}", (key) => shown(key, 200));
  if (node.kind === "array")
    return branch(
      node.items.map((item, at) => [at, item]),
      depth,
      "[",
      "]",
      (at) => String(at),
    );
  if (node.kind === "text") return leaf(node.value);
  return el("span", { class: node.kind }, shown(node.value, 2000));
}

function leaf(value) {
  const node = el("span.string", shown(value, LONG));
  if (value.length <= LONG) return node;
  const all = button(
    `show all ${count(value.length)} characters`,
    () => {
      fill(node, shown(value, value.length));
      all.remove();
    },
    SMALL,
  );
  return el("span", node, " ", all);
}

function branch(entries, depth, open, close, name) {
  if (entries.length === 0) return el("span.word", `${open}${close}`);
  const inside = () => {
    const items = el("ul.branch");
    const put = (from) => {
      for (const [key, node] of entries.slice(from, from + MOST))
        add(items, el("li", el("span.key", name(key)), ": ", tree(node, depth + 1)));
      const left = entries.length - from - MOST;
      if (left <= 0) return;
      const last = el(
        "li",
        button(
          `show ${count(Math.min(MOST, left))} more of ${count(left)}`,
          () => {
            last.remove();
            put(from + MOST);
          },
          SMALL,
        ),
      );
      add(items, last);
    };
    put(0);
    return items;
  };
  if (depth === 0) return inside();
  const folded = el(
    "details",
    el("summary", `${open} ${many(entries.length, open === "[" ? "element" : "key")} ${close}`),
  );
  const show = () => {
    if (folded.open && !folded.lastChild.matches("ul")) add(folded, inside());
  };
  folded.addEventListener("toggle", show);
  if (depth < OPEN && entries.length <= 20) {
    folded.open = true;
    show();
  }
  return folded;
}
