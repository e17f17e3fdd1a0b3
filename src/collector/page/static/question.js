// A question: the filters of `auditctl query`, as the address bar, the collector and a shell have them.

import { quoted } from "./text.js";

export const FIELDS = [
  ["type", "Event type"],
  ["actor", "Actor"],
  ["source", "Source"],
  ["target", "Target"],
  ["outcome", "Outcome"],
  ["id", "Id"],
  ["where", "Condition"],
  ["grep", "Text"],
];
export const SINGLE = ["since", "until", "seq"];
const MOST = 100;

export function empty() {
  const question = { order: "newest", at: null, record: null };
  for (const [key] of FIELDS) question[key] = [];
  for (const key of SINGLE) question[key] = "";
  return question;
}

export function fromAddress(text) {
  const question = empty();
  const given = new URLSearchParams(text);
  for (const [key] of FIELDS)
    question[key] = given
      .getAll(key)
      .filter((value) => value !== "")
      .slice(0, MOST);
  for (const key of SINGLE) question[key] = given.get(key) ?? "";
  if (given.get("order") === "oldest") question.order = "oldest";
  const record = given.get("record");
  if (/^\d{1,20}$/.test(record ?? "")) question.record = record;
  const at = given.get("at");
  if (/^(before|from)\.\d{1,20}$/.test(at ?? "")) question.at = at;
  return question;
}

function pairs(question) {
  const found = [];
  for (const [key] of FIELDS) for (const value of question[key]) found.push([key, value]);
  for (const key of SINGLE) if (question[key]) found.push([key, question[key]]);
  return found;
}

export function toAddress(question) {
  const given = new URLSearchParams(pairs(question));
  if (question.order === "oldest") given.set("order", "oldest");
  if (question.at) given.set("at", question.at);
  if (question.record) given.set("record", question.record);
  const text = given.toString();
  return `#/explore${text ? `?${text}` : ""}`;
}

export function toFilters(question) {
  return new URLSearchParams(pairs(question));
}

export function isSame(one, other) {
  return toFilters(one).toString() === toFilters(other).toString();
}

export function toCommand(question) {
  const words = ["auditctl", "query"];
  for (const [key, value] of toFilters(question)) words.push(`--${key}=${quoted(value)}`);
  if (question.order === "oldest") words.push("--oldest");
  return words.join(" ");
}

export function range(text) {
  const found = /^\s*(\d*)\s*(?:(\.\.=?)\s*(\d*))?\s*$/.exec(text ?? "");
  if (!found || (!found[1] && !found[2])) return [0, null];
  const begin = Number(found[1] || 0);
  if (!found[2]) return [begin, begin + 1];
  if (!found[3]) return [begin, null];
  return [begin, Number(found[3]) + (found[2] === "..=" ? 1 : 0)];
}
