//! The problems that checks can find, each with a name that stays.

use super::status::Status::{self, Critical, Unknown, Warning};
use crate::coded::coded;

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal [$($status:ident),+]),+ $(,)?) => {
        coded! {
            /// What a check can find. A check that is not healthy names one: see
            /// [`Check::code`](super::Check::code). What to do about each is in the
            /// table of docs/codes.md.
            #[cfg_attr(not(feature = "testing"), non_exhaustive)]
            enum Problem;
            $($(#[doc = $doc])+ $variant = $code),+
        }

        impl Problem {
            /// How bad it can be.
            #[must_use]
            pub fn statuses(self) -> &'static [Status] {
                match self { $(Self::$variant => &[$($status),+]),+ }
            }
        }
    };
}

problems! {
    /// There is no status page: no log was ever opened here.
    PageMissing = "status_page.missing" [Unknown],
    /// The status page may not be read by this user.
    PageDenied = "status_page.denied" [Unknown],
    /// The status page cannot be read, or is of another version.
    PageUnusable = "status_page.unusable" [Unknown],
    /// The numbers are of a writer that does not run any more, or may not run.
    PageStale = "status_page.stale" [Unknown],
    /// Events wait longer than they should.
    BufferFilling = "write_buffer.filling" [Warning, Critical],
    /// There is no log in the directory.
    NoLog = "worker_thread.no_log" [Unknown],
    /// A writer is opening the log.
    Opening = "worker_thread.opening" [Warning],
    /// No sign of life from the writer.
    Hung = "worker_thread.hung" [Critical],
    /// New events are refused, the disk is full.
    WriterDiskFull = "worker_thread.disk_full" [Critical],
    /// Writes or syncs fail.
    WriteFailing = "worker_thread.write_failing" [Critical],
    /// The writer thread ended with an error; its process lives.
    WriterFailed = "worker_thread.failed" [Critical],
    /// A state of a newer version.
    NewerVersion = "worker_thread.newer_version" [Unknown],
    /// Whether a writer runs cannot be asked.
    LockUnknown = "worker_thread.lock_unknown" [Unknown],
    /// The writer's process ended without closing the log.
    Died = "worker_thread.died" [Critical],
    /// The log was closed, and one is expected to run.
    Stopped = "worker_thread.stopped" [Warning],
    /// The log file cannot be looked at.
    LogUnknown = "log_file.unknown" [Unknown],
    /// The log file is gone.
    LogDeleted = "log_file.deleted" [Critical],
    /// Another file stands in the log file's place while a writer runs.
    LogReplaced = "log_file.replaced" [Critical],
    /// Another file stands in the log file's place, and no writer runs.
    LogChanged = "log_file.changed" [Warning],
    /// The log file is shorter than what was written.
    LogTruncated = "log_file.truncated" [Critical],
    /// The log is large.
    LogLarge = "log_file.large" [Warning, Critical],
    /// A source was refused often.
    Blocked = "rate_limiting.blocked" [Warning, Critical],
    /// Many invalid events.
    InvalidEvents = "security.validation_errors" [Warning, Critical],
    /// Many other security events.
    SecurityEvents = "security.events" [Warning, Critical],
    /// Little space is left.
    DiskLow = "disk_space.low" [Warning, Critical],
    /// The writer found the disk full.
    DiskFull = "disk_space.full" [Critical],
    /// Few inodes are left, or none: no more files can be made.
    FilesLow = "disk_space.inodes" [Warning, Critical],
    /// The space cannot be asked.
    DiskUnknown = "disk_space.unknown" [Unknown],
    /// The log file was deleted or replaced while open; its records were saved.
    FileReplaced = "integrity.file_replaced" [Warning, Critical],
    /// The log file was truncated while open.
    FileTruncated = "integrity.file_truncated" [Critical],
    /// The log was opened over corruption.
    CorruptionAccepted = "integrity.corruption_accepted" [Warning],
    /// The log directory was deleted while open.
    DirectoryGone = "integrity.directory_gone" [Critical],
    /// A sealed segment is missing or altered.
    SegmentDamaged = "integrity.segment_damaged" [Critical],
    /// One of the program's own files was missing or replaced, and was put back.
    OwnFilePutBack = "integrity.own_file_put_back" [Warning],
    /// The same, and it cannot be put back.
    OwnFileGone = "integrity.own_file_gone" [Critical],
    /// A sealed segment is missing, or another file stands in its place.
    SegmentGone = "integrity.segment_gone" [Critical],
    /// Damage that this version has no name for.
    DamageOther = "integrity.damage_other" [Critical],
    /// Acknowledged records were lost.
    LostRecords = "integrity.lost_records" [Warning],
    /// There is no checkpoint.
    CheckpointMissing = "integrity.checkpoint_missing" [Critical],
    /// The checkpoint cannot be looked at.
    CheckpointUnknown = "integrity.checkpoint_unknown" [Unknown],
    /// No checkpoint was signed for long.
    CheckpointOld = "integrity.checkpoint_old" [Critical],
    /// There is no manifest.
    ManifestMissing = "integrity.manifest_missing" [Critical],
    /// The manifest cannot be looked at.
    ManifestUnknown = "integrity.manifest_unknown" [Unknown],
    /// A change of the signing key was begun and is not finished.
    KeyChangePending = "integrity.key_change_pending" [Warning],
    /// The signing key is not there, and no writer runs that has it.
    KeyMissing = "integrity.key_missing" [Critical],
    /// What stands where the signing key should is none, and no writer runs that has it.
    KeyUnusable = "integrity.key_unusable" [Critical],
    /// What stands where the succession of keys should is none, though the key was never
    /// changed: no writer starts.
    KeysUnusable = "integrity.keys_unusable" [Critical],
    /// `verify`, `backup` or `repair` found something wrong with the log.
    FoundWrong = "integrity.found_wrong" [Warning, Critical],
    /// A writer did not start, because of what the log is.
    StartRefused = "integrity.start_refused" [Critical],
    /// What commands found cannot be read, or is not believed.
    FindingsUnusable = "integrity.findings_unusable" [Warning],
    /// The last opening took records over that nobody had signed, and neither a
    /// backup nor a verification has covered them since.
    UnsignedRecords = "integrity.unsigned_records" [Warning],
    /// How delivery of alerts is cannot be looked at.
    AlertsUnknown = "alerts.unknown" [Unknown],
    /// Alerts are set, and no collector delivers them.
    AlertsIdle = "alerts.not_delivering" [Warning],
    /// An alert's queue is full, or fills.
    AlertsQueueFilling = "alerts.queue_filling" [Warning, Critical],
    /// An alert waits for long.
    AlertsDelayed = "alerts.delayed" [Warning],
    /// An alert was given up.
    AlertsFailed = "alerts.failed" [Warning],
    /// Records were not looked at for long.
    AlertsBehind = "alerts.behind" [Warning],
    /// How it goes with the witnesses cannot be looked at.
    WitnessUnknown = "witness.unknown" [Unknown],
    /// Witnesses are set, and no collector asks them.
    WitnessIdle = "witness.not_asking" [Warning],
    /// The log has grown, and no quorum has cosigned it for long.
    WitnessNoQuorum = "witness.no_quorum" [Warning, Critical],
    /// A witness does not cosign.
    WitnessBehind = "witness.behind" [Warning],
    /// A witness has cosigned more than the log has.
    WitnessAhead = "witness.ahead" [Critical],
    /// The log does not continue what a witness cosigned.
    WitnessContradicted = "witness.contradicted" [Critical],
    /// How far the archive is cannot be told.
    ArchiveUnknown = "archive.unknown" [Unknown],
    /// The archive has lacked records for long.
    ArchiveBehind = "archive.behind" [Warning, Critical],
    /// Shipping to the archive fails.
    ArchiveFailing = "archive.failing" [Warning, Critical],
    /// The archive holds another history of the log.
    ArchiveContradicted = "archive.contradicted" [Critical],
    /// Retention removed records before the archive had them.
    ArchiveRemovedUnshipped = "archive.removed_unshipped" [Warning],
    /// The certificate for HTTPS ends soon.
    CertificateEnding = "certificate.expiring" [Warning, Critical],
    /// The certificate for HTTPS has expired.
    CertificateExpired = "certificate.expired" [Critical],
    /// The backup directory cannot be looked at.
    BackupsUnknown = "backup.unknown" [Unknown],
    /// The log has been backed up, and no backup of it can be seen.
    BackupsGone = "backup.gone" [Warning],
    /// Retention keeps what it cannot prove to be in a backup.
    RetentionWaits = "backup.retention_waits" [Warning],
    /// The clock is far ahead of the log; retention waits.
    ClockAhead = "backup.clock_ahead" [Warning],
    /// A backup is ahead of the log.
    RolledBack = "backup.rolled_back" [Critical],
    /// A pushed checkpoint is ahead of the log, the backups are not.
    SnapshotRestored = "backup.snapshot_restored" [Critical],
    /// Two copies of the log have both recorded.
    Cloned = "backup.cloned" [Critical],
    /// The newest backup is old.
    BackupOld = "backup.old" [Warning, Critical],
    /// The last attempt failed.
    BackupFailed = "backup.failed" [Warning],
    /// The last attempt failed because the log is not what it was.
    BackupLogChanged = "backup.log_changed" [Critical],
    /// A backup is damaged.
    BackupDamaged = "backup.damaged" [Warning],
    /// The newest backup lacks records that were damaged, and no earlier one holds them.
    BackupLacking = "backup.lacking" [Warning],
    /// A backup did not arrive where it was sent.
    BackupUnsent = "backup.unsent" [Warning],
    /// The last restore drill failed.
    DrillFailed = "backup.drill_failed" [Critical],
    /// No restore was tried for long.
    DrillOld = "backup.drill_old" [Warning],
    /// No restore was ever tried.
    DrillNever = "backup.drill_never" [Warning],
}
