//! A file system that fails when told to, for tests: every operation of the
//! real one, each of which can be made to fail, once or for a while.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{FileMeta, Fs, FsFile, OpenMode, SharedFs, Space};

/// An operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `open`.
    Open,
    /// `write`.
    Write,
    /// `read`.
    Read,
    /// `fdatasync`.
    SyncData,
    /// `ftruncate`.
    SetLen,
    /// `fallocate`.
    Allocate,
    /// `rename`.
    Rename,
    /// `unlink`.
    Remove,
    /// `fsync` of a directory.
    SyncDir,
    /// `stat`, by name.
    Meta,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With this `errno`.
    Errno(i32),
    /// A write stores half of its bytes, and the next one fails with this `errno`.
    Short(i32),
    /// The calling thread panics.
    Panic,
    /// It does not come back until [`FaultFs::heal`], and then succeeds.
    Hang,
}

/// One planned failure.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which operation.
    pub op: Op,
    /// Only on paths whose file name contains this.
    pub name_contains: String,
    /// Matching operations that still succeed first.
    pub after: u64,
    /// Matching operations that then fail; `u64::MAX` until [`FaultFs::heal`].
    pub times: u64,
    /// How.
    pub how: How,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    hits: u64,
    healings: u64,
    space: Option<Space>,
    log: Vec<(Op, PathBuf)>,
}

/// A file system that passes everything on to another, but for planned failures.
#[derive(Clone, Debug)]
pub struct FaultFs {
    inner: SharedFs,
    plan: Arc<Mutex<Plan>>,
    healed: Arc<Condvar>,
}

impl FaultFs {
    /// Passes everything on to `inner` until a failure is planned.
    #[must_use]
    pub fn new(inner: SharedFs) -> Self {
        Self { inner, plan: Arc::default(), healed: Arc::default() }
    }

    /// Plans a failure.
    pub fn plan(&self, fault: Fault) {
        self.locked().faults.push(fault);
    }

    /// Forgets all planned failures.
    pub fn heal(&self) {
        let mut plan = self.locked();
        plan.faults.clear();
        plan.space = None;
        plan.healings += 1;
        self.healed.notify_all();
    }

    /// How many operations have failed as planned.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.locked().hits
    }

    /// What [`Fs::space`] says from now on.
    pub fn set_space(&self, space: Space) {
        self.locked().space = Some(space);
    }

    /// The operations that changed something, in order, since the last call.
    #[must_use]
    pub fn take_log(&self) -> Vec<(Op, PathBuf)> {
        std::mem::take(&mut self.locked().log)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if that is planned; `Ok(Some)` asks for a short write.
    fn pass(&self, op: Op, path: &Path) -> io::Result<Option<()>> {
        let mut plan = self.locked();
        if !matches!(op, Op::Read | Op::Meta) {
            plan.log.push((op, path.to_path_buf()));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for fault in &mut plan.faults {
            if fault.op != op || !name.contains(&fault.name_contains) || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= u64::from(fault.times != u64::MAX);
            let how = fault.how;
            if let How::Short(errno) = how {
                // The rest of the write meets the error.
                fault.how = How::Errno(errno);
                fault.times = fault.times.saturating_add(1);
            }
            plan.hits += 1;
            return match how {
                How::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
                How::Short(_) => Ok(Some(())),
                How::Hang => {
                    let now = plan.healings;
                    let healed = |plan: &mut Plan| plan.healings == now;
                    let waited = self.healed.wait_while(plan, healed);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                    Ok(None)
                }
                How::Panic => {
                    drop(plan);
                    panic!("planned panic in {op:?} of {name}");
                }
            };
        }
        Ok(None)
    }
}

impl Fs for FaultFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        self.pass(Op::Open, path)?;
        let inner = self.inner.open(path, mode)?;
        Ok(Box::new(FaultFile { inner, path: path.to_path_buf(), fs: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Op::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn rename_below(&self, root: &Path, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Op::Rename, &root.join(to))?;
        self.inner.rename_below(root, from, to)
    }

    fn create_dir_new(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_new(path)
    }

    fn clear_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Op::Remove, path)?;
        self.inner.clear_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(Op::Remove, path)?;
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Op::Remove, path)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Op::SyncDir, path)?;
        self.inner.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        self.pass(Op::Meta, path)?;
        self.inner.meta(path)
    }

    fn entry(&self, path: &Path) -> io::Result<FileMeta> {
        self.pass(Op::Meta, path)?;
        self.inner.entry(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        match self.locked().space {
            Some(space) => Ok(space),
            None => self.inner.space(path),
        }
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.pass(Op::Read, path)?;
        self.inner.read(path, limit)
    }

    fn read_own(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.pass(Op::Read, path)?;
        self.inner.read_own(path, limit)
    }

    fn read_given(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, FileMeta)> {
        self.pass(Op::Read, path)?;
        self.inner.read_given(path, limit)
    }
}

/// A file that fails when told to.
#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn FsFile>,
    path: PathBuf,
    fs: FaultFs,
}

impl FsFile for FaultFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let part = match self.fs.pass(Op::Write, &self.path)? {
            Some(()) => bytes.len().div_ceil(2),
            None => bytes.len(),
        };
        self.inner.write_at(&bytes[..part], offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.pass(Op::Read, &self.path)?;
        self.inner.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.pass(Op::SyncData, &self.path)?;
        self.inner.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.pass(Op::SetLen, &self.path)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.pass(Op::Allocate, &self.path)?;
        self.inner.allocate(len)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.inner.meta()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}
