//! One file, and what it should hold.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Incident, Incidents, OwnFile, Patience};
use crate::audit::record::secret::Secret;
use crate::fsio::aside::set_aside;
use crate::fsio::{self, FileMeta, Fs, OpenMode};

/// What a file should hold.
enum Want {
    /// Not known: it is not looked at.
    Unknown,
    /// There should be none.
    Absent,
    /// Just this.
    Content(Secret<Vec<u8>>),
}

impl std::fmt::Debug for Want {
    /// Never what is in it: it may be a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Absent => "Absent",
            Self::Content(_) => "Content",
        })
    }
}

/// A file as it was when its content was last compared: while nothing of this has
/// changed, neither has its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: (u64, u64),
    len: u64,
    modified: SystemTime,
    changed: i128,
}

impl Identity {
    pub(crate) fn of(meta: &FileMeta) -> Self {
        let inode = (meta.device, meta.inode);
        Self { inode, len: meta.len, modified: meta.modified, changed: meta.changed }
    }

    /// The same file, with whatever content.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }

    /// The same file that nobody has written to since, whose owner or rights may
    /// have been changed.
    pub(crate) fn is_unchanged(&self, other: &Self) -> bool {
        (self.inode, self.len, self.modified) == (other.inode, other.len, other.modified)
    }
}

/// A file that is looked after.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) file: OwnFile,
    path: PathBuf,
    /// The operator named it: a symbolic link there is as good as a file.
    chosen: bool,
    want: Want,
    /// What it becomes when a write that was begun is complete.
    next: Option<Secret<Vec<u8>>>,
    seen: Option<Identity>,
    /// It is told that it is gone.
    gone: bool,
    patience: Patience,
}

/// What a look found.
enum Found {
    Fine(Option<Identity>),
    Bad(&'static str),
    /// It cannot be told now.
    Unclear,
}

impl Kept {
    pub(crate) fn new(file: OwnFile, path: PathBuf) -> Self {
        Self {
            file,
            path,
            chosen: false,
            want: Want::Unknown,
            next: None,
            seen: None,
            gone: false,
            patience: Patience::default(),
        }
    }

    /// One whose place an operator may have chosen.
    pub(crate) fn chosen(file: OwnFile, path: PathBuf) -> Self {
        Self { chosen: true, ..Self::new(file, path) }
    }

    pub(crate) fn is(&mut self, content: &[u8]) {
        self.set(Want::Content(Secret(content.to_vec())));
    }

    pub(crate) fn is_absent(&mut self) {
        self.set(Want::Absent);
    }

    pub(crate) fn is_unknown(&mut self) {
        self.set(Want::Unknown);
    }

    fn set(&mut self, want: Want) {
        self.want = want;
        self.next = None;
        self.seen = None;
    }

    /// What is there, if it means the same as `content`; else that.
    pub(crate) fn is_as_it_stands(
        &mut self,
        fs: &dyn Fs,
        content: Secret<Vec<u8>>,
        same: impl Fn(&[u8]) -> bool,
    ) {
        let limit = content.0.len() as u64 * 2 + 4096;
        let there = self.open(fs, limit).ok().map(|(_, there)| there);
        self.set(Want::Content(there.filter(|there| same(&there.0)).unwrap_or(content)));
    }

    pub(crate) fn becomes(&mut self, content: &[u8]) {
        self.next = Some(Secret(content.to_vec()));
        self.seen = None;
    }

    pub(crate) fn became(&mut self) {
        if let Some(next) = self.next.take() {
            self.set(Want::Content(next));
        }
    }

    /// Looks, and mends what is wrong.
    pub(crate) fn look(&mut self, fs: &dyn Fs, incidents: &Incidents) {
        match self.find(fs) {
            Found::Fine(seen) => {
                self.seen = seen;
                self.is_fine(incidents);
            }
            Found::Unclear => {}
            Found::Bad(what) => self.mend(what, fs, incidents, |kept| kept.put_back(fs)),
        }
    }

    pub(crate) fn is_fine(&mut self, incidents: &Incidents) {
        if std::mem::take(&mut self.gone) {
            incidents.is_back(self.file);
        }
    }

    /// Sets aside what stands there and puts the file back; tells of it once.
    pub(crate) fn mend(
        &mut self,
        what: &'static str,
        fs: &dyn Fs,
        incidents: &Incidents,
        put_back: impl FnOnce(&Self) -> io::Result<()>,
    ) {
        if !self.patience.is_over() {
            if self.patience.is_long() && !std::mem::replace(&mut self.gone, true) {
                incidents.is_gone(self.file);
            }
            return;
        }
        self.patience.tries(self.gone);
        self.seen = None;
        let stamp = incidents.options.clock.now().file_stamp();
        let (set_aside, outcome) = match set_aside(fs, &self.path, &stamp) {
            Ok(name) => (name, put_back(self)),
            Err(error) => (None, Err(error)),
        };
        match outcome {
            Ok(()) if self.gone => self.is_fine(incidents),
            Ok(()) => incidents.tell(self.file, &Incident { what, set_aside, failed: None }),
            Err(_) if self.gone => {}
            Err(error) => {
                self.gone = true;
                let failed = Some(format!("{}: {error}", self.path.display()));
                incidents.tell(self.file, &Incident { what, set_aside, failed });
            }
        }
    }

    fn put_back(&self, fs: &dyn Fs) -> io::Result<()> {
        match (&self.next, &self.want) {
            // The newer is as good: it was to be written.
            (Some(content), _) | (None, Want::Content(content)) => {
                fsio::replace_file(fs, &self.path, &content.0)
            }
            (None, Want::Absent | Want::Unknown) => Ok(()),
        }
    }

    fn meta(&self, fs: &dyn Fs) -> io::Result<FileMeta> {
        if self.chosen { fs.meta(&self.path) } else { fs.entry(&self.path) }
    }

    fn find(&self, fs: &dyn Fs) -> Found {
        if matches!(self.want, Want::Unknown) {
            return Found::Fine(None);
        }
        let absent = matches!(self.want, Want::Absent) && self.next.is_none();
        let meta = match self.meta(fs) {
            Ok(meta) => meta,
            Err(error) if is_missing(&error) => {
                let may_be_missing = matches!(self.want, Want::Absent);
                return if may_be_missing { Found::Fine(None) } else { Found::Bad("deleted") };
            }
            Err(_) => return Found::Unclear,
        };
        if absent || !meta.is_file {
            return Found::Bad("replaced");
        }
        if self.seen == Some(Identity::of(&meta)) {
            return Found::Fine(self.seen);
        }
        self.compare(fs, &meta)
    }

    fn compare(&self, fs: &dyn Fs, named: &FileMeta) -> Found {
        let lengths = [&self.next].into_iter().flatten().chain(match &self.want {
            Want::Content(content) => Some(content),
            Want::Absent | Want::Unknown => None,
        });
        let limit = lengths.clone().map(|content| content.0.len()).max().unwrap_or_default();
        let bad = |there: &FileMeta| {
            let same = self.seen.is_some_and(|seen| seen.inode == (there.device, there.inode));
            Found::Bad(if same { "altered" } else { "replaced" })
        };
        match self.open(fs, limit as u64) {
            Ok((meta, there)) => {
                let fits = lengths.into_iter().any(|content| content.0 == there.0);
                if fits { Found::Fine(Some(Identity::of(&meta))) } else { bad(&meta) }
            }
            Err(error) if is_missing(&error) => Found::Bad("deleted"),
            Err(error) => match error.kind() {
                // Too long, no regular file, or a right that was taken away.
                io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::PermissionDenied => bad(named),
                _ => Found::Unclear,
            },
        }
    }

    /// The file's content, `InvalidData` when it is longer than `limit`.
    fn open(&self, fs: &dyn Fs, limit: u64) -> io::Result<(FileMeta, Secret<Vec<u8>>)> {
        let mode = if self.chosen { OpenMode::Read } else { OpenMode::ReadOwn };
        let file = fs.open(&self.path, mode)?;
        let meta = file.meta()?;
        if meta.len > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = Secret(vec![0; meta.len as usize]);
        match file.read_exact_at(&mut content.0, 0) {
            // Cut meanwhile: other content.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(io::ErrorKind::InvalidData.into())
            }
            read => read.map(|()| (meta, content)),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
