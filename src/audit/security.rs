//! Security events: what hostile or broken senders did, and signs of tampering.
//! Counted in the status page, written to `security_events.log` by a background
//! thread, never in anybody's way.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use serde::Serialize;

use super::sanitize::clean_identifier;
use crate::clock::{Clock, Timestamp};
use crate::fsio::{FsFile, OpenMode, SharedFs};

/// Lines that may wait to be written.
const WAITING_LINES: usize = 1024;
/// Events of a kind and source written one by one in a second; the rest are one line.
const LINES_A_SECOND: u64 = 10;
/// Kinds and sources remembered in a second.
const MAX_SOURCES: usize = 1024;
/// The file is rotated at this size; one predecessor is kept.
const MAX_FILE_BYTES: u64 = 10 << 20;
const MAX_DETAIL_BYTES: usize = 512;
const MAX_SOURCE_BYTES: usize = 256;

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityKind {
    /// An event that is not valid.
    Validation,
    /// Something that is not JSON, or not of the protocol.
    Malformed,
    /// A line, field or request that is too large.
    Oversize,
    /// Control characters in an identifier, replaced.
    Sanitized,
    /// Somebody who may not.
    Unauthorized,
    /// A source above its rate.
    RateLimited,
    /// A peer that stalls, floods or does not read.
    HostilePeer,
    /// A log file that is not what was written.
    LogTampered,
}

impl SecurityKind {
    /// All, in the order in which the status page counts them.
    pub const ALL: [Self; 8] = [
        Self::Validation,
        Self::Malformed,
        Self::Oversize,
        Self::Sanitized,
        Self::Unauthorized,
        Self::RateLimited,
        Self::HostilePeer,
        Self::LogTampered,
    ];

    /// As written and shown.
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
        }
    }
}

#[derive(Debug, Serialize)]
struct Line {
    timestamp: Timestamp,
    kind: SecurityKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    detail: String,
    #[serde(skip_serializing_if = "is_one")]
    count: u64,
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

/// How often a kind and source came in the current second.
#[derive(Debug, Default)]
struct Flood {
    sources: HashMap<(SecurityKind, String), u64>,
    second: i64,
    /// Events beyond what is told apart, by kind.
    others: HashMap<SecurityKind, u64>,
}

/// Counts a kind at a time.
type Count = dyn Fn(SecurityKind, Timestamp) + Send + Sync;

struct Shared {
    lines: Sender<Line>,
    clock: Arc<dyn Clock>,
    count: Arc<Count>,
    flood: Mutex<Flood>,
}

/// Where security events are reported; cheap to clone.
#[derive(Clone)]
pub struct SecuritySink(Arc<Shared>);

impl std::fmt::Debug for SecuritySink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecuritySink")
    }
}

impl SecuritySink {
    /// Counts an event and has it written; never waits. Of many alike in one
    /// second ten are written one by one, the rest as one line with a count.
    pub fn report(&self, kind: SecurityKind, source: Option<&str>, detail: &str) {
        let shared = &*self.0;
        let now = shared.clock.now();
        (shared.count)(kind, now);
        if shared.lock().take(kind, source.unwrap_or(""), now, &shared.lines) {
            let line = Line {
                timestamp: now,
                kind,
                source: source.map(|source| clean(source, MAX_SOURCE_BYTES)),
                detail: clean(detail, MAX_DETAIL_BYTES),
                count: 1,
            };
            if let Err(TrySendError::Full(line)) = shared.lines.try_send(line) {
                *shared.lock().others.entry(line.kind).or_default() += 1;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Flood> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flood {
    /// Whether this one is written by itself; else it is counted.
    fn take(
        &mut self,
        kind: SecurityKind,
        source: &str,
        now: Timestamp,
        lines: &Sender<Line>,
    ) -> bool {
        if now.unix_seconds() != self.second {
            self.tell(now, lines);
            self.second = now.unix_seconds();
        }
        if self.sources.len() >= MAX_SOURCES {
            *self.others.entry(kind).or_default() += 1;
            return false;
        }
        // An allocation for each: ten a second and source, then none is written.
        let seen = self.sources.entry((kind, source.to_owned())).or_default();
        *seen += 1;
        *seen <= LINES_A_SECOND
    }

    /// One line for each kind and source of which more came than were written.
    fn tell(&mut self, now: Timestamp, lines: &Sender<Line>) {
        let mut untold = HashMap::new();
        for ((kind, source), seen) in
            self.sources.drain().filter(|(_, seen)| *seen > LINES_A_SECOND)
        {
            let count = seen - LINES_A_SECOND;
            let line = Line {
                timestamp: now,
                kind,
                source: (!source.is_empty()).then(|| clean(&source, MAX_SOURCE_BYTES)),
                detail: "more of the same within a second".to_owned(),
                count,
            };
            if lines.try_send(line).is_err() {
                *untold.entry(kind).or_default() += count;
            }
        }
        for (kind, count) in self.others.drain() {
            let detail = "not told apart: too many at once".to_owned();
            if lines.try_send(Line { timestamp: now, kind, source: None, detail, count }).is_err() {
                *untold.entry(kind).or_default() += count;
            }
        }
        self.others = untold;
    }
}

fn clean(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = text[..end].to_owned();
    clean_identifier(&mut text);
    text
}

/// The file's side; for one background thread.
pub struct SecurityLog {
    lines: Receiver<Line>,
    shared: Arc<Shared>,
    fs: SharedFs,
    path: PathBuf,
    output: Mutex<Output>,
}

#[derive(Debug, Default)]
struct Output {
    file: Option<Box<dyn FsFile>>,
    /// Lines that could not be written yet.
    kept: VecDeque<Vec<u8>>,
}

impl std::fmt::Debug for SecurityLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecurityLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SecurityLog {
    /// The two sides; `count` is told of every event, written or not.
    #[must_use]
    pub fn new(
        fs: SharedFs,
        path: PathBuf,
        clock: Arc<dyn Clock>,
        count: Arc<Count>,
    ) -> (SecuritySink, Self) {
        let (sender, lines) = crossbeam_channel::bounded(WAITING_LINES);
        let shared = Arc::new(Shared { lines: sender, clock, count, flood: Mutex::default() });
        let sink = SecuritySink(Arc::clone(&shared));
        (sink, Self { lines, shared, fs, path, output: Mutex::default() })
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The failing operation's; lines are kept (as many as may wait) for the
    /// next call.
    pub fn drain(&self) -> io::Result<()> {
        let now = self.shared.clock.now();
        {
            let mut flood = self.shared.lock();
            if now.unix_seconds() != flood.second {
                flood.tell(now, &self.shared.lines);
                flood.second = now.unix_seconds();
            }
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        for line in self.lines.try_iter() {
            let mut text = serde_json::to_vec(&line).map_err(io::Error::from)?;
            text.push(b'\n');
            if output.kept.len() < WAITING_LINES {
                output.kept.push_back(text);
            }
        }
        while !output.kept.is_empty() {
            self.write_some(&mut output)?;
        }
        Ok(())
    }

    fn write_some(&self, output: &mut Output) -> io::Result<()> {
        let mut length = match &output.file {
            // Deleted or replaced by an operator: a new one is begun.
            Some(file) if self.is_still(&**file) => file.meta()?.len,
            _ => {
                let file = self.fs.open(&self.path, OpenMode::Create)?;
                let length = file.meta()?.len;
                output.file = Some(file);
                length
            }
        };
        if length >= MAX_FILE_BYTES {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            output.file = None;
            return self.fs.rename(&self.path, older.as_ref());
        }
        let Some(file) = &output.file else { return Ok(()) };
        while let Some(text) = output.kept.front() {
            if let Err(error) = file.write_all_at(text, length) {
                let _ = file.set_len(length);
                return Err(error);
            }
            length += text.len() as u64;
            output.kept.pop_front();
            if length >= MAX_FILE_BYTES {
                break;
            }
        }
        Ok(())
    }

    fn is_still(&self, file: &dyn FsFile) -> bool {
        match (file.meta(), self.fs.meta(&self.path)) {
            (Ok(open), Ok(named)) => open.same_file(&named),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fsio::OsFs;
    use crate::fsio::fault::{Fault, FaultFs, How, Op};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    struct Setting {
        directory: tempfile::TempDir,
        clock: Arc<ManualClock>,
        counted: Arc<AtomicU64>,
        fs: FaultFs,
        sink: SecuritySink,
        log: SecurityLog,
    }

    fn setting() -> Setting {
        let directory = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_770_000_000_000_000)));
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        let fs = FaultFs::new(Arc::new(OsFs));
        let (sink, log) = SecurityLog::new(
            Arc::new(fs.clone()),
            directory.path().join("security_events.log"),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(move |_, _| {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        );
        Setting { directory, clock, counted, fs, sink, log }
    }

    fn lines(setting: &Setting) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(setting.directory.path().join("security_events.log"));
        text.unwrap_or_default().lines().map(|l| serde_json::from_str(l).expect(l)).collect()
    }

    #[test]
    fn a_security_event_becomes_a_line_without_control_characters() {
        let setting = setting();
        setting.sink.report(SecurityKind::Malformed, Some("ev\u{1b}il"), "not JSON\nat all");
        setting.log.drain().expect("written");
        let lines = lines(&setting);
        assert_eq!(lines[0]["kind"], "malformed");
        assert_eq!(lines[0]["source"], "ev\u{fffd}il");
        assert_eq!(lines[0]["detail"], "not JSON\u{fffd}at all");
        assert!(lines[0].get("count").is_none());
    }

    #[test]
    fn a_flood_is_counted_in_full_and_written_in_short() {
        let setting = setting();
        for _ in 0..100_000 {
            setting.sink.report(SecurityKind::RateLimited, Some("noisy"), "over its rate");
        }
        setting.clock.advance(Duration::from_secs(1));
        setting.log.drain().expect("written");
        let lines = lines(&setting);
        assert_eq!(setting.counted.load(Ordering::Relaxed), 100_000);
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10]["count"], 100_000 - 10);
    }

    #[test]
    fn many_sources_at_once_lose_their_names_but_not_their_number() {
        let setting = setting();
        for n in 0..5_000 {
            setting.sink.report(SecurityKind::Validation, Some(&format!("s{n}")), "bad");
        }
        setting.log.drain().expect("written");
        setting.clock.advance(Duration::from_secs(1));
        setting.log.drain().expect("written");
        let total: u64 = lines(&setting).iter().map(|l| l["count"].as_u64().unwrap_or(1)).sum();
        assert_eq!(total, 5_000);
    }

    #[test]
    fn lines_that_cannot_be_written_are_written_later() {
        let setting = setting();
        setting.fs.plan(Fault {
            op: Op::Write,
            name_contains: "security".to_owned(),
            after: 0,
            times: 1,
            how: How::Short(28),
        });
        setting.sink.report(SecurityKind::Oversize, None, "first");
        setting.log.drain().expect_err("no space");
        setting.fs.heal();
        setting.sink.report(SecurityKind::Oversize, None, "second");
        setting.log.drain().expect("written");
        let details: Vec<_> = lines(&setting).iter().map(|l| l["detail"].clone()).collect();
        assert_eq!(details, ["first", "second"]);
    }

    #[test]
    fn the_file_is_rotated_and_begun_anew_when_deleted() {
        let setting = setting();
        let path = setting.directory.path().join("security_events.log");
        std::fs::write(&path, vec![b'x'; MAX_FILE_BYTES as usize]).expect("write");
        setting.sink.report(SecurityKind::Unauthorized, None, "one");
        setting.log.drain().expect("written");
        assert!(setting.directory.path().join("security_events.log.1").exists());
        assert_eq!(lines(&setting).len(), 1);
        std::fs::remove_file(&path).expect("removed");
        setting.sink.report(SecurityKind::Unauthorized, None, "two");
        setting.log.drain().expect("written");
        assert_eq!(lines(&setting)[0]["detail"], "two");
    }
}
