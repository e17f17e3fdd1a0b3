//! What a verification found, and what it says of the log.

use std::fmt;

use serde::Serialize;

use super::activity::Activity;
use crate::audit::files::ended::EndedEpoch;
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Kind {
    /// Bytes are not those that were recorded.
    Altered,
    /// A file holds the records that were recorded, in other bytes than were noted.
    StoredBytes,
    /// Records or a file are not there.
    Missing,
    /// Something is there that was not recorded.
    Extra,
    /// Records stand in another order.
    Reordered,
    /// A file, or the log, ends too early.
    Truncated,
    /// The checkpoint is missing, or its signature does not fit its text.
    BadSignature,
    /// The checkpoint was signed by another key than the one it is checked with.
    WrongKey,
    /// The log was not closed in order: what it ends with is not signed.
    Unclean,
    /// It is not the log, or not the history, that the copy elsewhere is of.
    Diverged,
    /// A restore set signed records aside.
    Restored,
    /// What was asked for cannot be told from what is here.
    Unprovable,
    /// Too few of a policy's witnesses cosigned a checkpoint of the log.
    NoQuorum,
    /// Enough of them did, and too long ago.
    QuorumOld,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Altered,
        Self::StoredBytes,
        Self::Missing,
        Self::Extra,
        Self::Reordered,
        Self::Truncated,
        Self::BadSignature,
        Self::WrongKey,
        Self::Unclean,
        Self::Diverged,
        Self::Restored,
        Self::Unprovable,
        Self::NoQuorum,
        Self::QuorumOld,
    ];

    /// A stable name for scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::StoredBytes => "stored_bytes",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::BadSignature => "bad_signature",
            Self::WrongKey => "wrong_key",
            Self::Unclean => "unclean",
            Self::Diverged => "diverged",
            Self::Restored => "restored",
            Self::Unprovable => "unprovable",
            Self::NoQuorum => "no_quorum",
            Self::QuorumOld => "quorum_old",
        }
    }

    /// Whether it speaks against the records themselves; the others speak of where
    /// they end.
    #[must_use]
    pub fn is_of_integrity(self) -> bool {
        !matches!(
            self,
            Self::Truncated
                | Self::Unclean
                | Self::Diverged
                | Self::Restored
                | Self::Unprovable
                | Self::NoQuorum
                | Self::QuorumOld
        )
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The file's name in the log directory, or the copy's.
    pub file: String,
    /// The block's number in that segment, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// The first record concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<u64>,
    /// One after the last record concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_seq: Option<u64>,
    /// Where in the stored file it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In a sentence.
    pub message: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, file: &str, message: impl Into<String>) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Self { kind, file, block: None, first_seq: None, end_seq: None, offset: None, message }
    }

    pub(super) fn records(mut self, first_seq: u64, end_seq: u64) -> Self {
        (self.first_seq, self.end_seq) = (Some(first_seq), Some(end_seq));
        self
    }

    pub(super) fn block(mut self, block: u64) -> Self {
        self.block = Some(block);
        self
    }

    pub(super) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.file)?;
        if let Some(block) = self.block {
            write!(f, " block {block}")?;
        }
        match (self.first_seq, self.end_seq) {
            (Some(first), Some(end)) if end == first + 1 => write!(f, " record {first}")?,
            (Some(first), Some(end)) if end > first => {
                write!(f, " records {first} to {}", end - 1)?;
            }
            _ => {}
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Whether the records are those that were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// All that was looked at is what was signed.
    Intact,
    /// Something is not.
    Damaged,
    /// Without a signature that fits, nothing is proven.
    Unproven,
}

/// Whether all that was recorded is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// A copy elsewhere agrees, and the log ends in order.
    Anchored,
    /// The log ends in order, by its own word: a cut with a matching older
    /// checkpoint would look the same.
    Signed,
    /// It does not end in order, or contradicts a copy elsewhere.
    Incomplete,
}

/// A range of records; empty when both are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Stretch {
    /// Its first record.
    pub first_seq: u64,
    /// One after its last.
    pub end_seq: u64,
}

/// What is known of which records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Ranges {
    /// Removed by retention: their hashes are in the tree, they are not here.
    pub removed: Stretch,
    /// A copy elsewhere has the same.
    pub anchored: Stretch,
    /// Signed by the log's key, and no copy elsewhere was shown that covers them.
    pub signed: Stretch,
    /// After the newest checkpoint.
    pub unsigned: Stretch,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Counts {
    /// Sealed segments in the manifest.
    pub segments: u64,
    /// Blocks whose records were hashed.
    pub blocks: u64,
    /// Blocks that were taken at the manifest's word, which the signed root covers.
    pub blocks_skipped: u64,
    /// Records hashed.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Where the key came from that the signatures were checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum KeySource {
    /// It was handed in.
    Given,
    /// From beside the log: who replaced the log could have replaced it too.
    BesideTheLog,
    /// There is none that could be used.
    None,
}

/// A key, and for which trees it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct KeyStretch {
    /// Name and id.
    pub key: String,
    /// Its fingerprint.
    pub fingerprint: Hash,
    /// The epoch and the size of the first tree that it signed with the key
    /// before; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TreePlace>,
    /// Those of the last tree that it signed, with the key after; absent for the
    /// one that signs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<TreePlace>,
    /// It took the place of the key before, which did not sign that; absent where the
    /// key before signed the succession.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<ReplacedBy>,
}

/// What a succession rests on that nobody signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct ReplacedBy {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub uid: u32,
    /// That user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why.
    pub reason: String,
}

/// A tree of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct TreePlace {
    /// The epoch.
    pub epoch: u32,
    /// Its size.
    pub tree_size: u64,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Depth {
    /// Every stored byte.
    Full,
    /// The signature, the manifest, lengths and stored SHA-256s, the active segment.
    Quick,
    /// What is new since the last successful verification, and a part of the rest, half
    /// of it by lot.
    SinceLast,
}

/// The sealed segment that was read longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct OldestRead {
    /// Its first record.
    pub first_seq: u64,
    /// One after its last.
    pub end_seq: u64,
    /// When it was read.
    pub read_at: Timestamp,
    /// How long ago that is.
    pub age_seconds: u64,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Report {
    /// Whether the records are those that were recorded.
    pub integrity: Integrity,
    /// Whether all that was recorded is there.
    pub completeness: Completeness,
    /// How much was read.
    pub depth: Depth,
    /// Why more was read than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_reason: Option<String>,
    /// What was read longest ago, by the saved state's word, when not everything was
    /// read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<OldestRead>,
    /// When it began.
    pub verified_at: Timestamp,
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// Name and id of the key that signs now.
    pub key: Option<String>,
    /// That key's fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Hash>,
    /// Where the key came from.
    pub key_source: KeySource,
    /// Name and id of the key that was handed in, when the log has changed it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_given: Option<String>,
    /// All of the log's keys, oldest first, when it changed them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyStretch>,
    /// Records that the newest checkpoint covers.
    pub tree_size: u64,
    /// The root over them, hex; absent when no checkpoint verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// Whether a writer has the log open.
    pub writer_runs: bool,
    /// What is known of which records.
    pub ranges: Ranges,
    /// What was looked at.
    pub counts: Counts,
    /// Whether the last record is a signed `audit.closed`.
    pub closed: bool,
    /// The signed record that says what retention removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_by: Option<RemovedBy>,
    /// Records that an opening took over although nobody had signed them; signed
    /// since then as what was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<Stretch>,
    /// Records that are not here, though retention did not remove them. Where a signed
    /// record says that they were given up that is no finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<GivenUp>,
    /// Records of earlier epochs that the log has not gone on with. That they are named is
    /// no finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// What witnesses say of the log, by the policy that was handed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<Witnessed>,
    /// What the records say that were read, where [`Request::activity`](super::Request::activity)
    /// asked for it: those below the signed size, in blocks whose hashes are those that are noted.
    /// Proven only as far as [`integrity`](Self::integrity) says.
    #[serde(skip)]
    pub activity: Option<Activity>,
    /// What cannot be told, or is worth knowing, and is no finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Everything that is wrong, in the order of the records.
    pub findings: Vec<Finding>,
}

/// What witnesses say of a checkpoint of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Witnessed {
    /// Where the checkpoint was.
    pub file: String,
    /// Which log, and which epoch of it.
    pub origin: String,
    /// How many records the checkpoint covers.
    pub tree_size: u64,
    /// Whether the policy's quorum is met.
    pub quorum_met: bool,
    /// When, by the witnesses' clocks: those that cosigned then or later are enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum_at: Option<Timestamp>,
    /// How many of the log's signed records no quorum covers: only the log's own key vouches for
    /// them. Absent where only the checkpoint was looked at, and not the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_alone: Option<u64>,
    /// The policy's witnesses.
    pub witnesses: Vec<WitnessStanding>,
}

/// How a witness stands to the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct WitnessStanding {
    /// Its name in the policy.
    pub name: String,
    /// `cosigned`, `absent`, `wrong` (a cosignature of its does not fit) or `unsupported`
    /// (its key's algorithm is not known to this version).
    pub standing: &'static str,
    /// When it cosigned, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosigned_at: Option<Timestamp>,
}

/// Records that the log does not have any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct GivenUp {
    /// The first.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// What was wrong with them.
    pub reason: String,
    /// The signed record that says that they were given up; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// When it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Records that the log had signed and that it has not gone on with: an opening accepted
/// damage of which nothing told where it was, and began an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Abandoned {
    /// The epoch that they are of.
    pub epoch: u32,
    /// The first.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// What was wrong.
    pub reason: String,
    /// The signed record that says so; absent where it has not been written yet, or
    /// retention has removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// When it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The epoch's last signed head: a copy of the records hashes to it.
    pub checkpoint: String,
    /// The proven copy beside the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptCopy>,
    #[serde(skip)]
    pub(in crate::audit) ended: EndedEpoch,
    /// What lies beside the log proves nothing.
    #[serde(skip)]
    pub(in crate::audit) is_unproven: bool,
}

/// A proven copy beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct KeptCopy {
    /// Its file.
    pub file: String,
    /// One after its last record.
    pub end_seq: u64,
}

impl Abandoned {
    /// How many of them no proven copy beside the log holds.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.end_seq - self.kept.as_ref().map_or(self.first_seq, |kept| kept.end_seq)
    }

    /// Whether a finding is about the copy beside the log.
    pub(in crate::audit) fn is_about(&self, finding: &Finding) -> bool {
        finding.file == self.ended.file()
    }
}

/// A removal by retention, as the log's own signed record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct RemovedBy {
    /// The record's seq.
    pub record: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// All records below this one were removed, or are about to be.
    pub pruned_to: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.integrity == Integrity::Intact
            && self.completeness != Completeness::Incomplete
            && self.is_witnessed()
    }

    /// Whether as many witnesses cosigned as the policy asks for, if there is one.
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        let speaks = |kind| matches!(kind, Kind::NoQuorum | Kind::QuorumOld);
        !self.findings.iter().any(|finding| speaks(finding.kind))
    }

    /// How many records were given up.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.holes.iter().map(|hole| hole.end_seq - hole.first_seq).sum()
    }

    /// How many records of earlier epochs are neither in the log nor in a proven copy
    /// beside it.
    #[must_use]
    pub fn left_behind(&self) -> u64 {
        self.abandoned.iter().map(Abandoned::missing).sum()
    }
}
