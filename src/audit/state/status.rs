//! The status page: `audit.status`, 4 KiB, how any process learns the state of
//! the running writer without asking it.
//!
//! The page lives in the writer's own memory, where keeping it costs a few
//! nanoseconds a change. From there it is *published*: the file is overwritten
//! with the whole page. The writer publishes what a reader must not miss before
//! it goes on ([`StatusPage::publish`]); a thread of its own publishes everything
//! else within 10 ms, so that a writer that hangs is still seen.
//! Readers read the file in one go; they need no permission but to read, take no
//! lock and wait for nobody. The file is not mapped: a store into a mapping whose
//! file is cut, or whose file system is full, ends the process.
//!
//! # Layout (version 1)
//! 512 little-endian unsigned 64-bit words; [`Word`] names each with its unit,
//! in one table. The last one is a checksum of the others, so that a page that is
//! read while it is being written is not taken for one. Rings hold counts
//! by time; a slot is `stamp << 32 | count`, where the stamp is the second (or minute,
//! or five minutes) since 1970, so that an old slot is never mistaken for a new one.

mod publisher;
mod snapshot;
/// The system's number; EACCES where more was made of it than that, EIO where it is not
/// known.
fn errno(error: &io::Error) -> i32 {
    let known = || if error.kind() == io::ErrorKind::PermissionDenied { 13 } else { 5 };
    error.raw_os_error().unwrap_or_else(known)
}

#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use super::security::{By, SecurityKind};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::fsio::fixed::{Changed, FixedFile};
use crate::fsio::{Fs, OsFs};

pub use publisher::Incident;
pub(crate) use publisher::Publisher;
pub use snapshot::{StatusSnapshot, TopBlocked};
pub use words::{
    Activity, Damage, DiskStage, Mode, RetentionMode, RetentionWait, Ring, SYNC_BUCKETS_MICROS,
    Word, WriterState,
};

/// Size of the page in bytes.
pub const PAGE_BYTES: usize = 4096;
const WORDS: usize = PAGE_BYTES / 8;
const MAGIC: u64 = u64::from_le_bytes(*b"AUDSTAT1");
/// Slots of each ring but [`Ring::Strangers`].
pub const RING_SLOTS: usize = 64;

/// Why the status page cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It cannot be opened or made.
    #[error("status page {path}: {source}")]
    Io {
        /// The page's file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// A newer version of auditctl writes it.
    #[error(
        "status page {path} is of version {found}, and this version of auditctl reads version 1; \
         a newer version made it; use that version"
    )]
    Newer {
        /// The page's file.
        path: PathBuf,
        /// Its version.
        found: char,
    },
    /// It is not a status page.
    #[error("{path} is no status page: {reason}")]
    Format {
        /// The page's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

type Words = [u64; WORDS];

/// The writer's side of the page.
#[derive(Debug)]
pub struct StatusPage {
    path: PathBuf,
    words: Box<[AtomicU64; WORDS]>,
    /// Serialises changes of the guarded words; held for nanoseconds.
    guard: Mutex<()>,
    /// The file, and what is in it. Held while the file is written.
    file: Mutex<Published>,
    /// `NextSeq` as it was published last.
    published_seq: AtomicU64,
    publisher: OnceLock<Thread>,
    /// The publisher sleeps, and the next change is to wake it.
    asleep: AtomicBool,
    ended: AtomicBool,
    incidents: Mutex<Vec<Incident>>,
}

#[derive(Debug)]
struct Published {
    file: FixedFile,
    words: Box<Words>,
    /// The last attempt to write it failed: said once.
    failing: bool,
    /// The last attempt to put it back failed: said once.
    homeless: bool,
}

impl StatusPage {
    /// Makes (or takes over) the page: all words zero but the rings of an
    /// earlier valid page, so that the last hour survives a restart. What else
    /// stands in the file's place is replaced; a directory is set aside.
    ///
    /// # Errors
    /// When the file can neither be taken over nor made.
    pub fn create(path: &Path) -> Result<Self, StatusError> {
        Self::create_with(path, &[])
    }

    /// The same with some words set from the first moment on.
    pub(crate) fn create_with(path: &Path, begin: &[(Word, u64)]) -> Result<Self, StatusError> {
        let failed = |source| StatusError::Io { path: path.to_path_buf(), source };
        let mut words = Box::new([0; WORDS]);
        if let Ok(earlier) = StatusSnapshot::read(path) {
            for ring in Ring::ALL {
                let ring = ring.base()..ring.base() + ring.slots();
                words[ring.clone()].copy_from_slice(&earlier.words[ring]);
            }
        }
        words[Word::Magic as usize] = MAGIC;
        for (word, value) in begin {
            words[*word as usize] = *value;
        }
        let file = FixedFile::open(path, &encode(&mut words), &aside(path)).map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            words: Box::new(std::array::from_fn(|index| AtomicU64::new(words[index]))),
            guard: Mutex::new(()),
            file: Mutex::new(Published { file, words, failing: false, homeless: false }),
            published_seq: AtomicU64::new(0),
            publisher: OnceLock::new(),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            incidents: Mutex::default(),
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.words[index]
    }

    /// The value of a word.
    #[must_use]
    pub fn get(&self, word: Word) -> u64 {
        self.word(word as usize).load(Ordering::Relaxed)
    }

    /// The page as it is now, in memory.
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        StatusSnapshot { words: self.copy() }
    }

    /// Guarded words are all from before a change, or all from after it.
    fn copy(&self) -> Box<Words> {
        let _guard = locked(&self.guard);
        Box::new(std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed)))
    }

    /// Sets a word.
    pub fn set(&self, word: Word, value: u64) {
        self.set_index(word as usize, value);
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
        self.set_index(word as usize + nth, value);
    }

    fn set_index(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
        self.changed();
    }

    /// Adds to a counter; for words that several threads count in.
    pub fn add(&self, word: Word, by: u64) {
        self.add_index(word as usize, by);
    }

    /// Raises a word to at least `value`.
    pub fn raise(&self, word: Word, value: u64) {
        self.word(word as usize).fetch_max(value, Ordering::SeqCst);
        self.changed();
    }

    fn add_index(&self, index: usize, by: u64) {
        self.word(index).fetch_add(by, Ordering::SeqCst);
        self.changed();
    }

    /// Changes guarded words together: a reader sees all of the change or none.
    pub fn together(&self, change: impl FnOnce(&Self)) {
        let _guard = locked(&self.guard);
        change(self);
    }

    /// Says what the writer is doing from now on.
    pub fn activity(&self, activity: Activity, boot_ms: u64) {
        self.together(|page| {
            page.set(Word::Activity, activity as u64);
            page.set(Word::ActivitySinceBootMs, boot_ms);
        });
    }

    /// Notes an error of the writer, and publishes it.
    pub fn error(&self, error: &io::Error, activity: Activity, at: Timestamp) {
        self.together(|page| {
            page.set(Word::LastErrno, errno(error).unsigned_abs().into());
            page.set(Word::LastErrorAt, at.micros() as u64);
            page.set(Word::LastErrorActivity, activity as u64);
        });
        self.publish();
    }

    /// Sets the writer's state, and since when if it changed, and publishes it.
    pub fn state(&self, state: WriterState, at: Timestamp) {
        if self.get(Word::State) != state as u64 {
            self.together(|page| {
                page.set(Word::StateSince, at.micros() as u64);
                page.set(Word::State, state as u64);
            });
            self.publish();
        }
    }

    /// Notes damage, and publishes it.
    pub fn damage(&self, damage: Damage, at: Timestamp) {
        self.together(|page| {
            page.set(Word::Damage, damage as u64);
            page.set(Word::DamageAt, at.micros() as u64);
        });
        self.publish();
    }

    /// Counts in a ring.
    pub fn count(&self, ring: Ring, at: Timestamp, by: u64) {
        let stamp = ring.stamp(at);
        let slot = self.word(ring.base() + (stamp as usize % ring.slots()));
        let by = by.min(u64::from(u32::MAX));
        // Cannot fail: the closure always returns Some.
        let _ = slot.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |old| {
            let count = if old >> 32 == stamp { old & 0xffff_ffff } else { 0 };
            Some(stamp << 32 | (count + by).min(0xffff_ffff))
        });
        self.changed();
    }

    /// Counts a security event, in total and by time.
    pub fn count_security(&self, kind: SecurityKind, by: By, at: Timestamp) {
        let index = SecurityKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        self.add_index(Word::SecurityCounts as usize + index, 1);
        let ring = match (by, kind) {
            (By::Stranger, _) => Ring::Strangers,
            (By::Known, SecurityKind::Validation) => Ring::Validation,
            (By::Known, SecurityKind::RateLimited) => Ring::Blocked,
            (By::Known, _) => Ring::Security,
        };
        self.count(ring, at, 1);
    }

    /// Counts a refusal of the rate limiter, which is to be recorded.
    pub fn refused(&self, sender: Option<&str>, source: &str, at: Timestamp) {
        self.add(Word::RateLimited, 1);
        self.add(Word::RefusalsToRecord, 1);
        let at = at.micros() as u64;
        // Stays that of an earlier one that is not recorded either.
        let first = self.word(Word::RefusalsFirstAt as usize);
        let _ = first.compare_exchange(0, at, Ordering::SeqCst, Ordering::Relaxed);
        self.set(Word::RefusalsLastAt, at);
        if self.get(Word::TopBlockedCount) == 0 {
            self.top_blocked(sender, source, 1);
        }
    }

    /// So many refusals are in records that end before `end_seq`, and published
    /// before any of these can be in the log: should this process be killed, the
    /// next one knows whether to record them. Records below `durable_seq` are safe.
    pub(crate) fn refusals_recorded(&self, refused: u64, end_seq: u64, durable_seq: u64) {
        self.together(|page| {
            let recorded = page.get(Word::RefusalsRecorded);
            if page.get(Word::RefusalsRecordedSeq) <= durable_seq {
                page.set(Word::RefusalsRecordedBefore, recorded);
            }
            page.set(Word::RefusalsRecorded, recorded + refused);
            page.set(Word::RefusalsRecordedSeq, end_seq);
        });
        if self.get(Word::RefusalsRecorded) >= self.get(Word::RefusalsToRecord) {
            self.set(Word::RefusalsFirstAt, 0);
        }
        self.publish();
    }

    /// Counts a sync and how long it took.
    pub fn sync_took(&self, micros: u64) {
        self.add(Word::Syncs, 1);
        self.add(Word::SyncMicrosSum, micros);
        self.raise(Word::SyncMicrosMax, micros);
        let bucket = SYNC_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.add_index(Word::SyncHistogram as usize + bucket, 1);
    }

    /// Names the most refused source, and who sent it where there is room for both.
    pub fn top_blocked(&self, sender: Option<&str>, source: &str, count: u64) {
        let mut bytes = [0u8; 256];
        let mut len = source.len().min(256);
        while !source.is_char_boundary(len) {
            len -= 1;
        }
        bytes[..len].copy_from_slice(&source.as_bytes()[..len]);
        if let Some(sender) = sender
            && let Some(room) = bytes.get_mut(len + 1..len + 1 + sender.len())
        {
            room.copy_from_slice(sender.as_bytes());
        }
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks leaves anything half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The page as the file has it; counts the publication and sets the checksum.
fn encode(words: &mut Words) -> [u8; PAGE_BYTES] {
    words[Word::Published as usize] += 1;
    let mut bytes = [0; PAGE_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(&*words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let sum = checksum(&bytes);
    words[Word::Checksum as usize] = sum;
    bytes[PAGE_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// CRC-32 (ISO-HDLC, as gzip has it) of everything before the last word.
fn checksum(bytes: &[u8; PAGE_BYTES]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes[..PAGE_BYTES - 8])
}

/// Where a directory goes that stands in the page's place.
fn aside(path: &Path) -> PathBuf {
    let stamp = SystemClock.now().file_stamp();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (0_u32..)
        .map(|n| match n {
            0 => path.with_file_name(format!("{name}.foreign-{stamp}")),
            n => path.with_file_name(format!("{name}.foreign-{stamp}.{n}")),
        })
        .find(|aside| OsFs.entry(aside).is_err())
        .unwrap_or_else(|| path.to_path_buf())
}
