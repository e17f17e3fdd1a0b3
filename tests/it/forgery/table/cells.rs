//! One cell: what came of a change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::read::verify::{Anchor, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::fsio::{OsFs, SharedFs};

use super::changes::{Change, Exercised, write};
use crate::support::{Dir, options};

/// When the change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Situation {
    AtRest,
    AcrossAStart,
    Running,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Verified, and every record is there as it was.
    Whole,
    /// Verification says that something is wrong.
    Found,
    /// The program says that it cannot go on, and why.
    Refused,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    pub(super) name: &'a str,
    pub(super) change: Change,
    pub(super) situation: Situation,
}

/// Nothing of the program's waits longer for a file that was planted.
const PATIENCE: Duration = Duration::from_secs(60);

impl Exercised {
    /// What came of the change; nothing where it does not change the file.
    pub(super) fn look(&'static self, cell: &Cell<'_>) -> Option<Result<Outcome, String>> {
        let (name, change, situation) = (cell.name.to_owned(), cell.change, cell.situation);
        let (tell, told) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            let dir = Dir::new();
            write(&self.files, &dir.log());
            let outcome = match situation {
                Situation::AtRest => {
                    change.make(&dir.log(), &name, self).then(|| self.judge(&dir, &self.lines))
                }
                Situation::AcrossAStart => {
                    change.make(&dir.log(), &name, self).then(|| self.start(&dir))
                }
                Situation::Running => self.run(&dir, &name, change),
            };
            let _ = tell.send(outcome);
        });
        match told.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(_) => Some(Err("it hangs, or it died".to_owned())),
        }
    }

    /// By every way to ask; `lines` have to be there where it passes.
    fn judge(&self, dir: &Dir, lines: &[String]) -> Result<Outcome, String> {
        let fs: SharedFs = Arc::new(OsFs);
        let anchor = Anchor::parse("kept", &self.kept).expect("a checkpoint");
        let full = Request::default();
        let quick = Request { quick: true, ..Request::default() };
        let against = Request { anchors: vec![anchor], ..Request::default() };
        let mut outcome = Outcome::Whole;
        for (way, request) in [("full", full), ("quick", quick), ("against", against)] {
            match verify(&fs, &dir.log(), &request, &Unwatched) {
                Ok((report, _)) if report.passed() => there(&dir.log(), lines)
                    .map_err(|error| format!("verify ({way}) passes, and {error}"))?,
                Ok(_) if way != "quick" => outcome = Outcome::Found,
                Ok(_) => {}
                Err(error) if error.to_string().len() > 10 => return Ok(Outcome::Refused),
                Err(error) => return Err(format!("says only {error}")),
            }
        }
        Ok(outcome)
    }

    fn options(dir: &Dir) -> Options {
        Options {
            redact: vec!["password".parse().expect("a path")],
            disk_reserve: 0,
            overflow_timeout: Duration::from_millis(500),
            ..options(dir)
        }
    }

    fn start(&self, dir: &Dir) -> Result<Outcome, String> {
        let log = match AuditLog::open(Self::options(dir)) {
            Ok(log) => log,
            Err(error) if error.to_string().len() > 10 => return Ok(Outcome::Refused),
            Err(error) => return Err(format!("says only {error}")),
        };
        let mut lines = self.lines.clone();
        record(dir, &log, &mut lines);
        let _ = log.close();
        self.judge(dir, &lines)
    }

    fn run(&self, dir: &Dir, name: &str, change: Change) -> Option<Result<Outcome, String>> {
        let log = match AuditLog::open(Self::options(dir)) {
            Ok(log) => log,
            Err(error) => return Some(Err(format!("it does not open: {error}"))),
        };
        let mut lines = self.lines.clone();
        for _ in 0..3 {
            record(dir, &log, &mut lines);
        }
        if !dir.log().join(name).exists() || !change.make(&dir.log(), name, self) {
            return None;
        }
        // What the attacker destroyed is not the log's to keep; what it acknowledges
        // from now on is.
        for _ in 0..3 {
            record(dir, &log, &mut lines);
        }
        let _ = log.close();
        drop(log);
        Some(self.judge(dir, &lines))
    }
}

/// Records an event; once it is acknowledged its line has to stay.
fn record(dir: &Dir, log: &AuditLog, lines: &mut Vec<String>) {
    let Ok(receipt) = log.record(Event::new("later").actor("user")) else { return };
    let Ok(seq) = receipt.wait_durable() else { return };
    let begin = format!("{{\"seq\":{seq},");
    if let Some(line) = stored(&dir.log()).into_iter().find(|line| line.starts_with(&begin)) {
        lines.push(line);
    } else {
        // Acknowledged, and not under the file's name just now: what passes must have it.
        lines.push(begin);
    }
}

/// Whether each of the lines is in the log, once.
fn there(dir: &Path, lines: &[String]) -> Result<(), String> {
    let stored = stored(dir);
    let known: std::collections::HashSet<&str> = stored.iter().map(String::as_str).collect();
    if known.len() != stored.len() {
        return Err("a record is there twice".to_owned());
    }
    let is_there = |line: &str| {
        if line.ends_with('}') {
            known.contains(line)
        } else {
            known.iter().any(|stored| stored.starts_with(line))
        }
    };
    match lines.iter().find(|line| !is_there(line)) {
        Some(line) => Err(format!("{line} is not there")),
        None => Ok(()),
    }
}

/// The lines of all segments, as far as they can be read; nothing is waited for.
pub(super) fn stored(dir: &Path) -> Vec<String> {
    let mut text = Vec::new();
    for name in crate::backups::names(dir) {
        let path = dir.join(&name);
        let is_segment = name == "audit.log"
            || (name.starts_with("audit.0")
                && (name.ends_with(".log") || name.ends_with(".log.gz")));
        if !is_segment || !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).expect("read");
        if name.ends_with(".gz") {
            let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            let _ = std::io::Read::read_to_end(&mut decoder, &mut text);
        } else if !dir.join(format!("{name}.gz")).exists() {
            text.extend(bytes);
        }
    }
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}
