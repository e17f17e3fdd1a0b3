//! One alert's settings, made into what it is triggered by and where it goes.

use std::path::Path;

use lettre::message::Mailbox;

use super::guard::{Policy, Target};
use super::occurrence::Errors;
use super::payload::letter::Envelope;
use super::problem::PlanError;
use super::send::smtp::Server;
use super::trigger::{ERROR_OUTCOMES, On, Rule, SILENT_TYPES};
use crate::access::trust::Trust;
use crate::audit::read::query::{Filter, Pattern, Request};
use crate::audit::write::own::OWN_TYPES;
use crate::clock::Timestamp;
use crate::config::{AlertKind, AlertSettings, AlertTrigger, SmtpTls, suggestion};
use crate::fsio::Fs;
use crate::fsio::private::exposed;

/// A signing secret shorter than this can be guessed.
pub(super) const MIN_SECRET_CHARS: usize = 16;
const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;

/// Where an alert goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) kind: AlertKind,
    pub(super) target: Target,
    pub(super) way: Way,
}

#[derive(Clone)]
pub(super) enum Way {
    Web { secret: Option<Vec<u8>>, trust: Option<Trust> },
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

/// Makes what one alert needs.
pub(super) struct Maker<'a> {
    pub(super) alert: &'a AlertSettings,
    pub(super) fs: &'a dyn Fs,
    pub(super) policy: &'a Policy,
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

    pub(super) fn rule(&self) -> Result<Rule, PlanError> {
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
            AlertTrigger::Health => {
                On::Health(alert.checks.iter().map(|check| check.name().to_owned()).collect())
            }
        };
        Ok(Rule { name: alert.name.clone(), on, cooldown: alert.cooldown })
    }

    /// Each name of a record's type can be had: the log's own are few.
    fn types(&self) -> Result<(), PlanError> {
        let own = OWN_TYPES.iter().filter(|own| !SILENT_TYPES.contains(own));
        for text in &self.alert.event_type {
            let pattern = Pattern::new(text);
            let is_own = text.starts_with("audit.");
            if is_own && !own.clone().any(|own| pattern.matches(own.as_bytes())) {
                let reason = if SILENT_TYPES.iter().any(|own| pattern.matches(own.as_bytes())) {
                    "it cannot trigger an alert: it is about alerts themselves, and health \
                     reports it"
                        .to_owned()
                } else {
                    let hint = suggestion(text, OWN_TYPES);
                    let hint = if hint.is_empty() { hint } else { format!("; {hint}") };
                    format!("the log writes no record of that type{hint}")
                };
                return Err(self.problem("type", format!("{text:?}: {reason}")));
            }
        }
        Ok(())
    }

    fn filter(&self, outcome: Vec<String>) -> Result<Filter, PlanError> {
        self.types()?;
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

    pub(super) fn route(&self) -> Result<Route, PlanError> {
        let alert = self.alert;
        let trust = alert.ca_file.as_deref().map(|path| self.trust(path)).transpose()?;
        let kind = alert.send;
        let is_mail = match kind {
            AlertKind::Email => true,
            AlertKind::Webhook | AlertKind::Slack | AlertKind::Discord => false,
        };
        if is_mail {
            let (server, envelope) = self.mail(trust)?;
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
        Ok(Route { kind, target, way: Way::Web { secret, trust } })
    }

    fn trust(&self, path: &Path) -> Result<Trust, PlanError> {
        let refuse =
            |reason: String| self.problem("ca_file", format!("{}: {reason}", path.display()));
        let pem = self.fs.read(path, MAX_SECRET_FILE_BYTES).map_err(|e| refuse(e.to_string()))?;
        Trust::parse(&pem).map_err(refuse)
    }

    fn mail(&self, trust: Option<Trust>) -> Result<(Server, Envelope), PlanError> {
        let alert = self.alert;
        let smtp = alert.smtp.as_deref().unwrap_or_default();
        let target = self
            .policy
            .mail(smtp, alert.smtp_tls == SmtpTls::None)
            .map_err(|refusal| PlanError { refused: true, ..self.problem("smtp", refusal) })?;
        let mailbox = |own: &str, text: &str| {
            let read = text.parse::<Mailbox>();
            read.map_err(|error| {
                self.problem(
                    own,
                    format!(
                        "{text:?} is not a mail address: \
                                                            {error}"
                    ),
                )
            })
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
        Ok((Server { target, tls: alert.smtp_tls, login, hello: host_name(), trust }, envelope))
    }

    fn secret(&self, own: &str, path: &Path, least: usize) -> Result<String, PlanError> {
        read_secret(self.fs, path, least).map_err(|reason| self.problem(own, reason))
    }
}

/// The first line of a file that nobody else may read.
pub(super) fn read_secret(fs: &dyn Fs, path: &Path, least: usize) -> Result<String, String> {
    let refuse = |reason: String| format!("{}: {reason}", path.display());
    let meta = fs.meta(path).map_err(|error| refuse(error.to_string()))?;
    if let Some(why) = exposed(path, &meta) {
        return Err(refuse(why));
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
