// JSON as it was stored. JSON.parse rounds long numbers and drops keys that are there twice; an audit record must be
// shown as it is, so this keeps the digits, the order and the duplicates, and where in the text each value stands.

const DEEPEST = 256;
const TEXT = /"[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const SPACE = /[ \t\n\r]*/y;

export function parse(text) {
  let at = 0;

  function take(pattern) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) return null;
    at = pattern.lastIndex;
    return found[0];
  }

  function fail(what) {
    throw new SyntaxError(`${what} at character ${at + 1}`);
  }

  function skip(mark) {
    take(SPACE);
    if (text[at] !== mark) return false;
    at += 1;
    return true;
  }

  function string() {
    const found = take(TEXT);
    if (found === null) fail("no text");
    return JSON.parse(found);
  }

  function entries(depth) {
    const found = [];
    if (skip("}")) return found;
    do {
      take(SPACE);
      const key = string();
      if (!skip(":")) fail("no colon");
      found.push([key, value(depth + 1)]);
    } while (skip(","));
    if (!skip("}")) fail("the object does not end");
    return found;
  }

  function items(depth) {
    const found = [];
    if (skip("]")) return found;
    do found.push(value(depth + 1));
    while (skip(","));
    if (!skip("]")) fail("the array does not end");
    return found;
  }

  function value(depth) {
    if (depth > DEEPEST) fail("nested too deep");
    take(SPACE);
    const from = at;
    const node = one(depth);
    node.from = from;
    node.to = at;
    Object.defineProperty(node, "raw", { get: () => text.slice(node.from, node.to) });
    return node;
  }

  function one(depth) {
    const first = text[at];
    if (first === "{") {
      at += 1;
      return { kind: "object", entries: entries(depth) };
    }
    if (first === "[") {
      at += 1;
      return { kind: "array", items: items(depth) };
    }
    if (first === '"') return { kind: "text", value: string() };
    const number = take(NUMBER);
    if (number) return { kind: "number", value: number };
    const word = take(WORD);
    if (word) return { kind: "word", value: word };
    return fail("no value");
  }

  const node = value(0);
  take(SPACE);
  if (at < text.length) fail("something follows");
  return node;
}

export function get(node, key) {
  if (node?.kind !== "object") return null;
  const found = node.entries.findLast(([name]) => name === key);
  return found ? found[1] : null;
}

export function text(node, key) {
  const found = key === undefined ? node : get(node, key);
  return found && found.kind === "text" ? found.value : null;
}

export function whole(node, key) {
  const found = get(node, key);
  const number = found && found.kind === "number" ? Number(found.value) : NaN;
  return Number.isSafeInteger(number) ? number : null;
}

export function list(node, key) {
  const found = get(node, key);
  return found && found.kind === "array" ? found.items : [];
}

export function plain(node) {
  return node ? JSON.parse(node.raw) : null;
}
