//! Which objects a committed point is made of.

use super::bucket::Bucket;
use super::documents::{RangeProof, signed};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName, Span};
use super::members::{MAX_OBJECT_BYTES, Tail};
use super::names::{Proofs, tails};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Range, empty_root};

/// An object, and up to which record it is taken.
pub(super) enum Step {
    Data(Box<RangeProof>, u64),
    Tail(LogName, Span),
}

/// What a committed point is made of.
pub(super) struct Plan {
    /// The tree before the first record.
    pub(super) before: Range,
    pub(super) steps: Vec<Step>,
    pub(super) checkpoint: Checkpoint,
    pub(super) note: String,
    /// The object that the checkpoint is from.
    pub(super) commit: ObjectName,
}

impl Plan {
    /// `None` where nothing of that epoch is committed.
    pub(super) fn new(
        bucket: &Bucket,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        holds: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<Option<Self>, ArchiveError> {
        let sizes = proofs.checkpoints.get(&log.epoch()).cloned().unwrap_or_default();
        let enough = holds.and_then(|seq| sizes.iter().copied().find(|size| *size > seq));
        let size = enough.or(sizes.last().copied());
        let mut plan = match size {
            Some(size) => Self::at(bucket, proofs, log, keys, size, watch)?,
            None => match Self::begun(bucket, proofs, log, keys, watch)? {
                Some(plan) => plan,
                None => return Ok(None),
            },
        };
        if enough.is_none() {
            plan.add_tails(bucket, log, keys, holds)?;
        }
        Ok(Some(plan))
    }

    /// A point that a checkpoint object commits.
    fn at(
        bucket: &Bucket,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        size: u64,
        watch: &dyn Watch,
    ) -> Result<Self, ArchiveError> {
        let commit = ObjectName::Checkpoint(log.clone(), size);
        let note = bucket.fetch(&commit, MAX_NOTE_BYTES as u64)?;
        let checkpoint = signed(&note, log, keys).map_err(|what| bucket.wrong(&commit, what))?;
        if checkpoint.size != size {
            return Err(bucket.wrong(&commit, format!("it is over {} records", checkpoint.size)));
        }
        let (before, steps) = chain(bucket, proofs, log, keys, size, watch)?;
        let note = String::from_utf8_lossy(&note).into_owned();
        Ok(Self { before, steps, checkpoint, note, commit })
    }

    /// A log, or an epoch of one, of which there are only tails so far: what came before them
    /// is that of an earlier epoch.
    fn begun(
        bucket: &Bucket,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        watch: &dyn Watch,
    ) -> Result<Option<Self>, ArchiveError> {
        let spans = tails(&*bucket.0, log)?;
        let Some(span) = spans.first() else { return Ok(None) };
        let name = ObjectName::Tail(log.clone(), *span);
        let bytes = bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let tail = Tail::of(&bytes).map_err(|what| bucket.wrong(&name, what))?;
        tail.signed(log, *span, keys).map_err(|what| bucket.wrong(&name, what))?;
        tail.check().map_err(|what| bucket.wrong(&name, what))?;
        let (before, steps) = earlier(bucket, proofs, log, keys, &tail.marker.pruned, watch)?;
        let (size, note) = (span.first, String::new());
        let checkpoint = Checkpoint { origin: String::new(), size, root: empty_root() };
        let commit = ObjectName::Checkpoint(log.clone(), size);
        Ok(Some(Self { before, steps, checkpoint, note, commit }))
    }

    /// The tails that go on from there, up to the record that is wanted, or the newest.
    fn add_tails(
        &mut self,
        bucket: &Bucket,
        log: &LogName,
        keys: &Keyring,
        holds: Option<u64>,
    ) -> Result<(), ArchiveError> {
        let spans = tails(&*bucket.0, log)?;
        let mut next = self.checkpoint.size;
        let mut at = 0;
        loop {
            if holds.is_some_and(|seq| seq < next) {
                break;
            }
            // Of those that begin before it ends, the one that reaches furthest.
            let mut best: Option<Span> = None;
            while let Some(span) = spans.get(at).filter(|span| span.first <= next) {
                if span.end > best.map_or(next, |best| best.end) {
                    best = Some(*span);
                }
                at += 1;
            }
            let Some(span) = best else { break };
            self.steps.push(Step::Tail(log.clone(), span));
            next = span.end;
        }
        let Some(Step::Tail(_, span)) = self.steps.last() else { return Ok(()) };
        let name = ObjectName::Tail(log.clone(), *span);
        let bytes = bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let tail = Tail::of(&bytes).map_err(|what| bucket.wrong(&name, what))?;
        self.checkpoint =
            tail.signed(log, *span, keys).map_err(|what| bucket.wrong(&name, what))?;
        (self.note, self.commit) = (tail.marker.checkpoint, name);
        Ok(())
    }
}

/// The data objects up to `size`, which has to be where one ends, and the tree before them.
fn chain(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
    size: u64,
    watch: &dyn Watch,
) -> Result<(Range, Vec<Step>), ArchiveError> {
    let mut own = Vec::new();
    let firsts = proofs.firsts(log.epoch());
    let mut end = size;
    // From the end back: what an interrupted cut left behind that nobody needed is not met.
    for first in firsts.range(..size).rev() {
        if watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let proof = bucket.proof(log, *first, keys)?;
        if proof.span().end != end {
            let what = format!(
                "the range that begins there ends at {}, and the next one begins at {end}: a \
                 range is missing",
                proof.span().end
            );
            return Err(bucket.wrong(&ObjectName::Range(log.clone(), *first), what));
        }
        own.push(Step::Data(Box::new(proof), end));
        end = *first;
    }
    own.reverse();
    let Some(Step::Data(first, _)) = own.first() else {
        let what = "no range leads up to this checkpoint".to_owned();
        return Err(ArchiveError::Missing {
            object: bucket.url(&ObjectName::Range(log.clone(), size)),
            what,
        });
    };
    let begin = first.before.end();
    let sizes = proofs.checkpoints.get(&log.epoch());
    if let Some(size) = sizes.and_then(|sizes| sizes.range(..=begin).next_back()) {
        // Something was committed before the first range that is there.
        let what = format!("a checkpoint over {size} records is there, and needs it");
        let first = firsts.range(..begin).next_back().copied().unwrap_or_default();
        let object = bucket.url(&ObjectName::Range(log.clone(), first));
        return Err(ArchiveError::Missing { object, what });
    }
    let (before, mut steps) = earlier(bucket, proofs, log, keys, &first.before, watch)?;
    steps.append(&mut own);
    Ok((before, steps))
}

/// What lies before an epoch's first record: the data of earlier epochs, as far as they have
/// the very tree that this epoch begins with. Else it was removed before anything was shipped.
fn earlier(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
    tree: &Range,
    watch: &dyn Watch,
) -> Result<(Range, Vec<Step>), ArchiveError> {
    if tree.is_empty() {
        return Ok((tree.clone(), Vec::new()));
    }
    for epoch in proofs.epochs().into_iter().filter(|epoch| *epoch < log.epoch()) {
        let log = log.in_epoch(epoch);
        let firsts = proofs.firsts(epoch);
        let Some(first) = firsts.range(..tree.end()).next_back().copied() else { continue };
        let proof = bucket.proof(&log, first, keys)?;
        let span = proof.span();
        if span.end < tree.end() {
            continue;
        }
        let (before, mut steps) = match firsts.range(..first).next_back() {
            Some(_) => chain(bucket, proofs, &log, keys, first, watch)?,
            None => earlier(bucket, proofs, &log, keys, &proof.before, watch)?,
        };
        steps.push(Step::Data(Box::new(proof), tree.end()));
        return Ok((before, steps));
    }
    Ok((tree.clone(), Vec::new()))
}
