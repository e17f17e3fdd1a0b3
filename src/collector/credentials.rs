//! The tokens and the certificate in use, and how they are read again: all on
//! SIGHUP, the tokens also when their file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::tls::Acceptor;
use super::tokens::Tokens;
use super::warning::Warning;
use super::{CollectorError, Hub, Warn};
use crate::access::tls::{Identity, Pair};
use crate::access::{TokenFileError, read_tokens};
use crate::audit::state::status::Word;
use crate::audit::{AuditLog, Tunables};
use crate::fsio::{Fs, OsFs};

/// How often the token file is looked at: a token that was revoked is refused
/// within this.
pub const TOKENS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Where tokens are, and what those without a rate of their own may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenOptions {
    /// The file; `None`: no tokens.
    pub file: Option<PathBuf>,
    /// Events a second of a token that has no rate; twice as many at once.
    pub rate: u32,
    /// Requests a second of a token; twice as many at once.
    pub requests: u32,
}

/// What tells one content of a file from another without reading it.
type Stamp = (u64, u64, u64, SystemTime);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = OsFs.meta(path).ok()?;
    Some((meta.inode, meta.device, meta.len, meta.modified))
}

#[derive(Debug)]
struct Source {
    options: TokenOptions,
    seen: Option<Stamp>,
}

impl Source {
    fn load(&mut self) -> Result<Option<Tokens>, TokenFileError> {
        let Some(file) = &self.options.file else { return Ok(None) };
        // Before it is read: a change in between is then seen as one.
        self.seen = stamp(file);
        let tokens = read_tokens(&OsFs, file)?;
        Ok(Some(Tokens::new(tokens, self.options.rate, self.options.requests)))
    }
}

/// The tokens and the certificate in use.
#[derive(Debug)]
pub(super) struct Credentials {
    tokens: RwLock<Option<Arc<Tokens>>>,
    source: Mutex<Source>,
    tls: Option<Acceptor>,
}

impl Credentials {
    pub(super) fn load(tokens: &TokenOptions, tls: Option<&Pair>) -> Result<Self, CollectorError> {
        let mut source = Source { options: tokens.clone(), seen: None };
        let tokens = source.load()?.map(Arc::new);
        let tls = tls.map(|pair| Identity::load(&OsFs, pair)).transpose()?.map(Acceptor::new);
        Ok(Self { tokens: RwLock::new(tokens), source: Mutex::new(source), tls })
    }

    /// With which requests are judged; `None`: there are none.
    pub(super) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With what connections are accepted; `None`: plain.
    pub(super) fn tls(&self) -> Option<&Acceptor> {
        self.tls.as_ref()
    }

    /// What the log's limits and status page have to know.
    pub(super) fn tell(&self, log: &AuditLog) {
        if let Some(tokens) = self.tokens() {
            log.callers().set_own_limits(tokens.limits());
        }
        let expires = self.tls.as_ref().map_or(0, |tls| tls.expires().micros());
        log.page().set(Word::TlsNotAfter, u64::try_from(expires).unwrap_or(0));
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SIGHUP. What cannot be used leaves what is in use.
    pub(super) fn reload(
        &self,
        log: &AuditLog,
        tokens: TokenOptions,
        tls: Option<&Pair>,
        warn: &Warn,
    ) {
        let mut source = self.source();
        source.options = tokens;
        self.use_tokens(log, source.load(), warn);
        drop(source);
        match (&self.tls, tls) {
            (Some(acceptor), Some(pair)) => match Identity::load(&OsFs, pair) {
                Ok(identity) => acceptor.replace(identity),
                Err(error) => {
                    let what = "cannot reload the certificate, so the old one stays in use";
                    let text = format!("{what}: {error}");
                    warn(&Warning::CertificateKept.says_with(&text, error.hint()));
                }
            },
            (None, None) => {}
            _ => warn(&Warning::RestartNeeded.says("turning HTTPS on or off takes a restart")),
        }
        self.tell(log);
        self.warn_of_certificate(log, warn);
    }

    /// Whether the certificate is of no use now.
    pub(super) fn warn_of_certificate(&self, log: &AuditLog, warn: &Warn) {
        let Some(tls) = &self.tls else { return };
        let now = log.options().clock.now();
        // Its last second is one in which it is valid (RFC 5280, 4.1.2.5).
        if tls.expires().unix_seconds() < now.unix_seconds() {
            let text = format!("the certificate expired at {}: clients refuse it", tls.expires());
            warn(&Warning::CertificateInvalid.says(&text));
        } else if tls.begins() > now {
            let text = format!("the certificate is not valid before {}", tls.begins());
            warn(&Warning::CertificateInvalid.says(&text));
        }
    }

    /// Reads the tokens again if their file has changed.
    fn look(&self, log: &AuditLog, warn: &Warn) {
        let mut source = self.source();
        let Some(file) = &source.options.file else { return };
        let now = stamp(file);
        if now == source.seen {
            return;
        }
        let loaded = source.load();
        // Told once: not again while it is not there.
        source.seen = now;
        self.use_tokens(log, loaded, warn);
    }

    fn use_tokens(
        &self,
        log: &AuditLog,
        loaded: Result<Option<Tokens>, TokenFileError>,
        warn: &Warn,
    ) {
        let new = match loaded {
            Ok(new) => new,
            Err(error) => {
                let what = "cannot reload the tokens, so the old ones stay in use";
                let hint = error.hint();
                let text = format!("{what}: {error}");
                return warn(&Warning::TokensKept.says_with(&text, hint.as_deref()));
            }
        };
        let before = self.tokens();
        let none = Tokens::new(Vec::new(), 0, 0);
        let tokens = new.as_ref().unwrap_or(&none);
        let changes = tokens.changes_from(before.as_deref());
        log.callers().set_own_limits(tokens.limits());
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = new.map(Arc::new);
        if !changes.is_empty() {
            let names: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
            let text = format!("tokens reloaded; changed: {}", names.join(", "));
            warn(&Warning::TokensRead.says(&text));
            // Who may do what belongs into the log.
            if let Err(error) = log.reload(Tunables { changes, ..Tunables::default() }) {
                warn(&Warning::SettingsKept.says(&error.to_string()));
            }
        }
    }
}

/// Looks at the token file, again and again.
pub(super) async fn watch(hub: Arc<Hub>, warn: Arc<Warn>) {
    let mut ticks = tokio::time::interval(TOKENS_LOOKED_AT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (hub, warn) = (Arc::clone(&hub), Arc::clone(&warn));
        // A file system that hangs must hold up nobody else.
        let look = move || hub.credentials.look(&hub.log, &*warn);
        let _ = tokio::task::spawn_blocking(look).await;
    }
}
