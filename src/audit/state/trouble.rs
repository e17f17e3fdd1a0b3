//! What the engine's threads meet and go on after: named, so that a message can be
//! looked up. Told with `--verbose` (`tracing`); `health` shows what lasts.

use crate::coded::coded;

coded! {
    /// What a message of the engine is about: its `code`.
    enum Trouble;

    /// The disk is full; new events are refused.
    DiskFull = "disk_full",
    /// No disk reserve could be made when the log was opened.
    NoReserve = "no_reserve",
    /// The reserve could not be given up on a full disk.
    ReserveKept = "reserve_kept",
    /// A write or sync failed; it is tried again.
    Failing = "write_failing",
    /// The writer thread ended.
    WriterFailed = "writer_failed",
    /// The checkpoint could not be written.
    NoCheckpoint = "checkpoint_not_written",
    /// The log file was deleted or replaced; its records are written anew.
    FileReplaced = "log_file_replaced",
    /// The log file was truncated.
    FileTruncated = "log_file_truncated",
    /// One of the program's own files was missing or replaced; it was put back.
    OwnFilePutBack = "own_file_put_back",
    /// The same, and it cannot be put back at the moment.
    OwnFileGone = "own_file_not_put_back",
    /// A sealed segment is missing, or another file stands in its place.
    SegmentGone = "segment_missing",
    /// Another directory stands where the log's was.
    DirectoryMoved = "log_directory_moved",
    /// A sealed segment is not what was sealed.
    SegmentAltered = "segment_altered",
    /// Compression, the manifest or retention failed; tried again.
    Maintenance = "maintenance_failed",
    /// Retention keeps segments beyond their time.
    RetentionWaits = "retention_waits",
    /// The clock is far ahead of the newest record; retention waits an hour.
    ClockAhead = "clock_ahead",
    /// A signed head that is kept elsewhere does not fit the log.
    OtherHistory = "other_history",
    /// `security_events.log` could not be written.
    SecurityLog = "security_log_not_written",
    /// The journal of a restore could not be removed.
    JournalKept = "restore_journal_kept",
    /// A change of the signing key was interrupted, and is still to be finished.
    RotationUnfinished = "key_rotation_unfinished",
    /// A key file that was to follow cannot be used, and is left alone.
    NextKeyLeft = "next_key_left_alone",
    /// The signing key is changed, but its files are not all in place.
    KeyFiles = "key_files_not_in_place",
    /// The status page could not be written.
    StatusPage = "status_page_not_written",
    /// The wall clock was set.
    ClockChanged = "clock_changed",
    /// `audit.head` is no signed head of this log; the checkpoint is used.
    HeadUnusable = "head_unusable",
    /// `audit.head` could not be written.
    NoHead = "head_not_written",
    /// `audit.leaves` could not be written: should the active segment be damaged, its
    /// records cannot be told apart.
    NoLeaves = "leaves_not_written",
    /// The manifest was not believed, and made anew from the segments.
    ManifestRebuilt = "manifest_rebuilt",
    /// Somebody appended lines to the log while it was closed.
    ForeignLines = "foreign_lines",
    /// Records cannot be read whose ids should be remembered.
    IdsUnread = "ids_unread",
    /// The setting `origin` is not what the log was made with, and changes nothing.
    OtherOrigin = "origin_not_of_the_log",
    /// The log was not closed cleanly.
    NotClosed = "not_closed",
}
