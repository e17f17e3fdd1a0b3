//! The log: open, record, seal, status, close.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::event::{Event, EventLimits, ParseMode};
use super::keeper::{Keeper, Work};
use super::key_change::{KeyWish, Preparation, RotateError, RotateRequest, Rotated};
use super::keys::{KeyFiles, KeyHistory};
use super::options::{Durability, Options, Tunables};
use super::own::{AlertsLost, BackupRemoved, OwnRecord, Queried};
use super::paths::LogPaths;
use super::progress::{Progress, ProgressCell};
use super::query::{Answer, Bounds, CacheUse, Engine, Ledger, Query, QueryError};
use super::queue::{Batch, Command, Entry, Queue, Submitted, WakeRule};
use super::rate_limit::{Decision, RateLimiter};
use super::record::{EncodedOrigin, Origin, Via, encode_body};
use super::recovery::{self, OpenError, Opened};
use super::redact::{RedactKeyError, Redactor};
use super::refusal::RecordError;
use super::security::{SecurityKind, SecurityLog, SecuritySink};
use super::status::{Activity, StatusError, StatusPage, StatusSnapshot, Word, WriterState};
use super::trouble::Trouble;
use super::writer::{Shared, Upkeep, Writer, make_reserve};
use crate::clock::Timestamp;
use crate::field_path::FieldPath;

/// How long a change of key may take, writer included.
const ROTATION_WAIT: Duration = Duration::from_secs(30);

/// An open log. Clones share it; the last one to go closes it, but only
/// [`close`](Self::close) reports whether that worked.
#[derive(Clone, Debug)]
pub struct AuditLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Shared,
    queries: Engine,
    redactor: RwLock<Option<Arc<Redactor>>>,
    origin: EncodedOrigin,
    log_id: String,
    /// One change of key at a time.
    rotating: Mutex<()>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    waker: JoinHandle<()>,
    // Released when all threads have ended.
    _lock: crate::fsio::lock::FileLock,
}

/// A record accepted, on its way to being durable.
#[derive(Debug)]
#[must_use = "the event is only safe once `wait` has returned its seq"]
pub struct Receipt {
    log: Arc<Inner>,
    seq: u64,
}

impl Receipt {
    /// The seq that the record has.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits until the record is acknowledged: durable with
    /// [`Durability::Commit`], at once with [`Durability::Interval`].
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] when the log cannot be written at the moment
    /// (the record is kept and tried again), [`RecordError::Failed`] or
    /// [`RecordError::Closed`] when it never will be.
    pub fn wait(self) -> Result<u64, RecordError> {
        match self.log.shared.options.durability {
            Durability::Commit => self.wait_durable(),
            Durability::Interval => Ok(self.seq),
        }
    }

    /// Waits until the record is durable, whatever the log's durability.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_durable(self) -> Result<u64, RecordError> {
        let shared = &self.log.shared;
        if shared.progress.durable() <= self.seq {
            shared.queue.request_durable(self.seq + 1);
            shared.progress.wait_for(self.seq)?;
        }
        Ok(self.seq)
    }
}

impl AuditLog {
    /// Opens the log in `options.dir`, making it when there is none, and starts
    /// its two threads.
    ///
    /// Returns once the opening itself is recorded, durable and signed. What a
    /// crash left is dealt with as the module `recovery` says.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another writer has it, [`OpenError::Corrupt`]
    /// when stored records do not fit the signed checkpoint; see [`OpenError`].
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let options = Arc::new(options);
        let mut opened = recovery::open(&options)?;
        let paths = LogPaths::new(&options.dir);
        let redactor = redactor(&options, &paths, &options.redact)?;
        let page =
            StatusPage::create(&paths.status()).map_err(|error| page_error(&options, error))?;
        let page = Arc::new(page);
        publish_start(&page, &options, &opened);
        let (shared, start, work) = build(&options, &paths, &page, &mut opened);
        if let Err(error) = make_reserve(&shared) {
            tracing::warn!(code = Trouble::NoReserve.code(), %error, "no disk reserve could be made");
        }
        let log_id = shared.keeper.manifest().log_id.clone();
        push_opening(&shared, &opened, &log_id);
        let redactor = redactor.map(|opened| shared_redactor(&shared, opened));
        let restored = opened.restored.is_some();
        let Opened { lock, active, signer, grown, keys, rotates, .. } = opened;
        let upkeep = Upkeep::new(active.layout.next_seq());
        let writer = Writer::new(shared.clone(), active, (signer, grown), keys, upkeep);
        writer.publish_active();
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| {
                OpenError::Start { dir: options.dir.clone(), reason: error.to_string() }
            })
        };
        let progress = Arc::clone(&shared.progress);
        let waker = spawn("audit-waker", Box::new(move || progress.run_waker()))?;
        // Those that have started end when the log counts as closed.
        let undo = |_: &OpenError| {
            shared.progress.closed();
            shared.keeper.stop();
        };
        let keeper = spawn("audit-keeper", Box::new(move || start.run(work))).inspect_err(undo)?;
        let writer = spawn("audit-writer", Box::new(move || writer.run())).inspect_err(undo)?;
        let threads = Mutex::new(Some(Threads { writer, keeper, waker, _lock: lock }));
        let origin = EncodedOrigin::new(&Origin::here(Via::Library));
        let queries = queries(&shared);
        let redactor = RwLock::new(redactor);
        let log = Self(Arc::new(Inner {
            shared,
            queries,
            redactor,
            origin,
            log_id,
            rotating: Mutex::default(),
            threads,
        }));
        log.settle_opening()?;
        if rotates {
            log.resume_rotation();
        }
        if restored {
            log.forget_restore();
        }
        Ok(log)
    }

    /// The restore is recorded, durably: opening need not think of it any more.
    fn forget_restore(&self) {
        let shared = &self.0.shared;
        if let Err(error) = super::restore::forget(&*shared.options.fs, &shared.paths) {
            tracing::warn!(code = Trouble::JournalKept.code(), %error, "the restore's journal stays; the restore is recorded again");
        }
    }

    /// Records that a backup is removed.
    pub fn record_backup_removed(&self, removed: BackupRemoved) -> Receipt {
        let seq = self.0.shared.push_own(&OwnRecord::BackupRemoved(removed));
        Receipt { log: Arc::clone(&self.0), seq }
    }

    /// Records that alerts were not delivered and never will be.
    pub fn record_alerts_lost(&self, lost: AlertsLost) -> Receipt {
        let seq = self.0.shared.push_own(&OwnRecord::AlertsLost(lost));
        Receipt { log: Arc::clone(&self.0), seq }
    }

    /// Records that somebody asked.
    pub fn record_query(&self, queried: Queried) -> Receipt {
        let seq = self.0.shared.push_own(&OwnRecord::Queried(Box::new(queried)));
        Receipt { log: Arc::clone(&self.0), seq }
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

    /// Records an event; waits for room up to `overflow_timeout`.
    ///
    /// # Errors
    /// See [`RecordError`]; nothing is recorded then.
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        self.record_as(event, &self.0.origin, false)
    }

    fn record_as(
        &self,
        mut event: Event,
        origin: &EncodedOrigin,
        exempt: bool,
    ) -> Result<Receipt, RecordError> {
        let mut body = Vec::with_capacity(512);
        self.encode(&mut event, origin, exempt, &mut body)?;
        let seq =
            self.0.shared.queue.push(&body, event.timestamp_value()).inspect_err(|error| {
                self.count_refusal(error, 1);
            })?;
        Ok(Receipt { log: Arc::clone(&self.0), seq })
    }

    /// Redacts, validates, rate-limits and encodes; counts what is refused.
    fn encode(
        &self,
        event: &mut Event,
        origin: &EncodedOrigin,
        exempt: bool,
        body: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let shared = &self.0.shared;
        let limits = self.limits();
        // First of all: what is refused is spoken of as well.
        let redactor = self.0.redactor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let redacted = redactor.map_or(Ok(()), |redactor| redactor.apply(event, &limits));
        let checked = redacted.and_then(|()| event.check(&limits));
        let sanitized = checked.map_err(|error| self.refuse_event(event.source_name(), error))?;
        if sanitized {
            let detail = "control characters in an identifier were replaced";
            shared.security.report(SecurityKind::Sanitized, event.source_name(), detail);
        }
        if !exempt && shared.limiter.is_limiting() {
            let source = event.source_name().unwrap_or_else(|| origin.default_source());
            self.limit(&shared.limiter, source)?;
        }
        encode_body(event, origin, body);
        Ok(())
    }

    fn limit(&self, limiter: &RateLimiter, source: &str) -> Result<(), RecordError> {
        let shared = &self.0.shared;
        let now = shared.options.clock.now();
        let decision = limiter.check(source, shared.boot_ms() * 1_000, now);
        let Decision::Refused { retry_after } = decision else { return Ok(()) };
        shared.page.add(Word::RateLimited, 1);
        let detail = "over its rate limit";
        shared.security.report(SecurityKind::RateLimited, Some(source), detail);
        Err(RecordError::RateLimited { source_name: source.to_owned(), retry_after })
    }

    /// The limits of those who hand in for several sources; a burst of refusals
    /// there leaves an `audit.rate_limited` record, too.
    #[must_use]
    pub fn callers(&self) -> &RateLimiter {
        &self.0.shared.callers
    }

    /// Takes an event from a caller's bucket among [`callers`](Self::callers),
    /// before anything is made of the event.
    ///
    /// # Errors
    /// [`RecordError::RateLimited`]; it is counted as a source's is.
    pub fn limit_caller(&self, caller: &str) -> Result<(), RecordError> {
        self.limit(&self.0.shared.callers, caller)
    }

    fn limits(&self) -> EventLimits {
        EventLimits { max_details_bytes: self.0.shared.options.max_details_size }
    }

    fn refuse_event(&self, source: Option<&str>, error: super::event::EventError) -> RecordError {
        let shared = &self.0.shared;
        shared.page.add(Word::Invalid, 1);
        let kind = match error.kind() {
            "malformed" => SecurityKind::Malformed,
            "too_large" => SecurityKind::Oversize,
            _ => SecurityKind::Validation,
        };
        shared.security.report(kind, source, &error.to_string());
        RecordError::Event(error)
    }

    fn count_refusal(&self, error: &RecordError, events: u64) {
        if matches!(error, RecordError::DiskFull { .. } | RecordError::Failed { .. }) {
            self.0.shared.page.add(Word::Unavailable, events);
        }
    }

    /// For events whose origin somebody attests: a socket's peer, a token.
    /// With `exempt` they are not rate-limited.
    #[must_use]
    pub fn session(&self, origin: &Origin, exempt: bool) -> Session {
        Session { log: self.clone(), origin: EncodedOrigin::new(origin), exempt }
    }

    /// Accepts as many events from the front of the batch as there is room for,
    /// without waiting, and removes them from it.
    ///
    /// # Errors
    /// When nothing is accepted at the moment whatever the room: disk full,
    /// closed, failed. A full buffer is no error: `count` is then 0.
    pub fn try_submit(&self, batch: &mut Batch) -> Result<Submitted, RecordError> {
        let events = batch.len() as u64;
        self.0.shared.queue.push_batch(batch).inspect_err(|error| self.count_refusal(error, events))
    }

    /// Counts events that a caller gave up on because the buffer stayed full.
    pub fn count_busy(&self, events: u64) {
        self.0.shared.page.add(Word::Busy, events);
    }

    /// Asks for everything below `seq` to be acknowledged soon; does not wait.
    /// With interval durability it already is, and the disk keeps its time.
    pub fn request_ack(&self, seq: u64) {
        let waits = self.0.shared.options.durability == Durability::Commit;
        if waits && self.0.shared.progress.durable() < seq {
            self.0.shared.queue.request_durable(seq);
        }
    }

    /// Records below this are acknowledged.
    #[must_use]
    pub fn acked_seq(&self) -> u64 {
        match self.0.shared.options.durability {
            Durability::Commit => self.0.shared.progress.durable(),
            Durability::Interval => self.0.shared.queue.next_seq(),
        }
    }

    /// Waits until more than `beyond` is acknowledged, trouble begins or ends,
    /// or the timeout ends.
    #[must_use]
    pub fn wait_progress(&self, beyond: u64, timeout: Duration) -> Progress {
        let acked_seq = self.acked_seq();
        if acked_seq > beyond && self.0.shared.options.durability == Durability::Interval {
            return Progress { acked_seq, trouble: None };
        }
        let progress = self.0.shared.progress.wait_beyond(beyond, timeout);
        Progress { acked_seq: progress.acked_seq.max(self.acked_seq()), ..progress }
    }

    /// What the status page says now.
    ///
    /// # Errors
    /// When the page's file cannot be read.
    pub fn status(&self) -> Result<StatusSnapshot, StatusError> {
        StatusSnapshot::read(&self.0.shared.paths.status())
    }

    /// The status page, for the words that a collector keeps.
    #[must_use]
    pub fn page(&self) -> &StatusPage {
        &self.0.shared.page
    }

    /// The newest signed checkpoint, as a C2SP signed note.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.0.shared.keeper.checkpoint()
    }

    /// The log's id: 32 hex digits.
    #[must_use]
    pub fn log_id(&self) -> &str {
        &self.0.log_id
    }

    /// The key that checks what this log signs now, in signed-note form.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        self.0.shared.keeper.verifier()
    }

    /// What the log was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// Where security events go.
    #[must_use]
    pub fn security(&self) -> &SecuritySink {
        &self.0.shared.security
    }

    /// The manifest of what is sealed, as it is now.
    #[must_use]
    pub fn manifest(&self) -> Arc<super::manifest::Manifest> {
        self.0.shared.keeper.manifest()
    }

    /// Answers a query about what is durable by now, from the cache as far as it
    /// can; the rest is read by this thread and a pool of low priority.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(&self, query: &Query) -> Result<Answer, QueryError> {
        let answer = self.0.queries.query(query)?;
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
    /// See [`QueryError`].
    pub fn read_on(&self, query: &Query) -> Result<Answer, QueryError> {
        self.0.queries.read(query)
    }

    /// Has the active segment sealed, soon.
    pub fn seal(&self) {
        self.0.shared.queue.command(Command::Seal);
    }

    /// Changes the signing key: the old key signs a record that names the new one,
    /// and both sign the tree that it ends; see [`key_change`](super::key_change).
    /// Goes on with a change that was begun before.
    ///
    /// # Errors
    /// [`RotateError::Refused`] and [`RotateError::Files`] when nothing was
    /// changed; [`RotateError::NotYet`] when the change goes on by itself.
    pub fn rotate_key(&self, request: &RotateRequest) -> Result<Rotated, RotateError> {
        let _one = self.0.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.0.shared;
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let files = KeyFiles::new(paths, shared.options.key_path.as_deref());
        let history = KeyHistory::load(fs, paths)
            .map_err(|error| RotateError::Files(error.to_string()))?
            .map_or_else(|| KeyHistory::new(self.log_id()), |(history, _)| history);
        let prepared = Preparation { fs, files: &files, log_id: self.log_id(), history: &history };
        let next = prepared.prepare(request)?;
        let (answer, answered) = crossbeam_channel::bounded(2);
        shared.queue.command(Command::RotateKey(Box::new(KeyWish {
            next,
            files,
            reason: request.reason.clone(),
            uid: request.uid,
            kept_old: request.keep_old.clone(),
            answer,
        })));
        let until = std::time::Instant::now() + ROTATION_WAIT.max(shared.options.overflow_timeout);
        loop {
            match answered.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return outcome,
                Err(_) if std::time::Instant::now() >= until => {
                    let text = "the log's writer did not answer in time".to_owned();
                    return Err(RotateError::NotYet(text));
                }
                Err(_) => {}
            }
            let trouble = shared.progress.wait_beyond(u64::MAX, Duration::ZERO).trouble;
            if let Some(error @ (RecordError::Failed { .. } | RecordError::Closed)) = trouble {
                return Err(RotateError::NotYet(error.to_string()));
            }
        }
    }

    /// A change of key that a crash interrupted goes on.
    fn resume_rotation(&self) {
        let uid = rustix::process::geteuid().as_raw();
        let reason = Some("an interrupted rotation was gone on with".to_owned());
        let request = RotateRequest { uid, reason, ..RotateRequest::default() };
        if let Err(error) = self.rotate_key(&request) {
            tracing::warn!(%error, "an interrupted rotation of the key is still to be finished");
        }
    }

    /// Changes what may change while the log is open, and records it.
    ///
    /// # Errors
    /// When something is to be redacted and its key cannot be had; nothing is changed
    /// then.
    pub fn reload(&self, tunables: Tunables) -> Result<(), RedactKeyError> {
        let shared = &self.0.shared;
        if let Some(paths) = &tunables.redact {
            let opened = redactor(&shared.options, &shared.paths, paths)?;
            let new = opened.map(|opened| shared_redactor(shared, opened));
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
    /// `overflow_timeout`; how many is said.
    pub fn close(&self) -> Result<(), RecordError> {
        self.0.close()
    }
}

impl Inner {
    fn close(&self) -> Result<(), RecordError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = threads.take() {
            self.shared.queue.command(Command::Close);
            // A panic in the writer has already poisoned the log.
            let _ = threads.writer.join();
            self.shared.keeper.stop();
            let _ = threads.keeper.join();
            let _ = threads.waker.join();
        }
        match self.shared.progress.wait_beyond(u64::MAX, Duration::ZERO).trouble {
            Some(error @ RecordError::Failed { .. }) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(code = Trouble::NotClosed.code(), %error, "the log was not closed cleanly");
        }
    }
}

/// Records for one caller; see [`AuditLog::session`].
#[derive(Clone, Debug)]
pub struct Session {
    log: AuditLog,
    origin: EncodedOrigin,
    exempt: bool,
}

impl Session {
    /// Parses, redacts, validates, rate-limits and encodes one NDJSON line into the batch.
    ///
    /// # Errors
    /// What is wrong with the event, or [`RecordError::RateLimited`]; refusals
    /// are counted here. The batch is then as it was.
    pub fn prepare(
        &self,
        line: &[u8],
        mode: ParseMode,
        batch: &mut Batch,
    ) -> Result<(), RecordError> {
        let mut event =
            Event::from_json(line, mode).map_err(|error| self.log.refuse_event(None, error))?;
        self.log.encode(&mut event, &self.origin, self.exempt, &mut batch.bytes)?;
        let caller_time = event.timestamp_value();
        batch.entries.push(Entry {
            // A batch is what one read brought: far below 4 GiB.
            end: batch.bytes.len() as u32,
            has_timestamp: caller_time.is_some(),
            event_time: caller_time.unwrap_or_default(),
            accepted_at: Timestamp::default(),
        });
        Ok(())
    }

    /// Records one event, as [`AuditLog::record`].
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        self.log.record_as(event, &self.origin, self.exempt)
    }
}

/// What the writer's own process knows of what there is to ask about.
#[derive(Debug)]
struct Live {
    keeper: Keeper,
    progress: Arc<ProgressCell>,
}

impl Ledger for Live {
    fn durable(&self) -> Option<u64> {
        Some(self.progress.durable())
    }

    fn manifest(&self) -> Result<Arc<super::manifest::Manifest>, QueryError> {
        Ok(self.keeper.manifest())
    }
}

fn queries(shared: &Shared) -> Engine {
    let options = &shared.options;
    let live = Live { keeper: shared.keeper.clone(), progress: Arc::clone(&shared.progress) };
    let bounds = Bounds { groups: options.max_memory_events, ..Bounds::default() };
    let entries = options.query_cache_size;
    Engine::new(Arc::clone(&options.fs), options.dir.clone(), Arc::new(live), (entries, bounds))
}

fn redactor(
    options: &Options,
    paths: &LogPaths,
    redact: &[FieldPath],
) -> Result<Option<(Redactor, Option<String>)>, RedactKeyError> {
    let path = options.redact_key_path.clone().unwrap_or_else(|| paths.redact_key());
    Redactor::open(&*options.fs, &path, redact)
}

/// A key that was made for it is recorded.
fn shared_redactor(shared: &Shared, (new, key_id): (Redactor, Option<String>)) -> Arc<Redactor> {
    if let Some(key_id) = key_id {
        shared.push_own(&OwnRecord::RedactKeyCreated { key_id });
    }
    Arc::new(new)
}

fn page_error(options: &Options, error: StatusError) -> OpenError {
    match error {
        StatusError::Io { path, source } => OpenError::Io { action: "open", path, source },
        other => OpenError::Start { dir: options.dir.clone(), reason: other.to_string() },
    }
}

fn publish_start(page: &StatusPage, options: &Options, opened: &Opened) {
    let now = options.clock.now();
    page.set(Word::Pid, std::process::id().into());
    page.set(Word::Mode, options.mode as u64);
    page.set(Word::StartedAt, now.micros() as u64);
    page.set(Word::StartedBootMs, options.clock.boot_ms());
    page.set(Word::BootId, crate::fsio::boot::boot_id(&*options.fs).unwrap_or(0));
    page.set(Word::HeartbeatBootMs, options.clock.boot_ms());
    page.set(Word::HeartbeatAt, now.micros() as u64);
    page.set(Word::Durability, options.durability as u64);
    page.set(Word::CacheCapacity, options.query_cache_size as u64);
    page.set(Word::DurableSeq, opened.active.layout.next_seq());
    page.set(Word::WrittenSeq, opened.active.layout.next_seq());
    page.set(Word::LostRecords, opened.lost.map_or(0, |lost| lost.count));
    if let Some(damage) = opened.damage {
        page.set(Word::Damage, damage as u64);
        page.set(Word::DamageAt, now.micros() as u64);
    }
    page.activity(Activity::Opening, options.clock.boot_ms());
    page.state(WriterState::Running, now);
}

fn build(
    options: &Arc<Options>,
    paths: &LogPaths,
    page: &Arc<StatusPage>,
    opened: &mut Opened,
) -> (Shared, super::keeper::KeeperStart, Work) {
    let next_seq = opened.active.layout.next_seq();
    let queue = Arc::new(Queue::new(
        next_seq,
        (options.write_queue_capacity, options.write_queue_bytes as usize),
        WakeRule { events: options.write_buffer_size, age: options.write_flush_interval },
        options.overflow_timeout,
        Arc::clone(page),
        Arc::clone(&options.clock),
    ));
    let counted = Arc::clone(page);
    let (security, security_log) = SecurityLog::new(
        Arc::clone(&options.fs),
        paths.security(),
        Arc::clone(&options.clock),
        Arc::new(move |kind, at| counted.count_security(kind, at)),
    );
    let checkpoint = opened.checkpoint.take().unwrap_or_default();
    let (keeper, start) =
        Keeper::new(opened.manifest.clone(), checkpoint, opened.verifier_key.clone());
    let progress = Arc::new(ProgressCell::new(next_seq));
    let shared = Shared {
        options: Arc::clone(options),
        paths: paths.clone(),
        page: Arc::clone(page),
        queue: Arc::clone(&queue),
        progress: Arc::clone(&progress),
        limiter: Arc::new(RateLimiter::new(options.rate_limit)),
        callers: Arc::new(RateLimiter::new(None)),
        security: security.clone(),
        keeper,
    };
    let work = Work {
        options: Arc::clone(options),
        paths: paths.clone(),
        page: Arc::clone(page),
        queue,
        progress,
        security,
        security_log,
    };
    (shared, start, work)
}

/// The records that say how the log was opened.
fn push_opening(shared: &Shared, opened: &Opened, log_id: &str) {
    if shared.queue.next_seq() == 0 {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        shared.push_own(&OwnRecord::LogCreated {
            log_id: log_id.to_owned(),
            format: super::manifest::FORMAT,
            host,
            public_key: opened.verifier_key.clone(),
        });
    }
    if opened.torn.is_some() || opened.accepted.is_some() {
        shared.push_own(&OwnRecord::Recovered {
            torn_bytes: opened.torn.as_ref().map_or(0, |torn| torn.bytes),
            torn_file: opened.torn.as_ref().map(|torn| torn.file.clone()),
            accepted_corruption: opened.accepted.as_ref().map(|a| a.reason.clone()),
            abandoned_checkpoint: opened.accepted.as_ref().and_then(|a| a.abandoned.clone()),
        });
    }
    if let Some(lost) = opened.lost {
        shared.push_own(&OwnRecord::Gap {
            source: None,
            count: lost.count,
            first: lost.first,
            last: lost.last,
            reason: "the writer ended before its write buffer was written (interval durability)"
                .to_owned(),
        });
    }
    if let Some(restored) = &opened.restored {
        shared.push_own(&OwnRecord::Restored(restored.clone()));
    }
    shared.push_own(&OwnRecord::Opened {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        mode: shared.options.mode.as_str().to_owned(),
        clean: opened.clean,
    });
}
