//! What is seen of the backups: their catalog, which is a hint, and the signed heads of
//! the newest, with which the log's checkpoint is compared. No archive is read, no
//! record, and the manifest neither.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Contradiction, OwnHistory};
use crate::audit::keys::{Keyring, load_keyring};
use crate::backup::{self, BackupId, Catalog, FileKind, Heads, parse_name};
use crate::clock::Timestamp;
use crate::fsio::{Fs, OpenMode};

/// The heads of so many backups are read: it has to be quick.
const MOST: usize = 16;

/// The backups, as far as they are this log's.
#[derive(Clone, Debug, Default)]
pub(in crate::health) struct Backups {
    /// None when there is no catalog that can be read.
    pub(in crate::health) catalog: Option<Catalog>,
    /// When the newest was made, by the names that are there.
    pub(in crate::health) newest: Option<Timestamp>,
    /// Why nothing is known.
    pub(in crate::health) unknown: Option<String>,
    /// Whether that is for lack of rights, which the log's writer may well have.
    pub(in crate::health) denied: bool,
    /// What a newer version made, which tells this one nothing.
    pub(in crate::health) newer: Option<String>,
    /// A backup that does not fit the log.
    pub(in crate::health) contradiction: Option<Contradiction>,
}

pub(super) fn look(fs: &dyn Fs, dir: &Path, paths: &LogPaths) -> Backups {
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let unknown = Some(format!("{}: {error}", dir.display()));
            let denied = error.kind() == ErrorKind::PermissionDenied;
            return Backups { unknown, denied, ..Backups::default() };
        }
    };
    let (catalog, mut newer) = match Catalog::peek(fs, dir) {
        Ok(catalog) => (catalog, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let log_id = checkpoint(fs, paths).ok().map(|(_, origin)| origin.log_id().to_owned());
    let Some(log_id) = log_id else {
        // Whose they are cannot be told.
        let newest = backup::newest(fs, dir);
        return Backups { catalog, newest, newer, ..Backups::default() };
    };
    let heads = backup::heads(fs, dir, Some(&log_id), MOST).unwrap_or_default();
    let keys = load_keyring(fs, paths, None).ok();
    // After the heads: no backup is ahead by mere chance.
    let own = checkpoint(fs, paths).ok();
    let contradiction = own.zip(keys.as_ref()).and_then(|((checkpoint, origin), keys)| {
        let epoch = origin.epoch();
        let own =
            OwnHistory { log_id: &log_id, epoch, size: checkpoint.size, keys, abandoned: None };
        let roots = BTreeMap::from([(checkpoint.size, checkpoint.root)]);
        own.contradictions(&heads.heads, &roots).into_iter().next()
    });
    let there: BTreeSet<BackupId> = names
        .iter()
        .filter_map(|name| parse_name(name))
        .filter(|(_, kind)| matches!(kind, FileKind::Metadata))
        .map(|(id, _)| id)
        .collect();
    let catalog = catalog.map(|mut catalog| {
        catalog.backups.retain(|id, noted| {
            noted.log_id == log_id
                && there.contains(id)
                && agrees(&heads, keys.as_ref(), *id, (noted.tree_size, noted.root_hash))
        });
        catalog
    });
    let newest = heads.own.last().map(|id| id.time());
    if let (None, Some(id)) = (newest, heads.newer.last()) {
        let path = dir.join(id.metadata());
        newer.get_or_insert(format!(
            "{}: a newer version of auditctl made it; use that version",
            path.display()
        ));
    }
    Backups { catalog, newest, contradiction, newer, ..Backups::default() }
}

/// Whether what the catalog says of a backup is what a key of the log has signed; an
/// older one, whose head was not read, is taken at the catalog's word.
fn agrees(
    heads: &Heads,
    keys: Option<&Keyring>,
    id: BackupId,
    said: (u64, crate::audit::tree::merkle::Hash),
) -> bool {
    let name = id.to_string();
    let Some(head) = heads.heads.iter().find(|head| head.name == name) else {
        return heads.backups > MOST && heads.own.first().is_some_and(|oldest| id < *oldest);
    };
    let signed = head.note.unverified();
    let by_us =
        keys.is_none_or(|keys| keys.clone().extended(&head.rotations).verify(&head.note).is_ok());
    by_us && (signed.size, signed.root) == said
}

/// The log's checkpoint; its signature is not checked here.
fn checkpoint(fs: &dyn Fs, paths: &LogPaths) -> io::Result<(Checkpoint, Origin)> {
    let file = fs.open(&paths.checkpoint(), OpenMode::ReadOwn)?;
    let mut text = vec![0; MAX_NOTE_BYTES];
    let read = file.read_at(&mut text, 0)?;
    let invalid = |_| io::Error::from(ErrorKind::InvalidData);
    let note = SignedCheckpoint::parse(&text[..read]).map_err(invalid)?;
    let checkpoint = note.unverified().clone();
    let origin = checkpoint.origin.parse().map_err(|_| ErrorKind::InvalidData)?;
    Ok((checkpoint, origin))
}
