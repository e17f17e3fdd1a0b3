//! The one place of health that looks at files.

use std::io;
use std::path::Path;

use crate::audit::LogPaths;
use crate::audit::status::{StatusError, StatusSnapshot, Word};
use crate::clock::{Clock, Timestamp};
use crate::fsio::{FileMeta, Fs, Space, boot, lock};

/// Whether a writer has the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The lock is held.
    Locked,
    /// It is free.
    Free,
    /// It cannot be asked about.
    Unknown,
}

/// What was seen, all at one moment.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub now: Timestamp,
    /// The same on the boot clock.
    pub boot_ms: u64,
    /// Which boot this is.
    pub boot_id: Option<u64>,
    /// The status page.
    pub page: Option<StatusSnapshot>,
    /// Why there is no page, if that is not for want of a log.
    pub page_error: Option<String>,
    /// Whether a writer has the log.
    pub liveness: Liveness,
    /// What is at the active segment's name.
    pub log_file: Option<FileMeta>,
    /// Whether there is a manifest.
    pub has_manifest: bool,
    /// Whether there is a checkpoint.
    pub has_checkpoint: bool,
    /// Space on the log's file system.
    pub space: Option<Space>,
    /// The kernel's letter for the writer process's state, such as `T` for stopped.
    pub process_state: Option<char>,
}

impl Seen {
    /// How old the page's numbers are, when no writer keeps them up to date.
    #[must_use]
    pub fn stale_seconds(&self) -> Option<u64> {
        let page = self.page.as_ref()?;
        if self.liveness == Liveness::Locked {
            return None;
        }
        let last = page.time(Word::HeartbeatAt)?;
        Some((self.now.micros() - last.micros()).max(0) as u64 / 1_000_000)
    }

    /// How long the writer has given no sign of life, in ms.
    #[must_use]
    pub fn silent_ms(&self) -> Option<u64> {
        let page = self.page.as_ref()?;
        Some(self.boot_ms.saturating_sub(page.get(Word::HeartbeatBootMs)))
    }
}

/// Looks at a log.
#[must_use]
pub fn gather(paths: &LogPaths, fs: &dyn Fs, clock: &dyn Clock) -> Seen {
    // The lock first: a writer that closes in between is then seen as running
    // and closed, never as free and not closed.
    let liveness = match lock::is_locked(&paths.lock()) {
        Ok(true) => Liveness::Locked,
        Ok(false) => Liveness::Free,
        Err(_) => Liveness::Unknown,
    };
    let (page, page_error) = match StatusSnapshot::read(&paths.status()) {
        Ok(page) => (Some(page), None),
        Err(StatusError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            (None, None)
        }
        Err(error) => (None, Some(error.to_string())),
    };
    let pid = page.as_ref().map_or(0, |page| page.get(Word::Pid));
    Seen {
        now: clock.now(),
        boot_ms: clock.boot_ms(),
        boot_id: boot::boot_id(fs),
        page,
        page_error,
        liveness,
        log_file: fs.meta(&paths.active()).ok(),
        has_manifest: fs.meta(&paths.manifest()).is_ok(),
        has_checkpoint: fs.meta(&paths.checkpoint()).is_ok(),
        space: fs.space(&paths.dir).ok(),
        process_state: process_state(fs, pid),
    }
}

/// From `/proc/<pid>/stat`: the letter after the command, which stands in
/// brackets and may itself hold any.
fn process_state(fs: &dyn Fs, pid: u64) -> Option<char> {
    let text = fs.read(Path::new(&format!("/proc/{pid}/stat")), 4096).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.rsplit_once(')')?.1.trim_start().chars().next()
}
