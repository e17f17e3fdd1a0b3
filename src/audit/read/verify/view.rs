//! The log's files as they fit together at one moment, beside a running writer.
//!
//! The checkpoint is read first: all that it covers is durable, so the files that
//! are looked at afterwards must hold it. A writer that seals in between makes
//! them seem not to fit; then it is looked again. What still does not fit is
//! taken as it is, and told.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::audit::files::manifest::{Manifest, ManifestError, Segment};
use crate::audit::keys::checkpoint::note::MAX_PUBLIC_KEYS_BYTES;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::signed_document::Signature;
use crate::audit::keys::{KeyHistory, KeysError};
use crate::audit::paths::{ACTIVE, sealed_name};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::{LogView, Look, Stored, Tail};
use crate::fsio::SharedFs;

/// The log's files.
#[derive(Debug)]
pub(in crate::audit) struct View {
    pub(in crate::audit) log: LogView,
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
    pub(in crate::audit) fn take(fs: &SharedFs, dir: &Path) -> Result<Self, ReadError> {
        let log = LogView::new(fs, dir);
        log.settled(|| {
            let live = log.is_live();
            let view = Self::look(&log, live);
            let fits = match &view {
                Ok(view) => view.fits(),
                Err(ReadError::Io { .. }) => false,
                Err(_) => true,
            };
            // What a writer that came, or came and went, has changed meanwhile does
            // not fit together either.
            let disturbed = match &view {
                Ok(view) if !live => view.was_disturbed(),
                _ => false,
            };
            if (fits || !live) && !disturbed { Look::Settled(view) } else { Look::Moving(view) }
        })
    }

    fn look(log: &LogView, live: bool) -> Result<Self, ReadError> {
        let LogView { fs, paths } = log;
        let note = match log.note() {
            Ok(note) => note,
            // Larger than any checkpoint, or no file: no checkpoint either.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(Vec::new()),
            Err(source) => return Err(ReadError::io("read", &paths.checkpoint(), source)),
        };
        // One that cannot be read is one that proves nothing.
        let head = log.head().unwrap_or_else(|_| Some(Vec::new()));
        // In the opposite order to that in which a rotation of the key stores them.
        let public = fs
            .read_own(&paths.public_key(), MAX_PUBLIC_KEYS_BYTES as u64)
            .map_err(|error| error.to_string());
        let keys = match KeyHistory::load(&**fs, paths) {
            Ok(keys) => Ok(keys),
            Err(KeysError::Io { path, source }) => {
                return Err(ReadError::io("read", &path, source));
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
                return Err(ReadError::io("read", &path, source));
            }
            Err(error @ ManifestError::Newer { .. }) => return Err(error.into()),
            Err(error) => (from_note([&note, &head], &public), Some(error.to_string())),
        };
        let mut view = Self {
            log: log.clone(),
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
            return Err(log.no_log("audit.manifest.json"));
        }
        Ok(view)
    }

    fn gather(&mut self) -> Result<(), ReadError> {
        let sealed = self.log.sealed_names()?;
        if self.no_manifest.is_some() {
            // The plain file is removed only once the packed one is whole.
            for (seq, packed) in &sealed {
                if !packed || !sealed.contains(&(*seq, false)) {
                    self.tails.extend(self.log.tail(sealed_name(*seq, *packed))?);
                }
            }
        } else {
            let mut next = self.manifest.end_seq();
            for (seq, packed) in sealed.range((next, false)..) {
                let name = sealed_name(*seq, *packed);
                if *packed || *seq != next {
                    self.strays.push(name);
                    continue;
                }
                let tail = self.log.tail(name)?;
                next = tail.as_ref().and_then(|tail| Some(tail.seqs.as_ref()?.end)).unwrap_or(next);
                self.tails.extend(tail);
            }
        }
        self.tails.extend(self.log.tail(ACTIVE.to_owned())?);
        Ok(())
    }

    /// Whether somebody has written since the checkpoint was read.
    fn was_disturbed(&self) -> bool {
        self.log.note().ok().flatten() != self.note
            || self.log.head().is_ok_and(|head| head.is_some() && head != self.head)
            || self.log.is_live()
    }

    /// Whether the files follow each other, as far as their beginnings tell.
    fn fits(&self) -> bool {
        let size = |note: &Vec<u8>| {
            SignedCheckpoint::parse(note).map_or(0, |signed| signed.unverified().size)
        };
        let signed = [&self.note, &self.head].into_iter().flatten().map(size).max().unwrap_or(0);
        let mut next = self.manifest.end_seq();
        for tail in self.tails.iter().filter(|tail| tail.length > 0) {
            let Some(seqs) = tail.seqs.as_ref().filter(|seqs| seqs.start == next) else {
                return false;
            };
            if tail.is_active() {
                return self.strays.is_empty();
            }
            next = seqs.end;
        }
        next >= signed && self.strays.is_empty()
    }

    /// Why a file is not there, in words.
    pub(in crate::audit) fn absence(&self, name: &str) -> &'static str {
        match self.log.fs.entry(&self.log.paths.dir.join(name)) {
            Ok(entry) if !entry.is_file => {
                "it is no regular file: something else was put in its place"
            }
            _ => "the file is not there",
        }
    }

    /// A segment's file, wherever it is by now.
    pub(in crate::audit) fn open_segment(&self, segment: &Segment) -> Result<Stored, ReadError> {
        self.log.segment(segment, || Ok(self.log.manifest().ok().map(Arc::new)))
    }
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
