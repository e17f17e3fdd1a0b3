//! Whether the manifest and the sealed segments are the files that were written.
//!
//! Names, sizes and times only, a few segments a look, all of them within a
//! minute; what is in them is for `verify`. A file whose identity has changed is
//! read once: an equal one may have been put there from a copy.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Thread;
use crate::audit::files::digest::digest;
use crate::audit::files::manifest::{PageEntry, Segment};
use crate::audit::state::status::Word;
use crate::audit::tree::merkle::Hash;
use crate::audit::write::own_files::{Identity, Incident, OwnFile, Patience};
use crate::fsio::aside::set_aside;
use crate::fsio::{Fs, OpenMode};

/// So often; each time so many segments that all have their turn within a minute.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TURNS: usize = 200;
const AT_LEAST: usize = 8;

/// What was seen, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Looks {
    looked: Option<Instant>,
    /// SHA-256 of the manifest's file, and of the one that is being written.
    manifest: Option<[u8; 32]>,
    next_manifest: Option<[u8; 32]>,
    manifest_seen: Option<Identity>,
    manifest_gone: bool,
    security_gone: bool,
    patience: Patience,
    /// The next of the manifest's pages to look at, and what was seen of each.
    page: usize,
    pages: HashMap<String, Identity>,
    /// The next segment to look at, by its place in the manifest.
    place: usize,
    known: HashMap<String, Identity>,
    /// The first record of each segment that is missing or another.
    gone: BTreeMap<u64, String>,
}

impl Looks {
    /// The manifest is about to hold this; until [`wrote`](Self::wrote), either.
    pub(super) fn writes(&mut self, text: &[u8]) {
        self.next_manifest = Some(Sha256::digest(text).into());
        self.manifest_seen = None;
    }

    /// A sealed segment was just put there: it is known from now on, not only from
    /// the next look on.
    pub(super) fn made(&mut self, fs: &dyn Fs, path: &Path) {
        if let (Ok(meta), Some(name)) = (fs.entry(path), path.file_name()) {
            let name = name.to_string_lossy().into_owned();
            self.known.insert(name, Identity::of(&meta));
        }
    }

    pub(super) fn wrote(&mut self) {
        self.manifest = self.next_manifest.take().or(self.manifest);
        self.manifest_seen = None;
    }
}

impl Thread {
    /// Looks, if it is time to.
    pub(super) fn look(&mut self) {
        if self.looks.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looks.looked = Some(Instant::now());
        if self.at_home().is_err() {
            // The writer tells of that.
            return;
        }
        self.look_at_security_log();
        self.look_at_manifest();
        self.look_at_pages();
        self.look_at_segments();
    }

    fn look_at_security_log(&mut self) {
        use crate::audit::state::security::Looked;
        let (file, incidents) = (OwnFile::Security, &self.work.incidents);
        match self.work.security_log.look() {
            Looked::Fine => {
                if std::mem::take(&mut self.looks.security_gone) {
                    incidents.is_back(file);
                }
            }
            Looked::PutBack { what, set_aside } => {
                self.looks.security_gone = false;
                incidents.tell(file, &Incident { what, set_aside, failed: None });
            }
            Looked::Cut => incidents.altered(file, "its lines are not kept in memory"),
            Looked::Failed { what, error } => {
                if !std::mem::replace(&mut self.looks.security_gone, true) {
                    let failed = Some(error.to_string());
                    incidents.tell(file, &Incident { what, set_aside: None, failed });
                }
            }
        }
    }

    fn look_at_manifest(&mut self) {
        let fs = std::sync::Arc::clone(&self.work.options.fs);
        let path = self.work.paths.manifest();
        let Some(what) = self.manifest_trouble(&*fs, &path) else {
            if std::mem::take(&mut self.looks.manifest_gone) {
                self.work.incidents.is_back(OwnFile::Manifest);
            }
            return;
        };
        if !self.looks.patience.is_over() {
            return;
        }
        self.looks.patience.tries(self.looks.manifest_gone);
        let stamp = self.work.options.clock.now().file_stamp();
        let (aside, outcome) = match set_aside(&*fs, &path, &stamp) {
            Ok(aside) => (aside, self.store()),
            Err(error) => (None, Err(error)),
        };
        let incident = |failed| Incident { what, set_aside: aside.clone(), failed };
        match outcome {
            Ok(()) if std::mem::take(&mut self.looks.manifest_gone) => {
                self.work.incidents.is_back(OwnFile::Manifest);
            }
            Ok(()) => self.work.incidents.tell(OwnFile::Manifest, &incident(None)),
            Err(error) => {
                self.store_needed = true;
                if !std::mem::replace(&mut self.looks.manifest_gone, true) {
                    let reason = Some(error.to_string());
                    self.work.incidents.tell(OwnFile::Manifest, &incident(reason));
                }
            }
        }
    }

    fn manifest_trouble(&mut self, fs: &dyn Fs, path: &Path) -> Option<&'static str> {
        let meta = match fs.entry(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some("deleted"),
            Err(_) => return None,
        };
        if !meta.is_file {
            return Some("replaced");
        }
        if self.looks.manifest_seen == Some(Identity::of(&meta)) {
            return None;
        }
        let wanted = [self.looks.manifest, self.looks.next_manifest];
        if wanted == [None; 2] {
            return None;
        }
        match hash(fs, path) {
            Ok((identity, found)) if wanted.contains(&Some(*found.as_bytes())) => {
                self.looks.manifest_seen = Some(identity);
                None
            }
            Ok((identity, _)) => {
                let same =
                    self.looks.manifest_seen.is_some_and(|seen| seen.is_same_file(&identity));
                Some(if same { "altered" } else { "replaced" })
            }
            // Missing by now, or unreadable: the next look tells.
            Err(_) => None,
        }
    }

    /// Some of the manifest's pages. One that is missing or another is stored again, from
    /// memory.
    fn look_at_pages(&mut self) {
        let manifest = self.keeper.manifest();
        let pages = manifest.segments.pages();
        if self.looks.page >= pages {
            self.looks.page = 0;
            self.looks.pages.retain(|file, _| manifest.segments.entries().any(|e| e.file == *file));
        }
        let many = (pages / TURNS + 1).max(AT_LEAST).min(pages);
        let fs = std::sync::Arc::clone(&self.work.options.fs);
        for _ in 0..many {
            let nth = self.looks.page;
            self.looks.page = (nth + 1) % pages;
            let Some(entry) = manifest.segments.entry(nth) else { continue };
            let path = self.work.paths.dir.join(&entry.file);
            let Some(what) = self.page_trouble(&*fs, &path, entry) else { continue };
            let stamp = self.work.options.clock.now().file_stamp();
            let Ok(set_aside) = set_aside(&*fs, &path, &stamp) else { continue };
            self.change(|manifest| manifest.segments.page_lost(&entry.file));
            self.store_needed = true;
            self.work.incidents.tell_page(&entry.file, &Incident { what, set_aside, failed: None });
        }
    }

    fn page_trouble(
        &mut self,
        fs: &dyn Fs,
        path: &Path,
        entry: &PageEntry,
    ) -> Option<&'static str> {
        let meta = match fs.entry(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some("deleted"),
            Err(_) => return None,
        };
        if !meta.is_file {
            return Some("replaced");
        }
        let (now, known) = (Identity::of(&meta), self.looks.pages.get(&entry.file));
        if known.is_none_or(|known| known.is_unchanged(&now)) {
            self.looks.pages.insert(entry.file.clone(), now);
            return None;
        }
        match hash(fs, path) {
            Ok((identity, found)) if found.to_string() == entry.sha256 => {
                self.looks.pages.insert(entry.file.clone(), identity);
                None
            }
            Ok(_) => Some("altered"),
            Err(_) => None,
        }
    }

    fn look_at_segments(&mut self) {
        let manifest = self.keeper.manifest();
        let segments = &manifest.segments;
        let many = (segments.len() / TURNS + 1).max(AT_LEAST).min(segments.len());
        if self.looks.place >= segments.len() {
            self.looks.place = 0;
            // What retention has removed, or compression replaced, is not missed.
            let first = segments.first().map_or(u64::MAX, |segment| segment.first_seq);
            self.looks.gone.retain(|seq, _| *seq >= first);
        }
        let mut hashed = false;
        for _ in 0..many {
            let Some(segment) = segments.get(self.looks.place) else { break };
            if !self.look_at(segment, &mut hashed) {
                break;
            }
            self.looks.place += 1;
        }
        let gone = &self.looks.gone;
        self.work.page.set(Word::SegmentsGone, gone.len() as u64);
        let first = gone.keys().next().copied().unwrap_or_default();
        self.work.page.set(Word::SegmentsGoneFrom, first);
    }

    /// False when it has to wait for the next look: only one is read each time.
    fn look_at(&mut self, segment: &Segment, hashed: &mut bool) -> bool {
        if segment.damage.is_some() || !segment.is_stored() {
            // Known, and told already; or there is nothing to look at.
            return true;
        }
        let fs = std::sync::Arc::clone(&self.work.options.fs);
        let path = self.work.paths.dir.join(&segment.file);
        let what = match fs.entry(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("deleted"),
            Err(_) => return true,
            Ok(meta) if !meta.is_file || meta.len != segment.stored_bytes => Some("replaced"),
            Ok(meta) => {
                let (now, known) = (Identity::of(&meta), self.looks.known.get(&segment.file));
                if known.is_none_or(|known| known.is_unchanged(&now)) {
                    self.looks.known.insert(segment.file.clone(), now);
                    None
                } else if std::mem::replace(hashed, true) {
                    return false;
                } else {
                    match (hash(&*fs, &path), &segment.sha256) {
                        (Ok((identity, found)), Some(wanted)) if found.to_string() == *wanted => {
                            self.looks.known.insert(segment.file.clone(), identity);
                            None
                        }
                        (Ok((identity, _)), None) => {
                            // One that waits to be compressed is read then.
                            self.looks.known.insert(segment.file.clone(), identity);
                            None
                        }
                        (Ok(_), Some(_)) => Some("replaced"),
                        (Err(_), _) => return true,
                    }
                }
            }
        };
        match what {
            None => {
                self.looks.gone.remove(&segment.first_seq);
            }
            Some(what) => {
                let known = self.looks.gone.insert(segment.first_seq, segment.file.clone());
                if known.as_deref() != Some(&*segment.file) {
                    self.work.incidents.tell_segment(&segment.file, what);
                }
            }
        }
        true
    }
}

fn hash(fs: &dyn Fs, path: &Path) -> io::Result<(Identity, Hash)> {
    let file = fs.open(path, OpenMode::ReadOwn)?;
    Ok((Identity::of(&file.meta()?), digest(&*file)?))
}
