// Checks in a browser what `auditctl prove` and `auditctl checkpoint` write. No network, no
// dependency, no document: bytes in, a verdict out. The collector's page uses it, and it stands
// inside every proof that `auditctl prove --format html` writes.
//
//   const result = await check(bytes, { keys, against, record, history });
//
// `bytes` (Uint8Array, ArrayBuffer or string) is a record's proof, a proof of growth, a C2SP
// tlog-proof, a checkpoint, or a JSON file that holds a checkpoint. `keys` are those that the
// reader had before or has compared: verifier keys, texts of audit.pub, or fingerprints (SHA-256
// of a verifier key's text, in hex). `against`: [{name, text}], kept checkpoints for a proof of
// growth. `record`: a stored line, for a tlog-proof without one. `history`: the text of an
// audit.keys, for a checkpoint. It never throws:
//
//   verdict     "proven": all holds, by a key of `keys`. "consistent": all holds by the document's
//               own key, which proves nothing until somebody compares its fingerprint. "refused":
//               something does not hold. "newer": a newer version made it. "needs_key": it names no
//               key. "unable": it cannot be checked here.
//   kind        "record", "growth", "checkpoint" or "unknown"
//   sentence    what that means; remedy: what to do next, or null
//   steps       [{name, state: "ok"|"bad"|"open"|"skipped", detail}], in the order of checking
//   record      {seq, line} as the document has it, or null. seq is decimal digits
//   key         {name, id, text, fingerprint, compared} of the key that signed, or null
//   given       the key of `keys` that leads to it, where that is another one
//   checkpoint  {origin, log, epoch, size, root, note}; leaf: the record's hash
//   path        [{side, sibling, hash, level, from, to}]: upwards; `hash` is over records from..to
//   chain       [{name, id, fingerprint, place, replaced}]: the log's keys, oldest first
//   growth      {from_size, from_root, tree_size}; notes: [text]
//
// It refuses what `auditctl verify` refuses. Where it is stricter (a time in another spelling,
// a point that is written in two ways), no version of auditctl writes that.

const MAX_BYTES = 64 * 1024 * 1024;
const MAX_NOTE_BYTES = 128 * 1024;
const MAX_SIGNATURES = 100;
const MAX_DEPTH = 127;
const MAX_HASHES = 63;
const MAX_ROTATIONS = 10_000;
/** More than a proof with all changes of key has. */
const MAX_VALUES = 2_000_000;
const MAX_TREE = 1n << 62n;
const MAX_U64 = (1n << 64n) - 1n;

/** Something does not hold. */
class Refused extends Error {}

/** It cannot be told whether it holds. */
class Open extends Error {
  constructor(verdict, message, remedy) {
    super(message);
    this.verdict = verdict;
    this.remedy = remedy;
  }
}

const refuse = (message) => {
  throw new Refused(message);
};

// ── Texts ────────────────────────────────────────────────────────────────────

/** Text that others wrote, with everything shown that a reader would not see, or would see in
 * another place: controls, format and bidi characters, odd spaces. Still to be put into a page as
 * text, never as HTML. */
export function visible(text) {
  const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;
  return String(text).replace(hidden, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** Hex digits in groups of eight, for reading aloud. */
export const group = (hex) => (hex.match(/.{1,8}/g) ?? []).join(" ");

const cut = (text, length = 80) => {
  const chars = Array.from(String(text).slice(0, 2 * length + 2));
  return visible(chars.length > length ? `${chars.slice(0, length).join("")}…` : chars.join(""));
};

const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function bytesOfHex(text, what) {
  if (typeof text !== "string" || !/^[0-9a-f]{64}$/.test(text)) {
    refuse(`${what} is not a SHA-256 hash of 64 lowercase hexadecimal digits`);
  }
  return Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
}

/** Standard base64 in its one right spelling, or null. */
function bytesOfBase64(text) {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  try {
    const decoded = atob(text);
    if (btoa(decoded) !== text) return null;
    return Uint8Array.from(decoded, (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

const base64Of = (bytes) => btoa(String.fromCharCode(...bytes));
const utf8 = (text) => new TextEncoder().encode(text);
const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

function join(...parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Decimal digits without a leading zero, within 64 bits; or null. */
function decimal(text) {
  if (!/^(0|[1-9][0-9]{0,19})$/.test(text)) return null;
  const number = BigInt(text);
  return number <= MAX_U64 ? number : null;
}

function trimEnd(text) {
  if (text.length > MAX_NOTE_BYTES) refuse("it is too long");
  const chars = Array.from(text);
  while (chars.length && /^\p{White_Space}$/u.test(chars.at(-1))) chars.pop();
  return chars.join("");
}

// ── JSON: strict, numbers as they are written, no key twice ───────────────────

class Num {
  constructor(text) {
    this.text = text;
  }
}

class Json {
  static parse(text) {
    const json = new Json(text);
    const value = json.value(0);
    json.space();
    if (json.at !== text.length) json.wrong("something follows its end");
    return value;
  }

  constructor(text) {
    this.text = text;
    this.at = 0;
    this.values = 0;
  }

  wrong(what) {
    refuse(`it is not JSON: ${what}, at character ${this.at}`);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found?.[0];
  }

  space() {
    this.match(/[ \t\n\r]*/y);
  }

  value(depth) {
    this.values += 1;
    if (this.values > MAX_VALUES) this.wrong(`it has more than ${MAX_VALUES} values`);
    this.space();
    const next = this.text[this.at];
    if (next === "{" || next === "[") {
      if (depth >= MAX_DEPTH) this.wrong(`it is nested more than ${MAX_DEPTH} deep`);
      this.at += 1;
      return next === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (next === '"') return this.string();
    const number = this.match(/-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y);
    if (number) {
      if (!Number.isFinite(Number(number))) this.wrong("a number is too large");
      return new Num(number);
    }
    const word = this.match(/true|false|null/y);
    if (!word) this.wrong("a value is expected");
    return { true: true, false: false, null: null }[word];
  }

  object(depth) {
    const members = new Map();
    this.space();
    if (this.match(/\}/y)) return members;
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') this.wrong("a key is expected");
      const key = this.string();
      if (members.has(key)) this.wrong(`the key "${cut(key, 40)}" stands twice`);
      this.space();
      if (!this.match(/:/y)) this.wrong('":" is expected');
      members.set(key, this.value(depth));
      this.space();
      if (this.match(/\}/y)) return members;
      if (!this.match(/,/y)) this.wrong('"," or "}" is expected');
    }
  }

  array(depth) {
    const items = [];
    this.space();
    if (this.match(/\]/y)) return items;
    for (;;) {
      items.push(this.value(depth));
      this.space();
      if (this.match(/\]/y)) return items;
      if (!this.match(/,/y)) this.wrong('"," or "]" is expected');
    }
  }

  string() {
    const parts = [];
    this.at += 1;
    for (;;) {
      // Each escape counts: a text of nothing else would keep the browser busy.
      this.values += 1;
      if (this.values > MAX_VALUES) this.wrong(`it has more than ${MAX_VALUES} values and escapes`);
      parts.push(this.match(/[^"\\\u0000-\u001f]*/y));
      const next = this.text[this.at];
      if (next === '"') {
        this.at += 1;
        return parts.length === 1 ? parts[0] : parts.join("");
      }
      if (next !== "\\") this.wrong(next === undefined ? "a text has no end" : "a control character stands in a text");
      const plain = this.match(/\\["\\/bfnrt]/y);
      if (plain) {
        parts.push({ b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" }[plain[1]] ?? plain[1]);
        continue;
      }
      const unit = this.match(
        /\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}/y,
      );
      if (!unit) this.wrong("an escape is wrong, or half a character");
      parts.push(String.fromCharCode(...unit.match(/[0-9a-fA-F]{4}/g).map((digits) => Number.parseInt(digits, 16))));
    }
  }
}

const member = {
  text(of, name, fallback) {
    const value = of.get(name);
    if (value === undefined && fallback !== undefined) return fallback;
    return typeof value === "string" ? value : refuse(`its "${name}" is missing, or no text`);
  },
  number(of, name, most = MAX_U64) {
    const value = of.get(name);
    const number = value instanceof Num ? decimal(value.text) : null;
    if (number === null || number > most) refuse(`its "${name}" is missing, or no number without a sign`);
    return number;
  },
  hashes(of, name, fallback) {
    const value = of.get(name) ?? (of.has(name) ? null : fallback);
    if (!Array.isArray(value)) refuse(`its "${name}" is missing, or no list`);
    if (value.length > MAX_HASHES) refuse(`its "${name}" has ${value.length} hashes; no tree is that high`);
    return value.map((hash) => bytesOfHex(hash, `an entry of its "${name}"`));
  },
};

/** What a JSON file says that it is; refuses another, and what a newer version made. */
function checkHead(of, kinds) {
  if (!(of instanceof Map)) refuse("it is JSON, and not an object");
  const type = of.get("type");
  const format = of.get("format");
  if (typeof type !== "string") refuse('it does not say what it is: its "type" is missing');
  if (!(format instanceof Num) || !/^[0-9]+$/.test(format.text)) {
    refuse('its "format" is not a number without a sign');
  }
  if (!kinds.includes(type)) refuse(`it says that it is "${cut(type)}", not ${kinds.join(" or ")}`);
  const number = BigInt(format.text);
  if (number === 0n) refuse("there is no format 0");
  if (number > 1n) {
    throw new Open(
      "newer",
      `This is format ${cut(format.text, 20)} of ${type}, which a newer version of auditctl made. This checker reads format 1. Nothing is known to be wrong with it.`,
      "check it with that version of auditctl",
    );
  }
  return type;
}

// ── Cryptography ──────────────────────────────────────────────────────────────

const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const leafHash = (line) => sha256(join(Uint8Array.of(0), utf8(line)));
const nodeHash = (left, right) => sha256(join(Uint8Array.of(1), left, right));
const emptyRoot = () => sha256(new Uint8Array(0));

/** Points of small order, in all their spellings, without the sign: under such a key one
 * signature fits many texts. */
const SMALL_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

const isWeak = (point) => {
  const unsigned = Uint8Array.from(point);
  unsigned[31] &= 0x7f;
  return SMALL_ORDER.has(hexOf(unsigned));
};

async function signed(publicKey, signature, message) {
  if (signature.length !== 64 || isWeak(publicKey) || isWeak(signature.subarray(0, 32))) return false;
  try {
    const key = await crypto.subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, signature, message);
  } catch (error) {
    // That it is no point says the same: nothing is signed by it.
    if (error?.name === "NotSupportedError") throw error;
    return false;
  }
}

/** RFC 8032 §7.1, test 2: a browser that cannot do that, or that says yes to anything, checks
 * nothing. */
const SAMPLE = {
  key: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
  signature:
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
};

async function ableHere() {
  if (!globalThis.crypto?.subtle) {
    const insecure = globalThis.isSecureContext === false;
    throw new Open(
      "unable",
      insecure
        ? "Nothing was checked: browsers give pages that come over plain http:// from another machine no cryptography."
        : "Nothing was checked: this browser has no WebCrypto.",
      insecure
        ? "open the page over https:// or from the collector's own machine, or run `auditctl verify --proof FILE`"
        : "use a current browser, or run `auditctl verify --proof FILE`",
    );
  }
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
  const [key, good] = [bytes(SAMPLE.key), bytes(SAMPLE.signature)];
  let works = false;
  try {
    const [yes, no] = [await signed(key, good, Uint8Array.of(0x72)), await signed(key, good, Uint8Array.of(0x73))];
    works = yes && !no;
  } catch {
    works = false;
  }
  if (!works) {
    throw new Open(
      "unable",
      "Nothing was checked: this browser cannot check Ed25519 signatures.",
      "use a current browser (Chrome or Edge 137, Firefox 130, Safari 17 or newer), or run `auditctl verify --proof FILE`",
    );
  }
}

// ── Origins and keys ──────────────────────────────────────────────────────────

const isEpochLike = (text) => /^e[0-9]{1,10}$/.test(text);
const isLogId = (text) => /^[A-Za-z0-9._-]{1,64}$/.test(text) && !isEpochLike(text);

function isPrefix(text) {
  const [host, ...path] = text.split("/");
  const label = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
  const step = (part) => /^[A-Za-z0-9._~-]+$/.test(part) && part !== "." && part !== "..";
  return text.length <= 128 && host.split(".").every((part) => label.test(part)) && path.every(step);
}

/** `<prefix>/<log id>`, from epoch 1 on with `/e<epoch>`; null for what names no log. */
function parseOrigin(text) {
  const parts = text.split("/");
  let epoch = 0;
  if (parts.length > 1 && isEpochLike(parts.at(-1))) {
    const number = decimal(parts.pop().slice(1));
    if (number === null || number === 0n || number > 0xffffffffn) return null;
    epoch = Number(number);
  }
  const log = parts.pop();
  if (!parts.length || !isLogId(log) || !isPrefix(parts.join("/"))) return null;
  return { keyName: `${parts.join("/")}/${log}`, log, epoch };
}

const checkKeyName = (name) => name !== "" && !/[\p{White_Space}\p{Cc}+]/u.test(name);

const ED25519 = 1;

const keyId = async (name, raw) =>
  hexOf((await sha256(join(utf8(name), Uint8Array.of(10, ED25519), raw))).subarray(0, 4));

async function keyOf(name, raw) {
  const id = await keyId(name, raw);
  const text = `${name}+${id}+${base64Of(join(Uint8Array.of(ED25519), raw))}`;
  return { name, id, raw, text, label: `${name}+${id}`, fingerprint: hexOf(await sha256(utf8(text))) };
}

/** A verifier key, `<name>+<8 hex digits>+<base64>`. */
async function parseKey(text) {
  const bad = (why) => refuse(`not a verifier key (<name>+<8 hex digits>+<base64>): ${why}`);
  if (text.length > MAX_NOTE_BYTES || utf8(text).length > MAX_NOTE_BYTES) bad("too long");
  const line = text.endsWith("\n") ? text.slice(0, -1) : text;
  const [, name, id, rest] = /^([^+]*)\+([^+]*)\+([^]*)$/.exec(line) ?? bad("it has not three parts");
  if (!/^[0-9a-f]{8}$/.test(id)) bad("the key id is not 8 hex digits");
  const bytes = bytesOfBase64(rest) ?? bad("the key is not base64");
  if (bytes[0] !== ED25519) bad("the key is not an Ed25519 key (type 1)");
  if (bytes.length !== 33) bad("the key has not 32 bytes");
  const raw = bytes.subarray(1);
  if (!checkKeyName(name)) bad(`"${cut(name)}" cannot be a key's name`);
  if (isWeak(raw)) bad("the key is of small order");
  const key = await keyOf(name, raw);
  if (key.id !== id) bad("the key id does not belong to this name and key");
  return key;
}

/** The first usable key of a file like audit.pub. */
async function parseKeyFile(text) {
  let why = "it is empty";
  let ofEpoch = null;
  for (const line of text.split("\n").map((line) => line.replace(/\r$/, ""))) {
    if (line === "") continue;
    try {
      const key = await parseKey(line);
      const origin = parseOrigin(key.name);
      if (!origin || origin.epoch === 0) return key;
      ofEpoch ??= { name: origin.keyName, raw: key.raw };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const bytes = bytesOfBase64(line.split("+").slice(2).join("+"));
      // An Ed25519 key that is damaged is not passed over.
      if (bytes?.[0] === ED25519) throw error;
      why = error.message;
    }
  }
  return ofEpoch ? keyOf(ofEpoch.name, ofEpoch.raw) : refuse(why);
}

const asFingerprint = (text) => {
  if (text.length > 200) return null;
  const digits = text.replace(/[\s:]/g, "").toLowerCase();
  return /^[0-9a-f]{64}$/.test(digits) ? digits : null;
};

/** What the reader believes. That it cannot be read says nothing of the document. */
async function believed(keys) {
  const found = { keys: [], fingerprints: [] };
  for (const text of keys ?? []) {
    const print = asFingerprint(String(text));
    if (print) found.fingerprints.push(print);
    else found.keys.push(await ofReader("the key that you gave", () => parseKeyFile(String(text))));
  }
  return found;
}

/** Reads what the reader gave beside the document. */
async function ofReader(what, read) {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new Open("unable", `Nothing was checked: ${what} cannot be read: ${error.message}.`, "give the right file");
  }
}

/** Keys and fingerprints in a text that somebody typed or dropped; `error` says why there are
 * none. */
export async function readKeys(text) {
  try {
    await ableHere();
    if (!asFingerprint(String(text))) await parseKeyFile(String(text));
    const found = await believed([text]);
    const shown = ({ name, id, text: key, fingerprint }) => ({ name, id, text: key, fingerprint });
    return { keys: found.keys.map(shown), fingerprints: found.fingerprints, error: null };
  } catch (error) {
    return { keys: [], fingerprints: [], error: error.message };
  }
}

/** A verifier key's fingerprint; null for what is no key. */
export async function fingerprint(text) {
  return (await readKeys(text)).keys[0]?.fingerprint ?? null;
}

// ── Signed notes and checkpoints ──────────────────────────────────────────────

function parseNote(text) {
  if (text.length > MAX_NOTE_BYTES || utf8(text).length > MAX_NOTE_BYTES) refuse("the signed note is too large");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(text)) refuse("not a signed note: it contains a control character");
  const blank = text.lastIndexOf("\n\n");
  if (blank < 0) refuse("not a signed note: no blank line and signatures");
  const block = text.slice(blank + 2);
  if (!block.endsWith("\n")) refuse("not a signed note: it does not end in a signature line and a newline");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) refuse(`the note has more than ${MAX_SIGNATURES} signatures`);
  const signatures = lines.map((line, at) => {
    const bad = (why) => refuse(`signature ${at + 1} of the note is malformed: ${why}`);
    const [, name, rest] = /^— ([^ ]*) ([^]*)$/.exec(line) ?? bad('it is not "— <key name> <base64>"');
    if (!checkKeyName(name)) bad("no key can have this name");
    const bytes = bytesOfBase64(rest) ?? bad("the signature is not base64");
    if (bytes.length < 5) bad("the signature is too short");
    return { name, id: hexOf(bytes.subarray(0, 4)), signature: bytes.subarray(4) };
  });
  return { text: `${text.slice(0, blank)}\n`, signatures };
}

async function parseCheckpoint(text) {
  const note = parseNote(text);
  const bad = (line, why) => refuse(`line ${line} of the checkpoint is wrong: ${why}`);
  const lines = note.text.slice(0, -1).split("\n");
  const [origin, digits = "", base64 = ""] = lines;
  if (!checkKeyName(origin)) bad(1, 'the origin is empty or has spaces or "+"');
  const size = decimal(digits) ?? bad(2, "the tree size is not a plain decimal number");
  if (size > MAX_TREE) bad(2, "no tree is that large");
  const root = bytesOfBase64(base64);
  if (root?.length !== 32) bad(3, "the root is not the base64 of 32 bytes");
  if (size === 0n && !same(root, await emptyRoot())) bad(3, "a tree without records has another root");
  const empty = lines.findIndex((line, at) => at > 2 && line === "");
  if (empty > 0) bad(empty + 1, "it is empty");
  return { note, whole: text, origin, size, root, parsed: parseOrigin(origin) };
}

/** "signed", "absent", or "wrong" where one of the key's signatures does not fit. */
async function signedBy(note, key) {
  let found = "absent";
  for (const one of note.signatures.filter((one) => one.id === key.id && one.name === key.name)) {
    if (!(await signed(key.raw, one.signature, utf8(note.text)))) return "wrong";
    found = "signed";
  }
  return found;
}

const altered = (key) =>
  refuse(`the signature by ${cut(key.label, 250)} does not fit the text: one of them was altered`);

async function refuseWrongOfEpoch(checkpoint, key) {
  const { parsed, origin, note } = checkpoint;
  if (!parsed || parsed.epoch === 0 || parsed.keyName !== key.name) return;
  const ofEpoch = await keyOf(origin, key.raw);
  if ((await signedBy(note, ofEpoch)) === "wrong") altered(ofEpoch);
}

/** Whether the key signed the checkpoint, and is a key of its log. */
async function verifiedBy(checkpoint, key) {
  const state = await signedBy(checkpoint.note, key);
  if (state === "wrong") altered(key);
  if (state === "absent") return false;
  const own = checkpoint.parsed ? checkpoint.parsed.keyName === key.name : checkpoint.origin === key.name;
  if (!own)
    refuse(`the checkpoint is of "${cut(checkpoint.origin)}", which is not the log of the key ${cut(key.label, 250)}`);
  await refuseWrongOfEpoch(checkpoint, key);
  return true;
}

const notSigned = (checkpoint, key) => {
  const by = checkpoint.note.signatures
    .slice(0, 3)
    .map((one) => cut(`${one.name}+${one.id}`))
    .join(", ");
  refuse(`not signed by ${cut(key.label, 250)}; signed by ${by}`);
};

// ── How the log's keys followed each other ────────────────────────────────────

/** As every version writes the record: whoever compares bytes and whoever parses read the same. */
const KEY_ROTATED = /^\{"seq":[0-9]+,"timestamp":"[^"\\]*","event_type":"audit\.key_rotated"/;
const before = (a, b) => a.epoch < b.epoch || (a.epoch === b.epoch && a.size < b.size);
const notAfter = (a, b) => !before(b, a);

function seqOf(line) {
  const [, digits] = /^\{"seq":([0-9]{1,20}),/.exec(line) ?? [];
  return digits === undefined ? null : decimal(digits);
}

function isTime(text) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(text)) return false;
  const at = new Date(`${text.slice(0, 23)}Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString() === `${text.slice(0, 23)}Z`;
}

async function checkRotation(rotation) {
  if (!(rotation instanceof Map)) refuse("it is no object");
  const [oldText, newText] = [member.text(rotation, "old_key"), member.text(rotation, "new_key")];
  const seq = member.number(rotation, "seq");
  const record = member.text(rotation, "record", "");
  const proof = member.hashes(rotation, "inclusion_proof", []);
  const checkpoint = await parseCheckpoint(member.text(rotation, "checkpoint"));
  const [old, fresh] = [await parseKey(oldText), await parseKey(newText)];
  if (!(await verifiedBy(checkpoint, old))) notSigned(checkpoint, old);
  if (!checkpoint.parsed) refuse("its checkpoint names no log");
  const said = rotation.get("replaced") ?? null;
  if (said !== null) return checkReplaced({ said, seq, old, fresh, oldText, newText, checkpoint });
  if (!(await verifiedBy(checkpoint, fresh))) notSigned(checkpoint, fresh);
  if (seqOf(record) !== seq) refuse("its record has another seq");
  const named = Json.parse(record);
  if (named.get("event_type") !== "audit.key_rotated" || !KEY_ROTATED.test(record)) {
    refuse("its record is of another type");
  }
  const details = named.get("details");
  if (!(details instanceof Map)) refuse("its record names no keys");
  if (details.get("old_key") !== oldText || details.get("new_key") !== newText) {
    refuse("its record names other keys");
  }
  await climb(await leafHash(record), seq, checkpoint.size, proof, checkpoint.root);
  const place = { epoch: checkpoint.parsed.epoch, size: checkpoint.size };
  return { old, fresh, place, signed: place, replaced: null };
}

/** The new key's own word that it took the old one's place. */
async function checkReplaced({ said, seq, old, fresh, oldText, newText, checkpoint }) {
  if (!(said instanceof Map)) refuse("what it says of the key that was replaced is no object");
  const epoch = Number(member.number(said, "epoch", 0xffffffffn));
  const uid = member.number(said, "uid", 0xffffffffn);
  const [at, reason] = [member.text(said, "at"), member.text(said, "reason")];
  const user = (said.get("user") ?? null) === null ? null : member.text(said, "user");
  if (!isTime(at)) refuse("it says no time at which the key was replaced");
  if (old.name !== fresh.name || checkpoint.parsed.keyName !== fresh.name) {
    refuse("the replaced key, the new one and the last head are not of one log");
  }
  if (epoch <= checkpoint.parsed.epoch) refuse("it does not begin a later epoch than that of the last head");
  if (seq !== checkpoint.size) refuse("it names another number of records than the last head");
  if (/\p{Cc}/u.test(reason) || (user !== null && /\p{Cc}/u.test(user))) {
    refuse("it has control characters in its texts");
  }
  const note = parseNote(member.text(said, "signature"));
  const digest = hexOf(await sha256(utf8(checkpoint.whole)));
  const statement =
    `auditctl/key-replaced v1\n${fresh.name}\n${oldText}\n${newText}\n${epoch}\n${at}\n${uid}\n` +
    `${user ?? "-"}\n${reason}\n${digest}\n`;
  const state = await signedBy(note, fresh);
  if (state === "wrong") altered(fresh);
  if (state === "absent") refuse(`not signed by ${cut(fresh.label, 250)}`);
  if (note.text !== statement) refuse("the new key signed something else");
  const who = user === null ? `uid ${uid}` : `${cut(user)} (uid ${uid})`;
  const told = `on ${at} by ${who}, because "${cut(reason, 300)}"`;
  return {
    old,
    fresh,
    place: { epoch, size: 0n },
    signed: { epoch: checkpoint.parsed.epoch, size: checkpoint.size },
    replaced: told,
  };
}

/** The keys of a log, oldest first, and which of them a key that is believed leads to. */
class Ring {
  static async of(rotations) {
    if (!Array.isArray(rotations)) refuse('its "key_chain" is no list');
    if (rotations.length > MAX_ROTATIONS) refuse(`it holds ${rotations.length} changes of key`);
    const ring = new Ring();
    for (const [at, rotation] of rotations.entries()) {
      const bad = (why) => refuse(`change ${at + 1} of the log's keys: ${why}`);
      let next;
      try {
        next = await checkRotation(rotation);
      } catch (error) {
        if (error instanceof Refused) bad(error.message);
        throw error;
      }
      if (!ring.keys.length) ring.keys.push(next.old);
      if (ring.keys.at(-1).text !== next.old.text) bad("begins with another key than the one before ended with");
      if (ring.keys.some((key) => key.text === next.fresh.text)) bad("brings a retired key back");
      const last = ring.handovers.at(-1);
      const late = last && (next.replaced ? before(next.signed, last.place) : notAfter(next.signed, last.place));
      if (late) bad("does not come after the one before");
      ring.keys.push(next.fresh);
      ring.handovers.push(next);
    }
    return ring;
  }

  constructor() {
    this.keys = [];
    this.handovers = [];
    this.believed = 0;
  }

  /** The same, as far as this key leads. */
  by(key) {
    const ring = Object.assign(new Ring(), this);
    if (!this.keys.length) ring.keys = [key];
    ring.believed = ring.keys.findIndex((known) => known.text === key.text);
    if (ring.believed < 0) {
      const known = this.keys
        .slice(0, 4)
        .map((one) => cut(one.label))
        .join(", ");
      refuse(`${cut(key.label, 250)} is not one of the log's keys, which are ${known}`);
    }
    return ring;
  }

  /** The newest key that the believed one leads to: over a key that was replaced without its
   * signature nothing leads forward. */
  get reach() {
    const at = this.handovers.findIndex((handover, at) => at >= this.believed && handover.replaced);
    return at < 0 ? this.keys.length - 1 : at;
  }

  validAt(place) {
    const handovers = this.handovers.slice(0, this.reach);
    const count = (is) => {
      const at = handovers.findIndex((handover) => !is(handover.place, place));
      return at < 0 ? handovers.length : at;
    };
    return [count(before), count(notAfter)];
  }

  /** The key that signed the checkpoint, if it was valid for so many records. */
  async signer(checkpoint) {
    const place = { epoch: checkpoint.parsed?.epoch ?? 0, size: checkpoint.size };
    const [first, last] = this.validAt(place);
    const keys = this.keys.slice(0, this.reach + 1);
    for (const key of keys.slice(first, last + 1).reverse()) {
      if (!(await verifiedBy(checkpoint, key))) continue;
      // A wrong signature by any other of the log's keys says that the note was altered.
      for (const other of keys.filter((other) => other !== key)) {
        if ((await signedBy(checkpoint.note, other)) === "wrong") altered(other);
        await refuseWrongOfEpoch(checkpoint, other);
      }
      return key;
    }
    for (const key of this.keys.slice(this.reach + 1)) {
      if ((await signedBy(checkpoint.note, key)) !== "signed") continue;
      const { old, fresh, replaced } = this.handovers[this.reach];
      refuse(
        `it is signed by ${cut(key.label, 250)}, which ${cut(old.label, 250)} never authorised: ` +
          `${cut(fresh.label, 250)} replaced it ${replaced}, without its signature`,
      );
    }
    for (const key of [...keys.slice(0, first), ...keys.slice(last + 1)]) {
      if ((await signedBy(checkpoint.note, key)) !== "signed") continue;
      refuse(
        `the checkpoint over ${checkpoint.size} records is signed by ${cut(key.label, 250)}, which was retired ` +
          "before, or came into use later: whoever made it has a key that may not sign there",
      );
    }
    return notSigned(checkpoint, keys[last]);
  }

  notes() {
    const within = this.handovers.slice(0, this.reach).filter((handover) => handover.replaced);
    return within.map(
      ({ old, fresh, place, signed: until, replaced }) =>
        `${fresh.label} took the place of ${old.label} ${replaced}, without its signature: ${old.label} vouches for ` +
        `the first ${until.size} records, ${fresh.label} for all from there on (epoch ${place.epoch})`,
    );
  }

  shown() {
    return this.keys.map(({ name, id, fingerprint: print }, at) => {
      const from = this.handovers[at - 1];
      const place = from ? { epoch: from.place.epoch, size: String(from.place.size) } : null;
      return { name, id, fingerprint: print, place, replaced: from?.replaced ?? null };
    });
  }
}

// ── The tree ──────────────────────────────────────────────────────────────────

const log2 = (number) => BigInt(number.toString(2).length - 1);
const split = (begin, end) => begin + (1n << log2(end - begin - 1n));

/** From a leaf to the root (RFC 6962 §2.1.1); the steps, the lowest first. */
async function climb(leaf, index, size, proof, root) {
  if (index >= size) refuse("the record is not in a tree of that size");
  const turns = [];
  let [begin, end] = [0n, size];
  while (end - begin > 1n) {
    const [middle, from, to] = [split(begin, end), begin, end];
    if (index < middle) end = middle;
    else begin = middle;
    turns.push({ side: index < middle ? "right" : "left", from, to });
  }
  if (turns.length !== proof.length) {
    refuse(`the proof has ${proof.length} hashes, which does not fit the sizes it is about`);
  }
  const path = [];
  let hash = leaf;
  for (const [level, { side, from, to }] of turns.reverse().entries()) {
    const sibling = proof[level];
    hash = side === "left" ? await nodeHash(sibling, hash) : await nodeHash(hash, sibling);
    path.push({
      side,
      sibling: hexOf(sibling),
      hash: hexOf(hash),
      level: level + 1,
      from: `${from}`,
      to: `${to - 1n}`,
    });
  }
  if (!same(hash, root)) refuse(`the proof leads to root ${hexOf(hash)}, the whole tree has ${hexOf(root)}`);
  return path;
}

/** That a tree begins with an earlier one (RFC 9162 §2.1.4.2). */
async function grows(first, second, firstRoot, secondRoot, proof) {
  const wrong = (which) => refuse(`the proof does not lead to the root of the ${which} tree`);
  const length = () => refuse(`the proof has ${proof.length} hashes, which does not fit the sizes it is about`);
  if (first > second) refuse("the earlier tree is larger than the later one");
  if (first === 0n || first === second) {
    if (proof.length) length();
    const expected = first === 0n ? await emptyRoot() : secondRoot;
    if (!same(expected, firstRoot)) wrong("earlier");
    if (second === 0n && !same(expected, secondRoot)) wrong("later");
    return;
  }
  const perfect = (first & (first - 1n)) === 0n;
  if (!perfect && !proof.length) length();
  const [start, steps] = perfect ? [firstRoot, proof] : [proof[0], proof.slice(1)];
  let [node, last] = [first - 1n, second - 1n];
  const shift = () => {
    node >>= 1n;
    last >>= 1n;
  };
  while (node & 1n) shift();
  let [earlier, later] = [start, start];
  for (const step of steps) {
    if (last === 0n) length();
    if (node & 1n || node === last) {
      while (!(node & 1n) && node !== 0n) shift();
      earlier = await nodeHash(step, earlier);
      later = await nodeHash(step, later);
    } else {
      later = await nodeHash(later, step);
    }
    shift();
  }
  if (last !== 0n) length();
  if (!same(earlier, firstRoot)) wrong("earlier");
  if (!same(later, secondRoot)) wrong("later");
}

// ── The documents ─────────────────────────────────────────────────────────────

const STEPS = {
  record: ["form", "key", "keys", "checkpoint", "signature", "record", "path"],
  growth: ["form", "key", "keys", "checkpoint", "signature", "growth", "against"],
  checkpoint: ["form", "keys", "checkpoint", "signature"],
  unknown: ["form"],
};

const plural = (number, word) => `${number} ${word}${String(number) === "1" ? "" : "s"}`;

class Trail {
  constructor() {
    this.kind = "unknown";
    this.steps = [];
    this.found = {};
  }

  async step(name, run) {
    const step = { name, state: "bad", detail: "" };
    this.steps.push(step);
    try {
      step.detail = (await run()) ?? "";
      step.state = "ok";
    } catch (error) {
      step.detail = error.message;
      if (error instanceof Open) step.state = "open";
      throw error;
    }
  }

  all() {
    const done = new Set(this.steps.map((step) => step.name));
    const left = STEPS[this.kind].filter((name) => !done.has(name));
    return [...this.steps, ...left.map((name) => ({ name, state: "skipped", detail: "" }))];
  }
}

function textOf(input) {
  const size = typeof input === "string" ? input.length : input?.byteLength;
  if (typeof size !== "number") refuse("it is no text");
  if (size > MAX_BYTES) {
    throw new Open(
      "unable",
      `Nothing was checked: the file has more than ${MAX_BYTES >> 20} MiB, which no proof has.`,
      "run `auditctl verify FILE`",
    );
  }
  if (typeof input === "string") {
    // A string that came from wrong UTF-8, or has half a character, is not what was written.
    if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(input)) refuse("it is not UTF-8");
    return input;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input);
  } catch {
    return refuse("it is not UTF-8");
  }
}

const shownKey = (key, compared) =>
  key && { name: key.name, id: key.id, text: key.text, fingerprint: key.fingerprint, compared };

/** Which of the believed keys leads to the one that signed; the first reason why none does. */
async function byBelieved(given, candidates, run) {
  const asked = [...given.keys];
  const known = [...candidates];
  for (const print of given.fingerprints) {
    const key = known.find((one) => one.fingerprint === print);
    if (key) asked.push(key);
  }
  if (!asked.length) {
    const own = known.at(-1);
    refuse(
      `its key ${cut(own.label, 250)} has the fingerprint ${group(own.fingerprint)}, which is not the one that you gave`,
    );
  }
  let failed = null;
  for (const key of asked) {
    try {
      return { key, signer: await run(key) };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      failed ??= error;
    }
  }
  throw failed;
}

/** The signed tree at the end of each proof document: SignedTree::check of the engine. */
async function signedTree(trail, of, treeSize, options) {
  const { found } = trail;
  const own = { key: null };
  await trail.step("key", async () => {
    own.key = await parseKey(trimEnd(member.text(of, "public_key")));
    found.key = shownKey(own.key, false);
    return own.key.label;
  });
  const rotations = of.get("key_chain") ?? (of.has("key_chain") ? null : []);
  let ring = new Ring();
  await trail.step("keys", async () => {
    ring = await Ring.of(rotations);
    found.chain = ring.shown();
    const changes = ring.handovers.length;
    return changes
      ? `the log changed its key ${plural(changes, "time")}, and each change holds`
      : "the log had one key";
  });
  let checkpoint = null;
  await trail.step("checkpoint", async () => {
    checkpoint = await readCheckpoint(trail, member.text(of, "checkpoint"));
    return `${plural(checkpoint.size, "record")} of ${cut(checkpoint.origin, 250)}`;
  });
  await trail.step("signature", async () => {
    const given = options.believed;
    const asked = given.keys.length + given.fingerprints.length > 0;
    const candidates = ring.keys.length ? ring.keys : [own.key];
    const run = async (key) => {
      if (!ring.keys.length && key.text !== own.key.text) {
        refuse(`its public key is ${cut(own.key.label, 250)}, not the one given, ${cut(key.label, 250)}`);
      }
      const reached = ring.by(key);
      const signer = await reached.signer(checkpoint);
      if (signer.text !== own.key.text) {
        refuse(`its public key is ${cut(own.key.label, 250)}, its checkpoint is by ${cut(signer.label, 250)}`);
      }
      found.notes = reached.notes();
      return signer;
    };
    const believes = asked ? await byBelieved(given, candidates, run) : { key: own.key, signer: await run(own.key) };
    if (checkpoint.size !== treeSize) {
      refuse(`it says that the tree has ${treeSize} records, its checkpoint ${checkpoint.size}`);
    }
    found.asked = asked;
    found.key = shownKey(own.key, asked && believes.key.text === own.key.text);
    found.given = asked && believes.key.text !== own.key.text ? shownKey(believes.key, true) : null;
    return `by ${own.key.label}`;
  });
  return { checkpoint, ring };
}

async function readCheckpoint(trail, text) {
  const checkpoint = await parseCheckpoint(text);
  const { origin, size, root, parsed } = checkpoint;
  trail.found.checkpoint = {
    origin,
    log: parsed?.log ?? null,
    epoch: parsed?.epoch ?? null,
    size: String(size),
    root: hexOf(root),
    note: text,
  };
  return checkpoint;
}

async function included(trail, { seq, line, proof, checkpoint }) {
  await trail.step("record", async () => {
    if (seqOf(line) !== seq) refuse(`its record is not record ${seq}`);
    trail.found.leafBytes = await leafHash(line);
    trail.found.leaf = hexOf(trail.found.leafBytes);
    return `it hashes to ${trail.found.leaf}`;
  });
  await trail.step("path", async () => {
    const { leafBytes } = trail.found;
    trail.found.path = await climb(leafBytes, seq, checkpoint.size, proof, checkpoint.root).catch((error) => {
      throw error instanceof Refused
        ? new Refused(`the record is not the one that was signed: ${error.message}`)
        : error;
    });
    return `${plural(proof.length, "hash").replace(/hashs$/, "hashes")} lead from it to the signed root`;
  });
}

async function checkRecord(trail, of, options) {
  let [seq, line, treeSize, proof] = [];
  await trail.step("form", async () => {
    checkHead(of, ["auditctl/proof"]);
    [seq, line] = [member.number(of, "seq"), member.text(of, "record")];
    trail.found.record = { seq: String(seq), line };
    [treeSize, proof] = [member.number(of, "tree_size"), member.hashes(of, "inclusion_proof")];
    return "a proof of a record, format 1";
  });
  const { checkpoint } = await signedTree(trail, of, treeSize, options);
  await included(trail, { seq, line, proof, checkpoint });
}

async function checkGrowth(trail, of, options) {
  let [fromSize, fromRoot, treeSize, proof] = [];
  await trail.step("form", async () => {
    checkHead(of, ["auditctl/consistency-proof"]);
    fromSize = member.number(of, "from_size");
    fromRoot = bytesOfHex(member.text(of, "from_root"), 'its "from_root"');
    [treeSize, proof] = [member.number(of, "tree_size"), member.hashes(of, "consistency_proof")];
    trail.found.growth = {
      from_size: String(fromSize),
      from_root: hexOf(fromRoot),
      tree_size: String(treeSize),
    };
    return "a proof of growth, format 1";
  });
  const { checkpoint, ring } = await signedTree(trail, of, treeSize, options);
  await trail.step("growth", async () => {
    await grows(fromSize, treeSize, fromRoot, checkpoint.root, proof).catch((error) => {
      throw error instanceof Refused
        ? new Refused(`the signed tree does not begin with the earlier one: ${error.message}`)
        : error;
    });
    return `the first ${fromSize} of ${plural(treeSize, "record")} are those of then`;
  });
  const key = trail.found.given ?? trail.found.key;
  const keys = ring.by(ring.keys.find((one) => one.text === key.text) ?? (await parseKey(key.text)));
  for (const { name, text } of options.against ?? []) {
    await trail.step("against", () => beginsWith(name, text, { fromSize, fromRoot, checkpoint, keys }));
  }
}

/** That a checkpoint which somebody kept is the earlier tree of a proof of growth. */
async function beginsWith(name, text, { fromSize, fromRoot, checkpoint, keys }) {
  const of = cut(name);
  const kept = await ofReader(of, () => parseCheckpoint(noteIn(textOf(text))));
  const [then, now] = [kept.parsed, checkpoint.parsed];
  if (!then || !now || then.keyName !== now.keyName) {
    refuse(`${of} is of ${cut(kept.origin)}, and the proof is of ${cut(checkpoint.origin)}`);
  }
  await keys.signer(kept).catch((error) => {
    throw error instanceof Refused ? new Refused(`${of} proves nothing: ${error.message}`) : error;
  });
  if (kept.size !== fromSize) {
    throw new Open(
      "unable",
      `${of} covers ${plural(kept.size, "record")}, but the proof begins at ${fromSize}: it says nothing about that checkpoint, good or bad.`,
      `make a proof with \`auditctl prove --from ${kept.size}\``,
    );
  }
  if (!same(kept.root, fromRoot)) {
    refuse(
      then.epoch === now.epoch
        ? `the ${kept.size} records of ${of} are not those that the signed tree begins with: the log was rewritten`
        : `the log was restored since ${of} (epoch ${then.epoch} then, ${now.epoch} now), and no longer has all of its ${kept.size} records`,
    );
  }
  return `${of} is the earlier tree`;
}

const TLOG = "c2sp.org/tlog-proof@";

function parseTlog(text) {
  const bad = (line, why) => refuse(`line ${line} of the proof is wrong: ${why}`);
  const blank = text.indexOf("\n\n");
  if (blank < 0) bad(1, "no empty line comes before the checkpoint");
  const lines = text.slice(0, blank).split("\n");
  if (lines[0] !== `${TLOG}v1`) bad(1, `only ${TLOG}v1 is known to this version`);
  let at = 1;
  let extra = null;
  if (lines[at]?.startsWith("extra ")) {
    extra = bytesOfBase64(lines[at].slice(6)) ?? bad(2, "extra is not base64");
    at += 1;
  }
  const [, digits] = /^index (.*)$/.exec(lines[at] ?? "") ?? [];
  const seq =
    (digits === undefined ? null : decimal(digits)) ?? bad(at + 1, '"index" and a plain decimal number are expected');
  const hashes = lines.slice(at + 1);
  if (hashes.length > MAX_HASHES) bad(at + 2, "no inclusion proof has so many hashes");
  const proof = hashes.map((line, nth) => {
    const hash = bytesOfBase64(line);
    return hash?.length === 32 ? hash : bad(at + 2 + nth, "not the base64 of 32 bytes");
  });
  return { seq, extra, proof, checkpoint: text.slice(blank + 2) };
}

async function checkTlog(trail, text, options) {
  let parsed = null;
  let line = null;
  await trail.step("form", async () => {
    parsed = parseTlog(text);
    const extra = parsed.extra && textOf(parsed.extra);
    const given = options.record ? textOf(options.record).replace(/\n$/, "") : null;
    if (given !== null && extra !== null && given !== extra) refuse("its record is not the one that was given");
    line = given ?? extra;
    if (line === null) {
      throw new Open(
        "needs_key",
        "It does not hold the record that it proves.",
        "give the record's stored line with it",
      );
    }
    trail.found.record = { seq: String(parsed.seq), line };
    return "a C2SP tlog-proof";
  });
  const checkpoint = await byGivenKey(trail, parsed.checkpoint, new Ring(), options);
  await included(trail, { seq: parsed.seq, line, proof: parsed.proof, checkpoint });
}

/** A checkpoint that brings no key along. */
async function byGivenKey(trail, text, ring, options) {
  let checkpoint = null;
  await trail.step("checkpoint", async () => {
    checkpoint = await readCheckpoint(trail, text);
    return `${plural(checkpoint.size, "record")} of ${cut(checkpoint.origin, 250)}`;
  });
  await trail.step("signature", async () => {
    const given = options.believed;
    const prints = ring.keys.filter((key) => given.fingerprints.includes(key.fingerprint));
    if (!given.keys.length && !prints.length) {
      throw new Open(
        "needs_key",
        `It names no key, so its signature was not checked: it only claims to be of ${cut(checkpoint.origin, 250)}.`,
        "give the log's public key (audit.pub), from somebody whom you trust",
      );
    }
    const { key, signer } = await byBelieved(
      { keys: [...given.keys, ...prints], fingerprints: [] },
      [],
      async (one) => {
        const reached = ring.by(one);
        const by = await reached.signer(checkpoint);
        trail.found.notes = reached.notes();
        return by;
      },
    );
    trail.found.asked = true;
    trail.found.key = shownKey(signer, signer.text === key.text);
    trail.found.given = signer.text === key.text ? null : shownKey(key, true);
    return `by ${signer.label}`;
  });
  return checkpoint;
}

/** A checkpoint's text: by itself, or in a JSON file. */
function noteIn(text) {
  if (!/^[ \t\n\r]*\{/.test(text)) return text;
  const of = Json.parse(text);
  return member.text(of, "checkpoint");
}

async function checkCheckpoint(trail, text, options) {
  let note = null;
  await trail.step("form", async () => {
    note = noteIn(text);
    return "a checkpoint";
  });
  let ring = new Ring();
  if (options.history) {
    await trail.step("keys", async () => {
      const of = Json.parse(textOf(options.history));
      checkHead(of, ["auditctl/keys"]);
      ring = await Ring.of(of.get("rotations") ?? refuse("it has no changes of key"));
      if (!ring.keys.length) refuse("it has no changes of key");
      const log = member.text(of, "log_id");
      if (ring.keys.some((key) => !key.name.endsWith(`/${log}`))) refuse("its keys are of another log");
      trail.found.chain = ring.shown();
      return `${plural(ring.handovers.length, "change")} of key`;
    });
  }
  await byGivenKey(trail, note, ring, options);
}

async function dispatch(trail, input, options) {
  const text = textOf(input);
  if (text.startsWith(TLOG)) {
    trail.kind = "record";
    return checkTlog(trail, text, options);
  }
  if (!/^[ \t\n\r]*\{/.test(text)) {
    if (!text.includes("\n\n— ")) refuse("it is neither a proof nor a checkpoint");
    trail.kind = "checkpoint";
    return checkCheckpoint(trail, text, options);
  }
  const of = Json.parse(text);
  const type = of.get("type");
  if (type === "auditctl/consistency-proof") {
    trail.kind = "growth";
    return checkGrowth(trail, of, options);
  }
  if (type !== "auditctl/proof" && typeof of.get("checkpoint") === "string") {
    trail.kind = "checkpoint";
    return checkCheckpoint(trail, text, options);
  }
  trail.kind = "record";
  return checkRecord(trail, of, options);
}

// ── What it means ─────────────────────────────────────────────────────────────

function claim(kind, found) {
  const { checkpoint, record, growth } = found;
  const log = cut(checkpoint.origin, 250);
  if (kind === "record")
    return `record ${record.seq} is one of the first ${plural(checkpoint.size, "record")} of log ${log}`;
  if (kind === "growth") {
    return `the ${plural(checkpoint.size, "record")} of log ${log} begin with the ${plural(growth.from_size, "record")} of an earlier tree with the root ${growth.from_root}`;
  }
  return `log ${log} had ${plural(checkpoint.size, "record")}, with the root ${checkpoint.root}`;
}

function good(kind, found, options) {
  const key = found.key;
  const print = group(key.fingerprint);
  const said = claim(kind, found);
  if (!found.asked) {
    return {
      verdict: "consistent",
      sentence:
        `All of it fits together: the key with the fingerprint ${print} signed that ${said}. ` +
        "Whether that is the log's key this document cannot say, because whoever made the document chose the key in it.",
      remedy:
        "compare the fingerprint with one that you have from elsewhere: `auditctl key show` on the log's host " +
        "prints it, and so does everybody who keeps the log's audit.pub",
    };
  }
  const lead = found.given
    ? `, to which the key that you gave leads (${group(found.given.fingerprint)})`
    : ", which is the one that you gave";
  const kept = (options.against ?? []).length > 0;
  const root = kind === "growth" && !kept;
  return {
    verdict: "proven",
    sentence: `Proven: ${said}, signed by the key with the fingerprint ${print}${lead}.`,
    remedy: root ? "compare the earlier root with that of a checkpoint which you kept, or give that as well" : null,
  };
}

function bad(error, kind) {
  if (error instanceof Open) return { verdict: error.verdict, sentence: error.message, remedy: error.remedy };
  if (error instanceof Refused) {
    const what = { record: "This proof", growth: "This proof", checkpoint: "This checkpoint", unknown: "This file" }[
      kind
    ];
    return {
      verdict: "refused",
      sentence: `${what} proves nothing: ${error.message}.`,
      remedy: "ask the owner of the log for a new one; keep this one if somebody may have altered it",
    };
  }
  return {
    verdict: "unable",
    sentence: `Nothing was proven: the checker failed (${cut(error?.message ?? error, 200)}).`,
    remedy: "run `auditctl verify --proof FILE`, and report this",
  };
}

/** See the top of this file. */
export async function check(input, options = {}) {
  const trail = new Trail();
  const settings = { ...options };
  let outcome;
  try {
    await ableHere();
    settings.believed = await believed(settings.keys);
    await dispatch(trail, input, settings);
    outcome = good(trail.kind, trail.found, settings);
  } catch (error) {
    if (error instanceof Refused && !trail.steps.length) {
      trail.steps.push({ name: "form", state: "bad", detail: error.message });
    }
    outcome = bad(error, trail.kind);
  }
  const { found } = trail;
  const holds = outcome.verdict === "proven" || outcome.verdict === "consistent";
  return {
    ...outcome,
    kind: trail.kind,
    steps: trail.all(),
    record: found.record ?? null,
    key: found.key ?? null,
    given: holds ? (found.given ?? null) : null,
    checkpoint: found.checkpoint ?? null,
    leaf: found.leaf ?? null,
    path: found.path ?? [],
    chain: found.chain ?? [],
    growth: found.growth ?? null,
    notes: (found.notes ?? []).map((note) => visible(note)),
  };
}
