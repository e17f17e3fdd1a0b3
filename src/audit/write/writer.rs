//! The writer: the one thread that owns the active segment.
//!
//! It takes what waits in the queue, assembles and hashes the lines, writes
//! them at the end of the segment with one `write` for up to 1 MiB, syncs once,
//! and tells everyone who waits. What arrives meanwhile is the next batch.
//!
//! # When an operation fails
//! Accepted events stay in memory and are tried again with backoff until they
//! are written; their seqs do not change. A failed write is cut off again. After
//! a failed `fdatasync` the file is never trusted again: the kernel may have
//! dropped the pages and would call the next sync a success. The segment is
//! sealed at its durable length and the rest is written anew to a fresh file.

mod ahead;
mod ending;
mod fresh;
mod head;
mod rotate;
mod space;
mod upkeep;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::head_file::HeadFile;
use super::keeper::Keeper;
use super::options::{Durability, Options};
use super::own;
use super::own::OwnRecord;
use super::own_files::{Incidents, OwnFiles, RedactKeySlot};
use super::queue::{Chunk, Command, Queue};
use super::rate_limit::RateLimiter;
use crate::audit::files::leaves::LeavesFile;
use crate::audit::files::segment::{Active, Staged};
use crate::audit::keys::KeyHistory;
use crate::audit::keys::signer::Signer;
use crate::audit::paths::LogPaths;
use crate::audit::record;
use crate::audit::state::progress::ProgressCell;
use crate::audit::state::security::SecuritySink;
use crate::audit::state::status::{Activity, StatusPage, Word, WriterState};
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::merkle::Range;

use ahead::SigningAhead;
use fresh::Fresh;
pub(crate) use rotate::KeyState;
pub(crate) use space::make_reserve;
pub(crate) use upkeep::Upkeep;

/// Lines are written in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;
/// With interval durability: never leave more than this unsynced.
const MAX_UNSYNCED_BYTES: u64 = 64 << 20;
/// Sign of life, even when idle.
pub(crate) const BEAT: Duration = Duration::from_millis(250);

/// What the writer shares with those who record.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) paths: LogPaths,
    pub(crate) page: Arc<StatusPage>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) limiter: Arc<RateLimiter>,
    /// Of those who hand in for several sources, such as the holder of a token.
    pub(crate) callers: Arc<RateLimiter>,
    pub(crate) security: SecuritySink,
    pub(crate) keeper: Keeper,
    /// The key of what is redacted, for whoever looks after its file.
    pub(crate) redact_key: RedactKeySlot,
}

impl Shared {
    /// Where files that are not as they should be are told of.
    pub(crate) fn incidents(&self) -> Incidents {
        Incidents {
            options: Arc::clone(&self.options),
            page: Arc::clone(&self.page),
            queue: Arc::clone(&self.queue),
            security: self.security.clone(),
        }
    }

    pub(crate) fn boot_ms(&self) -> u64 {
        self.options.clock.boot_ms()
    }

    /// Records something of the engine's own; it is written with the next batch.
    pub(crate) fn push_own(&self, own: &OwnRecord) -> u64 {
        self.queue.push_own(&own::encode(own))
    }
}

/// An operation that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) activity: Activity,
    pub(crate) error: io::Error,
}

pub(crate) fn failure(activity: Activity) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { activity, error }
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Shared,
    pub(crate) active: Active,
    pub(crate) signer: Signer,
    ahead: SigningAhead,
    pub(crate) head: HeadFile,
    pub(crate) leaves: LeavesFile,
    pub(crate) keys: KeyState,
    /// Taken from the queue, not (wholly) written.
    pub(crate) pending: VecDeque<Chunk>,
    /// Written, not yet settled.
    written: Vec<Chunk>,
    /// The tree over what is durable, and its part since the last checkpoint.
    pub(crate) durable_tree: Range,
    pub(crate) grown: Range,
    /// The part of the tree that is written and not durable.
    unsynced: Range,
    pub(crate) fresh: Option<Fresh>,
    pub(crate) last_sync: Instant,
    buffer: Vec<u8>,
    backoff: Option<Duration>,
    trouble_since: Option<Instant>,
    pub(crate) upkeep: Upkeep,
    pub(crate) own_files: OwnFiles,
    incidents: Incidents,
}

impl Writer {
    /// `grown` is the part of the tree that the signer has not signed yet.
    pub(crate) fn new(
        shared: Shared,
        active: Active,
        (signer, grown, head, leaves): (Signer, Range, HeadFile, LeavesFile),
        keys: KeyHistory,
        upkeep: Upkeep,
        own_files: OwnFiles,
    ) -> Self {
        let incidents = shared.incidents();
        let durable_tree = active.layout.tree();
        let end = durable_tree.end();
        Self {
            shared,
            active,
            signer,
            ahead: SigningAhead::default(),
            head,
            leaves,
            keys: KeyState { history: keys, pending: None },
            pending: VecDeque::new(),
            written: Vec::new(),
            durable_tree,
            grown,
            unsynced: Range::empty(end),
            fresh: None,
            last_sync: Instant::now(),
            buffer: Vec::new(),
            backoff: None,
            trouble_since: None,
            upkeep,
            own_files,
            incidents,
        }
    }

    /// The thread: works until closed; a panic poisons the log instead of
    /// leaving everyone waiting.
    pub(crate) fn run(mut self) {
        self.ahead.start();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "unknown".to_owned());
            self.poison(&format!("the writer thread panicked: {text}"));
        }
    }

    pub(crate) fn poison(&self, reason: &str) {
        // Told once nothing is taken any more.
        self.shared.queue.poison(reason);
        let now = self.shared.options.clock.now();
        self.shared.page.state(WriterState::Poisoned, now);
        self.shared.progress.failed(reason);
        tracing::error!(code = Trouble::WriterFailed.code(), reason, "the log's writer failed");
    }

    fn work(&mut self) {
        loop {
            self.beat();
            if let Some(backoff) = self.backoff {
                self.activity(Activity::Retrying);
                std::thread::sleep(backoff);
                self.beat();
            }
            let timeout = if self.backoff.is_some() { Duration::ZERO } else { self.tick() };
            let work = self.shared.queue.wait(timeout, self.shared.progress.durable());
            self.take(work.chunks);
            self.flush_all(work.wanted_seq);
            self.keep_up();
            let mut closing = false;
            for command in work.commands {
                match command {
                    Command::Seal => self.seal_now(),
                    Command::Checkpoint => self.checkpoint_now(),
                    Command::RotateKey(wish) => self.rotate_key(wish),
                    Command::Close => closing = true,
                }
            }
            if closing || self.upkeep.closing {
                self.upkeep.closing = true;
                if self.close() {
                    return;
                }
            }
        }
    }

    fn tick(&self) -> Duration {
        BEAT.min(self.shared.options.write_flush_interval)
    }

    pub(crate) fn beat(&self) {
        let shared = &self.shared;
        shared.page.set(Word::HeartbeatAt, shared.options.clock.now().micros() as u64);
        shared.page.set(Word::HeartbeatBootMs, shared.boot_ms());
    }

    pub(crate) fn activity(&self, activity: Activity) {
        self.shared.page.activity(activity, self.shared.boot_ms());
    }

    fn commits(&self) -> bool {
        self.shared.options.durability == Durability::Commit
    }

    fn take(&mut self, chunks: Vec<Chunk>) {
        if let Some((first, last)) = chunks.first().zip(chunks.last()) {
            let end = last.first_seq + last.entries.len() as u64;
            self.shared.progress.set_taken(last.batch, (first.first_seq, end));
        }
        self.pending.extend(chunks);
    }

    /// One attempt to get everything written and, where due, durable.
    pub(crate) fn flush_all(&mut self, wanted_seq: u64) {
        let busy = !self.pending.is_empty() || self.fresh.is_some();
        if !busy && !self.sync_due(wanted_seq) && self.backoff.is_none() {
            return self.activity(Activity::Idle);
        }
        match self.flush(wanted_seq) {
            Ok(()) => {
                self.recovered();
                self.activity(Activity::Idle);
            }
            Err(failure) => self.failed(&failure),
        }
    }

    fn flush(&mut self, wanted_seq: u64) -> Result<(), Failure> {
        if self.fresh.is_some() {
            self.start_fresh()?;
        }
        if !self.pending.is_empty() {
            // What is acknowledged has to be where the log is looked for.
            self.at_home()?;
        }
        let events: usize = self.pending.iter().map(|chunk| chunk.entries.len()).sum();
        while !self.pending.is_empty() {
            self.write_some()?;
            if self.active.layout.raw_bytes >= self.shared.options.max_segment_size {
                self.seal()?;
            }
        }
        if events > 0 {
            self.shared.page.add(Word::Flushes, 1);
        }
        if self.sync_due(wanted_seq) {
            self.sync()?;
        }
        Ok(())
    }

    fn sync_due(&self, wanted_seq: u64) -> bool {
        let unsynced = self.active.layout.raw_bytes - self.active.synced_bytes();
        unsynced > 0
            && (self.commits()
                || wanted_seq > self.durable_tree.end()
                || unsynced >= MAX_UNSYNCED_BYTES
                || self.upkeep.closing
                || self.last_sync.elapsed() >= self.shared.options.write_flush_interval)
    }

    /// Assembles, hashes and writes about 1 MiB of what is pending.
    fn write_some(&mut self) -> Result<(), Failure> {
        self.activity(Activity::Encoding);
        // A segment for whose successor there is no room grows.
        let put_off = self.upkeep.is_put_off();
        let limit = if put_off { u64::MAX } else { self.shared.options.max_segment_size };
        let start = self.active.layout.raw_bytes;
        let mut staged = Staged::after(&self.active.layout, std::mem::take(&mut self.buffer));
        let mut clock = TimeText::default();
        'chunks: for chunk in &self.pending {
            let done = (staged.next_seq() - chunk.first_seq) as usize;
            for (body, entry) in chunk.bodies().skip(done) {
                let seq = staged.next_seq();
                let accepted = clock.text(entry.accepted_at);
                staged.line(entry.event_time, |out| {
                    record::assemble(seq, accepted, entry.has_timestamp, body, out);
                });
                let bytes = staged.bytes.len();
                if bytes >= WRITE_BYTES || start + bytes as u64 >= limit {
                    break 'chunks;
                }
            }
        }
        self.activity(Activity::Writing);
        let written = self.active.file.write_all_at(&staged.bytes, start);
        let result = match written {
            Ok(()) => {
                self.absorb(&staged);
                Ok(())
            }
            Err(error) => {
                // Cut what a short write left; recovery would cut it too.
                let _ = self.active.file.set_len(start);
                Err(Failure { activity: Activity::Writing, error })
            }
        };
        self.buffer = std::mem::take(&mut staged.bytes);
        result?;
        let end = self.active.layout.next_seq();
        while let Some(chunk) =
            self.pending.pop_front_if(|chunk| chunk.first_seq + chunk.entries.len() as u64 <= end)
        {
            self.written.push(chunk);
        }
        if !self.commits() {
            self.shared.queue.settled(std::mem::take(&mut self.written));
        }
        Ok(())
    }

    fn absorb(&mut self, staged: &Staged) {
        let first = self.active.layout.next_seq();
        self.active.layout.absorb(staged);
        let noted = self.leaves.append(first, &staged.leaves);
        self.leaves_noted(noted);
        staged.add_to(&mut self.unsynced);
        let page = &self.shared.page;
        let (written, bytes) = (self.active.layout.next_seq(), self.active.layout.raw_bytes);
        page.together(|page| page.set(Word::WrittenSeq, written));
        page.add(Word::BytesWritten, staged.bytes.len() as u64);
        page.set(Word::ActiveBytes, bytes);
        page.set(Word::LogBytes, self.shared.keeper.stored_bytes() + bytes);
    }

    /// What fails of the leaves' file costs precision on a bad day, and stops nothing.
    pub(crate) fn leaves_noted(&mut self, noted: io::Result<()>) {
        if let Err(error) = noted
            && self.leaves.is_open()
        {
            self.leaves.give_up();
            self.shared.page.add(Word::MaintenanceErrors, 1);
            tracing::warn!(code = Trouble::NoLeaves.code(), %error, "audit.leaves cannot be written");
        }
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        self.activity(Activity::Syncing);
        // Before what may hang: that it hangs is then to be seen from outside.
        self.shared.page.publish_activity(Activity::Syncing, self.shared.boot_ms());
        self.sign_ahead();
        let begun = Instant::now();
        let result = self.active.file.sync_data();
        let page = &self.shared.page;
        page.sync_took(begun.elapsed().as_micros() as u64);
        if let Err(error) = result {
            page.add(Word::SyncErrors, 1);
            self.distrust_file()?;
            return Err(Failure { activity: Activity::Syncing, error });
        }
        self.became_durable();
        Ok(())
    }

    /// Everything written is durable.
    pub(crate) fn became_durable(&mut self) {
        self.last_sync = Instant::now();
        self.active.synced = self.active.layout.mark();
        self.durable_tree = self.active.layout.tree();
        extend(&mut self.grown, &self.unsynced);
        let end = self.durable_tree.end();
        let became = end - self.unsynced.begin();
        self.unsynced.reset(end);
        if !self.sign_head() {
            return;
        }
        let page = &self.shared.page;
        page.add(Word::Durable, became);
        page.together(|page| page.set(Word::DurableSeq, end));
        // Before anybody is told: whoever asks after that, in another process too,
        // finds the record.
        page.publish();
        if self.commits() {
            self.shared.queue.settled(std::mem::take(&mut self.written));
        }
        self.shared.progress.set_durable(end);
    }

    fn seal_now(&mut self) {
        if let Err(failure) = self.seal() {
            self.failed(&failure);
        }
    }

    fn checkpoint_now(&mut self) {
        self.take_and_flush();
        self.checkpoint();
    }

    /// Takes whatever waits and makes it durable.
    pub(crate) fn take_and_flush(&mut self) {
        let chunks = self.shared.queue.take();
        self.take(chunks);
        self.flush_all(u64::MAX);
    }

    pub(crate) fn backoff_is_over(&self) -> bool {
        self.backoff.is_none()
    }
}

pub(crate) fn extend(range: &mut Range, next: &Range) {
    range.extend(next).expect("the writer keeps its ranges adjacent");
}

/// Whether an error means that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Formats acceptance times; many events share one.
#[derive(Default)]
struct TimeText {
    at: Option<crate::clock::Timestamp>,
    text: Vec<u8>,
}

impl TimeText {
    fn text(&mut self, at: crate::clock::Timestamp) -> &[u8] {
        if self.at != Some(at) {
            self.at = Some(at);
            self.text.clear();
            at.write_to(&mut self.text);
        }
        &self.text
    }
}
