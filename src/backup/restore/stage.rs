//! The staging directory: the backup's records as segment files, and everything
//! that is to be known before they are put in place.

mod cut;
mod files;
mod locate;

use std::path::{Path, PathBuf};

use super::relation::{Live, Relation};
use super::{Extent, RestorePlan, RestoreRequest, Restorer, Target};
use crate::audit::LogPaths;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::{self as swap, Journal, STAGING, sha256_hex};
use crate::audit::keys::checkpoint::Origin;
use crate::audit::keys::histories::{Contradiction, OwnHistory};
use crate::audit::keys::signer::{Signer, SigningKey};
use crate::audit::keys::{KeyHistory, Keyring, Place};
use crate::audit::read::error::ReadError;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::content::{self, Content, Wanted};
use crate::backup::error::{BackupError, io_error};
use crate::backup::hole::Hole;
use crate::backup::metadata::MetadataError;
use crate::backup::source::Found;
use crate::fsio::{self, Fs};
use cut::{cut_segments, segments, tree_of};
pub(super) use files::read;
use files::sync_all;
pub(super) use locate::choose_keys;
use locate::{is_log, locate, other_log};

const KEYS: &str = "audit.keys";
const MANIFEST: &str = "audit.manifest.json";

/// A checked backup, its records in files beside the log's.
pub(super) struct Staged<'a> {
    restorer: &'a Restorer,
    name: String,
    dir: PathBuf,
    /// The staging directory was made in one that was not there before.
    made_place: Option<PathBuf>,
    found: Found,
    content: Content,
    segments: Vec<Segment>,
    tree: Range,
    keys: Keyring,
    key_from: &'static str,
    /// Of the checkpoint in the backup.
    origin: String,
    /// Whether less than the whole backup is restored.
    cut: bool,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a restore it is gone already.
        swap::clear(&*self.restorer.fs, &self.dir);
        if let Some(place) = &self.made_place {
            // Only when nothing was put in it.
            let _ = self.restorer.fs.remove_dir(place);
        }
    }
}

impl<'a> Staged<'a> {
    /// Stages the backup that is wanted and checks all of it.
    pub(super) fn new(
        restorer: &'a Restorer,
        request: &RestoreRequest,
        place: &Path,
        live: &Live,
        watch: &dyn Watch,
    ) -> Result<Self, BackupError> {
        let fs = &*restorer.fs;
        let name = format!("{STAGING}{}-{}", restorer.clock.now().file_stamp(), std::process::id());
        let made_place = fs.meta(place).is_err().then(|| place.to_path_buf());
        let dir = place.join(&name);
        // What is only looked at is written nowhere; but a log is packed first.
        let writes = !request.dry_run || is_log(fs, &request.wish).is_some();
        let mut guard = Guard { fs, dir: Some((dir.clone(), made_place.clone())) };
        if writes {
            fsio::make_dirs(fs, place).map_err(io_error("make the directory", place))?;
            fs.create_dir_new(&dir).map_err(io_error("make the directory", &dir))?;
        }
        let found = locate(restorer, request, live, &dir, watch)?;
        let (keys, key_from) = choose_keys(restorer, request, live, &found)?;
        if keys.newest().log_id().as_deref() != Some(found.about.log().0) {
            return Err(other_log(&found, &keys));
        }
        let bad = |what| BackupError::Metadata { path: found.archive.clone(), what };
        let signed = found.verify(&keys).map_err(|what| match what {
            MetadataError::Signature(reason) if key_from != "the backup itself" => {
                bad(MetadataError::Signature(format!("{reason} (checked with {key_from})")))
            }
            what => bad(what),
        })?;
        let wanted = Wanted {
            sizes: live.sizes().into_iter().chain(extent_size(request.extent)).collect(),
            ranges: Vec::new(),
            until: match request.extent {
                Extent::ToTime(time) => Some(time),
                _ => None,
            },
            activity: false,
        };
        let source = found.open(fs, &request.identities, watch)?;
        let out = (!request.dry_run).then_some(&*dir);
        let content = read(&found, &*source, Some((fs, place, out)), &wanted, watch)?;
        drop(source);
        if found.archive.parent() == Some(&*dir) {
            fs.remove(&found.archive).map_err(io_error("remove", &found.archive))?;
        }
        let (tree, cut) = tree_of(request.extent, &content)?;
        let mut segments = segments(&content, &found);
        if cut {
            match out {
                Some(dir) => cut_segments(fs, dir, &mut segments, &tree)?,
                None => segments.retain(|segment| segment.first_seq < tree.end()),
            }
        }
        if let Some(dir) = out {
            sync_all(fs, dir, &segments)?;
        }
        guard.dir = None;
        drop(guard);
        Ok(Self {
            restorer,
            name,
            dir,
            made_place,
            found,
            content,
            segments,
            tree,
            keys,
            key_from,
            origin: signed.origin,
            cut,
        })
    }

    /// The log's private key, if it is at hand and the one that signs.
    fn key(&self) -> Option<SigningKey> {
        let path = self.restorer.options.key_path.clone();
        let path = path.unwrap_or_else(|| LogPaths::new(self.restorer.log_dir()).key());
        let key = SigningKey::load(&*self.restorer.fs, &path).ok()?;
        (key.verifier() == self.keys.newest()).then_some(key)
    }

    /// Signs the journal, where the key is at hand. One that nobody signed is not undone
    /// by whoever opens the log, only by who restores again.
    pub(super) fn sign(&self, journal: &mut Journal) {
        if let Some(key) = self.key()
            && let Err(error) = journal.sign(&key)
        {
            tracing::warn!("the restore's journal is not signed: {error}");
        }
    }

    /// The signed head that the restored log begins with. A new epoch begins with one
    /// of its own, which only the key can sign; without it the backup's stands there,
    /// and opening tells that the log was put back.
    fn first_head(
        &self,
        plan: &RestorePlan,
        in_place: bool,
    ) -> Result<Option<String>, BackupError> {
        let of_backup = || self.found.about.note().to_owned();
        if !plan.new_epoch {
            return Ok(Some(of_backup()));
        }
        let failed = |error: String| BackupError::Refused(error);
        match self.key().filter(|_| in_place) {
            Some(key) => {
                let origin = Origin::of_key(key.name(), &plan.log_id, plan.epoch)
                    .map_err(|error| failed(error.to_string()))?;
                let mut signer =
                    Signer::new(key, origin).map_err(|error| failed(error.to_string()))?;
                let signed = signer.sign(&self.tree, &self.tree);
                Ok(Some(signed.map_err(|error| failed(error.to_string()))?.to_string()))
            }
            None if !self.cut => Ok(Some(of_backup())),
            None if in_place => Err(failed(
                "restoring a part of a backup in place needs the log's signing key: put the key \
                 back, or restore beside the log with --target DIR"
                    .to_owned(),
            )),
            None => Ok(None),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The records that will not be there, and which signed record of the backup says that
    /// they were given up.
    fn holes(&self) -> Vec<Hole> {
        let authority = self.content.said.authority(self.tree.end());
        let holes = self.found.holes().iter();
        let there = holes.filter(|hole| hole.tree.end() <= self.tree.end());
        there
            .map(|hole| {
                let span = hole.span();
                let by =
                    authority.holes.iter().rev().find(|named| {
                        (named.hole.first_seq..named.hole.end_seq).contains(&span.begin)
                    });
                let named = authority.names_hole(span.begin, span.end);
                let given_up_by = by.filter(|_| named).map(|named| named.record);
                Hole { given_up_by, ..hole.clone() }
            })
            .collect()
    }

    pub(super) fn plan(
        &self,
        restorer: &Restorer,
        request: &RestoreRequest,
        live: &Live,
        place: &Path,
    ) -> Result<RestorePlan, BackupError> {
        let (log_id, epoch) = self.found.about.log();
        if live.log_id().is_some_and(|there| there != log_id) {
            return Err(other_log(&self.found, &self.keys));
        }
        if request.target == Target::Log {
            content::leads(&self.content, &self.tree, &self.keys).map_err(|what| {
                let what = MetadataError::Signature(format!(
                    "{what}{}. Another backup may hold them. Otherwise restore beside the log \
                     with --target DIR, and open that log once with --accept-corruption",
                    self.found.about.keys_hint()
                ));
                BackupError::Metadata { path: self.found.archive.clone(), what }
            })?;
        }
        let relation = live.relation(&self.content, &self.tree)?;
        let beside = matches!(request.target, Target::Beside(_));
        let keys = self.keys_for(request, epoch);
        // What both keys signed is signed, whatever of it is restored.
        let handed_over =
            keys.last_place().filter(|place| *place > Place { epoch, size: self.tree.end() });
        // A part of a backup is less than what was signed: it cannot be gone on
        // from under the same name.
        let new_epoch = self.cut
            || handed_over.is_some()
            || live.contradicts(&self.content, &self.tree)
            || matches!(relation, Relation::Diverged { .. })
            || live.epoch() > epoch;
        let elsewhere = if beside { Vec::new() } else { self.signed_elsewhere(restorer, &keys) };
        let new_epoch = new_epoch || !elsewhere.is_empty();
        let elsewhere = elsewhere.iter().map(|found| found.epoch).max();
        let highest = epoch
            .max(live.epoch())
            .max(handed_over.map_or(0, |place| place.epoch))
            .max(elsewhere.unwrap_or(0));
        Ok(RestorePlan {
            backup: self.found.label.clone(),
            log_id: log_id.to_owned(),
            origin: self.origin.clone(),
            first_seq: self.content.pruned.end(),
            tree_size: self.tree.end(),
            root_hash: root(&self.tree),
            stored_bytes: self.segments.iter().map(|segment| segment.stored_bytes).sum(),
            relation,
            live_damage: if beside { Vec::new() } else { live.damage() },
            holes: self.holes(),
            held_elsewhere: Vec::new(),
            epoch: if new_epoch { highest.saturating_add(1) } else { highest },
            new_epoch,
            key_from: self.key_from,
            key: keys.newest().to_string(),
            keys,
            rotations_there: KeyHistory::load(&*restorer.fs, &LogPaths::new(place))
                .ok()
                .map(|found| found.map_or_else(Vec::new, |history| history.rotations)),
            log_dir: place.to_path_buf(),
        })
    }

    /// The heads in reach that what is restored does not fit, the furthest of each
    /// epoch: they were signed, so the log cannot go on under the same name.
    fn signed_elsewhere(&self, restorer: &Restorer, keys: &Keyring) -> Vec<Contradiction> {
        let (log_id, epoch) = self.found.about.log();
        let size = self.tree.end();
        let own = OwnHistory { log_id, epoch, size, keys, abandoned: None };
        let roots = self.tree.root().ok().map(|root| (size, root)).into_iter().collect();
        let mut found = own.contradictions(&restorer.options.heads, &roots);
        found.sort_by_key(|found| std::cmp::Reverse((found.epoch, found.size)));
        found.dedup_by_key(|found| found.epoch);
        found
    }

    /// The log's keys as they are to be where it is restored. Beside, they are those
    /// of then: a copy of an earlier time knows nothing of what followed.
    fn keys_for(&self, request: &RestoreRequest, epoch: u32) -> Keyring {
        match request.target {
            Target::Log => self.keys.clone(),
            Target::Beside(_) => self.keys.until(Place { epoch, size: self.tree.end() }),
        }
    }

    /// Writes manifest and checkpoint into the staging directory.
    pub(super) fn prepare(&self, plan: &RestorePlan, live: &Live) -> Result<Prepared, BackupError> {
        let fs = &*self.restorer.fs;
        let stored = self.segments.iter().filter(|segment| segment.is_stored());
        let mut names: Vec<String> = stored.map(|segment| segment.file.clone()).collect();
        let in_place = plan.log_dir == self.restorer.log_dir();
        let key = self.key().filter(|_| in_place);
        if let Some(head) = self.first_head(plan, in_place)? {
            let path = self.dir.join("audit.checkpoint");
            fsio::replace_file(fs, &path, head.as_bytes()).map_err(io_error("write", &path))?;
            names.push("audit.checkpoint".to_owned());
        }
        if plan.new_keys() {
            let path = self.dir.join(KEYS);
            let history = KeyHistory {
                rotations: plan.keys.rotations().to_vec(),
                ..KeyHistory::new(&plan.log_id)
            };
            history.store(fs, &path).map_err(|error| BackupError::Log(error.into()))?;
            names.push(KEYS.to_owned());
        }
        let said = self.content.said.authority(self.tree.end());
        // A new epoch begins with the key's first signature in it. Without the key the log
        // is what the backup's checkpoint says; whoever opens it next begins the epoch.
        let signed: Option<Origin> = self.origin.parse().ok();
        let epoch = match signed.filter(|_| in_place && key.is_none()) {
            Some(signed) => signed.epoch(),
            None => plan.epoch,
        };
        let mut manifest = Manifest {
            epoch,
            pruned: self.content.pruned.clone(),
            pruned_by: said.removal.map(|(seq, _)| seq),
            holes_by: said.holes.iter().map(|named| named.record).max(),
            adopted: said.adopted,
            backed_up: said.backed_up,
            first_key: Some(plan.keys.oldest().to_string()),
            segments: self.segments.clone().into(),
            ..Manifest::new(plan.log_id.clone())
        };
        manifest.abandon(said.abandoned.into_iter().chain(live.abandoned()), &plan.keys);
        if plan.new_epoch && in_place {
            let left = self.signed_elsewhere(self.restorer, &plan.keys);
            manifest.abandon(left.into_iter().map(|found| found.note), &plan.keys);
        }
        if plan.new_epoch {
            manifest.abandon(live.note(), &plan.keys);
        }
        manifest.adopted.retain(|span| span.end > manifest.pruned.end());
        // Without the key, the first opening makes the manifest anew from the files.
        if let Some(key) = key {
            manifest.sign(&key).map_err(BackupError::Refused)?;
        }
        let path = self.dir.join(MANIFEST);
        manifest.store(fs, &path).map_err(|error| BackupError::Log(ReadError::Manifest(error)))?;
        let text = fs.read_own(&path, 4 << 30).map_err(io_error("read", &path))?;
        let manifest_sha256 = sha256_hex(&text);
        Ok(Prepared { names, manifest_sha256, abandoned: manifest.abandoned })
    }

    /// Moves everything into the directory around the staging directory; the
    /// manifest comes last.
    pub(super) fn settle_beside(
        &self,
        place: &Path,
        plan: &RestorePlan,
    ) -> Result<(), BackupError> {
        let fs = &*self.restorer.fs;
        let names = self.prepare(plan, &Live::none())?.names;
        let paths = LogPaths::new(place);
        let key = plan.public_text();
        let moved = (|| {
            fsio::replace_file(fs, &paths.public_key(), key.as_bytes())?;
            for name in &names {
                fs.rename(&self.dir.join(name), &place.join(name))?;
            }
            // Once the manifest has its name, what it lists has to be there.
            fs.sync_dir(place)?;
            fs.rename(&self.dir.join(MANIFEST), &place.join(MANIFEST))?;
            fs.remove_dir(&self.dir)?;
            fs.sync_dir(place)
        })();
        moved.map_err(|error| {
            // It was empty, and is again.
            for name in names.iter().map(String::as_str).chain([MANIFEST, "audit.pub"]) {
                let _ = fs.remove(&place.join(name));
            }
            io_error("put the backup in place in", place)(error)
        })
    }
}

/// Takes the staging directory away again when staging fails.
struct Guard<'a> {
    fs: &'a dyn Fs,
    dir: Option<(PathBuf, Option<PathBuf>)>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some((dir, place)) = &self.dir {
            swap::clear(self.fs, dir);
            if let Some(place) = place {
                let _ = self.fs.remove_dir(place);
            }
        }
    }
}

fn root(tree: &Range) -> Hash {
    tree.root().expect("a tree of a log begins at 0")
}

fn extent_size(extent: Extent) -> Option<u64> {
    match extent {
        Extent::ToSeq(seq) => Some(seq.saturating_add(1)),
        _ => None,
    }
}

/// What a staging directory holds, ready to be put in place.
pub(super) struct Prepared {
    /// The names of the new files but for the manifest.
    pub(super) names: Vec<String>,
    /// The manifest's SHA-256, hex.
    pub(super) manifest_sha256: String,
    /// The signed heads that the log will not continue.
    pub(super) abandoned: Vec<String>,
}
