//! One log of a fleet, checked: every epoch of it, every object, every signed head.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::finding::{Finding, FindingKind as Kind, Severity};
use super::heads::{Head, Heads, evidence};
use super::inventory::{Listed, MOST_SHOWN, NameSum, Names, SumKey, is_in_table};
use super::look::Look;
use super::roster::Expected;
use super::state::{SavedLog, Verified};
use crate::archive::{
    ArchiveError, Bucket, KeySet, Lacks, LogName, Mark, ObjectName, Plan, Planner, Proofs,
    RangeProof, Step, Walk, keysets,
};
use crate::audit::files::facts::Authority;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;

/// So often an earlier point is tried where the newest one is damaged.
const MOST_POINTS: usize = 8;
/// A range this old is no run at work any more, by the store's clock.
pub(crate) const AT_WORK_MICROS: i64 = 3_600_000_000;

/// What is checked, and by what.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) expected: Option<&'a Expected>,
    /// A key that is known from elsewhere.
    pub(crate) believed: Option<&'a VerifierKey>,
    /// Nothing where the bucket was not listed.
    pub(crate) listed: Option<&'a Listed>,
    pub(crate) saved: Option<&'a SavedLog>,
    /// Whether what is saved spares reading.
    pub(crate) skips: bool,
    /// Checkpoints that were kept elsewhere, and where each is from.
    pub(crate) against: Vec<(String, SignedCheckpoint)>,
}

/// What was found of one log.
#[derive(Clone, Debug, Default)]
pub struct LogReport {
    /// The log's id.
    pub id: String,
    /// The hosts under whose names its data is.
    pub hosts: Vec<String>,
    /// The newest epoch of which anything is committed.
    pub epoch: Option<u32>,
    /// Its epochs, the oldest first.
    pub epochs: Vec<EpochReport>,
    /// How many records it has, up to the newest committed point.
    pub records: u64,
    /// The root over them.
    pub root: Option<Hash>,
    /// When the first record that is there was accepted.
    pub first_accepted: Option<Timestamp>,
    /// When the last one was.
    pub last_accepted: Option<Timestamp>,
    /// Its keys, the oldest first.
    pub keys: Vec<String>,
    /// Whether one of them is known from elsewhere than the bucket.
    pub key_is_known: bool,
    /// Signed heads that were compared with the records.
    pub heads: u64,
    /// Signed heads that could not be compared: their records are not there any more.
    pub heads_unchecked: u64,
    /// Records that were read, hashed and compared.
    pub records_read: u64,
    /// Records that were verified before, in objects that the store lists unchanged.
    pub records_known: u64,
    /// Objects in Parquet, which were not compared.
    pub parquet_unchecked: u64,
    /// When the object with the newest signed head was written, by the store's clock.
    pub newest_put: Option<Timestamp>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// For the next time.
    pub(crate) saved: SavedLog,
    /// The names of the data objects that were proven, where the bucket lists others.
    pub(crate) proven: Option<HashSet<String>>,
}

/// What was found of one epoch.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Which.
    pub epoch: u32,
    /// The tree before the first record that is there: what retention removed.
    pub begins: u64,
    /// The records up to its newest committed point.
    pub records: u64,
    /// The root over them.
    pub root: Hash,
    /// Records of which only the hashes are there.
    pub holes: Vec<(u64, u64)>,
}

/// Whether an error is something that was found, and no failure.
pub(crate) fn is_finding(error: &ArchiveError) -> bool {
    matches!(
        error,
        ArchiveError::Object { .. }
            | ArchiveError::SplitView { .. }
            | ArchiveError::Missing { .. }
            | ArchiveError::Incomplete { .. }
    )
}

/// An error of reading the archive, as what was found.
pub(crate) fn found(error: ArchiveError) -> Result<Finding, ArchiveError> {
    Ok(match error {
        ArchiveError::Object { object, what } => Finding::new(Kind::ObjectAltered, what).at(object),
        ArchiveError::SplitView { object, what, .. } => {
            Finding::new(Kind::SplitView, what).at(object)
        }
        ArchiveError::Missing { object, what } => {
            Finding::new(Kind::ObjectMissing, format!("it is missing: {what}")).at(object)
        }
        ArchiveError::Incomplete { object, what } => Finding::new(Kind::Truncated, what).at(object),
        other => return Err(other),
    })
}

pub(crate) struct Check<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) now: Option<Timestamp>,
    pub(crate) sums: &'a SumKey,
    pub(crate) watch: &'a dyn Watch,
}

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

/// A check on its way.
struct Exam<'a> {
    check: &'a Check<'a>,
    proofs: &'a Proofs,
    report: LogReport,
    /// The names of the data objects that signed ranges name.
    names: HashSet<String>,
    /// What each epoch signed last.
    marks: Vec<Mark>,
    /// The tree over each epoch's data objects.
    trees: BTreeMap<u32, Range>,
    /// The host that the log's first record names.
    host: Option<String>,
    /// Objects of the log's name that nothing of it proves.
    foreign: Names,
    /// Whether everything was read, so that the next time it need not be.
    is_whole: bool,
}

impl Exam<'_> {
    fn push(&mut self, finding: Finding) {
        let finding = finding.of(self.check.subject.id);
        let known = |it: &Finding| it.kind == finding.kind && it.objects == finding.objects;
        if !self.report.findings.iter().any(known) {
            self.report.findings.push(finding);
        }
    }

    fn without_keys(&mut self, mut finding: Finding) {
        if self.check.subject.believed.is_some() {
            finding.kind = Kind::KeysUnproven;
        }
        self.push(finding);
    }

    fn planner<'b>(&'b self, keys: &'b Keyring, from: Option<&'b Range>) -> Planner<'b> {
        let Check { bucket, watch, .. } = *self.check;
        Planner { bucket, proofs: self.proofs, keys, watch, from }
    }

    /// As a restore does: the first keys that a point can be read with.
    fn choose(&self, log: &LogName, sets: Vec<KeySet>) -> Result<Keyring, ArchiveError> {
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

    fn all(&mut self, log: &LogName, keys: &Keyring) -> Result<(), ArchiveError> {
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
        if !self.epochs(log, keys, known.as_ref())? {
            // What was verified before is not what the archive leads up to: all of it again.
            (self.report, known) = (before, None);
            (self.names, self.marks, self.trees) = Default::default();
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
    fn epochs(
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

    /// What was verified before, where the store lists the same objects.
    fn known(&self, keys: &Keyring) -> Option<Verified> {
        let subject = self.check.subject;
        let saved = subject.saved.and_then(|saved| saved.verified.as_ref())?;
        let listed = subject.listed?;
        let same = listed.data.same && listed.proof.same && keys.holds(&saved.key);
        (subject.skips && same).then(|| saved.clone())
    }

    fn epoch(
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
    fn points(
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
    fn point(
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

    /// What is proven to have been there.
    fn lacks(&mut self, lacks: Lacks, authority: &Authority, keys: &Keyring) {
        let kind = match &lacks {
            Lacks::Newer { .. } => Kind::Truncated,
            Lacks::Hole { .. } => Kind::RecordsMissing,
            Lacks::Epoch { epoch, size, .. } => {
                // The record of a restore holds the head that it sets aside.
                let set_aside = authority.abandoned.iter().any(|note| {
                    SignedCheckpoint::parse(note.as_bytes()).is_ok_and(|note| {
                        let signed = keys.verify(&note);
                        signed.is_ok_and(|(head, _)| {
                            let of = head.origin.parse::<crate::audit::keys::checkpoint::Origin>();
                            of.is_ok_and(|of| of.epoch() == *epoch) && head.size >= *size
                        })
                    })
                });
                if set_aside { Kind::EpochLeft } else { Kind::EpochContradicts }
            }
        };
        let (Lacks::Newer { object, .. }
        | Lacks::Hole { object, .. }
        | Lacks::Epoch { object, .. }) = &lacks;
        let object = object.clone();
        let what = match ArchiveError::from(lacks) {
            ArchiveError::Incomplete { what, .. } | ArchiveError::Object { what, .. } => what,
            other => other.to_string(),
        };
        self.push(Finding::new(kind, what).at(object));
    }

    /// Whether a data object is where its records say.
    fn placed(&mut self, proof: &RangeProof, until: u64, look: &Look) {
        self.names.insert(proof.data.clone());
        let Ok(ObjectName::Data(place)) = proof.object() else { return };
        let url = self.check.bucket.0.url(&proof.data);
        let first = look.first.filter(|_| look.first_seq == Some(proof.span().first));
        let last = look.last.filter(|_| until == proof.span().end);
        let day_is_wrong = first.is_some_and(|first| crate::archive::Day::of(first) != place.day);
        let is_wrong = first.is_some_and(|first| first != proof.first_accepted)
            || proof.holes.is_empty() && last.is_some_and(|last| last != proof.last_accepted);
        if day_is_wrong || is_wrong {
            let what = "the object in proof/ that names it says another day or time than its \
                        records";
            self.push(Finding::new(Kind::FalseRange, what).at(url.clone()));
        }
        let named = self.host.clone().or_else(|| look.host.clone());
        let named = named.map(|host| crate::archive::HostName::of(&host));
        let expected = self.check.subject.expected.map_or(&[][..], |it| &it.hosts);
        let known = expected.iter().chain(&named);
        if (!expected.is_empty() || named.is_some())
            && !known.into_iter().any(|host| *host == place.host)
        {
            let known: Vec<&str> =
                expected.iter().chain(&named).map(crate::archive::HostName::as_str).collect();
            let what = format!(
                "the records of log {} are under host={}, and its host is {}",
                self.check.subject.id,
                place.host.as_str(),
                known.join(", ")
            );
            let others = self.report.findings.iter_mut();
            let mut others = others.filter(|it| it.kind == Kind::OtherHost && it.what == what);
            match others.next() {
                Some(one) if one.objects.len() < MOST_SHOWN => one.objects.push(url),
                Some(_) => {}
                None => self.push(Finding::new(Kind::OtherHost, what).at(url)),
            }
        }
    }

    fn foreign_object(&mut self, object: &ObjectName, what: String) {
        let name = object.to_string();
        self.foreign.add(&name);
        if self.foreign.count <= MOST_SHOWN as u64 {
            let url = self.check.bucket.0.url(&name);
            let severity = if is_in_table(&name) { Severity::Bad } else { Severity::Warning };
            self.push(Finding::new(Kind::ForeignObject, what).at(url).as_bad_as(severity));
        }
    }

    /// Heads of an epoch that were kept elsewhere.
    fn kept(&self, log: &LogName, keys: &Keyring) -> Vec<Head> {
        let saved = self.check.subject.saved.and_then(|saved| saved.heads.get(&log.epoch()));
        let saved = saved.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok());
        let saved = saved.map(|note| ("the saved state".to_owned(), note));
        let kept = self.check.subject.against.iter().cloned().chain(saved);
        kept.filter_map(|(from, note)| Head::kept(from, &note, log, keys)).collect()
    }

    /// What was kept elsewhere of epochs of which nothing is there.
    fn elsewhere(&mut self, log: &LogName, keys: &Keyring) {
        let there: BTreeSet<u32> = self.report.epochs.iter().map(|it| it.epoch).collect();
        let saved = self.check.subject.saved.into_iter().flat_map(|saved| saved.heads.keys());
        let of = |note: &SignedCheckpoint| {
            let origin = note.unverified().origin.parse::<crate::audit::keys::checkpoint::Origin>();
            origin.map_or(0, |origin| origin.epoch())
        };
        let against = self.check.subject.against.iter().map(|(_, note)| of(note));
        let epochs: BTreeSet<u32> = saved.copied().chain(against).collect();
        for epoch in epochs.difference(&there) {
            for head in self.kept(&log.in_epoch(*epoch), keys) {
                let what = format!(
                    "{} records were signed in epoch {epoch}, and nothing of that epoch can be \
                     read",
                    head.size
                );
                self.push(Finding::new(Kind::Truncated, what).at(head.object).in_epoch(*epoch));
            }
        }
        for (from, note) in &self.check.subject.against {
            if keys.verify(note).is_err() {
                let what = "no key of the log signed this checkpoint".to_owned();
                self.push(Finding::new(Kind::KeysUnproven, what).at(from.clone()));
            }
        }
    }

    /// Compares the signed heads of an epoch with its records.
    fn compare(
        &mut self,
        log: &LogName,
        heads: &[Head],
        roots: &BTreeMap<u64, Hash>,
        (size, note): (u64, &str),
    ) -> Result<(), ArchiveError> {
        for head in heads.iter().filter(|head| head.size <= size) {
            match roots.get(&head.size) {
                Some(root) if *root == head.root => self.report.heads += 1,
                Some(_) => {
                    let what = format!(
                        "a key of the log signed another tree of {} records than the one that the \
                         archive leads up to",
                        head.size
                    );
                    let finding = Finding::new(Kind::SplitView, what).at(&head.object);
                    let finding = Finding {
                        evidence: vec![
                            evidence(log, head.size, &head.note),
                            evidence(log, size, note),
                        ],
                        ..finding.in_epoch(log.epoch())
                    };
                    self.push(finding);
                }
                None => self.report.heads_unchecked += 1,
            }
        }
        let Some(head) = heads.iter().rfind(|head| head.size > size) else { return Ok(()) };
        let what = format!(
            "the log signed {} records, and the archive leads up to {size}: the last {} are not \
             in it",
            head.size,
            head.size - size
        );
        let kind = match self.is_at_work(head)? {
            true => Kind::Unfinished,
            false => Kind::Truncated,
        };
        let mut finding = Finding::new(kind, what).at(&head.object).in_epoch(log.epoch());
        finding.evidence = vec![evidence(log, head.size, &head.note)];
        self.push(finding);
        Ok(())
    }

    /// Whether it looks as a run leaves it that is putting data objects, by the store's clock.
    fn is_at_work(&self, head: &Head) -> Result<bool, ArchiveError> {
        let Some((name, now)) = head.data.as_ref().and(head.name.as_ref()).zip(self.check.now)
        else {
            return Ok(false);
        };
        let put = self.check.bucket.0.stat(name)?.and_then(|object| object.modified);
        Ok(put.is_some_and(|put| now.micros() - put.micros() < AT_WORK_MICROS))
    }

    /// What an epoch signed last: the next one has to continue it.
    fn mark(&mut self, log: &LogName, heads: &[Head]) {
        let Some(head) = heads.iter().max_by_key(|head| head.size) else { return };
        let Head { size, root, .. } = *head;
        let object = head.name.as_ref().and_then(|name| name.parse().ok());
        let object = object.unwrap_or_else(|| ObjectName::Checkpoint(log.clone(), size));
        self.marks.push(Mark { epoch: log.epoch(), size, root, object });
        // Never a smaller one than before: that is what it is kept for.
        if !self.is_split() {
            self.report.saved.heads.insert(log.epoch(), head.note.clone());
        }
    }

    fn is_split(&self) -> bool {
        self.report.findings.iter().any(|it| it.kind == Kind::SplitView)
    }

    fn hosts(&mut self) {
        let listed = self.check.subject.listed.into_iter().flat_map(|it| &it.hosts);
        let mut hosts: Vec<String> = listed.map(|host| host.as_str().to_owned()).collect();
        if hosts.is_empty() {
            let places = self.names.iter().filter_map(|name| name.parse().ok());
            let named: BTreeSet<String> = places
                .filter_map(|name| match name {
                    ObjectName::Data(place) => Some(place.host.as_str().to_owned()),
                    _ => None,
                })
                .collect();
            hosts = named.into_iter().collect();
        }
        if hosts.is_empty() {
            let expected = self.check.subject.expected.into_iter().flat_map(|it| &it.hosts);
            hosts = expected.map(|host| host.as_str().to_owned()).collect();
        }
        self.report.hosts = hosts;
    }

    fn is_new_epoch(&mut self) {
        let expected = self.check.subject.expected.and_then(|it| it.epoch);
        if let Some((known, there)) = expected.zip(self.report.epoch)
            && there > known
        {
            let what = format!("the log is in epoch {there}, and the roster knows of {known}");
            self.push(Finding::new(Kind::NewEpoch, what).in_epoch(there));
        }
    }

    /// Whether the bucket lists other data objects of the log than were proven.
    fn strays(&mut self) {
        let Some(listed) = self.check.subject.listed else { return };
        self.report.parquet_unchecked = listed.parquet;
        let mut sum = NameSum::default();
        self.names.iter().for_each(|name| self.check.sums.add(&mut sum, name));
        let skipped = self.report.records_known > 0;
        let same = if skipped { listed.data.names == sum } else { listed.data.all == sum };
        let parquet_is_same = listed.parquet == 0 || listed.in_parquet == listed.data.all;
        if !same || !parquet_is_same {
            if skipped && !parquet_is_same {
                // The names of what was passed over are not known: all of it, the next time.
                self.report.saved.verified = None;
            }
            self.report.proven = Some(std::mem::take(&mut self.names));
        }
    }

    fn save(&mut self, keys: &Keyring, known: Option<&Verified>) {
        let (Some(listed), Some(now)) = (self.check.subject.listed, self.check.now) else { return };
        let worst = self.report.findings.iter().map(|it| it.severity).max();
        // What was put within the second of the listing may have been put again in it.
        let settled = listed.last_put.is_none_or(|put| now.micros() - put.micros() > 2_000_000);
        let clean = worst.is_none_or(|worst| worst == Severity::Note);
        let complete = self.report.proven.is_none() && self.is_whole && clean;
        self.report.saved.verified = None;
        if !complete {
            return;
        }
        if let Some(known) = known.filter(|_| !settled) {
            self.report.saved.verified = Some(known.clone());
            return;
        }
        let mut trees = known.map_or_else(BTreeMap::new, |known| known.trees.clone());
        trees.append(&mut self.trees);
        self.report.saved.verified = settled.then(|| Verified {
            at: now,
            key: keys.newest().to_string(),
            trees,
            data: (listed.data.count, Hash::from_bytes(listed.data.hash)),
            proof: (listed.proof.count, Hash::from_bytes(listed.proof.hash)),
            last_proof: listed.proof.last.clone(),
            host: self.host.clone().or_else(|| known.and_then(|known| known.host.clone())),
            first_accepted: known
                .and_then(|known| known.first_accepted)
                .or(self.report.first_accepted),
            last_accepted: self.report.last_accepted,
        });
    }
}
