//! The program's own files beside the log file: whether each name still leads to
//! what the running writer holds, and putting back what it does not.
//!
//! A name is no identity: whoever may write to the directory can remove a file, or
//! put another in its place, and the next start would believe what it finds. What
//! a running writer knows, it puts back; what stood there it sets aside, and a
//! record says what happened.

mod kept;
mod patience;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::options::Options;
use super::own;
use super::own::OwnRecord;
use super::queue::Queue;
use crate::audit::keys::KeyHistory;
use crate::audit::keys::checkpoint::Origin;
use crate::audit::keys::signer::SigningKey;
use crate::audit::paths::LogPaths;
use crate::audit::record::redact::RedactKey;
use crate::audit::record::secret::Secret;
use crate::audit::state::security::{SecurityKind, SecuritySink};
use crate::audit::state::status::{StatusPage, Word};
use crate::audit::state::trouble::Trouble;
use crate::fsio::Fs;
use crate::fsio::lock::WriterLock;
pub(crate) use kept::{Identity, Kept};
pub use patience::Patience;

/// A file of the program's own. The order is that of the bits in the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnFile {
    /// The lock file.
    Lock,
    /// The newest signed checkpoint.
    Checkpoint,
    /// The manifest.
    Manifest,
    /// The verifier key.
    PublicKey,
    /// How one key followed another.
    Keys,
    /// The signing key, wherever it is kept.
    Key,
    /// The signed head of the tree.
    Head,
    /// The key of what is redacted, wherever it is kept.
    RedactKey,
    /// The security event log.
    Security,
    /// The status page.
    Status,
    /// The collector's socket.
    Socket,
    /// The journal of alerts.
    AlertsJournal,
}

impl OwnFile {
    /// All of them.
    pub const ALL: [OwnFile; 12] = [
        Self::Lock,
        Self::Checkpoint,
        Self::Manifest,
        Self::PublicKey,
        Self::Keys,
        Self::Key,
        Self::Head,
        Self::RedactKey,
        Self::Security,
        Self::Status,
        Self::Socket,
        Self::AlertsJournal,
    ];

    /// Its name in records and messages. Where `key_path` and the like put a file
    /// elsewhere, it is still called this.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "audit.lock",
            Self::Checkpoint => "audit.checkpoint",
            Self::Manifest => "audit.manifest.json",
            Self::PublicKey => "audit.pub",
            Self::Keys => "audit.keys",
            Self::Key => "audit.key",
            Self::Head => "audit.head",
            Self::RedactKey => "audit.redact_key",
            Self::Security => "security_events.log",
            Self::Status => "audit.status",
            Self::Socket => "audit.sock",
            Self::AlertsJournal => "audit.alerts.journal",
        }
    }

    fn bit(self) -> u64 {
        1 << (self as u64)
    }

    /// The files whose bits are set.
    #[must_use]
    pub fn of_bits(bits: u64) -> Vec<Self> {
        Self::ALL.into_iter().filter(|file| bits & file.bit() != 0).collect()
    }
}

/// Files are named in `health` for so long after they were put back.
pub const TOLD_FOR: Duration = Duration::from_secs(15 * 60);

/// What was found, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// `deleted`, `replaced` or `altered`.
    pub what: &'static str,
    /// Where what stood there is now.
    pub set_aside: Option<String>,
    /// Why the file could not be put back; `None` when it was.
    pub failed: Option<String>,
}

/// Where incidents are told: a record, a security event, the status page.
#[derive(Clone, Debug)]
pub(crate) struct Incidents {
    pub(crate) options: Arc<Options>,
    pub(crate) page: Arc<StatusPage>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) security: SecuritySink,
}

impl Incidents {
    /// Tells of a file that was not as it should be.
    pub(crate) fn tell(&self, file: OwnFile, incident: &Incident) {
        let what = incident.what;
        match &incident.failed {
            None => {
                tracing::error!(
                    code = Trouble::OwnFilePutBack.code(),
                    file = file.name(),
                    what,
                    set_aside = incident.set_aside,
                    "a file of the log was not the one that was written; it is put back"
                );
                self.was_put_back(file);
            }
            Some(reason) => {
                tracing::error!(
                    code = Trouble::OwnFileGone.code(),
                    file = file.name(),
                    what,
                    reason,
                    "a file of the log is not the one that was written, and cannot be put back; trying again"
                );
                self.is_gone(file);
            }
        }
        self.page.add(Word::OwnFileIncidents, 1);
        self.record(file.name(), incident);
    }

    /// Tells of a file whose lost content nobody has; what follows is written on.
    pub(crate) fn altered(&self, file: OwnFile, reason: &str) {
        let failed = Some(reason.to_owned());
        self.lost(file, &Incident { what: "altered", set_aside: None, failed });
    }

    /// The same of whatever happened to it; `incident.failed` says what is done.
    pub(crate) fn lost(&self, file: OwnFile, incident: &Incident) {
        let Incident { what, set_aside, failed } = incident;
        tracing::error!(
            code = Trouble::OwnFilePutBack.code(),
            file = file.name(),
            what,
            set_aside,
            reason = failed,
            "a file of the log was not the one that was written"
        );
        self.was_put_back(file);
        self.page.add(Word::OwnFileIncidents, 1);
        self.record(file.name(), incident);
    }

    /// Tells of a sealed segment that is missing or another.
    pub(crate) fn tell_segment(&self, file: &str, what: &'static str) {
        tracing::error!(
            code = Trouble::SegmentGone.code(),
            file,
            what,
            "a sealed segment is not the file that was sealed"
        );
        let failed = Some("what a sealed segment holds is not kept in memory".to_owned());
        self.record(file, &Incident { what, set_aside: None, failed });
    }

    /// Tells of a page of the manifest that was missing or another, and is stored again.
    pub(crate) fn tell_page(&self, file: &str, incident: &Incident) {
        tracing::error!(
            code = Trouble::OwnFilePutBack.code(),
            file,
            what = incident.what,
            "a page of the manifest was not what was stored; it is put back"
        );
        self.page.add(Word::OwnFileIncidents, 1);
        self.record(file, incident);
    }

    fn record(&self, file: &str, incident: &Incident) {
        let text = format!("{file} {}", incident.what);
        self.security.report(SecurityKind::LogTampered, None, &text);
        let seq = self.queue.push_own(&own::encode(&OwnRecord::FileReplaced {
            file: file.to_owned(),
            what: incident.what.to_owned(),
            put_back: incident.failed.is_none(),
            set_aside: incident.set_aside.clone(),
            reason: incident.failed.clone(),
        }));
        // It is to be there before the next thing happens.
        self.queue.request_durable(seq + 1);
    }

    /// A file is not as it should be, and is not put back at once.
    pub(crate) fn is_gone(&self, file: OwnFile) {
        self.page.together(|page| {
            page.set(Word::OwnFilesGone, page.get(Word::OwnFilesGone) | file.bit());
        });
    }

    /// A file that could not be put back is as it should be again.
    pub(crate) fn is_back(&self, file: OwnFile) {
        tracing::info!(file = file.name(), "a file of the log is as it should be again");
        self.was_put_back(file);
    }

    fn was_put_back(&self, file: OwnFile) {
        let now = self.options.clock.now().micros() as u64;
        self.page.together(|page| {
            page.set(Word::OwnFilesGone, page.get(Word::OwnFilesGone) & !file.bit());
            let last = page.get(Word::OwnFilePutBackAt);
            let recent = now.saturating_sub(last) < TOLD_FOR.as_micros() as u64;
            let others = if recent { page.get(Word::OwnFilesPutBack) } else { 0 };
            page.set(Word::OwnFilesPutBack, others | file.bit());
            page.set(Word::OwnFilePutBackAt, now);
        });
    }
}

/// The redaction key in use, which whoever reloads the settings changes.
pub(crate) type RedactKeySlot = Arc<Mutex<Option<RedactKey>>>;

/// The files that the writer thread looks after.
#[derive(Debug)]
pub(crate) struct OwnFiles {
    lock: Arc<WriterLock>,
    lock_file: Kept,
    kept: Vec<Kept>,
    redact: RedactKeySlot,
    /// The one whose file is kept.
    redact_kept: Option<RedactKey>,
}

impl OwnFiles {
    /// With what opening has just read or written.
    pub(crate) fn new(
        (options, paths): (&Options, &LogPaths),
        lock: Arc<WriterLock>,
        (key, origin, history): (&SigningKey, &Origin, &KeyHistory),
        redact: RedactKeySlot,
    ) -> Self {
        let fs = &*options.fs;
        let key_path = options.key_path.clone().unwrap_or_else(|| paths.key());
        let redact_path = options.redact_key_path.clone().unwrap_or_else(|| paths.redact_key());
        // Known with the first one, which opening waits for.
        let checkpoint = Kept::new(OwnFile::Checkpoint, paths.checkpoint());
        let mut public = Kept::new(OwnFile::PublicKey, paths.public_key());
        public.is(public_text(key, origin).as_bytes());
        let mut keys = Kept::new(OwnFile::Keys, paths.keys());
        if history.rotations.is_empty() {
            keys.is_absent();
        } else {
            let same = |text: &[u8]| {
                serde_json::from_slice::<KeyHistory>(text).is_ok_and(|there| there == *history)
            };
            keys.is_as_it_stands(fs, Secret(history.encode()), same);
        }
        let mut key_file = Kept::chosen(OwnFile::Key, key_path);
        key_file.is_as_it_stands(fs, key.encode(), |text| {
            let there = std::str::from_utf8(text).ok().map(SigningKey::parse);
            there.is_some_and(|there| there.is_ok_and(|there| there.verifier() == key.verifier()))
        });
        let head = Kept::new(OwnFile::Head, paths.head());
        let redact_key = Kept::chosen(OwnFile::RedactKey, redact_path);
        Self {
            lock,
            lock_file: Kept::new(OwnFile::Lock, paths.lock()),
            kept: vec![checkpoint, public, keys, key_file, head, redact_key],
            redact,
            redact_kept: None,
        }
    }

    fn kept(&mut self, file: OwnFile) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.file == file)
    }

    /// A file is about to be replaced: until [`wrote`](Self::wrote) says that it
    /// was, it may hold either.
    pub(crate) fn writes(&mut self, file: OwnFile, content: &[u8]) {
        if let Some(kept) = self.kept(file) {
            kept.becomes(content);
        }
    }

    /// What was last said of a file by [`writes`](Self::writes) is so.
    pub(crate) fn wrote(&mut self, file: OwnFile) {
        if let Some(kept) = self.kept(file) {
            kept.became();
        }
    }

    /// A file holds just this.
    pub(crate) fn holds(&mut self, file: OwnFile, content: &[u8]) {
        if let Some(kept) = self.kept(file) {
            kept.is(content);
        }
    }

    /// What a file holds is not known until the next [`wrote`](Self::wrote).
    pub(crate) fn forget(&mut self, file: OwnFile) {
        if let Some(kept) = self.kept(file) {
            kept.is_unknown();
        }
    }

    /// Whether the directory is where it was: nothing is written by its name else.
    pub(crate) fn at_home(&self) -> io::Result<()> {
        at_home(&self.lock)
    }

    /// Looks at each file, and puts back what is not as it should be.
    pub(crate) fn look(&mut self, fs: &dyn Fs, incidents: &Incidents) {
        self.take_over_redact_key(fs);
        self.look_at_lock(fs, incidents);
        for kept in &mut self.kept {
            kept.look(fs, incidents);
        }
    }

    fn take_over_redact_key(&mut self, fs: &dyn Fs) {
        let now = self.redact.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let same = match (&now, &self.redact_kept) {
            (None, None) => true,
            (Some(now), Some(kept)) => Arc::ptr_eq(now.text(), kept.text()),
            _ => false,
        };
        if same {
            return;
        }
        if let Some(kept) = self.kept(OwnFile::RedactKey) {
            match &now {
                None => kept.is_unknown(),
                Some(key) => {
                    let text = Secret(key.text().0.clone());
                    kept.is_as_it_stands(fs, text, |there| key.is_text(there));
                }
            }
        }
        self.redact_kept = now;
    }

    /// What the lock file holds does not matter, only that it is the one locked.
    fn look_at_lock(&mut self, fs: &dyn Fs, incidents: &Incidents) {
        let what = match self.lock.is_named() {
            Ok(true) => return self.lock_file.is_fine(incidents),
            Ok(false) => "replaced",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "deleted",
            Err(_) => return,
        };
        let lock = Arc::clone(&self.lock);
        self.lock_file.mend(what, fs, incidents, |_| {
            if lock.retake()? {
                return Ok(());
            }
            Err(io::Error::other("another program holds the new lock file"))
        });
    }
}

/// `audit.pub`, as it is written for a key and an epoch.
pub(crate) fn public_text(key: &SigningKey, origin: &Origin) -> String {
    key.verifier().public_text(&origin.to_string())
}

/// Whether the log's directory is where it was when it was locked.
///
/// # Errors
/// `NotFound` when nothing is there; else what stands in its place.
pub(crate) fn at_home(lock: &WriterLock) -> io::Result<()> {
    use crate::fsio::lock::Home;
    match lock.home()? {
        Home::Same => Ok(()),
        Home::Missing => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the log's directory is not there any more",
        )),
        Home::Other if lock.move_in()? => Ok(()),
        Home::Other => Err(io::Error::other(
            "another directory stands where the log's was; nothing is written there: move the \
             log's own directory back",
        )),
    }
}
