//! `audit.alerts.journal`: the state on disk, as the changes that lead to it.
//!
//! NDJSON. The first line says what it is ([`Kind::ALERTS_JOURNAL`]) and of which log; each further line is one
//! [`Change`] with the log's seal over the whole file up to there, written and synced
//! before anybody acts on it. So a crash leaves either all of a change or none: at
//! most a torn last line, which is cut. When the file has grown, it is replaced by
//! one line that leads to the same state.
//!
//! What no seal covers was written by somebody else, and is not believed: nobody
//! without the log's key can say that something was delivered, or looked at. An
//! older journal of ours, or the beginning of one, says less than was done, never
//! more: alerts are then told again. That there is none at all says nothing: how far
//! alerts are stands in the log itself ([`position`](super::position)).

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::MAX_JOURNAL_HEADER_BYTES;
use super::state::{Change, State};
use crate::audit::tree::document::{DocumentError, Kind, Layout, decode, encode_file};
use crate::audit::write::own_files::Identity;
use crate::fsio::aside::set_aside;
use crate::fsio::{self, FileReader, FsFile, OpenMode, SharedFs};
use crate::units::hex;

/// The file is never smaller than this when it is replaced.
const MIN_COMPACT_BYTES: u64 = 256 << 10;
/// A torn line, or the hole that a power loss leaves, is no longer than this.
const MAX_TORN_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    log_id: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    change: &'a RawValue,
    seal: String,
}

/// The log's signature; see [`Seal`](crate::audit::Seal).
pub(super) trait Sealing: Send + Sync + std::fmt::Debug {
    /// Seals a line.
    fn seal(&self, about: &str) -> Result<String, String>;
    /// Whether that is our seal under it.
    fn holds(&self, about: &str, seal: &str) -> bool;
}

impl Sealing for crate::audit::Seal {
    fn seal(&self, about: &str) -> Result<String, String> {
        Self::seal(self, about)
    }

    fn holds(&self, about: &str, seal: &str) -> bool {
        Self::holds(self, about, seal)
    }
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
    /// A newer version made it.
    #[error(
        "{path}: {what}, or move it away. Alerts then continue from the place that the log has \
         recorded, and may come twice"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Which format it has.
        what: DocumentError,
    },
}

/// Which journal of which log, and who seals it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) fs: SharedFs,
    pub(super) path: PathBuf,
    pub(super) log_id: String,
    pub(super) seal: Box<dyn Sealing>,
    /// No journal of ours is larger.
    pub(super) limit: u64,
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    place: Place,
    written: Written,
    compact_at: u64,
}

/// The open file, and what is in it.
#[derive(Debug)]
struct Written {
    file: Box<dyn FsFile>,
    length: u64,
    /// Over all of it.
    digest: Sha256,
    /// As it was when we wrote last.
    seen: Option<Identity>,
}

/// What was found when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    /// The journal, ready to be written.
    pub journal: Journal,
    /// The state that our own lines lead to; the default where there are none.
    pub state: State,
    /// What was wrong with it.
    pub missed: Option<Missed>,
}

/// A journal that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// `deleted`, `replaced` or `altered`.
    pub what: &'static str,
    /// How that was seen; empty when it is not there.
    pub why: String,
    /// Where it is now.
    pub set_aside: Option<String>,
}

impl Journal {
    /// Reads the journal, and begins it anew with what it said. One that is not as
    /// this log wrote it is set aside: `stamp` ends its name.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(super) fn open(place: Place, stamp: &str) -> Result<Found, JournalError> {
        let (state, missed) = match read(&place) {
            Ok((state, None)) => (state, None),
            Ok((state, Some(why))) => (state, Some(("altered", why))),
            Err(Unread::Missing) => (State::default(), Some(("deleted", String::new()))),
            Err(Unread::NotOurs(why)) => (State::default(), Some(("altered", why))),
            Err(Unread::Failed(error)) => return Err(error),
        };
        let missed = match missed {
            None => None,
            Some((what, why)) => {
                let set_aside = set_aside(&*place.fs, &place.path, stamp)
                    .map_err(|error| place.failed("set aside", error))?;
                Some(Missed { what, why, set_aside })
            }
        };
        let written = place.begin(&state)?;
        let compact_at = (2 * written.length).max(MIN_COMPACT_BYTES);
        Ok(Found { journal: Self { place, written, compact_at }, state, missed })
    }

    /// Stores a change, durably. `after` is the state once it is made.
    ///
    /// # Errors
    /// When it is not stored; the file is then as it was.
    pub(super) fn append(&mut self, change: &Change, after: &State) -> Result<(), JournalError> {
        if self.written.length > self.compact_at {
            return self.write_anew(after);
        }
        let written = &mut self.written;
        let mut digest = written.digest.clone();
        let failed = |error| self.place.failed("write", error);
        let line = line(change, &mut digest, &*self.place.seal).map_err(failed)?;
        let stored = written
            .file
            .write_all_at(&line, written.length)
            .and_then(|()| written.file.sync_data());
        if let Err(error) = stored {
            // What cannot be cut is a torn line at most, overwritten by the next.
            let _ = written.file.set_len(written.length);
            written.see();
            return Err(failed(error));
        }
        written.length += line.len() as u64;
        written.digest = digest;
        written.see();
        Ok(())
    }

    /// What became of the file since it was written last.
    pub(super) fn is_missed(&mut self) -> Option<&'static str> {
        let there = match self.place.fs.entry(&self.place.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some("deleted"),
            // Nobody can tell now.
            Err(_) => return None,
        };
        let ours = self.written.file.meta().ok()?;
        if !there.is_file || !there.same_file(&ours) {
            return Some("replaced");
        }
        let now = Identity::of(&ours);
        if self.written.seen.is_some_and(|seen| seen.is_unchanged(&now)) {
            return None;
        }
        if !self.written.is_whole() {
            return Some("altered");
        }
        self.written.seen = Some(now);
        None
    }

    /// Puts the file back, with all that it should hold: where what stood there is now.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(super) fn put_back(
        &mut self,
        state: &State,
        stamp: &str,
    ) -> Result<Option<String>, JournalError> {
        let aside = set_aside(&*self.place.fs, &self.place.path, stamp)
            .map_err(|error| self.place.failed("set aside", error))?;
        self.write_anew(state)?;
        Ok(aside)
    }

    fn write_anew(&mut self, state: &State) -> Result<(), JournalError> {
        self.written = self.place.begin(state)?;
        self.compact_at = (2 * self.written.length).max(MIN_COMPACT_BYTES);
        Ok(())
    }
}

impl Written {
    fn see(&mut self) {
        self.seen = self.file.meta().ok().map(|meta| Identity::of(&meta));
    }

    /// Whether the file holds what was written.
    fn is_whole(&self) -> bool {
        if self.file.meta().is_ok_and(|meta| meta.len != self.length) {
            return false;
        }
        let mut reader = FileReader { file: &*self.file, offset: 0 }.take(self.length + 1);
        let mut digest = Sha256::new();
        // Unreadable: nobody can tell now.
        io::copy(&mut reader, &mut digest).is_err()
            || digest.finalize() == self.digest.clone().finalize()
    }
}

impl Place {
    fn failed(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { action, path: self.path.clone(), source }
    }

    /// Replaces the file by one that leads to the state.
    fn begin(&self, state: &State) -> Result<Written, JournalError> {
        let begun = || -> io::Result<Written> {
            let mut digest = Sha256::new();
            let header = Header { log_id: self.log_id.clone() };
            let mut content = encode_file(Kind::ALERTS_JOURNAL, &header, Layout::Compact)
                .map_err(io::Error::other)?;
            digest.update(&content);
            content.extend(line(&state.snapshot(), &mut digest, &*self.seal)?);
            fsio::replace_file(&*self.fs, &self.path, &content)?;
            let file = self.fs.open(&self.path, OpenMode::Write)?;
            let mut written = Written { file, length: content.len() as u64, digest, seen: None };
            written.see();
            Ok(written)
        };
        begun().map_err(|error| self.failed("write", error))
    }
}

/// Why nothing was read.
enum Unread {
    Missing,
    /// In words.
    NotOurs(String),
    Failed(JournalError),
}

/// The state, and what is wrong, unless nothing but the last line is torn.
fn read(place: &Place) -> Result<(State, Option<String>), Unread> {
    let not_ours = |why: String| Err(Unread::NotOurs(why));
    let file = match place.fs.open(&place.path, OpenMode::ReadOwn) {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Err(Unread::Missing),
                // A link, a pipe, a directory.
                io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
                    not_ours(error.to_string())
                }
                _ => Err(Unread::Failed(place.failed("read", error))),
            };
        }
    };
    let failed = |error| Unread::Failed(place.failed("read", error));
    let length = file.meta().map_err(failed)?.len;
    if length > place.limit {
        return not_ours(format!("it is larger than {} bytes", place.limit));
    }
    let mut input = BufReader::new(FileReader { file: &*file, offset: 0 });
    let mut text = Vec::new();
    let mut digest = Sha256::new();
    input.by_ref().take(MAX_JOURNAL_HEADER_BYTES).read_until(b'\n', &mut text).map_err(failed)?;
    match decode::<Header>(Kind::ALERTS_JOURNAL, &text) {
        Err(what @ DocumentError::Newer { .. }) => {
            let path = place.path.clone();
            return Err(Unread::Failed(JournalError::Newer { path, what }));
        }
        Ok(_) if !text.ends_with(b"\n") => {
            return not_ours("it is not a journal of alerts".to_owned());
        }
        Ok(header) if header.log_id == place.log_id => digest.update(&text),
        Ok(_) => return not_ours("it is another log's".to_owned()),
        Err(_) => return not_ours("it is not a journal of alerts".to_owned()),
    }
    let mut state = None;
    let mut at = text.len() as u64;
    loop {
        text.clear();
        // Not beyond a hole: sparse gigabytes take no memory.
        let whole = read_line(&mut input, &mut text).map_err(failed)?;
        let change = whole.then(|| checked(&text, &mut digest, &*place.seal)).flatten();
        match change {
            Some(change) => state.get_or_insert_with(State::default).apply(&change),
            None if at == length => break,
            None => {
                let torn = !whole
                    && length - at <= MAX_TORN_BYTES
                    && is_one_line(&mut input).map_err(failed)?;
                let why = (!torn).then(|| format!("this log did not write the bytes at {at}"));
                return Ok((state.unwrap_or_default(), why));
            }
        }
        at += text.len() as u64;
    }
    match state {
        Some(state) => Ok((state, None)),
        None => not_ours("only its first line is left".to_owned()),
    }
}

/// Up to the next line feed; `false` where the file, or what is text of it, ends.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let piece = input.fill_buf()?;
        let end = memchr::memchr2(b'\n', 0, piece);
        let taken = end.map_or(piece.len(), |end| end + 1);
        let (last, is_empty) = (end.map(|end| piece[end]), piece.is_empty());
        text.extend_from_slice(&piece[..taken]);
        input.consume(taken);
        if is_empty || last.is_some() {
            return Ok(last == Some(b'\n'));
        }
    }
}

/// Whether nothing follows the line that was begun: what a power loss leaves of one
/// line may have holes anywhere, and ends where the line did.
fn is_one_line(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let piece = input.fill_buf()?;
        let (end, length) = (memchr::memchr(b'\n', piece), piece.len());
        if length == 0 {
            return Ok(true);
        }
        input.consume(length);
        if end.is_some_and(|end| end + 1 < length) {
            return Ok(false);
        }
        if end.is_some() {
            return Ok(input.fill_buf()?.is_empty());
        }
    }
}

/// What a line says, if it is sealed; the digest is then over it as well.
fn checked(line: &[u8], digest: &mut Sha256, seal: &dyn Sealing) -> Option<Change> {
    let parsed: Line<'_> = serde_json::from_slice(line).ok()?;
    let mut up_to_here = digest.clone();
    up_to_here.update(parsed.change.get());
    if !seal.holds(&hex(&up_to_here.finalize()), &parsed.seal) {
        return None;
    }
    digest.update(line);
    serde_json::from_str(parsed.change.get()).ok()
}

/// A line, sealed over all that the digest is over and its change; the digest is then
/// over it as well.
fn line(change: &Change, digest: &mut Sha256, seal: &dyn Sealing) -> io::Result<Vec<u8>> {
    let change = serde_json::to_string(change).map_err(io::Error::other)?;
    let mut up_to_here = digest.clone();
    up_to_here.update(&change);
    let seal = seal.seal(&hex(&up_to_here.finalize())).map_err(io::Error::other)?;
    let seal = serde_json::to_string(&seal).map_err(io::Error::other)?;
    let line = format!("{{\"change\":{change},\"seal\":{seal}}}\n").into_bytes();
    digest.update(&line);
    Ok(line)
}

#[cfg(test)]
mod tests;
