//! Which archive is restored, and whose key checks it.

use std::path::Path;

use super::MANIFEST;
use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::watch::{Stage, Watch};
use crate::backup::digest::FileSink;
use crate::backup::error::{BackupError, io_error};
use crate::backup::hole::Hole;
use crate::backup::marker::Marker;
use crate::backup::pack::pack;
use crate::backup::restore::relation::Live;
use crate::backup::restore::{RestoreRequest, Restorer, Target};
use crate::backup::source::{About, Found, Wish, find};
use crate::fsio::{Fs, OpenMode};

pub(super) fn locate(
    restorer: &Restorer,
    request: &RestoreRequest,
    live: &Live,
    staging: &Path,
    watch: &dyn Watch,
) -> Result<Found, BackupError> {
    if let Some(path) = is_log(&*restorer.fs, &request.wish) {
        return from_log(restorer, path, staging, watch);
    }
    find(&restorer.dir, &request.wish, &restorer.choice(request, live), &request.identities)
}

/// The directory, where it is a log that is wanted.
pub(super) fn is_log<'a>(fs: &dyn Fs, wish: &'a Wish) -> Option<&'a Path> {
    match wish {
        Wish::Path(path) if fs.meta(&path.join(MANIFEST)).is_ok() => Some(path),
        _ => None,
    }
}

/// A log directory, such as what an earlier restore set aside: packed first.
fn from_log(
    restorer: &Restorer,
    path: &Path,
    staging: &Path,
    watch: &dyn Watch,
) -> Result<Found, BackupError> {
    let snapshot = Snapshot::take(&restorer.fs, path)?;
    let archive = staging.join("source.gz");
    let file =
        restorer.fs.open(&archive, OpenMode::CreateNew).map_err(io_error("make", &archive))?;
    watch.stage(Stage::Pack, 0);
    let level = restorer.options.compression_level;
    let mut out = FileSink::new(&*file);
    let packed = pack(&snapshot, None, level, &mut out, &archive, watch)?;
    let marker = Marker {
        log_id: snapshot.manifest.log_id.clone(),
        epoch: snapshot.manifest.epoch,
        pruned: snapshot.manifest.pruned.clone(),
        bases: Vec::new(),
        tree_size: snapshot.checkpoint.size,
        root_hash: snapshot.checkpoint.root,
        members: 0,
        holes: snapshot.holes().map(Hole::of).collect(),
        holes_omitted: false,
        checkpoint: snapshot.note.to_string(),
        public_key: snapshot.verifier.to_string(),
        key_chain: snapshot.keys.rotations().to_vec(),
        key_chain_omitted: false,
    };
    let about = About::Marker { marker: Box::new(marker), stretches: packed.stretches };
    Ok(Found::new(path.display().to_string(), archive, about, Vec::new()))
}

/// The key that the signatures are checked with: one that is known from elsewhere
/// before one that the backup brings.
pub(in crate::backup::restore) fn choose_keys(
    restorer: &Restorer,
    request: &RestoreRequest,
    live: &Live,
    found: &Found,
) -> Result<(Keyring, &'static str), BackupError> {
    let (fs, paths) = (&*restorer.fs, LogPaths::new(restorer.log_dir()));
    let chain = found.about.key_chain();
    // What is known here of how the keys followed each other, then what the backup
    // adds to it.
    let joined = |key: &VerifierKey| {
        let here = load_keyring(fs, &paths, Some(key)).ok();
        here.unwrap_or_else(|| key.clone().into()).extended(chain)
    };
    if let Some(key) = &request.public_key {
        return Ok((joined(key), "--public-key"));
    }
    let own = found
        .about
        .own_keys()
        .map_err(|what| BackupError::Metadata { path: found.archive.clone(), what })?;
    let here = load_keyring(fs, &paths, None);
    let private = restorer.options.key_path.clone().unwrap_or_else(|| paths.key());
    let kept = SigningKey::load(fs, &private).map(|key| joined(key.verifier()));
    let known = live.keys().cloned().or(here.ok()).or(kept.ok());
    Ok(match known {
        // Beside the log, somebody else's backup may be restored as well.
        Some(known)
            if request.target == Target::Log || known.newest().name() == own.newest().name() =>
        {
            (known.extended(chain), "this log")
        }
        _ => (own, "the backup itself"),
    })
}

pub(super) fn other_log(found: &Found, keys: &Keyring) -> BackupError {
    BackupError::Refused(format!(
        "{} is a backup of log {}, and the log here is {}: restore it beside with --target DIR",
        found.label,
        found.about.log().0,
        keys.newest().name()
    ))
}
