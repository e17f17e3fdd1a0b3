//! What opening changes in the segments' files: leftovers, and the torn tail.

use std::collections::BTreeSet;

use super::error::io_error;
use super::opened::Aside;
use super::records::Scanned;
use super::{OpenError, Opening, copy_to_new};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::segment::{Active, Layout};
use crate::audit::paths::{is_page_name, parse_columns_name, parse_filter_name, parse_sealed_name};
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::{FsFile, OpenMode};

/// The active segment, ready to be written to.
pub(super) struct Continued {
    pub(super) active: Active,
    /// The leaves of its records, as far as they are known.
    pub(super) leaves: Vec<Hash>,
    /// What stood behind its last good record.
    pub(super) aside: Option<Aside>,
}

/// What becomes of the bytes behind the last good record.
pub(super) struct Remains {
    /// What the file's name says of them.
    pub(super) why: &'static str,
    /// Where they are kept already.
    pub(super) kept: Option<Aside>,
}

impl Opening<'_> {
    /// Temporary files, plain segments whose compressed form the manifest names, pages that it
    /// does not list, and segments that retention had removed from it.
    pub(super) fn clear_leftovers(&self, manifest: &Manifest) {
        let segments = &manifest.segments;
        let of = |first: u64| segments.position(first);
        let pages: BTreeSet<&str> = segments.entries().map(|page| &*page.file).collect();
        let mut removed = false;
        for name in self.names {
            let ours = name.starts_with("audit.") || name.starts_with("security_events.log");
            let sealed = parse_sealed_name(name);
            let replaced = sealed.is_some_and(|(first, packed)| {
                of(first).is_some_and(|at| is_other_form(&segments[at], packed))
            });
            let pruned = sealed.is_some_and(|(first, _)| first < manifest.pruned.end());
            let no_page = is_page_name(name) && !pages.contains(&**name);
            let beside = parse_filter_name(name).or_else(|| parse_columns_name(name));
            let of_none = beside.is_some_and(|first| of(first).is_none());
            if ours && name.contains(".tmp-") || replaced || pruned || no_page || of_none {
                // Failing costs space only; the next opening tries again.
                removed |= self.fs.remove(&self.paths.dir.join(name)).is_ok();
            }
        }
        if removed {
            let _ = self.fs.sync_dir(&self.paths.dir);
        }
    }

    /// The active segment, behind what is sealed; what follows its last good record is
    /// moved aside under a name that says why.
    pub(super) fn continued(
        &self,
        found: Option<Scanned>,
        base: Range,
        remains: Remains,
    ) -> Result<Continued, OpenError> {
        let Remains { why, kept } = remains;
        let path = self.paths.active();
        let Some(Scanned { file, scan }) = found else {
            let file = self.fs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
            self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
            let active = Active::new(file, Layout::new(base));
            return Ok(Continued { active, leaves: Vec::new(), aside: kept });
        };
        let len = file.meta().map_err(io_error("look at", &path))?.len;
        let good = scan.layout.raw_bytes;
        let mut aside = kept;
        if good < len {
            if aside.is_none() {
                let name = self.set_aside(&*file, good, len, why)?;
                aside = Some(Aside { bytes: len - good, file: name });
            }
            file.set_len(good).map_err(io_error("cut", &path))?;
        }
        // What is good may still be in the page cache only.
        file.sync_data().map_err(io_error("sync", &path))?;
        Ok(Continued { active: Active::new(file, scan.layout), leaves: scan.leaves, aside })
    }

    fn set_aside(
        &self,
        file: &dyn FsFile,
        from: u64,
        to: u64,
        why: &str,
    ) -> Result<String, OpenError> {
        let stamp = self.options.clock.now().file_stamp();
        let aside = self.paths.aside(why, &stamp, |path| self.fs.entry(path).is_ok());
        copy_to_new(self.fs, file, from, to, &aside).map_err(io_error("write", &aside))?;
        self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
        Ok(aside.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// Whether the file in that form is one that another has taken the place of.
fn is_other_form(segment: &Segment, packed: bool) -> bool {
    segment.is_compressed() != packed && (segment.is_compressed() || segment.is_stored())
}
