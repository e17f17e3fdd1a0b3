//! The manifest: what is sealed, where each block is, and what retention removed.
//!
//! `audit.manifest.json` is replaced atomically. It is an index, signed by the
//! log's key so that nobody else's is taken for it. Opening rebuilds one that is
//! not signed, or that does not fit the files: the signed heads, not the manifest,
//! say what the log must contain.
//!
//! It is stored anew with each segment that is sealed. So that this costs the same however
//! many there are, a large one has its old segments in pages: files that are written
//! once, and whose SHA-256 stands in the signed manifest. It is then of format 2.

mod page;
mod segment;
mod segments;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ended::EndedEpoch;
use super::facts::Span;
use super::segment::Block;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::signed_document;
use crate::audit::keys::signed_document::{About, Signature, Unsigned};
use crate::audit::keys::signer::SigningKey;
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Unknown};
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::{self, Fs};
pub use page::PageEntry;
use page::{PageTrouble, read_pages};
pub use segment::Segment;
pub use segments::{InOneFile, Segments, Sums};

/// So many signed heads that were left are kept, those of the newest epochs.
pub const MAX_ABANDONED: usize = 64;
/// One of which no key at hand can say anything is kept if it is no longer than this.
const MAX_UNPROVEN_BYTES: usize = 1024;
/// A manifest larger than this is refused: about 4 million blocks.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The log's id: 32 hex digits.
    pub log_id: String,
    /// 0, or the number of times signed records were set aside.
    pub epoch: u32,
    /// Signed heads that an epoch change abandoned, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<String>,
    /// Epochs that ended with records which the next one does not have, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndedEpoch>,
    /// The tree over what retention has removed: everything before its end.
    pub pruned: Range,
    /// What the log's records say of backups of it.
    #[serde(default, skip_serializing_if = "BackupsNoted::is_nothing")]
    pub backups: BackupsNoted,
    /// The seq of the `audit.pruned` record that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_by: Option<u64>,
    /// The seq of the record that names the holes; absent where there are none, or none
    /// is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holes_by: Option<u64>,
    /// Records that an opening adopted without a signature over them, as the
    /// `audit.recovered` records name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<Span>,
    /// The size of the newest backup that an `audit.backup_made` record names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<u64>,
    /// The key that the log's keys begin with: from it `audit.keys` leads to the one that
    /// signs. The log's first record says it too, or the newest `audit.pruned` record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// No record before this one has an id. What versions sealed that knew nothing of ids
    /// need not be read for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_from: Option<u64>,
    /// The pages that hold the oldest segments: while the file is read or written. In
    /// memory [`segments`](Self::segments) has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<PageEntry>,
    /// Sealed segments, in order, without gaps.
    pub segments: Segments,
    /// What a newer version has added.
    #[serde(flatten)]
    pub unknown: Unknown,
    /// The log's key's signature over all of the above, as a signed note; see
    /// [`signed_document`].
    pub signature: Option<String>,
}

/// What the log's own records say of backups of it: so that the log knows, also when
/// no backup is in reach, that it has been backed up.
///
/// A hint that saves reading. The records are `audit.backup_made`, and `audit.pruned`
/// where it names backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupsNoted {
    /// All records below this were looked through for such a record.
    #[serde(default)]
    pub looked_to: u64,
    /// The newest such record that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// What members a manifest has, at whichever level.
const MEMBERS: &[&str] = &[
    "type",
    "format",
    "log_id",
    "epoch",
    "abandoned",
    "ended",
    "before",
    "checkpoint",
    "reason",
    "record",
    "at",
    "pruned",
    "begin",
    "end",
    "hashes",
    "backups",
    "looked_to",
    "newest",
    "pruned_by",
    "adopted",
    "backed_up",
    "first_key",
    "ids_from",
    "ids",
    "pages",
    "first_seq",
    "end_seq",
    "segments",
    "file",
    "records",
    "raw_bytes",
    "stored_bytes",
    "sha256",
    "filters_sha256",
    "columns_sha256",
    "min_timestamp",
    "max_timestamp",
    "damage",
    "holes_by",
    "hole",
    "blocks",
    "offset",
    "tree",
    "signature",
];

impl BackupsNoted {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum ManifestError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// A newer version of auditctl made it.
    #[error("{path}: {source}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        source: DocumentError,
    },
    /// It is not a manifest that this version understands, or contradicts itself.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Whether a file of the second format lists pages: without any it is another that is not known
/// here.
fn has_pages(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        pages: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice(text).is_ok_and(|Listed { pages }| !pages.is_empty())
}

impl Manifest {
    /// Of a new log.
    #[must_use]
    pub fn new(log_id: String) -> Self {
        Self {
            log_id,
            epoch: 0,
            abandoned: Vec::new(),
            ended: Vec::new(),
            pruned: Range::empty(0),
            backups: BackupsNoted::default(),
            pruned_by: None,
            holes_by: None,
            adopted: Vec::new(),
            backed_up: None,
            first_key: None,
            ids_from: None,
            pages: Vec::new(),
            segments: Segments::default(),
            unknown: Unknown::default(),
            signature: None,
        }
    }

    /// What its signature is about: the origin, by the name of the log's keys, and what
    /// is sealed or removed.
    fn about(&self, key_name: &str) -> Result<About, String> {
        let origin = Origin::of_key(key_name, &self.log_id, self.epoch)
            .map_err(|error| error.to_string())?;
        Ok(About { origin, size: self.end_seq() })
    }

    /// Signs it, as one file without pages.
    ///
    /// # Errors
    /// What keeps it from being a manifest, in words.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), String> {
        self.signature = None;
        let unsigned = self.encode().map_err(|error| error.to_string())?;
        let about = self.about(key.name())?;
        self.signature = Some(signed_document::sign(Kind::MANIFEST, &unsigned, &about, key)?);
        Ok(())
    }

    /// Signs it as it is stored; its text.
    ///
    /// # Errors
    /// What keeps it from being a manifest, in words. A page that is not
    /// [stored](Self::store_pages), for one.
    pub(crate) fn sign_as_stored(&mut self, key: &SigningKey) -> Result<Vec<u8>, String> {
        self.signature = None;
        let failed = |error: serde_json::Error| error.to_string();
        let unsigned = self.encode_as_stored().map_err(failed)?;
        let about = self.about(key.name())?;
        let signature = signed_document::sign(self.kind(), &unsigned, &about, key)?;
        self.signature = Some(signature);
        self.encode_as_stored().map_err(failed)
    }

    /// What kind of file it is as it is stored.
    fn kind(&self) -> Kind {
        match self.segments.pages() {
            0 => Kind::MANIFEST,
            _ => Kind::PAGED_MANIFEST,
        }
    }

    /// Makes pages of old segments, where there are many.
    pub(crate) fn arrange(&mut self, limits: InOneFile) {
        self.segments.arrange(limits);
    }

    /// Stores the pages that are not: [`sign_as_stored`](Self::sign_as_stored) lists them
    /// once they are [noted](Self::note_pages).
    ///
    /// # Errors
    /// [`ManifestError::Io`]. What was stored until then is nobody's yet.
    pub(crate) fn store_pages(
        &self,
        fs: &dyn Fs,
        dir: &Path,
    ) -> Result<StoredPages, ManifestError> {
        let store = |(nth, segments): (usize, Arc<Vec<Segment>>)| {
            let entry = PageEntry::store(fs, dir, &self.log_id, &segments);
            let entry =
                entry.map_err(|source| ManifestError::Io { path: dir.to_path_buf(), source });
            Ok((nth, segments, entry?))
        };
        self.segments.unstored().into_iter().map(store).collect::<Result<_, _>>().map(StoredPages)
    }

    /// Notes which pages are stored now.
    pub(crate) fn note_pages(&mut self, stored: StoredPages) {
        for (nth, segments, entry) in stored.0 {
            self.segments.stored((nth, &segments), entry);
        }
    }

    /// Arranges, signs and stores it, its pages first.
    ///
    /// # Errors
    /// [`ManifestError`]; the old one is then still there.
    pub(crate) fn store_signed(
        &mut self,
        fs: &dyn Fs,
        path: &Path,
        key: Option<&SigningKey>,
        limits: InOneFile,
    ) -> Result<(), ManifestError> {
        self.arrange(limits);
        let dir = path.parent().unwrap_or(Path::new("."));
        let stored = self.store_pages(fs, dir)?;
        self.note_pages(stored);
        let invalid = |reason| ManifestError::Invalid { path: path.to_path_buf(), reason };
        let text = match key {
            Some(key) => self.sign_as_stored(key).map_err(invalid)?,
            None => {
                self.signature = None;
                self.encode_as_stored().map_err(|error| invalid(error.to_string()))?
            }
        };
        let failed = |source| ManifestError::Io { path: path.to_path_buf(), source };
        fsio::replace_file(fs, path, &text).map_err(failed)
    }

    /// Whether one of the log's keys signed it, where that key was valid. `signature` is
    /// that of the file that it was read from.
    ///
    /// # Errors
    /// [`Unsigned`], which says why it proves nothing.
    pub fn check_signature(&self, signature: &Signature, keys: &Keyring) -> Result<(), Unsigned> {
        let about = self.about(keys.newest().name()).map_err(Unsigned::Wrong)?;
        signature.check(self.kind(), &about, keys)
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// [`ManifestError::Newer`] for a newer format, [`ManifestError::Invalid`] for what
    /// is no manifest, or one whose segments and blocks do not follow each other.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, ManifestError> {
        Ok(Self::load_signed(fs, path)?.map(|(manifest, _)| manifest))
    }

    /// The same, with the file's signature.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_signed(
        fs: &dyn Fs,
        path: &Path,
    ) -> Result<Option<(Self, Signature)>, ManifestError> {
        let read = || match fsio::read_text(fs, path, MAX_BYTES) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ManifestError::Io { path: path.to_path_buf(), source }),
        };
        let Some(mut text) = read()? else { return Ok(None) };
        let failed = |source: DocumentError| {
            let path = path.to_path_buf();
            if source.is_newer() {
                return ManifestError::Newer { path, source };
            }
            ManifestError::Invalid { path, reason: source.to_string() }
        };
        loop {
            let mut manifest = Self::parse_file(&text).map_err(failed)?;
            match manifest.read_pages(fs, path) {
                Ok(()) => {}
                Err(PageTrouble::Failed(error)) => return Err(error),
                // Another one may be stored by now, with pages of its own.
                Err(PageTrouble::Missing(page)) => {
                    let Some(now) = read()? else { return Ok(None) };
                    if now == text {
                        let reason = format!("its page {page} is missing");
                        return Err(ManifestError::Invalid { path: path.to_path_buf(), reason });
                    }
                    text = now;
                    continue;
                }
            }
            let signature = Signature::read(&text).map_err(failed)?;
            return Ok(Some((manifest, signature)));
        }
    }

    fn read_pages(&mut self, fs: &dyn Fs, path: &Path) -> Result<(), PageTrouble> {
        let entries = std::mem::take(&mut self.pages);
        if !entries.is_empty() {
            let dir = path.parent().unwrap_or(Path::new("."));
            let pages = read_pages(fs, dir, &self.log_id, entries)?;
            let newest = std::mem::take(self.segments.all_mut());
            self.segments = Segments::of_pages(pages, newest, self.pruned.end());
        }
        let path = path.to_path_buf();
        self.check().map_err(|reason| PageTrouble::Failed(ManifestError::Invalid { path, reason }))
    }

    /// Reads the text of a manifest that has no pages; believes no number in it that
    /// contradicts another.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let manifest = Self::parse_file(text)?;
        if !manifest.pages.is_empty() {
            let reason = "its pages stand in files of their own";
            return Err(DocumentError::Malformed(reason.to_owned()));
        }
        manifest.check().map_err(DocumentError::Malformed)?;
        Ok(manifest)
    }

    /// What stands in the file itself.
    fn parse_file(text: &[u8]) -> Result<Self, DocumentError> {
        let is_paged = match document::check_head(Kind::MANIFEST, text) {
            Ok(()) => false,
            Err(newer @ DocumentError::Newer { .. }) => {
                document::check_head(Kind::PAGED_MANIFEST, text)?;
                if !has_pages(text) {
                    return Err(newer);
                }
                true
            }
            Err(error) => return Err(error),
        };
        document::check_unknown(text, MEMBERS)?;
        let mut manifest: Self = document::decode_checked(text)?;
        if !is_paged && !manifest.pages.is_empty() {
            let reason = "it has pages, and is not of the format that has them";
            return Err(DocumentError::Malformed(reason.to_owned()));
        }
        manifest.unknown = manifest.unknown.without_head();
        let follow = |two: &[PageEntry]| two[0].end_seq == two[1].first_seq;
        if !manifest.pages.windows(2).all(follow) {
            return Err(DocumentError::Malformed("its pages do not follow each other".to_owned()));
        }
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.pruned.begin() != 0 {
            return Err("the removed range does not begin at 0".to_owned());
        }
        let (mut next, mut stored) = (self.pruned.end(), 0_u64);
        for segment in &self.segments {
            if segment.first_seq != next {
                return Err(format!("records {next} to {} are in no segment", segment.first_seq));
            }
            segment.check()?;
            next = segment.end_seq();
            stored = stored.checked_add(segment.stored_bytes).ok_or("sizes overflow")?;
        }
        Ok(())
    }

    /// Replaces the file atomically and durably, as one file without pages.
    ///
    /// # Errors
    /// [`ManifestError::Io`]; the old file is then still there.
    pub fn store(&self, fs: &dyn Fs, path: &Path) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Io { path: path.to_path_buf(), source };
        let text = self.encode().map_err(|error| failed(error.into()))?;
        fsio::replace_file(fs, path, &text).map_err(failed)
    }

    /// The file's content, without pages.
    ///
    /// # Errors
    /// None that this struct can bring about.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        document::encode_file(Kind::MANIFEST, self, document::Layout::Compact)
    }

    /// The file's content, where its pages are stored.
    ///
    /// # Errors
    /// A page is not stored.
    pub(crate) fn encode_as_stored(&self) -> serde_json::Result<Vec<u8>> {
        if self.segments.pages() == 0 {
            return self.encode();
        }
        if !self.segments.are_stored() {
            return Err(serde::ser::Error::custom("a page of the manifest is not stored"));
        }
        let file = Self {
            pages: self.segments.entries().cloned().collect(),
            segments: self.segments.newest().to_vec().into(),
            ..self.clone()
        };
        document::encode_file(Kind::PAGED_MANIFEST, &file, document::Layout::Compact)
    }

    /// Notes signed heads that later epochs do not continue: each once, in the order of
    /// their places; of many, the newest. Other signatures under them than the log's are
    /// not kept: whoever keeps copies of a head can add to it as he likes.
    pub fn abandon(&mut self, notes: impl IntoIterator<Item = String>, keys: &Keyring) {
        let own = |text: String| match SignedCheckpoint::parse(text.as_bytes()) {
            Ok(note) => match keys.verify(&note) {
                Ok((_, key)) => Some(note.only_by(key).to_string()),
                Err(_) => Some(text).filter(|text| text.len() <= MAX_UNPROVEN_BYTES),
            },
            Err(_) => Some(text).filter(|text| text.len() <= MAX_UNPROVEN_BYTES),
        };
        self.abandoned.extend(notes.into_iter().filter_map(own));
        self.abandoned.sort_by_cached_key(|note| (place_of(note), note.clone()));
        self.abandoned.dedup();
        let more = self.abandoned.len().saturating_sub(MAX_ABANDONED);
        self.abandoned.drain(..more);
    }

    /// The tree over everything sealed or removed, from seq 0.
    ///
    /// # Errors
    /// When ranges are not adjacent, which [`load`](Self::load) has ruled out.
    pub fn tree(&self) -> Result<Range, ManifestError> {
        let mut tree = self.pruned.clone();
        for block in self.segments.iter().flat_map(|segment| &segment.blocks) {
            tree.extend(&block.tree).map_err(|error| ManifestError::Invalid {
                path: PathBuf::from("audit.manifest.json"),
                reason: error.to_string(),
            })?;
        }
        Ok(tree)
    }

    /// The runs of records that are not here, though retention did not remove them.
    pub fn holes(&self) -> impl Iterator<Item = (&Segment, &Block)> {
        let of = |segment| Segment::holes(segment).map(move |hole| (segment, hole));
        self.segments.iter().flat_map(of)
    }

    /// The seq after the last sealed record.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.segments.last().map_or(self.pruned.end(), Segment::end_seq)
    }

    /// The first record of the last sealed segment.
    pub(crate) fn last_first_seq(&self) -> u64 {
        self.segments.last().map_or(self.pruned.end(), |segment| segment.first_seq)
    }

    /// The time of the oldest record that is sealed and still there.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.segments.first().map(|segment| segment.min_timestamp)
    }

    /// Bytes of all sealed segments as stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.segments.sums().stored_bytes
    }
}

/// Pages that were stored, to be [noted](Manifest::note_pages).
#[derive(Debug)]
pub(crate) struct StoredPages(Vec<(usize, Arc<Vec<Segment>>, PageEntry)>);

fn place_of(note: &str) -> Option<(u32, u64)> {
    let note = SignedCheckpoint::parse(note.as_bytes()).ok()?;
    let checkpoint = note.unverified();
    let origin: Origin = checkpoint.origin.parse().ok()?;
    Some((origin.epoch(), checkpoint.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_backups_is_read_again_and_nothing_is_written_of_none() {
        let none = Manifest::new("5f0c".to_owned());
        let text = none.encode().expect("a text");
        assert!(memchr::memmem::find(&text, b"backups").is_none());
        assert_eq!(Manifest::parse(&text).expect("a manifest").backups, none.backups);
        for (looked_to, newest) in [(40, None), (0, Some(17)), (40, Some(17))] {
            let backups = BackupsNoted { looked_to, newest };
            let manifest = Manifest { backups: backups.clone(), ..none.clone() };
            let text = manifest.encode().expect("a text");
            assert_eq!(Manifest::parse(&text).expect("a manifest").backups, backups);
        }
    }
}
