//! The archives of a chain, found beside each other and read as if they were one.

use std::io;
use std::path::{Path, PathBuf};

use super::base::Base;
use super::directory::BackupDir;
use super::error::{BackupError, io_error};
use super::metadata::{Metadata, Stretch};
use super::reread;
use crate::audit::read::watch::Watch;
use crate::fsio::read_only::{ReadOnly, Readable};
use crate::fsio::{FileMeta, FsFile, OpenMode};

/// A base that is there.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) metadata: Box<Metadata>,
    pub(crate) archive: PathBuf,
}

/// The archives that a backup builds on, which lie beside it. Nothing is read of them but
/// their metadata.
///
/// # Errors
/// [`BackupError::Base`] for the first that is not there, or is another one.
pub(crate) fn find_bases(
    dir: &BackupDir,
    label: &str,
    bases: &[Base],
) -> Result<Vec<Link>, BackupError> {
    let mut links = Vec::with_capacity(bases.len());
    for (at, base) in bases.iter().enumerate() {
        let failed = |why: String| BackupError::Base {
            backup: label.to_owned(),
            base: base.id,
            place: dir.path().to_path_buf(),
            why,
        };
        let metadata = match dir.metadata(base.id) {
            Ok(metadata) => metadata,
            Err(BackupError::NotFound { .. }) => {
                return Err(failed(format!("{} is missing", base.id.metadata())));
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        if metadata.as_base() != *base || metadata.bases != bases[..at] {
            return Err(failed("what lies there under its name is another backup".to_owned()));
        }
        let archive = dir.join(&base.file);
        match dir.fs.entry(&archive) {
            Ok(meta) if meta.is_file && meta.len == base.bytes => {}
            Ok(meta) if meta.is_file => {
                let found = meta.len;
                let what = format!("{} has {found} bytes, not {}", base.file, base.bytes);
                return Err(failed(what));
            }
            Ok(_) => return Err(failed(format!("{} is no regular file", base.file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(failed(format!("{} is missing", base.file)));
            }
            Err(error) => return Err(failed(format!("{}: {error}", base.file))),
        }
        links.push(Link { metadata: Box::new(metadata), archive });
    }
    Ok(links)
}

/// Reads a stored archive from the disk, and compares it with what its metadata says.
///
/// # Errors
/// What is wrong with it, in words; an interruption.
pub(crate) fn reread_stored(
    dir: &BackupDir,
    metadata: &Metadata,
    watch: &dyn Watch,
) -> Result<Result<(), String>, BackupError> {
    let path = dir.join(&metadata.archive.file);
    let file = match dir.fs.open(&path, OpenMode::ReadOwn) {
        Ok(file) => file,
        Err(error) => return Ok(Err(format!("{}: {error}", path.display()))),
    };
    file.drop_cache().map_err(io_error("drop from the cache", &path))?;
    let expected = metadata.stored();
    match reread::digests(&*file, &path, watch) {
        Ok(found) if found == *expected => Ok(Ok(())),
        Ok(found) => Ok(Err(format!(
            "its SHA-256 is {}, its metadata says {}",
            found.sha256, expected.sha256
        ))),
        Err(BackupError::Interrupted) => Err(BackupError::Interrupted),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// One of the archives that stand one after the other in a [`Joined`] file.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) path: PathBuf,
    /// The stretches up to this number are of it, or of those before it.
    pub(crate) stretches: usize,
    /// Its members.
    pub(crate) members: u64,
    /// Where what is read of it ends in the joined file.
    pub(crate) end: u64,
}

/// The stretches of several archives, as they stand in the joined file, and where each
/// archive ends in that.
pub(crate) fn join(links: &[Link], own: &[Stretch]) -> (Vec<Stretch>, Vec<Reach>) {
    let (mut stretches, mut spans): (Vec<Stretch>, Vec<Reach>) = (Vec::new(), Vec::new());
    let mut end = 0;
    let moved =
        |stretch: &Stretch, by: u64| Stretch { offset: stretch.offset + by, ..stretch.clone() };
    for Link { metadata, archive } in links {
        stretches.extend(metadata.segments.iter().map(|stretch| moved(stretch, end)));
        end += metadata.marker_offset();
        let members = metadata.segments.iter().map(|stretch| stretch.members.len() as u64).sum();
        let path = archive.clone();
        spans.push(Reach { path, stretches: stretches.len(), members, end });
    }
    stretches.extend(own.iter().map(|stretch| moved(stretch, end)));
    (stretches, spans)
}

/// Archives that are read as if they were one: of each but the last, what comes before its
/// marker.
#[derive(Debug)]
pub(crate) struct Joined {
    /// Where each ends in the whole, and the file.
    parts: Vec<(u64, Box<dyn FsFile>)>,
    meta: FileMeta,
}

impl Joined {
    /// Of files, with the lengths that count of each; of the last all counts.
    pub(crate) fn of(
        bases: Vec<(u64, Box<dyn FsFile>)>,
        last: Box<dyn FsFile>,
        path: &Path,
    ) -> Result<ReadOnly<Self>, BackupError> {
        let meta = last.meta().map_err(io_error("look at", path))?;
        let mut end = 0;
        let mut parts = Vec::with_capacity(bases.len() + 1);
        for (len, file) in bases {
            end += len;
            parts.push((end, file));
        }
        parts.push((end + meta.len, last));
        Ok(ReadOnly(Self { parts, meta: FileMeta { len: end + meta.len, ..meta } }))
    }
}

impl Readable for Joined {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = self.parts.partition_point(|(end, _)| *end <= offset);
        let Some((end, file)) = self.parts.get(at) else { return Ok(0) };
        let begin = at.checked_sub(1).map_or(0, |before| self.parts[before].0);
        let most = bytes.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        match file.read_at(&mut bytes[..most], offset - begin)? {
            // Shorter than it was: what comes after it must not be taken for it.
            0 if most > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }

    fn meta(&self) -> io::Result<FileMeta> {
        Ok(self.meta)
    }
}
