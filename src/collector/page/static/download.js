// An answer as a file: read page by page with the token, up to a bound, which is said.

import { ask, save, told } from "./api.js";
import { toFilters } from "./question.js";
import { button, bytes, el } from "./text.js";

const MOST_BYTES = 64 * 1024 * 1024;
const FORMS = { ndjson: "application/x-ndjson", csv: "text/csv" };

export class Download {
  constructor(question) {
    this.question = question;
    this.said = el("span.note", { role: "status", "data-part": "download" });
    this.stop = button("Stop", () => this.stopping?.abort(), { hidden: true });
    this.buttons = ["NDJSON", "CSV"].map((form) => button(`Download ${form}`, () => this.run(form.toLowerCase())));
    this.node = el("span.download", this.buttons, this.stop, this.said);
  }

  async run(form) {
    const stopping = new AbortController();
    this.stopping = stopping;
    for (const button of this.buttons) button.disabled = true;
    this.stop.hidden = false;
    const taken = { parts: [], bytes: 0, cut: null, lacks: new Set() };
    try {
      await this.read(form, taken, stopping.signal);
    } catch (error) {
      taken.cut = stopping.signal.aborted ? "you stopped it" : told(error);
    }
    this.end(form, taken);
    for (const button of this.buttons) button.disabled = false;
    this.stop.hidden = true;
  }

  async read(form, taken, signal) {
    const question = this.question();
    const filters = toFilters(question);
    filters.set("order", question.order);
    filters.set("format", form);
    filters.set("limit", "0");
    for (let first = true; ; first = false) {
      const response = await ask(`/v1/events?${filters}`, { signal, accept: FORMS[form], patience: 120_000 });
      let part = new Uint8Array(await response.arrayBuffer());
      // Each page of CSV has the header, which is one line.
      if (form === "csv" && !first) part = part.subarray(part.indexOf(10) + 1);
      for (const what of ["pruned", "damaged", "unreadable", "missing"]) {
        const found = response.headers.get(`auditctl-${what}`);
        if (found) taken.lacks.add(`${what}: ${found}`);
      }
      taken.parts.push(part);
      taken.bytes += part.length;
      const next = response.headers.get("auditctl-next-seq");
      this.said.textContent = `${bytes(taken.bytes)} so far…`;
      if (!next) return;
      if (taken.bytes >= MOST_BYTES) {
        taken.cut = `it is limited to ${bytes(MOST_BYTES)}; the command has no limit`;
        return;
      }
      filters.set("seq", next);
    }
  }

  end(form, taken) {
    const careful = form === "csv" ? " Careful: a spreadsheet runs a cell that begins with = as a formula." : "";
    if (taken.cut && taken.bytes === 0) {
      this.said.textContent = `■ Nothing was saved: ${taken.cut}.`;
      return;
    }
    const name = `auditctl-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}Z${taken.cut || taken.lacks.size > 0 ? "-incomplete" : ""}.${form}`;
    const lacks = taken.lacks.size > 0 ? `The log lacks some of it (${[...taken.lacks].join(", ")}). ` : "";
    save(taken.parts, name, FORMS[form]);
    this.said.textContent = taken.cut
      ? `▲ Cut: ${taken.cut}. ${lacks}Saved ${bytes(taken.bytes)} as ${name}.${careful}`
      : `${lacks ? `▲ ${lacks}` : "● "}Saved ${bytes(taken.bytes)} as ${name}.${careful}`;
  }
}
