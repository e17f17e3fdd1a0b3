//! What opening changes: leftovers, the torn tail, what an earlier crash lost.

use super::{Aside, Lost, OpenError, Opening, Refused, Scanned, copy_to_new, io_error};
use crate::audit::files::manifest::Manifest;
use crate::audit::files::segment::{Active, Layout};
use crate::audit::paths::{parse_filter_name, parse_sealed_name, sealed_name};
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_times;
use crate::audit::state::status::Word;
use crate::audit::tree::merkle::Range;
use crate::audit::write::options::Durability;
use crate::audit::write::rate_limit::OTHER_SOURCES;
use crate::clock::ClockWatch;
use crate::fsio::{FsFile, OpenMode};

impl Opening<'_> {
    /// Temporary files, plain segments whose compressed form the manifest names,
    /// and segments that retention had removed from it.
    pub(super) fn clear_leftovers(&self, manifest: &Manifest) {
        let mut removed = false;
        for name in self.names {
            let ours = name.starts_with("audit.") || name.starts_with("security_events.log");
            let replaced = manifest.segments.iter().any(|segment| {
                segment.is_compressed() && *name == sealed_name(segment.first_seq, false)
                    || !segment.is_compressed()
                        && segment.is_stored()
                        && *name == sealed_name(segment.first_seq, true)
            });
            let pruned = parse_sealed_name(name)
                .is_some_and(|(first_seq, _)| first_seq < manifest.pruned.end());
            let filters_of_none = parse_filter_name(name)
                .is_some_and(|seq| !manifest.segments.iter().any(|s| s.first_seq == seq));
            if ours && name.contains(".tmp-") || replaced || pruned || filters_of_none {
                // Failing costs space only; the next opening tries again.
                removed |= self.fs.remove(&self.paths.dir.join(name)).is_ok();
            }
        }
        if removed {
            let _ = self.fs.sync_dir(&self.paths.dir);
        }
    }

    /// The active segment; what follows its last good record is moved aside under
    /// a name that says why.
    pub(super) fn active(
        &self,
        scan: Option<Scanned>,
        base: Range,
        (why, kept): (&str, Option<Aside>),
        altered: bool,
    ) -> Result<(Active, Option<Aside>), OpenError> {
        let path = self.paths.active();
        let Some((file, mut scan)) = scan else {
            let file = self.fs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
            self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
            return Ok((Active::new(file, Layout::new(base)), kept));
        };
        let len = file.meta().map_err(io_error("look at", &path))?.len;
        if altered {
            // Which of its records were altered is unknown: none is carried on.
            scan.layout = Layout::new(base);
        }
        let good = scan.layout.raw_bytes;
        let aside = if good < len {
            let aside = match kept {
                Some(kept) => kept,
                None => {
                    let file = self.set_aside(&*file, good, len, why)?;
                    Aside { bytes: len - good, file }
                }
            };
            file.set_len(good).map_err(io_error("cut", &path))?;
            Some(aside)
        } else {
            kept
        };
        // What is good may still be in the page cache only.
        file.sync_data().map_err(io_error("sync", &path))?;
        Ok((Active::new(file, scan.layout), aside))
    }

    fn set_aside(
        &self,
        file: &dyn FsFile,
        from: u64,
        to: u64,
        why: &str,
    ) -> Result<String, OpenError> {
        let stamp = self.options.clock.now().file_stamp();
        let aside = self.paths.aside(why, &stamp, |path| self.fs.entry(path).is_ok());
        copy_to_new(self.fs, file, from, to, &aside).map_err(io_error("write", &aside))?;
        self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
        Ok(aside.file_name().unwrap_or_default().to_string_lossy().into_owned())
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
