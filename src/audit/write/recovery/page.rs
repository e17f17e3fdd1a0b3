//! What the status page of the writer before tells of what is in no record. Nobody signed
//! that page, and nothing but a record of it rests on what it says.

use super::Opening;
use super::opened::{Lost, Refused};
use crate::audit::files::manifest::Manifest;
use crate::audit::files::segment::Active;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_times;
use crate::audit::state::status::Word;
use crate::audit::write::options::Durability;
use crate::audit::write::rate_limit::OTHER_SOURCES;
use crate::clock::ClockWatch;
use crate::fsio::FsFile;

impl Opening<'_> {
    /// How many records the last writer of this very file had made durable, by its
    /// status page, that are not there. Nobody signed that page: it raises an alarm, and
    /// decides nothing. A copied or restored file has another inode.
    pub(super) fn missed_by_page(&self, active: &Active) -> Option<u64> {
        let earlier = self.earlier.as_ref()?;
        let meta = active.file.meta().ok()?;
        let durable = earlier.get(Word::DurableSeq);
        let same = earlier.get(Word::ActiveInode) == meta.inode;
        let missed = durable.checked_sub(active.layout.next_seq());
        missed.filter(|missed| same && *missed > 0)
    }

    /// Events that an interval-durability writer had accepted and not written.
    pub(super) fn lost(&self, active: &Active) -> Option<Lost> {
        let earlier = self.earlier.as_ref()?;
        let meta = active.file.meta().ok()?;
        let interval = earlier.get(Word::Durability) == Durability::Interval as u64;
        let count = earlier.get(Word::NextSeq).checked_sub(active.layout.next_seq())?;
        let same = earlier.get(Word::ActiveInode) == meta.inode;
        (interval && same && count > 0 && earlier.get(Word::ClosedAt) == 0).then(|| Lost {
            count,
            first: earlier.time(Word::OldestWaitingAt),
            last: earlier.time(Word::LastEventAt),
        })
    }

    /// Refusals that an earlier writer of this very file was killed with.
    pub(super) fn refused(&self, active: &Active) -> Option<Refused> {
        let earlier = self.earlier.as_ref()?;
        let meta = active.file.meta().ok()?;
        if earlier.get(Word::ActiveInode) != meta.inode || earlier.get(Word::ClosedAt) != 0 {
            return None;
        }
        let (count, [first, last]) = earlier.unrecorded_refusals(active.layout.next_seq())?;
        let (source, sender) = match earlier.top_blocked() {
            Some(top) => (top.source, top.sender),
            None => (OTHER_SOURCES.to_owned(), None),
        };
        Some(Refused { source, sender, count, first, last })
    }

    /// The clocks at the last record, or at the last sign of life of a writer of
    /// this boot. Nothing but an `audit.clock_changed` record rests on it.
    pub(super) fn last_times(&self, manifest: &Manifest, active: &Active) -> Option<ClockWatch> {
        let boot_id = crate::fsio::boot::boot_id(self.fs);
        if let Some(earlier) = &self.earlier
            && boot_id.is_some_and(|boot| boot == earlier.get(Word::BootId))
            && let Some(at) = earlier.time(Word::HeartbeatAt)
            && earlier.get(Word::HeartbeatBootMs) <= self.options.clock.boot_ms()
        {
            return Some(ClockWatch::new(at, Some(earlier.get(Word::HeartbeatBootMs))));
        }
        let last = match last_line(&*active.file, active.layout.raw_bytes) {
            Some(line) => peek_times(&line)?.1,
            None => peek_times(&self.last_sealed_line(manifest)?)?.1,
        };
        Some(ClockWatch::new(last, None))
    }
}

fn last_line(file: &dyn FsFile, length: u64) -> Option<Vec<u8>> {
    let mut end = Vec::new();
    let mut window = 4 * 1024;
    loop {
        let from = length.saturating_sub(window);
        end.resize((length - from) as usize, 0);
        file.read_exact_at(&mut end, from).ok()?;
        let whole = end.strip_suffix(b"\n")?;
        match memchr::memrchr(b'\n', whole) {
            Some(before) => return Some(whole[before + 1..].to_vec()),
            None if from == 0 => return Some(whole.to_vec()),
            None if window > 2 * MAX_LINE_BYTES as u64 => return None,
            None => window *= 8,
        }
    }
}
