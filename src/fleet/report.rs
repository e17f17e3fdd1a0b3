//! What is found of one log.

use std::collections::HashSet;

use super::acknowledged::Acknowledged;
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::heads::evidence_of;
use super::state::SavedLog;
use crate::archive::ArchiveError;
use crate::audit::read::verify::Activity;
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;
use crate::store::StoreErrorKind;

/// So many of a log's own records are kept of each log of a fleet.
const MOST_TOLD: usize = 20;

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
    /// Objects in Parquet that give the very records again.
    pub parquet_same: u64,
    /// Objects in Parquet that were not compared.
    pub parquet_unchecked: u64,
    /// When the object with the newest signed head was written, by the store's clock.
    pub newest_put: Option<Timestamp>,
    /// Of what the records say that were read, where that was counted and nothing is wrong with
    /// the log: how many they are, from when to when, and what the log recorded of itself. The
    /// rest is with that of all logs.
    pub counted: Option<Activity>,
    /// All of it, until it is with that of all logs.
    pub(crate) activity: Option<Activity>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is wrong and the roster acknowledges, until it is with that of all logs.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// For the next time.
    pub(crate) saved: SavedLog,
    /// The names of the data objects that were proven, where the bucket lists others.
    pub(crate) proven: Option<HashSet<String>>,
}

impl LogReport {
    /// Hands over what its records say, but for what is told of each log. What something is
    /// wrong with is not told as what happened, nor what somebody put there.
    pub(crate) fn hand_over(&mut self) -> Option<Activity> {
        let counts = |it: &Finding| match it.kind {
            Kind::Silent => true,
            Kind::LogUnknown => false,
            _ => it.severity != Severity::Bad,
        };
        let mut all = self.activity.take().filter(|_| self.findings.iter().all(counts))?;
        let told = std::mem::take(&mut all.told);
        let told_beyond = std::mem::take(&mut all.told_beyond);
        let (records, first, last) = (all.records, all.first, all.last);
        let mut own = Activity { records, first, last, told, told_beyond, ..Activity::default() };
        own.tell_no_more_than(MOST_TOLD);
        self.counted = Some(own);
        Some(all)
    }
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
    /// The records up to the end of its data objects.
    pub(crate) data_end: u64,
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

/// An error that keeps a log from being checked to its end, as a finding.
pub(crate) fn unread(error: ArchiveError) -> Result<Finding, ArchiveError> {
    Ok(match error {
        ArchiveError::Store(error) if error.kind != StoreErrorKind::Interrupted => {
            Finding::new(Kind::Unread, error.to_string()).at(error.url.clone())
        }
        error @ ArchiveError::Newer { .. } => Finding::new(Kind::Unread, error.to_string()),
        error => return found(error),
    })
}

/// An error of reading the archive, as what was found.
pub(crate) fn found(error: ArchiveError) -> Result<Finding, ArchiveError> {
    Ok(match error {
        ArchiveError::Object { object, what } => Finding::new(Kind::ObjectAltered, what).at(object),
        ArchiveError::SplitView { object, what, notes } => {
            let mut finding = Finding::new(Kind::SplitView, what).at(object);
            finding.evidence = notes.iter().filter_map(|note| evidence_of(note)).collect();
            finding
        }
        ArchiveError::Missing { object, what } => {
            Finding::new(Kind::ObjectMissing, format!("it is missing: {what}")).at(object)
        }
        ArchiveError::Incomplete { object, what } => Finding::new(Kind::Truncated, what).at(object),
        other => return Err(other),
    })
}
