//! Which objects a committed point is made of.
//!
//! A name proves nothing: what is listed is a candidate, and one that no key of the log signed,
//! or that does not fit the others, is passed over. So what others put there stops no restore.

use super::bucket::{Bucket, unless_foreign};
use super::documents::RangeProof;
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::members::{MAX_OBJECT_BYTES, Tail};
use super::names::{Proofs, TailThere, tails};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range, empty_root};

/// An object, and up to which record it is taken.
pub(crate) enum Step {
    Data(Box<RangeProof>, u64),
    Tail(LogName, TailThere),
}

/// What a committed point is made of.
pub(crate) struct Plan {
    /// The tree before the first record.
    pub(crate) before: Range,
    pub(crate) steps: Vec<Step>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: String,
    /// The object that the checkpoint is from.
    pub(crate) commit: ObjectName,
    /// What is missing before the first record, unless a signed record says that retention
    /// removed it.
    pub(crate) gap: Option<ArchiveError>,
}

/// A signed checkpoint that the archive holds.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) epoch: u32,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) object: ObjectName,
}

/// An archive of one log, as one set of keys reads it.
#[derive(Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) proofs: &'a Proofs,
    pub(crate) keys: &'a Keyring,
    pub(crate) watch: &'a dyn Watch,
    /// A tree of which it is known already that the archive holds all of it: what lies below
    /// is not looked for again.
    pub(crate) from: Option<&'a Range>,
}

/// What data objects have to lead up to.
enum Goal {
    Root(Hash),
    Tree(Range),
}

impl Goal {
    fn is(&self, tree: &Range) -> bool {
        match self {
            Self::Root(root) => tree.root().is_ok_and(|found| found == *root),
            Self::Tree(wanted) => tree == wanted,
        }
    }
}

/// Data objects that follow each other.
struct Chain {
    before: Range,
    steps: Vec<Step>,
    gap: Option<ArchiveError>,
}

impl Planner<'_> {
    /// The newest point of an epoch, or the smallest one that holds a record; `None` where
    /// nothing of that epoch is committed. `refused` is why what is there was passed over.
    pub(crate) fn plan(
        self,
        log: &LogName,
        holds: Option<u64>,
        refused: &mut Option<ArchiveError>,
    ) -> Result<Option<Plan>, ArchiveError> {
        let sizes = || self.proofs.sizes(log.epoch());
        if let Some(seq) = holds {
            for size in sizes().rev().filter(|size| *size > seq) {
                if let Some(plan) = self.at(log, size, refused)? {
                    return Ok(Some(plan));
                }
            }
        }
        let mut found = None;
        for size in sizes() {
            found = self.at(log, size, refused)?;
            if found.is_some() {
                break;
            }
        }
        let Some(mut plan) = found.map_or_else(|| self.begun(log), |plan| Ok(Some(plan)))? else {
            return Ok(None);
        };
        self.add_tails(&mut plan, log, holds)?;
        let is_any = !plan.steps.is_empty() || self.from.is_some_and(|from| plan.before == *from);
        Ok(is_any.then_some(plan))
    }

    /// A point that a checkpoint object commits; `None` where no key of the log signed it.
    pub(crate) fn at(
        self,
        log: &LogName,
        size: u64,
        refused: &mut Option<ArchiveError>,
    ) -> Result<Option<Plan>, ArchiveError> {
        let commit = ObjectName::Checkpoint(log.clone(), size);
        let (checkpoint, note) = match unless_foreign(self.bucket.checkpoint(log, size, self.keys))?
        {
            Ok(found) => found,
            Err(error) => {
                refused.get_or_insert(error);
                return Ok(None);
            }
        };
        let Chain { before, steps, gap } = self.chain(log, size, Goal::Root(checkpoint.root))?;
        Ok(Some(Plan { before, steps, checkpoint, note, commit, gap }))
    }

    /// A log, or an epoch of one, of which there are only tails so far: what came before them
    /// is that of an earlier epoch.
    fn begun(self, log: &LogName) -> Result<Option<Plan>, ArchiveError> {
        for tail in tails(&*self.bucket.0, log, 0)? {
            let Ok((marker, _)) = unless_foreign(self.bucket.marker(log, &tail, self.keys))? else {
                continue;
            };
            let Chain { before, steps, gap } = self.earlier(log, &marker.pruned)?;
            let (size, note) = (tail.first, String::new());
            let checkpoint = Checkpoint { origin: String::new(), size, root: empty_root() };
            let commit = ObjectName::Checkpoint(log.clone(), size);
            return Ok(Some(Plan { before, steps, checkpoint, note, commit, gap }));
        }
        Ok(None)
    }

    /// The tails that go on from there, up to the record that is wanted, or the newest.
    fn add_tails(
        self,
        plan: &mut Plan,
        log: &LogName,
        holds: Option<u64>,
    ) -> Result<(), ArchiveError> {
        let there = tails(&*self.bucket.0, log, plan.checkpoint.size)?;
        loop {
            let next = plan.checkpoint.size;
            if holds.is_some_and(|seq| seq < next) || self.watch.interrupted() {
                return Ok(());
            }
            let names: Vec<_> = there.iter().filter(|tail| tail.first == next).collect();
            let mut best = None;
            for tail in &names {
                let marker = self.bucket.marker(log, tail, self.keys);
                let Ok((marker, checkpoint)) = unless_foreign(marker)? else { continue };
                // Of several that begin there, one may be signed and altered.
                if names.len() > 1 && !self.is_whole(log, tail)? {
                    continue;
                }
                best = Some((**tail, marker, checkpoint));
                break;
            }
            let Some((tail, marker, checkpoint)) = best.filter(|it| it.2.size > next) else {
                return Ok(());
            };
            plan.steps.push(Step::Tail(log.clone(), tail));
            (plan.note, plan.checkpoint) = (marker.checkpoint, checkpoint);
            plan.commit = tail.name(log);
        }
    }

    fn is_whole(self, log: &LogName, tail: &TailThere) -> Result<bool, ArchiveError> {
        let bytes = self.bucket.fetch(&tail.name(log), MAX_OBJECT_BYTES)?;
        Ok(Tail::of(&bytes).and_then(|tail| tail.check()).is_ok())
    }

    /// The data objects of an epoch up to `end`, and what lies before them. From the end back:
    /// each has to give, with what is before it, the very tree that the next one begins with.
    fn chain(self, log: &LogName, end: u64, goal: Goal) -> Result<Chain, ArchiveError> {
        let firsts = self.proofs.firsts(log.epoch());
        let (mut end, mut goal) = (end, goal);
        let mut own = Vec::new();
        let (mut refused, mut lower) = (None, None);
        while end > 0 {
            if let Some(known) = self.from.filter(|known| known.end() == end && goal.is(known)) {
                own.reverse();
                return Ok(Chain { before: known.clone(), steps: own, gap: None });
            }
            let mut link = None;
            for there in firsts.range(..(end, 0)).rev() {
                if self.watch.interrupted() {
                    return Err(ArchiveError::Interrupted);
                }
                let proof = match unless_foreign(self.bucket.proof(log, *there, self.keys))? {
                    Ok((proof, _)) => proof,
                    Err(error) => {
                        refused.get_or_insert(error);
                        continue;
                    }
                };
                let mut tree = proof.before.clone();
                let fits =
                    proof.span().end == end && tree.extend(&proof.tree).is_ok() && goal.is(&tree);
                if fits {
                    link = Some(proof);
                    break;
                }
                lower.get_or_insert(*there);
            }
            let Some(proof) = link else { break };
            // What was passed over on the way to it did not matter.
            (refused, lower) = (None, None);
            let until = end;
            end = proof.span().first;
            goal = Goal::Tree(proof.before.clone());
            own.push(Step::Data(Box::new(proof), until));
        }
        own.reverse();
        let range = |first| self.bucket.url(&ObjectName::Range(log.clone(), first, 0));
        let Goal::Tree(before) = goal else {
            let what = "no range leads up to this checkpoint".to_owned();
            let missing = ArchiveError::Missing { object: range(end), what };
            return Err(refused.unwrap_or(missing));
        };
        let committed = || self.committed_up_to(log, end);
        if end > 0 && (lower.is_some() || committed()?) {
            // Something was shipped before the first range that is there.
            let what = format!(
                "the records before {end} were shipped, and no range that is there leads up to them"
            );
            let object = range(lower.map_or(0, |(first, _)| first));
            let gap = refused.unwrap_or(ArchiveError::Missing { object, what });
            return Ok(Chain { before, steps: own, gap: Some(gap) });
        }
        let mut chain = self.earlier(log, &before)?;
        chain.steps.append(&mut own);
        Ok(chain)
    }

    /// Whether a checkpoint that the log signed commits anything up to there.
    fn committed_up_to(self, log: &LogName, end: u64) -> Result<bool, ArchiveError> {
        for size in self.proofs.sizes(log.epoch()).filter(|size| *size <= end) {
            if unless_foreign(self.bucket.checkpoint(log, size, self.keys))?.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What lies before an epoch's first record: the data of earlier epochs, as far as they have
    /// the very tree that this epoch begins with. Else it was removed before anything was
    /// shipped.
    fn earlier(self, log: &LogName, tree: &Range) -> Result<Chain, ArchiveError> {
        let nothing = Chain { before: tree.clone(), steps: Vec::new(), gap: None };
        if tree.is_empty() {
            return Ok(nothing);
        }
        for epoch in self.proofs.epochs().into_iter().filter(|epoch| *epoch < log.epoch()) {
            let log = log.in_epoch(epoch);
            for there in self.proofs.firsts(epoch).range(..(tree.end(), 0)).rev() {
                let read = self.bucket.proof(&log, *there, self.keys);
                let Ok((proof, _)) = unless_foreign(read)? else { continue };
                if proof.span().end < tree.end() {
                    break;
                }
                let mut whole = proof.before.clone();
                let joined = whole.extend(&proof.tree).is_ok();
                if !joined || proof.span().end == tree.end() && whole != *tree {
                    continue;
                }
                let goal = Goal::Tree(proof.before.clone());
                let mut chain = self.chain(&log, proof.span().first, goal)?;
                chain.steps.push(Step::Data(Box::new(proof), tree.end()));
                return Ok(chain);
            }
        }
        Ok(nothing)
    }

    /// The largest size of an epoch that a key of the log committed.
    pub(crate) fn last_committed(self, log: &LogName) -> Result<Option<Mark>, ArchiveError> {
        for size in self.proofs.sizes(log.epoch()) {
            let read = self.bucket.checkpoint(log, size, self.keys);
            if let Ok((Checkpoint { root, .. }, _)) = unless_foreign(read)? {
                let object = ObjectName::Checkpoint(log.clone(), size);
                return Ok(Some(Mark { epoch: log.epoch(), size, root, object }));
            }
        }
        Ok(None)
    }

    /// The largest checkpoint of an epoch that a key of the log signed.
    pub(crate) fn last_signed(self, log: &LogName) -> Result<Option<Mark>, ArchiveError> {
        let last = self.last_committed(log)?;
        let above = last.as_ref().map_or(0, |mark| mark.size);
        Ok(self.largest(log, above)?.or(last))
    }

    /// The largest checkpoint over more than `above` records of an epoch that a key of the log
    /// signed, wherever it stands.
    pub(crate) fn largest(self, log: &LogName, above: u64) -> Result<Option<Mark>, ArchiveError> {
        let mut largest: Option<Mark> = None;
        let mut see = |checkpoint: Checkpoint, object: ObjectName| {
            let Checkpoint { size, root, .. } = checkpoint;
            if size > above && largest.as_ref().is_none_or(|mark| size > mark.size) {
                largest = Some(Mark { epoch: log.epoch(), size, root, object });
            }
        };
        for size in self.proofs.sizes(log.epoch()).filter(|size| *size > above) {
            let read = self.bucket.checkpoint(log, size, self.keys);
            if let Ok((checkpoint, _)) = unless_foreign(read)? {
                see(checkpoint, ObjectName::Checkpoint(log.clone(), size));
                break;
            }
        }
        for there in self.proofs.firsts(log.epoch()).range((above, 0)..) {
            let read = self.bucket.proof(log, *there, self.keys);
            if let Ok((_, checkpoint)) = unless_foreign(read)? {
                see(checkpoint, ObjectName::Range(log.clone(), there.0, there.1));
            }
        }
        for tail in tails(&*self.bucket.0, log, above)? {
            if let Ok((_, checkpoint)) = unless_foreign(self.bucket.marker(log, &tail, self.keys))?
            {
                see(checkpoint, tail.name(log));
            }
        }
        Ok(largest)
    }
}

impl Plan {
    /// A larger checkpoint in the proofs of its own ranges, which were read for it.
    pub(crate) fn larger_inside(&self, log: &LogName) -> Option<Mark> {
        let mut largest: Option<Mark> = None;
        for step in &self.steps {
            let Step::Data(proof, _) = step else { continue };
            if proof.log().as_ref() != Some(log) {
                continue;
            }
            let Ok(note) = SignedCheckpoint::parse(proof.checkpoint.as_bytes()) else { continue };
            // It was verified when the proof was read.
            let Checkpoint { size, root, .. } = *note.unverified();
            if size > largest.as_ref().map_or(self.checkpoint.size, |mark| mark.size) {
                let object = ObjectName::Range(log.clone(), proof.span().first, 0);
                largest = Some(Mark { epoch: log.epoch(), size, root, object });
            }
        }
        largest
    }
}
