//! The segment files of a staging directory.

use std::path::{Path, PathBuf};

use crate::audit::files::digest::digest;
use crate::audit::files::manifest::Segment;
use crate::audit::paths::sealed_name;
use crate::audit::read::watch::{Stage, Watch};
use crate::backup::content::{self, Content, Wanted};
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::source::{About, Found};
use crate::fsio::{Fs, FsFile, OpenMode};

/// Reads the backup whole. Its segments go into a staging directory, if there is one, at a
/// place that has room for them.
pub(in crate::backup::restore) fn read(
    found: &Found,
    file: &dyn FsFile,
    place: Option<(&dyn Fs, &Path, Option<&Path>)>,
    wanted: &Wanted,
    watch: &dyn Watch,
) -> Result<Content, BackupError> {
    let path = &found.archive;
    let length = file.meta().map_err(io_error("look at", path))?.len;
    if let Some((fs, place, _)) = place {
        has_room(fs, place, length + length / 16 + (1 << 20))?;
    }
    if let About::Metadata(metadata) = &found.about {
        let expected = found.bases_end() + metadata.archive.digests.bytes;
        if length != expected {
            let what = ArchiveFault::Length { expected, found: length };
            return Err(BackupError::Archive { path: path.clone(), what });
        }
    }
    let source = found.source(file);
    let stretches = found.stretches();
    let mut out =
        place.and_then(|(fs, _, staging)| Some(Out { fs, dir: staging?, open: None, at: 0 }));
    watch.stage(Stage::Verify, length);
    let content = content::read(&source, wanted, watch, &mut |stretch, bytes| match &mut out {
        Some(out) => out.append(stretch, stretches[stretch].first_seq, bytes),
        None => Ok(()),
    })?;
    check_content(found, &content)?;
    Ok(content)
}

fn has_room(fs: &dyn Fs, place: &Path, needed: u64) -> Result<(), BackupError> {
    // It may not be there yet.
    let near = place.ancestors().find(|path| fs.meta(path).is_ok());
    let near = near.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let available = fs.space(near).map_err(io_error("ask for space at", near))?.available;
    if available < needed {
        let path = place.to_path_buf();
        return Err(BackupError::NoSpace { path, needed, available });
    }
    Ok(())
}

/// Everything that the description says of the content.
fn check_content(found: &Found, content: &Content) -> Result<(), BackupError> {
    let About::Metadata(metadata) = &found.about else { return Ok(()) };
    content::agrees(content, metadata)
        .map_err(|what| BackupError::Archive { path: found.archive.clone(), what })
}

/// The segment file that is being written.
struct Out<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    open: Option<(usize, Box<dyn FsFile>, PathBuf)>,
    at: u64,
}

impl Out<'_> {
    fn append(&mut self, stretch: usize, first_seq: u64, bytes: &[u8]) -> Result<(), BackupError> {
        if self.open.as_ref().is_none_or(|(open, _, _)| *open != stretch) {
            let path = self.dir.join(sealed_name(first_seq, true));
            let made = self.fs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
            self.open = Some((stretch, made, path));
            self.at = 0;
        }
        if let Some((_, file, path)) = &self.open {
            file.write_all_at(bytes, self.at).map_err(io_error("write", path))?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Makes the staged segments durable, and reads them back from the disk: what is
/// put in place is what was checked.
pub(super) fn sync_all(fs: &dyn Fs, dir: &Path, segments: &[Segment]) -> Result<(), BackupError> {
    for segment in segments.iter().filter(|segment| segment.is_stored()) {
        let path = dir.join(&segment.file);
        let file = fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
        file.sync_data().map_err(io_error("sync", &path))?;
        file.drop_cache().map_err(io_error("drop from the cache", &path))?;
        let found = digest(&*file).map_err(io_error("read", &path))?;
        if Some(found.to_string()) != segment.sha256 {
            let expected = segment.sha256.clone().unwrap_or_default();
            let what = ArchiveFault::Checksum { expected, found: found.to_string() };
            return Err(BackupError::Archive { path, what });
        }
    }
    fs.sync_dir(dir).map_err(io_error("sync", dir))
}
