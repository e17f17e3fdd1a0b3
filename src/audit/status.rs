//! The status page: `audit.status`, 4 KiB, how any process learns the state of
//! the running writer without asking it.
//!
//! The writer maps the file and updates it with atomic stores: no system call,
//! so it works on a full disk and costs a few nanoseconds. Readers read the file
//! in one go; they need no permission but to read, take no lock and wait for
//! nobody.
//!
//! # Layout (version 1)
//! 512 little-endian unsigned 64-bit words; [`Word`] names each with its unit,
//! in one table. Fields that belong together (the sequence numbers, what the
//! writer is doing, the last error) are guarded by a sequence lock in
//! [`Word::Sequence`]: odd while they change. Three rings hold counts by time;
//! a slot is `stamp << 32 | count`, where the stamp is the second (or minute)
//! since 1970, so that an old slot is never mistaken for a new one.

mod snapshot;
mod words;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::MmapRaw;

use super::security::SecurityKind;
use crate::clock::Timestamp;
use crate::fsio::{self, OpenMode};

pub use snapshot::StatusSnapshot;
pub use words::{
    Activity, Damage, DiskStage, Mode, RetentionWait, Ring, SYNC_BUCKETS_MICROS, Word, WriterState,
};

/// Size of the page in bytes.
pub const PAGE_BYTES: usize = 4096;
const WORDS: usize = PAGE_BYTES / 8;
const MAGIC: u64 = u64::from_le_bytes(*b"AUDSTAT1");
/// Slots of each ring.
pub const RING_SLOTS: usize = 64;

/// Why the status page cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It cannot be opened, made or mapped.
    #[error("status page {path}: {source}")]
    Io {
        /// The page's file.
        path: std::path::PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// It is not a status page, or of another version.
    #[error(
        "status page {path} is not one of version 1 ({reason}); is another version of auditctl running?"
    )]
    Format {
        /// The page's file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The writer's side of the page.
#[derive(Debug)]
pub struct StatusPage {
    map: MmapRaw,
    /// Serialises changes of the guarded words; held for nanoseconds.
    guard: Mutex<()>,
}

impl StatusPage {
    /// Makes (or takes over) the page: all words zero but the rings of an
    /// earlier valid page, so that the last hour survives a restart.
    ///
    /// # Errors
    /// When the file cannot be made, extended or mapped.
    pub fn create(path: &Path) -> Result<Self, StatusError> {
        let failed = |source| StatusError::Io { path: path.to_path_buf(), source };
        let earlier = StatusSnapshot::read(path).ok();
        fsio::unshare(&fsio::OsFs, path).map_err(failed)?;
        let file = fsio::os::open_file(path, OpenMode::Create).map_err(failed)?;
        preallocate(&file).map_err(failed)?;
        let map = MmapRaw::map_raw(&file).map_err(failed)?;
        if map.len() < PAGE_BYTES {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let page = Self { map, guard: Mutex::new(()) };
        page.set(Word::Magic, 0);
        for index in 1..WORDS {
            page.word(index).store(0, Ordering::Relaxed);
        }
        if let Some(earlier) = earlier {
            for index in Word::EventRing as usize..Word::SecurityRing as usize + RING_SLOTS {
                page.word(index).store(earlier.words[index], Ordering::Relaxed);
            }
        }
        page.word(Word::Magic as usize).store(MAGIC, Ordering::Release);
        Ok(page)
    }

    #[allow(unsafe_code)]
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "the page has 512 words");
        // SAFETY: the mapping is at least PAGE_BYTES long (checked in `create`),
        // page-aligned, lives as long as `self`, and is only ever accessed through
        // atomics in this process; `index` is in bounds.
        unsafe { &*self.map.as_mut_ptr().cast::<AtomicU64>().add(index) }
    }

    /// The value of a word.
    #[must_use]
    pub fn get(&self, word: Word) -> u64 {
        u64::from_le(self.word(word as usize).load(Ordering::Relaxed))
    }

    /// Sets a word.
    pub fn set(&self, word: Word, value: u64) {
        self.word(word as usize).store(value.to_le(), Ordering::Relaxed);
    }

    /// A signed head elsewhere, over `size` records, does not fit the log; `history`
    /// says what that means. Whether that is new. The gravest stays.
    pub fn tell_other_history(&self, history: u64, size: u64, now: Timestamp) -> bool {
        let known = self.get(Word::OtherHistory);
        if known > history || known == history && self.get(Word::OtherHistorySize) == size {
            return false;
        }
        self.set(Word::OtherHistorySize, size);
        self.set(Word::OtherHistoryAt, now.micros() as u64);
        self.set(Word::OtherHistory, history);
        true
    }

    /// Sets one word of a run, such as a histogram bucket.
    pub fn set_nth(&self, word: Word, nth: usize, value: u64) {
        self.word(word as usize + nth).store(value.to_le(), Ordering::Relaxed);
    }

    /// Adds to a counter; for words that several threads count in.
    pub fn add(&self, word: Word, by: u64) {
        self.add_index(word as usize, by);
    }

    /// Raises a word to at least `value`.
    pub fn raise(&self, word: Word, value: u64) {
        self.word(word as usize).fetch_max(value, Ordering::Relaxed);
    }

    fn add_index(&self, index: usize, by: u64) {
        self.word(index).fetch_add(by, Ordering::Relaxed);
    }

    /// Changes guarded words together: a reader sees all of the change or none.
    pub fn together(&self, change: impl FnOnce(&Self)) {
        let _guard = self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sequence = self.word(Word::Sequence as usize);
        sequence.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        change(self);
        fence(Ordering::Release);
        sequence.fetch_add(1, Ordering::Release);
    }

    /// Says what the writer is doing from now on.
    pub fn activity(&self, activity: Activity, boot_ms: u64) {
        self.together(|page| {
            page.set(Word::Activity, activity as u64);
            page.set(Word::ActivitySinceBootMs, boot_ms);
        });
    }

    /// Notes an error of the writer.
    pub fn error(&self, error: &io::Error, activity: Activity, at: Timestamp) {
        self.together(|page| {
            page.set(Word::LastErrno, error.raw_os_error().unwrap_or(5).unsigned_abs().into());
            page.set(Word::LastErrorAt, at.micros() as u64);
            page.set(Word::LastErrorActivity, activity as u64);
        });
    }

    /// Sets the writer's state, and since when if it changed.
    pub fn state(&self, state: WriterState, at: Timestamp) {
        if self.get(Word::State) != state as u64 {
            self.set(Word::StateSince, at.micros() as u64);
            self.set(Word::State, state as u64);
        }
    }

    /// Counts in a ring.
    pub fn count(&self, ring: Ring, at: Timestamp, by: u64) {
        let stamp = ring.stamp(at);
        let slot = self.word(ring.base() + (stamp as usize % RING_SLOTS));
        let by = by.min(u64::from(u32::MAX));
        // Cannot fail: the closure always returns Some.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let old = u64::from_le(old);
            let count = if old >> 32 == stamp { old & 0xffff_ffff } else { 0 };
            Some((stamp << 32 | (count + by).min(0xffff_ffff)).to_le())
        });
    }

    /// Counts a security event, in total and by time.
    pub fn count_security(&self, kind: SecurityKind, at: Timestamp) {
        let index = SecurityKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        self.add_index(Word::SecurityCounts as usize + index, 1);
        let ring = match kind {
            SecurityKind::Validation => Ring::Validation,
            SecurityKind::RateLimited => Ring::Blocked,
            _ => Ring::Security,
        };
        self.count(ring, at, 1);
    }

    /// Counts a sync and how long it took.
    pub fn sync_took(&self, micros: u64) {
        self.add(Word::Syncs, 1);
        self.add(Word::SyncMicrosSum, micros);
        self.raise(Word::SyncMicrosMax, micros);
        let bucket = SYNC_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.add_index(Word::SyncHistogram as usize + bucket, 1);
    }

    /// Names the most refused source.
    pub fn top_blocked(&self, source: &str, count: u64) {
        let mut bytes = [0u8; 256];
        let mut len = source.len().min(256);
        while !source.is_char_boundary(len) {
            len -= 1;
        }
        bytes[..len].copy_from_slice(&source.as_bytes()[..len]);
        self.together(|page| {
            page.set(Word::TopBlockedCount, count);
            for (nth, chunk) in bytes.chunks_exact(8).enumerate() {
                let mut word = [0; 8];
                word.copy_from_slice(chunk);
                page.set_nth(Word::TopBlockedSource, nth, u64::from_le_bytes(word));
            }
        });
    }
}

fn preallocate(file: &File) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let len = file.metadata()?.len() as usize;
    if len < PAGE_BYTES {
        // Real zeros, not a hole: a store to the mapping must never need space.
        file.write_all_at(&vec![0; PAGE_BYTES - len], len as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> (tempfile::TempDir, std::path::PathBuf, StatusPage) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.status");
        let page = StatusPage::create(&path).expect("page");
        (directory, path, page)
    }

    #[test]
    fn another_reader_sees_what_the_writer_stored() {
        let (_directory, path, page) = page();
        page.set(Word::NextSeq, 42);
        page.activity(Activity::Syncing, 7);
        page.top_blocked("käse", 3);
        let seen = StatusSnapshot::read(&path).expect("read");
        assert_eq!(seen.get(Word::NextSeq), 42);
        assert_eq!(seen.activity(), Some(Activity::Syncing));
        assert_eq!(seen.top_blocked(), Some(("käse".to_owned(), 3)));
    }

    #[test]
    fn rings_forget_what_is_older_than_their_span_and_survive_a_restart() {
        let (_directory, path, page) = page();
        let start = Timestamp::from_micros(1_770_000_000_000_000);
        let at = |seconds: i64| Timestamp::from_micros(start.micros() + seconds * 1_000_000);
        page.count(Ring::Events, at(0), 5);
        page.count(Ring::Events, at(1), 7);
        page.count(Ring::Events, at(1), 1);
        page.count_security(SecurityKind::Validation, at(0));
        drop(page);
        let again = StatusPage::create(&path).expect("page");
        again.count(Ring::Events, at(64), 2);
        let seen = StatusSnapshot::read(&path).expect("read");
        assert_eq!(seen.recent(Ring::Events, at(10)), 13 - 5, "slot 0 was taken over by second 64");
        assert_eq!(
            seen.recent(Ring::Events, at(64)),
            2,
            "the second-1 slot is older than a minute"
        );
        assert_eq!(seen.recent(Ring::Validation, at(59 * 60)), 1);
        assert_eq!(seen.recent(Ring::Validation, at(61 * 60 + 60)), 0);
    }

    #[test]
    fn sync_times_land_in_their_bucket() {
        let (_directory, path, page) = page();
        for micros in [50, 100, 101, 9_000_000] {
            page.sync_took(micros);
        }
        let seen = StatusSnapshot::read(&path).expect("read");
        assert_eq!(seen.nth(Word::SyncHistogram, 0), 2);
        assert_eq!(seen.nth(Word::SyncHistogram, 1), 1);
        assert_eq!(seen.nth(Word::SyncHistogram, 15), 1);
        assert_eq!(seen.get(Word::SyncMicrosMax), 9_000_000);
    }

    #[test]
    fn the_fields_do_not_overlap_and_fit_the_page() {
        let length = |word: Word| match word {
            Word::SecurityCounts | Word::SyncHistogram => 16,
            Word::TopBlockedSource => 32,
            Word::EventRing | Word::BlockedRing | Word::ValidationRing | Word::SecurityRing => 64,
            _ => 1,
        };
        let mut used = vec![false; WORDS];
        for (word, name, doc) in Word::TABLE {
            assert!(!doc.is_empty());
            for slot in used.iter_mut().skip(*word as usize).take(length(*word)) {
                assert!(!std::mem::replace(slot, true), "{name} overlaps");
            }
        }
        assert!(SecurityKind::ALL.len() <= 16);
    }

    #[test]
    fn a_file_that_is_no_page_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.status");
        std::fs::write(&path, b"short").expect("write");
        assert!(matches!(StatusSnapshot::read(&path), Err(StatusError::Format { .. })));
        std::fs::write(&path, [7; PAGE_BYTES]).expect("write");
        assert!(matches!(StatusSnapshot::read(&path), Err(StatusError::Format { .. })));
    }
}
