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

mod upkeep;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keeper::Keeper;
use super::merkle::Range;
use super::options::{Durability, LogPaths, Options};
use super::own::{self, OwnRecord};
use super::progress::ProgressCell;
use super::queue::{Chunk, Command, Queue};
use super::rate_limit::RateLimiter;
use super::record;
use super::security::SecuritySink;
use super::segment::{Active, Staged};
use super::signer::Signer;
use super::status::{Activity, Damage, StatusPage, Word, WriterState};

pub(crate) use upkeep::{Upkeep, make_reserve};

/// Lines are written in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;
/// With interval durability: never leave more than this unsynced.
const MAX_UNSYNCED_BYTES: u64 = 64 << 20;
/// Sign of life, even when idle.
pub(crate) const BEAT: Duration = Duration::from_millis(250);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LAST_BACKOFF: Duration = Duration::from_millis(250);

/// What the writer shares with those who record.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) paths: LogPaths,
    pub(crate) page: Arc<StatusPage>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) limiter: Arc<RateLimiter>,
    pub(crate) security: SecuritySink,
    pub(crate) keeper: Keeper,
}

impl Shared {
    pub(crate) fn boot_ms(&self) -> u64 {
        self.options.clock.boot_ms()
    }

    /// Records something of the engine's own; it is written with the next batch.
    pub(crate) fn push_own(&self, own: &OwnRecord) -> u64 {
        self.queue.push_own(&own::encode(own))
    }
}

/// A segment change under way.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// The old file has its sealed name.
    renamed: bool,
    /// What is wrong with the old file, if anything.
    damage: Option<String>,
    /// Lines that were in the old file and are not durable there.
    carry: Vec<u8>,
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
}

impl Fresh {
    /// The old file is damaged.
    pub(crate) fn damaged(damage: String) -> Self {
        Self { damage: Some(damage), ..Self::default() }
    }
}

impl Writer {
    /// `grown` is the part of the tree that the signer has not signed yet.
    pub(crate) fn new(
        shared: Shared,
        active: Active,
        (signer, grown): (Signer, Range),
        upkeep: Upkeep,
    ) -> Self {
        let durable_tree = active.layout.tree();
        let end = durable_tree.end();
        Self {
            shared,
            active,
            signer,
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
        }
    }

    /// The thread: works until closed; a panic poisons the log instead of
    /// leaving everyone waiting.
    pub(crate) fn run(mut self) {
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
        let now = self.shared.options.clock.now();
        self.shared.page.state(WriterState::Poisoned, now);
        self.shared.queue.poison(reason);
        self.shared.progress.failed(reason);
        tracing::error!(reason, "the log's writer failed");
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
        if let Some(last) = chunks.last()
            && self.commits()
        {
            self.shared.progress.set_taken(last.first_seq + last.entries.len() as u64);
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
        let limit = self.shared.options.max_segment_size;
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
        self.active.layout.absorb(staged);
        staged.add_to(&mut self.unsynced);
        let page = &self.shared.page;
        let (written, bytes) = (self.active.layout.next_seq(), self.active.layout.raw_bytes);
        page.together(|page| page.set(Word::WrittenSeq, written));
        page.add(Word::BytesWritten, staged.bytes.len() as u64);
        page.set(Word::ActiveBytes, bytes);
        page.set(Word::LogBytes, self.shared.keeper.stored_bytes() + bytes);
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        self.activity(Activity::Syncing);
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
        let page = &self.shared.page;
        page.add(Word::Durable, end - self.unsynced.begin());
        self.unsynced.reset(end);
        page.together(|page| page.set(Word::DurableSeq, end));
        if self.commits() {
            self.shared.queue.settled(std::mem::take(&mut self.written));
        }
        self.shared.progress.set_durable(end);
    }

    /// After a failed sync: what is not durable is written anew to a fresh file.
    fn distrust_file(&mut self) -> Result<(), Failure> {
        let (from, to) = (self.active.synced_bytes(), self.active.layout.raw_bytes);
        let mut carry = Vec::new();
        if self.commits() {
            // Still in memory: what was written goes back in front of what was not.
            for chunk in self.written.drain(..).rev() {
                self.pending.push_front(chunk);
            }
        } else {
            // Only the file has it; trusted as far as it hashes to what was written.
            carry = vec![0; (to - from) as usize];
            let read = self.active.file.read_exact_at(&mut carry, from);
            let mut again = Range::empty(self.unsynced.begin());
            for line in carry.split_inclusive(|byte| *byte == b'\n') {
                again.append_line(line.strip_suffix(b"\n").unwrap_or(line));
            }
            if read.is_err() || again != self.unsynced {
                panic!("records written since the last sync cannot be read back after it failed");
            }
        }
        self.active.layout.roll_back(&self.active.synced.clone());
        self.unsynced.reset(self.durable_tree.end());
        self.fresh = Some(Fresh { carry, ..Fresh::default() });
        Ok(())
    }

    /// Seals the active segment if it holds anything.
    pub(crate) fn seal(&mut self) -> Result<(), Failure> {
        if self.active.layout.raw_bytes > self.active.synced_bytes() {
            self.sync()?;
        }
        if self.active.layout.records() == 0 {
            return Ok(());
        }
        self.checkpoint();
        self.activity(Activity::Sealing);
        self.fresh = Some(Fresh::default());
        self.start_fresh()
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

    /// Gives the old file its sealed name and starts a fresh one; after a
    /// failure the next attempt goes on where this one stopped.
    pub(crate) fn start_fresh(&mut self) -> Result<(), Failure> {
        let Some(mut fresh) = self.fresh.take() else { return Ok(()) };
        let result = self.try_fresh(&mut fresh);
        if result.is_err() {
            self.fresh = Some(fresh);
        }
        result
    }

    fn try_fresh(&mut self, fresh: &mut Fresh) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let path = paths.active();
        let failed = || failure(Activity::Sealing);
        let now = shared.options.clock.now();
        if !fresh.renamed {
            // Best effort: what is beyond is not durable and will be written anew.
            if fresh.damage.is_none() {
                let _ = self.active.file.set_len(self.active.layout.raw_bytes);
            }
            let to = if self.active.layout.records() > 0 {
                paths.sealed(self.active.layout.first_seq)
            } else {
                paths.aside("failed", &now.file_stamp(), |path| fs.meta(path).is_ok())
            };
            fs.rename(&path, &to).map_err(failed())?;
            fresh.renamed = true;
        }
        let file = fs
            .open(&path, crate::fsio::OpenMode::Create)
            .and_then(|file| file.set_len(0).map(|()| file))
            .map_err(failed())?;
        fs.sync_dir(&paths.dir).map_err(failed())?;
        let tree = self.active.layout.tree();
        let next = Active::new(file, super::segment::Layout::new(tree));
        let old = std::mem::replace(&mut self.active, next);
        if old.layout.records() > 0 {
            shared.keeper.sealed(&old.layout, now, fresh.damage.clone());
        }
        self.upkeep.segment_since = Instant::now();
        self.publish_active();
        if !fresh.carry.is_empty() {
            self.write_carry(std::mem::take(&mut fresh.carry))?;
        }
        Ok(())
    }

    fn write_carry(&mut self, carry: Vec<u8>) -> Result<(), Failure> {
        let mut staged = Staged::after(&self.active.layout, Vec::with_capacity(carry.len()));
        for line in carry.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let time = record::peek_times(line).map(|(time, _)| time).unwrap_or_default();
            staged.line(time, |out| out.extend_from_slice(line));
        }
        let result = self.active.file.write_all_at(&staged.bytes, 0);
        if let Err(error) = result {
            let _ = self.active.file.set_len(0);
            self.fresh = Some(Fresh { carry, ..Fresh::default() });
            return Err(Failure { activity: Activity::Writing, error });
        }
        self.absorb(&staged);
        Ok(())
    }

    /// Says in the status page which file is active.
    pub(crate) fn publish_active(&self) {
        let page = &self.shared.page;
        page.set(Word::ActiveFirstSeq, self.active.layout.first_seq);
        page.set(Word::ActiveBytes, self.active.layout.raw_bytes);
        let inode = self.active.file.meta().map_or(0, |meta| meta.inode);
        page.set(Word::ActiveInode, inode);
    }

    pub(crate) fn failed(&mut self, failure: &Failure) {
        let shared = &self.shared;
        let now = shared.options.clock.now();
        shared.page.add(Word::WriteErrors, 1);
        shared.page.error(&failure.error, failure.activity, now);
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        let reason = format!("{}: {}", failure.activity.as_str(), failure.error);
        if self.backoff.is_none() {
            tracing::warn!(reason, "the log cannot be written; trying again");
        }
        if is_full(&failure.error) {
            self.disk_is_full();
        } else if !self.upkeep.full {
            shared.page.state(WriterState::Failing, now);
        }
        if since.elapsed() >= self.shared.options.overflow_timeout {
            self.shared.progress.unavailable(reason);
        }
        self.backoff = Some(match self.backoff {
            None => FIRST_BACKOFF,
            Some(last) => (last * 2).min(LAST_BACKOFF),
        });
    }

    pub(crate) fn backoff_is_over(&self) -> bool {
        self.backoff.is_none()
    }

    fn recovered(&mut self) {
        if self.backoff.take().is_some() {
            self.trouble_since = None;
            self.shared.progress.available();
            if !self.upkeep.full {
                self.shared.page.state(WriterState::Running, self.shared.options.clock.now());
            }
            tracing::info!("the log is written again");
        }
    }

    /// Ends the log cleanly; false when that has to be tried again.
    fn close(&mut self) -> bool {
        self.activity(Activity::Closing);
        let begun = *self.upkeep.closing_since.get_or_insert_with(Instant::now);
        let in_time = begun.elapsed() < self.shared.options.overflow_timeout;
        if !self.upkeep.closed_pushed {
            self.upkeep.closed_pushed = true;
            self.record_bursts(true);
            self.shared.push_own(&self.upkeep.closed_record(&self.durable_tree));
        }
        self.take_and_flush();
        // A file that was deleted since the last look exists only as long as it
        // is open: closing it unseen would lose what was acknowledged.
        let repaired = self.fresh.is_none() && self.look_at_file();
        let everything = self.shared.queue.next_seq() == self.durable_tree.end();
        if !everything || repaired {
            if in_time {
                return false;
            }
            let left = self.shared.queue.next_seq() - self.durable_tree.end();
            let reason = format!("closed with {left} records that could not be written");
            self.poison(&reason);
            return true;
        }
        let signed = self.checkpoint();
        let now = self.shared.options.clock.now();
        if signed {
            self.shared.page.state(WriterState::Closed, now);
            self.shared.page.set(Word::ClosedAt, now.micros() as u64);
        }
        self.shared.progress.closed();
        true
    }

    /// Whether the file was not as it should be.
    fn look_at_file(&mut self) -> bool {
        let before = self.shared.page.get(Word::LogFileIncidents);
        if let Err(failure) = self.check_file() {
            self.failed(&failure);
            return true;
        }
        self.shared.page.get(Word::LogFileIncidents) != before
    }

    /// Notes damage for health.
    pub(crate) fn damage(&self, damage: Damage) {
        let now = self.shared.options.clock.now();
        self.shared.page.set(Word::Damage, damage as u64);
        self.shared.page.set(Word::DamageAt, now.micros() as u64);
        self.shared.page.add(Word::LogFileIncidents, 1);
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
