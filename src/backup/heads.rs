//! The signed heads that the backups in a directory have: what a log is compared
//! with that was put back or copied.
//!
//! Only the beginning of each metadata file is read, up to its checkpoint. That is a
//! signed note of its own, so whatever else the file says needs no belief here.

use std::io;
use std::path::Path;

use super::name::{BackupId, FileKind, parse_name};
use crate::audit::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::histories::{Kept, KnownHead};
use crate::audit::keys::Rotation;
use crate::fsio::{Fs, FsFile, OpenMode};

/// So many backups are looked at by those who have time, the newest by name.
pub const MAX_HEADS: usize = 256;
/// The checkpoint stands within this much of a metadata file.
const BEGINNING: usize = 256 * 1024;
/// How the list of key changes begins, as metadata is written.
const KEYS: &[u8] = b"\n    \"key_chain\": ";
/// The line of the checkpoint.
const MARK: &[u8] = b"\n  \"checkpoint\": \"";

/// The heads of a directory's backups.
#[derive(Debug, Default)]
pub struct Heads {
    /// Those of the log.
    pub heads: Vec<KnownHead>,
    /// How many backups there are, whosever they are.
    pub backups: usize,
    /// The ids of the log's own, the oldest first.
    pub own: Vec<BackupId>,
    /// What could not be read, and why. It proves nothing.
    pub skipped: Vec<String>,
}

/// Reads the heads of a log's backups in a directory, or of any log's, of the `most` newest ones. Their signatures are not
/// checked.
///
/// # Errors
/// When the directory cannot be listed.
pub fn heads(fs: &dyn Fs, dir: &Path, log_id: Option<&str>, most: usize) -> io::Result<Heads> {
    let names = fs.list(dir)?;
    let mut ids: Vec<BackupId> = names
        .iter()
        .filter_map(|name| parse_name(name))
        .filter(|(_, kind)| matches!(kind, FileKind::Metadata))
        .map(|(id, _)| id)
        .collect();
    ids.sort_unstable();
    let mut found = Heads { backups: ids.len(), ..Heads::default() };
    for id in ids.into_iter().rev().take(most) {
        match head(fs, &dir.join(id.metadata())) {
            Ok((note, rotations)) if log_id.is_none_or(|id| is_of(&note, id)) => {
                found.own.push(id);
                let name = id.to_string();
                found.heads.push(KnownHead { name, kept: Kept::Backup, note, rotations });
            }
            Ok(_) => {}
            Err(why) => found.skipped.push(format!("{}: {why}", id.metadata())),
        }
    }
    found.own.reverse();
    Ok(found)
}

/// Whether a head says that it is of that log.
pub(crate) fn is_of(note: &SignedCheckpoint, log_id: &str) -> bool {
    let origin = note.unverified().origin.parse::<Origin>();
    origin.is_ok_and(|origin| origin.log_id() == log_id)
}

fn head(fs: &dyn Fs, path: &Path) -> Result<(SignedCheckpoint, Vec<Rotation>), String> {
    let file = fs.open(path, OpenMode::ReadOwn).map_err(|error| error.to_string())?;
    let mut beginning = Vec::new();
    // Most have it in the first few kilobytes.
    for length in [BEGINNING / 16, BEGINNING] {
        beginning = read_beginning(&*file, length).map_err(|error| error.to_string())?;
        if let Some(note) = checkpoint_in(&beginning) {
            let note = SignedCheckpoint::parse(note.as_bytes());
            let note = note.map_err(|error| error.to_string())?;
            return Ok((note, rotations(&beginning)));
        }
    }
    let what = if beginning.is_empty() { "it is empty" } else { "it has no checkpoint" };
    Err(what.to_owned())
}

fn checkpoint_in(beginning: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(beginning, MARK)?;
    let text = &beginning[at + MARK.len() - 1..];
    serde_json::Deserializer::from_slice(text).into_iter::<String>().next()?.ok()
}

/// Those that are there; each is checked before it is believed.
fn rotations(beginning: &[u8]) -> Vec<Rotation> {
    let Some(at) = memchr::memmem::find(beginning, KEYS) else { return Vec::new() };
    let text = &beginning[at + KEYS.len()..];
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Vec<Rotation>>();
    values.next().and_then(Result::ok).unwrap_or_default()
}

fn read_beginning(file: &dyn FsFile, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
