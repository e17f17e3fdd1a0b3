//! Security events: counted always, and written to `security_events.log` (NDJSON)
//! by a background thread, so that no caller ever waits for a disk because of one.
//!
//! A flood does not become a flood of lines. The same kind from the same source
//! more than [`LINES_A_SECOND`] times within a second becomes one line a second
//! that says how often, until a calm second. What finds no room in the queue becomes
//! a line that says how many. So the `count`s of a kind's lines (1 where absent)
//! add up to what happened, as long as nothing rotated away.
//!
//! What somebody brings about who has shown no credentials is kept apart: see [`By`].

mod file;
mod floods;
mod strangers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use serde::{Serialize, Serializer};

use crate::clock::{Clock, Timestamp};
use crate::fsio::SharedFs;
use file::LogFile;
pub(crate) use file::Looked;
pub(crate) use file::MAX_FILE_BYTES as MAX_SECURITY_FILE_BYTES;
use floods::Floods;
pub use floods::LINES_A_SECOND;
use strangers::Strangers;

/// Lines that wait for the background thread, at most.
pub const QUEUE_LINES: usize = 1_024;
/// A line's `source` is cut to so many bytes.
pub const MAX_SOURCE_BYTES: usize = 256;
/// A line's `detail` is cut to so many bytes.
pub const MAX_DETAIL_BYTES: usize = 512;

/// What kind of security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityKind {
    /// An event broke a rule: a missing or reserved type, a field too long.
    Validation,
    /// Not an event at all: bad JSON, bad UTF-8.
    Malformed,
    /// Larger than the limit.
    Oversize,
    /// Control characters in an identifier were replaced.
    Sanitized,
    /// Somebody who may not.
    Unauthorized,
    /// A source over its rate limit.
    RateLimited,
    /// A peer that misbehaves: floods, never reads, sends no line end.
    HostilePeer,
    /// The log's files were changed by somebody else.
    LogTampered,
    /// An alert's or webhook's target that must not be connected to.
    TargetRefused,
}

impl SecurityKind {
    /// All of them; the order is that of the status page's counters.
    pub const ALL: [SecurityKind; 9] = [
        Self::Validation,
        Self::Malformed,
        Self::Oversize,
        Self::Sanitized,
        Self::Unauthorized,
        Self::RateLimited,
        Self::HostilePeer,
        Self::LogTampered,
        Self::TargetRefused,
    ];

    /// As in lines and metrics: `rate_limited`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Malformed => "malformed",
            Self::Oversize => "oversize",
            Self::Sanitized => "sanitized",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::HostilePeer => "hostile_peer",
            Self::LogTampered => "log_tampered",
            Self::TargetRefused => "target_refused",
        }
    }
}

impl fmt::Display for SecurityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SecurityKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Who brought a security event about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody who may use the log, or something on this machine.
    Known,
    /// Somebody who has shown no credentials that are valid: anybody who can reach the
    /// collector. It is counted and, as far as an allowance goes, written; it never
    /// decides how healthy the log is, or whoever can send a request could stop it.
    Stranger,
}

/// One line of the file, its texts clean.
#[derive(Debug, Serialize)]
struct Line {
    /// When; the first of several.
    timestamp: Timestamp,
    kind: SecurityKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Box<str>>,
    detail: Box<str>,
    #[serde(skip_serializing_if = "is_one")]
    count: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stranger: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(count: &u64) -> bool {
    *count == 1
}

/// Called for every security event.
type Count = dyn Fn(SecurityKind, By, Timestamp) + Send + Sync;

struct Shared {
    clock: Arc<dyn Clock>,
    count: Arc<Count>,
    floods: Mutex<Floods>,
    strangers: Mutex<Strangers>,
    queue: Sender<Line>,
    /// What found no room in the queue, by kind.
    dropped: [AtomicU64; SecurityKind::ALL.len()],
}

impl Shared {
    fn floods(&self) -> MutexGuard<'_, Floods> {
        // Nothing in there can be left half done.
        self.floods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, line: Line) {
        if let Err(refused) = self.queue.try_send(line) {
            let line = refused.into_inner();
            self.dropped[line.kind as usize].fetch_add(line.count, Ordering::Relaxed);
        }
    }
}

/// Where anybody reports security events.
#[derive(Clone)]
pub struct SecuritySink(Arc<Shared>);

impl SecuritySink {
    /// Counts the event and leaves a line for the file. Never blocks on anything
    /// but a short lock, and allocates nothing while a flood is put together.
    ///
    /// `detail` says what happened, never what an event held nor a secret; both
    /// texts are cut to their limits, and control characters become U+FFFD. Of a
    /// flood the first `detail` of each second is written. An empty `source` is none.
    pub fn report(&self, kind: SecurityKind, source: Option<&str>, detail: &str) {
        self.report_by(By::Known, kind, source, detail);
    }

    /// [`report`](Self::report), of somebody without credentials.
    pub fn report_stranger(&self, kind: SecurityKind, source: Option<&str>, detail: &str) {
        self.report_by(By::Stranger, kind, source, detail);
    }

    /// The same of either.
    pub fn report_by(&self, by: By, kind: SecurityKind, source: Option<&str>, detail: &str) {
        let shared = &self.0;
        let now = shared.clock.now();
        (shared.count)(kind, by, now);
        let source = cut(source.unwrap_or_default(), MAX_SOURCE_BYTES);
        let now_ms = shared.clock.boot_ms();
        let own = || Line {
            timestamp: now,
            kind,
            source: clean_source(source),
            detail: clean(detail, MAX_DETAIL_BYTES).into(),
            count: 1,
            stranger: false,
        };
        let lines = match by {
            By::Known => {
                let outcome = shared.floods().note(kind, source, detail, now, now_ms);
                [outcome.before, outcome.write.then(own)]
            }
            By::Stranger => {
                let crowded = shared.queue.len() >= QUEUE_LINES / 2;
                let mut strangers = shared.strangers();
                let outcome = strangers.floods().note(kind, source, detail, now, now_ms);
                strangers.lines(outcome, own, now_ms, crowded)
            }
        };
        lines.into_iter().flatten().for_each(|line| shared.send(line));
    }
}

impl fmt::Debug for SecuritySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecuritySink").field("waiting", &self.0.queue.len()).finish_non_exhaustive()
    }
}

/// The file's side, for one background thread. Dropping it writes what waits, as
/// far as that is possible.
pub struct SecurityLog {
    shared: Arc<Shared>,
    queue: Receiver<Line>,
    file: Mutex<LogFile>,
}

impl SecurityLog {
    /// The two ends. `count` is called for every event, on the thread that
    /// reports it. The file is opened with the first line.
    #[must_use]
    pub fn new(
        fs: SharedFs,
        path: PathBuf,
        clock: Arc<dyn Clock>,
        count: Arc<dyn Fn(SecurityKind, By, Timestamp) + Send + Sync>,
    ) -> (SecuritySink, SecurityLog) {
        let (sender, queue) = crossbeam_channel::bounded(QUEUE_LINES);
        let shared = Arc::new(Shared {
            count,
            floods: Mutex::new(Floods::default()),
            strangers: Mutex::new(Strangers::new(clock.boot_ms())),
            clock,
            queue: sender,
            dropped: Default::default(),
        });
        let file = Mutex::new(LogFile::new(fs, path));
        (SecuritySink(Arc::clone(&shared)), SecurityLog { shared, queue, file })
    }

    /// Appends the lines that wait. Of a flood, a second is written when it is
    /// over; call this several times a second.
    ///
    /// # Errors
    /// The failing operation's error, its path in the message. The lines are kept
    /// for the next call; while too many are kept, new ones stay in the queue, and
    /// what finds no room there is counted and written as a number.
    pub fn drain(&self) -> io::Result<()> {
        self.write(false)
    }

    /// [`drain`](Self::drain), and floods that still go on: for the end.
    ///
    /// # Errors
    /// As for `drain`.
    pub fn finish(&self) -> io::Result<()> {
        self.write(true)
    }

    /// Whether the file's name still leads to the file that is written; one that was
    /// deleted is put back, one that was moved away is left to whoever moved it.
    pub(crate) fn look(&self) -> Looked {
        let stamp = self.shared.clock.now().file_stamp();
        self.file.lock().unwrap_or_else(PoisonError::into_inner).look(&stamp)
    }

    fn write(&self, finish: bool) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.has_room() {
            // As many as wait now: a flood must not keep this thread here.
            for line in self.queue.try_iter().take(self.queue.len()) {
                file.push(&line);
            }
            let now_ms = self.shared.clock.boot_ms();
            let floods = self.shared.floods().take_over(now_ms, finish);
            let strangers = self.shared.strangers().take_over(now_ms, finish);
            for line in floods.into_iter().chain(strangers) {
                file.push(&line);
            }
            for line in self.dropped() {
                file.push(&line);
            }
        }
        file.write()
    }

    fn dropped(&self) -> impl Iterator<Item = Line> {
        let timestamp = self.shared.clock.now();
        SecurityKind::ALL.into_iter().zip(&self.shared.dropped).filter_map(
            move |(kind, dropped)| {
                let count = dropped.swap(0, Ordering::Relaxed);
                let detail = "too many at once to write each of them";
                (count > 0).then(|| Line {
                    timestamp,
                    kind,
                    source: None,
                    detail: detail.into(),
                    count,
                    stranger: false,
                })
            },
        )
    }
}

impl Drop for SecurityLog {
    fn drop(&mut self) {
        // Nobody is left to tell; the counters have them all.
        let _ = self.finish();
    }
}

impl fmt::Debug for SecurityLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityLog").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

fn clean_source(source: &str) -> Option<Box<str>> {
    (!source.is_empty()).then(|| clean(source, MAX_SOURCE_BYTES).into())
}

/// At most `max_bytes` of it, whole characters.
fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// At most `max_bytes`, control characters replaced.
fn clean(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    clean_into(text, max_bytes, &mut out);
    out
}

/// As `clean`, in place of what was there.
fn clean_into(text: &str, max_bytes: usize, out: &mut String) {
    out.clear();
    for char in text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }) {
        if out.len() + char.len_utf8() > max_bytes {
            break;
        }
        out.push(char);
    }
}
