//! What is found in a fleet's archive.

use crate::coded::coded;

coded! {
    /// What is wrong.
    enum FindingKind;
    /// A log of the roster of which there is nothing.
    LogMissing = "log_missing",
    /// A log that the roster does not have.
    LogUnknown = "log_unknown",
    /// The log signed more than can be had.
    Truncated = "truncated",
    /// The same, as a run that is at work leaves it.
    Unfinished = "unfinished",
    /// There is nothing new for too long.
    Silent = "silent",
    /// Two signed heads contradict each other.
    SplitView = "split_view",
    /// There are several versions of an object that is written once.
    Overwritten = "overwritten",
    /// An object was removed, and an earlier version is still there.
    Removed = "removed",
    /// A table's object is under another host's name than that of its log.
    OtherHost = "other_host",
    /// What says where records are contradicts the records.
    FalseRange = "false_range",
    /// An object does not hold what was signed.
    ObjectAltered = "object_altered",
    /// A Parquet object does not give the records again that are in the data object.
    TableDiffers = "table_differs",
    /// An object that has to be there is not.
    ObjectMissing = "object_missing",
    /// An object that is nobody's.
    ForeignObject = "foreign_object",
    /// The keys do not lead to the one that is believed.
    KeysUnproven = "keys_unproven",
    /// A key took another's place without its signature.
    KeyReplaced = "key_replaced",
    /// The log is in an epoch that the roster does not know.
    NewEpoch = "new_epoch",
    /// An epoch leaves out what an earlier one signed, and no signed record says so.
    EpochContradicts = "epoch_contradicts",
    /// An epoch leaves out what an earlier one signed, as a signed record says.
    EpochLeft = "epoch_left",
    /// Records of which only the hashes are there.
    RecordsMissing = "records_missing",
    /// The roster is older than one that was used before.
    RosterOld = "roster_old",
    /// Two rosters have the same number.
    RosterContradicts = "roster_contradicts",
    /// What has to be checked was not.
    Unread = "unread",
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// To know.
    Note,
    /// To look at.
    Warning,
    /// The archive is not what it has to be.
    Bad,
}

impl Severity {
    /// For programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// The log's id.
    pub log: Option<String>,
    /// The epoch.
    pub epoch: Option<u32>,
    /// The URLs of the objects that it is about; of many the first ones.
    pub objects: Vec<String>,
    /// What is wrong, in words.
    pub what: String,
    /// Signed notes that prove it.
    pub evidence: Vec<Evidence>,
    /// Lines for a roster that acknowledge it, one for each of `objects`; the reason is to be
    /// written.
    pub acknowledge: Vec<String>,
}

/// A signed note that proves a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The name of the file to keep it in.
    pub name: String,
    /// The note.
    pub note: String,
}

impl Finding {
    /// Of a kind, as bad as the kind is.
    #[must_use]
    pub fn new(kind: FindingKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            log: None,
            epoch: None,
            objects: Vec::new(),
            what: what.into(),
            evidence: Vec::new(),
            acknowledge: Vec::new(),
        }
    }

    /// About a log.
    #[must_use]
    pub fn of(mut self, log: &str) -> Self {
        self.log = Some(log.to_owned());
        self
    }

    /// About an epoch of it.
    #[must_use]
    pub fn in_epoch(mut self, epoch: u32) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// About an object.
    #[must_use]
    pub fn at(mut self, object: impl Into<String>) -> Self {
        self.objects.push(object.into());
        self
    }

    /// As bad as that.
    #[must_use]
    pub fn as_bad_as(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl FindingKind {
    fn severity(self) -> Severity {
        match self {
            Self::EpochLeft => Severity::Note,
            Self::Unfinished | Self::KeyReplaced => Severity::Warning,
            _ => Severity::Bad,
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::LogMissing => {
                "find out whether the host ever shipped (`auditctl archive` on it), and who could \
                 remove all of its objects. If the host is to have no log any more, sign a roster \
                 without it"
            }
            Self::LogUnknown => {
                "if the host is yours, compare its key's fingerprint there (`auditctl key show`), \
                 add it to the roster, and sign that. Otherwise find out who can write to the \
                 bucket"
            }
            Self::Truncated => {
                "if the host is there, run `auditctl archive` on it, which ships what is missing. \
                 Otherwise somebody removed it: if the bucket keeps versions, restore them"
            }
            Self::Unfinished => {
                "a run of `auditctl archive` is at work or was interrupted; look again later"
            }
            Self::Silent => {
                "look at the host: does it run, does it record, does it ship (`auditctl health`)? \
                 If it is retired, write silent_after=never into the roster, and sign that"
            }
            Self::SplitView => {
                "a key of this log signed two histories. Keep both notes. The key is in other \
                 hands, or two copies of the log are recording: stop them, and find out which \
                 history is true before anything else"
            }
            Self::Overwritten => {
                "fetch all versions and compare them: the first one is what the host shipped. Take \
                 the right to overwrite from whoever did it, and restore the first version"
            }
            Self::Removed => {
                "restore the version that is hidden, and take the right to remove from whoever \
                 did it"
            }
            Self::OtherHost => {
                "engines count these records for the wrong host. If the host was renamed, add \
                 host=NAME to its line in the roster, and sign that. Otherwise remove the object, \
                 and put it back under its own name"
            }
            Self::FalseRange => {
                "somebody altered the object in proof/ that says where the records are: restore \
                 its first version, or remove it and run `auditctl archive` on the host"
            }
            Self::ObjectAltered => {
                "restore the object's first version. If there is none and the host still has the \
                 records, remove the object, and restore it from a backup of the bucket"
            }
            Self::TableDiffers => {
                "what engines say of these records is wrong. Remove the Parquet object; the data \
                 object beside it is right. Find out who put it there"
            }
            Self::ObjectMissing => {
                "restore the object: remove the marker that hides it, or fetch it from a copy of \
                 the bucket. `auditctl restore --to-seq` still gets what was committed before it"
            }
            Self::ForeignObject => {
                "nothing of the log's proves this object, and engines read it where it lies among \
                 data. Keep a copy, and find out who put it there. If it was the log's own and was \
                 altered, restore its first version; else remove it"
            }
            Self::KeysUnproven => {
                "compare the key in the roster with the host's (`auditctl key show`). If the host \
                 is right, somebody replaced the objects in proof/. Keep the saved state: what it \
                 has was signed by the key that was there before"
            }
            Self::KeyReplaced => {
                "ask whoever is named in it whether they replaced the key, then write the new key \
                 into the roster, and sign that"
            }
            Self::NewEpoch => {
                "if you restored the log, or accepted a rollback, write the new epoch into the \
                 roster, and sign that. Otherwise somebody has the host's key"
            }
            Self::EpochContradicts => {
                "an epoch was begun without a record of what it leaves out, so not by auditctl. \
                 `auditctl restore --epoch N` gets each of them. Find out which is true"
            }
            Self::EpochLeft => {
                "nothing, if you restored the log then. Both histories are in the archive: \
                 `auditctl restore --epoch N`"
            }
            Self::RecordsMissing => {
                "if the bucket keeps versions, restore what was removed. Else `auditctl verify` on \
                 the host says why, and a backup may hold them: `auditctl repair`"
            }
            Self::RosterOld => {
                "use the newest roster. If the one before is lost, sign one with a larger number"
            }
            Self::RosterContradicts => {
                "find out who signed the other one, and sign one with a larger number"
            }
            Self::Unread => "mend the connection, the permissions or the command, and run it again",
        }
    }
}
