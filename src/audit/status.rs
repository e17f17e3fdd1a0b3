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

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::MmapRaw;

use super::security::SecurityKind;
use crate::clock::Timestamp;
use crate::fsio::{self, OpenMode};

/// Size of the page in bytes.
pub const PAGE_BYTES: usize = 4096;
const WORDS: usize = PAGE_BYTES / 8;
const MAGIC: u64 = u64::from_le_bytes(*b"AUDSTAT1");
/// Slots of each ring.
pub const RING_SLOTS: usize = 64;

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $index:literal),+ $(,)?) => {
        /// The words of the page, by index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Word { $($(#[doc = $doc])+ $name = $index),+ }

        impl Word {
            /// Every word with its name and what it means, for the format's documentation.
            pub const TABLE: &'static [(Word, &'static str, &'static str)] =
                &[$((Word::$name, stringify!($name), concat!($($doc),+))),+];
        }
    };
}

words! {
    /// `AUDSTAT1`, little-endian; written last when the page is made.
    Magic = 0,
    /// Sequence lock: odd while guarded words change.
    Sequence = 1,
    /// The writer's process.
    Pid = 2,
    /// How the log was opened: 1 library, 2 collector, 3 `record` without a collector.
    Mode = 3,
    /// When the log was opened: µs since 1970.
    StartedAt = 4,
    /// The same on the boot clock: ms since boot.
    StartedBootMs = 5,
    /// First 8 bytes of the kernel's boot id: tells pages of an earlier boot.
    BootId = 6,
    /// The writer thread's last sign of life: ms since boot; every 250 ms even when idle.
    HeartbeatBootMs = 7,
    /// The same on the wall clock: µs since 1970.
    HeartbeatAt = 8,
    /// What the writer is in the middle of: [`Activity`]. Guarded.
    Activity = 9,
    /// Since when: ms since boot. Guarded.
    ActivitySinceBootMs = 10,
    /// [`WriterState`].
    State = 11,
    /// Since when: µs since 1970.
    StateSince = 12,
    /// The seq that the next accepted event gets.
    NextSeq = 13,
    /// Records below this seq are durable. Guarded.
    DurableSeq = 14,
    /// Records below this seq have been handed to the operating system. Guarded.
    WrittenSeq = 15,
    /// Tree size of the newest signed checkpoint.
    CheckpointSize = 16,
    /// When it was signed: µs since 1970.
    CheckpointAt = 17,
    /// Write buffer: events accepted and not yet settled (durable; with interval
    /// durability: written).
    BufferEvents = 18,
    /// Write buffer: bytes of the same.
    BufferBytes = 19,
    /// Write buffer: capacity in events.
    CapacityEvents = 20,
    /// Write buffer: capacity in bytes.
    CapacityBytes = 21,
    /// When the oldest waiting event was accepted: µs since 1970; 0 when none waits.
    OldestWaitingAt = 22,
    /// Events accepted since the log was opened.
    Accepted = 23,
    /// Events made durable since the log was opened.
    Durable = 24,
    /// Events refused as invalid.
    Invalid = 25,
    /// Events refused by the rate limiter.
    RateLimited = 26,
    /// Events refused because the write buffer was full.
    Busy = 27,
    /// Events refused because the disk was full or the log could not be written.
    Unavailable = 28,
    /// Batches flushed.
    Flushes = 29,
    /// Syncs done.
    Syncs = 30,
    /// Time in fdatasync, summed: µs.
    SyncMicrosSum = 31,
    /// Longest fdatasync: µs.
    SyncMicrosMax = 32,
    /// Last error of the writer: errno, 0 when none was met. Guarded.
    LastErrno = 33,
    /// When: µs since 1970. Guarded.
    LastErrorAt = 34,
    /// In what: [`Activity`]. Guarded.
    LastErrorActivity = 35,
    /// Failed writes.
    WriteErrors = 36,
    /// Failed syncs.
    SyncErrors = 37,
    /// Bytes of the active segment.
    ActiveBytes = 38,
    /// Bytes of all segments as stored.
    LogBytes = 39,
    /// Sealed segments.
    Segments = 40,
    /// Inode of the active segment's file.
    ActiveInode = 41,
    /// Query cache: entries.
    CacheEntries = 42,
    /// Query cache: capacity in entries.
    CacheCapacity = 43,
    /// Query cache: hits.
    CacheHits = 44,
    /// Query cache: misses.
    CacheMisses = 45,
    /// Query cache: evictions.
    CacheEvictions = 46,
    /// Query cache: bytes.
    CacheBytes = 47,
    /// Sources seen by the rate limiter in the last minute.
    ActiveSources = 48,
    /// Refusals of the most refused source.
    TopBlockedCount = 49,
    /// [`DiskStage`].
    DiskStage = 50,
    /// Free bytes at the last look.
    DiskAvailable = 51,
    /// Size of the file system in bytes.
    DiskTotal = 52,
    /// Damage known to the writer: 0 none, else [`Damage`].
    Damage = 53,
    /// Segments waiting to be compressed.
    CompressBacklog = 54,
    /// Failures of the background work (compression, manifest, retention).
    MaintenanceErrors = 55,
    /// When the last event was accepted: µs since 1970.
    LastEventAt = 56,
    /// Clean close: µs since 1970, 0 while open. The page's last word.
    ClosedAt = 57,
    /// Times the log file was found deleted, replaced or truncated.
    LogFileIncidents = 58,
    /// First seq of the active segment.
    ActiveFirstSeq = 59,
    /// Whether acknowledged means durable: 1 commit, 2 interval.
    Durability = 60,
    /// Records lost that had been acknowledged (see the `audit.gap` records).
    LostRecords = 61,
    /// Connections open at the collector.
    Connections = 62,
    /// Connections refused by the collector.
    ConnectionsRefused = 63,
    /// Security events by kind, 16 words in the order of `SecurityKind::ALL`.
    SecurityCounts = 64,
    /// Sync time histogram, 16 words: syncs that took at most
    /// [`SYNC_BUCKETS_MICROS`], not cumulative; the last is the rest.
    SyncHistogram = 80,
    /// Name of the most refused source: 32 words, NUL-padded UTF-8. Guarded.
    TopBlockedSource = 96,
    /// Ring: events accepted by second, 64 words.
    EventRing = 128,
    /// Ring: events refused by the rate limiter, by minute, 64 words.
    BlockedRing = 192,
    /// Ring: validation errors by minute, 64 words.
    ValidationRing = 256,
    /// Ring: other security events by minute, 64 words.
    SecurityRing = 320,
    /// When the damage was noticed: µs since 1970.
    DamageAt = 384,
    /// Bytes written to the log since it was opened, before compression.
    BytesWritten = 385,
    /// Bytes of the sealed segments before compression.
    SealedRawBytes = 386,
}

/// Upper bounds of the sync histogram's buckets, in µs.
pub const SYNC_BUCKETS_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $code:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u64)]
        pub enum $name { $($(#[doc = $doc])+ $variant = $code),+ }

        impl $name {
            /// From the page's word; an unknown code (a newer writer) is `None`.
            #[must_use]
            pub fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// For people.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// What the writer thread is in the middle of.
    Activity {
        /// Waiting for events.
        Idle = 0 => "idle",
        /// Encoding and hashing a batch.
        Encoding = 1 => "encoding",
        /// In `write`.
        Writing = 2 => "write",
        /// In `fdatasync`.
        Syncing = 3 => "fdatasync",
        /// Sealing the active segment.
        Sealing = 4 => "sealing the segment",
        /// Writing a checkpoint.
        Checkpoint = 5 => "writing the checkpoint",
        /// Looking at the log file and the disk.
        Checking = 6 => "checking the log file",
        /// Opening the log.
        Opening = 7 => "opening the log",
        /// Closing the log.
        Closing = 8 => "closing the log",
        /// Waiting to try a failed operation again.
        Retrying = 9 => "waiting to try again",
    }
}

codes! {
    /// How the writer is.
    WriterState {
        /// Being opened.
        Starting = 0 => "starting",
        /// Writing.
        Running = 1 => "running",
        /// Writes fail; accepted events are kept and tried again.
        Failing = 2 => "write failing",
        /// The disk is full; new events are refused.
        DiskFull = 3 => "disk full",
        /// The writer thread died; nothing is accepted.
        Poisoned = 4 => "writer failed",
        /// Closed cleanly.
        Closed = 5 => "closed",
    }
}

codes! {
    /// How much space is left.
    DiskStage {
        /// Enough.
        Ok = 0 => "ok",
        /// Below the warning threshold.
        Warn = 1 => "low",
        /// Below the critical threshold.
        Critical = 2 => "critical",
        /// Full: the reserve has been given up, new events are refused.
        Full = 3 => "full",
    }
}

codes! {
    /// Damage known to the writer.
    Damage {
        /// A log file was deleted or replaced; its records were written anew.
        FileReplaced = 1 => "the log file was deleted or replaced while open; its records were saved",
        /// A log file was truncated while open: records are missing.
        FileTruncated = 2 => "the log file was truncated while open; records are missing",
        /// The log was opened over corruption with `--accept-corruption`.
        CorruptionAccepted = 3 => "the log continues after accepted corruption",
        /// The log directory is gone.
        DirectoryGone = 4 => "the log directory was deleted",
        /// A sealed segment is missing or does not fit the manifest.
        SegmentDamaged = 5 => "a sealed segment is missing or damaged",
    }
}

/// How the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Mode {
    /// Embedded in a service.
    Library = 1,
    /// `auditctl serve`.
    Collector = 2,
    /// `auditctl record` without a collector.
    Record = 3,
}

impl Mode {
    /// As records and health name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Collector => "collector",
            Self::Record => "record",
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::Library, Self::Collector, Self::Record].into_iter().find(|m| *m as u64 == code)
    }
}

/// Which ring a security event is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// By second: accepted events.
    Events,
    /// By minute: refused by the rate limiter.
    Blocked,
    /// By minute: validation errors.
    Validation,
    /// By minute: other security events.
    Security,
}

impl Ring {
    fn base(self) -> usize {
        match self {
            Self::Events => Word::EventRing as usize,
            Self::Blocked => Word::BlockedRing as usize,
            Self::Validation => Word::ValidationRing as usize,
            Self::Security => Word::SecurityRing as usize,
        }
    }

    fn stamp(self, at: Timestamp) -> u64 {
        let seconds = at.unix_seconds().max(0) as u64;
        if self == Self::Events { seconds } else { seconds / 60 }
    }
}

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

/// What a reader sees: the words at one moment.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    words: Box<[u64; WORDS]>,
}

impl StatusSnapshot {
    /// Reads the page; takes microseconds whatever the log's size.
    ///
    /// # Errors
    /// [`StatusError::Io`] when it cannot be read (`NotFound`: no log here),
    /// [`StatusError::Format`] when it is no status page of this version.
    pub fn read(path: &Path) -> Result<Self, StatusError> {
        use std::os::unix::fs::FileExt;
        let failed = |source| StatusError::Io { path: path.to_path_buf(), source };
        let format = |reason| StatusError::Format { path: path.to_path_buf(), reason };
        let file = fsio::os::open_file(path, OpenMode::Read).map_err(failed)?;
        let mut bytes = [0u8; PAGE_BYTES];
        let mut last = None;
        // A change of the guarded words takes nanoseconds; a writer stopped in
        // the middle of one (SIGSTOP) leaves it odd, and its page is taken as it is.
        for _ in 0..100 {
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(format("shorter than 4096 bytes"));
                }
                Err(error) => return Err(failed(error)),
            }
            let mut after = [0u8; 16];
            file.read_exact_at(&mut after, 0).map_err(failed)?;
            let snapshot = Self::from_bytes(&bytes);
            let sequence = snapshot.get(Word::Sequence);
            let steady = sequence % 2 == 0 && after[8..] == sequence.to_le_bytes();
            last = Some(snapshot);
            if steady {
                break;
            }
            std::hint::spin_loop();
        }
        match last {
            Some(snapshot) if snapshot.get(Word::Magic) == MAGIC => Ok(snapshot),
            _ => Err(format("no AUDSTAT1 mark")),
        }
    }

    fn from_bytes(bytes: &[u8; PAGE_BYTES]) -> Self {
        let mut words = Box::new([0; WORDS]);
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        Self { words }
    }

    /// The value of a word.
    #[must_use]
    pub fn get(&self, word: Word) -> u64 {
        self.words[word as usize]
    }

    /// One word of a run, such as a histogram bucket.
    #[must_use]
    pub fn nth(&self, word: Word, nth: usize) -> u64 {
        self.words.get(word as usize + nth).copied().unwrap_or(0)
    }

    /// A word that holds a time; `None` when it is 0.
    #[must_use]
    pub fn time(&self, word: Word) -> Option<Timestamp> {
        match self.get(word) {
            0 => None,
            micros => Some(Timestamp::from_micros(micros as i64)),
        }
    }

    /// What the writer was doing.
    #[must_use]
    pub fn activity(&self) -> Option<Activity> {
        Activity::from_code(self.get(Word::Activity))
    }

    /// How the writer was.
    #[must_use]
    pub fn state(&self) -> Option<WriterState> {
        WriterState::from_code(self.get(Word::State))
    }

    /// How much space was left.
    #[must_use]
    pub fn disk_stage(&self) -> Option<DiskStage> {
        DiskStage::from_code(self.get(Word::DiskStage))
    }

    /// Damage known to the writer.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        Damage::from_code(self.get(Word::Damage))
    }

    /// How the log was opened.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        Mode::from_code(self.get(Word::Mode))
    }

    /// Security events of a kind since the log was opened.
    #[must_use]
    pub fn security(&self, kind: SecurityKind) -> u64 {
        let index = SecurityKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        self.nth(Word::SecurityCounts, index)
    }

    /// The most refused source and its refusals, if any was refused.
    #[must_use]
    pub fn top_blocked(&self) -> Option<(String, u64)> {
        let count = self.get(Word::TopBlockedCount);
        let bytes: Vec<u8> = (0..32)
            .flat_map(|nth| self.nth(Word::TopBlockedSource, nth).to_le_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        (count > 0).then(|| (String::from_utf8_lossy(&bytes).into_owned(), count))
    }

    /// Counts of a ring for the last `slots` (at most 60) whole slots and the
    /// current one, oldest first.
    #[must_use]
    pub fn ring(&self, ring: Ring, now: Timestamp, slots: usize) -> Vec<u64> {
        let current = ring.stamp(now);
        let slots = slots.min(RING_SLOTS - 4) as u64;
        (current.saturating_sub(slots)..=current)
            .map(|stamp| {
                let slot = self.words[ring.base() + (stamp as usize % RING_SLOTS)];
                if slot >> 32 == stamp & 0xffff_ffff { slot & 0xffff_ffff } else { 0 }
            })
            .collect()
    }

    /// Sum of a ring over the last hour (minute rings) or minute (event ring).
    #[must_use]
    pub fn recent(&self, ring: Ring, now: Timestamp) -> u64 {
        self.ring(ring, now, 60).iter().sum()
    }
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
