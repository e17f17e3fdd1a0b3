//! A file system that records what is done to it, and the disks that may be found
//! after the power went at any moment of that. What was synced is there; of what was
//! not, any part may be there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use auditctl::fsio::{FileMeta, Fs, FsFile, OpenMode, OsFs, Space};

/// One operation that changes the disk. A file is known by its number, not its
/// name: renaming one does not change what is written to it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(PathBuf, usize),
    MakeDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    SyncData(usize),
    /// An event was acknowledged to its caller.
    Acknowledged(u64, String),
    /// Something else was told to whoever asked for it.
    Told,
}

impl Change {
    /// Whether it changes what names there are.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Create(..) | Self::MakeDir(_) | Self::Rename(..) | Self::Remove(_))
    }

    /// Whether a sync of the directory makes it last.
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::MakeDir(path) => path == dir || path.parent() == Some(dir),
            Self::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
            _ => false,
        }
    }
}

/// A change, and the name of the thread that made it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) by: String,
    pub(crate) change: Change,
}

/// Who made what was there before anything was recorded.
pub(crate) const BEFORE: &str = "before";

#[derive(Debug, Default)]
struct History {
    steps: Vec<Step>,
    /// Which file a name leads to.
    names: BTreeMap<PathBuf, usize>,
    files: usize,
}

impl History {
    fn note(&mut self, change: Change) {
        let thread = std::thread::current();
        let by = thread.name().map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
        self.steps.push(Step { by, change });
    }

    fn was_there(&mut self, change: Change) {
        self.steps.push(Step { by: BEFORE.to_owned(), change });
    }

    fn number_of(&mut self, path: &Path) -> usize {
        self.files += 1;
        self.names.insert(path.to_path_buf(), self.files);
        self.files
    }
}

/// The operating system's files, with everything that is done to them recorded
/// in the order in which it took effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordingFs(Arc<Mutex<History>>);

impl RecordingFs {
    /// One that knows what is in a directory already: all of it is on the disk.
    pub(crate) fn on(root: &Path) -> Self {
        let fs = Self::default();
        fs.know(root);
        fs
    }

    fn know(&self, dir: &Path) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let kind = std::fs::symlink_metadata(&path).expect("there");
            if kind.is_dir() {
                self.locked().was_there(Change::MakeDir(path.clone()));
                self.know(&path);
            } else if kind.is_file() && !is_beside(&path) {
                let content = std::fs::read(&path).expect("read");
                let mut history = self.locked();
                let number = history.number_of(&path);
                history.was_there(Change::Create(path, number));
                history.was_there(Change::Write(number, 0, content));
                history.was_there(Change::SyncData(number));
            }
        }
        self.locked().was_there(Change::SyncDir(dir.to_path_buf()));
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, History> {
        self.0.lock().expect("no test panicked")
    }

    /// Does it and records it as one step.
    fn step<T>(
        &self,
        act: impl FnOnce() -> io::Result<T>,
        note: impl FnOnce(&mut History),
    ) -> io::Result<T> {
        let mut history = self.locked();
        let done = act()?;
        note(&mut history);
        Ok(done)
    }

    pub(crate) fn acknowledged(&self, seq: u64, actor: String) {
        self.locked().note(Change::Acknowledged(seq, actor));
    }

    pub(crate) fn told(&self) {
        self.locked().note(Change::Told);
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.locked().steps.clone()
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        self.locked().steps.iter().map(|step| step.change.clone()).collect()
    }
}

/// Files that do not go through this seam: each opening makes them anew.
fn is_beside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["audit.status", "audit.lock", "backups.lock"].contains(&&*name)
}

impl Fs for RecordingFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        let mut number = 0;
        let inner = self.step(
            || OsFs.open(path, mode),
            |history| {
                if let Some(known) = history.names.get(path) {
                    number = *known;
                    return;
                }
                number = history.number_of(path);
                history.note(Change::Create(path.to_path_buf(), number));
            },
        )?;
        Ok(Box::new(RecordingFile { inner, number, fs: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(
            || OsFs.rename(from, to),
            |history| {
                let file = history.names.remove(from).expect("a known file");
                history.names.insert(to.to_path_buf(), file);
                history.note(Change::Rename(from.to_path_buf(), to.to_path_buf()));
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(
            || OsFs.remove(path),
            |history| {
                history.names.remove(path);
                history.note(Change::Remove(path.to_path_buf()));
            },
        )
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let made: Vec<PathBuf> =
            path.ancestors().take_while(|part| !part.exists()).map(Path::to_path_buf).collect();
        self.step(
            || OsFs.create_dir_all(path),
            |history| made.into_iter().rev().for_each(|part| history.note(Change::MakeDir(part))),
        )
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step(
            || OsFs.remove_dir(path),
            |history| history.note(Change::Remove(path.to_path_buf())),
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let note = |history: &mut History| history.note(Change::SyncDir(path.to_path_buf()));
        self.step(|| OsFs.sync_dir(path), note)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        OsFs.list(path)
    }

    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        OsFs.meta(path)
    }

    fn entry(&self, path: &Path) -> io::Result<FileMeta> {
        OsFs.entry(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsFs.space(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        OsFs.read(path, limit)
    }
}

#[derive(Debug)]
struct RecordingFile {
    inner: Box<dyn FsFile>,
    number: usize,
    fs: RecordingFs,
}

impl FsFile for RecordingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut history = self.fs.locked();
        let written = self.inner.write_at(bytes, offset)?;
        history.note(Change::Write(self.number, offset, bytes[..written].to_vec()));
        Ok(written)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let note = |history: &mut History| history.note(Change::SyncData(self.number));
        self.fs.step(|| self.inner.sync_data(), note)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let note = |history: &mut History| history.note(Change::SetLen(self.number, len));
        self.fs.step(|| self.inner.set_len(len), note)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let note = |history: &mut History| history.note(Change::SetLen(self.number, len));
        self.fs.step(|| self.inner.allocate(len), note)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.inner.meta()
    }
}

/// Numbers that look random and are the same in every run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// What a disk holds.
#[derive(Default)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, Node>,
    files: BTreeMap<usize, Vec<u8>>,
}

impl Disk {
    /// The disk after the power went once `changes` had been asked for.
    pub(crate) fn after(changes: &[Change], random: &mut Random) -> Self {
        let mut disk = Self::default();
        // File systems keep names in the order of their changes (ext4, XFS and
        // Btrfs do by their journals): those up to the last one in a directory that
        // was synced since, and then some more.
        let synced = changes.iter().enumerate().filter_map(|(at, change)| match change {
            Change::SyncDir(dir) => changes[..at].iter().rposition(|change| change.touches(dir)),
            _ => None,
        });
        let synced = synced.max();
        let last = |at: usize| synced.is_some_and(|synced| at <= synced);
        let unsynced = changes.iter().enumerate().filter(|(at, c)| c.is_name() && !last(*at));
        let mut more = random.below(unsynced.count() + 1);
        for (at, change) in changes.iter().enumerate() {
            if change.is_name() && !last(at) {
                if more == 0 {
                    continue;
                }
                more -= 1;
            }
            disk.name(change);
        }
        let numbers: Vec<usize> = disk
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(number) => Some(*number),
                Node::Dir => None,
            })
            .collect();
        for number in numbers {
            let content = Self::content(changes, number, random);
            disk.files.insert(number, content);
        }
        disk
    }

    /// What a killed process leaves once `changes` were made: all of them, in full.
    pub(crate) fn as_killed(changes: &[Change]) -> Self {
        let mut disk = Self::default();
        for change in changes {
            disk.name(change);
            match change {
                Change::Create(_, number) => {
                    disk.files.entry(*number).or_default();
                }
                Change::Write(number, offset, bytes) => {
                    let content = disk.files.entry(*number).or_default();
                    let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                    content.resize(content.len().max(end), 0);
                    content[start..end].copy_from_slice(bytes);
                }
                Change::SetLen(number, length) => {
                    disk.files.entry(*number).or_default().resize(*length as usize, 0);
                }
                _ => {}
            }
        }
        disk
    }

    fn name(&mut self, change: &Change) {
        match change {
            Change::Create(path, number) => {
                self.names.insert(path.clone(), Node::File(*number));
            }
            Change::MakeDir(path) => {
                self.names.insert(path.clone(), Node::Dir);
            }
            Change::Rename(from, to) => {
                let node = self.names.remove(from).expect("renamed after it was made");
                self.names.insert(to.clone(), node);
            }
            Change::Remove(path) => {
                self.names.remove(path);
            }
            _ => {}
        }
    }

    /// What was synced, and of the rest any part: a write may be missing while a
    /// later one is there, and may be there in part; a length may be there
    /// without the bytes.
    fn content(changes: &[Change], number: usize, random: &mut Random) -> Vec<u8> {
        let synced = changes
            .iter()
            .rposition(|change| matches!(change, Change::SyncData(file) if *file == number));
        let mut content = Vec::new();
        for (at, change) in changes.iter().enumerate() {
            let is_synced = synced.is_some_and(|sync| at < sync);
            match change {
                Change::Write(file, offset, bytes) if *file == number => {
                    let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                    if is_synced || random.coin() {
                        content.resize(content.len().max(end), 0);
                        content[start..end].copy_from_slice(bytes);
                    } else if random.coin() {
                        let part = random.below(bytes.len());
                        let length = start + if random.coin() { part } else { bytes.len() };
                        content.resize(content.len().max(length), 0);
                        let end = (start + part).min(content.len());
                        content[start..end].copy_from_slice(&bytes[..end - start]);
                    }
                }
                Change::SetLen(file, length) if *file == number && (is_synced || random.coin()) => {
                    content.resize(*length as usize, 0);
                }
                _ => {}
            }
        }
        content
    }

    pub(crate) fn put_into(&self, from: &Path, to: &Path) {
        let set_mode = |path: &Path, mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).expect("mode");
        };
        std::fs::create_dir_all(to).expect("directory");
        set_mode(to, 0o700);
        // In order: a directory comes before what is in it.
        for (path, node) in &self.names {
            let Ok(below) = path.strip_prefix(from) else { continue };
            let path = to.join(below);
            match node {
                Node::Dir => {
                    std::fs::create_dir_all(&path).expect("directory");
                    set_mode(&path, 0o700);
                }
                // What is in a directory that is not there is not there.
                Node::File(_) if !path.parent().is_some_and(Path::exists) => {}
                Node::File(number) => {
                    std::fs::write(&path, &self.files[number]).expect("written");
                    set_mode(&path, 0o600);
                }
            }
        }
    }
}
