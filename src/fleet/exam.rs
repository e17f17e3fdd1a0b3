//! One log on its way through a check: what is known of it so far.

use std::collections::{BTreeMap, HashSet};

use super::acknowledged::Acknowledgements;
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::inventory::{Listed, MOST_SHOWN, NameSum, Names, SumKey, is_in_table};
use super::report::LogReport;
use super::roster::Expected;
use super::state::SavedLog;
use crate::archive::{Bucket, Lacks, Mark, ObjectName, Planner, Proofs};
use crate::audit::files::facts::Authority;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::read::verify::Activity;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;

/// So many findings of one kind are kept of a log.
const MOST_ALIKE: usize = 64;

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

pub(crate) struct Check<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) now: Option<Timestamp>,
    pub(crate) sums: &'a SumKey,
    /// What the roster acknowledges.
    pub(crate) known: &'a Acknowledgements,
    /// Whether to count what the records say.
    pub(crate) counts: bool,
    pub(crate) watch: &'a dyn Watch,
}

/// A check on its way.
pub(super) struct Exam<'a> {
    pub(super) check: &'a Check<'a>,
    pub(super) proofs: &'a Proofs,
    pub(super) report: LogReport,
    /// The names of the data objects that signed ranges name.
    pub(super) names: HashSet<String>,
    /// Those whose Parquet objects were compared.
    pub(super) tables: HashSet<String>,
    /// The sum over the names of the Parquet objects that are there.
    pub(super) present: NameSum,
    /// What each epoch signed last.
    pub(super) marks: Vec<Mark>,
    /// What the newest epoch of which there is anything leaves out of those before it.
    pub(super) left: Option<(Vec<Lacks>, Authority)>,
    /// The tree over each epoch's data objects.
    pub(super) trees: BTreeMap<u32, Range>,
    /// The host that the log's first record names.
    pub(super) host: Option<String>,
    /// Objects of the log's name that nothing of it proves.
    pub(super) foreign: Names,
    /// Whether everything was read, so that the next time it need not be.
    pub(super) is_whole: bool,
    /// What the records say that were read of the epoch, where that is to be counted.
    pub(super) activity: Option<Activity>,
}

impl Exam<'_> {
    pub(super) fn push(&mut self, finding: Finding) {
        let finding = finding.of(self.check.subject.id);
        let mut alike = self.report.findings.iter_mut().filter(|it| it.kind == finding.kind);
        let count = alike.by_ref().count();
        if count > MOST_ALIKE {
            return;
        }
        let known = |it: &&mut Finding| {
            it.kind == finding.kind && it.objects == finding.objects && it.what == finding.what
        };
        match self.report.findings.iter_mut().find(known) {
            Some(same) if same.evidence.is_empty() => same.evidence = finding.evidence,
            Some(_) => {}
            None if count == MOST_ALIKE => {
                let what = format!("more than {MOST_ALIKE} of them: the others are left out");
                let rest = Finding::new(finding.kind, what).of(self.check.subject.id);
                self.report.findings.push(rest.as_bad_as(finding.severity));
            }
            None => self.report.findings.push(finding),
        }
    }

    /// Whether anything bad was found.
    pub(super) fn is_bad(&self) -> bool {
        self.report.findings.iter().any(|it| it.severity == Severity::Bad)
    }

    pub(super) fn without_keys(&mut self, mut finding: Finding) {
        if self.check.subject.believed.is_some() {
            finding.kind = Kind::KeysUnproven;
        }
        self.push(finding);
    }

    pub(super) fn planner<'b>(&'b self, keys: &'b Keyring, from: Option<&'b Range>) -> Planner<'b> {
        let Check { bucket, watch, .. } = *self.check;
        Planner { bucket, proofs: self.proofs, keys, watch, from }
    }

    pub(super) fn foreign_object(&mut self, object: &ObjectName, what: String) {
        let name = object.to_string();
        let Check { bucket, known, .. } = *self.check;
        if let Some(known) = known.of_content(bucket, Kind::ForeignObject, &name) {
            self.report.acknowledged.push(known);
            return;
        }
        self.foreign.add(&name);
        if self.foreign.count <= MOST_SHOWN as u64 {
            let url = self.check.bucket.0.url(&name);
            let severity = if is_in_table(&name) { Severity::Bad } else { Severity::Warning };
            self.push(Finding::new(Kind::ForeignObject, what).at(url).as_bad_as(severity));
        }
    }
}
