//! An `[[alerts]]` table: what is told to whom.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::origin::{Origin, Origins};

macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$attr:meta])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(not(feature = "testing"), non_exhaustive)]
        pub enum $name { $($(#[$attr])+ $variant),+ }

        impl $name {
            /// As they are written in the settings.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// All of them, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is written in the settings.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub(super) fn of_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

choices! {
    /// What an alert is about.
    AlertTrigger {
        #[default]
        /// Each record that the filter takes.
        Event = "event",
        /// So many failures within a time.
        Errors = "errors",
        /// A change of health.
        Health = "health",
    }
}

choices! {
    /// Where an alert goes.
    AlertKind {
        #[default]
        /// JSON to a web address, signed.
        Webhook = "webhook",
        /// A Slack incoming webhook.
        Slack = "slack",
        /// A Discord webhook.
        Discord = "discord",
        /// E-mail over SMTP.
        Email = "email",
    }
}

choices! {
    /// How the connection to a mail server is protected.
    SmtpTls {
        #[default]
        /// TLS from the first byte.
        Tls = "tls",
        /// Begins in the clear; TLS before anything is said, or nothing is.
        Starttls = "starttls",
        /// None; to allowed targets only.
        None = "none",
    }
}

choices! {
    /// A check of health, in the order of its report.
    HealthCheckName {
        #[default]
        /// What waits to be written.
        WriteBuffer = "write_buffer",
        /// Whether the writer lives.
        WorkerThread = "worker_thread",
        /// The log file.
        LogFile = "log_file",
        /// What was refused for its rate.
        RateLimiting = "rate_limiting",
        /// Security events.
        Security = "security",
        /// The query cache.
        QueryCache = "query_cache",
        /// The disk.
        DiskSpace = "disk_space",
        /// Checkpoints, verification, histories.
        Integrity = "integrity",
        /// Backups.
        Backup = "backup",
        /// Witnesses.
        Witness = "witness",
        /// The certificate for HTTPS.
        Certificate = "certificate",
        /// The delivery of alerts.
        Alerts = "alerts",
        /// What the archive lacks.
        Archive = "archive",
    }
}

/// A web address that may hold a secret: `Debug` and [`Key::text`](super::Key::text) tell its
/// beginning only, and a number that changes when the rest does.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub String);

impl SecretUrl {
    /// `https://hooks.example.com/…`
    #[must_use]
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        // What stands before an @ is a password, as like as not.
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}/…")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// One `[[alerts]]` table. Which keys it may have depends on `on` and `send`;
/// docs/alerts.md says which.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct AlertSettings {
    /// Its name, in deliveries, metrics and messages.
    pub name: String,
    /// The trigger: event, each record that the filter accepts; errors, count of them within a time; health, a change of health.
    pub on: AlertTrigger,
    /// Patterns for event_type: one of them must fit.
    pub event_type: Vec<String>,
    /// Patterns for actor.
    pub actor: Vec<String>,
    /// Patterns for source.
    pub source: Vec<String>,
    /// Patterns for target.
    pub target: Vec<String>,
    /// Patterns for outcome; with errors, the outcomes that count as errors; unless set, the usual words for a failure.
    pub outcome: Vec<String>,
    /// Conditions such as details.amount >= 100: all must hold.
    pub conditions: Vec<String>,
    /// Texts that the record must contain: all of them.
    pub grep: Vec<String>,
    /// With errors: how many.
    pub count: u32,
    /// With errors: within how long.
    pub within: Duration,
    /// With health: which checks; none means health as a whole.
    pub checks: Vec<HealthCheckName>,
    /// How long after an alert further ones are held back; the next one counts them.
    pub cooldown: Duration,
    /// The kind of target.
    pub send: AlertKind,
    /// The web address.
    pub url: Option<SecretUrl>,
    /// A file with the web address, if that is a secret.
    pub url_file: Option<PathBuf>,
    /// A file with the secret that signs a webhook.
    pub secret_file: Option<PathBuf>,
    /// The mail server, as host:port.
    pub smtp: Option<String>,
    /// How the connection to the mail server is protected.
    pub smtp_tls: SmtpTls,
    /// The name to log in with.
    pub smtp_user: Option<String>,
    /// A file with the password to log in with.
    pub smtp_password_file: Option<PathBuf>,
    /// The sender's address.
    pub from: Option<String>,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// A file with a certificate (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    pub(super) origins: Origins,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            on: AlertTrigger::default(),
            event_type: Vec::new(),
            actor: Vec::new(),
            source: Vec::new(),
            target: Vec::new(),
            outcome: Vec::new(),
            conditions: Vec::new(),
            grep: Vec::new(),
            count: 5,
            within: Duration::from_secs(60),
            checks: Vec::new(),
            cooldown: Duration::from_secs(300),
            send: AlertKind::default(),
            url: None,
            url_file: None,
            secret_file: None,
            smtp: None,
            smtp_tls: SmtpTls::default(),
            smtp_user: None,
            smtp_password_file: None,
            from: None,
            to: Vec::new(),
            ca_file: None,
            origins: Origins::default(),
        }
    }
}

impl AlertSettings {
    /// Where the value of one of its keys (`url`) comes from; the table itself
    /// where the key is left out.
    #[must_use]
    pub fn origin(&self, own: &str) -> Origin {
        match self.origins.of(&format!("alerts.{own}")) {
            origin @ Origin::File { .. } => origin.clone(),
            _ => self.origins.of("alerts").clone(),
        }
    }
}
