//! `GET /v1/status`: how the log and its writer are, as `health` and `monitor` judge it.
//!
//! However many pages are open, it is looked once a second: a look costs the writer nothing,
//! and this process a millisecond.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::access::Role;
use crate::audit::state::status::Word;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::collector::gate::Caller;
use crate::collector::rates::{Average, Series};
use crate::collector::reply::{App, answer, error};
use crate::collector::{Current, Hub};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{Check, Health};
use crate::monitor::{self, Sample, Verdict};

/// A look is as good as new for so long.
const FRESH: Duration = Duration::from_secs(1);

type Look = Arc<(Health, Sample)>;

#[derive(Debug, Default)]
struct Slot {
    last: Option<(Instant, Look)>,
}

/// Looks at the log, for all who ask within a second.
pub(in crate::collector) struct Looks {
    settings: Arc<Current>,
    slot: Arc<Mutex<Slot>>,
}

impl Looks {
    pub(in crate::collector) fn new(settings: Arc<Current>) -> Self {
        Self { settings, slot: Arc::default() }
    }

    /// The settings as they are now.
    pub(in crate::collector) fn settings(&self) -> Settings {
        (self.settings)()
    }

    /// As it was a second ago at most; when the file system does not answer within
    /// `health.deadline`, that it does not.
    async fn look(&self, hub: &Arc<Hub>) -> Look {
        let settings = self.settings();
        let deadline = settings.health.deadline;
        let (slot, hub) = (Arc::clone(&self.slot), Arc::clone(hub));
        let judged = settings.clone();
        let look = async move {
            let mut slot = slot.lock_owned().await;
            if let Some((at, look)) = &slot.last
                && at.elapsed() < FRESH
            {
                return Ok(Arc::clone(look));
            }
            // The slot goes along: who asks and hangs up does not begin a second look.
            tokio::task::spawn_blocking(move || {
                let begun = Instant::now();
                // What this process has done by now.
                hub.log.page().publish_changes();
                let look = Arc::new(monitor::look(&judged, &OsFs, &SystemClock));
                slot.last = Some((begun, Arc::clone(&look)));
                look
            })
            .await
        };
        match tokio::time::timeout(deadline, look).await {
            Ok(Ok(look)) => look,
            Ok(Err(_)) | Err(_) => Arc::new(monitor::unanswered(&settings, &SystemClock, deadline)),
        }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    now: Timestamp,
    version: &'static str,
    hostname: String,
    log: Log,
    audit_reads: bool,
    /// Who asks, if a token was shown.
    session: Option<Whose>,
    verdict: Verdict,
    checks: &'a [Check],
    sample: &'a Sample,
    rates: Average,
    series: Series,
}

#[derive(Serialize)]
struct Log {
    id: String,
    epoch: u32,
    dir: String,
    /// The first record that is here.
    first: u64,
    /// The seq that the next event gets.
    next: u64,
    /// Records below this are durable.
    durable: u64,
}

/// Whose token it is.
#[derive(Serialize)]
struct Whose {
    /// The token's, where it has one.
    name: Option<String>,
    /// The user whose session it is.
    user: Option<String>,
    uid: Option<u32>,
    role: Role,
    expires: Option<Timestamp>,
}

impl Whose {
    fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::Person(visitor) => Some(Self {
                name: None,
                user: visitor.session.user.clone(),
                uid: Some(visitor.session.uid),
                role: visitor.session.role,
                expires: Some(visitor.session.expires),
            }),
            Caller::Token(holder) => {
                let token = holder.token();
                let (name, expires) = (Some(token.name.clone()), token.expires);
                Some(Self { name, user: None, uid: None, role: token.role, expires })
            }
            Caller::Here { .. } | Caller::Stranger | Caller::Listener { .. } => None,
        }
    }
}

pub(in crate::collector) async fn get_status(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let hub = &app.hub;
    let look = hub.page.look(hub).await;
    let (health, sample) = &*look;
    let (page, clock) = (hub.log.page(), &*hub.log.options().clock);
    let manifest = hub.log.manifest();
    let status = Status {
        now: SystemClock.now(),
        version: env!("CARGO_PKG_VERSION"),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        log: Log {
            id: hub.log.log_id().to_owned(),
            epoch: manifest.epoch,
            dir: health.report.metadata.log_dir.display().to_string(),
            first: manifest.pruned.end(),
            next: page.get(Word::NextSeq),
            durable: page.get(Word::DurableSeq),
        },
        audit_reads: hub.audit_reads,
        session: Whose::of(&caller),
        verdict: sample.verdict(),
        checks: &health.report.checks,
        sample,
        rates: hub.rates.average(page, clock),
        series: hub.rates.series(clock),
    };
    match serde_json::to_value(&status) {
        Ok(status @ Value::Object(_)) => answer(StatusCode::OK, &status),
        Ok(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the status is no object"),
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}
