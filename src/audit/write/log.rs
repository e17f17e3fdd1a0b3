//! The log: open, record, seal, status, close.

mod hand_in;
mod heads;
mod intake;
mod own;
mod receipt;
mod rotate;
mod start;

pub use hand_in::{HandIn, Handed, Recorded};
pub use intake::Session;
pub use receipt::Receipt;

use start::{
    build, make_page, publish_start, push_opening, queries, redactor, shared_redactor,
    warn_of_another_origin,
};

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::options::{Durability, Options, Tunables};
use super::own::OwnRecord;
use super::own_files::{OwnFiles, at_home};
use super::queue::Command;
use super::recovery;
use super::recovery::{OpenError, Opened};
use super::seal::Seal;
use super::shelter::Shelter;
use super::writer::{Shared, Upkeep, Writer, make_reserve};
use crate::audit::keys::KeyFiles;
use crate::audit::paths::LogPaths;
use crate::audit::read::error::ReadError;
use crate::audit::read::query::{Answer, CacheUse, Engine, Query};
use crate::audit::read::watch::{Unwatched, Watch};
use crate::audit::record::id::IdKey;
use crate::audit::record::redact::{RedactKeyError, Redactor};
use crate::audit::record::refusal::{FORKED, RecordError};
use crate::audit::record::{EncodedOrigin, Origin, Via};
use crate::audit::state::progress::Progress;
use crate::audit::state::security::SecuritySink;
use crate::audit::state::status::{Publisher, StatusError, StatusPage, StatusSnapshot, Word};
use crate::audit::state::trouble::Trouble;
use crate::fsio::lock::WriterLock;

/// An open log. Clones share it; the last one to go closes it, but only
/// [`close`](Self::close) reports whether that worked.
#[derive(Clone, Debug)]
pub struct AuditLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Shared,
    queries: Arc<Engine>,
    redactor: RwLock<Option<Arc<Redactor>>>,
    origin: EncodedOrigin,
    log_id: String,
    id_key: IdKey,
    /// One change of key at a time.
    rotating: Mutex<()>,
    threads: Mutex<Option<Threads>>,
    /// Released when all threads have ended.
    lock: Arc<WriterLock>,
    /// The process that opened the log: the threads are there, and in no fork of it.
    pid: u32,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    waker: JoinHandle<()>,
    // Ends after a last publication.
    publisher: Publisher,
}

impl AuditLog {
    /// Opens the log in `options.dir`, making it when there is none, and starts
    /// its five threads: they write, sign, keep house, wake those who wait, and publish
    /// the status page. `SIGXFSZ` and `SIGPIPE` are blocked in them: a limit on the
    /// size of files makes writes fail, and ends nobody's process.
    ///
    /// Returns once the opening itself is recorded, durable and signed. What a
    /// crash left is dealt with as the module `recovery` says.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another writer has it, [`OpenError::Corrupt`]
    /// when stored records do not fit the signed checkpoint; see [`OpenError`].
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let options = Arc::new(options);
        // Also for the threads, which inherit it.
        let _shelter = Shelter::enter();
        let id_key = IdKey::random();
        let (mut opened, ids) = recovery::open(&options, &id_key)?;
        let paths = LogPaths::new(&options.dir);
        let redactor = redactor(&options, &paths, &options.redact)?;
        let page = make_page(&options, &paths, &opened)?;
        publish_start(&page, &options, &opened);
        let lock = Arc::clone(&opened.lock);
        let (shared, start, work) = build(&options, &paths, &page, (&mut opened, &lock));
        if let Err(error) = make_reserve(&shared) {
            tracing::warn!(code = Trouble::NoReserve.code(), %error, "no disk reserve could be made");
        }
        let log_id = shared.keeper.manifest().log_id.clone();
        warn_of_another_origin(&options, opened.signer.origin());
        push_opening(&shared, &opened, &log_id);
        page.set(Word::IdsUnread, ids.unread);
        shared.queue.remember(ids.window);
        let redactor = redactor.map(|opened| shared_redactor(&shared, opened));
        let (restored, replaced) = (opened.restored.is_some(), opened.replaced.is_some());
        let Opened { active, signer, grown, head, leaves, keys, rotates, .. } = opened;
        let own_files = OwnFiles::new(
            (&options, &paths),
            Arc::clone(&lock),
            (&signer.key(), signer.origin(), &keys),
            Arc::clone(&shared.redact_key),
        );
        let upkeep = Upkeep::new(active.layout.next_seq());
        let signing = (signer, grown, head, leaves);
        let writer = Writer::new(shared.clone(), active, signing, keys, upkeep, own_files);
        writer.publish_active();
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| {
                OpenError::Start { dir: options.dir.clone(), reason: error.to_string() }
            })
        };
        let home = Arc::clone(&lock);
        let publisher =
            Publisher::start(&page, move || at_home(&home).is_ok()).map_err(|error| {
                OpenError::Start { dir: options.dir.clone(), reason: error.to_string() }
            })?;
        let progress = Arc::clone(&shared.progress);
        let waker = spawn("audit-waker", Box::new(move || progress.run_waker()))?;
        // Those that have started end when the log counts as closed.
        let undo = |_: &OpenError| {
            shared.progress.closed();
            shared.keeper.stop();
        };
        let keeper = spawn("audit-keeper", Box::new(move || start.run(work))).inspect_err(undo)?;
        let writer = spawn("audit-writer", Box::new(move || writer.run())).inspect_err(undo)?;
        let threads = Mutex::new(Some(Threads { writer, keeper, waker, publisher }));
        let origin = EncodedOrigin::new(&Origin::here(Via::Library));
        let queries = Arc::new(queries(&shared));
        let redactor = RwLock::new(redactor);
        let log = Self(Arc::new(Inner {
            shared,
            queries,
            redactor,
            origin,
            log_id,
            id_key,
            rotating: Mutex::default(),
            threads,
            lock,
            pid: std::process::id(),
        }));
        log.settle_opening()?;
        if rotates {
            log.resume_rotation();
        }
        if restored {
            log.forget_restore();
        }
        if replaced {
            log.forget_replacement();
        }
        Ok(log)
    }

    /// The restore is recorded, durably: opening need not think of it any more.
    fn forget_restore(&self) {
        let shared = &self.0.shared;
        if let Err(error) = crate::audit::files::restore::forget(&*shared.options.fs, &shared.paths)
        {
            tracing::warn!(code = Trouble::JournalKept.code(), %error, "the restore's journal stays; the restore is recorded again");
        }
    }

    /// The new key is recorded, durably: opening need not think of it any more.
    fn forget_replacement(&self) {
        let shared = &self.0.shared;
        let files = KeyFiles::new(&shared.paths, shared.options.key_path.as_deref());
        if let Err(error) = files.forget_next(&*shared.options.fs) {
            tracing::warn!(code = Trouble::KeyFiles.code(), %error, "the replaced key's file stays; the replacement is recorded again");
        }
    }

    /// What signs, and checks, things of one kind that are kept beside the log.
    ///
    /// # Errors
    /// In a fork.
    #[doc(hidden)]
    pub fn seals(&self, kind: crate::audit::tree::document::Kind) -> std::io::Result<Seal> {
        let keys = self.keys()?;
        let known = keys.keys().iter().rev().take(2).cloned().collect();
        Ok(Seal::new(kind, self.0.shared.keeper.clone(), known))
    }

    /// Whether the log's directory is where it was when the log was opened. What is
    /// there else is not the log's: nothing is to be written by its name.
    #[must_use]
    #[doc(hidden)]
    pub fn is_at_home(&self) -> bool {
        !self.0.is_forked() && at_home(&self.0.lock).is_ok()
    }

    /// What is redacted, as it is now.
    #[must_use]
    #[doc(hidden)]
    pub fn redacted_paths(&self) -> Vec<crate::field_path::FieldPath> {
        self.redactor().map_or_else(Vec::new, |redactor| redactor.paths().to_vec())
    }

    fn redactor(&self) -> Option<Arc<Redactor>> {
        self.0.redactor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The opening is durable and a checkpoint covers it before anything is
    /// accepted from callers.
    fn settle_opening(&self) -> Result<(), OpenError> {
        let shared = &self.0.shared;
        let end = shared.queue.next_seq();
        shared.queue.request_durable(end);
        shared.queue.command(Command::Checkpoint);
        let until =
            std::time::Instant::now() + shared.options.overflow_timeout.max(Duration::from_secs(5));
        let settled = loop {
            let progress = shared.progress.wait_beyond(end - 1, Duration::from_millis(100));
            let signed = shared.page.get(Word::CheckpointSize) >= end;
            match progress.trouble {
                _ if progress.acked_seq >= end && signed => break Ok(()),
                Some(error) => break Err(error.to_string()),
                None if std::time::Instant::now() >= until => {
                    break Err("the first records could not be made durable in time".to_owned());
                }
                None if progress.acked_seq >= end => std::thread::yield_now(),
                None => {}
            }
        };
        settled.map_err(|reason| {
            let _ = self.close();
            OpenError::Start { dir: shared.options.dir.clone(), reason }
        })
    }

    /// Records below this are acknowledged.
    #[must_use]
    pub fn acked_seq(&self) -> u64 {
        match self.0.shared.options.durability {
            Durability::Commit => self.0.shared.progress.durable(),
            Durability::Interval if self.0.is_forked() => self.0.shared.progress.durable(),
            Durability::Interval => self.0.shared.queue.next_seq(),
        }
    }

    /// Waits until more than `beyond` is acknowledged, trouble begins or ends,
    /// or the timeout ends.
    #[must_use]
    #[doc(hidden)]
    pub fn wait_progress(&self, beyond: u64, timeout: Duration) -> Progress {
        let acked_seq = self.acked_seq();
        if self.0.is_forked() {
            return Progress { acked_seq, trouble: Some(RecordError::Forked) };
        }
        if acked_seq > beyond && self.0.shared.options.durability == Durability::Interval {
            return Progress { acked_seq, trouble: None };
        }
        let progress = self.0.shared.progress.wait_beyond(beyond, timeout);
        Progress { acked_seq: progress.acked_seq.max(self.acked_seq()), ..progress }
    }

    /// What the status page says now: from memory, so it is right also while the
    /// file cannot be written.
    ///
    /// # Errors
    /// Only in a fork, which reads the file, when that cannot be read.
    #[doc(hidden)]
    pub fn status(&self) -> Result<StatusSnapshot, StatusError> {
        if self.0.is_forked() {
            return StatusSnapshot::read(&self.0.shared.paths.status());
        }
        Ok(self.0.shared.page.snapshot())
    }

    /// The status page, for the words that a collector keeps.
    #[must_use]
    #[doc(hidden)]
    pub fn page(&self) -> &StatusPage {
        &self.0.shared.page
    }

    /// The newest signed checkpoint, as a C2SP signed note; empty in a fork.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        if self.0.is_forked() {
            return String::new();
        }
        self.0.shared.keeper.checkpoint()
    }

    /// The log's id: 32 hex digits.
    #[must_use]
    pub fn log_id(&self) -> &str {
        &self.0.log_id
    }

    /// The key that checks what this log signs now, in signed-note form; empty in
    /// a fork.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        if self.0.is_forked() {
            return String::new();
        }
        self.0.shared.keeper.verifier()
    }

    /// What the log was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// Where security events go.
    #[must_use]
    #[doc(hidden)]
    pub fn security(&self) -> &SecuritySink {
        &self.0.shared.security
    }

    /// The manifest of what is sealed, as it is now; one of an empty log in a fork.
    #[must_use]
    #[doc(hidden)]
    pub fn manifest(&self) -> Arc<crate::audit::files::manifest::Manifest> {
        if self.0.is_forked() {
            return Arc::new(crate::audit::files::manifest::Manifest::new(self.0.log_id.clone()));
        }
        self.0.shared.keeper.manifest()
    }

    /// Answers a query about what is durable by now, from the cache as far as it
    /// can; the rest is read by this thread and a pool of low priority.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn query(&self, query: &Query) -> Result<Answer, ReadError> {
        self.query_watched(query, &Unwatched)
    }

    /// The same for who may lose interest before there is an answer.
    ///
    /// # Errors
    /// [`ReadError::Interrupted`] then.
    pub(crate) fn query_watched(
        &self,
        query: &Query,
        watch: &dyn Watch,
    ) -> Result<Answer, ReadError> {
        if self.0.is_forked() {
            return Err(ReadError::Forked);
        }
        let answer = self.0.queries.query(query, watch)?;
        let page = &self.0.shared.page;
        page.add(
            match answer.effort.cache {
                CacheUse::Hit | CacheUse::Completed => Word::CacheHits,
                CacheUse::Miss | CacheUse::None => Word::CacheMisses,
            },
            1,
        );
        let counts = self.0.queries.cache_counts();
        page.set(Word::CacheEntries, counts.entries);
        page.set(Word::CacheBytes, counts.bytes);
        page.set(Word::CacheEvictions, counts.evictions);
        Ok(answer)
    }

    /// As [`query`](Self::query), for those who read on as records come in:
    /// without the cache, and not counted among those who ask.
    ///
    /// # Errors
    /// See [`ReadError`].
    #[doc(hidden)]
    pub fn read_on(&self, query: &Query) -> Result<Answer, ReadError> {
        if self.0.is_forked() {
            return Err(ReadError::Forked);
        }
        self.0.queries.read(query, &Unwatched)
    }

    /// Has the active segment sealed, soon.
    pub fn seal(&self) {
        if self.0.is_forked() {
            return;
        }
        self.0.shared.queue.command(Command::Seal);
    }

    /// Changes what may change while the log is open, and records it.
    ///
    /// # Errors
    /// When something is to be redacted and its key cannot be had, and in a fork;
    /// nothing is changed then.
    #[doc(hidden)]
    pub fn reload(&self, tunables: Tunables) -> Result<(), ReloadError> {
        if self.0.is_forked() {
            return Err(ReloadError::Forked);
        }
        let shared = &self.0.shared;
        let _shelter = Shelter::enter();
        if let Some(paths) = &tunables.redact {
            let opened = redactor(&shared.options, &shared.paths, paths)?;
            let new = opened.map(|opened| shared_redactor(shared, opened));
            if new.is_none() {
                *shared.redact_key.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            *self.0.redactor.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
        if let Some(limit) = tunables.rate_limit {
            shared.limiter.set_limits(limit);
        }
        if !tunables.changes.is_empty() {
            shared.push_own(&OwnRecord::ConfigChanged { changes: tunables.changes });
        }
        Ok(())
    }

    /// Accepts nothing more, makes everything accepted durable, records the
    /// end, signs the last checkpoint and ends the threads. Closing twice is fine.
    ///
    /// # Errors
    /// [`RecordError::Failed`] when records could not be written within
    /// `overflow_timeout`; how many is said. [`RecordError::Forked`] in a fork,
    /// which closes nothing.
    pub fn close(&self) -> Result<(), RecordError> {
        self.0.close()
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Something is to be redacted, and its key cannot be had.
    #[error(transparent)]
    RedactKey(#[from] RedactKeyError),
    /// This process is a fork of the one that opened the log.
    #[error("{FORKED}")]
    Forked,
}

impl Inner {
    /// Whether this process is a fork of the one that opened the log. Asked before
    /// any lock is taken: another thread of the parent may have held it, for ever.
    fn is_forked(&self) -> bool {
        self.pid != std::process::id()
    }

    fn not_forked(&self) -> Result<(), RecordError> {
        if self.is_forked() { Err(RecordError::Forked) } else { Ok(()) }
    }

    /// In a fork there are no threads to join, and whatever is shared with them may
    /// be locked for ever: all of it is left as it is, and only the descriptors of
    /// the writer's locks are closed.
    fn abandon(&mut self) {
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            std::mem::forget(threads);
        }
        self.lock.release();
        std::mem::forget((self.shared.clone(), Arc::clone(&self.queries)));
    }

    fn close(&self) -> Result<(), RecordError> {
        self.not_forked()?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = threads.take() {
            self.shared.queue.command(Command::Close);
            // A panic in the writer has already poisoned the log.
            let _ = threads.writer.join();
            self.shared.keeper.stop();
            let _ = threads.keeper.join();
            let _ = threads.waker.join();
            // Its last publication is this writer's: nobody else writes yet.
            drop(threads.publisher);
            self.lock.release();
        }
        match self.shared.progress.wait_beyond(u64::MAX, Duration::ZERO).trouble {
            Some(error @ RecordError::Failed { .. }) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_forked() {
            return self.abandon();
        }
        if let Err(error) = self.close() {
            tracing::error!(code = Trouble::NotClosed.code(), %error, "the log was not closed cleanly");
        }
    }
}
