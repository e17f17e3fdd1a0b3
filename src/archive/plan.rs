//! Which objects a committed point is made of.
//!
//! A name proves nothing: what is listed is a candidate, and one that no key of the log signed,
//! or that does not fit the others, is passed over. So what others put there stops no restore.

use super::bucket::unless_foreign;
use super::documents::RangeProof;
use super::error::ArchiveError;
use super::layout::{LogName, Nth, ObjectName};
use super::marks::{Mark, Planner};
use super::members::{MAX_OBJECT_BYTES, Tail};
use super::names::TailThere;
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint};
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
    /// Whether signed checkpoints prove that what is missing was shipped: that retention removed
    /// it from the log excuses nothing then.
    pub(crate) was_shipped: bool,
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

/// Data objects that follow each other, up to what is wanted.
struct Chain {
    before: Range,
    steps: Vec<Step>,
    gap: Option<ArchiveError>,
    was_shipped: bool,
}

/// Data objects of one epoch that follow each other, as far down as there are any.
struct Links {
    /// The last one first.
    steps: Vec<Step>,
    /// What has to lead up to the first of them, and where that ends.
    goal: Goal,
    end: u64,
    /// Why what is there was passed over.
    refused: Option<ArchiveError>,
    /// A range that is signed, and does not lead up to it.
    lower: Option<(u64, Nth)>,
    /// Whether all that lies below is known.
    is_known: bool,
}

impl Links {
    /// Nothing yet.
    fn up_to(goal: Goal, end: u64) -> Self {
        Self { steps: Vec::new(), goal, end, refused: None, lower: None, is_known: false }
    }
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
        self.add_tails(&mut plan, log, holds, refused)?;
        if plan.note.is_empty() {
            // Begun by a tail that is not whole.
            return Ok(None);
        }
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
        let links = self.links(log, Links::up_to(Goal::Root(checkpoint.root), size))?;
        let Chain { before, steps, gap, was_shipped } = self.chain(log, links)?;
        Ok(Some(Plan { before, steps, checkpoint, note, commit, gap, was_shipped }))
    }

    /// A log, or an epoch of one, of which there are only tails so far: what came before them
    /// is that of an earlier epoch.
    fn begun(self, log: &LogName) -> Result<Option<Plan>, ArchiveError> {
        for tail in self.proofs.tails(log.epoch(), 0) {
            let Ok((marker, _)) = unless_foreign(self.bucket.marker(log, &tail, self.keys))? else {
                continue;
            };
            let end = marker.pruned.end();
            let links = Links::up_to(Goal::Tree(marker.pruned), end);
            let Chain { before, steps, gap, was_shipped } = self.chain(log, links)?;
            let (size, note) = (tail.first, String::new());
            let checkpoint = Checkpoint { origin: String::new(), size, root: empty_root() };
            let commit = ObjectName::Checkpoint(log.clone(), size);
            return Ok(Some(Plan { before, steps, checkpoint, note, commit, gap, was_shipped }));
        }
        Ok(None)
    }

    /// The tails that go on from there, up to the record that is wanted, or the newest.
    fn add_tails(
        self,
        plan: &mut Plan,
        log: &LogName,
        holds: Option<u64>,
        refused: &mut Option<ArchiveError>,
    ) -> Result<(), ArchiveError> {
        loop {
            let next = plan.checkpoint.size;
            if holds.is_some_and(|seq| seq < next) || self.watch.interrupted() {
                return Ok(());
            }
            let from_next = self.proofs.tails(log.epoch(), next);
            let there: Vec<_> = from_next.take_while(|tail| tail.first == next).collect();
            let mut best = None;
            for tail in &there {
                let read = unless_foreign(self.bucket.marker(log, tail, self.keys))?;
                // Of several that begin there, one may be signed and altered.
                let read = match read {
                    Ok(found) if there.len() > 1 => {
                        unless_foreign(self.is_whole(log, tail))?.map(|()| found)
                    }
                    read => read,
                };
                match read {
                    Ok((marker, checkpoint)) if checkpoint.size > next => {
                        best = Some((*tail, marker, checkpoint));
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        refused.get_or_insert(error);
                    }
                }
            }
            let Some((tail, marker, checkpoint)) = best else { return Ok(()) };
            plan.steps.push(Step::Tail(log.clone(), tail));
            (plan.note, plan.checkpoint) = (marker.checkpoint, checkpoint);
            plan.commit = tail.name(log);
        }
    }

    fn is_whole(self, log: &LogName, tail: &TailThere) -> Result<(), ArchiveError> {
        let name = tail.name(log);
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let whole = Tail::of(&bytes).and_then(|tail| tail.check());
        whole.map_err(|what| self.bucket.wrong(&name, what))
    }

    /// The data objects of an epoch that lead up to what is wanted. From the end back: each has
    /// to give, with what is before it, the very tree that the next one begins with.
    fn links(self, log: &LogName, mut links: Links) -> Result<Links, ArchiveError> {
        let firsts = self.proofs.firsts(log.epoch());
        while links.end > 0 {
            let (end, goal) = (links.end, &links.goal);
            if self.from.is_some_and(|known| known.end() == end && goal.is(known)) {
                links.is_known = true;
                break;
            }
            let mut link = None;
            for there in firsts.range(..(end, 0)).rev() {
                if self.watch.interrupted() {
                    return Err(ArchiveError::Interrupted);
                }
                let proof = match unless_foreign(self.bucket.proof(log, *there, self.keys))? {
                    Ok((proof, _)) => proof,
                    Err(error) => {
                        links.refused.get_or_insert(error);
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
                links.lower.get_or_insert(*there);
            }
            let Some(proof) = link else { break };
            // What was passed over on the way to it did not matter.
            (links.refused, links.lower) = (None, None);
            links.end = proof.span().first;
            links.goal = Goal::Tree(proof.before.clone());
            links.steps.push(Step::Data(Box::new(proof), end));
        }
        Ok(links)
    }

    /// These data objects, and those of earlier epochs that lead up to them, one epoch after the
    /// other.
    fn chain(self, log: &LogName, mut links: Links) -> Result<Chain, ArchiveError> {
        let mut log = log.clone();
        let mut steps = Vec::new();
        loop {
            steps.append(&mut links.steps);
            let before = match (&links.goal, self.from.filter(|_| links.is_known)) {
                (_, Some(known)) => known.clone(),
                (Goal::Tree(before), None) => before.clone(),
                (Goal::Root(_), None) => {
                    let object = self.range_url(&log, links.end);
                    let what = "no range leads up to this checkpoint".to_owned();
                    return Err(links.refused.unwrap_or(ArchiveError::Missing { object, what }));
                }
            };
            let (mut gap, was_shipped) = match links.is_known {
                true => (None, false),
                false => self.gap(&log, &mut links)?,
            };
            let mut earlier = None;
            if !links.is_known && gap.is_none() {
                // What cannot be read may be what is missing.
                gap = links.refused.filter(ArchiveError::is_unread);
                earlier = self.earlier(&log, &before, &mut gap)?;
            }
            let Some((older, proof)) = earlier else {
                steps.reverse();
                return Ok(Chain { before, steps, gap, was_shipped });
            };
            let goal = Links::up_to(Goal::Tree(proof.before.clone()), proof.span().first);
            steps.push(Step::Data(Box::new(proof), before.end()));
            links = self.links(&older, goal)?;
            log = older;
        }
    }

    /// Whether something was shipped before the first range that is there, and whether signed
    /// checkpoints prove that it was what is missing.
    fn gap(
        self,
        log: &LogName,
        links: &mut Links,
    ) -> Result<(Option<ArchiveError>, bool), ArchiveError> {
        let end = links.end;
        let shipped = match end {
            0 => None,
            end => self.committed_up_to(log, end)?,
        };
        if end == 0 || shipped.is_none() && links.lower.is_none() {
            return Ok((None, false));
        }
        let what = format!(
            "the records before {end} were shipped, and no range that is there leads up to them"
        );
        let object = self.range_url(log, links.lower.map_or(0, |(first, _)| first));
        let missing = ArchiveError::Missing { object, what };
        let was_shipped = match shipped {
            Some(mark) => mark.size == end || !self.is_whole_below(log, mark)?,
            None => false,
        };
        Ok((Some(links.refused.take().unwrap_or(missing)), was_shipped))
    }

    /// Whether ranges lead up to a checkpoint, to those below the gaps between them, and so on
    /// down to the beginning: retention removes what was not shipped, and nothing that was.
    fn is_whole_below(self, log: &LogName, mark: Mark) -> Result<bool, ArchiveError> {
        let mut mark = mark;
        loop {
            let goal = Links::up_to(Goal::Root(mark.root), mark.size);
            let links = self.links(log, goal)?;
            if links.is_known || links.end == 0 {
                return Ok(true);
            }
            if matches!(links.goal, Goal::Root(_)) {
                return Ok(false);
            }
            match self.committed_up_to(log, links.end)? {
                None => return Ok(true),
                Some(next) if next.size == links.end => return Ok(false),
                Some(next) => mark = next,
            }
        }
    }

    fn range_url(self, log: &LogName, first: u64) -> String {
        self.bucket.url(&ObjectName::Range(log.clone(), first, 0))
    }

    /// What lies before an epoch's first record: the last data object of an earlier epoch, if it
    /// has the very tree that this epoch begins with. Else it was removed before anything was
    /// shipped.
    fn earlier(
        self,
        log: &LogName,
        tree: &Range,
        unread: &mut Option<ArchiveError>,
    ) -> Result<Option<(LogName, RangeProof)>, ArchiveError> {
        if tree.is_empty() {
            return Ok(None);
        }
        for epoch in self.proofs.epochs().into_iter().filter(|epoch| *epoch < log.epoch()) {
            let log = log.in_epoch(epoch);
            for there in self.proofs.firsts(epoch).range(..(tree.end(), 0)).rev() {
                if self.watch.interrupted() {
                    return Err(ArchiveError::Interrupted);
                }
                let proof = match unless_foreign(self.bucket.proof(&log, *there, self.keys))? {
                    Ok((proof, _)) => proof,
                    Err(error) => {
                        if error.is_unread() {
                            unread.get_or_insert(error);
                        }
                        continue;
                    }
                };
                if proof.span().end < tree.end() {
                    break;
                }
                let mut whole = proof.before.clone();
                let joined = whole.extend(&proof.tree).is_ok();
                if !joined || proof.span().end == tree.end() && whole != *tree {
                    continue;
                }
                *unread = None;
                return Ok(Some((log, proof)));
            }
        }
        Ok(None)
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
