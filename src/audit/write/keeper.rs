//! The keeper: a background thread of low priority that owns the manifest. It
//! notes sealed segments, compresses them block by block, removes what retention
//! says, and writes the security event log, so that none of that ever makes the
//! writer wait.

mod compress;
mod hints;
mod look;
mod retention;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::options::Options;
use super::own_files::Incidents;
use super::queue::Queue;
use crate::audit::files::ended::{self, EndedEpoch};
use crate::audit::files::manifest::{Manifest, Segment, Sums};
use crate::audit::files::segment::Layout;
use crate::audit::keys::signer::SigningKey;
use crate::audit::paths::LogPaths;
use crate::audit::state::security::{SecurityLog, SecuritySink};
use crate::audit::state::status::{StatusPage, Word};
use crate::audit::state::trouble::Trouble;
use crate::clock::Timestamp;
use crate::fsio;
use crate::fsio::lock::WriterLock;
use hints::Lacking;
use look::Looks;
use retention::Retention;

pub(crate) use retention::newest_record;

/// Security events are written so often.
const SECURITY_EVERY: Duration = Duration::from_millis(200);
/// A failed step is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The manifest is stored once so many segments have got their hints, or the last one.
const HINTS_A_STORE: usize = 64;
/// So many segments are noted at most before the manifest is stored.
const MAX_NOTED: usize = 256;
/// Segments that may wait to be noted; the writer waits beyond.
const JOBS: usize = 4096;

enum Job {
    Sealed(Box<Segment>),
    /// The manifest is stored anew: another key signs, or a backup was made.
    Store,
    Stop,
}

/// The keeper, as the writer and the log see it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jobs: Sender<Job>,
    manifest: Mutex<Arc<Manifest>>,
    checkpoint: Mutex<String>,
    /// The key that signs now.
    key: Mutex<Arc<SigningKey>>,
    stored_bytes: AtomicU64,
}

/// What the thread needs.
pub(crate) struct Work {
    pub(crate) options: Arc<Options>,
    pub(crate) paths: LogPaths,
    pub(crate) page: Arc<StatusPage>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) security: SecuritySink,
    pub(crate) security_log: SecurityLog,
    /// When the newest record was accepted that was there when the log was opened.
    pub(crate) newest: Option<Timestamp>,
    /// When the log was opened, by both clocks.
    pub(crate) opened: (Timestamp, u64),
    pub(crate) incidents: Incidents,
    pub(crate) lock: Arc<WriterLock>,
}

impl Keeper {
    /// The handle, and what starts the thread.
    pub(crate) fn new(
        manifest: Manifest,
        checkpoint: String,
        key: Arc<SigningKey>,
    ) -> (Self, KeeperStart) {
        let (jobs, inbox) = crossbeam_channel::bounded(JOBS);
        let stored_bytes = AtomicU64::new(manifest.stored_bytes());
        let inner = Inner {
            jobs,
            manifest: Mutex::new(Arc::new(manifest)),
            checkpoint: Mutex::new(checkpoint),
            key: Mutex::new(key),
            stored_bytes,
        };
        let keeper = Self(Arc::new(inner));
        (keeper.clone(), KeeperStart { keeper, inbox })
    }

    /// A segment was sealed.
    pub(crate) fn sealed(&self, layout: &Layout, damage: Option<String>) {
        let segment = Segment::sealed(layout, damage);
        self.0.stored_bytes.fetch_add(segment.stored_bytes, Ordering::Relaxed);
        // The thread lives until the writer has stopped, so the inbox is there;
        // should it have panicked, opening the log adopts the file.
        let _ = self.0.jobs.send(Job::Sealed(Box::new(segment)));
    }

    /// Bytes of all sealed segments as stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.0.stored_bytes.load(Ordering::Relaxed)
    }

    /// The manifest as it is now.
    pub(crate) fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.0.manifest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest stored checkpoint is this one. `tell` is called once whoever hears of
    /// it can read it.
    pub(crate) fn set_checkpoint(&self, text: String, tell: impl FnOnce()) {
        *self.0.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = text;
        tell();
    }

    /// The newest stored checkpoint.
    pub(crate) fn checkpoint(&self) -> String {
        self.0.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_key(&self, key: Arc<SigningKey>) {
        *self.0.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    pub(crate) fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.0.key.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that checks what is signed now.
    pub(crate) fn verifier(&self) -> String {
        self.key().verifier().to_string()
    }

    /// Has the manifest stored anew, signed with the key of now.
    pub(crate) fn store_again(&self) {
        let _ = self.0.jobs.send(Job::Store);
    }

    /// The record `seq` says that a backup of so many records was made.
    pub(crate) fn backed_up(&self, seq: u64, tree_size: u64) {
        let mut manifest = self.0.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let manifest_now = Arc::make_mut(&mut manifest);
        manifest_now.backups.newest = manifest_now.backups.newest.max(Some(seq));
        manifest_now.backed_up = manifest_now.backed_up.max(Some(tree_size));
        drop(manifest);
        self.store_again();
    }

    /// The record `seq` names the log's holes.
    pub(crate) fn holes_named(&self, seq: u64) {
        let mut manifest = self.0.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut manifest).holes_by = Some(seq);
        drop(manifest);
        self.store_again();
    }

    /// The record `seq` names the records that an epoch left behind.
    pub(crate) fn epoch_ended(&self, one: EndedEpoch) {
        let mut manifest = self.0.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        ended::note(&mut Arc::make_mut(&mut manifest).ended, one);
        drop(manifest);
        self.store_again();
    }

    /// Ends the thread after what it is doing; compression left over is taken up
    /// by the next opening.
    pub(crate) fn stop(&self) {
        let _ = self.0.jobs.send(Job::Stop);
    }
}

/// A keeper whose thread has not been started.
pub(crate) struct KeeperStart {
    keeper: Keeper,
    inbox: Receiver<Job>,
}

impl KeeperStart {
    /// The thread's body.
    pub(crate) fn run(self, work: Work) {
        // Only a wish: compression should not compete with those who record.
        let thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(thread), 10);
        let manifest = self.keeper.manifest();
        let retention = Retention::new(work.opened, work.newest);
        let mut thread = Thread {
            hints: Lacking::look(&*work.options.fs, &work.paths, &manifest),
            keeper: self.keeper,
            work,
            retry_at: None,
            store_needed: false,
            unstored: 0,
            retention,
            looks: Looks::default(),
        };
        thread.settle_manifest();
        thread.publish();
        let mut noted = 0;
        loop {
            if noted >= MAX_NOTED {
                // Others know only what is stored.
                noted = 0;
                thread.step();
            }
            // While there is something to compress, jobs only interrupt it.
            let wait = if thread.ready() { Duration::ZERO } else { SECURITY_EVERY };
            match self.inbox.recv_timeout(wait) {
                Ok(Job::Sealed(segment)) => {
                    thread.note(*segment);
                    noted += 1;
                }
                Ok(Job::Store) => thread.store_needed = true,
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    thread.finish(&self.inbox);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    noted = 0;
                    thread.step();
                }
            }
        }
    }
}

struct Thread {
    keeper: Keeper,
    work: Work,
    retry_at: Option<Instant>,
    store_needed: bool,
    /// Segments whose hints were made and are not noted in the stored manifest yet.
    unstored: usize,
    retention: Retention,
    hints: Lacking,
    looks: Looks,
}

impl Thread {
    fn ready(&self) -> bool {
        let waiting = self.store_needed || self.keeper.manifest().segments.first_plain().is_some();
        waiting && self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    fn note(&mut self, segment: Segment) {
        self.change(|manifest| manifest.segments.push(segment));
        self.store_needed = true;
        self.publish();
    }

    fn step(&mut self) {
        self.look();
        self.write_security();
        if self.ready() {
            let result = if self.store_needed { self.store() } else { self.compress_some() };
            self.outcome(result);
        }
        if !self.ready() {
            self.make_hints();
        }
        if self.retry_at.is_none_or(|at| Instant::now() >= at) {
            let result = self.retain();
            self.retained(result);
        }
    }

    /// Makes those of a segment that lacks them. Storing the manifest takes as long as it has
    /// segments, so it is not done for each of them.
    fn make_hints(&mut self) {
        let next = self.hints.next(&self.keeper.manifest());
        if let Some(segment) = &next {
            let made = self.hints.make(&*self.work.options.fs, &self.work.paths, segment);
            self.change_segment(segment.first_seq, |entry| made.note(entry));
            self.unstored += 1;
        }
        if self.unstored >= HINTS_A_STORE || next.is_none() && self.unstored > 0 {
            self.store_needed = true;
        }
    }

    fn finish(&mut self, inbox: &Receiver<Job>) {
        loop {
            match inbox.try_recv() {
                Ok(Job::Sealed(segment)) => self.note(*segment),
                Ok(Job::Store) => self.store_needed = true,
                Ok(Job::Stop) | Err(_) => break,
            }
        }
        let result = self.end_retention();
        self.retained(result);
        if self.store_needed || self.unstored > 0 {
            let result = self.store();
            self.outcome(result);
        }
        if let Err(error) = self.work.security_log.finish() {
            tracing::warn!(code = Trouble::SecurityLog.code(), %error, "security_events.log could not be written");
        }
    }

    /// Retention that has nothing to do is no sign that what failed works again.
    fn retained(&mut self, result: io::Result<()>) {
        if result.is_err() {
            self.outcome(result);
        }
    }

    fn outcome(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.retry_at = None,
            Err(error) => {
                self.work.page.add(Word::MaintenanceErrors, 1);
                tracing::warn!(code = Trouble::Maintenance.code(), %error, "background work on sealed segments failed; trying again");
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Manifest) -> T) -> T {
        let mut manifest = self.keeper.0.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut manifest))
    }

    fn change_segment(&self, first_seq: u64, change: impl FnOnce(&mut Segment)) {
        self.change(|manifest| {
            if let Some(at) = manifest.segments.position(first_seq) {
                manifest.segments.update(at, change);
            }
        });
    }

    /// Whether the log's directory is where it was: nothing is changed by its name
    /// else.
    fn at_home(&self) -> io::Result<()> {
        super::own_files::at_home(&self.work.lock)
    }

    /// What opening left is what is looked after. Where the opening's records changed it
    /// since, or another version wrote it, it is stored anew: until then it is no
    /// stranger's.
    fn settle_manifest(&mut self) {
        let Ok(text) = self.keeper.manifest().encode_as_stored() else { return };
        let limit = text.len() as u64 * 2 + 4096;
        let there = self.work.options.fs.read_own(&self.work.paths.manifest(), limit);
        self.store_needed = there.as_ref().ok() != Some(&text);
        if let Ok(there) = there {
            self.looks.writes(&there);
            self.looks.wrote();
        }
    }

    fn store(&mut self) -> io::Result<()> {
        self.at_home()?;
        let key = self.keeper.key();
        self.change(|manifest| manifest.arrange(self.work.options.in_one_file));
        // Not while anybody waits for the manifest.
        let (fs, paths) = (&*self.work.options.fs, &self.work.paths);
        let stored =
            self.keeper.manifest().store_pages(fs, &paths.dir).map_err(io::Error::other)?;
        let signed = self.change(|manifest| {
            manifest.note_pages(stored);
            manifest.sign_as_stored(&key)
        });
        let text = signed.map_err(io::Error::other)?;
        self.looks.writes(&text);
        fsio::replace_file(fs, &paths.manifest(), &text)?;
        self.looks.wrote();
        for page in self.change(|manifest| manifest.segments.take_stale()) {
            // One that stays costs space until the next opening.
            let _ = fs.remove(&paths.dir.join(page));
        }
        (self.store_needed, self.unstored) = (false, 0);
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let manifest = self.keeper.manifest();
        let Sums { segments, raw_bytes, stored_bytes: stored, plain, .. } =
            manifest.segments.sums();
        self.keeper.0.stored_bytes.store(stored, Ordering::Relaxed);
        self.work.page.set(Word::Segments, segments as u64);
        self.work.page.set(Word::SealedRawBytes, raw_bytes);
        self.work.page.set(Word::CompressBacklog, plain as u64);
        let newest = manifest.backups.newest.map_or(0, |seq| seq + 1);
        let made = newest.max(u64::from(manifest.backed_up.is_some()));
        self.work.page.set(Word::BackupMade, made);
        let active = self.work.page.get(Word::ActiveBytes);
        self.work.page.set(Word::LogBytes, stored + active);
    }

    fn write_security(&self) {
        if let Err(error) = self.work.security_log.drain() {
            self.work.page.add(Word::MaintenanceErrors, 1);
            tracing::warn!(code = Trouble::SecurityLog.code(), %error, "security_events.log could not be written");
        }
    }
}

#[cfg(test)]
mod tests;
