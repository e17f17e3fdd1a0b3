// What is shown: always as text, never as markup. Records are written by others, and some of them are hostile.

/** `el("p.note", {id: "x"}, …)`: attributes may be left out; `on…` are listeners, `label` is for screen readers; `null` and `false` are nothing. */
export function el(tag, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElementNS(
    `http://www.w3.org/${/^(svg|rect|path|title)$/.test(name) ? "2000/svg" : "1999/xhtml"}`,
    name,
  );
  if (classes.length > 0) node.setAttribute("class", classes.join(" "));
  if (children[0]?.constructor === Object) {
    for (const [key, value] of Object.entries(children.shift())) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key === "label" ? "aria-label" : key, value === true ? "" : String(value));
    }
  }
  return add(node, children);
}

export function button(label, onclick, attributes) {
  return el("button", { type: "button", class: "quiet", onclick, ...attributes }, label);
}

export function scroller(label, ...children) {
  return el("div.scroll", { tabindex: "0", role: "group", "aria-label": label }, children);
}

export function note(...children) {
  return el("p.note", children);
}

export function add(node, ...children) {
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

// What has no shape (controls, bidi, zero width, variation selectors, private use, halves of pairs), and odd spaces.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}\p{DI}\u2800]|(?! )\p{Zs}/gu;
const NAMED = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

export function codePoint(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

export function named(text, limit = 200) {
  return cut(text, limit).replace(UNSEEN, (character) => NAMED.get(character) ?? `[${codePoint(character)}]`);
}

function cut(text, limit) {
  if (text.length <= limit) return text;
  const end = /[\ud800-\udbff]/.test(text[limit - 1]) ? limit - 1 : limit;
  return `${text.slice(0, end)}…`;
}

/** The text in an element of its own, isolated from the direction of what is around it; unseen characters are shown. */
export function shown(text, limit = 200) {
  const node = el("bdi.said");
  const part = cut(text, limit);
  let last = 0;
  for (const found of part.matchAll(UNSEEN)) {
    add(node, part.slice(last, found.index));
    const name = NAMED.get(found[0]) ?? codePoint(found[0]);
    add(node, el("span.unseen", { title: codePoint(found[0]) }, name));
    last = found.index + found[0].length;
  }
  return add(node, part.slice(last));
}

const COUNT = new Intl.NumberFormat("en");

export function count(number) {
  return typeof number === "number" && Number.isFinite(number) ? COUNT.format(number) : "–";
}

export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

export function rate(number) {
  if (typeof number !== "number") return "–";
  if (number === 0) return "0";
  if (number < 0.01) return "< 0.01";
  return number < 10 ? number.toFixed(2).replace(/\.?0+$/, "") : COUNT.format(Math.round(number));
}

export function bytes(number) {
  if (typeof number !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? number : number.toFixed(1)} ${units[unit]}`;
}

export function milliseconds(number) {
  if (typeof number !== "number") return "–";
  if (number < 1) return `${Math.round(number * 1000)} µs`;
  return number < 1000 ? `${number.toFixed(1)} ms` : `${(number / 1000).toFixed(1)} s`;
}

export function span(seconds) {
  if (typeof seconds !== "number") return "–";
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const STATES = {
  good: ["●", "ok"],
  warn: ["▲", "warning"],
  bad: ["■", "critical"],
  unknown: ["○", "unknown"],
};
const CLASSES = {
  healthy: "good",
  ok: "good",
  running: "good",
  intact: "good",
  holds: "good",
  verified: "good",
  done: "good",
  anchored: "good",
  warning: "warn",
  signed: "good",
  unsigned: "warn",
  adopted: "warn",
  removed: "unknown",
  incomplete: "warn",
  critical: "bad",
  hanging: "bad",
  stopped: "bad",
  failed: "bad",
  fails: "bad",
  damaged: "bad",
  missing: "bad",
};

export function stateClass(state) {
  return CLASSES[state] ?? "unknown";
}

export function badge(state, word = state) {
  const of = stateClass(state);
  return el(
    "span",
    { class: `badge ${of}` },
    el("span", { "aria-hidden": "true" }, STATES[of][0]),
    ` ${word ?? STATES[of][1]}`,
  );
}

/** One argument for a shell. Whatever the text is, it stays one argument, and pasting it runs nothing. */
export function quoted(text) {
  if (/^[A-Za-z0-9_@%+:,./-]+$/.test(text)) return text;
  // Unseen characters would act on a terminal, and what ends the quotes differs between shells (fish): then all but plain
  // letters are octal bytes, so that a shell that does not know this form finds no end of it either.
  if (/['\\]/.test(text) || text.search(UNSEEN) >= 0) {
    let out = "";
    for (const character of text) {
      if (/^[A-Za-z0-9 _@%+:,./=-]$/.test(character)) out += character;
      else for (const byte of new TextEncoder().encode(character)) out += `\\${byte.toString(8).padStart(3, "0")}`;
    }
    return `$'${out}'`;
  }
  return `'${text}'`;
}

/** A text as a pattern that finds exactly it: `*` stands for any text, and backslashes before it are doubled. */
export function pattern(text) {
  return text.replace(/\\*\*/g, (found) => `${"\\\\".repeat(found.length - 1)}\\*`);
}

/** Copies, also where the browser allows no clipboard: then the text is selected, to be copied by hand. */
export async function copy(text, source, button) {
  const was = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: copy it with the keyboard";
  }
  setTimeout(() => {
    button.textContent = was;
  }, 2000);
}
