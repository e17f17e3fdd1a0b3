//! Single deliveries, without a queue: a test, and a checkpoint that is pushed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::{Guard, Lookup, Target};
use super::occurrence::Occurrence;
use super::payload::Sender;
use super::plan::{Plan, guard, signed};
use super::problem::{PlanError, PlanErrors};
use super::route::{MIN_SECRET_CHARS, host_name, read_secret};
use super::send::{Attempt, Trouble, http};
use crate::clock::Clock;
use crate::config::{SecretUrl, Settings};
use crate::fsio::Fs;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Whether the target took it.
    pub delivered: bool,
    /// Host and port of the target.
    pub target: String,
    /// What was connected to.
    pub address: Option<SocketAddr>,
    /// What the other end said: `HTTP 204`, `SMTP 250`.
    pub answer: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Why it was not delivered.
    pub problem: Option<String>,
    /// Whether the guard refused the target.
    pub refused: bool,
}

/// Why a test could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// No such alert.
    #[error("there is no [[alerts]] table with the name {name:?}; there {}", known(.names))]
    NoSuchAlert {
        /// The name asked for.
        name: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// Its settings are wrong.
    #[error(transparent)]
    Settings(#[from] PlanErrors),
    /// There is no way to wait for it.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

fn known(names: &[String]) -> String {
    match names {
        [] => "are none at all".to_owned(),
        [only] => format!("is {only:?}"),
        names => format!("are {}", names.join(", ")),
    }
}

/// Sends one marked test alert to the target of the alert `name`, once, and tells
/// how that went. Nothing is queued or recorded; cooldowns and triggers have no
/// say. Blocks, for `alerting.timeout` at most.
///
/// # Errors
/// When it could not be tried at all; see [`TestError`].
pub fn send_test(
    settings: &Settings,
    name: &str,
    (fs, clock): (&dyn Fs, &dyn Clock),
    lookup: Arc<dyn Lookup>,
) -> Result<TestOutcome, TestError> {
    let Some(alert) = settings.alerts.iter().find(|alert| alert.name == name) else {
        let names = settings.alerts.iter().map(|alert| alert.name.clone()).collect();
        return Err(TestError::NoSuchAlert { name: name.to_owned(), names });
    };
    let plan = Plan::of(settings, &[alert], fs, lookup)?;
    let Some(route) = plan.routes.get(name) else {
        return Err(TestError::NoSuchAlert { name: name.to_owned(), names: Vec::new() });
    };
    let now = clock.now();
    let occurrence = Occurrence {
        id: format!("test/{name}/{}", now.micros()),
        alert: name.to_owned(),
        trigger: "test".to_owned(),
        at: now,
        record: None,
        record_cut: false,
        errors: None,
        health: None,
        suppressed: None,
        queued: Instant::now(),
    };
    let sender = Sender { host: host_name(), log_id: String::new() };
    let begun = Instant::now();
    let attempt = block_on(plan.deliver(route, &occurrence, (&sender, clock)))?;
    let problem = attempt.result.as_ref().err().map(ToString::to_string);
    Ok(TestOutcome {
        delivered: attempt.result.is_ok(),
        target: route.target.to_string(),
        address: attempt.address,
        answer: attempt.answer,
        took: begun.elapsed(),
        problem,
        refused: matches!(attempt.result, Err(Trouble::Refused(_))),
    })
}

/// Why something could not be pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PushError {
    /// What happened.
    pub reason: String,
    /// Whether the guard refused the target.
    pub refused: bool,
}

/// A web address that checkpoints are pushed to.
#[derive(Debug)]
pub struct PushTarget {
    guard: Guard,
    target: Target,
    secret: Option<Vec<u8>>,
    timeout: Duration,
}

impl PushTarget {
    /// Checks the address as it is written, and reads the secret.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        settings: &Settings,
        (url, secret_file): (&SecretUrl, Option<&Path>),
        fs: &dyn Fs,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, PlanErrors> {
        let problem = |key: &str, reason: String, refused| {
            let origin = settings.origin(key).clone();
            PlanErrors(vec![PlanError { origin, what: key.to_owned(), reason, refused }])
        };
        let guard = guard(settings, lookup).map_err(|(error, _)| PlanErrors(vec![error]))?;
        let target = guard.policy.web(&url.0).map_err(|refusal| {
            problem("collector.checkpoint_push_url", refusal.to_string(), true)
        })?;
        let secret = secret_file.map(|path| read_secret(fs, path, MIN_SECRET_CHARS)).transpose();
        let secret = secret
            .map_err(|reason| problem("collector.checkpoint_push_secret_file", reason, false))?;
        let secret = secret.map(String::into_bytes);
        Ok(Self { guard, target, secret, timeout: settings.alerting.timeout })
    }

    /// Posts a text, signed. Blocks.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn push(&self, id: String, text: &str, clock: &dyn Clock) -> Result<(), PushError> {
        let content = ("text/plain; charset=utf-8", Some(id), text.as_bytes().to_vec());
        let post = signed(self.secret.as_deref(), clock.now(), content);
        let sending = http::post(&self.guard, &self.target, None, (post, self.timeout));
        let attempt = block_on(sending)
            .map_err(|error| PushError { reason: error.to_string(), refused: false })?;
        attempt.result.map_err(|trouble| PushError {
            reason: trouble.to_string(),
            refused: matches!(trouble, Trouble::Refused(_)),
        })
    }
}

/// Host and port.
impl std::fmt::Display for PushTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

fn block_on(sending: impl Future<Output = Attempt>) -> std::io::Result<Attempt> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let attempt = runtime.block_on(sending);
    // A look-up that hangs is not waited for.
    runtime.shutdown_background();
    Ok(attempt)
}
