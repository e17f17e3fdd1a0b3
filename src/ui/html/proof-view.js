// ── The file that this stands in: shows what `check` found ───────────────────

const element = (id) => document.getElementById(id);
const bytesOf = (base64) => Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
const document64 = element("proof").textContent;

const WORDS = {
  proven: ["good", "Proven"],
  consistent: ["", "The proof holds, by a key that you have to compare"],
  refused: ["bad", "Refused"],
  newer: ["", "Made by a newer version"],
  needs_key: ["", "Not checked"],
  unable: ["", "Nothing was checked"],
};

const STATES = {
  ok: ["ok", "✓ holds"],
  bad: ["wrong", "✗ does not hold"],
  open: ["open", "? open"],
  skipped: ["faint", "– not reached"],
};

const NAMES = {
  form: "The document can be read",
  key: "It names a key",
  keys: "How the log's keys followed each other",
  checkpoint: "The checkpoint can be read",
  signature: "The key signed the checkpoint, and may",
  record: "The record has this place",
  path: "The hashes lead from the record to the signed root",
};

function row(cells, heading = true) {
  const line = document.createElement("tr");
  cells.forEach(([text, className], at) => {
    const cell = document.createElement(heading && at === 0 ? "th" : "td");
    if (heading && at === 0) cell.scope = "row";
    if (className) cell.className = className;
    cell.textContent = text;
    line.append(cell);
  });
  return line;
}

/** A value of the record, as one line of text. */
function shown(value) {
  if (typeof value === "string") return visible(value);
  if (value instanceof Num) return value.text;
  if (Array.isArray(value)) return `[${value.map((one) => quoted(one)).join(", ")}]`;
  if (value instanceof Map)
    return `{${[...value].map(([key, one]) => `"${visible(key)}": ${quoted(one)}`).join(", ")}}`;
  return String(value);
}

const quoted = (value) => (typeof value === "string" ? `"${visible(value)}"` : shown(value));

function fieldsOf(line) {
  try {
    const record = Json.parse(line);
    return record instanceof Map ? [...record] : null;
  } catch {
    return null;
  }
}

function showRecord(result, holds) {
  const state = element("record-state");
  // Whatever stood there is nobody's word.
  element("line").textContent = "";
  element("fields").replaceChildren();
  state.className = holds ? "ok" : "wrong";
  state.textContent = holds
    ? "Checked: these are the bytes whose hash leads to the signed root."
    : "Not proven: do not rely on it.";
  if (!result.record) return;
  const fields = fieldsOf(result.record.line);
  element("line").textContent = visible(result.record.line);
  const rows = fields?.map(([name, value]) => row([[visible(name)], [shown(value), "text"]]));
  element("fields").replaceChildren(
    ...(rows ?? [row([["It is not read"], ["The line is no JSON object that every reader reads alike."]])]),
  );
}

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const brief = (hex) => `${hex.slice(0, 8)}…`;
const range = ({ from, to }) => (from === to ? `record ${from}` : `${from} to ${to}`);

/** The root on top, the record at the bottom; beside the way up what it was hashed with. */
function drawPath(result) {
  const [width, step, box, high] = [560, 62, 150, 36];
  const height = (result.path.length + 1) * step + 8;
  const svg = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-labelledby": "drawn",
  });
  svg.append(
    draw(
      "title",
      { id: "drawn" },
      `${result.path.length} hashes lead from record ${result.record.seq} to the signed root`,
    ),
  );
  const middle = width / 2;
  const node = (x, y, className, lines) => {
    svg.append(draw("rect", { x: x - box / 2, y, width: box, height: high, rx: 4, class: className }));
    lines.forEach((text, at) => {
      svg.append(draw("text", { x, y: y + 15 + 14 * at, "text-anchor": "middle" }, text));
    });
  };
  const levels = [{ hash: result.leaf, from: result.record.seq, to: result.record.seq }, ...result.path];
  levels.forEach((at, level) => {
    const y = height - high - 4 - level * step;
    const up = result.path[level];
    if (up) {
      const x = up.side === "left" ? middle - 190 : middle + 190;
      svg.append(draw("line", { x1: middle, y1: y, x2: middle, y2: y - step + high }));
      svg.append(draw("line", { x1: x, y1: y, x2: middle, y2: y - step + high }));
      node(x, y, "", [brief(up.sibling), "its neighbour"]);
    }
    const top = level === result.path.length;
    node(middle, y, "on", [brief(at.hash), top ? `the root: ${result.checkpoint.size} records` : range(at)]);
  });
  return svg;
}

function showPath(result) {
  element("path").hidden = !result.path.length && !(result.leaf && result.checkpoint?.size === "1");
  if (element("path").hidden) return;
  element("path-said").textContent =
    `The record hashes to ${result.leaf}. Each step hashes that together with its neighbour in the tree, and the last one gives the root ${result.checkpoint.root}, which the checkpoint signs.`;
  element("drawing").replaceChildren(drawPath(result));
  const rows = result.path.map((step) =>
    row(
      [
        [String(step.level), "number"],
        [`${step.sibling} on its ${step.side}`, "hex"],
        [`${step.from} to ${step.to}: ${step.hash}`, "hex"],
      ],
      false,
    ),
  );
  element("path-steps").replaceChildren(...rows);
}

function showSignature(result) {
  const { checkpoint, key, chain } = result;
  element("signature").hidden = !checkpoint;
  if (!checkpoint) return;
  const rows = [
    ["Log", visible(checkpoint.origin)],
    ["Records", checkpoint.size],
    ["Root", checkpoint.root],
  ];
  if (key) rows.push(["Key", visible(key.text)], ["Fingerprint", group(key.fingerprint)]);
  element("signed").replaceChildren(...rows.map(([name, text]) => row([[name], [text, "hex"]])));
  element("note").textContent = checkpoint.note.split("\n").map(visible).join("\n");
  if (chain.length > 1) {
    const heading = document.createElement("h3");
    heading.textContent = "How the log's keys followed each other";
    const table = document.createElement("table");
    const body = table.createTBody();
    for (const one of chain) {
      const place = one.place ? `from ${one.place.size} records, epoch ${one.place.epoch}` : "from the beginning";
      const how = one.replaced ? `; replaced the key before ${one.replaced}, without its signature` : "";
      body.append(row([[group(one.fingerprint), "hex"], [place + how]]));
    }
    element("chain").replaceChildren(heading, table);
  }
  element("notes").replaceChildren(
    ...result.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
  );
}

function showSteps(result) {
  element("checked").hidden = false;
  const rows = result.steps.map(({ name, state, detail }) => {
    const [className, word] = STATES[state];
    return row([[NAMES[name] ?? name], [word, className], [visible(detail)]]);
  });
  element("steps").replaceChildren(...rows);
}

/** Of anything but a record's proof this file would show what nobody checked. */
function ofRecord(result) {
  if (result.kind === "record" && result.record) return result;
  const open = result.verdict === "unable" || result.verdict === "newer";
  const bad = {
    verdict: "refused",
    sentence: `This file proves nothing: it holds no proof of a record. ${result.sentence}`,
    remedy: "ask the owner of the log for a new one",
  };
  return { ...result, ...(open ? {} : bad), record: null, path: [], leaf: null };
}

function showHeading(result, holds) {
  const [heading, title] = holds
    ? [
        `Proof of record ${result.record.seq} of ${visible(result.checkpoint.origin)}`,
        `Proof of record ${result.record.seq}`,
      ]
    : result.verdict === "refused"
      ? ["Proof of a record, which does not hold", "Proof that does not hold"]
      : ["Proof of a record, not checked", "Proof of a record, not checked"];
  element("heading").textContent = heading;
  document.title = title;
}

function show(result) {
  const [className, word] = WORDS[result.verdict];
  const holds = result.verdict === "proven" || result.verdict === "consistent";
  showHeading(result, holds);
  element("verdict").className = `verdict ${className}`;
  element("verdict").dataset.verdict = result.verdict;
  element("word").textContent = word;
  element("sentence").textContent = result.sentence;
  element("remedy").textContent = result.remedy ? `What to do next: ${result.remedy}.` : "";
  element("compare").hidden = !result.key;
  if (result.key) {
    element("fingerprint").textContent = group(result.key.fingerprint);
    element("key").textContent = visible(result.key.text);
  }
  showRecord(result, holds);
  showPath(result);
  showSignature(result);
  showSteps(result);
}

async function run(keys) {
  let bytes;
  try {
    bytes = bytesOf(document64);
  } catch {
    bytes = "";
  }
  const result = ofRecord(await check(bytes, { keys }));
  show(result);
  return result;
}

element("ask").addEventListener("click", async () => {
  const typed = element("known").value.trim();
  const said = element("compared");
  if (!typed) {
    said.textContent =
      "Paste the fingerprint or the key that you have from elsewhere. To copy the one above proves nothing.";
    return;
  }
  const read = await readKeys(typed);
  if (read.error) {
    said.textContent = `That cannot be read: ${read.error}. A fingerprint has 64 hex digits.`;
    return;
  }
  const result = await run([typed]);
  said.textContent =
    result.verdict === "proven" ? "It is the same, or leads to it." : "With what you gave, the proof does not hold.";
});

element("save").hidden = false;
element("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytesOf(document64)], { type: "application/json" }));
  link.download = "record.proof.json";
  link.click();
});

run([]);
