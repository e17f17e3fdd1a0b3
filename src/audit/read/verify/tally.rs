//! What a verification has found so far.

use super::activity::Activity;
use super::report::{Counts, Finding};
use crate::audit::files::facts::Facts;
use crate::audit::tree::merkle::Range;

/// A block whose lines are not those that the manifest noted.
#[derive(Debug)]
pub(super) struct BadBlock {
    pub(super) segment: usize,
    pub(super) block: usize,
    /// The tree over what is there, if that is as many records as there should be.
    pub(super) found: Option<Range>,
}

/// Findings and counts.
#[derive(Debug, Default)]
pub(in crate::audit) struct Tally {
    pub(super) findings: Vec<Finding>,
    /// Findings that speak of where the log ends, not of the records in it.
    pub(super) of_end: Vec<Finding>,
    pub(super) bad_blocks: Vec<BadBlock>,
    pub(super) counts: Counts,
    /// What the log's own records say, as far as they were read.
    pub(super) facts: Facts,
    /// What cannot be told, or is worth knowing, and is no finding.
    pub(super) notes: Vec<String>,
    /// What stands behind the last record, where it is no whole line.
    pub(super) unfinished: Option<Finding>,
    /// A segment went while it was looked for, and the manifest says that
    /// retention removed it.
    pub(super) removed_meanwhile: bool,
    /// The format that the log's first record says it has, where it is a newer one.
    pub(super) newer: Option<u64>,
    /// Something was seen that a writer passes through, and nobody stays in.
    pub(super) disturbed: bool,
    /// What the records say, where that is to be counted.
    pub(super) activity: Option<Activity>,
    /// How many records are signed: no more are counted.
    pub(super) signed: u64,
}

impl Tally {
    pub(super) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Up to where what records say is to be counted, if it is.
    pub(super) fn counts_to(&self) -> Option<u64> {
        self.activity.as_ref().map(|_| self.signed)
    }

    pub(super) fn counted(&mut self, counted: Option<Activity>) {
        if let (Some(all), Some(counted)) = (&mut self.activity, counted) {
            all.merge(counted);
        }
    }
}
