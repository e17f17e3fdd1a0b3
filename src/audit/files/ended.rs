//! Records that an opening left behind with the epoch that they are of.
//!
//! Where nothing tells which record of the active segment is damaged, accepting the
//! damage begins an epoch: the tree goes on without records that the log had signed.
//! They cannot come back into that tree. What the log signed last over them is kept in
//! its own records, so a copy that hashes to it is proven for ever: `repair` puts it
//! beside the log, as lines and the signed head that proves them.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::paths::LogPaths;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::{FileReader, Fs, FsFile, OpenMode};

/// So many of them a log keeps count of: those of the newest epochs.
pub(crate) const MOST: usize = 64;

/// An epoch that ended with records which the next one does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedEpoch {
    /// The epoch that ended.
    pub epoch: u32,
    /// The first record that was left behind.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// The tree over what comes before them: with it and the signed head the records are
    /// proven also when everything else has been removed by retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Range>,
    /// The epoch's last signed head.
    pub checkpoint: String,
    /// What was wrong.
    pub reason: String,
    /// The record that says so; absent while none is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// When that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What there is of such records beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// No copy.
    Nothing,
    /// A copy that is proven, up to before that record.
    Proven(u64),
    /// A file that proves nothing, and why.
    Unproven(String),
}

impl EndedEpoch {
    /// How many records were left behind.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.end_seq.saturating_sub(self.first_seq)
    }

    /// The file beside the log that a copy of them has.
    #[must_use]
    pub fn file(&self) -> String {
        format!("audit.epoch-{}.{:020}.log", self.epoch, self.first_seq)
    }

    /// The file with the signed head that proves the copy.
    #[must_use]
    pub fn head_file(&self) -> String {
        format!("audit.epoch-{}.{:020}.checkpoint", self.epoch, self.first_seq)
    }

    /// How many of them no copy beside the log seems to hold, by names and the word of the
    /// head beside the copy. Nothing rests on it.
    pub(crate) fn seems_missing(&self, fs: &dyn Fs, paths: &LogPaths) -> u64 {
        let is_there = fs.entry(&paths.dir.join(self.file())).is_ok_and(|meta| meta.is_file);
        let note = fs.read_own(&paths.dir.join(self.head_file()), MAX_NOTE_BYTES as u64);
        let note = note.ok().filter(|_| is_there);
        let note = note.and_then(|note| SignedCheckpoint::parse(&note).ok());
        let to = note.map_or(self.first_seq, |note| note.unverified().size);
        self.end_seq.saturating_sub(to.max(self.first_seq))
    }

    /// A head, if a key of the log signed it over some of these records in this epoch.
    /// One over all of them has to be the one that the log's record names.
    ///
    /// # Errors
    /// Why it proves nothing of them.
    pub(crate) fn head(
        &self,
        text: &str,
        (log_id, keys): (&str, &Keyring),
    ) -> Result<Checkpoint, String> {
        let head = self.signed(text, (log_id, keys))?;
        if head.size == self.end_seq
            && let Ok(last) = self.signed(&self.checkpoint, (log_id, keys))
            && last.root != head.root
        {
            return Err("the log signed another head when the epoch ended".to_owned());
        }
        Ok(head)
    }

    fn signed(&self, text: &str, (log_id, keys): (&str, &Keyring)) -> Result<Checkpoint, String> {
        let note = SignedCheckpoint::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let (checkpoint, _) = keys.verify(&note).map_err(|error| error.to_string())?;
        let origin: Origin = checkpoint.origin.parse().map_err(|_| "it names no log".to_owned())?;
        if origin.log_id() != log_id || origin.epoch() != self.epoch {
            return Err(format!("it is of {}", checkpoint.origin));
        }
        if checkpoint.size <= self.first_seq || checkpoint.size > self.end_seq {
            return Err(format!("it is over {} records", checkpoint.size));
        }
        Ok(checkpoint.clone())
    }

    /// What there is of them beside the log.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub(crate) fn kept(
        &self,
        (fs, paths): (&dyn Fs, &LogPaths),
        signers: (&str, &Keyring),
    ) -> io::Result<Kept> {
        let file = match fs.open(&paths.dir.join(self.file()), OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Nothing),
            Err(error) => return Ok(Kept::Unproven(error.to_string())),
        };
        let unproven = |why: &str| Ok(Kept::Unproven(why.to_owned()));
        let note = fs.read_own(&paths.dir.join(self.head_file()), MAX_NOTE_BYTES as u64);
        let Ok(note) = note else {
            return unproven("the signed head that proves it is missing");
        };
        let head = match self.head(&String::from_utf8_lossy(&note), signers) {
            Ok(head) => head,
            Err(why) => return Ok(Kept::Unproven(format!("{}: {why}", self.head_file()))),
        };
        let Some(before) = &self.before else {
            return unproven("the tree before its records is not known any more");
        };
        Ok(match tree_of(&*file, before, head.size)? {
            Some(tree) if tree.end() == head.size && tree.root() == Ok(head.root) => {
                Kept::Proven(head.size)
            }
            _ => Kept::Unproven("its records are not those that were signed".to_owned()),
        })
    }
}

/// The tree over `before` and a file's lines; `None` where a line is not the record that
/// should be there.
fn tree_of(file: &dyn FsFile, before: &Range, end: u64) -> io::Result<Option<Range>> {
    let mut reader = BufReader::with_capacity(256 << 10, FileReader { file, offset: 0 });
    let (mut tree, mut line) = (before.clone(), Vec::new());
    loop {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        if (&mut reader).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(Some(tree));
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole || tree.end() >= end || peek_seq(&line) != Some(tree.end()) {
            return Ok(None);
        }
        tree.append_line(&line);
    }
}

/// Notes one, in the order of their epochs; of many, the newest. What is said of the same
/// epoch again replaces what was said of it before.
pub(crate) fn note(all: &mut Vec<EndedEpoch>, one: EndedEpoch) {
    all.retain(|known| known.epoch != one.epoch);
    all.push(one);
    all.sort_by_key(|known| known.epoch);
    let more = all.len().saturating_sub(MOST);
    all.drain(..more);
}
