// Asking the collector: only the one that served this page, always with the token in a header, never with a cookie.

const KEPT = "auditctl.token";

export class Refusal extends Error {
  constructor(kind, message, status = 0, wait = null) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.wait = wait;
  }
}

let token = null;
const waiting = new Set();

/** Takes a token out of the address bar at once; it stays in this tab, until the tab is closed. */
export function takeToken() {
  try {
    token ??= sessionStorage.getItem(KEPT);
  } catch {
    /* it lasts as long as the page */
  }
  const found = /^#token=([^&]*)/.exec(location.hash);
  if (!found) return false;
  history.replaceState(null, "", `${location.pathname}${location.search}#/now`);
  let given = found[1];
  try {
    given = decodeURIComponent(given);
  } catch {
    /* as it is */
  }
  // A link must not have somebody ask under another name unseen.
  if (
    token !== null &&
    token !== given &&
    !confirm("This tab is signed in already. Go on with the token of the address instead?")
  )
    return false;
  setToken(given.trim());
  return true;
}

export function hasToken() {
  return token !== null;
}

export function setToken(text) {
  token = text || null;
  try {
    if (token) sessionStorage.setItem(KEPT, token);
    else sessionStorage.removeItem(KEPT);
  } catch {
    /* it lasts as long as the page */
  }
}

export function onSignedOut(listener) {
  waiting.add(listener);
}

export async function ask(
  path,
  { method = "GET", accept = "application/json", signal = null, patience = 30_000 } = {},
) {
  const headers = { Accept: accept };
  if (token !== null) {
    if (!/^[\x21-\x7e]+$/.test(token))
      throw signedOut(new Refusal("signed_out", "That is no token: it has characters that no token has.", 401));
    headers.Authorization = `Bearer ${token}`;
  }
  const shown = token;
  const late = AbortSignal.timeout(patience);
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
  } catch (error) {
    throw lost(error, signal, late, patience);
  }
  if (response.ok) return response;
  const refusal = await refused(response);
  // Where a collector has no tokens of its own, whoever shows none is forbidden.
  const unknown = refusal.status === 401 || (refusal.status === 403 && shown === null);
  if (unknown) refusal.kind = "signed_out";
  if (unknown && shown === token) throw signedOut(refusal);
  throw refusal;
}

function lost(error, signal, late, patience) {
  if (signal?.aborted) return error;
  if (late.aborted) return new Refusal("silent", `The collector has not answered within ${patience / 1000} s.`);
  return new Refusal("unreachable", "The collector cannot be reached.");
}

async function refused(response) {
  let told = {};
  try {
    told = (await response.json()).error ?? {};
  } catch {
    /* an answer without a body */
  }
  const wait = Number(told.retry_after_ms) || Number(response.headers.get("Retry-After")) * 1000 || null;
  return new Refusal(
    String(told.kind ?? `http_${response.status}`),
    String(told.message ?? `The collector answered with ${response.status}.`),
    response.status,
    wait,
  );
}

function signedOut(refusal) {
  refusal.had = token !== null;
  setToken(null);
  for (const listener of waiting) listener(refusal);
  return refusal;
}

export async function askText(path, options = {}) {
  const response = await ask(path, options);
  try {
    return await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal("unreachable", "The collector's answer broke off.");
  }
}

export async function askJson(path, options = {}) {
  return JSON.parse(await askText(path, options));
}

export function told(error) {
  return error instanceof Refusal ? error.message : `This page failed: ${error.message}`;
}

export function save(parts, name, type) {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
