// Times: records have UTC with microseconds, which Date does not hold, so that the digits are taken from the text.

import { el } from "./text.js";

const KEPT = "auditctl.zone";
const FORM = /^(\d{4,6})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?Z$/;
let zone = kept();

function kept() {
  try {
    return localStorage.getItem(KEPT) === "local" ? "local" : "utc";
  } catch {
    return "utc";
  }
}

export function isLocal() {
  return zone === "local";
}

export function setLocal(local) {
  zone = local ? "local" : "utc";
  try {
    localStorage.setItem(KEPT, zone);
  } catch {
    /* it lasts as long as the page */
  }
}

export function zoneName() {
  return isLocal() ? `local time, ${Intl.DateTimeFormat().resolvedOptions().timeZone}` : "UTC";
}

function two(number) {
  return String(number).padStart(2, "0");
}

function offset(date) {
  const minutes = -date.getTimezoneOffset();
  const of = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(of / 60))}:${two(of % 60)}`;
}

export function stamp(iso, digits = 6, full = true) {
  const found = FORM.exec(iso ?? "");
  if (!found) return iso ?? "–";
  const fraction = digits > 0 && found[7] ? `.${found[7].slice(0, digits)}` : "";
  if (!isLocal())
    return `${found[1]}-${found[2]}-${found[3]} ${found[4]}:${found[5]}:${found[6]}${fraction}${full ? " UTC" : ""}`;
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock}${fraction}${full ? ` ${offset(date)}` : ""}`;
}

export function time(iso, digits = 0, full = true) {
  return iso ? el("time", { datetime: iso, title: stamp(iso) }, stamp(iso, digits, full)) : "–";
}

export function fromMs(ms) {
  return new Date(ms).toISOString();
}

export function toMs(iso) {
  const ms = Date.parse(iso ?? "");
  return Number.isNaN(ms) ? null : ms;
}

/** What somebody typed, as the collector takes it: a time without a zone is one of the zone that is shown. */
export function typed(text) {
  const found = /^(\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?)?$/.exec(text.trim());
  if (!found) return text.trim();
  const [, year, month, day, hour = "00", minute = "00", second = "00"] = found;
  if (!isLocal()) return `${year}-${month}-${day}T${hour}:${minute}:${second}Z`;
  const date = new Date(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number.parseInt(second, 10),
  );
  if (Number.isNaN(date.getTime())) return text.trim();
  const fraction = second.includes(".") ? second.slice(second.indexOf(".")) : "";
  return date.toISOString().replace(/\.\d+Z$/, `${fraction}Z`);
}
