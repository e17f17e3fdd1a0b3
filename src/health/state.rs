//! What the log is in, from the lock, the page and the clock. Liveness is the
//! lock, not the pid: the kernel releases it however a process ends.

use std::time::Duration;

use super::facts::{Facts, Found, Lock, Page, Process};
use crate::audit::status::{Activity, StatusSnapshot, Word, WriterState};
use crate::clock::Timestamp;

/// What the log is in. `at` and `since` are wall-clock times as the page has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// There is no log: no directory, or no status page in it.
    NoLog,
    /// It cannot be told, and why.
    Unreadable(String),
    /// A writer holds the lock and has not published anything yet.
    Opening,
    /// A writer holds the lock, and its status page is gone.
    PageGone,
    /// A writer writes.
    Running,
    /// The lock is held, and the writer thread gives no sign of life.
    Hung(Hung),
    /// The lock is free, and the log was not closed.
    Died {
        /// The writer's last sign of life.
        at: Option<Timestamp>,
        /// Whether the machine was started again since.
        rebooted: bool,
    },
    /// The log was closed cleanly.
    Stopped {
        /// When.
        at: Option<Timestamp>,
    },
    /// The disk is full; new events are refused.
    DiskFull {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// Writes fail, and are tried again.
    Failing {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// The writer thread is dead, the process is not.
    Poisoned {
        /// Since when.
        since: Option<Timestamp>,
    },
}

/// How a writer hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hung {
    /// Ms since its last sign of life.
    pub silent_ms: u64,
    /// What it is in the middle of, for how many ms; `None` when it was idle.
    pub activity: Option<(Activity, u64)>,
    /// Its process, if it can be seen.
    pub process: Option<Process>,
}

impl LogState {
    /// Judges; a writer silent for longer than `hung_after` is hung.
    #[must_use]
    pub fn of(facts: &Facts, hung_after: Duration) -> Self {
        let page = match &facts.page {
            Page::Unreadable(reason) => return Self::Unreadable(reason.clone()),
            Page::Missing => return without_page(facts),
            Page::Read(page) => page,
        };
        let at = page.time(Word::HeartbeatAt);
        match &facts.lock {
            Lock::Free if facts.closed() => Self::Stopped { at: page.time(Word::ClosedAt) },
            Lock::Free => Self::Died { at, rebooted: facts.rebooted() },
            Lock::Held if facts.closed() || facts.rebooted() || unpublished(page) => Self::Opening,
            Lock::Held => held(facts, page, hung_after),
            Lock::Unknown(reason) => Self::Unreadable(reason.clone()),
        }
    }

    /// As `metadata.state` has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoLog => "no_log",
            Self::Unreadable(_) => "unknown",
            Self::Opening => "opening",
            Self::PageGone => "page_gone",
            Self::Running => "running",
            Self::Hung(_) => "hung",
            Self::Died { .. } => "died",
            Self::Stopped { .. } => "stopped",
            Self::DiskFull { .. } => "disk_full",
            Self::Failing { .. } => "write_failing",
            Self::Poisoned { .. } => "writer_failed",
        }
    }

    /// Whether the page is kept up to date.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Running | Self::DiskFull { .. } | Self::Failing { .. })
    }

    /// Whether the writer's process is there.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.is_live() || matches!(self, Self::Hung(_) | Self::Poisoned { .. })
    }
}

fn without_page(facts: &Facts) -> LogState {
    match (&facts.dir, &facts.lock) {
        (Found::Unknown(reason), _) => LogState::Unreadable(reason.clone()),
        (_, Lock::Unknown(reason)) => LogState::Unreadable(reason.clone()),
        (_, Lock::Held) => LogState::PageGone,
        (_, Lock::Free) => LogState::NoLog,
    }
}

/// Made, and nothing said in it yet.
fn unpublished(page: &StatusSnapshot) -> bool {
    page.get(Word::HeartbeatBootMs) == 0 && page.state() == Some(WriterState::Starting)
}

fn held(facts: &Facts, page: &StatusSnapshot, hung_after: Duration) -> LogState {
    let since = page.time(Word::StateSince);
    if page.state() == Some(WriterState::Poisoned) {
        return LogState::Poisoned { since };
    }
    let silent_ms = facts.boot_ms.saturating_sub(page.get(Word::HeartbeatBootMs));
    if u128::from(silent_ms) > hung_after.as_millis() {
        let for_ms = facts.boot_ms.saturating_sub(page.get(Word::ActivitySinceBootMs));
        let activity = page.activity().filter(|activity| *activity != Activity::Idle);
        let activity = activity.map(|activity| (activity, for_ms));
        return LogState::Hung(Hung { silent_ms, activity, process: facts.process });
    }
    match page.state() {
        Some(WriterState::DiskFull) => LogState::DiskFull { since },
        Some(WriterState::Failing) => LogState::Failing { since },
        // An unknown code is a newer writer's, and it beats.
        _ => LogState::Running,
    }
}
