//! The checkpoints that were pushed to a file or a directory: reading them.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Kept, KnownHead};
use crate::fsio::{Fs, OsFs};

/// So many checkpoints of a directory are read at a time, those over most records.
pub(crate) const MOST: usize = 64;

/// The heads of a log, or of any, that were pushed to a file or a directory.
///
/// # Errors
/// When it cannot be read, or is not there.
pub(crate) fn heads(to: &Path, log_id: Option<&str>) -> io::Result<Vec<KnownHead>> {
    if !is_directory(to) {
        return Ok(match read(to) {
            Ok(note) => vec![head(to, note)],
            Err(error) if error.kind() == ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(error),
        });
    }
    let names = names(to, log_id)?;
    let read = |name: &String| {
        let path = to.join(name);
        read(&path).ok().map(|note| head(&path, note))
    };
    Ok(names.iter().rev().take(MOST).filter_map(read).collect())
}

/// All of a log's, the newest first, so many at a time. It ends where nobody wants more.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn all_heads(
    to: &Path,
    log_id: &str,
    found: &mut dyn FnMut(Vec<KnownHead>) -> ControlFlow<()>,
) -> io::Result<()> {
    if !is_directory(to) {
        let own = heads(to, Some(log_id))?.into_iter().filter(|head| is_of(&head.note, log_id));
        let _ = found(own.collect());
        return Ok(());
    }
    let read = |name: &String| {
        let path = to.join(name);
        read(&path).ok().map(|note| head(&path, note))
    };
    for some in names(to, Some(log_id))?.rchunks(MOST) {
        if found(some.iter().rev().filter_map(read).collect()).is_break() {
            break;
        }
    }
    Ok(())
}

pub(crate) fn is_of(note: &SignedCheckpoint, log_id: &str) -> bool {
    let origin = note.unverified().origin.parse::<Origin>();
    origin.is_ok_and(|origin| origin.log_id() == log_id)
}

pub(crate) fn is_directory(path: &Path) -> bool {
    OsFs.meta(path).is_ok_and(|meta| !meta.is_file)
}

pub(crate) fn head(path: &Path, note: SignedCheckpoint) -> KnownHead {
    let name = path.display().to_string();
    KnownHead { name, kept: Kept::Pushed, note, rotations: Vec::new() }
}

pub(crate) fn read(path: &Path) -> io::Result<SignedCheckpoint> {
    let text = OsFs.read_own(path, MAX_NOTE_BYTES as u64)?;
    SignedCheckpoint::parse(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// The names of a log's checkpoints, by epoch and size.
pub(crate) fn names(dir: &Path, log_id: Option<&str>) -> io::Result<Vec<String>> {
    let mut names: Vec<(u32, u64, String)> = OsFs
        .list(dir)?
        .into_iter()
        .filter_map(|name| {
            let (id, rest) = name.split_once('.')?;
            if log_id.is_some_and(|log_id| log_id != id) {
                return None;
            }
            let rest = rest.strip_suffix(".checkpoint")?;
            let (epoch, size) = match rest.split_once('.') {
                Some((epoch, size)) => (epoch.strip_prefix('e')?.parse().ok()?, size),
                None => (0, rest),
            };
            let size = size.parse().ok()?;
            Some((epoch, size, name))
        })
        .collect();
    names.sort_unstable();
    Ok(names.into_iter().map(|(_, _, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OpenMode;

    #[test]
    fn names_are_in_the_order_of_epoch_and_size_whatever_their_letters() {
        let dir = tempfile::tempdir().expect("a directory");
        let id = "0123456789abcdef0123456789abcdef";
        let made = [
            format!("{id}.e10.{:020}.checkpoint", 5),
            format!("{id}.e2.{:020}.checkpoint", 7),
            format!("{id}.{:020}.checkpoint", 900),
            format!("{id}.{:020}.checkpoint", 30),
        ];
        let others = [
            format!("ffff.{:020}.checkpoint", 1),
            format!("{id}.x.checkpoint"),
            format!("{id}.e1.{:020}.checkpoint.tmp-1", 1),
        ];
        for name in made.iter().chain(&others) {
            OsFs.open(&dir.path().join(name), OpenMode::CreateNew).expect("made");
        }
        let [e10, e2, large, small] = made;
        assert_eq!(names(dir.path(), Some(id)).expect("a list"), [small, large, e2, e10]);
    }
}
