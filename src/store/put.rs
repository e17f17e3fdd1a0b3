//! What is put into a store, and the state of an upload that was interrupted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::{StoreError, StoreErrorKind};
use super::object::{Digests, Lock};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::fsio::{Fs, FsFile, OpenMode, OsFs};

/// The bytes of a new object.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A file, with what was computed while it was written. What is read from it
    /// is compared with that: a file that changed is not uploaded.
    File {
        /// Where it is.
        path: &'a Path,
        /// What it holds.
        digests: &'a Digests,
    },
    /// Bytes in memory.
    Bytes(&'a [u8]),
}

impl Body<'_> {
    /// Length and checksums.
    #[must_use]
    pub fn digests(&self) -> Cow<'_, Digests> {
        match self {
            Self::File { digests, .. } => Cow::Borrowed(digests),
            Self::Bytes(bytes) => Cow::Owned(Digests::of(bytes)),
        }
    }

    /// Opens it for reading at any offset, by several at once.
    ///
    /// # Errors
    /// [`StoreErrorKind::LocalFile`] when it cannot be opened or has another length.
    pub(crate) fn open(&self) -> Result<Content, StoreError> {
        let Self::File { path, digests } = self else {
            let Self::Bytes(bytes) = self else { return Ok(Content::Bytes(Bytes::new())) };
            return Ok(Content::Bytes(Bytes::copy_from_slice(bytes)));
        };
        let failed = |error: &std::io::Error| {
            let shown = path.display().to_string();
            StoreError::new(StoreErrorKind::LocalFile, shown, "cannot be read").caused_by(error)
        };
        let file = OsFs.open(path, OpenMode::ReadOwn).map_err(|error| failed(&error))?;
        let length = file.meta().map_err(|error| failed(&error))?.len;
        if length != digests.bytes {
            let message = format!("has {length} bytes, and should have {}", digests.bytes);
            let shown = path.display().to_string();
            return Err(StoreError::new(StoreErrorKind::LocalFile, shown, message)
                .hint("the file changed after it was made; make the backup again"));
        }
        Ok(Content::File(Arc::from(file)))
    }
}

/// An opened [`Body`].
#[derive(Clone, Debug)]
pub(crate) enum Content {
    File(Arc<dyn FsFile>),
    Bytes(Bytes),
}

impl Content {
    /// The bytes from `at` on, `length` of them.
    pub(crate) fn read(&self, at: u64, length: usize) -> std::io::Result<Bytes> {
        match self {
            Self::File(file) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }
            Self::Bytes(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(length).min(bytes.len());
                Ok(bytes.slice(start..end))
            }
        }
    }

    /// The bytes from `from` on, `length` of them, piece by piece.
    pub(crate) fn for_each(
        &self,
        from: u64,
        length: u64,
        mut see: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const PIECE: u64 = 1 << 20;
        let (mut at, end) = (from, from + length);
        while at < end {
            let piece = (end - at).min(PIECE);
            let bytes = self.read(at, piece as usize).map_err(|error| {
                StoreError::new(StoreErrorKind::LocalFile, "the file", "cannot be read")
                    .caused_by(&error)
            })?;
            see(&bytes)?;
            at += piece;
        }
        Ok(())
    }
}

/// A new object, and who wants to know how it goes.
pub struct Put<'a> {
    /// Its bytes.
    pub body: Body<'a>,
    /// Its media type. Never a content encoding: stores would unpack it.
    pub content_type: &'static str,
    /// What to keep with it. Names of lower-case letters, digits and `_`, which
    /// all providers can hold; printable ASCII values.
    pub metadata: BTreeMap<String, String>,
    /// For how long it is to be kept unchangeable. Not applied is an error.
    pub lock: Option<Lock>,
    /// Where an earlier upload of the same bytes got to. Anything else's state is
    /// ignored.
    pub resume: Option<UploadState>,
    /// Told whenever the store has a further part: to be kept for `resume`.
    pub on_state: Option<&'a mut dyn FnMut(&UploadState)>,
    /// Told how many bytes are on their way, about ten times a second.
    pub on_progress: Option<&'a dyn Fn(u64)>,
    /// Asked about ten times a second whether to stop; the state stays good for
    /// `resume`.
    pub interrupted: Option<&'a dyn Fn() -> bool>,
    /// Whether to ask first if the name is taken, which saves sending what is there. Without it,
    /// the condition that goes with the upload tells: one request less, and no permission to
    /// look at what is not there.
    pub looks_first: bool,
}

impl<'a> Put<'a> {
    /// Just these bytes, of this media type.
    #[must_use]
    pub fn new(body: Body<'a>, content_type: &'static str) -> Self {
        Self {
            body,
            content_type,
            metadata: BTreeMap::new(),
            lock: None,
            resume: None,
            on_state: None,
            on_progress: None,
            interrupted: None,
            looks_first: true,
        }
    }

    /// Whether it is to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_some_and(|asked| asked())
    }

    pub(crate) fn tell_state(&mut self, state: &UploadState) {
        if let Some(tell) = self.on_state.as_mut() {
            tell(state);
        }
    }

    pub(crate) fn tell_progress(&self, bytes: u64) {
        if let Some(tell) = self.on_progress {
            tell(bytes);
        }
    }

    /// The metadata with the content's SHA-256, and whether all providers can hold it.
    pub(crate) fn full_metadata(&self, url: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        for (name, value) in &self.metadata {
            let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(named)
                && value.chars().all(|c| matches!(c, ' '..='~'))
                && value.trim() == value;
            if !fine {
                let message = format!("\"{}\" cannot be kept as metadata", name.escape_debug());
                return Err(StoreError::new(StoreErrorKind::Unsupported, url, message)
                    .hint("names of a-z, 0-9 and _; values of printable ASCII"));
            }
        }
        let mut metadata = self.metadata.clone();
        metadata.insert(SHA256.to_owned(), self.body.digests().sha256_hex());
        Ok(metadata)
    }
}

/// The metadata under which every object carries its content's SHA-256, in
/// hexadecimal, for people and tools that have nothing but the object.
pub const SHA256: &str = "sha256";

impl fmt::Debug for Put<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("body", &self.body)
            .field("content_type", &self.content_type)
            .field("metadata", &self.metadata)
            .field("lock", &self.lock)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

/// How far an upload got. Serializable, to be kept (in a file of mode 0600: the
/// session can be as good as a password) until the next run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// Where to.
    pub url: String,
    /// SHA-256 of the whole, hexadecimal.
    pub sha256: String,
    /// Length of the whole.
    pub bytes: u64,
    /// What the provider knows the upload by: an upload id, a session URL.
    pub session: String,
    /// Length of each part but the last.
    pub part_bytes: u64,
    /// How many bytes the store has said to have.
    pub stored: u64,
    /// When it was begun.
    pub started: Timestamp,
}

impl fmt::Debug for UploadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadState")
            .field("url", &self.url)
            .field("sha256", &self.sha256)
            .field("bytes", &self.bytes)
            .field("session", &"(hidden)")
            .field("part_bytes", &self.part_bytes)
            .field("stored", &self.stored)
            .field("started", &self.started)
            .finish()
    }
}

impl UploadState {
    /// Providers forget an unfinished upload after a week; one this old is not
    /// resumed, so that it does not end in the middle.
    const RESUMABLE_SECONDS: i64 = 6 * 86_400;

    pub(crate) fn begun(url: &str, digests: &Digests, session: String, part_bytes: u64) -> Self {
        Self {
            url: url.to_owned(),
            sha256: digests.sha256_hex(),
            bytes: digests.bytes,
            session,
            part_bytes,
            stored: 0,
            started: SystemClock.now(),
        }
    }

    /// Whether it is an upload of these bytes to this place that can still be
    /// gone on with, in no more than `most` parts.
    pub(crate) fn is_for(&self, url: &str, digests: &Digests, most: u64) -> bool {
        let age = SystemClock.now().unix_seconds() - self.started.unix_seconds();
        self.url == url
            && self.sha256 == digests.sha256_hex()
            && self.bytes == digests.bytes
            && self.part_bytes > 0
            && self.bytes.div_ceil(self.part_bytes) <= most
            && (0..Self::RESUMABLE_SECONDS).contains(&age)
    }
}
