//! The operating system's files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::heir::{self, Heir};
use super::{FileMeta, Fs, FsFile, OpenMode, Space};

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFs;

/// A real file.
#[derive(Debug)]
pub struct OsFile(File);

pub(super) fn meta_of(meta: &std::fs::Metadata) -> FileMeta {
    FileMeta {
        len: meta.len(),
        inode: meta.ino(),
        device: meta.dev(),
        links: meta.nlink(),
        changed: i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()),
        modified: meta.modified().unwrap_or(std::time::UNIX_EPOCH),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        is_file: meta.is_file(),
    }
}

/// Opens for [`OpenMode`], mode 0600 whatever the umask.
pub(crate) fn open_file(path: &Path, mode: OpenMode) -> io::Result<File> {
    let (file, made) = open_any(path, mode)?;
    let writes = !matches!(mode, OpenMode::Read | OpenMode::ReadOwn);
    let links = if writes && !made { file.metadata()?.nlink() } else { 1 };
    if links > 1 {
        let reason =
            format!("has {links} names (hard links), so writing to it would change all of them");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(file)
}

/// An open file as the engine has it.
pub(super) fn wrapped(file: File) -> Box<dyn FsFile> {
    Box::new(OsFile(file))
}

/// Whether overwriting the file takes new space: on a file system of that number,
/// unless the file is exempt.
pub(super) fn copies_on_write(file: &File, magic: u64) -> bool {
    let there = rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u64 == magic);
    there
        && !rustix::fs::ioctl_getflags(file)
            .is_ok_and(|flags| flags.contains(rustix::fs::IFlags::NOCOW))
}

/// Exempts an empty file from copy-on-write, where the file system knows that.
pub(super) fn stop_copying_on_write(file: &File) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
        // ext4 and xfs refuse it, and overwrite in place anyway.
        let _ = rustix::fs::ioctl_setflags(file, flags | rustix::fs::IFlags::NOCOW);
    }
}

/// The same for a file that only locks are taken on: other names do no harm.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    Ok(open_any(path, OpenMode::Create)?.0)
}

/// A regular file, and whether it was made.
fn open_any(path: &Path, mode: OpenMode) -> io::Result<(File, bool)> {
    // Without O_NONBLOCK a FIFO in a file's place would wait for its other end.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    options.custom_flags(if mode == OpenMode::Read { nonblock } else { nonblock | nofollow });
    match mode {
        OpenMode::Read | OpenMode::ReadOwn => {}
        OpenMode::Write => {
            options.write(true);
        }
        OpenMode::CreateNew => {
            if let Some(file) = make_for_owner(path).map_err(|error| plainer(path, error))? {
                return Ok((file, true));
            }
            options.write(true).create_new(true);
        }
        OpenMode::Create => {
            match open_any(path, OpenMode::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
            // Removed in between: made after all, or the error says so.
            match open_any(path, OpenMode::Write) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return open_any(path, OpenMode::CreateNew);
                }
                opened => return opened,
            }
        }
    }
    let file = options.open(path).map_err(|error| plainer(path, error))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let made = mode == OpenMode::CreateNew;
    if made {
        // An unusual umask could have taken bits away.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok((file, made))
}

/// What root makes is made for the directory's owner; `None` where that is root, or this
/// is not.
fn make_for_owner(path: &Path) -> io::Result<Option<File>> {
    let (Some(heir), Some(name)) = (Heir::of(&super::parent(path))?, path.file_name()) else {
        return Ok(None);
    };
    heir.make(name).map(Some)
}

/// Hands a directory that was just made to the owner of the one that it is in, where
/// root made it.
///
/// # Errors
/// The operating system's.
pub(crate) fn give_dir(path: &Path) -> io::Result<()> {
    match (Heir::of(&super::parent(path))?, path.file_name()) {
        (Some(heir), Some(name)) => heir.give_dir(name),
        _ => Ok(()),
    }
}

/// "Too many levels of symbolic links" is what the system says of a single one.
fn plainer(path: &Path, error: io::Error) -> io::Error {
    let link = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    let looped = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    if link && looped {
        let reason = "is a symbolic link, which auditctl does not follow here";
        return io::Error::new(io::ErrorKind::InvalidInput, reason);
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return heir::whose(path, error);
    }
    // A FIFO or a device without its other end.
    if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
        return io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file");
    }
    error
}

fn read_open(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let larger =
        || io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes"));
    // Before reading: what is sparse has a length and no bytes that would have to be taken.
    if file.metadata()?.len() > limit {
        return Err(larger());
    }
    let mut content = Vec::new();
    // It may grow meanwhile, and a pipe has no length.
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit { Err(larger()) } else { Ok(content) }
}

/// Makes a directory that must not be there, mode 0700 whatever the umask.
fn make_dir(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    // By what was made, not by its name; no right is needed for that.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(CWD, path, flags, Mode::empty())?;
    if rustix::fs::fstat(&made)?.st_mode & 0o777 != 0o700 {
        set_mode(Path::new(&format!("/proc/self/fd/{}", made.as_raw_fd())), 0o700)?;
    }
    give_dir(path)
}

/// Sets a path's permission bits.
///
/// # Errors
/// The operating system's.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Has this process make files with exactly the modes that it asks for, as a
/// umask of 0 does: what keeps others out must then be asked for.
pub fn clear_umask() {
    rustix::process::umask(rustix::fs::Mode::empty());
}

/// As [`replace_file`](super::replace_file), and the new file (mode 0600) belongs
/// to whom `owner_of` belongs: root, who changes another user's file, must not
/// take it away from that user. Whoever may not give files away is refused.
///
/// # Errors
/// The failing step's error.
pub fn replace_file_for(path: &Path, content: &[u8], owner_of: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(owner_of)?;
    let temporary = super::temporary_name(path);
    let attempt = || -> io::Result<()> {
        let file = open_file(&temporary, OpenMode::CreateNew)?;
        let ours = file.metadata()?;
        // On the open file: by its name somebody could have put another there.
        if ours.uid() != owner.uid() {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        } else if ours.gid() != owner.gid() {
            // Its group may do nothing with it: which one matters little.
            let _ = std::os::unix::fs::fchown(&file, None, Some(owner.gid()));
        }
        file.write_all_at(content, 0)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(super::parent(path))?.sync_all()
    };
    let result = attempt();
    if result.is_err() {
        // It may not be there, or be in the way of nobody.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// Whether this process may make files in a directory; changes nothing.
///
/// # Errors
/// Why not: no such directory, no permission, a read-only file system.
pub fn may_write(dir: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    Ok(rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

impl Fs for OsFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(OsFile(open_file(path, mode)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|part| !part.as_os_str().is_empty() && !part.is_dir())
            .collect();
        for part in missing.into_iter().rev() {
            match make_dir(part) {
                // Somebody else made it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && part.is_dir() => {}
                made => made?,
            }
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        std::fs::metadata(path).map(|meta| meta_of(&meta))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            files_total: stat.f_files,
            files_available: stat.f_favail,
        })
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_open(open_file(path, OpenMode::Read)?, limit)
    }

    fn read_given(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, FileMeta)> {
        // Waits for a pipe's other end, which whoever named it holds.
        let file = File::open(path)?;
        let meta = meta_of(&file.metadata()?);
        Ok((read_open(file, limit)?, meta))
    }

    fn read_own(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_open(open_file(path, OpenMode::ReadOwn)?, limit)
    }

    fn entry(&self, path: &Path) -> io::Result<FileMeta> {
        std::fs::symlink_metadata(path).map(|meta| meta_of(&meta))
    }

    fn create_dir_new(&self, path: &Path) -> io::Result<()> {
        make_dir(path)
    }

    fn clear_dir(&self, path: &Path) -> io::Result<()> {
        super::beneath::clear(path)
    }

    fn rename_below(&self, root: &Path, from: &Path, to: &Path) -> io::Result<()> {
        super::beneath::rename(root, from, to)
    }
}

impl FsFile for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; 64 * 1024];
                let mut offset = 0;
                while offset < len {
                    let part = zeros.len().min((len - offset) as usize);
                    self.write_all_at(&zeros[..part], offset)?;
                    offset += part as u64;
                }
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.0.metadata().map(|meta| meta_of(&meta))
    }

    fn drop_cache(&self) -> io::Result<()> {
        rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const EVERY: [OpenMode; 5] =
        [OpenMode::Read, OpenMode::ReadOwn, OpenMode::Write, OpenMode::CreateNew, OpenMode::Create];

    #[test]
    fn only_what_an_operator_chose_is_read_through_a_link_and_nothing_is_written_through_one() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (file, link) = (place.path().join("file"), place.path().join("link"));
        fs::write(&file, "x").expect("file");
        symlink(&file, &link).expect("link");
        for mode in EVERY {
            let opened = open_file(&link, mode);
            match mode {
                OpenMode::Read => assert!(opened.is_ok()),
                OpenMode::CreateNew => {
                    assert_eq!(opened.expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
                }
                _ => assert!(opened.expect_err("refused").to_string().contains("symbolic link")),
            }
        }
        assert!(OsFs.read(&link, 9).is_ok() && OsFs.read_own(&link, 9).is_err());
        assert!(OsFs.meta(&link).expect("a file").is_file);
        assert!(!OsFs.entry(&link).expect("a link").is_file);
        // One that leads nowhere makes nothing where it leads to.
        fs::remove_file(&file).expect("removed");
        assert!(open_file(&link, OpenMode::Create).is_err() && !file.exists());
    }

    #[test]
    fn a_pipe_or_a_device_in_a_files_place_is_an_error_at_once() {
        let place = tempfile::tempdir().expect("temporary directory");
        let pipe = place.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RWXU, 0).expect("pipe");
        for mode in EVERY {
            for path in [&*pipe, Path::new("/dev/zero"), Path::new("/dev/null"), place.path()] {
                assert!(open_file(path, mode).is_err(), "{mode:?} of {}", path.display());
            }
        }
    }

    #[test]
    fn only_what_was_named_to_be_read_now_may_be_a_pipe_and_a_length_is_asked_before_reading() {
        use std::io::Write;
        let place = tempfile::tempdir().expect("temporary directory");
        let pipe = place.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RWXU, 0).expect("pipe");
        for read in [OsFs.read(&pipe, 9), OsFs.read_own(&pipe, 9)] {
            assert_eq!(read.expect_err("no file").kind(), io::ErrorKind::InvalidInput);
        }
        let other = pipe.clone();
        let writer = std::thread::spawn(move || {
            File::options().write(true).open(other)?.write_all(b"given")
        });
        let (bytes, meta) = OsFs.read_given(&pipe, 9).expect("waited for");
        writer.join().expect("ended").expect("written");
        assert_eq!((&*bytes, meta.is_file), (&b"given"[..], false));

        let sparse = place.path().join("sparse");
        File::create(&sparse).expect("made").set_len(1 << 40).expect("a long one");
        for read in [OsFs.read(&sparse, 9), OsFs.read_own(&sparse, 9)] {
            assert_eq!(read.expect_err("too long").kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn what_has_another_name_is_not_written_and_a_copy_takes_its_place() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (file, other) = (place.path().join("file"), place.path().join("other"));
        fs::write(&file, "precious").expect("file");
        fs::hard_link(&file, &other).expect("another name");
        for mode in [OpenMode::Write, OpenMode::Create] {
            let error = open_file(&file, mode).expect_err("shared");
            assert!(error.to_string().contains("2 names"), "{error}");
        }
        assert!(open_file(&file, OpenMode::ReadOwn).is_ok() && open_lock(&file).is_ok());
        super::super::unshare(&OsFs, &file).expect("copied");
        let own = open_file(&file, OpenMode::Write).expect("its own now");
        own.set_len(0).expect("cut");
        assert_eq!(fs::read_to_string(&other).expect("the other"), "precious");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        super::super::unshare(&OsFs, &place.path().join("nothing")).expect("nothing to do");
    }

    #[test]
    fn directories_are_made_once_for_their_owner_alone() {
        let place = tempfile::tempdir().expect("temporary directory");
        let deep = place.path().join("a/b/c");
        OsFs.create_dir_all(&deep).expect("made");
        OsFs.create_dir_all(&deep).expect("there");
        for dir in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(place.path().join(dir)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{dir}");
        }
        let again = OsFs.create_dir_new(&deep).expect_err("there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        symlink(&deep, place.path().join("link")).expect("link");
        assert!(OsFs.create_dir_new(&place.path().join("link")).is_err());
        OsFs.create_dir_all(&place.path().join("link/d")).expect("a chosen link is followed");
        fs::write(place.path().join("file"), "").expect("file");
        assert!(OsFs.create_dir_all(&place.path().join("file/d")).is_err());
    }
}
