//! Retention: sealed segments whose newest record is older than `retention` are
//! removed, the oldest first.
//!
//! A pass has three steps. A thread of its own looks at what may go, since that reads
//! segments and backups and may take long ([`look`]). Then one `audit.pruned` record
//! says, cumulatively, up to where records are removed. Once a stored checkpoint
//! covers that record, the manifest changes, and the files go last. A crash before the
//! manifest changed leaves a record of a removal that the next pass makes; a crash
//! after it leaves files that the next opening removes.
//!
//! How old a segment is, its own records say: the time at which each was accepted,
//! read from lines that the tree proves. Nothing is removed for an hour after the
//! clock was seen to be more than a day ahead.

mod clock_watch;
mod look;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, TryRecvError};

use super::{Thread, Trouble};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::keys::histories::Contradiction;
use crate::audit::paths::sealed_name;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::{RetentionWait, Word};
use crate::audit::tree::merkle::Range;
use crate::audit::write::own;
use crate::audit::write::own::{OwnRecord, Pruned};
use crate::clock::Timestamp;
use clock_watch::ClockWatch;
use look::{Answer, Question, Times};

pub(crate) use clock_watch::newest_record;

/// A pass begins so often, by the clock that counts through suspend.
const EVERY_MS: u64 = 3_600_000;
/// One that could not tell is tried again after this: files are compressed meanwhile,
/// and have another name then.
const AGAIN_MS: u64 = 10_000;

/// What retention is in the middle of.
pub(super) struct Retention {
    clock: ClockWatch,
    due_boot_ms: u64,
    stage: Stage,
    /// [`Word::BackupMade`] at the last look: another backup is a reason for another.
    backed_up: u64,
    /// When the newest record of a segment was accepted, as far as that was read.
    times: Times,
    /// Set when the thread ends; whoever looks stops then.
    ending: Arc<AtomicBool>,
}

enum Stage {
    Idle,
    Looking(Receiver<Answer>),
    /// Recorded; waits for a checkpoint over the record.
    Announced {
        end_seq: u64,
        record: u64,
    },
    /// The manifest has been changed, these files are to go, the last first.
    Removing(Vec<Segment>),
}

impl Retention {
    pub(super) fn new((now, boot_ms): (Timestamp, u64), newest: Option<Timestamp>) -> Self {
        Self {
            clock: ClockWatch::new(now, boot_ms, newest),
            due_boot_ms: boot_ms,
            stage: Stage::Idle,
            backed_up: 0,
            times: Times::new(),
            ending: Arc::default(),
        }
    }
}

impl Thread {
    /// Does what retention can do now, without waiting.
    pub(super) fn retain(&mut self) -> io::Result<()> {
        // In a directory that was put in this one's place nothing is removed.
        if matches!(self.retention.stage, Stage::Announced { .. } | Stage::Removing(_)) {
            self.at_home()?;
        }
        match &self.retention.stage {
            Stage::Idle => self.begin_to_look(),
            Stage::Looking(answer) => match answer.try_recv() {
                Ok(answer) => self.answered(answer),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.retention.stage = Stage::Idle,
            },
            Stage::Announced { end_seq, record } => {
                let (end_seq, record) = (*end_seq, *record);
                if self.work.page.get(Word::CheckpointSize) > record {
                    self.forget_records(end_seq, record)?;
                    self.remove_files()?;
                }
            }
            Stage::Removing(_) => self.remove_files()?,
        }
        Ok(())
    }

    /// The log is being closed: what is recorded and signed is still carried out.
    pub(super) fn end_retention(&mut self) -> io::Result<()> {
        self.retention.ending.store(true, Ordering::Relaxed);
        match self.retention.stage {
            Stage::Announced { .. } | Stage::Removing(_) => self.retain(),
            Stage::Idle | Stage::Looking(_) => Ok(()),
        }
    }

    fn begin_to_look(&mut self) {
        let clock = &self.work.options.clock;
        let (now, boot_ms) = (clock.now(), clock.boot_ms());
        let backed_up = self.work.page.get(Word::BackupMade);
        if boot_ms < self.retention.due_boot_ms && backed_up == self.retention.backed_up {
            return;
        }
        self.retention.backed_up = backed_up;
        self.retention.due_boot_ms = boot_ms + EVERY_MS;
        let mut limit = self.work.options.retention.map(|keep| {
            let micros = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(now.micros().saturating_sub(micros))
        });
        if let Some(until) = self.retention.clock.held_until(now, boot_ms) {
            self.retention.due_boot_ms = until;
            if limit.take().is_some() {
                self.publish_wait(RetentionWait::ClockAhead, 0);
                tracing::warn!(
                    code = Trouble::ClockAhead.code(),
                    "the clock is more than a day ahead of the newest record, so retention \
                     removes nothing for an hour"
                );
            }
        }
        if limit.is_none() && self.work.options.backups.is_none() {
            return;
        }
        let question = Question {
            options: Arc::clone(&self.work.options),
            paths: self.work.paths.clone(),
            page: Arc::clone(&self.work.page),
            keeper: self.keeper.clone(),
            now,
            limit,
            signed: self.work.page.get(Word::CheckpointSize),
            times: std::mem::take(&mut self.retention.times),
            ending: Arc::clone(&self.retention.ending),
        };
        let (sender, answer) = crossbeam_channel::bounded(1);
        // Never joined: a file system of backups that hangs must not hang the log.
        let started =
            std::thread::Builder::new().name("audit-retention".to_owned()).spawn(move || {
                let thread = rustix::thread::gettid();
                let _ = rustix::process::setpriority_process(Some(thread), 15);
                let _ = sender.send(question.answer());
            });
        if started.is_ok() {
            self.retention.stage = Stage::Looking(answer);
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.retention.stage = Stage::Idle;
        self.retention.times = answer.times;
        if answer.backups != self.keeper.manifest().backups {
            self.change(|manifest| {
                let noted = &mut manifest.backups;
                noted.looked_to = noted.looked_to.max(answer.backups.looked_to);
                noted.newest = noted.newest.max(answer.backups.newest);
            });
            self.store_needed = true;
            self.publish();
        }
        if let Some(found) = &answer.contradiction {
            self.tell_other_history(found);
        }
        let Some(may_go) = answer.may_go else {
            if answer.asked {
                let again = self.work.options.clock.boot_ms() + AGAIN_MS;
                self.retention.due_boot_ms = self.retention.due_boot_ms.min(again);
            }
            return;
        };
        let (why, waiting) = may_go.waits.unwrap_or((RetentionWait::Nothing, 0));
        self.publish_wait(why, waiting as u64);
        if waiting > 0 {
            tracing::warn!(
                code = Trouble::RetentionWaits.code(),
                segments = waiting,
                why = why.as_str(),
                "segments are kept beyond retention_days"
            );
        }
        if may_go.segments > 0 {
            self.announce(may_go.segments, may_go.held_by);
        }
        // Told once what came of it is there.
        self.work.page.set(Word::RetentionLookedAt, answer.asked_at.micros() as u64);
    }

    fn publish_wait(&self, why: RetentionWait, segments: u64) {
        self.work.page.together(|page| {
            page.set(Word::RetentionWaiting, segments);
            page.set(Word::RetentionWait, why as u64);
        });
    }

    /// Once for each head: it is told again only when another one is found.
    fn tell_other_history(&self, found: &Contradiction) {
        let now = self.work.options.clock.now();
        if self.work.page.tell_other_history(found.history as u64, found.size, now) {
            tracing::error!(code = Trouble::OtherHistory.code(), "{found}");
            self.work.security.report(SecurityKind::LogTampered, None, &found.to_string());
        }
    }

    /// Records the removal of the first segments; nothing is removed yet.
    fn announce(&mut self, segments: usize, held_by: Vec<String>) {
        let manifest = self.keeper.manifest();
        let Some(pruned) = removal(&manifest, segments, held_by) else { return };
        let end_seq = pruned.pruned_to;
        let own = OwnRecord::Pruned(pruned);
        if !own::fits(&own) {
            // Without the whole record nothing would excuse that the records are gone.
            tracing::warn!(
                code = Trouble::RetentionWaits.code(),
                segments,
                why = "the record of the removal would be too long",
                "segments are kept beyond retention_days"
            );
            return;
        }
        let queue = &self.work.queue;
        let record = queue.push_own(&own::encode(&own));
        queue.request_durable(record + 1);
        self.retention.stage = Stage::Announced { end_seq, record };
    }

    /// The manifest no longer has the segments, durably.
    fn forget_records(&mut self, end_seq: u64, record: u64) -> io::Result<()> {
        let mut gone = self.change(|manifest| {
            let count = manifest.segments.partition_point(|s| s.end_seq() <= end_seq);
            let mut pruned = manifest.pruned.clone();
            extend(&mut pruned, manifest.segments.range(0..count))?;
            manifest.pruned = pruned;
            manifest.pruned_by = Some(record);
            manifest.adopted.retain(|span| span.end > end_seq);
            Ok::<_, io::Error>(manifest.segments.remove_first(count))
        })?;
        // The oldest goes first: what a crash leaves follows each other.
        gone.reverse();
        self.retention.stage = Stage::Removing(gone);
        self.publish();
        self.store_needed = true;
        Ok(())
    }

    fn remove_files(&mut self) -> io::Result<()> {
        if self.store_needed {
            self.store()?;
        }
        let Stage::Removing(gone) = &mut self.retention.stage else { return Ok(()) };
        let (fs, paths) = (&self.work.options.fs, &self.work.paths);
        while let Some(segment) = gone.last() {
            for compressed in [false, true] {
                let name = sealed_name(segment.first_seq, compressed);
                match fs.remove(&paths.dir.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            self.hints.forget(&**fs, paths, segment);
            gone.pop();
        }
        fs.sync_dir(&paths.dir)?;
        self.retention.stage = Stage::Idle;
        Ok(())
    }
}

fn extend<'a>(tree: &mut Range, segments: impl Iterator<Item = &'a Segment>) -> io::Result<()> {
    for block in segments.flat_map(|segment| &segment.blocks) {
        tree.extend(&block.tree).map_err(io::Error::other)?;
    }
    Ok(())
}

/// What the record of a removal of the first `count` segments says.
fn removal(manifest: &Manifest, count: usize, held_by: Vec<String>) -> Option<Pruned> {
    let gone = manifest.segments.range(0..count);
    if gone.len() < count {
        return None;
    }
    let mut tree = manifest.pruned.clone();
    // A loaded manifest's ranges are adjacent and begin at 0, so both work.
    extend(&mut tree, gone.clone()).ok()?;
    let root_hash = tree.root().ok()?;
    Some(Pruned {
        pruned_to: tree.end(),
        root_hash,
        first_seq: manifest.pruned.end(),
        records: tree.end() - manifest.pruned.end(),
        segments: count as u64,
        bytes: gone.map(|segment| segment.stored_bytes).sum(),
        held_by,
        first_key: manifest.first_key.clone(),
        abandoned: manifest.abandoned.clone(),
        ended: manifest.ended.clone(),
        backed_up: manifest.backed_up,
        tree,
    })
}
