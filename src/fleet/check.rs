//! One log of a fleet, checked: every epoch of it, every object, every signed head.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::exam::{Check, Exam};
use super::finding::{Finding, FindingKind as Kind};
use super::heads::{Head, Heads, Skip};
use super::inventory::{NameSum, Names};
use super::look::Look;
use super::report::{EpochReport, LogReport, found, is_finding, unread};
use super::state::Verified;
use crate::archive::{
    ArchiveError, KeySet, Lacks, LogName, ObjectName, Plan, Planner, Proofs, Step, Walk, keysets,
};
use crate::audit::files::facts::Authority;
use crate::audit::keys::Keyring;
use crate::audit::read::verify::Activity;
use crate::audit::tree::merkle::{Hash, Range};

/// What the points of an epoch give: the roots, the holes, and what the log's own records say.
type Seen<'a> = (&'a mut BTreeMap<u64, Hash>, &'a mut Vec<(u64, u64)>, &'a mut Vec<Authority>);

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
            left: None,
            trees: BTreeMap::new(),
            host: None,
            foreign: Names::default(),
            is_whole: true,
            activity: None,
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
                if let Err(error) = exam.all(&log, &keys) {
                    // What was found until then stays.
                    exam.report.saved.verified = None;
                    exam.push(unread(error)?);
                }
            }
            Err(error) if is_finding(&error) => exam.without_keys(found(error)?),
            Err(error) => return Err(error),
        }
        exam.report.activity = exam.activity.take();
        Ok(exam.report)
    }
}

impl Exam<'_> {
    /// As a restore does: the first keys that a point can be read with.
    pub(super) fn choose(&self, log: &LogName, sets: Vec<KeySet>) -> Result<Keyring, ArchiveError> {
        let mut rings: Vec<Keyring> = sets.into_iter().map(|set| set.keys).collect();
        // Those first that know who signed what was seen before. Stable: else the newest ones.
        rings.sort_by_cached_key(|ring| self.of_nobody(log, ring).len());
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

    fn unauthorised(&mut self, keys: &Keyring) {
        if let Some(handover) = keys.unauthorised() {
            let what = format!(
                "{} took over from {} without its signature: what it signed is not believed",
                handover.new.label(),
                handover.old.label()
            );
            self.push(Finding::new(Kind::KeysUnproven, what));
        }
    }

    pub(super) fn all(&mut self, log: &LogName, keys: &Keyring) -> Result<(), ArchiveError> {
        self.report.keys = keys.keys().iter().map(ToString::to_string).collect();
        for what in keys.unsigned_successions() {
            self.push(Finding::new(Kind::KeyReplaced, what));
        }
        self.unauthorised(keys);
        let mut known = self.known(keys);
        let before = self.report.clone();
        let helped = self.epochs(log, keys, known.as_ref())?;
        if known.is_some() && !(helped && self.lists_what_was_proven()) {
            // What was verified before is not all of what is there: all of it again.
            (self.report, known) = (before, None);
            (self.names, self.marks, self.trees) = Default::default();
            self.left = None;
            (self.tables, self.present) = Default::default();
            (self.foreign, self.is_whole) = (Names::default(), true);
            self.epochs(log, keys, None)?;
        }
        if let Some((left, authority)) = self.left.take() {
            left.into_iter().for_each(|lacks| self.lacks(lacks, &authority, keys));
        }
        self.elsewhere(log, keys);
        self.hosts();
        self.is_new_epoch();
        self.has_records();
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
        // What an epoch goes on from is among its own records.
        self.activity = self.check.counts.then(Activity::default);
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
        let skip = known.map(|known| {
            let tails = known.tails.as_ref().and_then(|seen| seen.unchanged(self.proofs));
            Skip { proof: &known.last_proof, tails }
        });
        let (heads, foreign) = {
            let mut heads = Heads::new(self.planner(keys, from), log, skip);
            for step in points.iter().flat_map(|plan| &plan.steps) {
                heads.of_step(step);
            }
            heads.of_objects(&used)?;
            (heads.found, heads.foreign)
        };
        let end = points.first().map_or(0, |plan| plan.checkpoint.size);
        for (object, what) in foreign {
            // Where the log's next tail has to be, there may be nothing else.
            if matches!(&object, ObjectName::Tail(_, first, 0) if *first == end) {
                let url = self.check.bucket.url(&object);
                self.push(Finding::new(Kind::ObjectAltered, what).at(url).in_epoch(log.epoch()));
            } else {
                self.foreign_object(&object, what);
            }
        }
        let mut heads = heads;
        heads.extend(self.kept(log, keys));
        heads.sort_by_key(|head| (head.size, head.object.clone()));
        self.names.extend(heads.iter().filter_map(|head| head.data.clone()));
        let is_older = self.proofs.epochs().first() != Some(&log.epoch());
        if known.is_some() && is_older && self.has_grown(log, &heads) {
            return Ok(false);
        }
        let Some(newest) = points.first() else {
            self.compare(log, &heads, &BTreeMap::new(), (0, ""))?;
            self.mark(log, keys, &heads);
            return Ok(true);
        };
        let (size, note) = (newest.checkpoint.size, newest.note.clone());
        let mut roots = BTreeMap::new();
        let (mut holes, mut said) = (Vec::new(), Vec::new());
        self.left = None;
        for plan in &mut points {
            let is_newest = plan.checkpoint.size == size;
            let seen = (&mut roots, &mut holes, &mut said);
            self.point(log, keys, plan, &heads, seen, is_newest, from)?;
        }
        if from.is_some() && !holes.is_empty() {
            // Whether a signed record gives them up may stand in what is not read again.
            return Ok(false);
        }
        self.compare(log, &heads, &roots, (size, &note))?;
        let newest = &points[0];
        let begins = points.last().map_or(0, |plan| plan.before.end());
        let begins = self.begins(log.epoch(), begins, from.is_some());
        let data_end = points.iter().flat_map(|plan| &plan.steps).map(|step| match step {
            Step::Data(_, until) => *until,
            Step::Tail(..) => 0,
        });
        let data_end = data_end.max().unwrap_or(0).max(newest.before.end());
        let known_records = from.map_or(0, Range::end);
        self.report.records_known = self.report.records_known.max(known_records);
        let (records, root) = (newest.checkpoint.size, newest.checkpoint.root);
        let epoch = log.epoch();
        let report = EpochReport { epoch, begins, records, root, holes, data_end };
        self.report.epochs.push(report);
        self.report.epoch = Some(log.epoch());
        (self.report.records, self.report.root) = (records, Some(root));
        if let Some(object) = self.check.bucket.0.stat(&newest.commit.to_string())? {
            self.report.newest_put = object.modified;
        }
        self.mark(log, keys, &heads);
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
            match self.planner(keys, from).at(log, size, &mut None) {
                // What nobody signed is no point.
                Ok(None) => {}
                Ok(Some(plan)) => {
                    tried += 1;
                    points.push(plan);
                }
                Err(error) if is_finding(&error) => {
                    tried += 1;
                    self.push(found(error)?.in_epoch(log.epoch()));
                }
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
        (roots, holes, said): Seen<'_>,
        is_newest: bool,
        from: Option<&Range>,
    ) -> Result<(), ArchiveError> {
        let sizes: BTreeSet<u64> =
            heads.iter().map(|head| head.size).chain(self.marks.iter().map(|it| it.size)).collect();
        let proofs = self.proofs;
        let Check { bucket, watch, .. } = *self.check;
        let planner = Planner { bucket, proofs, keys, watch, from };
        let mut walk = Walk::new(planner, &plan.before, sizes.clone());
        let activity = self.activity.is_some().then(Activity::default);
        let (mut look, mut stuck) = (Look { activity, ..Look::default() }, false);
        for step in &plan.steps {
            look.begin();
            let before = look.clone();
            match walk.step(step, &mut look) {
                Ok(()) => {
                    self.report.records_read += look.records;
                    if let Some((all, more)) = self.activity.as_mut().zip(look.activity.take()) {
                        all.merge(more);
                        look.activity = Some(Activity::default());
                    }
                    if let Step::Data(proof, until) = step {
                        self.placed(proof, *until, &look);
                        self.in_parquet(proof)?;
                        if proof.log().as_ref() == Some(log) && walk.holes().is_empty() {
                            self.trees.insert(log.epoch(), walk.tree().clone());
                        }
                    }
                }
                Err(error) if is_finding(&error) => {
                    // Nothing that it says counts.
                    look = before;
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
        let authority = walk.authority(plan);
        let mut left = Vec::new();
        for lacks in walk.lacks(plan, &self.marks, log.epoch()) {
            match &lacks {
                Lacks::Hole { first, end, .. } => {
                    // A newer record of the epoch may give them up.
                    let named = |by: &Authority| by.names_hole(*first, *end);
                    if !said.iter().any(named) {
                        self.lacks(lacks, &authority, keys);
                    }
                }
                Lacks::Epoch { .. } if from.is_some() => {}
                _ if is_newest => left.push(lacks),
                _ => {}
            }
        }
        if is_newest {
            self.left = Some((left, authority.clone()));
        }
        said.push(authority);
        Ok(())
    }
}
