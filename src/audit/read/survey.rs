//! A log that nobody writes: what is there, and whether it is what was signed.
//! Reads every stored byte of the sealed segments and every line of the active
//! one; changes nothing.

use std::io;
use std::path::Path;

use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::scan;
use crate::audit::files::scan::{Interest, Scan};
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::LogView;
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::SharedFs;

/// What there is of a log.
#[derive(Debug)]
pub struct Survey {
    log: LogView,
    /// The manifest.
    pub manifest: Manifest,
    /// Whether the log's key signed it.
    pub is_signed: bool,
    /// The log's public keys, if their files are there and usable.
    pub keys: Option<Keyring>,
    /// The checkpoint, if it is there and the key signed it that was to.
    pub checkpoint: Option<Checkpoint>,
    /// Its signed note, whether it verifies or not.
    pub note: Option<String>,
    /// Whole records, from seq 0: those that were removed by retention count.
    pub records: u64,
    /// The tree over them, as far as the manifest and the active segment tell.
    pub tree: Range,
    /// What is wrong, each in a sentence.
    pub damage: Vec<String>,
}

impl Survey {
    /// Looks at the log in `dir`; `None` when there is no log.
    ///
    /// # Errors
    /// When a file that is there cannot be read, or the manifest is none.
    pub fn of(fs: &SharedFs, dir: &Path) -> Result<Option<Self>, ReadError> {
        let log = LogView::new(fs, dir);
        let LogView { fs, paths } = &log;
        let loaded = Manifest::load_signed(&**fs, &paths.manifest())?;
        let note = log.note().map_err(io_error("read", &paths.checkpoint()))?;
        let note = note.map(|note| String::from_utf8_lossy(&note).into_owned());
        let Some((manifest, signature)) = loaded else {
            return match log.no_log("audit.manifest.json") {
                ReadError::NoLog { .. } => Ok(None),
                error => Err(error),
            };
        };
        let mut damage = Vec::new();
        let keys =
            load_keyring(&**fs, paths, None).map_err(|error| damage.push(error.to_string())).ok();
        for segment in &manifest.segments {
            if let Some(what) = check_segment(&log, segment)? {
                damage.push(format!("{}: {what}", segment.file));
            }
        }
        let mut tree = manifest.tree()?;
        if let Some(scan) = scan_active(&log, &tree, &[])? {
            tree = scan.layout.tree();
            if let Some(bad) = scan.bad {
                damage.push(format!(
                    "audit.log: record {} at byte {}: {}",
                    bad.seq, bad.offset, bad.reason
                ));
            }
        }
        let is_signed =
            keys.as_ref().is_some_and(|keys| manifest.check_signature(&signature, keys).is_ok());
        let mut survey = Self {
            log: log.clone(),
            records: tree.end(),
            manifest,
            is_signed,
            keys,
            checkpoint: None,
            note,
            tree,
            damage,
        };
        survey.judge_checkpoint()?;
        Ok(Some(survey))
    }

    fn judge_checkpoint(&mut self) -> Result<(), ReadError> {
        let Some(note) = &self.note else {
            self.damage.push("audit.checkpoint is missing".to_owned());
            return Ok(());
        };
        let Some(keys) = &self.keys else { return Ok(()) };
        let verified = SignedCheckpoint::parse(note.as_bytes())
            .and_then(|signed| keys.verify(&signed).map(|(checkpoint, _)| checkpoint.clone()));
        let checkpoint = match verified {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                self.damage.push(format!("audit.checkpoint: {error}"));
                return Ok(());
            }
        };
        if checkpoint.size > self.records {
            self.damage.push(format!(
                "the checkpoint was signed over {} records, {} are there",
                checkpoint.size, self.records
            ));
        } else {
            let root = self.tree_at(checkpoint.size)?.map(|tree| tree.root());
            if root != Some(Ok(checkpoint.root)) {
                let size = checkpoint.size;
                self.damage
                    .push(format!("the first {size} records do not hash to the signed root"));
            }
        }
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// The tree over the first `size` records; `None` when it cannot be known:
    /// there are fewer, or it ends within what retention removed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn tree_at(&self, size: u64) -> Result<Option<Range>, ReadError> {
        let log = &self.log;
        if size == self.records {
            return Ok(Some(self.tree.clone()));
        }
        let mut tree = self.manifest.pruned.clone();
        if size < tree.end() || size > self.records {
            return Ok(None);
        }
        for segment in &self.manifest.segments {
            if size < segment.end_seq() {
                let path = log.paths.dir.join(&segment.file);
                let Some(file) = log.open(&path)? else { return Ok(None) };
                let (sizes, failed) = ([size], io_error("read", &path));
                let holes: Vec<Block> = segment.holes().cloned().collect();
                let interest = Interest { holes: &holes, ..Interest::watch(&sizes) };
                let mut found = if segment.is_compressed() {
                    scan::scan_compressed(&*file, tree, interest).map_err(failed)?.0
                } else {
                    scan::scan_plain(&*file, tree, interest).map_err(failed)?
                };
                return Ok(found.take_watched(size).map(|(tree, _)| tree));
            }
            for block in &segment.blocks {
                let joined = tree.extend(&block.tree);
                debug_assert!(joined.is_ok(), "a loaded manifest's ranges are adjacent");
            }
        }
        let scan = scan_active(log, &tree, &[size])?;
        Ok(scan.and_then(|mut scan| scan.take_watched(size)).map(|(tree, _)| tree))
    }

    /// The earliest and latest `timestamp` of the blocks that hold records from
    /// `seq` on; `None` when there are none. The active segment's are not known.
    #[must_use]
    pub fn times_from(&self, seq: u64) -> Option<(Timestamp, Timestamp)> {
        let blocks = self.manifest.segments.iter().flat_map(|segment| &segment.blocks);
        blocks
            .filter(|block| block.first_seq + block.records > seq)
            .map(|block| (block.min_timestamp, block.max_timestamp))
            .reduce(|(min, max), (low, high)| (min.min(low), max.max(high)))
    }
}

/// What is wrong with a sealed segment's file.
fn check_segment(log: &LogView, segment: &Segment) -> Result<Option<String>, ReadError> {
    if !segment.is_stored() {
        return Ok(None);
    }
    let path = log.paths.dir.join(&segment.file);
    let Some(file) = log.open(&path)? else { return Ok(Some("it is missing".to_owned())) };
    let length = file.meta().map_err(io_error("look at", &path))?.len;
    if length != segment.stored_bytes {
        let expected = segment.stored_bytes;
        return Ok(Some(format!("it has {length} bytes, the manifest says {expected}")));
    }
    let base = Range::empty(segment.first_seq);
    let failed = io_error("read", &path);
    // Its SHA-256 in the manifest would be quicker, and is only a hint.
    let holes: Vec<Block> = segment.holes().cloned().collect();
    let interest = Interest { holes: &holes, ..Interest::default() };
    let scan = if segment.is_compressed() {
        scan::scan_compressed(&*file, base.clone(), interest).map_err(failed)?.0
    } else {
        scan::scan_plain(&*file, base.clone(), interest).map_err(failed)?
    };
    let mut noted = base;
    for block in &segment.blocks {
        let joined = noted.extend(&block.tree);
        debug_assert!(joined.is_ok(), "a loaded manifest's ranges are adjacent");
    }
    let same = scan.bad.is_none() && scan.layout.tree() == noted;
    Ok((!same).then(|| "its records are not those that were recorded".to_owned()))
}

fn scan_active(log: &LogView, base: &Range, watch: &[u64]) -> Result<Option<Scan>, ReadError> {
    let path = log.paths.active();
    let Some(file) = log.open(&path)? else { return Ok(None) };
    let interest = Interest::watch(watch);
    scan::scan_plain(&*file, base.clone(), interest).map(Some).map_err(io_error("read", &path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_path_buf();
    move |source| ReadError::Io { action, path, source }
}
