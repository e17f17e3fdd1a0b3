//! The first step: everything that opening looks at before it decides. No record is
//! changed, and nothing of a new log is made yet.

use std::io;

use super::error::io_error;
use super::heads::{self, Head, Heads, SignedRoot, Texts};
use super::keys::{SeenKeys, keys_corrupt};
use super::rebuild::Signed;
use super::records::Records;
use super::removed::{missing_at_begin, newer_format, removing_record};
use super::{Corruption, OpenError, Opening};
use crate::audit::files::facts::Authority;
use crate::audit::files::manifest::{Manifest, ManifestError};
use crate::audit::keys::signed_document::Signature;
use crate::audit::tree::document::DocumentError;

/// What there is.
pub(super) struct Seen {
    pub(super) evidence: Evidence,
    pub(super) records: Records,
}

/// What was found beside the records, and what is wrong with all of it.
pub(super) struct Evidence {
    /// There is no log here yet.
    pub(super) is_new: bool,
    /// The manifest as it is stored, if it is one.
    pub(super) stored: Option<Manifest>,
    /// Whether the log's key signed it: then it has signed heads, too.
    pub(super) was_signed: bool,
    /// Records below this are in that manifest.
    pub(super) noted: u64,
    /// Why the manifest to go on with is not the stored one.
    pub(super) rebuilt: Option<String>,
    /// Segments whose bytes are not those that were noted, with the same records.
    pub(super) stored_anew: Vec<String>,
    pub(super) keys: SeenKeys,
    /// Nothing leads from the log's first key to the one that signs.
    pub(super) chain_is_lost: bool,
    /// The newest signed head.
    pub(super) head: Option<Head>,
    /// Other signed heads of its epoch.
    pub(super) earlier: Vec<SignedRoot>,
    /// Why `audit.checkpoint` is not used, where `audit.head` stands in for it.
    pub(super) checkpoint_lost: Option<String>,
    /// `audit.checkpoint`, whatever it holds.
    pub(super) checkpoint_text: Option<String>,
    /// Up to where records were adopted unsigned that no backup holds.
    pub(super) uncovered: u64,
    /// The log's first record says that a newer version made it: believed once the
    /// records are proven.
    pub(super) newer: Option<DocumentError>,
    /// What is wrong, that which is told first at the beginning.
    pub(super) wrong: Vec<Wrong>,
}

/// Something that is wrong with the log.
pub(super) enum Wrong {
    /// A sealed segment's file does not hold what was noted. Its records can be given up.
    Segment(Corruption),
    /// Records are missing, and no signed record says that they were given up. One can.
    UnnamedHole(Corruption),
    /// Something that giving up records does not repair.
    Log(Corruption),
}

impl Wrong {
    pub(super) fn corruption(&self) -> &Corruption {
        let (Self::Segment(what) | Self::UnnamedHole(what) | Self::Log(what)) = self;
        what
    }

    pub(super) fn can_be_given_up(&self) -> bool {
        !matches!(self, Self::Log(_))
    }
}

impl Evidence {
    /// How many records the newest head was signed over.
    pub(super) fn signed(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.checkpoint.size)
    }

    pub(super) fn has_unnamed_holes(&self) -> bool {
        self.wrong.iter().any(|wrong| matches!(wrong, Wrong::UnnamedHole(_)))
    }
}

/// What stands under the manifest's name.
enum StoredManifest {
    Missing,
    /// It is no manifest, for that reason.
    Unreadable(String),
    Read(Box<Manifest>, Signature),
}

impl StoredManifest {
    fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Read(manifest, _) => Some(manifest),
            _ => None,
        }
    }

    /// The manifest, if it is to be believed: of this log, signed by a key of it, and not
    /// of an earlier epoch than a signed head. Otherwise why not.
    fn believed(&self, log_id: &str, heads: &Heads, keys: &SeenKeys) -> Result<Manifest, String> {
        let (manifest, signature) = match self {
            Self::Missing => return Err("it is missing".to_owned()),
            Self::Unreadable(reason) => return Err(reason.clone()),
            Self::Read(manifest, signature) => (manifest, signature),
        };
        if manifest.log_id != log_id {
            let found: String = manifest.log_id.chars().take(80).collect();
            return Err(format!("it is of log {found}, not of this one"));
        }
        manifest.check_signature(signature, &keys.ring).map_err(|error| error.to_string())?;
        match heads.epoch() {
            Some(epoch) if epoch > manifest.epoch => {
                Err(format!("it is of epoch {}, a signed head is of epoch {epoch}", manifest.epoch))
            }
            _ => Ok(Manifest::clone(manifest)),
        }
    }
}

impl Opening<'_> {
    pub(super) fn inspect(&self) -> Result<Seen, OpenError> {
        let texts = self.texts()?;
        let stored = self.stored_manifest()?;
        let is_new = self.is_empty(&texts)?;
        let log_id = self.identity(stored.manifest(), &texts, is_new)?;
        let keys = self.seen_keys(&log_id, is_new)?;
        let mut wrong: Vec<Wrong> = keys.bad.iter().cloned().map(Wrong::Log).collect();
        let heads = match keys.bad {
            Some(_) => Heads::default(),
            None => self.heads(&texts, &keys.ring, &log_id),
        };
        let believed = stored.believed(&log_id, &heads, &keys);
        // Never from a manifest that nobody signed.
        let was_signed = believed.is_ok();
        let noted = believed.as_ref().map_or(0, Manifest::end_seq);
        let epoch = believed.as_ref().ok().map(|manifest| manifest.epoch).or(heads.epoch());
        let epoch = epoch.unwrap_or(0);
        let head = heads.newest(epoch).unwrap_or_else(|contradiction| {
            wrong.push(Wrong::Log(contradiction));
            None
        });
        if head.is_none()
            && let Some(reason) = &heads.bad_checkpoint
        {
            wrong.push(Wrong::Log(heads::corrupt(reason.clone())));
        }
        let size = head.as_ref().map_or(0, |head| head.checkpoint.size);
        let signed = Signed { log_id: &log_id, epoch, records: size, ring: &keys.ring };
        let mut sealed = self.sealed(stored.manifest(), believed, signed)?;
        wrong.extend(sealed.note_damage().into_iter().map(Wrong::Segment));
        let base = sealed.manifest.tree()?;
        let mut active = self.scan_active(&base, size)?;
        let reached = match &head {
            Some(head) => self.reach(&sealed.manifest, active.as_mut(), &head.checkpoint)?,
            None => None,
        };
        let authority = self.authority(&sealed, active.as_ref(), size)?;
        let newer = newer_format(&authority, active.as_ref()).filter(|_| size > 0);
        let pruned_by = removing_record(&sealed.manifest, &authority);
        let manifest = Manifest { pruned_by, ..sealed.manifest };
        wrong.extend(missing_at_begin(&manifest, &authority).map(Wrong::Log));
        let lacking = match keys.bad {
            Some(_) => None,
            None => authority.keys.lacking(&keys.ring),
        };
        let chain_is_lost = keys.bad.is_some() || lacking.is_some();
        wrong.extend(lacking.map(|reason| Wrong::Log(keys_corrupt(reason))));
        wrong.extend(unnamed_holes(&manifest, &authority).map(Wrong::UnnamedHole));
        let evidence = Evidence {
            is_new,
            was_signed,
            noted,
            // A new log's first manifest is signed by nobody.
            rebuilt: sealed.rebuilt.filter(|_| !is_new && (head.is_some() || keys.bad.is_some())),
            stored_anew: sealed.stored_anew,
            chain_is_lost,
            earlier: heads.places(&manifest, &self.options.heads, &keys.ring),
            checkpoint_lost: checkpoint_lost(&heads, head.as_ref(), &texts),
            checkpoint_text: texts.checkpoint,
            uncovered: authority.uncovered(),
            newer,
            wrong,
            stored: match stored {
                StoredManifest::Read(manifest, _) => Some(*manifest),
                _ => None,
            },
            keys,
            head,
        };
        Ok(Seen { evidence, records: Records { manifest, base, active, reached } })
    }

    fn stored_manifest(&self) -> Result<StoredManifest, OpenError> {
        match Manifest::load_signed(self.fs, &self.paths.manifest()) {
            Ok(None) => Ok(StoredManifest::Missing),
            Ok(Some((manifest, signature))) => {
                Ok(StoredManifest::Read(Box::new(manifest), signature))
            }
            // What another version wrote is not made anew.
            Err(error @ ManifestError::Newer { .. }) => Err(error.into()),
            Err(ManifestError::Io { source, path })
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                Err(io_error("read", &path)(source))
            }
            Err(ManifestError::Invalid { reason, .. }) => {
                Ok(StoredManifest::Unreadable(format!("it cannot be read: {reason}")))
            }
            Err(_) => Ok(StoredManifest::Unreadable("it cannot be read".to_owned())),
        }
    }
}

/// Why the newest head is not that of `audit.checkpoint`, which opening would otherwise
/// miss.
fn checkpoint_lost(heads: &Heads, head: Option<&Head>, texts: &Texts) -> Option<String> {
    head?;
    if let Some(reason) = &heads.bad_checkpoint {
        return Some(reason.clone());
    }
    texts.checkpoint.is_none().then(|| "it is missing".to_owned())
}

/// Holes that no signed record names: nobody who may has given these records up.
fn unnamed_holes(manifest: &Manifest, authority: &Authority) -> Option<Corruption> {
    let (segment, hole) = manifest
        .holes()
        .find(|(_, hole)| !authority.names_hole(hole.first_seq, hole.tree.end()))?;
    let (first, last) = (hole.first_seq, hole.tree.end() - 1);
    let why = hole.hole.as_deref().unwrap_or_default();
    Some(Corruption {
        file: segment.file.clone(),
        seq: Some(first),
        offset: None,
        reason: format!(
            "records {first} to {last} are not here ({why}), and no signed record says that they \
             were given up"
        ),
    })
}
