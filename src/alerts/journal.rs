//! `audit.alerts.journal`: the state on disk, as the changes that lead to it.
//!
//! NDJSON. The first line names the format and the log; each further line is one
//! [`Change`], written and synced before anybody acts on it. So a crash leaves
//! either all of a change or none: at most a torn last line, which is cut. When the
//! file has grown, it is replaced by one line that leads to the same state.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::{Change, State};
use crate::fsio::{self, Fs, FsFile, OpenMode, SharedFs};

/// The file is never smaller than this when it is replaced.
const MIN_COMPACT_BYTES: u64 = 256 << 10;
/// A file larger than this is none of ours.
pub(super) const MAX_JOURNAL_BYTES: u64 = 4 << 30;
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    log_id: String,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another version's.
    #[error("{path} is of format {found}, this version knows {FORMAT}; move it away to begin anew")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    fs: SharedFs,
    path: PathBuf,
    log_id: String,
    file: Box<dyn FsFile>,
    length: u64,
    compact_at: u64,
}

/// What was found when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    /// The journal, ready to be written.
    pub journal: Journal,
    /// The state; the default where there was none.
    pub state: State,
    /// Where a damaged one was set aside.
    pub set_aside: Option<PathBuf>,
}

impl Journal {
    /// Reads the journal, and begins it anew with what it said. One of another log
    /// is set aside, and so is one with damage before its last line: `stamp` ends
    /// its name.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(super) fn open(
        fs: &SharedFs,
        path: &Path,
        (log_id, stamp): (&str, &str),
    ) -> Result<Found, JournalError> {
        let failed =
            |action| move |source| JournalError::Io { action, path: path.to_path_buf(), source };
        let content = match fs.read_own(path, MAX_JOURNAL_BYTES) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        let (state, is_whole) = read(&content, path, log_id)?;
        let mut set_aside = None;
        if !is_whole {
            let aside = path.with_extension(format!("journal.bad-{stamp}"));
            fs.rename(path, &aside).map_err(failed("set aside"))?;
            set_aside = Some(aside);
        }
        let log_id = log_id.to_owned();
        let (file, length) = begin(&**fs, path, &log_id, &state).map_err(failed("write"))?;
        let compact_at = (2 * length).max(MIN_COMPACT_BYTES);
        let journal =
            Self { fs: fs.clone(), path: path.to_path_buf(), log_id, file, length, compact_at };
        Ok(Found { journal, state, set_aside })
    }

    /// Stores a change, durably. `after` is the state once it is made.
    ///
    /// # Errors
    /// When it is not stored; the file is then as it was.
    pub(super) fn append(&mut self, change: &Change, after: &State) -> Result<(), JournalError> {
        let action = "write";
        let failed = |source| JournalError::Io { action, path: self.path.clone(), source };
        if self.length > self.compact_at {
            let (file, length) =
                begin(&*self.fs, &self.path, &self.log_id, after).map_err(failed)?;
            (self.file, self.length) = (file, length);
            self.compact_at = (2 * length).max(MIN_COMPACT_BYTES);
            return Ok(());
        }
        let line = line(change).map_err(failed)?;
        let written =
            self.file.write_all_at(&line, self.length).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What cannot be cut is a torn line at most, overwritten by the next.
            let _ = self.file.set_len(self.length);
            return Err(failed(source));
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The state, and whether nothing but the last line is torn.
fn read(content: &[u8], path: &Path, log_id: &str) -> Result<(State, bool), JournalError> {
    let mut state = State::default();
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return Ok((state, true)) };
    match serde_json::from_slice::<Header>(first) {
        Ok(header) if header.format != FORMAT => {
            return Err(JournalError::Format { path: path.to_path_buf(), found: header.format });
        }
        Ok(header) if header.log_id == log_id => {}
        _ => return Ok((state, false)),
    }
    while let Some(line) = lines.next() {
        let change = line.ends_with(b"\n").then(|| serde_json::from_slice::<Change>(line).ok());
        match change.flatten() {
            Some(change) => state.apply(&change),
            None => return Ok((state, lines.next().is_none())),
        }
    }
    Ok((state, true))
}

fn line(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(content).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// Replaces the file by one that leads to the state.
fn begin(
    fs: &dyn Fs,
    path: &Path,
    log_id: &str,
    state: &State,
) -> io::Result<(Box<dyn FsFile>, u64)> {
    let mut content = line(&Header { format: FORMAT, log_id: log_id.to_owned() })?;
    content.extend(line(&state.snapshot())?);
    fsio::replace_file(fs, path, &content)?;
    Ok((fs.open(path, OpenMode::Write)?, content.len() as u64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::alerts::occurrence::Occurrence;
    use crate::alerts::state::{Failed, Memory};
    use crate::clock::Timestamp;
    use crate::fsio::OsFs;

    fn occurrence(n: u64) -> Occurrence {
        Occurrence {
            id: format!("log/ops/{n}"),
            alert: "ops".to_owned(),
            trigger: "event".to_owned(),
            at: Timestamp::from_micros(n as i64),
            record: None,
            record_cut: false,
            errors: None,
            health: None,
            suppressed: None,
        }
    }

    /// Something new waits, something old is done, and what is remembered changes.
    fn change(n: u64) -> Change {
        let fired_at = Some(Timestamp::from_micros(n as i64));
        let memory = Memory { fired_at, suppressed: n, ..Memory::default() };
        let done = |every| n > 3 && n.is_multiple_of(every);
        let failed = Failed {
            id: format!("log/ops/{}", n - n.min(3)),
            alert: "ops".to_owned(),
            at: Timestamp::from_micros(n as i64),
            reason: "HTTP 404".to_owned(),
        };
        Change {
            cursor: Some(n * 10),
            alerts: BTreeMap::from([("ops".to_owned(), memory)]),
            add: vec![occurrence(n)],
            delivered: if done(2) { vec![format!("log/ops/{}", n - 2)] } else { Vec::new() },
            failed: if done(3) { vec![failed] } else { Vec::new() },
        }
    }

    fn text(state: &State) -> String {
        serde_json::to_string(&state.snapshot()).expect("JSON")
    }

    fn open(path: &Path) -> Found {
        let fs: SharedFs = Arc::new(OsFs);
        Journal::open(&fs, path, ("log", "20260204_210940")).expect("open")
    }

    #[test]
    fn a_journal_cut_anywhere_is_the_state_after_one_of_the_changes() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.alerts.journal");
        let Found { mut journal, mut state, .. } = open(&path);
        let mut states = vec![text(&state)];
        for n in 1..20 {
            let change = change(n);
            state.apply(&change);
            journal.append(&change, &state).expect("appended");
            states.push(text(&state));
        }
        let whole = std::fs::read(&path).expect("read");
        let begun = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1);
        let begun = begun.expect("two lines").0 + 1;
        let mut last = 0;
        for cut in begun..=whole.len() {
            let (found, is_whole) = read(&whole[..cut], &path, "log").expect("read");
            assert!(is_whole, "cut at {cut}");
            let at = states.iter().position(|known| *known == text(&found));
            let at = at.unwrap_or_else(|| panic!("cut at {cut}: {}", text(&found)));
            assert!(at >= last, "never back");
            last = at;
        }
        assert_eq!(last, states.len() - 1);
    }

    #[test]
    fn a_journal_that_has_grown_is_replaced_and_says_the_same() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.alerts.journal");
        let Found { mut journal, mut state, .. } = open(&path);
        let mut largest = 0;
        for n in 1..3_000 {
            let change = Change { delivered: vec![format!("log/ops/{}", n - 1)], ..change(n) };
            state.apply(&change);
            journal.append(&change, &state).expect("appended");
            largest = largest.max(std::fs::metadata(&path).expect("there").len());
        }
        assert!(largest < 2 * MIN_COMPACT_BYTES, "{largest}");
        assert_eq!(text(&open(&path).state), text(&state));
    }

    #[test]
    fn one_of_another_log_and_one_with_damage_are_set_aside() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.alerts.journal");
        let begin = |state: &State| {
            let Found { mut journal, .. } = open(&path);
            journal.append(&change(1), state).expect("appended");
            journal.append(&change(2), state).expect("appended");
        };
        begin(&State::default());
        let fs: SharedFs = Arc::new(OsFs);
        let other = Journal::open(&fs, &path, ("other", "stamp")).expect("open");
        assert_eq!(other.state.cursor, None);
        let aside = other.set_aside.expect("set aside");
        assert!(aside.to_string_lossy().ends_with("audit.alerts.journal.bad-stamp"), "{aside:?}");
        std::fs::remove_file(&path).expect("removed");
        begin(&State::default());
        let damaged = std::fs::read_to_string(&path).expect("read").replacen(
            "\"cursor\":10",
            "\"cursor\":x",
            1,
        );
        std::fs::write(&path, damaged).expect("written");
        let found = open(&path);
        assert!(found.set_aside.is_some(), "damage that is not at the end");
        std::fs::write(&path, "{\"format\":2,\"log_id\":\"log\"}\n").expect("written");
        let newer = Journal::open(&fs, &path, ("log", "stamp")).expect_err("a newer format");
        assert!(newer.to_string().contains("format 2"), "{newer}");
    }
}
