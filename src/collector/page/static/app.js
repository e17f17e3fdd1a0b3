// The page: which view is shown, whether the collector can be reached, and who is asking.

import { ask, askJson, hasToken, onSignedOut, Refusal, setToken, takeToken, told } from "./api.js";
import { Explore } from "./explore.js";
import { Now } from "./now.js";
import { ProofView } from "./proof-view.js";
import { button, el, fill, shown, span, stateClass } from "./text.js";
import { isLocal, setLocal, stamp, time, zoneName } from "./time.js";

const EVERY = 2_000;
const SLOWEST = 30_000;

const part = (id) => document.getElementById(id);
const state = {
  status: null,
  at: null,
  since: null,
  failed: null,
  tries: 0,
  timer: null,
  asking: null,
  next: 0,
  spoken: null,
  ended: null,
  locked: false,
  resume: false,
};

takeToken();
const views = { now: new Now(), explore: new Explore(), proof: new ProofView() };
let view = null;

function route(moved = true) {
  if (takeToken()) {
    signedIn();
  }
  const found = /^#\/(now|explore|proof)(?:\?(.*))?$/s.exec(location.hash);
  const name = found ? found[1] : "now";
  if (!found) history.replaceState(null, "", `${location.pathname}${location.search}#/now`);
  const fresh = view !== views[name];
  if (fresh) {
    view?.close();
    view = views[name];
    fill(part("view"), view.node);
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${{ now: "Now", explore: "Explore", proof: "Proof" }[name]} – auditctl`;
  view.open(found?.[2] ?? "");
  if (fresh && moved) view.node.querySelector("h1")?.focus({ preventScroll: true });
}

async function poll(now = false) {
  clearTimeout(state.timer);
  if (document.hidden || state.locked) return;
  if (state.asking) {
    if (!now) return;
    state.asking.abort();
  }
  const asking = new AbortController();
  state.asking = asking;
  try {
    const status = await askJson("/v1/status", { signal: asking.signal, patience: 10_000 });
    if (state.asking !== asking) return;
    reached(status);
  } catch (error) {
    if (state.asking !== asking || asking.signal.aborted) return;
    missed(error);
  }
  state.asking = null;
  const wait = state.failed ? Math.min(SLOWEST, EVERY * 2 ** Math.min(state.tries - 1, 4)) : EVERY;
  later(Math.max(wait, state.failed?.wait ?? 0));
}

function later(wait) {
  state.next = Date.now() + wait;
  clearTimeout(state.timer);
  if (!document.hidden && !state.locked) state.timer = setTimeout(() => poll(), wait);
}

function reached(status) {
  const { failed: was, resume } = state;
  Object.assign(state, { status, at: Date.now(), failed: null, since: null, tries: 0, resume: false });
  views.now.show(status);
  showSession(status.session);
  const log = part("log");
  fill(log, shown(status.hostname ?? "", 60), status.hostname && " · ", shown(status.log?.dir ?? "", 80));
  showState();
  const word = status.verdict.status;
  if (state.spoken !== word) speak(`The log is ${word}. ${status.verdict.sentence}`);
  state.spoken = word;
  if (was) speak("The collector can be reached again.");
  // Only a token that was taken is shown with more questions: wrong ones are counted.
  if (was || resume) view?.back?.();
}

function missed(error) {
  if (error instanceof Refusal && error.kind === "signed_out") {
    state.locked = true;
    showState();
    return;
  }
  if (!state.failed) {
    state.since = new Date().toISOString();
    speak(`${told(error)} What is shown is old.`);
  }
  state.failed = error;
  state.tries += 1;
  showState();
}

function showState() {
  const { failed, at, status } = state;
  const node = part("state");
  const alarm = part("alarm");
  document.body.classList.toggle("old", Boolean(failed || state.locked));
  if (failed) {
    const wait = Math.max(0, Math.round((state.next - Date.now()) / 1000));
    node.className = "state bad";
    fill(node, "■ no contact");
    if (alarm.dataset.of !== "contact") {
      fill(
        alarm,
        el(
          "p",
          el("b", el("span", { "data-part": "why" })),
          " Since ",
          el("span", { "data-part": "since" }),
          ". ",
          el("span", { "data-part": "age" }),
          " ",
          el("span", { "data-part": "next" }),
        ),
        button("Try now", () => poll(true), { class: null }),
        el("p.remedy", "If it does not come back: see on that machine what ", el("code", "auditctl health"), " says."),
      );
      alarm.dataset.of = "contact";
    }
    const say = (name, text) => {
      alarm.querySelector(`[data-part=${name}]`).textContent = text;
    };
    say("why", told(failed));
    say("since", stamp(state.since, 0));
    say("age", at ? `What is shown in grey is ${span((Date.now() - at) / 1000)} old.` : "Nothing has been shown yet.");
    say(
      "next",
      `${state.tries === 1 ? "Tried once" : `Tried ${state.tries} times`}; ${state.asking ? "trying now" : `next in ${wait} s`}.`,
    );
    alarm.hidden = false;
    return;
  }
  if (state.locked) {
    node.className = "state bad";
    fill(node, "■ signed out");
  } else if (status) {
    const of = stateClass(status.verdict.status);
    node.className = `state ${of}`;
    fill(node, `${{ good: "●", warn: "▲", bad: "■", unknown: "○" }[of]} ${status.verdict.status}, ${age(at)}`);
  }
  const stale = status && !state.locked && writerIsLate(status);
  if (stale) {
    alarm.hidden = false;
    alarm.dataset.of = "writer";
    fill(
      alarm,
      el(
        "p",
        el("b", "The writer does not answer. "),
        shown(status.sample.writer.message ?? "", 1000),
        " Its last sign of life: ",
        time(status.sample.writer.last_update),
        typeof status.sample.writer.age_seconds === "number" &&
          ` (${span(status.sample.writer.age_seconds)} before this look)`,
        ".",
      ),
    );
  } else {
    alarm.hidden = true;
    delete alarm.dataset.of;
  }
}

function age(at) {
  const seconds = Math.round((Date.now() - at) / 1000);
  return seconds < 4 ? "live" : `${span(seconds)} old`;
}

/** A collector may answer while its writer hangs, has died or waits for a full disk. */
function writerIsLate(status) {
  const writer = status.sample?.writer;
  return Boolean(writer && writer.state !== "running" && writer.state !== "stopped" && writer.last_update);
}

/** For screen readers: only what has changed, and matters. */
function speak(text) {
  part("spoken").textContent = text;
}

function showSession(session) {
  const node = part("session");
  if (!session) {
    fill(node, hasToken() ? "" : button("Sign in", () => showForm(null)));
    return;
  }
  const who = session.user ?? session.name ?? (typeof session.uid === "number" ? `uid ${session.uid}` : "token");
  if (node.dataset.of === JSON.stringify([session, isLocal()])) return;
  node.dataset.of = JSON.stringify([session, isLocal()]);
  fill(
    node,
    shown(who, 40),
    ` (${session.role})`,
    session.expires && [", until ", time(session.expires)],
    " ",
    button("Sign out", leave),
  );
}

/** The collector forgets a session at once; a token of its file it cannot forget. */
function leave() {
  if (state.status?.session?.name === null) ask("/v1/session", { method: "DELETE" }).catch(() => null);
  setToken(null);
  showForm(null);
  poll(true);
}

function showForm(error) {
  state.ended = error ?? new Refusal("signed_out", "You are not signed in.", 401);
  views.explore.clear();
  const why = part("why");
  const known = state.ended.had
    ? `The session has ended, or the token is not valid. ${state.ended.message}`
    : "A token is needed to look at this log.";
  fill(why, shown(known, 1000));
  part("form").hidden = false;
  delete part("session").dataset.of;
  fill(part("session"));
  showState();
  part("token").focus();
  speak(known);
}

function signedOut(error) {
  Object.assign(state, { failed: null, since: null, tries: 0 });
  showForm(error);
}

function signedIn() {
  Object.assign(state, { ended: null, locked: false, resume: true });
  part("form").hidden = true;
  part("token").value = "";
  poll(true);
}

onSignedOut(signedOut);
part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = part("token").value.trim();
  setToken(/#token=([^&\s]+)/.exec(text)?.[1] ?? text);
  if (!hasToken()) return;
  signedIn();
  part("main").focus({ preventScroll: true });
});

function showZone() {
  const zone = part("zone");
  zone.textContent = isLocal() ? "Times: local" : "Times: UTC";
  zone.title = `Times are in ${zoneName()}`;
}

part("zone").addEventListener("click", () => {
  setLocal(!isLocal());
  showZone();
  speak(`Times are in ${zoneName()}.`);
  if (state.status) {
    views.now.show(state.status);
    showSession(state.status.session);
  }
  view?.zone?.();
});
part("skip").addEventListener("click", (event) => {
  event.preventDefault();
  part("main").focus();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll(true);
  else clearTimeout(state.timer);
  view?.seen?.(!document.hidden);
});
addEventListener("online", () => poll(true));
addEventListener("hashchange", () => route());
setInterval(() => {
  if (!document.hidden) showState();
}, 1_000);

showZone();
route(false);
poll();
