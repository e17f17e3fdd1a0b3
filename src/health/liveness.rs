//! Whether a writer runs, and how.
//!
//! The lock decides, not the process number: the kernel releases it when the
//! writer's process ends, however it ends, and numbers are used again.

use std::time::Duration;

use crate::audit::state::status::{StatusSnapshot, Word, WriterState};
use crate::config::Settings;

use super::gather::{Facts, Page};

/// What is known of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// No status page, nobody holds the lock.
    NoLog,
    /// The status page may not be read, or is none.
    Unreadable,
    /// The lock cannot be asked about.
    LockUnknown,
    /// The lock is held, and the page is not yet the holder's.
    Opening,
    Running,
    /// No sign of life for `health.hung_after`.
    Hung,
    DiskFull,
    Failing,
    /// The writer thread died; its process lives.
    Poisoned,
    /// A state that this version does not know.
    Strange,
    /// The lock is free, and the log was not closed.
    Died,
    /// The lock is free, and the log was closed.
    Stopped,
}

impl Liveness {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoLog => "no_log",
            Self::Unreadable => "unreadable",
            Self::LockUnknown | Self::Strange => "unknown",
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Hung => "hung",
            Self::DiskFull => "disk_full",
            Self::Failing => "write_failing",
            Self::Poisoned => "writer_failed",
            Self::Died => "died",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the page is that of a writer that holds the lock: its numbers are
    /// of now.
    pub(super) fn is_current(self) -> bool {
        match self {
            Self::Running
            | Self::Hung
            | Self::DiskFull
            | Self::Failing
            | Self::Poisoned
            | Self::Strange => true,
            Self::NoLog
            | Self::Unreadable
            | Self::LockUnknown
            | Self::Opening
            | Self::Died
            | Self::Stopped => false,
        }
    }
}

pub(super) fn of(facts: &Facts, settings: &Settings) -> Liveness {
    let page = match &facts.page {
        Page::Read(page) => page,
        Page::Missing if facts.locked == Ok(true) => return Liveness::Opening,
        Page::Missing => return Liveness::NoLog,
        Page::Denied(_) | Page::Unusable(_) | Page::Newer(_) => return Liveness::Unreadable,
    };
    let closed = page.get(Word::ClosedAt) != 0;
    match facts.locked {
        Err(_) => Liveness::LockUnknown,
        Ok(false) if closed => Liveness::Stopped,
        Ok(false) => Liveness::Died,
        Ok(true) if closed || page.get(Word::Pid) == 0 || facts.rebooted() => Liveness::Opening,
        Ok(true) => held(facts, page, settings),
    }
}

fn held(facts: &Facts, page: &StatusSnapshot, settings: &Settings) -> Liveness {
    match page.state() {
        // Its heart stopped with it: not to be called hung.
        Some(WriterState::Poisoned) => Liveness::Poisoned,
        _ if silence(facts, page) >= settings.health.hung_after => Liveness::Hung,
        Some(WriterState::Starting | WriterState::Running | WriterState::Closed) => {
            Liveness::Running
        }
        Some(WriterState::Failing) => Liveness::Failing,
        Some(WriterState::DiskFull) => Liveness::DiskFull,
        None => Liveness::Strange,
    }
}

/// How long ago the writer thread's last sign of life was.
pub(super) fn silence(facts: &Facts, page: &StatusSnapshot) -> Duration {
    Duration::from_millis(facts.boot_ms.saturating_sub(page.get(Word::HeartbeatBootMs)))
}

/// For how long the writer has been in the middle of what it is doing.
pub(super) fn busy_for(facts: &Facts, page: &StatusSnapshot) -> Duration {
    Duration::from_millis(facts.boot_ms.saturating_sub(page.get(Word::ActivitySinceBootMs)))
}

/// For how long the log has been open; `None` when no writer is seen.
pub(super) fn uptime_seconds(facts: &Facts, liveness: Liveness) -> Option<u64> {
    let page = facts.page().filter(|_| liveness.is_current())?;
    Some(facts.boot_ms.saturating_sub(page.get(Word::StartedBootMs)) / 1_000)
}
