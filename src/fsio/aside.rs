//! Setting aside what stands in a file's place, and what must not be lost.

use std::io;
use std::path::{Path, PathBuf};

use super::{FileReader, Fs, FsFile, OpenMode};

/// Moves what stands at a path to `<name>.foreign-<stamp>`, durably: its name then.
/// An empty file is not worth it, and is removed.
///
/// # Errors
/// The failing step's; that nothing is there is none.
pub fn set_aside(fs: &dyn Fs, path: &Path, stamp: &str) -> io::Result<Option<String>> {
    match fs.entry(path) {
        Ok(meta) if meta.is_file && meta.len == 0 => {
            fs.remove(path)?;
            Ok(None)
        }
        Ok(_) => {
            let aside = foreign_name(fs, path, stamp);
            fs.rename(path, &aside)?;
            fs.sync_dir(&super::parent(path))?;
            Ok(aside.file_name().map(|name| name.to_string_lossy().into_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `<file>.foreign-<stamp>` beside a file, with a number when that is taken.
fn foreign_name(fs: &dyn Fs, path: &Path, stamp: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let first = path.with_file_name(format!("{name}.foreign-{stamp}"));
    let mut numbered =
        (1_u32..).map(|n| path.with_file_name(format!("{name}.foreign-{stamp}.{n}")));
    let taken = |path: &PathBuf| fs.entry(path).is_ok();
    if !taken(&first) {
        return first;
    }
    numbered.find(|path| !taken(path)).unwrap_or(first)
}

/// Copies a range of an open file into a new file, and makes its content durable;
/// that its name lasts is up to the caller.
///
/// # Errors
/// The failing step's; `UnexpectedEof` when the file is shorter.
pub fn copy_to_new(
    fs: &dyn Fs,
    from: &dyn FsFile,
    begin: u64,
    end: u64,
    to: &Path,
) -> io::Result<Box<dyn FsFile>> {
    use std::io::Read;
    let target = fs.open(to, OpenMode::CreateNew)?;
    let mut reader = FileReader { file: from, offset: begin }.take(end - begin);
    let mut buffer = vec![0; 256 * 1024];
    let mut offset = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        target.write_all_at(&buffer[..read], offset)?;
        offset += read as u64;
    }
    if offset != end - begin {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    target.sync_data()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    #[test]
    fn whatever_stands_there_is_moved_to_a_name_that_is_free() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("audit.key");
        let aside = || set_aside(&OsFs, &path, "20260101_000000").expect("set aside");
        assert_eq!(aside(), None, "nothing is there");
        std::fs::create_dir_all(path.join("deep")).expect("a directory");
        assert_eq!(aside().as_deref(), Some("audit.key.foreign-20260101_000000"));
        std::os::unix::fs::symlink("/nowhere", &path).expect("a link");
        assert_eq!(aside().as_deref(), Some("audit.key.foreign-20260101_000000.1"));
        std::fs::write(&path, "").expect("an empty file");
        assert_eq!(aside(), None);
        assert!(OsFs.entry(&path).is_err(), "the name is free");
    }
}
