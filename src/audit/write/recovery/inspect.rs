//! Everything that opening looks at before it decides. Of an existing log nothing
//! is changed here; a new one gets its manifest and its key.

use std::io;

use super::heads::{Head, Heads, Texts};
use super::keys::{KeptChain, KeyTask};
use super::{Corruption, OpenError, Opening, Reached, Scanned, heads, io_error};
use crate::audit::files::facts::Authority;
use crate::audit::files::manifest::{Manifest, ManifestError};
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::signed_document::Signature;
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{KeyHistory, Keyring};
use crate::audit::paths::parse_sealed_name;
use crate::audit::record::peek_seq;
use crate::audit::state::status::Damage;
use crate::audit::tree::document::DocumentError;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::OpenMode;
use crate::units::hex;

/// What there is.
pub(super) struct Seen {
    /// The manifest as it is stored, if it is one.
    pub(super) stored: Option<Manifest>,
    /// The manifest to go on with.
    pub(super) manifest: Manifest,
    /// Why it is not the stored one.
    pub(super) rebuilt: Option<String>,
    /// Segments whose bytes are not those that were noted, with the same records.
    pub(super) stored_anew: Vec<String>,
    pub(super) keys: KeyHistory,
    pub(super) key: SigningKey,
    pub(super) key_task: KeyTask,
    pub(super) ring: Keyring,
    /// `audit.keys` is there and no use.
    pub(super) keys_are_bad: bool,
    /// Nothing leads from the log's first key to the one that signs.
    pub(super) chain_is_lost: bool,
    /// Where the chain is from, when it is not what `audit.keys` holds.
    pub(super) put_back: Option<String>,
    /// The newest signed head.
    pub(super) head: Option<Head>,
    /// Why `audit.checkpoint` is not used, where `audit.head` stands in for it.
    pub(super) checkpoint_lost: Option<String>,
    /// `audit.checkpoint`, whatever it holds.
    pub(super) unusable_checkpoint: Option<String>,
    /// Whether the log's key signed the manifest: then it has signed heads, too.
    pub(super) was_signed: bool,
    /// Records below this are in that manifest.
    pub(super) noted: u64,
    /// The tree over all that is sealed.
    pub(super) base: Range,
    pub(super) scan: Option<Scanned>,
    pub(super) reached: Option<Reached>,
    /// Up to where records were adopted unsigned that no backup holds.
    pub(super) uncovered: u64,
    /// The log's first record says that a newer version made it: believed once the
    /// records are proven.
    pub(super) newer: Option<DocumentError>,
    /// Other signed heads of its epoch: sizes and roots.
    pub(super) earlier: Vec<(u64, Hash)>,
    /// Holes that no signed record names.
    pub(super) unnamed: Option<Corruption>,
    /// The first thing that is wrong.
    pub(super) trouble: Option<Corruption>,
    pub(super) damage: Option<Damage>,
}

impl Opening<'_> {
    pub(super) fn inspect(&self) -> Result<Seen, OpenError> {
        let texts = self.texts()?;
        let (stored, unreadable) = match self.stored_manifest()? {
            Ok(stored) => (stored, None),
            Err(reason) => (None, Some(reason)),
        };
        let (stored, signature) = stored.unzip();
        let is_new = stored.is_none() && self.is_empty(&texts)?;
        let log_id = self.identity(stored.as_ref(), &texts, is_new)?;
        if is_new {
            // Before the key: a crash in between leaves a log without a key, which
            // is told from one whose key was lost, not a key without a log.
            Manifest::new(log_id.clone()).store(self.fs, &self.paths.manifest())?;
        }
        let (keys, mut trouble) = self.history(&log_id)?;
        let (key, key_task) = self.key(&log_id, is_new, &keys)?;
        let ring = keys.ring(key.verifier().clone()).unwrap_or_else(|error| {
            trouble.get_or_insert_with(|| self.keys_corrupt(&error));
            key.verifier().clone().into()
        });
        let kept = self.chain_kept_elsewhere(&key, &log_id);
        let kept = kept.filter(|kept| match trouble.is_some() {
            true => true,
            false => kept.ring.extends(&ring),
        });
        let (keys, ring, put_back) = match kept {
            Some(KeptChain { name, ring }) => {
                trouble = None;
                let rotations = ring.rotations().to_vec();
                (KeyHistory { rotations, ..KeyHistory::new(&log_id) }, ring, Some(name))
            }
            None => (keys, ring, None),
        };
        let keys_are_bad = trouble.is_some();
        let heads =
            if keys_are_bad { Heads::default() } else { self.heads(&texts, &ring, &log_id) };
        let believed = stored.clone().zip(signature);
        let believed = believed.ok_or(unreadable.unwrap_or_else(|| "it is missing".to_owned()));
        let believed = believed.and_then(|(manifest, signature)| {
            fits((&manifest, &signature), &log_id, &heads, &ring).map(|()| manifest)
        });
        // Never from a manifest that nobody signed.
        let was_signed = believed.is_ok();
        let noted = believed.as_ref().map_or(0, Manifest::end_seq);
        let epoch = believed.as_ref().ok().map(|manifest| manifest.epoch).or(heads.epoch());
        let epoch = epoch.unwrap_or(0);
        let head = heads.newest(epoch).unwrap_or_else(|contradiction| {
            trouble.get_or_insert(contradiction);
            None
        });
        let checkpoint_lost = self.checkpoint_lost(&heads, head.as_ref(), &texts);
        if head.is_none()
            && trouble.is_none()
            && let Some(reason) = &heads.bad_checkpoint
        {
            trouble = Some(heads::corrupt(reason.clone()));
        }
        let signed = head.as_ref().map_or(0, |head| head.checkpoint.size);
        let mut found = self.sealed((stored.as_ref(), &log_id, epoch), believed, signed, &ring)?;
        self.adopt_sealed(&mut found)?;
        let damage = self.check_sealed(&mut found, &mut trouble)?;
        let base = found.manifest.tree()?;
        let mut scan = self.scan_active(&base, &[signed], signed)?;
        let reached = match &head {
            Some(head) => self.reach(&found.manifest, scan.as_mut(), &head.checkpoint)?,
            None => None,
        };
        let authority = self.authority(&mut found, scan.as_ref(), signed, &mut trouble)?;
        let earlier = heads.places(&found.manifest, &self.options.heads, &ring);
        let unnamed = unnamed_holes(&found.manifest, &authority);
        let lacking = if keys_are_bad { None } else { authority.keys.lacking(&ring) };
        let chain_is_lost = keys_are_bad || lacking.is_some();
        if let Some(reason) = lacking {
            trouble.get_or_insert_with(|| self.keys_corrupt(&reason));
        }
        Ok(Seen {
            stored,
            manifest: found.manifest,
            // A new log's first manifest is signed by nobody.
            rebuilt: found.rebuilt.filter(|_| !is_new && (head.is_some() || keys_are_bad)),
            stored_anew: found.stored_anew,
            keys,
            key,
            key_task,
            ring,
            keys_are_bad,
            chain_is_lost,
            put_back,
            head,
            checkpoint_lost,
            unusable_checkpoint: texts.checkpoint,
            was_signed,
            noted,
            base,
            scan,
            reached,
            uncovered: authority.uncovered(),
            newer: found.newer.filter(|_| signed > 0),
            earlier,
            unnamed,
            trouble,
            damage,
        })
    }

    /// The stored manifest and its signature; `None` for one that is missing, and why not
    /// for one that cannot be read.
    #[allow(clippy::type_complexity)]
    fn stored_manifest(&self) -> Result<Result<Option<(Manifest, Signature)>, String>, OpenError> {
        match Manifest::load_signed(self.fs, &self.paths.manifest()) {
            Ok(found) => Ok(Ok(found)),
            // What another version wrote is not made anew.
            Err(error @ ManifestError::Newer { .. }) => Err(error.into()),
            Err(ManifestError::Io { source, path })
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                Err(io_error("read", &path)(source))
            }
            Err(ManifestError::Invalid { reason, .. }) => {
                Ok(Err(format!("it cannot be read: {reason}")))
            }
            Err(_) => Ok(Err("it cannot be read".to_owned())),
        }
    }

    /// Whether opening makes a new log.
    pub(super) fn begins_a_log(&self) -> Result<bool, OpenError> {
        self.is_empty(&self.texts()?)
    }

    /// Whether nothing was ever recorded here.
    fn is_empty(&self, texts: &Texts) -> Result<bool, OpenError> {
        let sealed = self.names.iter().any(|name| parse_sealed_name(name).is_some());
        if sealed || texts.any() || self.names.iter().any(|name| name == "audit.manifest.json") {
            return Ok(false);
        }
        let path = self.paths.active();
        match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => Ok(file.meta().map_err(io_error("look at", &path))?.len == 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// Which log this is. The key's name says it: who has the key is the log.
    fn identity(
        &self,
        stored: Option<&Manifest>,
        texts: &Texts,
        is_new: bool,
    ) -> Result<String, OpenError> {
        if is_new {
            return self.new_log_id();
        }
        let origin = texts.origin();
        let is_known = stored.is_some() || origin.is_some();
        if !is_known && let Some(log_id) = self.named_by_keys()? {
            return Ok(log_id);
        }
        if !is_known {
            return Err(OpenError::Foreign {
                path: self.paths.active(),
                reason: "it has records but neither a manifest nor a checkpoint".to_owned(),
            });
        }
        let by_key = self.key_names_log()?;
        let by_note = || origin.map(|origin| origin.log_id().to_owned());
        let by_manifest = || stored.map(|manifest| manifest.log_id.clone());
        by_key.or_else(by_note).or_else(by_manifest).ok_or_else(|| self.start_error("no log id"))
    }

    /// The log that the keys at hand name, where what is there looks like its records: its
    /// manifest and its signed heads are lost, and that is told as what it is.
    fn named_by_keys(&self) -> Result<Option<String>, OpenError> {
        let path = self.paths.active();
        let mut start = [0; 64];
        let read = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file.read_at(&mut start, 0).map_err(io_error("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let is_sealed = self.names.iter().any(|name| parse_sealed_name(name).is_some());
        if peek_seq(&start[..read]).is_none() && !is_sealed {
            return Ok(None);
        }
        let public = VerifierKey::load(self.fs, &self.paths.public_key()).ok();
        let by_public = public.and_then(|key| key.log_id());
        Ok(self.key_names_log()?.or(by_public))
    }

    /// Why the newest head is not that of `audit.checkpoint`, which opening would
    /// otherwise miss.
    fn checkpoint_lost(&self, heads: &Heads, head: Option<&Head>, texts: &Texts) -> Option<String> {
        head?;
        if let Some(reason) = &heads.bad_checkpoint {
            return Some(reason.clone());
        }
        texts.checkpoint.is_none().then(|| "it is missing".to_owned())
    }

    fn new_log_id(&self) -> Result<String, OpenError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| self.start_error(format!("no random numbers: {error}")))?;
        Ok(hex(&random))
    }
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

/// Whether a manifest is to be believed: of this log, signed by a key of it, and
/// not of an earlier epoch than a signed head.
fn fits(
    (manifest, signature): (&Manifest, &Signature),
    log_id: &str,
    heads: &Heads,
    ring: &Keyring,
) -> Result<(), String> {
    if manifest.log_id != log_id {
        let found: String = manifest.log_id.chars().take(80).collect();
        return Err(format!("it is of log {found}, not of this one"));
    }
    manifest.check_signature(signature, ring).map_err(|error| error.to_string())?;
    match heads.epoch() {
        Some(epoch) if epoch > manifest.epoch => {
            Err(format!("it is of epoch {}, a signed head is of epoch {epoch}", manifest.epoch))
        }
        _ => Ok(()),
    }
}
