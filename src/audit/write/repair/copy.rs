//! Copies of the log's records, and what each of them may be believed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::tree::merkle::Range;

/// A copy of the log's records. Whoever hands it in has read all of it: `tree` is
/// computed from its lines.
pub trait Copy {
    /// What people call it.
    fn name(&self) -> &str;
    /// Its first record.
    fn first_seq(&self) -> u64;
    /// The tree over everything up to its last record.
    fn tree(&self) -> &Range;
    /// Its signed checkpoint, over that tree.
    fn note(&self) -> &str;
    /// How the log's keys followed each other, by its word.
    fn rotations(&self) -> &[Rotation];
    /// The block that holds a record; `None` where the copy does not have it.
    ///
    /// # Errors
    /// When the copy cannot be read any more.
    fn block(&self, seq: u64) -> io::Result<Option<CopiedBlock>>;
}

/// A run of records of a copy.
#[derive(Clone, Debug)]
pub struct CopiedBlock {
    /// The first record.
    pub first_seq: u64,
    /// The lines.
    pub raw: Vec<u8>,
    /// The gzip member that they were stored as, if they were.
    pub member: Option<Vec<u8>>,
}

impl CopiedBlock {
    fn end(&self) -> u64 {
        self.first_seq + memchr::memchr_iter(b'\n', &self.raw).count() as u64
    }

    /// The lines of `begin..end`, as far as they are in it.
    fn part(&self, begin: u64, end: u64) -> &[u8] {
        let after = |seq: u64| match seq.checked_sub(self.first_seq) {
            None | Some(0) => 0,
            Some(lines) => memchr::memchr_iter(b'\n', &self.raw)
                .nth(lines as usize - 1)
                .map_or(self.raw.len(), |at| at + 1),
        };
        &self.raw[after(begin)..after(end)]
    }
}

/// A copy whose checkpoint a key of the log signed.
pub(super) struct Judged<'a> {
    pub(super) copy: &'a dyn Copy,
    pub(super) epoch: u32,
    /// Signed by the key that signs now, in the log's epoch: its records are the log's
    /// by that signature alone. Records of any other copy are taken only where the log's
    /// own signatures prove them.
    pub(super) is_proof: bool,
    last: RefCell<Option<Rc<CopiedBlock>>>,
}

impl<'a> Judged<'a> {
    /// # Errors
    /// Why nothing is taken from it.
    pub(super) fn new(
        copy: &'a dyn Copy,
        keys: &Keyring,
        (log_id, epoch): (&str, u32),
    ) -> Result<Self, String> {
        let keys = keys.clone().extended(copy.rotations());
        let note = SignedCheckpoint::parse(copy.note().as_bytes())
            .map_err(|error| format!("its checkpoint: {error}"))?;
        let (checkpoint, key) =
            keys.verify(&note).map_err(|error| format!("its checkpoint: {error}"))?;
        let origin: Origin =
            checkpoint.origin.parse().map_err(|_| "its checkpoint names no log".to_owned())?;
        if origin.log_id() != log_id {
            return Err(format!("it is of {}, not of this log", checkpoint.origin));
        }
        if copy.tree().end() != checkpoint.size || copy.tree().root() != Ok(checkpoint.root) {
            return Err("its records do not hash to its signed root".to_owned());
        }
        let is_proof = key == keys.newest() && origin.epoch() == epoch;
        Ok(Self { copy, epoch: origin.epoch(), is_proof, last: RefCell::new(None) })
    }

    fn block(&self, seq: u64) -> io::Result<Option<Rc<CopiedBlock>>> {
        let known = self.last.borrow().clone();
        if let Some(block) = known.filter(|block| (block.first_seq..block.end()).contains(&seq)) {
            return Ok(Some(block));
        }
        let found = self.copy.block(seq)?.map(Rc::new);
        let found = found.filter(|block| (block.first_seq..block.end()).contains(&seq));
        self.last.borrow_mut().clone_from(&found);
        Ok(found)
    }

    /// The lines of `begin..end`, if it has all of them.
    pub(super) fn lines(&self, begin: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
        let (mut lines, mut at) = (Vec::new(), begin);
        while at < end {
            let Some(block) = self.block(at)? else { return Ok(None) };
            lines.extend_from_slice(block.part(at, end));
            at = block.end().min(end);
        }
        Ok(Some(lines))
    }

    /// How far from `begin` on it has records without a gap, up to `end`.
    pub(super) fn reach(&self, begin: u64, end: u64) -> io::Result<u64> {
        let mut at = begin;
        while at < end {
            match self.block(at)? {
                Some(block) => at = block.end().min(end),
                None => break,
            }
        }
        Ok(at)
    }

    /// The very gzip member that holds `begin..end` and nothing else.
    pub(super) fn member(&self, begin: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
        let block = self.block(begin)?;
        let same = block.filter(|block| (block.first_seq, block.end()) == (begin, end));
        Ok(same.and_then(|block| block.member.clone()))
    }
}
