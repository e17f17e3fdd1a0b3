//! The settings of alerts, found good: rules, targets, secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::MIN_JOURNAL_BYTES;
use super::guard::{AllowList, Guard, Lookup, Policy};
use super::occurrence::Occurrence;
use super::payload::{Sender, chat, json, letter};
use super::problem::{PlanError, PlanErrors};
use super::route::{Maker, Route, Way};
use super::send::http::{self, Post};
use super::send::{Attempt, Trouble, smtp};
use super::trigger::Rule;
use crate::clock::{Clock, Timestamp};
use crate::config::{AlertKind, AlertSettings, MAX_ALERTS, Settings};
use crate::fsio::Fs;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Deliveries of one alert.
    pub queue_events: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// One try.
    pub timeout: Duration,
    /// Between two tries.
    pub retry_pause_max: Duration,
    /// Until a delivery has failed.
    pub give_up_after: Duration,
}

impl Limits {
    /// No journal is larger: all queues full, each line once more, and all of it again
    /// before it is written anew.
    pub(super) fn journal_bytes(&self) -> u64 {
        let all = (self.queue_bytes as u64).saturating_mul(MAX_ALERTS as u64);
        all.saturating_mul(4).max(MIN_JOURNAL_BYTES)
    }
}

/// All alerts, ready to run. Made before the log is opened, and anew on SIGHUP.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) rules: Vec<Rule>,
    pub(super) routes: BTreeMap<String, Route>,
    pub(super) limits: Limits,
    pub(super) guard: Guard,
}

impl Plan {
    /// Reads secrets, checks filters, and each target as it is written.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(
        settings: &Settings,
        fs: &dyn Fs,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, PlanErrors> {
        Self::of(settings, &settings.alerts.iter().collect::<Vec<_>>(), fs, lookup)
    }

    /// The same of some of the alerts.
    pub(super) fn of(
        settings: &Settings,
        alerts: &[&AlertSettings],
        fs: &dyn Fs,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, PlanErrors> {
        let mut problems = Vec::new();
        let alerting = &settings.alerting;
        let guard = guard(settings, lookup).unwrap_or_else(|error| {
            problems.push(error.0);
            error.1
        });
        let mut rules = Vec::new();
        let mut routes = BTreeMap::new();
        for alert in alerts {
            let maker = Maker { alert, fs, policy: &guard.policy };
            let (rule, route) = (maker.rule(), maker.route());
            match (rule, route) {
                (Ok(rule), Ok(route)) => {
                    routes.insert(alert.name.clone(), route);
                    rules.push(rule);
                }
                (rule, route) => problems.extend(rule.err().into_iter().chain(route.err())),
            }
        }
        let limits = Limits {
            queue_events: alerting.queue_events,
            queue_bytes: usize::try_from(alerting.queue_bytes.0).unwrap_or(usize::MAX),
            timeout: alerting.timeout,
            retry_pause_max: alerting.retry_pause_max,
            give_up_after: alerting.give_up_after,
        };
        if problems.is_empty() {
            Ok(Self { rules, routes, limits, guard })
        } else {
            Err(PlanErrors(problems))
        }
    }

    /// Whether there is nothing to tell anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// One try to deliver.
    pub(super) async fn deliver(
        &self,
        route: &Route,
        occurrence: &Occurrence,
        (sender, clock): (&Sender, &dyn Clock),
    ) -> Attempt {
        let (guard, timeout) = (&self.guard, self.limits.timeout);
        match &route.way {
            Way::Mail(server, envelope) => match letter::letter(occurrence, sender, envelope) {
                Ok(message) => smtp::send(guard, server, &message, timeout).await,
                Err(error) => Attempt {
                    address: None,
                    answer: None,
                    result: Err(Trouble::Permanent(error.to_string())),
                },
            },
            Way::Web { secret, trust } => {
                let body = match route.kind {
                    AlertKind::Slack => chat::slack(occurrence, sender),
                    AlertKind::Discord => chat::discord(occurrence, sender),
                    AlertKind::Webhook | AlertKind::Email => json::body(occurrence, sender),
                };
                let id = (route.kind == AlertKind::Webhook).then(|| occurrence.id.clone());
                let post = signed(secret.as_deref(), clock.now(), ("application/json", id, body));
                http::post(guard, &route.target, trust.as_ref(), (post, timeout)).await
            }
        }
    }
}

/// A post with its id, and a signature over both. Only what has an id is signed.
pub(super) fn signed(
    secret: Option<&[u8]>,
    now: Timestamp,
    (content_type, id, body): (&'static str, Option<String>, Vec<u8>),
) -> Post {
    let mut headers = Vec::new();
    if let Some(id) = id {
        headers.extend(secret.map(|secret| {
            let what = (id.as_str(), now.unix_seconds());
            (json::SIGNATURE_HEADER, json::signature(secret, what, &body))
        }));
        headers.push((json::ID_HEADER, id));
    }
    Post { content_type, headers, body }
}

/// The guard by the settings; with an error one that allows nothing.
pub(super) fn guard(
    settings: &Settings,
    lookup: Arc<dyn Lookup>,
) -> Result<Guard, (PlanError, Guard)> {
    let allow_http = settings.alerting.allow_http;
    match AllowList::parse(&settings.alerting.allow) {
        Ok(allow) => Ok(Guard { policy: Policy { allow, allow_http }, lookup }),
        Err(error) => {
            let problem = PlanError {
                origin: settings.origin("alerting.allow").clone(),
                what: "alerting.allow".to_owned(),
                reason: error.to_string(),
                refused: false,
            };
            Err((problem, Guard { policy: Policy::default(), lookup }))
        }
    }
}
