//! What was found, before anything is thought of it.

use crate::audit::LogPaths;
use crate::audit::status::{StatusSnapshot, Word, WriterState};
use crate::clock::Timestamp;
use crate::fsio::{FileMeta, Space};

/// Everything that the checks judge. Plain values: a test can make up any
/// situation.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it was looked.
    pub now: Timestamp,
    /// The same in ms since boot.
    pub boot_ms: u64,
    /// Which boot this is; `None` when the kernel does not tell.
    pub boot_id: Option<u64>,
    /// Where the log is.
    pub paths: LogPaths,
    /// The log directory.
    pub dir: Found,
    /// Whether a writer holds the lock.
    pub lock: Lock,
    /// The status page.
    pub page: Page,
    /// `audit.log`.
    pub active: Found,
    /// `audit.manifest.json`.
    pub manifest: Found,
    /// `audit.checkpoint`.
    pub checkpoint: Found,
    /// The tree size that the checkpoint file says; `None` when it cannot be read.
    pub checkpoint_size: Option<u64>,
    /// Space on the log's file system, or why it is not known.
    pub space: Result<Space, String>,
    /// The process that the page names, if it is there and is the one.
    pub process: Option<Process>,
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Yes(FileMeta),
    /// It is not.
    No,
    /// That cannot be told, and why.
    Unknown(String),
}

/// The writer's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// A living process holds it.
    Held,
    /// Nobody holds it.
    Free,
    /// That cannot be told, and why.
    Unknown(String),
}

/// The status page.
#[derive(Clone, Debug)]
pub enum Page {
    /// What it says.
    Read(StatusSnapshot),
    /// There is none.
    Missing,
    /// It cannot be read, and why.
    Unreadable(String),
}

/// A process, from `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The kernel's letter for what it is doing: `R`unning, `S`leeping, `D`isk
    /// wait, s`T`opped, `t`raced, `Z`ombie.
    pub state: char,
}

/// `audit.log` against what the writer says about the file it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActiveFile {
    /// As it should be, or there is nothing to compare.
    Expected,
    /// No file has the name.
    Missing,
    /// Another file has it.
    Replaced,
    /// It is shorter than what was written.
    Shorter {
        /// Its length in bytes.
        len: u64,
        /// What was written.
        written: u64,
    },
}

impl Facts {
    /// The page's words, if it could be read.
    #[must_use]
    pub fn snapshot(&self) -> Option<&StatusSnapshot> {
        match &self.page {
            Page::Read(snapshot) => Some(snapshot),
            Page::Missing | Page::Unreadable(_) => None,
        }
    }

    /// Whether the page ends with a clean close.
    pub(super) fn closed(&self) -> bool {
        self.snapshot().is_some_and(|page| {
            page.get(Word::ClosedAt) != 0 || page.state() == Some(WriterState::Closed)
        })
    }

    /// Whether the page was written before the machine was last started.
    pub(super) fn rebooted(&self) -> bool {
        let then = self.snapshot().map_or(0, |page| page.get(Word::BootId));
        then != 0 && self.boot_id.is_some_and(|now| now != then)
    }

    /// Compares `audit.log` with the page. While nobody writes, the inode means
    /// nothing (the directory may have been copied), and after a crash neither
    /// does the length: recovery looks into that.
    pub(super) fn active_file(&self) -> ActiveFile {
        let Some(page) = self.snapshot() else { return ActiveFile::Expected };
        let (inode, written) = (page.get(Word::ActiveInode), page.get(Word::ActiveBytes));
        let held = self.lock == Lock::Held;
        if inode == 0 || (held && (self.closed() || self.rebooted())) {
            return ActiveFile::Expected; // not open yet
        }
        match &self.active {
            Found::No => ActiveFile::Missing,
            Found::Yes(meta) if held && meta.inode != inode => ActiveFile::Replaced,
            Found::Yes(meta) if (held || self.closed()) && meta.len < written => {
                ActiveFile::Shorter { len: meta.len, written }
            }
            Found::Yes(_) | Found::Unknown(_) => ActiveFile::Expected,
        }
    }
}
