//! The log's records at one moment, beside a running writer.
//!
//! What is durable is asked first, so that the files that are looked at
//! afterwards hold all of it. A writer that seals in between makes them seem not
//! to follow each other; then it is looked again.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use flate2::read::MultiGzDecoder;

use super::answer::History;
use crate::audit::files::examine::leaves;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::load_keyring;
use crate::audit::keys::signed_document::Signature;
use crate::audit::read::error::{Known, ReadError};
use crate::audit::read::view::{LogView, Look, Stored, Tail};
use crate::audit::record::head::Head;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::{FileReader, FsFile};

/// Who knows what is sealed and what is durable.
pub(crate) trait Ledger: Send + Sync + fmt::Debug {
    /// Records below this are durable; `None`: nobody writes, all that is there counts.
    fn durable(&self) -> Option<u64>;
    /// So many records of that history somebody signed, where nobody writes: those that are
    /// not here are missing.
    fn signed(&self, _: &History) -> u64 {
        0
    }
    /// Something that changes when anybody has written: asked where nobody writes.
    fn stamp(&self) -> Vec<u8> {
        Vec::new()
    }
    /// What is sealed now.
    fn manifest(&self) -> Result<Listed, ReadError>;
    /// Whether the log's key signed that manifest.
    fn is_signed(&self, listed: &Listed) -> bool;
}

/// What is sealed.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) manifest: Arc<Manifest>,
    /// Of the file that it was read from; `None` for the writer's own.
    pub(crate) signature: Option<Signature>,
}

/// The files themselves: for another process than the writer's.
impl Ledger for LogView {
    fn durable(&self) -> Option<u64> {
        if !self.is_live() {
            return None;
        }
        // While the page is being made it says 0; what is signed is durable as well.
        let page = StatusSnapshot::read(&self.paths.status());
        let page = page.map_or(0, |page| page.get(Word::DurableSeq));
        let note = self.note().ok().flatten();
        let note = note.and_then(|note| SignedCheckpoint::parse(&note).ok());
        Some(page.max(note.map_or(0, |note| note.unverified().size)))
    }

    /// A hint: a false head costs an alarm, and no record.
    fn signed(&self, history: &History) -> u64 {
        let size = |note: Vec<u8>| {
            let note = SignedCheckpoint::parse(&note).ok()?;
            let origin: Origin = note.unverified().origin.parse().ok()?;
            let is_own = origin.log_id() == history.log_id && origin.epoch() == history.epoch;
            is_own.then_some(note.unverified().size)
        };
        let notes = [self.note(), self.head()].into_iter().filter_map(|note| note.ok().flatten());
        notes.filter_map(size).max().unwrap_or(0)
    }

    fn stamp(&self) -> Vec<u8> {
        let mut stamp = self.note().ok().flatten().unwrap_or_default();
        stamp.push(self.is_live().into());
        stamp
    }

    fn manifest(&self) -> Result<Listed, ReadError> {
        let path = self.paths.manifest();
        match Manifest::load_signed(&*self.fs, &path)? {
            Some((manifest, signature)) => {
                Ok(Listed { manifest: Arc::new(manifest), signature: Some(signature) })
            }
            None => Err(self.no_log("audit.manifest.json")),
        }
    }

    fn is_signed(&self, listed: &Listed) -> bool {
        let Some(signature) = &listed.signature else { return false };
        let keys = load_keyring(&*self.fs, &self.paths, None);
        keys.is_ok_and(|keys| listed.manifest.check_signature(signature, &keys).is_ok())
    }
}

/// A sealed segment, held open.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: Box<dyn FsFile>,
    /// As it is now: the same records, perhaps compressed since.
    pub(super) segment: Segment,
    /// All of its lines, where its blocks are not where they were noted.
    repacked: OnceLock<Vec<u8>>,
}

impl OpenSegment {
    /// A block's lines from a file that somebody packed anew: unpacked as a whole,
    /// and only taken if they are the lines that were recorded.
    pub(super) fn repacked_lines(&self, block: &Block, lines: &mut Vec<u8>) -> bool {
        if !self.segment.is_compressed() {
            return false;
        }
        let all = self.repacked.get_or_init(|| {
            let reader = FileReader { file: &*self.file, offset: 0 };
            let mut raw = Vec::new();
            let limit = self.segment.raw_bytes + 1;
            let read = MultiGzDecoder::new(reader).take(limit).read_to_end(&mut raw);
            if read.is_ok() { raw } else { Vec::new() }
        });
        let before = self.segment.blocks.iter().take_while(|b| b.first_seq < block.first_seq);
        let from: u64 = before.map(|block| block.raw_bytes).sum();
        let Some(raw) = all.get(from as usize..(from + block.raw_bytes) as usize) else {
            return false;
        };
        let mut tree = Range::empty(block.first_seq);
        leaves(raw).for_each(|leaf| tree.append(leaf));
        if tree != block.tree {
            return false;
        }
        lines.clear();
        lines.extend_from_slice(raw);
        true
    }
}

/// The log's records.
#[derive(Debug)]
pub(super) struct View {
    pub(super) log: LogView,
    ledger: Arc<dyn Ledger>,
    pub(super) manifest: Arc<Manifest>,
    /// Whether what it says may leave records out.
    pub(super) manifest_is_signed: bool,
    pub(super) tails: Vec<Tail>,
    /// The first record that is there.
    pub(super) begin: u64,
    /// One after the last that is shown.
    pub(super) end: u64,
    /// One after the last that was signed, where that is known and nobody writes.
    pub(super) signed: u64,
}

impl View {
    /// # Errors
    /// No log, an interrupted restore, a file that cannot be read, or files that
    /// do not hold what is durable.
    pub(super) fn take(log: &LogView, ledger: &Arc<dyn Ledger>) -> Result<Self, ReadError> {
        log.settled(|| {
            let stamp = ledger.stamp();
            let durable = ledger.durable();
            match Self::look(log, ledger, durable) {
                Ok(view) if view.end < durable.unwrap_or(0) => {
                    Look::Moving(Err(ReadError::Short {
                        dir: log.paths.dir.clone(),
                        size: durable.unwrap_or(0),
                        why: Known::Durable,
                        found: view.end,
                    }))
                }
                Ok(view) if durable.is_none() && ledger.stamp() != stamp => Look::Moving(Ok(view)),
                // One that begins a log makes its files one after the other.
                Err(error @ ReadError::NoHead { .. }) if log.is_live() => Look::Moving(Err(error)),
                done => Look::Settled(done),
            }
        })
    }

    fn look(
        log: &LogView,
        ledger: &Arc<dyn Ledger>,
        durable: Option<u64>,
    ) -> Result<Self, ReadError> {
        let listed = ledger.manifest()?;
        let manifest = &listed.manifest;
        // Before the files, which so hold all of it.
        let signed = match durable {
            None => ledger.signed(&history_of(manifest)),
            Some(_) => 0,
        };
        let tails = log.tails(manifest.end_seq())?;
        let reached = tails.last().and_then(|tail| Some(tail.seqs.as_ref()?.end));
        Ok(Self {
            log: log.clone(),
            ledger: Arc::clone(ledger),
            begin: manifest.pruned.end(),
            manifest_is_signed: ledger.is_signed(&listed),
            manifest: Arc::clone(manifest),
            tails,
            end: durable.unwrap_or(u64::MAX).min(reached.unwrap_or(manifest.end_seq())),
            signed,
        })
    }

    /// Whose records they are.
    pub(super) fn history(&self) -> History {
        history_of(&self.manifest)
    }

    /// The time of the oldest record that is there.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.manifest.oldest().or_else(|| {
            let mut start = [0; 128];
            let read = self.tails.first()?.file.read_at(&mut start, 0).ok()?;
            Head::time_at_start(&start[..read])
        })
    }

    /// A segment's file, wherever it is by now; `None` when the log does not list it any more.
    pub(super) fn open(&self, segment: &Segment) -> Result<Option<OpenSegment>, ReadError> {
        match self.log.segment(segment, || Ok(Some(self.ledger.manifest()?.manifest)))? {
            Stored::Here(file, segment) => {
                Ok(Some(OpenSegment { file, segment: *segment, repacked: OnceLock::new() }))
            }
            Stored::Removed => Ok(None),
            Stored::Missing(error) => Err(error),
        }
    }
}

fn history_of(manifest: &Manifest) -> History {
    History { log_id: manifest.log_id.clone(), epoch: manifest.epoch }
}
