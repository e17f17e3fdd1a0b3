//! The words of the page, and the codes in some of them.

use crate::clock::Timestamp;

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
    /// `AUDSTAT1`, little-endian.
    Magic = 0,
    /// How often this page has been published.
    Published = 1,
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
    /// Events accepted since the log was opened, without the engine's own records.
    Accepted = 23,
    /// Records made durable since the log was opened, the engine's own among them.
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
    /// When the last event was accepted, by an earlier writer too: µs since 1970.
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
    /// Name of the most refused source and, after a NUL, who sent it: 32 words,
    /// NUL-padded UTF-8. Guarded.
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
    /// One after the last record that an opening adopted without a signature over
    /// it and that no backup is known to hold; 0 for none.
    AdoptedEnd = 390,
    /// Records that earlier epochs left behind and of which no copy seems to lie beside
    /// the log.
    LeftBehind = 391,
    /// HTTP requests refused: no token, or none that is valid.
    RequestsUnauthenticated = 400,
    /// HTTP requests refused: the token's role does not allow it, or the address
    /// is for local programs.
    RequestsForbidden = 401,
    /// HTTP requests refused: the token sends more of them than it may.
    RequestsRateLimited = 402,
    /// HTTP requests refused: too many without a valid token from one address.
    RequestsThrottled = 403,
    /// TLS handshakes that failed.
    TlsHandshakesFailed = 404,
    /// When the certificate in use expires: µs since 1970; 0 without TLS.
    TlsNotAfter = 405,
    /// HTTP requests refused that could not be understood or carried out: malformed, too
    /// large or too slow, no such path, not with this method, no such media type.
    RequestsRejected = 406,
    /// Times one of the program's own files, but for the log file, was found missing
    /// or replaced.
    OwnFileIncidents = 410,
    /// When the last of them was put back: µs since 1970.
    OwnFilePutBackAt = 411,
    /// Which were put back since about then: bit n for the nth of `OwnFile::ALL`.
    OwnFilesPutBack = 412,
    /// Which are not as they should be and could not be put back, the same way.
    OwnFilesGone = 413,
    /// Sealed segments that are missing, or are not the files that were sealed.
    SegmentsGone = 414,
    /// The first record of the first of them.
    SegmentsGoneFrom = 415,
    /// Refusals of the rate limiter that are to be recorded: those that an earlier
    /// writer died with, and all since the log was opened.
    RefusalsToRecord = 420,
    /// Of these, the ones for which an `audit.rate_limited` record was made.
    /// Guarded.
    RefusalsRecorded = 421,
    /// The same without the newest of these records. Guarded.
    RefusalsRecordedBefore = 422,
    /// One after the seq of the newest of these records; when the log ends before
    /// it, they were not written. Guarded.
    RefusalsRecordedSeq = 423,
    /// The first refusal that is not recorded yet: µs since 1970, 0 for none.
    RefusalsFirstAt = 424,
    /// The last refusal: µs since 1970.
    RefusalsLastAt = 425,
    /// A record that says that a backup was made, plus 1; 0 when none is known.
    BackupMade = 440,
    /// [`RetentionWait`].
    RetentionWait = 441,
    /// Sealed segments that retention keeps beyond their time.
    RetentionWaiting = 442,
    /// A signed head elsewhere does not fit the log: what that means
    /// (`audit::keys::histories::History`); 0 when none is known.
    OtherHistory = 443,
    /// How many records that head is over.
    OtherHistorySize = 444,
    /// When that was noticed: µs since 1970.
    OtherHistoryAt = 445,
    /// When retention last had a whole look: µs since 1970; 0 for never.
    RetentionLookedAt = 446,
    /// Requests, queries and lines refused because what others send and do not take
    /// filled the memory that `collector.max_memory` allows.
    RequestsWithoutRoom = 460,
    /// [`RetentionMode`].
    RetentionMode = 461,
    /// How many times the signing key was changed, by `audit.keys` as the writer has it.
    KeyChanges = 462,
    /// Ring: security events by who has shown no credentials, by five minutes, 16 words.
    StrangersRing = 464,
    /// Events that were recorded before, by their ids: answered with the seq of then.
    Duplicates = 480,
    /// Events refused because another event of the same sender has their id.
    IdConflicts = 481,
    /// Ids that are remembered.
    Ids = 482,
    /// Ids that may be remembered at most.
    IdsCapacity = 483,
    /// Ids that were forgotten before `dedupe_window` was over, because there were more than
    /// `dedupe_ids`.
    IdsCrowdedOut = 484,
    /// Records that the log's opening could not read, and that may have had ids which are to
    /// be remembered.
    IdsUnread = 485,
    /// CRC-32 (ISO-HDLC, as gzip has it) of the 4,088 bytes before.
    Checksum = 511,
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
        /// The log directory is gone, or another stands in its place.
        DirectoryGone = 4 => "the log directory was deleted or moved away",
        /// A sealed segment is missing or does not fit the manifest.
        SegmentDamaged = 5 => "a sealed segment is missing or damaged",
    }
}

codes! {
    /// Why retention keeps what is older than it has to be.
    RetentionWait {
        /// It does not.
        Nothing = 0 => "nothing waits",
        /// The log has been backed up, and no backup of it can be seen.
        BackupsGone = 1 => "the log has been backed up before, but no backup of it is visible now",
        /// There are backups, and none is proven to hold it.
        NotHeld = 2 => "no backup is proven to hold it",
        /// A backup is required, and nothing was given that could be asked for backups.
        NobodyToAsk = 3 => "a backup is required, but this program does not know where backups \
                            are",
        /// The clock is far ahead of the newest record, or jumped.
        ClockAhead = 4 => "the clock is more than a day ahead of the log's newest record",
        /// The oldest segment is not what was recorded.
        Damaged = 5 => "the oldest segment is missing or damaged",
        /// The log was never backed up.
        NeverBackedUp = 6 => "a backup is required, but this log was never backed up",
    }
}

codes! {
    /// What retention removes, as the log was opened.
    RetentionMode {
        /// Nothing: `retention_days = 0`.
        KeepsAll = 1 => "keeps everything",
        /// What a backup is proven to hold.
        HeldByBackup = 2 => "removes only what a backup is proven to hold",
        /// The same, and nobody can say what backups hold.
        NobodyToAsk = 3 => "keeps everything: no source of backups was named",
        /// Whatever is old enough.
        WithoutBackup = 4 => "removes what is old even if no backup holds it",
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

    pub(super) fn from_code(code: u64) -> Option<Self> {
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
    /// By five minutes: security events by who has shown no credentials.
    Strangers,
}

impl Ring {
    pub(super) const ALL: [Self; 5] =
        [Self::Events, Self::Blocked, Self::Validation, Self::Security, Self::Strangers];

    pub(super) fn slots(self) -> usize {
        match self {
            Self::Strangers => 16,
            _ => super::RING_SLOTS,
        }
    }

    pub(super) fn base(self) -> usize {
        match self {
            Self::Events => Word::EventRing as usize,
            Self::Blocked => Word::BlockedRing as usize,
            Self::Validation => Word::ValidationRing as usize,
            Self::Security => Word::SecurityRing as usize,
            Self::Strangers => Word::StrangersRing as usize,
        }
    }

    pub(super) fn stamp(self, at: Timestamp) -> u64 {
        let seconds = at.unix_seconds().max(0) as u64;
        match self {
            Self::Events => seconds,
            Self::Strangers => seconds / 300,
            _ => seconds / 60,
        }
    }
}
