//! What can happen: to the log by its own program, which is the real one, and by an
//! attacker who writes files and has no key.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auditctl::audit::files::manifest::Manifest;
use auditctl::audit::tree::merkle::{Hash, Range, leaf_hash};
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::backup::{BackupDir, Creator, Request, Unwatched};
use auditctl::clock::ManualClock;
use auditctl::fsio::OsFs;

use super::judge::Passed;
use super::world::{Files, Kept, Place, State, is_sealed, lines, seq_of, signed};

/// In every line of the attacker's.
pub(super) const FORGED: &str = "FORGED";
const ACTIVE: &str = "audit.log";
const HEAD: &str = "audit.head";
const MANIFEST: &str = "audit.manifest.json";
const CHECKPOINT: &str = "audit.checkpoint";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    // The log's own program.
    /// Open, record, close.
    Close,
    /// Open, record, and the process is killed.
    Kill,
    /// Open, record, and the power goes: what was not synced is as before, and half a
    /// line stands at the end.
    PowerLoss,
    /// Open, record, seal, record, close.
    Seal,
    /// Open, let retention remove what is sealed, close.
    Retain,
    /// Open, change the key, close.
    Rotate,
    /// A backup is made, whose tree head is out of the attacker's reach.
    Backup,
    // An attacker.
    /// He copies the directory.
    Copy,
    /// He puts a file of the copy back.
    PutBack(&'static str),
    /// Or all of it.
    PutBackAll,
    /// He cuts the last line of the active segment.
    Cut,
    /// He appends a line: an event, or a record as of the engine's own.
    Append(&'static str),
    /// He changes a byte of the active segment's last record, or of a sealed one's.
    AlterActive,
    AlterSealed,
    /// He removes the first sealed segment, and has the manifest say that retention did.
    RemoveFirst,
    /// He removes a file.
    Remove(&'static str),
}

impl Action {
    pub(super) const HONEST: [Self; 7] = [
        Self::Close,
        Self::Kill,
        Self::PowerLoss,
        Self::Seal,
        Self::Retain,
        Self::Rotate,
        Self::Backup,
    ];
    pub(super) const ATTACKS: [Self; 17] = [
        Self::Copy,
        Self::PutBack(MANIFEST),
        Self::PutBack(CHECKPOINT),
        Self::PutBack(HEAD),
        Self::PutBack(ACTIVE),
        Self::PutBackAll,
        Self::Cut,
        Self::Append("approve.payment"),
        Self::Append("audit.closed"),
        Self::Append("audit.pruned"),
        Self::AlterActive,
        Self::AlterSealed,
        Self::RemoveFirst,
        Self::Remove(MANIFEST),
        Self::Remove(CHECKPOINT),
        Self::Remove(HEAD),
        Self::Remove("audit.keys"),
    ];

    pub(super) fn is_honest(self) -> bool {
        Self::HONEST.contains(&self)
    }

    /// The state afterwards; nothing where it cannot happen or changes nothing. An
    /// invariant that does not hold is an error.
    pub(super) fn apply(self, before: &State) -> Result<Option<State>, String> {
        let mut after = before.clone();
        after.path.push(self);
        if self.is_honest() {
            return after.run(self, before);
        }
        if !after.attack(self) {
            return Ok(None);
        }
        if self != Self::Copy {
            after.truth.tampered = true;
            // Without the newest head an older checkpoint is the newest signature.
            let replays = [Self::PutBackAll, Self::Remove(HEAD), Self::Remove(CHECKPOINT)];
            after.truth.replayed |= matches!(self, Self::PutBack(_)) || replays.contains(&self);
        }
        Ok(Some(after))
    }
}

/// A log of one record and those of the engine's own.
pub(super) fn first() -> State {
    let empty =
        State { files: Files::new(), truth: Default::default(), copy: None, path: Vec::new() };
    let made = Action::Seal.apply(&empty).expect("holds").expect("a log");
    let mut again = Action::Seal.apply(&made).expect("holds").expect("a log");
    again.path.clear();
    again
}

impl State {
    fn options(&self, place: &Place) -> Options {
        // By the clock's word one second per record: the same in each run.
        let seconds = self.truth.hours * 3_600 + self.truth.written as i64;
        let start = auditctl::clock::Timestamp::from_micros(1_790_000_000_000_000);
        let clock = ManualClock::new(start);
        clock.advance(Duration::from_secs(seconds.unsigned_abs()));
        Options {
            clock: Arc::new(clock),
            rate_limit: None,
            overflow_timeout: Duration::from_secs(20),
            checkpoint_interval: Duration::from_secs(3_600),
            idle_checkpoint_interval: Duration::from_secs(3_600),
            retention: None,
            disk_reserve: 0,
            ..Options::new(place.log())
        }
    }

    /// Where an attacker has been, the program may have reason not to do it.
    fn patience(&self) -> Duration {
        Duration::from_millis(if self.truth.tampered { 300 } else { 20_000 })
    }

    /// A session of the program.
    fn run(mut self, action: Action, before: &State) -> Result<Option<State>, String> {
        if action == Action::Backup {
            return self.back_up(before);
        }
        if (action == Action::Rotate && self.truth.rotated)
            || (action == Action::Retain && !self.files.keys().any(|name| is_sealed(name)))
        {
            return Ok(None);
        }
        let place = Place::new(&self.files);
        let mut options = self.options(&place);
        if action == Action::Retain {
            self.truth.hours += 2;
            options = Options {
                retention: Some(Duration::from_secs(3_600)),
                retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
                // What is removed waits for a checkpoint that covers the record of it.
                checkpoint_interval: Duration::from_millis(10),
                ..self.options(&place)
            };
        }
        let log = match AuditLog::open(options) {
            Ok(log) => log,
            Err(error) if !self.truth.tampered => return Err(format!("it does not open: {error}")),
            Err(_) => return Ok(None),
        };
        let mut acknowledged = Vec::new();
        let record = |log: &AuditLog, acknowledged: &mut Vec<u64>| {
            let receipt = log.record(Event::new("e").actor("user")).map_err(|e| e.to_string())?;
            acknowledged.push(receipt.wait_durable().map_err(|error| error.to_string())?);
            Ok::<(), String>(())
        };
        record(&log, &mut acknowledged)?;
        match action {
            Action::Seal => {
                let sealed = log.manifest().segments.len();
                log.seal();
                until(self.patience(), || {
                    let manifest = log.manifest();
                    manifest.segments.len() > sealed
                        && manifest.segments.iter().all(|segment| segment.is_compressed())
                });
                record(&log, &mut acknowledged)?;
            }
            Action::Retain => {
                let pruned = log.manifest().pruned.end();
                until(self.patience(), || log.manifest().pruned.end() > pruned);
            }
            Action::Rotate => {
                log.rotate_key(&RotateRequest::default()).map_err(|error| error.to_string())?;
                self.truth.rotated = true;
            }
            _ => {}
        }
        let files = match action {
            Action::Kill | Action::PowerLoss => {
                let mut files = place.files();
                if action == Action::PowerLoss {
                    lose_power(&mut files, &before.files);
                }
                drop(log);
                files
            }
            _ => {
                log.close().map_err(|error| format!("it does not close: {error}"))?;
                if action == Action::Retain {
                    // Closing still carries out what is recorded and signed.
                    self.truth.pruned_to = self.truth.pruned_to.max(log.manifest().pruned.end());
                }
                drop(log);
                place.files()
            }
        };
        self.files = files;
        self.learn(before, &acknowledged)?;
        Ok(Some(self))
    }

    /// What the session made true, and what it must not have lost.
    fn learn(&mut self, before: &State, acknowledged: &[u64]) -> Result<(), String> {
        let (old, new) = (before.lines(), self.lines());
        let found = |line: &&String| line.ends_with('}') && !old.contains(line);
        for line in new.iter().filter(found) {
            self.truth.honest.insert(line.clone());
            let seq = seq_of(line).unwrap_or(0);
            self.truth.written = self.truth.written.max(seq + 1);
        }
        self.truth.end = match self.path.last() {
            Some(Action::PowerLoss) => signed(&self.files),
            // It records nothing.
            Some(Action::Backup) => self.truth.end,
            _ => new.last().and_then(|line| seq_of(line)).map_or(0, |seq| seq + 1),
        };
        for seq in acknowledged {
            let mut stored = new.iter().filter(|line| seq_of(line) == Some(*seq));
            match (stored.next(), stored.next()) {
                (Some(line), None) => self.truth.acknowledged.insert(line.clone()),
                (None, _) => {
                    return Err(format!("record {seq} was acknowledged, and is not there"));
                }
                (Some(_), Some(_)) => return Err(format!("record {seq} is there twice")),
            };
        }
        let aside: String = self
            .files
            .iter()
            .filter(|(name, _)| name.starts_with("audit.log."))
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
            .collect();
        for line in old.iter().filter(|line| self.truth.acknowledged.contains(*line)) {
            let removed = seq_of(line).is_some_and(|seq| seq < self.truth.pruned_to);
            if !removed && !new.contains(line) && !aside.contains(line.as_str()) {
                return Err(format!("the session lost an acknowledged record: {line}"));
            }
        }
        Ok(())
    }

    fn back_up(mut self, before: &State) -> Result<Option<State>, String> {
        if self.truth.kept.is_some() {
            return Ok(None);
        }
        let place = Place::new(&self.files);
        let fs: auditctl::fsio::SharedFs = Arc::new(OsFs);
        let creator = Creator {
            fs: fs.clone(),
            clock: self.options(&place).clock,
            dir: BackupDir::new(fs, &place.backups()),
        };
        let request = Request {
            log_dir: place.log(),
            key_path: None,
            level: 6,
            encrypt_to: Vec::new(),
            chain: None,
        };
        let made = match creator.create(&request, &Unwatched) {
            Ok(made) => made,
            Err(error) if !self.truth.tampered => return Err(format!("no backup: {error}")),
            Err(_) => return Ok(None),
        };
        let mut text = String::new();
        let archive = std::fs::File::open(&made.archive).expect("the archive");
        flate2::read::MultiGzDecoder::new(archive).read_to_string(&mut text).expect("lines");
        // One that the program says is good is what was recorded.
        let stored: Vec<String> = text.lines().map(str::to_owned).collect();
        if !made.metadata.lacking().is_empty() {
            // It says that it is not all, and which records it lacks: the rest is honest.
            let lacks = |seq: u64| made.metadata.lacking().iter().any(|span| span.contains(seq));
            let wrong = stored
                .iter()
                .find(|line| !self.truth.honest.contains(*line) || seq_of(line).is_none_or(lacks));
            return match wrong {
                Some(line) => Err(format!("backup: it holds {line}")),
                None if !self.truth.tampered => Err("backup: it lacks good records".to_owned()),
                None => Ok(None),
            };
        }
        super::judge::records(&self.truth, &stored, &Passed::all())
            .map_err(|error| format!("backup: {error}"))?;
        let lines = stored.into_iter().filter_map(|line| Some((seq_of(&line)?, line))).collect();
        let size = made.metadata.range.tree_size;
        let note = made.metadata.checkpoint.into_bytes();
        self.truth.kept = Some(Kept { note, size, lines });
        self.files = place.files();
        self.learn(before, &[])?;
        Ok(Some(self))
    }

    /// Whether there was something to do.
    fn attack(&mut self, action: Action) -> bool {
        match action {
            Action::Copy => {
                let news = self.copy.is_none();
                self.copy = Some(Arc::new(self.files.clone()));
                news
            }
            Action::PutBack(name) => {
                let Some(old) = self.copy.as_ref().and_then(|copy| copy.get(name)) else {
                    return false;
                };
                self.files.insert(name.to_owned(), Arc::clone(old)).as_ref() != Some(old)
            }
            Action::PutBackAll => {
                let Some(copy) = self.copy.clone() else { return false };
                let news = *copy != self.files;
                self.files = (*copy).clone();
                news
            }
            Action::Cut => self.change(ACTIVE, |text| {
                text.truncate(text.len().saturating_sub(1));
                let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                text.truncate(end);
            }),
            Action::Append(event_type) => {
                let seq =
                    lines(&self.files).last().and_then(|line| seq_of(line)).map_or(0, |s| s + 1);
                let line = forged(seq, event_type, &self.files);
                self.change(ACTIVE, |text| text.extend(line.as_bytes()))
            }
            Action::AlterActive => self.change(ACTIVE, |text| {
                // A digit of a time: the line stays a record.
                let digit = memchr::memmem::rfind(text, b"timestamp\":\"").map(|at| at + 12 + 3);
                if let Some(byte) = digit.and_then(|at| text.get_mut(at)) {
                    *byte = if *byte == b'0' { b'1' } else { b'0' };
                }
            }),
            Action::AlterSealed => {
                let name = self.files.keys().find(|name| name.ends_with(".log.gz")).cloned();
                name.is_some_and(|name| {
                    self.change(&name, |bytes| {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    })
                })
            }
            Action::RemoveFirst => self.remove_first(),
            Action::Remove(name) => self.files.remove(name).is_some(),
            _ => false,
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(old) = self.files.get(name) else { return false };
        let mut new = old.to_vec();
        change(&mut new);
        let news = new[..] != old[..];
        self.files.insert(name.to_owned(), new.into());
        news
    }

    fn remove_first(&mut self) -> bool {
        let Some(text) = self.files.get(MANIFEST) else { return false };
        let Ok(mut manifest) = Manifest::parse(text) else { return false };
        if manifest.segments.is_empty() {
            return false;
        }
        let first = manifest.segments.remove_first(1).remove(0);
        for block in &first.blocks {
            if manifest.pruned.extend(&block.tree).is_err() {
                return false;
            }
        }
        let Ok(text) = manifest.encode() else { return false };
        self.files.insert(MANIFEST.to_owned(), text.into());
        self.files.remove(&first.file);
        self.files.remove(&format!("audit.{:020}.filter", first.first_seq));
        true
    }
}

/// What was not synced is not there, or is there in part.
fn lose_power(files: &mut Files, before: &Files) {
    match before.get(HEAD) {
        Some(old) => files.insert(HEAD.to_owned(), Arc::clone(old)),
        None => files.remove(HEAD),
    };
    if let Some(active) = files.get(ACTIVE) {
        let mut torn = active.to_vec();
        torn.extend(b"{\"seq\":9,\"timest");
        files.insert(ACTIVE.to_owned(), torn.into());
    }
}

/// A line of the attacker's; the one that says that retention removed records has all
/// that such a record has.
fn forged(seq: u64, event_type: &str, files: &Files) -> String {
    let all: Vec<String> = lines(files);
    let first = all.first().and_then(|line| seq_of(line)).unwrap_or(0);
    let details = if event_type == "audit.pruned" && first == 0 {
        let manifest = files.get(MANIFEST).and_then(|text| Manifest::parse(text).ok());
        let end = manifest.and_then(|m| m.segments.first().map(|s| s.end_seq())).unwrap_or(1);
        let mut tree = Range::empty(0);
        all.iter().take(end as usize).for_each(|line| tree.append(leaf_hash(line.as_bytes())));
        let root: Option<Hash> = tree.root().ok();
        let root_hash = root.map(|root| root.to_string()).unwrap_or_default();
        serde_json::json!({
            "pruned_to": end, "root_hash": root_hash, "tree": tree, "first_seq": 0,
            "records": end, "segments": 1, "bytes": 1, "held_by": [],
        })
    } else {
        serde_json::json!({ "records_since_open": 1 })
    };
    format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-11-26T21:00:00.000000Z\",\"event_type\":\"{event_type}\",\
         \"actor\":\"{FORGED}\",\"source\":\"auditctl\",\"details\":{details},\
         \"origin\":{{\"via\":\"engine\",\"uid\":0,\"pid\":1}}}}\n"
    )
}

/// Waits for what the program does in the background.
fn until(patience: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !is_so() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}
