//! `/v1/verify`: a verification of the whole log beside its writer, one at a time, on one
//! thread of low priority. It ends with the collector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Extension;
use axum::extract::{Request as Asking, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::gate::Caller;
use super::intake::guest;
use super::reply::{App, answer, error};
use super::{Hub, coverage};
use crate::audit::LogPaths;
use crate::audit::read::error::ReadError;
use crate::audit::read::verify::{Anchor, Report, Request, verify};
use crate::audit::read::watch::{Stage, Watch};
use crate::clock::Timestamp;
use crate::health::{Findings, FoundBy, next_steps, note_verified};

/// Of all that runs on the machine it comes last.
const NICE: i32 = 15;

/// One at a time, and what became of the last one.
#[derive(Debug, Default)]
pub(super) struct Verification(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    done: AtomicU64,
    total: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    run: Option<Run>,
    /// Of the last one that came to a verdict.
    result: Option<Value>,
}

#[derive(Debug)]
struct Run {
    began: Timestamp,
    ended: Option<Timestamp>,
    by: String,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Done,
    Failed(String),
    Cancelled,
}

impl Verification {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last one found that came to a verdict.
    pub(super) fn last(&self) -> Option<Value> {
        self.known().result.clone()
    }

    /// How it is.
    fn state(&self) -> Value {
        let known = self.known();
        let run = known.run.as_ref();
        let (state, failed) = match run.map(|run| &run.end) {
            None => ("idle", None),
            Some(None) => ("running", None),
            Some(Some(End::Done)) => ("done", None),
            Some(Some(End::Failed(why))) => ("failed", Some(why.clone())),
            Some(Some(End::Cancelled)) => ("cancelled", None),
        };
        json!({
            "state": state,
            "started": run.map(|run| run.began),
            "ended": run.and_then(|run| run.ended),
            "by": run.map(|run| &run.by),
            "done_bytes": self.0.done.load(Ordering::Relaxed),
            "total_bytes": self.0.total.load(Ordering::Relaxed),
            "error": failed,
            "result": known.result,
        })
    }

    /// Begins one; false while another runs.
    fn begin(&self, hub: &Arc<Hub>, by: String) -> Result<bool, std::io::Error> {
        let began = hub.log.options().clock.now();
        {
            let mut known = self.known();
            if known.run.as_ref().is_some_and(|run| run.end.is_none()) {
                return Ok(false);
            }
            self.0.done.store(0, Ordering::Relaxed);
            self.0.total.store(0, Ordering::Relaxed);
            known.run = Some(Run { began, ended: None, by, end: None });
        }
        // Not under the lock: one that cannot begin ends at once, and takes it.
        let ending = Ending { shared: Arc::clone(&self.0), hub: Arc::clone(hub) };
        let thread = std::thread::Builder::new().name("collector-verify".to_owned());
        thread.spawn(move || ending.run(began))?;
        Ok(true)
    }
}

/// The thread that verifies. However it ends, that is noted.
struct Ending {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
}

impl Ending {
    fn run(self, now: Timestamp) {
        let options = self.hub.log.options();
        let verified = on_one_thread(|| {
            let key = self.hub.log.verifier_key().parse().ok();
            // What is in reach and does not fit is held against it, as by `auditctl verify`.
            let found = coverage::contradicting(&self.hub).map_err(|source| {
                let path = options.dir.clone();
                ReadError::Io { action: "compare", path, source }
            })?;
            let anchors = found
                .iter()
                .filter_map(|it| Anchor::parse(&it.name, it.note.as_bytes()).ok())
                .collect();
            let request = Request { key, now, anchors, ..Request::default() };
            let watch = Progress { shared: &self.shared, hub: &self.hub };
            verify(&options.fs, &options.dir, &request, &watch).map(|(report, _)| report)
        });
        let (end, result) = match verified {
            Ok(Ok(report)) => {
                self.tell_health(&report);
                (End::Done, Some(self.result(&report, now)))
            }
            Ok(Err(ReadError::Interrupted)) => (End::Cancelled, None),
            Ok(Err(failed)) => (End::Failed(failed.to_string()), None),
            Err(failed) => (End::Failed(failed), None),
        };
        self.note(end, result);
    }

    /// What a comparison with copies found, only one with the same copies ends: this run sees
    /// those that are in the collector's reach.
    fn tell_health(&self, report: &Report) {
        let options = self.hub.log.options();
        let paths = LogPaths::new(&options.dir);
        let of_copies = match Findings::load(&*options.fs, &paths) {
            Findings::Some(found) => found.is_of_copies(),
            _ => false,
        };
        if !(report.passed() && of_copies) {
            note_verified(&*options.fs, &paths, report, FoundBy::Verify, false);
        }
    }

    fn note(&self, end: End, result: Option<Value>) {
        let mut known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = known.run.as_mut().filter(|run| run.end.is_none()) {
            run.end = Some(end);
            run.ended = Some(self.hub.log.options().clock.now());
        }
        if result.is_some() {
            known.result = result;
        }
    }

    /// When, over how much, by which key, and what was found.
    fn result(&self, report: &Report, began: Timestamp) -> Value {
        let by = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        let by = by.run.as_ref().map(|run| run.by.clone());
        let mut whole = json!(report);
        whole["passed"] = json!(report.passed());
        whole["next"] = json!(if report.passed() { Vec::new() } else { next_steps(report) });
        // The key is that of the writer itself, and of no file.
        whole["key_source"] = json!("collector");
        json!({
            "verdict": if report.passed() { "verified" } else { "wrong" },
            "passed": report.passed(),
            "at": report.verified_at,
            "started": began,
            "ended": self.hub.log.options().clock.now(),
            "by": by,
            "tree_size": report.tree_size,
            "root_hash": report.root_hash,
            "key": report.key,
            "fingerprint": report.fingerprint,
            "sentence": sentence(report),
            "report": whole,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Only after a panic is there no end yet.
        self.note(End::Failed("the verification ended unexpectedly".to_owned()), None);
    }
}

fn sentence(report: &Report) -> String {
    let size = report.tree_size;
    if report.passed() {
        let mut but = Vec::new();
        for (records, why) in [
            (report.given_up(), "were given up"),
            (report.left_behind(), "of an earlier epoch were left behind"),
            (report.ranges.removed.end_seq, "were removed by retention"),
        ] {
            if records > 0 {
                but.push(format!("{records} {why}"));
            }
        }
        let but = match but.is_empty() {
            true => String::new(),
            false => format!(" Not all of them are here: {}.", but.join(", ")),
        };
        return format!(
            "The {size} signed records hash to the root that this collector's key signed.{but} Only \
             a copy that is kept elsewhere can show that nothing was cut off the end: `auditctl \
             verify --against FILE`."
        );
    }
    let found = report.findings.len();
    let first = report.findings.first().map_or_else(String::new, |it| format!(" The first: {it}"));
    format!("Something is wrong with the log: {found} findings.{first}")
}

/// Verification reads blocks in parallel: here on this thread alone, which gives way.
fn on_one_thread<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, String> {
    let lower = |_| {
        // Only a wish.
        let thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(thread), NICE);
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "collector-verify".to_owned())
        .start_handler(lower)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(pool.install(run))
}

struct Progress<'a> {
    shared: &'a Shared,
    hub: &'a Hub,
}

impl Watch for Progress<'_> {
    fn stage(&self, _: Stage, bytes: u64) {
        self.shared.done.store(0, Ordering::Relaxed);
        self.shared.total.store(bytes, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.shared.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        *self.hub.stopping.borrow()
    }
}

pub(super) async fn get_verify(State(app): State<App>) -> Response {
    answer(StatusCode::OK, &app.hub.verification.state())
}

pub(super) async fn post_verify(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Asking,
) -> Response {
    let reader = caller.reader(guest(&request));
    let by = reader.user.or(reader.origin.token);
    let by = by.or_else(|| reader.origin.uid.map(|uid| format!("uid {uid}")));
    let by = by.unwrap_or_else(|| "somebody with a token".to_owned());
    match app.hub.verification.begin(&app.hub, by) {
        Ok(true) => answer(StatusCode::ACCEPTED, &app.hub.verification.state()),
        Ok(false) => {
            let text = "a verification is running; GET /v1/verify says how far it is";
            error(StatusCode::CONFLICT, "busy", text)
        }
        Err(failed) => {
            let text = format!("the verification cannot start: {failed}");
            error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &text)
        }
    }
}
