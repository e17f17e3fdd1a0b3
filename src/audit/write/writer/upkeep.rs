//! What the writer does between batches: look whether the log file is still the
//! one it writes, sign checkpoints, seal by age, and record
//! bursts of refusals.

use std::time::{Duration, Instant};

use super::{BEAT, Failure, Fresh, Writer, failure};
use crate::audit::files::segment::Active;
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::{Activity, Damage, Word};
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::merkle::Range;
use crate::audit::write::own::OwnRecord;
use crate::audit::write::own_files::OwnFile;
use crate::audit::write::recovery::copy_to_new;
use crate::clock::Timestamp;
use crate::fsio::replace_file;

/// The disk is looked at so often.
const DISK_EVERY: Duration = Duration::from_secs(1);

/// Sealing for which there was no room is tried again so often.
const SEAL_AGAIN: Duration = Duration::from_secs(1);
/// A change of key that could not be stored is tried again so often.
const STORE_KEYS_EVERY: Duration = Duration::from_secs(1);

/// What upkeep remembers.
#[derive(Debug)]
pub(crate) struct Upkeep {
    segment_since: Instant,
    checked_file: Instant,
    checked_disk: Instant,
    signed_at: Instant,
    /// Size of the newest checkpoint that was stored, not only signed.
    stored_size: u64,
    /// The disk is full and the reserve given up.
    pub(crate) full: bool,
    pub(super) refused_before_full: u64,
    /// A segment was to be sealed, and there was no room for the next one: to be tried
    /// again then.
    seal_again: Option<Instant>,
    pub(crate) closing: bool,
    pub(crate) closing_since: Option<Instant>,
    pub(crate) closed_pushed: bool,
    opened_at_seq: u64,
}

impl Upkeep {
    pub(crate) fn new(opened_at_seq: u64) -> Self {
        let now = Instant::now();
        let due = now.checked_sub(DISK_EVERY).unwrap_or(now);
        Self {
            segment_since: now,
            checked_file: now,
            checked_disk: due,
            signed_at: now,
            stored_size: 0,
            full: false,
            refused_before_full: 0,
            seal_again: None,
            closing: false,
            closing_since: None,
            closed_pushed: false,
            opened_at_seq,
        }
    }

    /// Sealing has to wait for room.
    pub(super) fn put_off(&mut self) {
        self.seal_again = Some(Instant::now() + SEAL_AGAIN);
    }

    /// Whether sealing waits for room, and is not to be tried again yet.
    pub(super) fn is_put_off(&self) -> bool {
        self.seal_again.is_some_and(|at| Instant::now() < at)
    }

    /// A new segment was begun.
    pub(super) fn began_segment(&mut self) {
        self.segment_since = Instant::now();
        self.seal_again = None;
    }

    pub(crate) fn closed_record(&self, tree: &Range) -> OwnRecord {
        OwnRecord::Closed { records_since_open: tree.end().saturating_sub(self.opened_at_seq) }
    }
}

impl Writer {
    /// Everything that is due.
    pub(crate) fn keep_up(&mut self) {
        let options = self.shared.options.clone();
        let every = BEAT.min(options.write_flush_interval);
        if self.upkeep.checked_file.elapsed() >= every {
            self.activity(Activity::Checking);
            if self.fresh.is_none()
                && let Err(failure) = self.check_file()
            {
                self.failed(&failure);
            }
            self.look_at_own_files();
            self.upkeep.checked_file = Instant::now();
        }
        if self.upkeep.checked_disk.elapsed() >= DISK_EVERY {
            self.check_disk();
            self.record_bursts(false);
            self.record_status_page();
            self.shared.queue.give_back();
            self.upkeep.checked_disk = Instant::now();
        }
        let due = self.upkeep.seal_again.is_some_and(|at| Instant::now() >= at);
        let old = self.upkeep.segment_since.elapsed() >= options.max_segment_age;
        if (old || due)
            && self.active.layout.records() > 0
            && self.pending.is_empty()
            && let Err(failure) = self.seal()
        {
            self.failed(&failure);
        }
        let new = self.durable_tree.end() > self.upkeep.stored_size;
        let since = self.upkeep.signed_at.elapsed();
        let handing_over = self.keys.pending.is_some() && since >= STORE_KEYS_EVERY;
        if new && since >= options.checkpoint_interval || handing_over {
            self.checkpoint();
        } else if since >= options.idle_checkpoint_interval && self.backoff_is_over() {
            // A checkpoint over the same records would be the same text and say
            // nothing of the time since: a record makes the empty time provable.
            let since = Timestamp::from_micros(self.shared.page.get(Word::CheckpointAt) as i64);
            self.shared.push_own(&OwnRecord::Idle { since });
            self.take_and_flush();
            self.checkpoint();
        }
        if self.pending.is_empty() && self.fresh.is_none() {
            self.activity(Activity::Idle);
        }
    }

    /// Signs and stores a checkpoint over what is durable; false when that failed
    /// (the next one is tried after the checkpoint interval).
    pub(crate) fn checkpoint(&mut self) -> bool {
        self.activity(Activity::Checkpoint);
        self.upkeep.signed_at = Instant::now();
        if let Err(failed) = self.store_rotation() {
            self.checkpoint_failed(&failed.error);
            return false;
        }
        let Some(signed) = self.sign_durable() else { return false };
        self.store_checkpoint(&signed)
    }

    /// Stores a signed checkpoint; false when that failed.
    pub(super) fn store_checkpoint(&mut self, signed: &SignedCheckpoint) -> bool {
        let (size, text) = (signed.unverified().size, signed.to_string());
        if let Err(failed) = self.at_home() {
            self.checkpoint_failed(&failed.error);
            return false;
        }
        self.own_files.writes(OwnFile::Checkpoint, text.as_bytes());
        let shared = &self.shared;
        let path = shared.paths.checkpoint();
        if let Err(error) = replace_file(&*shared.options.fs, &path, text.as_bytes()) {
            self.checkpoint_failed(&error);
            return false;
        }
        self.own_files.wrote(OwnFile::Checkpoint);
        self.upkeep.stored_size = size;
        // Whoever waits for the page's size reads the text and the time next.
        let now = shared.options.clock.now().micros() as u64;
        shared.keeper.set_checkpoint(text, || {
            shared.page.together(|page| {
                page.set(Word::CheckpointAt, now);
                page.set(Word::CheckpointSize, size);
            });
        });
        true
    }

    fn checkpoint_failed(&mut self, error: &std::io::Error) {
        let shared = &self.shared;
        shared.page.add(Word::WriteErrors, 1);
        shared.page.error(error, Activity::Checkpoint, shared.options.clock.now());
        tracing::warn!(code = Trouble::NoCheckpoint.code(), %error, "the checkpoint could not be written");
        if super::is_full(error) {
            self.disk_is_full();
        }
    }

    /// Whether the name still leads to the file that is written, and whether it
    /// has the length that was written; what is not so is repaired and recorded.
    pub(super) fn check_file(&mut self) -> Result<(), Failure> {
        self.at_home()?;
        let open = self.active.file.meta().map_err(failure(Activity::Checking))?;
        let expected = self.active.layout.raw_bytes;
        if open.len < expected {
            return self.file_truncated(open.len);
        }
        if open.len > expected {
            self.foreign_bytes(open.len)?;
        }
        self.check_name()
    }

    /// Whether the name leads to the open file; puts it back when it does not.
    pub(super) fn check_name(&mut self) -> Result<(), Failure> {
        let failed = || failure(Activity::Checking);
        let open = self.active.file.meta().map_err(failed())?;
        let named = self.shared.options.fs.entry(&self.shared.paths.active());
        match named {
            Ok(named) if named.same_file(&open) => Ok(()),
            Ok(_) => self.file_gone("replaced", None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.file_gone("deleted", None)
            }
            Err(error) => Err(failed()(error)),
        }
    }

    /// Deleted or replaced: the open file still has every record, so it is
    /// copied into its place; what stands there is set aside, not overwritten.
    pub(super) fn file_gone(
        &mut self,
        what: &'static str,
        moved: Option<String>,
    ) -> Result<(), Failure> {
        tracing::error!(
            code = Trouble::FileReplaced.code(),
            what,
            "the log file is not the one being written; saving its records"
        );
        let shared = self.shared.clone();
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let failed = || failure(Activity::Checking);
        let path = paths.active();
        let temporary = crate::fsio::temporary_name(&path);
        // One that was cut as well is copied as far as it goes.
        let there = self.active.file.meta().map_err(failed())?.len;
        let length = self.active.layout.raw_bytes.min(there);
        let file = copy_to_new(fs, &*self.active.file, 0, length, &temporary).map_err(failed())?;
        let mut set_aside = moved;
        if fs.entry(&path).is_ok() {
            let stamp = shared.options.clock.now().file_stamp();
            let aside = paths.aside("foreign", &stamp, |path| fs.entry(path).is_ok());
            fs.rename(&path, &aside).map_err(failed())?;
            set_aside = aside.file_name().map(|name| name.to_string_lossy().into_owned());
        }
        fs.rename(&temporary, &path).map_err(failed())?;
        fs.sync_dir(&paths.dir).map_err(failed())?;
        self.active = Active::new(file, self.active.layout.clone());
        self.became_durable();
        self.publish_active();
        self.damage(Damage::FileReplaced);
        self.incident(what, set_aside, None);
        Ok(())
    }

    /// Records are missing from the file: it is sealed as damaged, and the log
    /// goes on in a fresh one. The tree is not harmed: its hashes are in memory.
    fn file_truncated(&mut self, length: u64) -> Result<(), Failure> {
        let (end, expected) = (self.active.layout.next_seq(), self.active.layout.raw_bytes);
        // How many whole lines are left is for `verify`; the record says where
        // at the latest the damage begins.
        let first = self.first_lost(length);
        let lost = end - first;
        tracing::error!(
            code = Trouble::FileTruncated.code(),
            length,
            expected,
            lost,
            "the log file was truncated; records are lost"
        );
        let damage = format!(
            "truncated while open to {length} of {expected} bytes: records {first} to {} are lost",
            end - 1
        );
        // Whoever hears of the damage asks how much is lost.
        self.shared.page.add(Word::LostRecords, lost);
        self.damage(Damage::FileTruncated);
        self.incident("truncated", None, Some((first, lost)));
        // Nothing unsynced is left to save: what was written and not synced is
        // as lost as the rest, and its seqs stay taken.
        self.became_durable();
        self.fresh = Some(Fresh::damaged(damage));
        self.start_fresh()
    }

    fn first_lost(&self, length: u64) -> u64 {
        let first = self.active.layout.first_seq;
        let mut lines = 0;
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < length {
            let part = buffer.len().min((length - offset) as usize);
            match self.active.file.read_at(&mut buffer[..part], offset) {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
                    offset += read as u64;
                }
            }
        }
        (first + lines).min(self.active.layout.next_seq())
    }

    /// Somebody appended to the file: their bytes are kept aside and cut.
    fn foreign_bytes(&mut self, length: u64) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let (fs, paths) = (&*shared.options.fs, &shared.paths);
        let failed = || failure(Activity::Checking);
        let expected = self.active.layout.raw_bytes;
        let stamp = shared.options.clock.now().file_stamp();
        let aside = paths.aside("foreign", &stamp, |path| fs.entry(path).is_ok());
        copy_to_new(fs, &*self.active.file, expected, length, &aside).map_err(failed())?;
        // They are evidence: not cut before the copy has a name that lasts.
        fs.sync_dir(&paths.dir).map_err(failed())?;
        self.active.file.set_len(expected).map_err(failed())?;
        let name = aside.file_name().map(|name| name.to_string_lossy().into_owned());
        self.damage(Damage::FileReplaced);
        self.incident("foreign_bytes", name, None);
        Ok(())
    }

    fn incident(&self, what: &'static str, aside: Option<String>, lost: Option<(u64, u64)>) {
        self.shared.security.report(SecurityKind::LogTampered, None, &format!("audit.log {what}"));
        self.shared.push_own(&OwnRecord::LogFileReplaced {
            what: what.to_owned(),
            set_aside: aside,
            first_lost: lost.map(|(first, _)| first),
            lost: lost.map(|(_, count)| count),
        });
    }

    /// One record for each source and burst of refusals that has ended.
    pub(crate) fn record_bursts(&self, all: bool) {
        let shared = &self.shared;
        let mut bursts = shared.limiter.finished_bursts(shared.boot_ms() * 1_000, all);
        bursts.extend(shared.callers.finished_bursts(shared.boot_ms() * 1_000, all));
        if !bursts.is_empty() {
            let refused = bursts.iter().map(|burst| burst.refused).sum();
            let records = bursts.into_iter().map(|burst| OwnRecord::RateLimited {
                source: burst.source,
                sender: burst.sender,
                refused: burst.refused,
                first: burst.first,
                last: burst.last,
                from_status_page: false,
            });
            let end = records.map(|record| shared.push_own(&record) + 1).max().unwrap_or(0);
            shared.page.refusals_recorded(refused, end, self.durable_tree.end());
        }
        shared.page.set(
            Word::ActiveSources,
            shared.limiter.active_sources(shared.boot_ms() * 1_000) as u64,
        );
        if let Some(top) = shared.limiter.top_blocked() {
            shared.page.top_blocked(top.sender.as_deref(), &top.source, top.refused);
        }
    }

    /// One record for each time that the status page's file had to be put back.
    fn record_status_page(&self) {
        for incident in self.shared.page.take_incidents() {
            let (file, what) = ("audit.status", incident.changed.as_str());
            tracing::error!(
                code = Trouble::OwnFilePutBack.code(),
                file,
                what,
                "a file of the log was not the one that was written; it is put back"
            );
            let text = format!("{file} {what}");
            self.shared.security.report(SecurityKind::LogTampered, None, &text);
            self.shared.push_own(&OwnRecord::FileReplaced {
                file: file.to_owned(),
                what: what.to_owned(),
                put_back: true,
                set_aside: None,
                reason: None,
            });
        }
    }
}
