//! Why an event was not recorded.

use std::time::Duration;

use super::event::EventError;

/// What a fork of the log's process is told, whatever it asks of the log.
pub(crate) const FORKED: &str = "this process is a fork of the one that opened the log; that \
                                 process still has it. Open another log, or send events to the \
                                 collector";

/// Why an event was not recorded, when to try again, and what is known about it.
#[derive(Clone, Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum RecordError {
    /// It is not a valid event; sending it again cannot help.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The sender has used its id before, for an event with other content.
    #[error(
        "record {seq} has the same id and other content; an id stands for one event: give another event \
             another id"
    )]
    Conflict {
        /// The record that has the id.
        seq: u64,
    },
    /// Its source sends more than it may.
    #[error("source \"{source_name}\" sends more than its rate limit; try again in {} ms", retry_after.as_millis())]
    RateLimited {
        /// The source.
        source_name: String,
        /// Trying again after this succeeds if nobody else uses the source meanwhile.
        retry_after: Duration,
    },
    /// The write buffer stayed full for `overflow_timeout`.
    #[error("the write buffer is full, because the disk is too slow; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full; recording resumes by itself once there is space.
    #[error(
        "the disk is full; free space on the log's file system, and recording resumes by \
             itself"
    )]
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The event was accepted but the log cannot be written at the moment. It is
    /// kept in memory and tried again, so it may still be recorded under its seq:
    /// sending it again can record it twice, unless it has an id.
    #[error(
        "accepted as record {seq}, but not durable yet: {reason}; the writer keeps it and \
             tries again"
    )]
    Unavailable {
        /// The seq it will have.
        seq: u64,
        /// What fails.
        reason: String,
        /// When to look again.
        retry_after: Duration,
    },
    /// The log is closed or closing.
    #[error("the log is closed")]
    Closed,
    /// This process is a fork: the threads that write are its parent's.
    #[error("{FORKED}")]
    Forked,
    /// The writer died; only opening the log again helps.
    #[error(
        "the log's writer failed: {reason}; nothing more is recorded until the log is opened again"
    )]
    Failed {
        /// What happened.
        reason: String,
    },
}

impl RecordError {
    /// What [`RecordError::kind`] can say.
    pub const KINDS: &[&str] = &[
        "malformed",
        "too_large",
        "invalid",
        "conflict",
        "rate_limited",
        "busy",
        "disk_full",
        "unavailable",
        "closed",
        "forked",
        "failed",
    ];

    /// The kind's name, as in answers on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(error) => error.kind(),
            Self::Conflict { .. } => "conflict",
            Self::RateLimited { .. } => "rate_limited",
            Self::Busy { .. } => "busy",
            Self::DiskFull { .. } => "disk_full",
            Self::Unavailable { .. } => "unavailable",
            Self::Closed => "closed",
            Self::Forked => "forked",
            Self::Failed { .. } => "failed",
        }
    }

    /// The same of the event that was accepted as record `seq`.
    #[must_use]
    pub(crate) fn about(self, seq: u64) -> Self {
        match self {
            Self::Unavailable { reason, retry_after, .. } => {
                Self::Unavailable { seq, reason, retry_after }
            }
            other => other,
        }
    }

    /// When trying again makes sense; `None`: never, or not here.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Busy { retry_after }
            | Self::DiskFull { retry_after }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Event(_)
            | Self::Conflict { .. }
            | Self::Closed
            | Self::Forked
            | Self::Failed { .. } => None,
        }
    }
}
