//! Pages of the manifest: runs of old segments in files of their own.
//!
//! A page's name says what is in it, so a file is never replaced by another: a manifest
//! that lists it, and its page, fit together beside a writer that stores the next. The
//! signed manifest has each page's SHA-256; one that differs is no page.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MEMBERS, ManifestError, Segment};
use crate::audit::files::restore::sha256_hex;
use crate::audit::paths::page_name;
use crate::audit::tree::document::{self, DocumentError, Kind, Layout, Unknown};
use crate::fsio::aside::set_aside;
use crate::fsio::{self, Fs};

/// A page larger than this is refused: a segment of the largest size takes a tenth of it.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// Pages that this process holds, by their log's id and their SHA-256: one that is read again
/// is compared with its SHA-256, and not parsed once more.
static HELD: LazyLock<Mutex<Held>> = LazyLock::new(Mutex::default);

type Held = HashMap<(String, String), Weak<Vec<Segment>>>;

fn hold(log_id: &str, sha256: &str, segments: &Arc<Vec<Segment>>) {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.len() >= held.capacity() {
        held.retain(|_, page| page.strong_count() > 0);
    }
    held.insert((log_id.to_owned(), sha256.to_owned()), Arc::downgrade(segments));
}

fn held(log_id: &str, sha256: &str) -> Option<Arc<Vec<Segment>>> {
    let known = (log_id.to_owned(), sha256.to_owned());
    HELD.lock().unwrap_or_else(PoisonError::into_inner).get(&known)?.upgrade()
}

/// How a manifest lists a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageEntry {
    /// File name in the log directory.
    pub file: String,
    /// The first record of its first segment.
    pub first_seq: u64,
    /// The seq after the last record of its last segment.
    pub end_seq: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// What a newer version has added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What a page's file holds.
#[derive(Deserialize)]
struct Page {
    log_id: String,
    segments: Vec<Segment>,
}

#[derive(Serialize)]
struct PageOut<'a> {
    log_id: &'a str,
    segments: &'a [Segment],
}

impl PageEntry {
    /// Stores a page; how a manifest lists it.
    ///
    /// # Errors
    /// The file operation's.
    pub(super) fn store(
        fs: &dyn Fs,
        dir: &Path,
        log_id: &str,
        segments: &Arc<Vec<Segment>>,
    ) -> io::Result<Self> {
        let out = PageOut { log_id, segments };
        let text = document::encode_file(Kind::MANIFEST_PAGE, &out, Layout::Compact)?;
        let sha256 = sha256_hex(&text);
        let first_seq = segments.first().map_or(0, |segment| segment.first_seq);
        let end_seq = segments.last().map_or(0, Segment::end_seq);
        let file = page_name(first_seq, &sha256);
        let path = dir.join(&file);
        if fs.entry(&path).is_ok_and(|there| !there.is_file) {
            set_aside(fs, &path, "page")?;
        }
        fsio::replace_file(fs, &path, &text)?;
        hold(log_id, &sha256, segments);
        Ok(Self { file, first_seq, end_seq, sha256, unknown: Unknown::default() })
    }

    fn parse(&self, text: &[u8], log_id: &str) -> Result<Arc<Vec<Segment>>, DocumentError> {
        let malformed = |what: &str| DocumentError::Malformed(format!("{}: {what}", self.file));
        if sha256_hex(text) != self.sha256 {
            return Err(malformed("it is not the page that the manifest lists"));
        }
        let is_meant = |log: &str, segments: &[Segment]| {
            let begins = segments.first().map(|segment| segment.first_seq);
            let last = segments.last();
            let ends = last.and_then(|segment| segment.first_seq.checked_add(segment.records));
            log == log_id && (begins, ends) == (Some(self.first_seq), Some(self.end_seq))
        };
        // Whose it is was looked at when it was parsed: these are the same bytes.
        let held = held(log_id, &self.sha256);
        if let Some(segments) = held.filter(|segments| is_meant(log_id, segments)) {
            return Ok(segments);
        }
        document::check_head(Kind::MANIFEST_PAGE, text)?;
        document::check_unknown(text, MEMBERS)?;
        let page: Page = document::decode_checked(text)?;
        if !is_meant(&page.log_id, &page.segments) {
            return Err(malformed("it holds other records than the manifest says"));
        }
        let segments = Arc::new(page.segments);
        hold(log_id, &self.sha256, &segments);
        Ok(segments)
    }
}

/// Why pages could not be read.
pub(super) enum PageTrouble {
    /// One is not there: a writer may have stored another manifest since.
    Missing(String),
    Failed(ManifestError),
}

/// A page, and the segments in it.
pub(super) type Listed = (PageEntry, Arc<Vec<Segment>>);

/// Reads the pages that a manifest lists.
pub(super) fn read_pages(
    fs: &dyn Fs,
    dir: &Path,
    log_id: &str,
    entries: Vec<PageEntry>,
) -> Result<Vec<Listed>, PageTrouble> {
    let read = |entry: PageEntry| {
        let path = dir.join(&entry.file);
        let invalid = |reason: String| {
            PageTrouble::Failed(ManifestError::Invalid { path: path.clone(), reason })
        };
        if page_name(entry.first_seq, &entry.sha256) != entry.file {
            return Err(invalid("it has not the name of such a page".to_owned()));
        }
        let text =
            fsio::read_text(fs, &path, MAX_PAGE_BYTES).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => PageTrouble::Missing(entry.file.clone()),
                // What stands there is no file of ours.
                io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::IsADirectory => invalid(source.to_string()),
                _ => PageTrouble::Failed(ManifestError::Io { path: path.clone(), source }),
            })?;
        let segments = entry.parse(&text, log_id).map_err(|source| {
            if source.is_newer() {
                return PageTrouble::Failed(ManifestError::Newer { path: path.clone(), source });
            }
            invalid(source.to_string())
        })?;
        Ok((entry, segments))
    };
    entries.into_par_iter().map(read).collect()
}
