//! Reading `[[alerts]]` tables.

use std::path::Path;

use super::alert::{AlertKind, AlertSettings, AlertTrigger, HealthCheckName, SecretUrl, SmtpTls};
use super::error::ConfigError;
use super::keys::{DAY, Key, Range, SECOND, kind_of};
use super::kind::Kind;
use super::names;
use super::origin::Origin;
use super::value::{Field, Raw, RawTable, no_reason};

/// Alerts in one file, at most.
pub const MAX_ALERTS: usize = 64;
/// An alert's name in characters, at most.
const MAX_NAME_CHARS: usize = 64;

macro_rules! choices {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Choice(<$type>::NAMES);
            fn read(raw: &Raw) -> Result<Self, String> {
                let name = raw.word_or_text().ok_or_else(no_reason)?;
                Self::of_name(name).ok_or_else(|| names::among(name, Self::NAMES))
            }
            fn text(&self) -> String {
                self.name().to_owned()
            }
        }
    )*};
}
choices!(AlertTrigger, AlertKind, SmtpTls);

impl Field for Vec<HealthCheckName> {
    const KIND: Kind = Kind::Choices(HealthCheckName::NAMES);
    fn read(raw: &Raw) -> Result<Self, String> {
        let check = |name: &String| {
            HealthCheckName::of_name(name).ok_or_else(|| {
                let hint = names::among(name, HealthCheckName::NAMES);
                let hint = if hint.is_empty() { hint } else { format!("; {hint}") };
                format!("{name:?} is none of them{hint}")
            })
        };
        <Vec<String>>::read(raw)?.iter().map(check).collect()
    }
    fn text(&self) -> String {
        self.iter().map(|check| check.name().to_owned()).collect::<Vec<_>>().text()
    }
}

impl Field for Option<SecretUrl> {
    const KIND: Kind = Kind::Url;
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.word_or_text().ok_or_else(no_reason)?;
        Ok((!text.is_empty()).then(|| SecretUrl(text.to_owned())))
    }
    fn text(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        self.as_ref().map_or_else(String::new, |url| {
            let mut hasher = DefaultHasher::new();
            url.0.hash(&mut hasher);
            format!("{}{:08x}", url.shown(), hasher.finish() & 0xffff_ffff)
        })
    }
}

const NO_RANGE: Option<Range> = None;

macro_rules! alert_keys {
    ($($name:literal => $field:ident $([$min:expr, $max:expr])?: $doc:literal;)*) => {
        /// The keys of an `[[alerts]]` table, in the order of the documents.
        pub static ALERT_KEYS: &[Key<AlertSettings>] = &[$(Key {
            name: concat!("alerts.", $name),
            kind: kind_of(|alert: &AlertSettings| &alert.$field),
            range: alert_keys!(@range $($min, $max)?),
            recommended: NO_RANGE,
            reloads: true,
            doc: $doc,
            set: |alert, raw| {
                alert.$field = Field::read(raw)?;
                Ok(())
            },
            text: |alert| Field::text(&alert.$field),
            magnitude: |alert| Field::magnitude(&alert.$field),
        }),*];
    };
    (@range) => { NO_RANGE };
    (@range $min:expr, $max:expr) => { Some(Range { min: $min, max: $max }) };
}

alert_keys! {
    "name" => name: "Its name, in deliveries, metrics and messages";
    "on" => on: "The trigger: event, each record that the filter accepts; errors, count of them within a time; health, a change of health";
    "type" => event_type: "Patterns for event_type: one of them must fit";
    "actor" => actor: "Patterns for actor";
    "source" => source: "Patterns for source";
    "target" => target: "Patterns for target";
    "outcome" => outcome: "Patterns for outcome; with errors, the outcomes that count as errors; unless set, the usual words for a failure";
    "where" => conditions: "Conditions such as details.amount >= 100: all must hold";
    "grep" => grep: "Texts that the record must contain: all of them";
    "count" => count [1, 1_000]: "With errors: how many";
    "within" => within [SECOND, DAY]: "With errors: within how long";
    "checks" => checks: "With health: which checks; none means health as a whole";
    "cooldown" => cooldown [0, 30 * DAY]: "How long after an alert further ones are held back; the next one counts them";
    "send" => send: "The kind of target";
    "url" => url: "The web address";
    "url_file" => url_file: "A file with the web address, if that is a secret";
    "secret_file" => secret_file: "A file with the secret that signs a webhook";
    "smtp" => smtp: "The mail server, as host:port";
    "smtp_tls" => smtp_tls: "How the connection to the mail server is protected";
    "smtp_user" => smtp_user: "The name to log in with";
    "smtp_password_file" => smtp_password_file: "A file with the password to log in with";
    "from" => from: "The sender's address";
    "to" => to: "The recipients' addresses";
    "ca_file" => ca_file: "A file with a certificate (PEM) to trust beside the system's";
}

/// `url` of `alerts.url`.
pub(super) fn own_name(key: &Key<AlertSettings>) -> &'static str {
    key.name.strip_prefix("alerts.").unwrap_or(key.name)
}

/// As one would write it in one line; for comparing, and for the record of a change.
impl Field for Vec<AlertSettings> {
    const KIND: Kind = Kind::Tables("[[alerts]]");
    fn read(_: &Raw) -> Result<Self, String> {
        Err(no_reason())
    }
    fn text(&self) -> String {
        let defaults = AlertSettings::default();
        let table = |alert: &AlertSettings| {
            let keys = ALERT_KEYS.iter().filter(|key| key.text(alert) != key.text(&defaults));
            let pairs: Vec<String> = keys
                .map(|key| {
                    let text = key.text(alert);
                    let value = if key.kind.quoted() { format!("{text:?}") } else { text };
                    format!("{} = {value}", own_name(key))
                })
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        };
        if self.is_empty() {
            return String::new();
        }
        format!("[{}]", self.iter().map(table).collect::<Vec<_>>().join(", "))
    }
}

/// Reads the tables; what is wrong is told, each with its line.
pub(super) fn read(
    path: &Path,
    tables: Vec<RawTable>,
    problems: &mut Vec<ConfigError>,
) -> Vec<AlertSettings> {
    let mut alerts: Vec<AlertSettings> = Vec::new();
    let count = tables.len();
    for RawTable { line, entries } in tables {
        let mut alert = AlertSettings::default();
        let at = |line| Origin::File { path: path.to_owned(), line };
        alert.origins.set("alerts", at(line));
        let before = problems.len();
        for (name, raw, line) in entries {
            match ALERT_KEYS.iter().find(|key| own_name(key) == name) {
                Some(key) => assign(&mut alert, key, &raw, at(line), problems),
                None => problems.push(ConfigError::Unknown {
                    origin: at(line),
                    key: format!("alerts.{name}"),
                    hint: names::for_own_key(&name, ALERT_KEYS.iter().map(own_name)),
                }),
            }
        }
        // With a value missing, what contradicts it is not known.
        if problems.len() == before {
            problems.extend(contradictions(&alert, &alerts));
        }
        alerts.push(alert);
    }
    if count > MAX_ALERTS {
        let message =
            format!("{}: {count} [[alerts]] tables; at most {MAX_ALERTS}", path.display());
        problems.push(ConfigError::Conflict { keys: vec!["alerts"], message });
    }
    alerts
}

fn assign(
    alert: &mut AlertSettings,
    key: &'static Key<AlertSettings>,
    raw: &Raw,
    origin: Origin,
    problems: &mut Vec<ConfigError>,
) {
    match key.assign(alert, raw) {
        Ok(()) => alert.origins.set(key.name, origin),
        Err(reason) => problems.push(ConfigError::Invalid {
            origin,
            key: key.name,
            found: raw.shown(),
            expected: key.expectation(),
            reason,
        }),
    }
}

const FILTER: [&str; 7] = ["type", "actor", "source", "target", "outcome", "where", "grep"];
const MAIL: [&str; 6] = ["smtp", "smtp_tls", "smtp_user", "smtp_password_file", "from", "to"];

/// What does not fit together in one table, or is missing.
fn contradictions(alert: &AlertSettings, earlier: &[AlertSettings]) -> Vec<ConfigError> {
    let mut found = Vec::new();
    let given = |own: &str| {
        let key = ALERT_KEYS.iter().find(|key| own_name(key) == own);
        key.is_some_and(|key| *alert.origins.of(key.name) != Origin::Default)
    };
    let mut say = |own: &'static str, message: String| {
        let key = ALERT_KEYS.iter().find(|key| own_name(key) == own).map_or("alerts", |k| k.name);
        let message = format!("{}: [[alerts]] {:?}: {message}", alert.origin(own), alert.name);
        found.push(ConfigError::Conflict { keys: vec![key], message });
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if alert.name.is_empty() || alert.name.len() > MAX_NAME_CHARS || !alert.name.chars().all(plain)
    {
        say(
            "name",
            format!("name has 1 to {MAX_NAME_CHARS} letters, digits, \".\", \"_\" and \"-\""),
        );
    }
    if earlier.iter().any(|other| other.name == alert.name) {
        say("name", "another alert has this name; give each its own".to_owned());
    }
    let (on, send) = (alert.on.name(), alert.send.name());
    let unfit = |own: &&str| match *own {
        "count" | "within" => alert.on != AlertTrigger::Errors,
        "checks" => alert.on != AlertTrigger::Health,
        "url" | "url_file" => alert.send == AlertKind::Email,
        "secret_file" => alert.send != AlertKind::Webhook,
        own if FILTER.contains(&own) => alert.on == AlertTrigger::Health,
        own if MAIL.contains(&own) => alert.send != AlertKind::Email,
        _ => false,
    };
    for own in ALERT_KEYS.iter().map(own_name).filter(|own| given(own) && unfit(own)) {
        let why = if FILTER.contains(&own) || ["count", "within", "checks"].contains(&own) {
            format!("on = {on:?}")
        } else {
            format!("send = {send:?}")
        };
        say(own, format!("{own} means nothing with {why}; leave it out"));
    }
    if alert.on == AlertTrigger::Event && !FILTER.iter().any(|own| given(own)) {
        say("on", "on = \"event\" needs a filter; type = [\"*\"] takes every record".to_owned());
    }
    match alert.send {
        AlertKind::Email => {
            for own in ["smtp", "from", "to"].into_iter().filter(|own| !given(own)) {
                say("send", format!("{own} is missing: an e-mail needs smtp, from and to"));
            }
            if given("smtp_user") != given("smtp_password_file") {
                say("smtp_user", "smtp_user and smtp_password_file go together".to_owned());
            }
        }
        _ => match (given("url"), given("url_file")) {
            (true, true) => say("url", "url and url_file: leave one of them out".to_owned()),
            (false, false) => {
                say("send", format!("send = {send:?} needs url, or url_file where it is a secret"));
            }
            _ => {}
        },
    }
    found
}
