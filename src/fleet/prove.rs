//! The proof of one record of a fleet, from its archive: what a row that an engine found is
//! worth. Fetches the log's keys, one range's proof and one object.

use std::sync::Arc;

use crate::archive::{
    ArchiveError, Bucket, LogName, MAX_OBJECT_BYTES, Members, ObjectName, Proofs, Tail, keysets,
    unless_foreign,
};
use crate::audit::files::examine::leaves;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::read::verify::{ProofDocument, SignedTree};
use crate::audit::tree::merkle::{Hash, Range};
use crate::audit::tree::proof::{RangeHashes, inclusion_proof};
use crate::backup::Hole;
use crate::store::BackupStore;

/// Which record.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The log's id.
    pub log: String,
    /// The record's seq.
    pub seq: u64,
    /// The epoch, instead of the newest that has such a record.
    pub epoch: Option<u32>,
    /// The log's key, known from elsewhere.
    pub public_key: Option<VerifierKey>,
}

/// A proof, and where it is from.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The proof, as `prove` writes it.
    pub document: ProofDocument,
    /// The epoch under whose checkpoint it is.
    pub epoch: u32,
    /// The object that has the record.
    pub object: String,
}

/// Makes the proof of a record, and checks it.
///
/// # Errors
/// There is no such record; the object that has it is missing or altered.
pub fn prove(store: Arc<dyn BackupStore>, wanted: &Wanted) -> Result<Proven, ArchiveError> {
    let bucket = Bucket(store);
    let not_found = || ArchiveError::NotFound {
        wanted: format!("record {} of log {}", wanted.seq, wanted.log),
        place: bucket.place(),
    };
    let log = LogName::new(&wanted.log, 0).ok_or_else(not_found)?;
    let proofs = Proofs::of(&*bucket.0, &log)?;
    let mut failed = None;
    for set in &keysets(&bucket, &proofs, &log, wanted.public_key.as_ref(), None)?.sets {
        let keys = &set.keys;
        let prover = Prover { bucket: &bucket, proofs: &proofs, keys, seq: wanted.seq };
        let epochs = proofs.epochs().into_iter();
        for epoch in epochs.filter(|epoch| wanted.epoch.is_none_or(|it| it == *epoch)) {
            match prover.in_epoch(&log.in_epoch(epoch)) {
                Ok(Some(proven)) => return Ok(proven),
                Ok(None) => {}
                Err(error @ (ArchiveError::Object { .. } | ArchiveError::Missing { .. })) => {
                    failed.get_or_insert(error);
                    // An older epoch has another record there, if any.
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Err(failed.unwrap_or_else(not_found))
}

struct Prover<'a> {
    bucket: &'a Bucket,
    proofs: &'a Proofs,
    keys: &'a Keyring,
    seq: u64,
}

/// The records of an object, and the tree that they stand in.
struct Leaves {
    before: Range,
    first: u64,
    /// Leaf hashes that follow each other, and where each run of them begins; between the runs
    /// are holes.
    own: Vec<(u64, Vec<Hash>)>,
    holes: Vec<Hole>,
    after: Range,
}

impl Prover<'_> {
    fn in_epoch(&self, log: &LogName) -> Result<Option<Proven>, ArchiveError> {
        let firsts = self.proofs.firsts(log.epoch());
        for there in firsts.range(..=(self.seq, u8::MAX)).rev() {
            let read = self.bucket.proof(log, *there, self.keys);
            let Ok((proof, _)) = unless_foreign(read)? else { continue };
            if proof.span().end <= self.seq {
                break;
            }
            let name = proof.object()?;
            let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
            let members = Members::of(&bytes, proof.span().end);
            let (before, after) = (proof.before.clone(), proof.after.clone());
            let holes = proof.holes.clone();
            return self.of(log, &name, members, (before, holes, after), &proof.checkpoint);
        }
        for tail in self.proofs.tails(log.epoch(), 0).rev() {
            if tail.first > self.seq {
                continue;
            }
            let name = tail.name(log);
            let bytes = unless_foreign(self.bucket.fetch(&name, MAX_OBJECT_BYTES))?;
            let Ok(bytes) = bytes else { continue };
            let Ok(read) = Tail::of(&bytes) else { continue };
            if read.signed(log, tail.first, self.keys).is_err() {
                continue;
            }
            if read.marker.tree_size <= self.seq {
                break;
            }
            let note = read.marker.checkpoint.clone();
            let after = Range::empty(read.marker.tree_size);
            let parts = (read.marker.pruned.clone(), read.marker.holes.clone(), after);
            return self.of(log, &name, read.members(), parts, &note);
        }
        Ok(None)
    }

    fn of(
        &self,
        log: &LogName,
        name: &ObjectName,
        mut members: Members<'_>,
        (before, holes, after): (Range, Vec<Hole>, Range),
        note: &str,
    ) -> Result<Option<Proven>, ArchiveError> {
        let wrong = |what: String| self.bucket.wrong(name, what);
        let first = before.end();
        let mut next = first;
        let mut own: Vec<(u64, Vec<Hash>)> = Vec::new();
        let mut record = None;
        while let Some((lines, _)) = members.next_lines().map_err(wrong)? {
            // Only what is known as a hole may be missing.
            while let Some(hole) = holes.iter().find(|hole| hole.tree.begin() == next)
                && next < lines.first_seq
                && !hole.tree.is_empty()
            {
                next = hole.tree.end();
            }
            if lines.first_seq != next {
                return Err(wrong(format!("record {} is out of place", lines.first_seq)));
            }
            let hashes: Vec<Hash> = leaves(&lines.raw).collect();
            next += hashes.len() as u64;
            match own.last_mut().filter(|(at, run)| at + run.len() as u64 == lines.first_seq) {
                Some((_, run)) => run.extend(hashes),
                None => own.push((lines.first_seq, hashes)),
            }
            let nth = self.seq.checked_sub(lines.first_seq);
            let nth = nth.and_then(|nth| usize::try_from(nth).ok());
            if let Some(line) = nth.and_then(|nth| lines.raw.split(|b| *b == b'\n').nth(nth))
                && !line.is_empty()
            {
                record = Some(line.to_vec());
            }
        }
        let Some(record) = record else {
            let hole = holes.iter().find(|it| (it.tree.begin()..it.tree.end()).contains(&self.seq));
            return Err(wrong(match hole {
                Some(_) => format!("of record {} only its hash is there", self.seq),
                None => format!("record {} is not in it", self.seq),
            }));
        };
        let record = String::from_utf8(record).map_err(|error| wrong(error.to_string()))?;
        let note = SignedCheckpoint::parse(note.as_bytes());
        let note = note.map_err(|error| wrong(error.to_string()))?;
        let (checkpoint, key) =
            self.keys.verify(&note).map_err(|error| wrong(error.to_string()))?;
        let tree_size = checkpoint.size;
        let hashes = Leaves { before, first, own, holes, after };
        let proof = inclusion_proof(&hashes, self.seq, tree_size);
        let inclusion_proof = proof.map_err(|error| wrong(error.to_string()))?;
        let signed = SignedTree {
            checkpoint: note.to_string(),
            public_key: key.to_string(),
            key_chain: self.keys.rotations().to_vec(),
        };
        let document = ProofDocument { seq: self.seq, record, tree_size, inclusion_proof, signed };
        document.check(None).map_err(|error| wrong(error.to_string()))?;
        let object = self.bucket.url(name);
        Ok(Some(Proven { document, epoch: log.epoch(), object }))
    }
}

/// A subtree of which a part is not known.
#[derive(Debug, thiserror::Error)]
#[error("the hashes of records {0} to {1} are not in the object's proof")]
pub(crate) struct NoHash(u64, u64);

impl RangeHashes for Leaves {
    type Error = NoHash;

    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, NoHash> {
        let missing = || NoHash(begin, end - 1);
        let mut range = Range::empty(begin);
        let mut add = |part: Option<Range>| {
            let joined = part.and_then(|part| range.extend(&part).ok());
            joined.ok_or_else(missing)
        };
        if begin < self.first {
            add(self.before.within(begin, end.min(self.first)))?;
        }
        let (mut at, until) = (begin.max(self.first), end.min(self.after.begin()));
        while at < until {
            let holds = |hole: &&Hole| hole.tree.begin() <= at && at < hole.tree.end();
            if let Some(hole) = self.holes.iter().find(holds) {
                let stop = hole.tree.end().min(until);
                add(hole.tree.within(at, stop))?;
                at = stop;
                continue;
            }
            let run = self.own.partition_point(|(begin, _)| *begin <= at).checked_sub(1);
            let (begin, run) = run.map(|run| &self.own[run]).ok_or_else(missing)?;
            let from = usize::try_from(at - begin).unwrap_or(usize::MAX);
            let rest = run.get(from..).filter(|rest| !rest.is_empty()).ok_or_else(missing)?;
            let mut part = Range::empty(at);
            rest.iter().zip(at..until).for_each(|(leaf, _)| part.append(*leaf));
            at = part.end();
            add(Some(part))?;
        }
        if end > self.after.begin() {
            let from = begin.max(self.after.begin());
            add(self.after.within(from, end))?;
        }
        range.subtree_hash().map_err(|_| missing())
    }
}
