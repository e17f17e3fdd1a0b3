//! The settings of alerts, found good: rules, targets, secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;

use super::guard::{AllowList, Guard, Lookup, Policy, Target};
use super::occurrence::{Errors, Occurrence};
use super::payload::letter::Envelope;
use super::payload::{Sender, chat, json, letter};
use super::send::http::{self, Post};
use super::send::smtp::{self, Server};
use super::send::{Attempt, Trouble};
use super::trigger::{ERROR_OUTCOMES, On, Rule};
use crate::audit::query::{Filter, Request};
use crate::clock::{Clock, Timestamp};
use crate::config::{AlertKind, AlertSettings, AlertTrigger, Origin, Settings, SmtpTls};
use crate::fsio::Fs;

/// A signing secret shorter than this can be guessed.
pub(super) const MIN_SECRET_CHARS: usize = 16;
const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;

/// What is wrong with one alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {what}: {reason}")]
pub struct PlanError {
    /// Where it was set.
    pub origin: Origin,
    /// `[[alerts]] "ops": url`
    pub what: String,
    /// What is wrong.
    pub reason: String,
    /// Whether the guard refused its target.
    pub refused: bool,
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl std::fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = self.0.as_slice() {
            return std::fmt::Display::fmt(only, f);
        }
        write!(f, "{} problems with the alerts:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for PlanErrors {}

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

/// All alerts, ready to run. Made before the log is opened, and anew on SIGHUP.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) rules: Vec<Rule>,
    pub(super) routes: BTreeMap<String, Route>,
    pub(super) limits: Limits,
    pub(super) guard: Guard,
}

/// Where an alert goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) kind: AlertKind,
    pub(super) target: Target,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Web { secret: Option<Vec<u8>>, ca: Option<Vec<u8>> },
    Mail(Box<Server>, Box<Envelope>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Web { .. } => "Web",
            Self::Mail(..) => "Mail",
        })
    }
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
                Ok(message) => smtp::send(guard, server, message, timeout).await,
                Err(error) => Attempt {
                    address: None,
                    answer: None,
                    result: Err(Trouble::Permanent(error.to_string())),
                },
            },
            Way::Web { secret, ca } => {
                let body = match route.kind {
                    AlertKind::Slack => chat::slack(occurrence, sender),
                    AlertKind::Discord => chat::discord(occurrence, sender),
                    AlertKind::Webhook | AlertKind::Email => json::body(occurrence, sender),
                };
                let id = (route.kind == AlertKind::Webhook).then(|| occurrence.id.clone());
                let post = signed(secret.as_deref(), clock.now(), ("application/json", id, body));
                http::post(guard, &route.target, ca.as_deref(), (post, timeout)).await
            }
        }
    }
}

/// A post with its id and signature.
pub(super) fn signed(
    secret: Option<&[u8]>,
    now: Timestamp,
    (content_type, id, body): (&'static str, Option<String>, Vec<u8>),
) -> Post {
    let mut headers = Vec::new();
    headers.extend(id.map(|id| (json::ID_HEADER, id)));
    headers.extend(secret.map(|secret| {
        (json::SIGNATURE_HEADER, json::signature(secret, now.unix_seconds(), &body))
    }));
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

/// Makes what one alert needs.
struct Maker<'a> {
    alert: &'a AlertSettings,
    fs: &'a dyn Fs,
    policy: &'a Policy,
}

impl Maker<'_> {
    fn problem(&self, own: &str, reason: impl ToString) -> PlanError {
        PlanError {
            origin: self.alert.origin(own),
            what: format!("[[alerts]] {:?}: {own}", self.alert.name),
            reason: reason.to_string(),
            refused: false,
        }
    }

    fn rule(&self) -> Result<Rule, PlanError> {
        let alert = self.alert;
        let on = match alert.on {
            AlertTrigger::Event => On::Event(self.filter(alert.outcome.clone())?),
            AlertTrigger::Errors => {
                let outcome = match &alert.outcome[..] {
                    [] => ERROR_OUTCOMES.map(str::to_owned).to_vec(),
                    chosen => chosen.to_vec(),
                };
                let within_seconds = alert.within.as_secs().max(1);
                On::Errors(self.filter(outcome)?, Errors { count: alert.count, within_seconds })
            }
            AlertTrigger::Health => On::Health(alert.checks.clone()),
        };
        Ok(Rule { name: alert.name.clone(), on, cooldown: alert.cooldown })
    }

    fn filter(&self, outcome: Vec<String>) -> Result<Filter, PlanError> {
        let alert = self.alert;
        let request = Request {
            event_type: alert.event_type.clone(),
            actor: alert.actor.clone(),
            source: alert.source.clone(),
            target: alert.target.clone(),
            outcome,
            conditions: alert.conditions.clone(),
            grep: alert.grep.clone(),
            ..Request::default()
        };
        let query = request.resolve(Timestamp::default());
        query.map(|query| query.filter).map_err(|error| self.problem(error.key, error.reason))
    }

    fn route(&self) -> Result<Route, PlanError> {
        let alert = self.alert;
        let ca = match &alert.ca_file {
            Some(path) => Some(self.fs.read(path, MAX_SECRET_FILE_BYTES).map_err(|error| {
                self.problem("ca_file", format!("{}: {error}", path.display()))
            })?),
            None => None,
        };
        let kind = alert.send;
        if kind == AlertKind::Email {
            let (server, envelope) = self.mail(ca)?;
            let target = server.target.clone();
            return Ok(Route {
                kind,
                target,
                way: Way::Mail(Box::new(server), Box::new(envelope)),
            });
        }
        let (own, text) = match (&alert.url, &alert.url_file) {
            (Some(url), _) => ("url", url.0.clone()),
            (None, Some(path)) => ("url_file", self.secret("url_file", path, 1)?),
            (None, None) => return Err(self.problem("url", "is missing")),
        };
        let target = self
            .policy
            .web(&text)
            .map_err(|refusal| PlanError { refused: true, ..self.problem(own, refusal) })?;
        let secret = alert.secret_file.as_ref();
        let secret =
            secret.map(|path| self.secret("secret_file", path, MIN_SECRET_CHARS)).transpose()?;
        let secret = secret.map(String::into_bytes);
        Ok(Route { kind, target, way: Way::Web { secret, ca } })
    }

    fn mail(&self, ca: Option<Vec<u8>>) -> Result<(Server, Envelope), PlanError> {
        let alert = self.alert;
        let smtp = alert.smtp.as_deref().unwrap_or_default();
        let target = self
            .policy
            .mail(smtp, alert.smtp_tls == SmtpTls::None)
            .map_err(|refusal| PlanError { refused: true, ..self.problem("smtp", refusal) })?;
        let mailbox = |own: &str, text: &str| {
            let read = text.parse::<Mailbox>();
            read.map_err(|error| self.problem(own, format!("{text:?} is no mail address: {error}")))
        };
        let login = match (&alert.smtp_user, &alert.smtp_password_file) {
            (Some(user), Some(path)) => {
                Some((user.clone(), self.secret("smtp_password_file", path, 1)?))
            }
            _ => None,
        };
        let envelope = Envelope {
            from: mailbox("from", alert.from.as_deref().unwrap_or_default())?,
            to: alert.to.iter().map(|to| mailbox("to", to)).collect::<Result<_, _>>()?,
        };
        Ok((Server { target, tls: alert.smtp_tls, login, hello: host_name(), ca }, envelope))
    }

    fn secret(&self, own: &str, path: &Path, least: usize) -> Result<String, PlanError> {
        read_secret(self.fs, path, least).map_err(|reason| self.problem(own, reason))
    }
}

/// The first line of a file that nobody else may read.
pub(super) fn read_secret(fs: &dyn Fs, path: &Path, least: usize) -> Result<String, String> {
    let refuse = |reason: String| format!("{}: {reason}", path.display());
    let meta = fs.meta(path).map_err(|error| refuse(error.to_string()))?;
    if meta.mode & 0o077 != 0 {
        return Err(refuse(format!("others may read it (mode {:o}); chmod 600 it", meta.mode)));
    }
    let bytes = fs.read(path, MAX_SECRET_FILE_BYTES).map_err(|e| refuse(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.len() < least {
        return Err(refuse(format!("its first line is shorter than {least} characters")));
    }
    Ok(line.to_owned())
}

/// What this machine is called.
#[must_use]
pub(super) fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.is_empty() { "localhost".to_owned() } else { name.into_owned() }
}
