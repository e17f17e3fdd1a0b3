//! An archive's records in their order, hashed onto each other as a plan says, and what they
//! say themselves. A restore and the check of a fleet walk the same way, so that they cannot
//! disagree about the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::bucket::Bucket;
use super::documents::RangeProof;
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::marks::{Mark, Planner};
use super::members::{MAX_OBJECT_BYTES, Members, Tail, WRONG_RECORDS};
use super::names::TailThere;
use super::pack::accepted;
use super::plan::{Plan, Step};
use crate::audit::files::examine::leaves;
use crate::audit::files::facts::{Authority, Facts, Said, said_in};
use crate::audit::keys::Keyring;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::Hole;
use crate::clock::Timestamp;

/// Who gets the records.
pub(crate) trait Take {
    /// Lines that follow those before, and the member that holds exactly these, where there is
    /// one. Whether they were signed is known only once the walk is over.
    ///
    /// # Errors
    /// What ends the walk.
    fn lines(
        &mut self,
        first_seq: u64,
        lines: &[u8],
        member: Option<&[u8]>,
    ) -> Result<(), ArchiveError>;
}

/// How far a walk has come.
#[derive(Clone, Debug)]
struct Reached {
    tree: Range,
    holes: Vec<Hole>,
    last_accepted: Option<Timestamp>,
    /// What an object says so far; counts once the object is what it should be.
    said: Vec<Said>,
    roots: Vec<(u64, Hash)>,
}

/// A walk through an archive's records.
pub(crate) struct Walk<'a> {
    bucket: &'a Bucket,
    keys: &'a Keyring,
    watch: &'a dyn Watch,
    /// Where it is known already that the archive holds everything below.
    from: Option<&'a Range>,
    at: Reached,
    /// The sizes at which the root is wanted, and what it is there.
    sizes: BTreeSet<u64>,
    roots: BTreeMap<u64, Hash>,
    /// What the log's own records say.
    facts: Facts,
}

/// What an archive proves that there was, and what cannot be had from it.
#[derive(Clone, Debug)]
pub(crate) enum Lacks {
    /// More records of the epoch than the point has.
    Newer { object: String, signed: u64, there: u64 },
    /// Records of an earlier epoch that the newest one does not continue.
    Epoch { object: String, epoch: u32, size: u64, newer: u32 },
    /// Records of which only the hashes are there.
    Hole { object: String, first: u64, end: u64 },
    /// The keys that follow one of which the log's own record says that it was changed.
    Keys { object: String, old: String },
}

impl Lacks {
    /// The URL of the object that proves it.
    pub(crate) fn object(&self) -> &str {
        match self {
            Self::Newer { object, .. }
            | Self::Epoch { object, .. }
            | Self::Hole { object, .. }
            | Self::Keys { object, .. } => object,
        }
    }
}

impl<'a> Walk<'a> {
    /// From the tree before the first record on.
    pub(crate) fn new(planner: Planner<'a>, before: &Range, sizes: BTreeSet<u64>) -> Self {
        let at = Reached {
            tree: before.clone(),
            holes: Vec::new(),
            last_accepted: None,
            said: Vec::new(),
            roots: Vec::new(),
        };
        let Planner { bucket, keys, watch, from, .. } = planner;
        let mut new = Self {
            bucket,
            keys,
            watch,
            from,
            at,
            sizes,
            roots: BTreeMap::new(),
            facts: Facts::default(),
        };
        let mut at = new.at.clone();
        at.note_root(&new.sizes);
        new.commit(at);
        new
    }

    /// The records of one object. After an error the walk is where it was before.
    pub(crate) fn step(&mut self, step: &Step, take: &mut dyn Take) -> Result<(), ArchiveError> {
        if self.watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let reached = match step {
            Step::Data(proof, until) => self.data(proof, *until, take),
            Step::Tail(log, tail) => self.tail(log, tail, take),
        }?;
        self.commit(reached);
        Ok(())
    }

    /// Passes over a data object by the hashes that were proven to be its; false where only a
    /// part of it is meant.
    pub(crate) fn pass_over(&mut self, proof: &RangeProof, until: u64) -> bool {
        let mut at = self.at.clone();
        let fits = proof.span().end == until
            && at.tree == proof.before
            && at.tree.extend(&proof.tree).is_ok();
        if fits {
            at.note_root(&self.sizes);
            self.commit(at);
        }
        fits
    }

    fn commit(&mut self, mut reached: Reached) {
        reached.said.drain(..).for_each(|said| self.facts.note(said));
        self.roots.extend(reached.roots.drain(..));
        self.at = reached;
    }

    fn data(
        &self,
        proof: &RangeProof,
        until: u64,
        take: &mut dyn Take,
    ) -> Result<Reached, ArchiveError> {
        let name = proof.object()?;
        if self.at.tree != proof.before {
            let range = proof.log().map(|log| ObjectName::Range(log, proof.span().first, 0));
            let what = "it follows another history than the ranges before it: a key of the log \
                        signed two";
            return Err(self.split(&range.unwrap_or(name), what, &proof.checkpoint));
        }
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let mut at = self.at.clone();
        let mut held = Range::empty(proof.span().first);
        let mut members = Members::of(&bytes, proof.span().end);
        let mut holes = proof.holes.iter().peekable();
        let mut pass = |at: &mut Reached, held: &mut Range, before: u64| {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < before) {
                held.extend(&hole.tree).map_err(|error| error.to_string())?;
                at.hole(hole, until, &self.sizes)?;
            }
            Ok::<_, String>(())
        };
        while let Some((mut lines, block)) = members.next_lines().map_err(wrong)? {
            pass(&mut at, &mut held, lines.first_seq).map_err(wrong)?;
            held.extend(&block).map_err(|error| wrong(error.to_string()))?;
            if lines.first_seq >= until {
                continue;
            }
            let whole = lines.first_seq + lines.records() <= until;
            lines.cut(until);
            let member = lines.member.take().filter(|_| whole);
            at.lines(&lines.raw, whole.then_some(&block), &self.sizes);
            take.lines(lines.first_seq, &lines.raw, member.as_deref())?;
        }
        pass(&mut at, &mut held, u64::MAX).map_err(wrong)?;
        if held != proof.tree {
            return Err(wrong(WRONG_RECORDS.to_owned()));
        }
        self.watch.advance(bytes.len() as u64);
        Ok(at)
    }

    fn tail(
        &self,
        log: &LogName,
        there: &TailThere,
        take: &mut dyn Take,
    ) -> Result<Reached, ArchiveError> {
        let name = there.name(log);
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let tail = Tail::of(&bytes).map_err(wrong)?;
        let checkpoint = tail.signed(log, there.first, self.keys).map_err(wrong)?;
        tail.check().map_err(wrong)?;
        let mut at = self.at.clone();
        let from = at.tree.end();
        let mut holes = tail.marker.holes.iter().peekable();
        let mut members = tail.members();
        while let Some((mut lines, block)) = members.next_lines().map_err(wrong)? {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < lines.first_seq) {
                if hole.tree.begin() >= from {
                    at.hole(hole, u64::MAX, &self.sizes).map_err(wrong)?;
                }
            }
            let end = lines.first_seq + lines.records();
            if end <= from {
                continue;
            }
            let mut whole = true;
            if lines.first_seq < from
                && let Some(rest) = lines.cut(from)
            {
                (lines, whole) = (rest, false);
            }
            if lines.first_seq != at.tree.end() {
                return Err(wrong(format!("record {} is missing", at.tree.end())));
            }
            let member = lines.member.take();
            at.lines(&lines.raw, whole.then_some(&block), &self.sizes);
            take.lines(lines.first_seq, &lines.raw, member.as_deref())?;
        }
        for hole in holes.filter(|hole| hole.tree.begin() >= from) {
            at.hole(hole, u64::MAX, &self.sizes).map_err(wrong)?;
        }
        if at.tree.root().ok() != Some(checkpoint.root) {
            let what = "it follows another history than the data before it: a key of the log \
                        signed two";
            return Err(self.split(&name, what, &tail.marker.checkpoint));
        }
        self.watch.advance(bytes.len() as u64);
        Ok(at)
    }

    fn split(&self, object: &ObjectName, what: &str, note: &str) -> ArchiveError {
        let object = self.bucket.url(object);
        ArchiveError::SplitView { object, what: what.to_owned(), notes: vec![note.to_owned()] }
    }

    /// The tree so far.
    pub(crate) fn tree(&self) -> &Range {
        &self.at.tree
    }

    /// The root at a size that was wanted; `None` where it cannot be computed.
    pub(crate) fn root_at(&self, size: u64) -> Option<Hash> {
        self.roots.get(&size).copied()
    }

    /// The records of which only the hashes are there.
    pub(crate) fn holes(&self) -> &[Hole] {
        &self.at.holes
    }

    /// When the last record that was walked through was accepted.
    pub(crate) fn last_accepted(&self) -> Option<Timestamp> {
        self.at.last_accepted
    }

    /// What counts of what the log's own records say.
    pub(crate) fn authority(&self, plan: &Plan) -> Authority {
        self.facts.authority(plan.checkpoint.size)
    }

    /// Whether it all adds up to what was signed.
    ///
    /// # Errors
    /// The checkpoint is over other records; nothing accounts for those that are missing
    /// before the first.
    pub(crate) fn check(&self, plan: &mut Plan) -> Result<(), ArchiveError> {
        let tree = &self.at.tree;
        let fits = tree.end() == plan.checkpoint.size
            && tree.root().is_ok_and(|root| root == plan.checkpoint.root);
        if !fits {
            let what = format!(
                "the {} records before it do not give the root that it signs",
                plan.checkpoint.size
            );
            return Err(self.bucket.wrong(&plan.commit, what));
        }
        let removal = self.authority(plan).removal;
        let removed = removal.map_or(0, |(_, removal)| removal.end);
        let begins = plan.before.end();
        let is_excused = removed >= begins && !plan.was_shipped;
        match plan.gap.take() {
            // Retention removed them before they were shipped, if a signed record says so.
            Some(gap) if is_excused => {
                tracing::warn!("{gap}: retention removed them, as a signed record says");
                Ok(())
            }
            Some(gap) => Err(gap),
            None if is_excused || self.from == Some(&plan.before) => Ok(()),
            None => {
                let range = ObjectName::Range(plan.commit.log().clone(), 0, 0);
                let what = format!(
                    "the archive begins with record {begins}, and no signed record says that \
                     retention removed those before it"
                );
                Err(ArchiveError::Missing { object: self.bucket.url(&range), what })
            }
        }
    }

    /// What is proven to have been there, and cannot be had: holes that no signed record gives
    /// up, and what earlier epochs signed last (`marks`) and this history does not continue.
    pub(crate) fn lacks(&self, plan: &Plan, marks: &[Mark], epoch: u32) -> Vec<Lacks> {
        let authority = self.authority(plan);
        let unnamed = |hole: &&Hole| !authority.names_hole(hole.tree.begin(), hole.tree.end());
        let holes = self.at.holes.iter().filter(unnamed).map(|hole| Lacks::Hole {
            object: self.bucket.url(&plan.commit),
            first: hole.tree.begin(),
            end: hole.tree.end(),
        });
        let left = marks.iter().filter(|mark| self.root_at(mark.size) != Some(mark.root));
        let left = left.map(|mark| Lacks::Epoch {
            object: self.bucket.url(&mark.object),
            epoch: mark.epoch,
            size: mark.size,
            newer: epoch,
        });
        let newest = self.keys.newest();
        let is_changed = authority.keys.changed.contains(&newest.to_string());
        let keys = is_changed.then(|| Lacks::Keys {
            object: self.bucket.0.url(&plan.commit.log().proofs()),
            old: newest.label(),
        });
        holes.chain(left).chain(keys).collect()
    }
}

impl Reached {
    fn hole(&mut self, hole: &Hole, until: u64, sizes: &BTreeSet<u64>) -> Result<(), String> {
        if hole.tree.begin() >= until {
            return Ok(());
        }
        let end = hole.tree.end().min(until);
        let within = hole.tree.within(hole.tree.begin(), end).ok_or(WRONG_RECORDS)?;
        self.tree.extend(&within).map_err(|error| error.to_string())?;
        self.note_root(sizes);
        self.holes.push(Hole { tree: within, ..hole.clone() });
        Ok(())
    }

    /// Adds lines; `block` are their hashes, where they are known.
    fn lines(&mut self, raw: &[u8], block: Option<&Range>, sizes: &BTreeSet<u64>) {
        let known = block.filter(|block| {
            // A root that is wanted within them needs them one by one.
            let inside = sizes.range(block.begin() + 1..block.end().max(block.begin() + 1));
            block.begin() == self.tree.end() && inside.count() == 0
        });
        match known.map(|block| self.tree.extend(block)) {
            Some(Ok(())) => self.note_root(sizes),
            _ => {
                for leaf in leaves(raw) {
                    self.tree.append(leaf);
                    self.note_root(sizes);
                }
            }
        }
        self.said.extend(said_in(raw));
        let last = raw.rsplit(|byte| *byte == b'\n').find_map(accepted);
        self.last_accepted = last.or(self.last_accepted);
    }

    fn note_root(&mut self, sizes: &BTreeSet<u64>) {
        let size = self.tree.end();
        if sizes.contains(&size)
            && let Ok(root) = self.tree.root()
        {
            self.roots.push((size, root));
        }
    }
}

impl From<Lacks> for ArchiveError {
    fn from(lacks: Lacks) -> Self {
        match lacks {
            Lacks::Newer { object, signed, there } => Self::Incomplete {
                what: format!(
                    "the log signed {signed} records, and the archive leads up to {there}: the \
                     last {} are not in it",
                    signed - there
                ),
                object,
            },
            Lacks::Epoch { object, epoch, size, newer } => Self::Incomplete {
                what: format!(
                    "the log signed {size} records in epoch {epoch}, which epoch {newer} does not \
                     continue: it leaves some of them out"
                ),
                object,
            },
            Lacks::Keys { object, old } => Self::Incomplete {
                what: format!(
                    "a signed record says that another key followed {old}, and no keys that are \
                     there lead on: what was signed since is not read"
                ),
                object,
            },
            Lacks::Hole { object, first, end } => Self::Object {
                what: format!(
                    "below it, records {first} to {} are there only as hashes, and no signed \
                     record gives them up",
                    end - 1
                ),
                object,
            },
        }
    }
}
