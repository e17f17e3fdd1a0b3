//! The newest records of a log beside its writer, at a cost that does not depend on how much the
//! log holds: for who follows it.

use std::io;
use std::path::Path;

use super::{Lines, Part};
use crate::audit::keys::checkpoint::{Checkpoint, Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::paths::{ACTIVE, parse_sealed_name};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::{LogView, Tail, offset_of};
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_times;
use crate::clock::Timestamp;
use crate::fsio::{Fs, FsFile, OpenMode, SharedFs};

/// The signed tree, and the part of it that the active segment holds.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: SignedCheckpoint,
    pub(crate) verifier: VerifierKey,
    pub(crate) keys: Keyring,
    /// Lines of the active segment, up to the checkpoint's size.
    pub(crate) part: Part,
}

impl Recent {
    /// Of the log in `dir`; `None` where the active segment does not hold all of what was signed
    /// from `from` on, or that cannot be told. The manifest is not read: whether the records are
    /// the log's, the signed root says.
    ///
    /// # Errors
    /// A file cannot be read; the checkpoint is not the log's.
    pub(crate) fn take(fs: &SharedFs, dir: &Path, from: u64) -> Result<Option<Self>, ReadError> {
        let log = LogView::new(fs, dir);
        let path = log.paths.checkpoint();
        let text = log.note().map_err(|source| ReadError::io("read", &path, source))?;
        let Some(text) = text else { return Ok(None) };
        let bad = |source| ReadError::Checkpoint { path: path.clone(), source };
        let keys = load_keyring(&**fs, &log.paths, None)?;
        let note = SignedCheckpoint::parse(&text).map_err(bad)?;
        let (checkpoint, verifier) = keys.verify(&note).map_err(bad)?;
        let (checkpoint, verifier) = (checkpoint.clone(), verifier.clone());
        let Some(tail) = log.tail(ACTIVE.to_owned())? else { return Ok(None) };
        let Some(seqs) = tail.seqs.clone() else { return Ok(None) };
        if seqs.start > from || seqs.end < checkpoint.size || checkpoint.size < from {
            return Ok(None);
        }
        let part = Part::Lines(Lines::new(&tail, seqs.start, checkpoint.size - seqs.start));
        Ok(Some(Self { checkpoint, note, verifier, keys, part }))
    }

    /// The log and epoch that the checkpoint is of.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.checkpoint.origin.parse().ok()
    }
}

/// What a log has from a record on, by its files' names, lengths and the active segment's lines:
/// hints, for who tells how far somebody is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// When that record was accepted; `None` where it is not in the active segment.
    pub(crate) accepted: Option<Timestamp>,
    /// When the active segment's first record was: that of an earlier one was not later.
    pub(crate) since: Option<Timestamp>,
    /// About how many bytes the files have from there on.
    pub(crate) bytes: u64,
}

impl Behind {
    /// From record `seq` on.
    ///
    /// # Errors
    /// The directory or the active segment cannot be read.
    pub(crate) fn look(fs: &dyn Fs, dir: &Path, seq: u64) -> io::Result<Self> {
        let tail = match fs.open(&dir.join(ACTIVE), OpenMode::ReadOwn) {
            Ok(file) => Tail::of(ACTIVE.to_owned(), file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let Some(seqs) = tail.seqs.clone() else { return Ok(Self::default()) };
        let since = accepted_at(&*tail.file, 0)?;
        if seq >= seqs.start {
            let offset = offset_of(&*tail.file, tail.length, seq)?;
            let bytes = tail.length.saturating_sub(offset);
            return Ok(Self { accepted: accepted_at(&*tail.file, offset)?, since, bytes });
        }
        let bytes = tail.length + sealed_bytes(fs, dir, seq)?;
        Ok(Self { accepted: None, since, bytes })
    }
}

/// When the record was accepted whose line begins there.
fn accepted_at(file: &dyn FsFile, offset: u64) -> io::Result<Option<Timestamp>> {
    // When it was accepted stands at the end of its line.
    for length in [4 << 10, 64 << 10, MAX_LINE_BYTES + 1] {
        let mut line = vec![0; length];
        let read = file.read_at(&mut line, offset)?;
        if let Some(end) = memchr::memchr(b'\n', &line[..read]) {
            return Ok(peek_times(&line[..end]).map(|(_, accepted)| accepted));
        }
    }
    Ok(None)
}

/// The lengths of the sealed files that hold what comes from `seq` on.
fn sealed_bytes(fs: &dyn Fs, dir: &Path, seq: u64) -> io::Result<u64> {
    let mut sealed: Vec<(u64, String)> = Vec::new();
    for name in fs.list(dir)? {
        if let Some((first, _)) = parse_sealed_name(&name) {
            sealed.push((first, name));
        }
    }
    sealed.sort_unstable();
    let holds = sealed.partition_point(|(first, _)| *first <= seq).saturating_sub(1);
    let lengths = sealed[holds.min(sealed.len())..].iter();
    Ok(lengths.filter_map(|(_, name)| fs.meta(&dir.join(name)).ok()).map(|meta| meta.len).sum())
}
