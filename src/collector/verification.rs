//! `/v1/verify`: a verification of the whole log beside its writer, one at a time, on one
//! thread of low priority. It ends with the collector.

mod run;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request as Asking, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Hub;
use super::gate::Caller;
use super::intake::guest;
use super::reply::{App, answer, error, with_retry_after};
use crate::clock::Timestamp;
use run::Outcome;

/// After a run nobody may begin another one for this long at least,
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// and for so many times as long as it took: whoever asks without end gets a fifth of a core.
const PAUSE: u32 = 4;
/// For so long at least the last verdict stands, where it was good and nothing was recorded
/// since.
const STANDS: Duration = Duration::from_secs(60);

/// One at a time, and what became of the last one.
#[derive(Debug, Default)]
pub(super) struct Verification(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Known {
    run: Option<Run>,
    /// Of the last one that came to a verdict.
    result: Option<Verdict>,
}

#[derive(Debug)]
struct Run {
    began: Timestamp,
    began_at: Duration,
    ended: Option<Timestamp>,
    by: String,
    end: Option<(End, Duration)>,
}

#[derive(Debug)]
struct Verdict {
    passed: bool,
    tree_size: u64,
    at: Duration,
    value: Value,
}

#[derive(Debug)]
enum End {
    Done,
    Failed(String),
    Cancelled,
}

/// What became of the wish to begin one.
#[derive(Debug, PartialEq, Eq)]
enum Begun {
    Yes,
    /// Another one runs.
    Running,
    /// The last one was good, is new enough, and was about all that is recorded by now.
    Stands,
    /// Not yet.
    In(Duration),
}

impl Known {
    fn is_running(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.end.is_none())
    }

    /// For how long after a run none may begin.
    fn pause(&self) -> Duration {
        let took = self.run.as_ref().and_then(|run| {
            let (_, ended_at) = run.end.as_ref()?;
            Some(ended_at.saturating_sub(run.began_at))
        });
        took.map_or(Duration::ZERO, |took| took.saturating_mul(PAUSE).max(LEAST_PAUSE))
    }

    /// How long it is until one may begin.
    fn wait(&self, now: Duration) -> Duration {
        let ended = self.run.as_ref().and_then(|run| run.end.as_ref()).map(|(_, at)| *at);
        ended.map_or(Duration::ZERO, |at| (at + self.pause()).saturating_sub(now))
    }

    /// Whether one begins at `now`, with so many records acknowledged.
    fn may(&self, now: Duration, acked: u64) -> Begun {
        if self.is_running() {
            return Begun::Running;
        }
        if let Some(last) = self.result.as_ref().filter(|last| last.passed)
            && last.tree_size == acked
            && now.saturating_sub(last.at) < self.pause().max(STANDS)
        {
            return Begun::Stands;
        }
        match self.wait(now) {
            Duration::ZERO => Begun::Yes,
            wait => Begun::In(wait),
        }
    }
}

/// Time since the machine was started, which nobody sets.
fn uptime(hub: &Hub) -> Duration {
    Duration::from_millis(hub.log.options().clock.boot_ms())
}

impl Verification {
    /// What the last one found that came to a verdict.
    pub(super) fn last(&self) -> Option<Value> {
        self.0.known().result.as_ref().map(|result| result.value.clone())
    }

    /// How it is.
    fn state(&self, hub: &Hub) -> Value {
        let now = uptime(hub);
        let known = self.0.known();
        let run = known.run.as_ref();
        let (state, failed) = match run.map(|run| run.end.as_ref().map(|(end, _)| end)) {
            None => ("idle", None),
            Some(None) => ("running", None),
            Some(Some(End::Done)) => ("done", None),
            Some(Some(End::Failed(why))) => ("failed", Some(why.clone())),
            Some(Some(End::Cancelled)) => ("cancelled", None),
        };
        let result = known.result.as_ref();
        json!({
            "state": state,
            "started": run.map(|run| run.began),
            "ended": run.and_then(|run| run.ended),
            "by": run.map(|run| &run.by),
            "done_bytes": self.0.done.load(Ordering::Relaxed),
            "total_bytes": self.0.total.load(Ordering::Relaxed),
            "error": failed,
            "retry_after_seconds": seconds(known.wait(now)),
            "age_seconds": result.map(|result| now.saturating_sub(result.at).as_secs()),
            "result": result.map(|result| &result.value),
        })
    }

    /// Begins one, unless one runs, or has just run.
    fn begin(&self, hub: &Arc<Hub>, by: String) -> Result<Begun, std::io::Error> {
        let clock = &hub.log.options().clock;
        let (began, began_at) = (clock.now(), uptime(hub));
        {
            let mut known = self.0.known();
            let may = known.may(began_at, hub.log.acked_seq());
            if may != Begun::Yes {
                return Ok(may);
            }
            self.0.done.store(0, Ordering::Relaxed);
            self.0.total.store(0, Ordering::Relaxed);
            known.run = Some(Run { began, began_at, ended: None, by, end: None });
        }
        // Not under the lock: one that cannot begin ends at once, and takes it.
        let ending = Ending { shared: Arc::clone(&self.0), hub: Arc::clone(hub) };
        let thread = std::thread::Builder::new().name("collector-verify".to_owned());
        thread.spawn(move || ending.run(began))?;
        Ok(Begun::Yes)
    }
}

/// In whole seconds, so that it is over after them.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The thread that verifies. However it ends, that is noted.
struct Ending {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
}

impl Ending {
    fn run(self, now: Timestamp) {
        match run::run(&self.shared, &self.hub, now) {
            Outcome::Verdict(report, compared) => {
                let by = self.shared.known().run.as_ref().map(|run| run.by.clone());
                let times = (now, self.hub.log.options().clock.now());
                let value = run::result((&report, &compared), times, &by.unwrap_or_default());
                let verdict = Verdict {
                    passed: report.passed(),
                    tree_size: report.tree_size,
                    at: uptime(&self.hub),
                    value,
                };
                self.note(End::Done, Some(verdict));
            }
            Outcome::Cancelled => self.note(End::Cancelled, None),
            Outcome::Failed(why) => self.note(End::Failed(why), None),
        }
    }

    fn note(&self, end: End, result: Option<Verdict>) {
        let mut known = self.shared.known();
        if let Some(run) = known.run.as_mut().filter(|run| run.end.is_none()) {
            run.end = Some((end, uptime(&self.hub)));
            run.ended = Some(self.hub.log.options().clock.now());
        }
        if result.is_some() {
            known.result = result;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Only after a panic is there no end yet.
        self.note(End::Failed("the verification ended unexpectedly".to_owned()), None);
    }
}

pub(super) async fn get_verify(State(app): State<App>) -> Response {
    answer(StatusCode::OK, &app.hub.verification.state(&app.hub))
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
        Ok(Begun::Yes) => answer(StatusCode::ACCEPTED, &app.hub.verification.state(&app.hub)),
        Ok(Begun::Stands) => answer(StatusCode::OK, &app.hub.verification.state(&app.hub)),
        Ok(Begun::Running) => {
            let text = "a verification is running; GET /v1/verify says how far it is";
            error(StatusCode::CONFLICT, "busy", text)
        }
        Ok(Begun::In(wait)) => {
            let text = format!(
                "a verification has just ended, and reads everything: the next one may begin in \
                 {} s. GET /v1/verify has what the last one found",
                seconds(wait)
            );
            let response = error(StatusCode::TOO_MANY_REQUESTS, "busy", &text);
            with_retry_after(response, Some(wait))
        }
        Err(failed) => {
            let text = format!("the verification cannot start: {failed}");
            error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// After one that took from 100 to `ended`, over 30 records.
    fn known(ended: u64, passed: bool) -> Known {
        let run = Run {
            began: Timestamp::from_micros(0),
            began_at: secs(100),
            ended: None,
            by: String::new(),
            end: Some((End::Done, secs(ended))),
        };
        let value = Value::Null;
        let result = Verdict { passed, tree_size: 30, at: secs(ended), value };
        Known { run: Some(run), result: Some(result) }
    }

    #[test]
    fn whoever_asks_without_end_gets_a_fifth_of_the_time() {
        assert_eq!(Known::default().may(secs(1), 0), Begun::Yes);
        let long = known(400, true);
        assert_eq!(long.may(secs(401), 31), Begun::In(secs(1_199)));
        assert_eq!(long.may(secs(1_600), 31), Begun::Yes);
        let short = known(101, true);
        assert_eq!(short.may(secs(102), 31), Begun::In(secs(9)));
        assert_eq!(short.may(secs(111), 31), Begun::Yes);
        let mut running = known(101, true);
        running.run.as_mut().expect("a run").end = None;
        assert_eq!(running.may(secs(5_000), 31), Begun::Running);
    }

    #[test]
    fn a_good_verdict_stands_for_a_while_where_nothing_was_recorded_since() {
        let short = known(101, true);
        assert_eq!(short.may(secs(160), 30), Begun::Stands);
        assert_eq!(short.may(secs(161), 30), Begun::Yes, "the bytes may be others by now");
        let long = known(400, true);
        assert_eq!(long.may(secs(1_599), 30), Begun::Stands);
        assert_eq!(long.may(secs(1_600), 30), Begun::Yes);
        // What was wrong may have been put right.
        assert_eq!(known(101, false).may(secs(112), 30), Begun::Yes);
    }
}
