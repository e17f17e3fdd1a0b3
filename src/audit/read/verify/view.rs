//! The log's files as they fit together at one moment, beside a running writer.
//!
//! The checkpoint is read first: all that it covers is durable, so the files that
//! are looked at afterwards must hold it. A writer that seals in between makes
//! them seem not to fit; then it is looked again. What still does not fit is
//! taken as it is, and told.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::VerifyError;
use crate::audit::files::manifest::{Manifest, ManifestError, Segment};
use crate::audit::files::restore;
use crate::audit::keys::checkpoint::note::MAX_PUBLIC_KEYS_BYTES;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::signed_document::Signature;
use crate::audit::keys::{KeyHistory, KeysError};
use crate::audit::paths::LogPaths;
use crate::audit::paths::{parse_sealed_name, sealed_name};
use crate::audit::record::peek_seq;
use crate::fsio::{FileReader, FsFile, OpenMode, SharedFs};

/// A rotation takes the writer a moment; looking again so often outlasts it.
const LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MAX_CHECKPOINT_BYTES: u64 = MAX_NOTE_BYTES as u64;
const ACTIVE: &str = "audit.log";

/// A file of records that the manifest does not list: the active segment, what was
/// sealed a moment ago, or everything when there is no usable manifest.
#[derive(Debug)]
pub(in crate::audit) struct Tail {
    pub(in crate::audit) name: String,
    pub(in crate::audit) file: Box<dyn FsFile>,
    pub(in crate::audit) length: u64,
}

impl Tail {
    pub(in crate::audit) fn is_compressed(&self) -> bool {
        self.name.ends_with(".gz")
    }
}

/// Where a sealed segment is.
#[derive(Debug)]
pub(in crate::audit) enum Stored {
    /// Its file, and the segment as it is there now: the same records, perhaps
    /// compressed since.
    Here(Box<dyn FsFile>, Box<Segment>),
    /// Retention has removed it meanwhile.
    Removed,
    /// It is not there.
    Missing,
}

/// The log's files.
#[derive(Debug)]
pub(in crate::audit) struct View {
    pub(in crate::audit) fs: SharedFs,
    pub(in crate::audit) paths: LogPaths,
    /// Whether a writer holds the lock.
    pub(in crate::audit) live: bool,
    /// `audit.checkpoint`, whatever it holds.
    pub(in crate::audit) note: Option<Vec<u8>>,
    /// `audit.head`, whatever it holds.
    pub(in crate::audit) head: Option<Vec<u8>>,
    /// `audit.pub`, read after the checkpoint, or why not.
    pub(in crate::audit) public: Result<Vec<u8>, String>,
    /// `audit.keys`, read after `audit.pub`.
    pub(in crate::audit) keys: Result<Option<KeyHistory>, String>,
    pub(in crate::audit) manifest: Manifest,
    /// Why the manifest is not the stored one.
    pub(in crate::audit) no_manifest: Option<String>,
    /// Its file's signature.
    pub(in crate::audit) signature: Option<Signature>,
    /// In the order of their records.
    pub(in crate::audit) tails: Vec<Tail>,
    /// Names of sealed segments that belong nowhere.
    pub(in crate::audit) strays: Vec<String>,
}

impl View {
    /// # Errors
    /// No log, an interrupted restore, or a file that cannot be read.
    pub(in crate::audit) fn take(fs: &SharedFs, dir: &Path) -> Result<Self, VerifyError> {
        let paths = LogPaths::new(dir);
        for look in 1.. {
            if restore::is_pending(&**fs, &paths) {
                return Err(VerifyError::RestorePending { dir: dir.to_path_buf() });
            }
            let live = paths.writer_runs().unwrap_or(false);
            let view = Self::look(fs, &paths, live);
            let fits = match &view {
                Ok(view) => view.fits(),
                Err(VerifyError::Io { .. }) => false,
                Err(_) => true,
            };
            // What a writer that came, or came and went, has changed meanwhile does
            // not fit together either.
            let disturbed = match &view {
                Ok(view) if !live => view.was_disturbed(),
                _ => false,
            };
            if (fits || !live) && !disturbed || look == LOOKS {
                return view;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(VerifyError::NoLog { dir: dir.to_path_buf() })
    }

    fn look(fs: &SharedFs, paths: &LogPaths, live: bool) -> Result<Self, VerifyError> {
        let note = match fs.read_own(&paths.checkpoint(), MAX_CHECKPOINT_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Larger than any checkpoint, or no file: no checkpoint either.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(Vec::new()),
            Err(source) => return Err(VerifyError::io("read", &paths.checkpoint(), source)),
        };
        // One that cannot be read is one that proves nothing.
        let head = match fs.read_own(&paths.head(), MAX_CHECKPOINT_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(Vec::new()),
        };
        // In the opposite order to that in which a rotation of the key stores them.
        let public = fs
            .read_own(&paths.public_key(), MAX_PUBLIC_KEYS_BYTES as u64)
            .map_err(|error| error.to_string());
        let keys = match KeyHistory::load(&**fs, paths) {
            Ok(keys) => Ok(keys),
            Err(KeysError::Io { path, source }) => {
                return Err(VerifyError::io("read", &path, source));
            }
            Err(error @ KeysError::Newer { .. }) => return Err(error.into()),
            Err(KeysError::Invalid { reason, .. }) => Err(reason),
            Err(error) => Err(error.to_string()),
        };
        let mut signature = None;
        let (manifest, no_manifest) = match Manifest::load_signed(&**fs, &paths.manifest()) {
            Ok(Some((manifest, found))) => {
                signature = Some(found);
                (manifest, None)
            }
            Ok(None) => (from_note([&note, &head], &public), Some("it is missing".to_owned())),
            Err(ManifestError::Io { path, source })
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                return Err(VerifyError::io("read", &path, source));
            }
            Err(error @ ManifestError::Newer { .. }) => return Err(error.into()),
            Err(error) => (from_note([&note, &head], &public), Some(error.to_string())),
        };
        let mut view = Self {
            fs: fs.clone(),
            paths: paths.clone(),
            live,
            note,
            head,
            public,
            keys,
            manifest,
            no_manifest,
            signature,
            tails: Vec::new(),
            strays: Vec::new(),
        };
        view.gather()?;
        let notes = view.note.is_some() || view.head.is_some();
        let nothing = view.tails.is_empty() && !notes && view.strays.is_empty();
        if view.no_manifest.as_deref() == Some("it is missing") && nothing {
            return Err(VerifyError::NoLog { dir: paths.dir.clone() });
        }
        Ok(view)
    }

    fn gather(&mut self) -> Result<(), VerifyError> {
        let dir = &self.paths.dir;
        let mut names = match self.fs.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VerifyError::NoLog { dir: dir.clone() });
            }
            Err(source) => return Err(VerifyError::io("list", dir, source)),
        };
        names.sort_unstable();
        let sealed: Vec<(u64, bool)> =
            names.iter().filter_map(|name| parse_sealed_name(name)).collect();
        if self.no_manifest.is_some() {
            // The plain file is removed only once the packed one is whole.
            for (seq, packed) in &sealed {
                if !packed || !sealed.contains(&(*seq, false)) {
                    self.tail(sealed_name(*seq, *packed))?;
                }
            }
        } else {
            let mut next = self.manifest.end_seq();
            let end = next;
            for (seq, packed) in sealed.iter().filter(|(seq, _)| *seq >= end) {
                let name = sealed_name(*seq, *packed);
                if *packed || *seq != next {
                    self.strays.push(name);
                    continue;
                }
                let before = self.tails.len();
                self.tail(name)?;
                next += self.tails.get(before).map_or(0, count_lines);
            }
        }
        self.tail(ACTIVE.to_owned())
    }

    fn tail(&mut self, name: String) -> Result<(), VerifyError> {
        let path = self.paths.dir.join(&name);
        let file = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if is_not_there(&error) => return Ok(()),
            Err(source) => return Err(VerifyError::io("open", &path, source)),
        };
        let length = file.meta().map_err(|source| VerifyError::io("look at", &path, source))?.len;
        self.tails.push(Tail { name, file, length });
        Ok(())
    }

    /// Whether somebody has written since the checkpoint was read.
    fn was_disturbed(&self) -> bool {
        let now = self.fs.read_own(&self.paths.checkpoint(), MAX_CHECKPOINT_BYTES).ok();
        let head = self.fs.read_own(&self.paths.head(), MAX_CHECKPOINT_BYTES).ok();
        now != self.note
            || head.is_some_and(|head| Some(head) != self.head)
            || self.paths.writer_runs().unwrap_or(false)
    }

    /// Whether the files follow each other, as far as their beginnings tell.
    fn fits(&self) -> bool {
        let size = |note: &Vec<u8>| {
            SignedCheckpoint::parse(note).map_or(0, |signed| signed.unverified().size)
        };
        let signed = [&self.note, &self.head].into_iter().flatten().map(size).max().unwrap_or(0);
        let mut next = self.manifest.end_seq();
        for tail in self.tails.iter().filter(|tail| tail.length > 0) {
            if first_seq(tail) != Some(next) {
                return false;
            }
            if tail.name == ACTIVE || tail.is_compressed() {
                return self.strays.is_empty();
            }
            next += count_lines(tail);
        }
        next >= signed && self.strays.is_empty()
    }

    /// Why a file is not there, in words.
    pub(in crate::audit) fn absence(&self, name: &str) -> &'static str {
        match self.fs.entry(&self.paths.dir.join(name)) {
            Ok(entry) if !entry.is_file => {
                "it is no regular file: something else was put in its place"
            }
            _ => "the file is not there",
        }
    }

    /// A segment's file, wherever it is by now.
    pub(in crate::audit) fn open_segment(&self, segment: &Segment) -> Result<Stored, VerifyError> {
        let mut segment = segment.clone();
        for _ in 0..LOOKS {
            let path = self.paths.dir.join(&segment.file);
            match self.fs.open(&path, OpenMode::ReadOwn) {
                Ok(file) => return Ok(Stored::Here(file, Box::new(segment))),
                // Something else is under its name.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Ok(Stored::Missing);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(VerifyError::io("open", &path, source)),
            }
            let Ok(Some(now)) = Manifest::load(&*self.fs, &self.paths.manifest()) else {
                return Ok(Stored::Missing);
            };
            if now.pruned.end() > segment.first_seq {
                return Ok(Stored::Removed);
            }
            match now.segments.into_iter().find(|s| s.first_seq == segment.first_seq) {
                Some(now) if now.file != segment.file => segment = now,
                _ => return Ok(Stored::Missing),
            }
        }
        Ok(Stored::Missing)
    }
}

/// A directory, a FIFO or a link in a file's place is no file either.
fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

/// What a log without a manifest is, by its signed heads' word, or else by the name of its
/// public key.
fn from_note(notes: [&Option<Vec<u8>>; 2], public: &Result<Vec<u8>, String>) -> Manifest {
    let heads = notes.into_iter().flatten().filter_map(|note| SignedCheckpoint::parse(note).ok());
    let mut origins = heads.filter_map(|head| head.unverified().origin.parse::<Origin>().ok());
    let key = public.as_ref().ok().and_then(|text| std::str::from_utf8(text).ok());
    let key = key.and_then(|text| VerifierKey::parse_file(text).ok());
    let by_key = || key.and_then(|key| key.name().parse::<Origin>().ok());
    let mut manifest = Manifest::new(String::new());
    if let Some(origin) = origins.next().or_else(by_key) {
        manifest.log_id = origin.log_id().to_owned();
        manifest.epoch = origin.epoch();
    }
    manifest
}

fn first_seq(tail: &Tail) -> Option<u64> {
    let mut start = [0; 64];
    let read = tail.file.read_at(&mut start, 0).ok()?;
    peek_seq(&start[..read])
}

/// Lines of a file that was sealed a moment ago; one that cannot be read has none.
fn count_lines(tail: &Tail) -> u64 {
    let mut reader = FileReader { file: &*tail.file, offset: 0 };
    let mut buffer = vec![0; 256 << 10];
    let mut lines = 0;
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
    lines
}
