// The table of records: one page of them, never more. The arrow keys move from record to record.

import { text, whole } from "./json.js";
import { add, el, fill, named, scroller, shown } from "./text.js";
import { time, zoneName } from "./time.js";

const COLUMNS = [
  ["event_type", "Type"],
  ["actor", "Actor"],
  ["target", "Target"],
  ["outcome", "Outcome"],
  ["source", "Source"],
];

/** No identifier is longer: what is cut off on the screen stands in its cell all the same. */
const WHOLE = 256;

export class Rows {
  constructor(open) {
    this.open = open;
    this.address = () => "";
    this.zone = el("th", { scope: "col", role: "columnheader" });
    this.body = el("tbody", {
      role: "rowgroup",
      onclick: (event) => this.clicked(event),
      onkeydown: (event) => this.key(event),
    });
    // The roles are said, because on a phone a row is laid out as a block.
    const head = el(
      "thead",
      { role: "rowgroup" },
      el(
        "tr",
        { role: "row" },
        el("th", { scope: "col", role: "columnheader" }, "Seq"),
        this.zone,
        COLUMNS.map(([, label]) => el("th", { scope: "col", role: "columnheader" }, label)),
      ),
    );
    this.node = scroller(
      "Table of records",
      el(
        "table.rows",
        { role: "table" },
        el("caption.unseen-label", "Records; Enter opens one, the arrow keys go from one to the next"),
        head,
        this.body,
      ),
    );
  }

  show(records, address = this.address) {
    this.address = address;
    this.zone.textContent = `Time (${zoneName()})`;
    fill(
      this.body,
      records.map((record) => this.row(record)),
    );
    this.tabbable();
  }

  prepend(records, most, gap) {
    this.zone.textContent = `Time (${zoneName()})`;
    if (gap)
      this.body.prepend(
        el(
          "tr",
          { role: "row" },
          el("td", { role: "cell", colspan: String(COLUMNS.length + 2) }, "… some passed by too fast to be shown …"),
        ),
      );
    this.body.prepend(...records.map((record) => this.row(record, true)));
    while (this.body.rows.length > most) this.body.lastChild.remove();
    this.tabbable();
  }

  row(record, fresh = false) {
    const seq = whole(record, "seq");
    if (seq === null)
      return el(
        "tr.damaged",
        { role: "row" },
        el("th", { scope: "row", role: "rowheader" }, "–"),
        el("td", { role: "cell", colspan: String(COLUMNS.length + 1) }, "■ no record: ", shown(record.raw, 200)),
      );
    const own = (text(record, "event_type") ?? "").startsWith("audit.");
    return el(
      "tr",
      { role: "row", "data-seq": seq, class: `${own ? "own" : ""} ${fresh ? "fresh" : ""}` },
      el(
        "th",
        { scope: "row", role: "rowheader" },
        el("a", { href: this.address(String(seq)), tabindex: "-1" }, String(seq)),
      ),
      el("td.time", { role: "cell" }, time(text(record, "timestamp"), 3, false)),
      COLUMNS.map(([key, label]) => cell(key, label, text(record, key))),
    );
  }

  seqs() {
    return [...this.body.rows].filter((row) => row.dataset.seq).map((row) => Number(row.dataset.seq));
  }

  mark(seq) {
    for (const row of this.body.rows) row.classList.toggle("open", row.dataset.seq === seq);
    this.tabbable();
  }

  focus(seq) {
    this.body.querySelector(`tr[data-seq="${CSS.escape(String(seq))}"] a`)?.focus();
  }

  tabbable(link = this.body.querySelector("tr.open a") ?? this.body.querySelector("a")) {
    for (const other of this.body.querySelectorAll("a[tabindex='0']")) other.tabIndex = -1;
    if (link) link.tabIndex = 0;
  }

  clicked(event) {
    if (event.target.closest("a") || getSelection().toString() !== "") return;
    const seq = event.target.closest("tr")?.dataset.seq;
    if (seq) this.open(seq);
  }

  key(event) {
    const links = [...this.body.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const link = links[Math.max(0, Math.min(links.length - 1, to))];
    this.tabbable(link);
    link.focus();
  }
}

function cell(key, label, value) {
  const node = el("td", { "data-label": label, role: "cell", title: value && named(value, WHOLE) });
  if (value === null) return node;
  const whole = shown(value, WHOLE);
  return add(node, key === "outcome" ? el("span", { class: `outcome ${outcome(value)}` }, whole) : whole);
}

function outcome(value) {
  if (/^(success|ok|allowed|granted)$/i.test(value)) return "good";
  return /^(fail|failure|failed|denied|error|refused)$/i.test(value) ? "bad" : "";
}
