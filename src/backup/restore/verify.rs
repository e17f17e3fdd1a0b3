//! Verifying a backup: everything that a restore checks, and a comparison with checkpoints that
//! were kept and with the log that is here. Nothing is written, and whatever is wrong with the
//! log here is no fault of the backup.

use std::path::PathBuf;

use super::relation::Live;
use super::stage::{choose_keys, read};
use super::{RestoreRequest, Restorer, Target};
use crate::audit::keys::checkpoint::Origin;
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::verify::{Activity, Anchor, Kind};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Hash;
use crate::backup::content::{self, Content, Wanted};
use crate::backup::error::BackupError;
use crate::backup::hole::Hole;
use crate::backup::source::{About, find};

/// A backup that is good.
#[derive(Debug)]
pub struct VerifiedBackup {
    /// Its id, or the path.
    pub backup: String,
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// The first record.
    pub first_seq: u64,
    /// The seq after the last one.
    pub tree_size: u64,
    /// The root over them.
    pub root_hash: Hash,
    /// The key that signed it.
    pub key: String,
    /// Who says that this is the log's key.
    pub key_from: &'static str,
    /// Whether its metadata is signed; `None` where the metadata is lost.
    pub metadata_signed: Option<bool>,
    /// What it was compared with, as asked.
    pub against: Vec<Against>,
    /// What its keys rest on, where nobody signed that one followed another.
    pub notes: Vec<String>,
    /// How the log here relates to it.
    pub here: LogHere,
    /// Which records it lacks.
    pub holes: Vec<Hole>,
    /// What its records say, where that was to be counted.
    pub activity: Option<Activity>,
}

impl VerifiedBackup {
    /// Whether nothing that it was to be compared with contradicts it.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.against.iter().all(|against| against.finding.is_none())
    }

    /// Whether it only ends before what it was compared with: nothing in it contradicts that,
    /// and what came later is not in it.
    #[must_use]
    pub fn is_older(&self) -> bool {
        let mut findings = self.against.iter().filter_map(|against| against.finding.as_ref());
        !self.passed() && findings.all(|(kind, _)| *kind == Kind::Truncated)
    }
}

/// A checkpoint that was kept, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    /// Its name.
    pub name: String,
    /// Its number of records.
    pub size: u64,
    /// What does not fit.
    pub finding: Option<(Kind, String)>,
}

/// The log that is here, beside a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogHere {
    /// There is none.
    Nothing,
    /// It is another one.
    Other,
    /// It continues the backup, by so many records.
    Continues(u64),
    /// It is the beginning of the backup, which has so many records more.
    Behind(u64),
    /// It has other records.
    Differs(String),
    /// It cannot be compared.
    Unknown(String),
}

impl LogHere {
    /// A stable name.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Other => "other_log",
            Self::Continues(0) => "identical",
            Self::Continues(_) => "backup_is_prefix",
            Self::Behind(_) => "live_is_prefix",
            Self::Differs(_) => "diverged",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Restorer {
    /// Verifies a backup.
    ///
    /// # Errors
    /// What is wrong with it, or why it cannot be told.
    pub fn verify(
        &self,
        request: &RestoreRequest,
        against: &[Anchor],
        watch: &dyn Watch,
    ) -> Result<VerifiedBackup, BackupError> {
        self.verify_for(request, against, false, watch)
    }

    /// The same, and counts what the records say where `activity` is wanted.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_for(
        &self,
        request: &RestoreRequest,
        against: &[Anchor],
        activity: bool,
        watch: &dyn Watch,
    ) -> Result<VerifiedBackup, BackupError> {
        // Of any log: it is not put in this one's place.
        let request = RestoreRequest { target: Target::Beside(PathBuf::new()), ..request.clone() };
        let mut of = self.choice(&request, &Live::none());
        let snapshot = Snapshot::take(&self.fs, self.log_dir());
        if let (None, None, Ok(live)) = (&of.log, &of.keys, &snapshot) {
            of.log = Some(live.manifest.log_id.clone());
        }
        let found = find(&self.dir, &request.wish, &of, &request.identities)?;
        let (keys, key_from) = choose_keys(self, &request, &Live::none(), &found)?;
        let bad = |what| BackupError::Metadata { path: found.archive.clone(), what };
        let signed = found.verify(&keys).map_err(bad)?;
        let file = found.open(&*self.fs, &request.identities, watch)?;
        let sizes = against.iter().map(|anchor| anchor.size);
        let here = snapshot.as_ref().ok().map(|live| live.checkpoint.size);
        let sizes = sizes.chain(here).collect();
        let wanted = Wanted { sizes, activity, ..Wanted::default() };
        let content = read(&found, &*file, None, &wanted, watch)?;
        content::leads(&content, &content.tree, &keys).map_err(|what| {
            let hint = found.about.keys_hint();
            bad(crate::backup::MetadataError::Signature(format!("{what}{hint}")))
        })?;
        let (log_id, epoch) = found.about.log();
        let keys = keys.extended(found.about.key_chain());
        let against = against
            .iter()
            .map(|anchor| Against {
                name: anchor.name.clone(),
                size: anchor.size,
                finding: compare(anchor, log_id, &content, &keys),
            })
            .collect();
        Ok(VerifiedBackup {
            backup: found.label.clone(),
            log_id: log_id.to_owned(),
            epoch,
            first_seq: content.pruned.end(),
            tree_size: content.tree.end(),
            root_hash: signed.root,
            key: keys.newest().to_string(),
            key_from,
            metadata_signed: match &found.about {
                About::Metadata(metadata) => Some(metadata.signature.is_some()),
                About::Marker { .. } => None,
            },
            against,
            notes: keys.unsigned_successions(),
            here: log_here(&snapshot, log_id, epoch, &content),
            holes: found.holes().to_vec(),
            activity: content.activity,
        })
    }
}

/// What contradicts the backup in a checkpoint that was kept.
fn compare(
    anchor: &Anchor,
    log_id: &str,
    content: &Content,
    keys: &crate::audit::keys::Keyring,
) -> Option<(Kind, String)> {
    let of_log = anchor.origin.parse::<Origin>().is_ok_and(|origin| origin.log_id() == log_id);
    if !of_log {
        return Some((Kind::Diverged, format!("it is of {}, not of this log", anchor.origin)));
    }
    if let Some(note) = &anchor.note
        && let Err(error) = keys.verify(note)
    {
        return Some((Kind::BadSignature, error.to_string()));
    }
    let end = content.tree.end();
    if anchor.size > end {
        let text = format!(
            "the backup is older than that: it ends after {end} records, and the checkpoint covers \
             {}; the {} in between are not in the backup, and nothing in it contradicts the \
             checkpoint",
            anchor.size,
            anchor.size - end
        );
        return Some((Kind::Truncated, text));
    }
    match content.trees.get(&anchor.size) {
        Some(tree) if tree.root() == Ok(anchor.root) => None,
        Some(_) => {
            let text = format!("the backup's first {} records have another root", anchor.size);
            Some((Kind::Diverged, text))
        }
        None => {
            let text = "retention removed records that the comparison needs".to_owned();
            Some((Kind::Unprovable, text))
        }
    }
}

fn log_here(
    snapshot: &Result<Snapshot, ReadError>,
    log_id: &str,
    epoch: u32,
    content: &Content,
) -> LogHere {
    let live = match snapshot {
        Ok(live) => live,
        Err(ReadError::NoLog { .. }) => return LogHere::Nothing,
        Err(error) => return LogHere::Unknown(error.to_string()),
    };
    if live.manifest.log_id != log_id {
        return LogHere::Other;
    }
    let (size, end) = (live.checkpoint.size, content.tree.end());
    let differs = || {
        let first = size.min(end);
        let went_on = if live.manifest.epoch == epoch {
            String::new()
        } else {
            format!("; it is of epoch {}, the backup of {epoch}", live.manifest.epoch)
        };
        LogHere::Differs(format!("not the same first {first} records{went_on}"))
    };
    if size < end {
        return match content.trees.get(&size) {
            Some(tree) if tree.root() == Ok(live.checkpoint.root) => LogHere::Behind(end - size),
            Some(_) => differs(),
            None => LogHere::Unknown("retention removed what would be compared".to_owned()),
        };
    }
    match live.tree_at(end) {
        Ok(Some(tree)) if tree.root() == content.tree.root() => LogHere::Continues(size - end),
        Ok(Some(_)) => differs(),
        Ok(None) => LogHere::Unknown("retention removed what would be compared".to_owned()),
        Err(error) => LogHere::Unknown(error.to_string()),
    }
}
