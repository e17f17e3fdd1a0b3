//! One log of a fleet, checked: every epoch of it, every object, every signed head.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::exam::{Check, Exam};
use super::finding::{Finding, FindingKind as Kind};
use super::heads::{Head, Heads};
use super::inventory::{NameSum, Names};
use super::look::Look;
use super::report::{EpochReport, LogReport, found, is_finding};
use super::state::Verified;
use crate::archive::{ArchiveError, KeySet, LogName, Plan, Planner, Proofs, Step, Walk, keysets};
use crate::audit::keys::Keyring;
use crate::audit::tree::merkle::{Hash, Range};

/// So often an earlier point is tried where the newest one is damaged.
const MOST_POINTS: usize = 8;

impl Check<'_> {
    /// Checks the log.
    ///
    /// # Errors
    /// What keeps it from being checked.
    pub(crate) fn run(&self) -> Result<LogReport, ArchiveError> {
        let subject = self.subject;
        let log = LogName::new(subject.id, 0).ok_or_else(|| ArchiveError::NotFound {
            wanted: format!("log {}", subject.id),
            place: self.bucket.place(),
        })?;
        let proofs = Proofs::of(&*self.bucket.0, &log)?;
        let mut exam = Exam {
            check: self,
            proofs: &proofs,
            report: LogReport {
                id: subject.id.to_owned(),
                key_is_known: subject.believed.is_some(),
                saved: subject.saved.cloned().unwrap_or_default(),
                ..LogReport::default()
            },
            names: HashSet::new(),
            tables: HashSet::new(),
            present: NameSum::default(),
            marks: Vec::new(),
            trees: BTreeMap::new(),
            host: None,
            foreign: Names::default(),
            is_whole: true,
        };
        let sets = keysets(self.bucket, &proofs, &log, subject.believed, None);
        match sets {
            Ok(sets) => {
                if let Some(split) = sets.split {
                    exam.push(found(split)?);
                }
                if let Some(error) = sets.unauthorised {
                    exam.without_keys(found(error)?);
                }
                for (object, what) in sets.foreign {
                    exam.foreign_object(&object, what);
                }
                let keys = exam.choose(&log, sets.sets)?;
                exam.all(&log, &keys)?;
            }
            Err(error) if is_finding(&error) => exam.without_keys(found(error)?),
            Err(error) => return Err(error),
        }
        Ok(exam.report)
    }
}

impl Exam<'_> {
    /// As a restore does: the first keys that a point can be read with.
    pub(super) fn choose(&self, log: &LogName, sets: Vec<KeySet>) -> Result<Keyring, ArchiveError> {
        let mut rings: Vec<Keyring> = sets.into_iter().map(|set| set.keys).collect();
        if rings.len() > 1 {
            for at in 0..rings.len() {
                for epoch in self.proofs.epochs() {
                    let planner = self.planner(&rings[at], None);
                    match planner.plan(&log.in_epoch(epoch), None, &mut None) {
                        Ok(Some(_)) => return Ok(rings.swap_remove(at)),
                        Err(error) if !is_finding(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        Ok(rings.swap_remove(0))
    }

    pub(super) fn all(&mut self, log: &LogName, keys: &Keyring) -> Result<(), ArchiveError> {
        self.report.keys = keys.keys().iter().map(ToString::to_string).collect();
        for what in keys.unsigned_successions() {
            self.push(Finding::new(Kind::KeyReplaced, what));
        }
        if let Some(handover) = keys.unauthorised() {
            let what = format!(
                "{} took over from {} without its signature: what it signed is not believed",
                handover.new.label(),
                handover.old.label()
            );
            self.push(Finding::new(Kind::KeysUnproven, what));
        }
        let mut known = self.known(keys);
        let before = self.report.clone();
        let helped = self.epochs(log, keys, known.as_ref())?;
        if known.is_some() && !(helped && self.lists_what_was_proven()) {
            // What was verified before is not all of what is there: all of it again.
            (self.report, known) = (before, None);
            (self.names, self.marks, self.trees) = Default::default();
            (self.tables, self.present) = Default::default();
            (self.foreign, self.is_whole) = (Names::default(), true);
            self.epochs(log, keys, None)?;
        }
        self.elsewhere(log, keys);
        self.hosts();
        self.is_new_epoch();
        self.strays();
        self.save(keys, known.as_ref());
        Ok(())
    }

    /// False where what was verified before is of no use.
    pub(super) fn epochs(
        &mut self,
        log: &LogName,
        keys: &Keyring,
        known: Option<&Verified>,
    ) -> Result<bool, ArchiveError> {
        self.host = known.and_then(|known| known.host.clone());
        self.report.first_accepted = known.and_then(|known| known.first_accepted);
        self.report.last_accepted = known.and_then(|known| known.last_accepted);
        for epoch in self.proofs.epochs().into_iter().rev() {
            if !self.epoch(&log.in_epoch(epoch), keys, known)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn epoch(
        &mut self,
        log: &LogName,
        keys: &Keyring,
        known: Option<&Verified>,
    ) -> Result<bool, ArchiveError> {
        let from = known.and_then(|known| known.trees.get(&log.epoch()));
        let mut points = self.points(log, keys, from)?;
        if from.is_some_and(|from| points.first().is_none_or(|plan| plan.before != *from)) {
            return Ok(false);
        }
        let used: BTreeSet<u64> = points
            .iter()
            .flat_map(|plan| &plan.steps)
            .filter_map(|step| match step {
                Step::Data(proof, _) if proof.log().as_ref() == Some(log) => {
                    Some(proof.span().first)
                }
                _ => None,
            })
            .collect();
        let skip = known.map(|known| known.last_proof.as_str());
        let (heads, foreign) = {
            let mut heads = Heads::new(self.planner(keys, from), log, skip);
            for step in points.iter().flat_map(|plan| &plan.steps) {
                heads.of_step(step);
            }
            heads.of_objects(&used)?;
            (heads.found, heads.foreign)
        };
        for (object, what) in foreign {
            self.foreign_object(&object, what);
        }
        let mut heads = heads;
        heads.extend(self.kept(log, keys));
        heads.sort_by_key(|head| (head.size, head.object.clone()));
        self.names.extend(heads.iter().filter_map(|head| head.data.clone()));
        let Some(newest) = points.first() else { return Ok(true) };
        let (size, note) = (newest.checkpoint.size, newest.note.clone());
        let mut roots = BTreeMap::new();
        let mut holes = Vec::new();
        for plan in &mut points {
            let is_newest = plan.checkpoint.size == size;
            self.point(log, keys, plan, &heads, &mut roots, &mut holes, is_newest, from)?;
        }
        self.compare(log, &heads, &roots, (size, &note))?;
        let newest = &points[0];
        let begins = points.last().map_or(0, |plan| plan.before.end());
        let known_records = from.map_or(0, Range::end);
        self.report.records_known = self.report.records_known.max(known_records);
        let (records, root) = (newest.checkpoint.size, newest.checkpoint.root);
        let begins = if from.is_some() { 0 } else { begins };
        self.report.epochs.push(EpochReport { epoch: log.epoch(), begins, records, root, holes });
        self.report.epoch = Some(log.epoch());
        (self.report.records, self.report.root) = (records, Some(root));
        if let Some(object) = self.check.bucket.0.stat(&newest.commit.to_string())? {
            self.report.newest_put = object.modified;
        }
        self.mark(log, &heads);
        Ok(true)
    }

    /// The newest point of an epoch and, where records before it are missing, those below the
    /// gap.
    pub(super) fn points(
        &mut self,
        log: &LogName,
        keys: &Keyring,
        from: Option<&Range>,
    ) -> Result<Vec<Plan>, ArchiveError> {
        let mut points: Vec<Plan> = Vec::new();
        let mut refused = None;
        let newest = self.planner(keys, from).plan(log, None, &mut refused);
        match newest {
            Ok(plan) => points.extend(plan),
            Err(error) if is_finding(&error) => self.push(found(error)?.in_epoch(log.epoch())),
            Err(error) => return Err(error),
        }
        let sizes: Vec<u64> = self.proofs.sizes(log.epoch()).collect();
        let mut tried = 0;
        for size in sizes {
            let below = match points.last() {
                None => true,
                Some(plan) => plan.gap.is_some() && size <= plan.before.end(),
            };
            if !below || tried == MOST_POINTS {
                continue;
            }
            tried += 1;
            match self.planner(keys, from).at(log, size, &mut None) {
                Ok(plan) => points.extend(plan),
                Err(error) if is_finding(&error) => self.push(found(error)?.in_epoch(log.epoch())),
                Err(error) => return Err(error),
            }
        }
        Ok(points)
    }

    /// Walks through the records of a point.
    #[expect(clippy::too_many_arguments, reason = "what an epoch knows, handed on once")]
    pub(super) fn point(
        &mut self,
        log: &LogName,
        keys: &Keyring,
        plan: &mut Plan,
        heads: &[Head],
        roots: &mut BTreeMap<u64, Hash>,
        holes: &mut Vec<(u64, u64)>,
        is_newest: bool,
        from: Option<&Range>,
    ) -> Result<(), ArchiveError> {
        let sizes: BTreeSet<u64> =
            heads.iter().map(|head| head.size).chain(self.marks.iter().map(|it| it.size)).collect();
        let proofs = self.proofs;
        let Check { bucket, watch, .. } = *self.check;
        let planner = Planner { bucket, proofs, keys, watch, from };
        let mut walk = Walk::new(planner, &plan.before, sizes.clone());
        let (mut look, mut stuck) = (Look::default(), false);
        for step in &plan.steps {
            look.begin();
            match walk.step(step, &mut look) {
                Ok(()) => {
                    self.report.records_read += look.records;
                    if let Step::Data(proof, until) = step {
                        self.placed(proof, *until, &look);
                        self.in_parquet(proof)?;
                        if proof.log().as_ref() == Some(log) && walk.holes().is_empty() {
                            self.trees.insert(log.epoch(), walk.tree().clone());
                        }
                    }
                }
                Err(error) if is_finding(&error) => {
                    self.push(found(error)?.in_epoch(log.epoch()));
                    self.is_whole = false;
                    let passed = matches!(step, Step::Data(proof, until)
                        if walk.pass_over(proof, *until));
                    if !passed {
                        stuck = true;
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let firsts = self.report.first_accepted.into_iter().chain(look.first_of_all);
        self.report.first_accepted = firsts.min();
        if is_newest {
            self.report.last_accepted = walk.last_accepted().or(self.report.last_accepted);
        }
        self.host = self.host.take().or(look.host);
        roots.extend(sizes.iter().filter_map(|size| Some((*size, walk.root_at(*size)?))));
        holes.extend(walk.holes().iter().map(|hole| (hole.tree.begin(), hole.tree.end())));
        self.is_whole &= walk.holes().is_empty() && plan.gap.is_none();
        if stuck {
            return Ok(());
        }
        if let Err(error) = walk.check(plan) {
            self.push(found(error)?.in_epoch(log.epoch()));
            self.is_whole = false;
        }
        if is_newest && from.is_none() && self.proofs.epochs().first() == Some(&log.epoch()) {
            let authority = walk.authority(plan);
            for lacks in walk.lacks(plan, &self.marks, log.epoch()) {
                self.lacks(lacks, &authority, keys);
            }
        }
        Ok(())
    }
}
