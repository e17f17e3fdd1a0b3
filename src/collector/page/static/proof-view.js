// "Proof": what of the log is anchored, signed or missing, over its whole length; a verification; files that the browser

import { ask, askJson, Refusal, told } from "./api.js";
import { lane, table } from "./chart.js";
import { group } from "./proof.js";
import { ProofResult } from "./proof-result.js";
import { badge, button, bytes, count, el, fill, many, note, shown, span } from "./text.js";
import { time, toMs } from "./time.js";

const WORDS = {
  anchored: "anchored: signed, and a backup or a pushed checkpoint covers it",
  signed: "signed by a key of this log",
  unsigned: "not signed yet",
  missing: "missing, although it was signed",
  removed: "removed by retention",
  adopted: "taken over unsigned after a crash",
};
const LARGEST = 64 * 1024 * 1024;
const FILES = 20;

export class ProofView {
  constructor() {
    this.coverage = el("div", { "data-part": "coverage" });
    this.error = el("div.alarm", { role: "alert", hidden: true });
    this.buildVerification();
    this.buildFiles();
    this.node = el(
      "div.proof",
      el("h1", { tabindex: "-1" }, "Proof"),
      this.error,
      el("section", { "aria-labelledby": "covered" }, el("h2", { id: "covered" }, "What is covered"), this.coverage),
      el(
        "section",
        { "aria-labelledby": "verification" },
        el("h2", { id: "verification" }, "Verify the whole log"),
        this.verification,
      ),
      el("section", { "aria-labelledby": "files" }, el("h2", { id: "files" }, "Check a file"), this.files),
    );
  }

  open() {
    this.opened = true;
    this.load();
    this.watch();
  }

  close() {
    this.opened = false;
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  back() {
    this.load();
    this.watch();
  }

  zone() {
    if (this.covered) this.show(this.covered);
  }

  seen(visible) {
    if (visible && this.opened) this.watch();
  }

  async load() {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    if (!this.covered) fill(this.coverage, note("Asking…"));
    try {
      this.covered = await askJson("/v1/coverage", { signal: asking.signal });
      this.error.hidden = true;
      this.show(this.covered);
    } catch (error) {
      if (!asking.signal.aborted) this.failed(error);
    }
  }

  failed(error) {
    if (error instanceof Refusal && error.kind === "signed_out") return;
    fill(this.error, el("p", shown(told(error), 2000)));
    this.error.hidden = false;
  }

  show(of) {
    const whole = of.records.next;
    const ranges = of.ranges.map((range) => ({ ...range, from: range.first_seq, to: range.end_seq }));
    const adopted = of.adopted.map((range) => ({ from: range.first_seq, to: range.end_seq, state: "adopted" }));
    const all = [...ranges, ...adopted];
    const words = (range) =>
      `Records ${count(range.from)} to ${count(range.to - 1)}: ${WORDS[range.state] ?? range.state}`;
    const named = (list) => list.map((range) => ({ ...range, name: words(range) }));
    const states = new Map();
    for (const range of all) states.set(range.state, (states.get(range.state) ?? 0) + range.to - range.from);
    const told = [...states].map(([state, number]) => `${count(number)} ${state}`).join(", ");
    fill(
      this.coverage,
      el(
        "p.sentence",
        whole === 0 ? "The log has no records yet." : `Of ${many(whole, "record")}: ${told}.`,
        of.signed ? ` The newest signed head covers ${count(of.signed.tree_size)}.` : " Nothing is signed yet.",
        " As the signed heads and the manifest say; only a verification reads the records.",
      ),
      of.contradictions?.length > 0 &&
        el(
          "div.alarm",
          el("b", "■ Signed heads elsewhere do not fit this log:"),
          el(
            "ul",
            of.contradictions.slice(0, 20).map((one) => el("li", shown(one.name, 200), ": ", shown(one.message, 500))),
          ),
        ),
      el(
        "div.lanes",
        this.lane("Records", named(all), whole, `Of ${many(whole, "record")}: ${told}.`),
        this.keyLane(of, whole),
        this.copies(of, whole),
      ),
      el(
        "ul.legend",
        { label: "Legend" },
        [...states].map(([state, number]) =>
          el(
            "li",
            el("span", { class: `swatch ${state}`, "aria-hidden": "true" }),
            ` ${WORDS[state] ?? state} (${count(number)})`,
          ),
        ),
      ),
      this.rangeTable(all),
      this.keys(of),
      this.anchors(of),
      this.backups(of),
    );
  }

  lane(label, ranges, whole, sentence) {
    return el(
      "div.lane-of",
      { "data-lane": label },
      el("span.lane-label", label),
      lane(ranges, whole, `${label}: ${sentence}`),
    );
  }

  keyLane(of, whole) {
    const epoch = of.log.epoch;
    const at = (place, otherwise) =>
      !place ? otherwise : place.epoch === undefined || place.epoch === epoch ? place.tree_size : otherwise;
    const ranges = of.keys.map((key, nth) => ({
      from: at(key.from, 0),
      to: at(key.to, whole),
      state: nth % 2 ? "key-odd" : "key-even",
      name: `${key.key}, fingerprint ${group(key.fingerprint)}`,
    }));
    return this.lane(
      "Keys",
      ranges.filter((range) => range.to > range.from),
      whole,
      `${many(ranges.length, "key")}, listed below.`,
    );
  }

  copies(of, whole) {
    const backups = of.backups
      .filter((backup) => backup.epoch === of.log.epoch)
      .map((backup) => ({
        from: backup.first_seq,
        to: backup.end_seq,
        state: "copy",
        name: `Backup ${backup.id}: records ${count(backup.first_seq)} to ${count(backup.end_seq - 1)}`,
      }));
    const archive =
      of.archive && of.archive.end_seq > 0
        ? [
            {
              from: 0,
              to: of.archive.end_seq,
              state: "copy",
              name: `Archive: up to record ${count(of.archive.end_seq - 1)}`,
            },
          ]
        : [];
    const most = (list) =>
      list.length > 0 ? `up to record ${count(Math.max(...list.map((range) => range.to)) - 1)}.` : "none.";
    return [
      this.lane("Backups", backups, whole, `${many(backups.length, "backup")}, ${most(backups)}`),
      this.lane("Archive", archive, whole, most(archive)),
    ];
  }

  rangeTable(all) {
    const rows = all
      .slice(0, 500)
      .map((range) => [
        `${count(range.from)} to ${count(range.to - 1)}`,
        count(range.to - range.from),
        WORDS[range.state] ?? range.state,
        shown(range.reason ?? "", 300),
      ]);
    return el(
      "details.as-table",
      el("summary", `The ranges as a table (${count(all.length)})`),
      table("Ranges of records", ["Records", "How many", "State", "Why"], rows),
    );
  }

  keys(of) {
    const place = (at) =>
      at
        ? `record ${count(at.tree_size)}${at.epoch === of.log.epoch || at.epoch === undefined ? "" : ` of epoch ${at.epoch}`}`
        : null;
    return [
      el("h3", "Keys"),
      table(
        "Keys of this log, the oldest first",
        ["Key", "Fingerprint, to compare with the one you keep", "From", "To", "State"],
        of.keys.map((key) => [
          shown(key.key, 100),
          el("code.fingerprint", group(key.fingerprint)),
          place(key.from) ?? "the beginning",
          place(key.to) ?? "now",
          key.signs_now
            ? badge("ok", "signs now")
            : key.replaced
              ? [badge("warning", "replaced"), key.replaced.reason && [": ", shown(key.replaced.reason, 200)]]
              : badge("unknown", "followed by the next"),
        ]),
      ),
    ];
  }

  anchors(of) {
    const most = Math.max(0, ...of.anchors.map((anchor) => anchor.tree_size));
    return [
      el("h3", "Checkpoints kept elsewhere"),
      of.anchors.length === 0
        ? note(
            "None that this collector knows of: whoever holds the key could rewrite the log unseen. Make a backup, or push checkpoints.",
          )
        : el(
            "p",
            `${count(of.anchors.length)}; the furthest covers ${many(most, "record")}. `,
            shown(of.anchors.map((anchor) => anchor.name).join(", "), 500),
          ),
    ];
  }

  backups(of) {
    const rows = of.backups
      .slice(0, 50)
      .map((backup) => [
        shown(backup.id, 80),
        `${count(backup.first_seq)} to ${count(backup.end_seq - 1)}`,
        time(backup.at),
        backup.damage ? [badge("damaged"), " ", shown(backup.damage, 300)] : shown(backup.verified, 60),
        shown(backup.copies.map((copy) => `${copy.place} (${copy.state})`).join(", "), 500),
      ]);
    return [
      el("h3", "Backups and archive"),
      el(
        "p",
        of.archive
          ? [
              "Archive at ",
              shown(of.archive.place ?? "", 200),
              `: the first ${many(of.archive.end_seq, "record")}, complete at `,
              time(of.archive.at),
              ".",
            ]
          : "No archive is set up.",
      ),
      rows.length === 0
        ? note("No backup is known here.")
        : table(
            "The newest backups, as the catalogue notes them; they are not read here",
            ["Backup", "Records", "Made", "Checked", "Copies"],
            rows,
          ),
    ];
  }

  buildVerification() {
    this.start = button("Verify now", () => this.begin(), { class: null });
    this.progress = el("progress", { max: "1", hidden: true, label: "Progress of the verification" });
    this.said = el("div", { role: "status", "data-part": "verification" });
    this.verification = el(
      "div.verification",
      note(
        "Reads every record, computes the tree, and checks it against the signed heads. It does not slow the writer.",
      ),
      this.start,
      this.progress,
      this.said,
    );
  }

  async begin() {
    this.start.disabled = true;
    this.error.hidden = true;
    try {
      this.stands = (await ask("/v1/verify", { method: "POST" })).status === 200;
    } catch (error) {
      if (error.status !== 409) this.failed(error);
    }
    this.start.disabled = false;
    this.watch();
  }

  async watch() {
    clearTimeout(this.timer);
    if (!this.opened || document.hidden) return;
    let running = false;
    try {
      const state = await askJson("/v1/verify");
      running = state.state === "running";
      if (this.ran && !running) this.load();
      this.ran = running;
      this.showVerification(state);
    } catch (error) {
      if (error instanceof Refusal && (error.kind === "signed_out" || error.status === 403)) {
        if (error.status === 403) {
          fill(this.said, note(shown(told(error), 1000)));
          this.start.hidden = true;
        }
        return;
      }
      running = this.ran;
      if (running)
        fill(
          this.said,
          el("p.alarm", `${told(error)} The verification goes on without this page, if the collector still runs.`),
        );
    }
    if (running && this.opened) this.timer = setTimeout(() => this.watch(), 1_000);
  }

  showVerification(state) {
    const running = state.state === "running";
    this.start.disabled = running;
    this.progress.hidden = !running;
    if (running) {
      const part = state.total_bytes > 0 ? Math.min(1, state.done_bytes / state.total_bytes) : 0;
      this.progress.value = part;
      // A screen reader is told each tenth, not each second.
      const text = `Verifying since ${state.started}: ${Math.floor(part * 10) * 10} %`;
      if (this.said.dataset.text !== text)
        fill(this.said, el("p", text, state.by && [", started by ", shown(state.by, 60)]));
      this.said.dataset.text = text;
      this.progress.title = `${bytes(state.done_bytes)} of ${bytes(state.total_bytes)}`;
      return;
    }
    delete this.said.dataset.text;
    const { result } = state;
    fill(
      this.said,
      state.error && el("p.alarm", shown(state.error, 2000)),
      state.state === "cancelled" && el("p", "The last verification was stopped before its end."),
      !result && state.state === "idle" && el("p", "No verification has been run since the collector started."),
      result && this.result(result),
      this.stands && note(`Nothing was recorded since: the verdict of ${span(state.age_seconds)} ago stands.`),
    );
  }

  result(result) {
    const good = result.verdict === "verified";
    const findings = (result.report?.findings ?? result.report?.problems ?? []).slice(0, 100);
    return el(
      "div",
      { class: `verdict ${good ? "good" : "bad"}`, "data-verdict": result.verdict },
      el("p.word", badge(good ? "ok" : "critical", good ? "Verified" : "Something is wrong")),
      el("p.sentence", shown(result.sentence, 4000)),
      note(
        "Ended ",
        time(result.ended ?? result.at),
        ` over ${many(result.tree_size, "record")}`,
        result.started && `, took ${span((toMs(result.ended) - toMs(result.started)) / 1000)}`,
        result.by && [", started by ", shown(result.by, 60)],
        ".",
      ),
      findings.length > 0 &&
        el(
          "ul",
          findings.map((finding) =>
            el("li", shown(typeof finding === "string" ? finding : (finding.message ?? JSON.stringify(finding)), 1000)),
          ),
        ),
    );
  }

  buildFiles() {
    this.keysGiven = el("textarea", { id: "keys", rows: "2", spellcheck: "false", autocomplete: "off" });
    this.input = el("input", { id: "file", type: "file", multiple: true, onchange: () => this.take(this.input.files) });
    this.results = el("div.results");
    this.drop = el(
      "div.drop",
      el("p", el("label", { for: "file" }, "Proof, checkpoint or backup metadata"), " ", this.input),
      note("Or drop the file here. It is checked in this browser and sent nowhere; it works without a network."),
    );
    for (const name of ["dragenter", "dragover"])
      this.drop.addEventListener(name, (event) => {
        event.preventDefault();
        this.drop.classList.add("over");
      });
    for (const name of ["dragleave", "drop"])
      this.drop.addEventListener(name, () => this.drop.classList.remove("over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.take(event.dataTransfer.files);
    });
    this.files = el(
      "div",
      el(
        "p.labelled",
        el("label", { for: "keys" }, "The key or fingerprint that you keep (audit.pub, or 64 hex digits)"),
        this.keysGiven,
      ),
      this.drop,
      this.results,
    );
    // Beside the field a file would replace the page.
    for (const name of ["dragover", "drop"])
      addEventListener(name, (event) => {
        if (!this.drop.contains(event.target)) event.preventDefault();
      });
  }

  async take(files) {
    const given = [...files].slice(0, FILES);
    const keys = this.keysGiven.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    fill(this.results);
    for (const file of given) {
      const result = new ProofResult();
      result.node.dataset.file = file.name;
      this.results.append(result.node);
      if (file.size > LARGEST) {
        result.failed(`${file.name} has ${bytes(file.size)}; a proof has at most ${bytes(LARGEST)}.`);
        continue;
      }
      try {
        await result.check(await file.arrayBuffer(), null, { keys }, file.name);
      } catch (error) {
        result.failed(`${file.name} cannot be read: ${error.message}`);
      }
    }
    if (files.length > FILES) this.results.append(note(`Only the first ${FILES} files were checked.`));
    this.input.value = "";
  }
}
