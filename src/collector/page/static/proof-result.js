// What the checker says about a proof or checkpoint: everything in it happens in this browser.

import { check, group } from "./proof.js";
import { badge, el, fill, many, note, shown } from "./text.js";

const WORDS = {
  proven: ["good", "Proven"],
  consistent: ["warn", "Consistent, key not compared"],
  refused: ["bad", "Refused"],
  newer: ["warn", "Made by a newer version"],
  needs_key: ["warn", "A key is needed"],
  unable: ["warn", "Cannot be checked here"],
};
const STATES = {
  ok: ["good", "holds"],
  bad: ["bad", "does not hold"],
  open: ["warn", "open"],
  skipped: ["unknown", "not looked at"],
};
const BADGES = { good: "ok", warn: "warning", bad: "critical", unknown: "unknown" };

export class ProofResult {
  constructor() {
    this.node = el("div.proof-result", { "aria-live": "polite", "data-part": "result" });
  }

  busy() {
    fill(this.node, note("Checking…"));
  }

  failed(text, verdict = "unable") {
    this.node.dataset.verdict = verdict;
    fill(this.node, el("p.alarm", shown(text, 1000)));
  }

  /** `line` is the record as the page shows it, if it shows one: a proof of another is none of it. */
  async check(document, line = null, options = {}, name = "") {
    this.busy();
    const result = await check(document, options);
    const holds = result.verdict === "proven" || result.verdict === "consistent";
    if (line !== null && holds && (result.kind !== "record" || result.record?.line !== line)) {
      this.failed("■ Refused: the proof is about another line than the record that is shown here.", "refused");
      return result;
    }
    this.show(result, name);
    return result;
  }

  show(result, name) {
    const [state, word] = WORDS[result.verdict] ?? ["unknown", result.verdict];
    this.node.dataset.verdict = result.verdict;
    fill(
      this.node,
      el(
        "div",
        { class: `verdict ${state}` },
        name && el("p.file", shown(name, 100)),
        el("p.word", badge(BADGES[state], word)),
        el("p.sentence", shown(result.sentence, 4000)),
        result.remedy && el("p.remedy", shown(result.remedy, 2000)),
        (result.notes ?? []).map((told) => note(shown(told, 2000))),
      ),
      key(result),
      el(
        "ol.steps",
        result.steps.map((step) =>
          el(
            "li",
            badge(BADGES[(STATES[step.state] ?? ["unknown"])[0]], (STATES[step.state] ?? ["", step.state])[1]),
            " ",
            el("b", step.name),
            " ",
            shown(step.detail ?? "", 2000),
          ),
        ),
      ),
      path(result),
      record(result),
    );
  }
}

function key({ key }) {
  if (!key) return null;
  return el(
    "div.key-of",
    el("p", "Fingerprint of the key, to compare with the one you keep (", el("code", "auditctl key show"), "):"),
    el("p.fingerprint", el("code", group(key.fingerprint))),
    note(shown(key.name, 200)),
  );
}

function path({ path, leaf, checkpoint }) {
  if (!path || !leaf) return null;
  return el(
    "details.path",
    el("summary", `The path to the root, ${many(path.length, "step")}`),
    el(
      "ol",
      el("li", el("b", "the record"), " ", el("code", leaf)),
      path.map((step) =>
        el(
          "li",
          `with what lies to the ${step.side}: `,
          el("code", step.sibling),
          ` makes records ${step.from} to ${step.to}: `,
          el("code", step.hash),
        ),
      ),
      checkpoint && el("li", el("b", "signed root"), ` of ${checkpoint.size} records `, el("code", checkpoint.root)),
    ),
  );
}

function record({ record, checkpoint }) {
  return [
    checkpoint &&
      note(
        `Checkpoint over ${checkpoint.size} records of `,
        shown(checkpoint.origin ?? checkpoint.log ?? "", 200),
        ".",
      ),
    record &&
      el(
        "details",
        el("summary", `Record ${record.seq}, as the proof has it`),
        el("pre", { tabindex: "0" }, shown(record.line ?? "", 100_000)),
      ),
  ];
}
