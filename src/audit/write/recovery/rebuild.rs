//! The manifest as the files have it: a signed one is compared with them, any
//! other is made anew from them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::io_error;
use super::{Corruption, OpenError, Opening};
use crate::audit::files::facts::{Authority, Removal};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::segment::Block;
use crate::audit::keys::Keyring;
use crate::audit::paths::{parse_sealed_name, sealed_name};
use crate::audit::tree::merkle::Range;
use crate::fsio::{FileReader, OpenMode};

/// What is sealed, and how it was found out.
pub(super) struct Sealed {
    pub(super) manifest: Manifest,
    /// What the unsigned manifest said, where it was one of this log.
    hint: Option<Manifest>,
    /// Why the stored manifest was not believed.
    pub(super) rebuilt: Option<String>,
    /// Files that hold the noted records in other bytes than were noted.
    pub(super) stored_anew: Vec<String>,
    /// Segments that do not hold what was noted.
    wrong: Vec<WrongFile>,
    /// What the engine's records say, where all of them were read.
    pub(super) authority: Option<Authority>,
}

/// A segment whose file does not hold what was noted.
struct WrongFile {
    first_seq: u64,
    reason: String,
}

/// The log whose manifest is made anew, and what is signed of it.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) log_id: &'a str,
    pub(super) epoch: u32,
    /// The records that the newest head was signed over.
    pub(super) records: u64,
    pub(super) ring: &'a Keyring,
}

impl Sealed {
    /// Notes the damage of segments whose files do not hold what was noted: they must be
    /// there, as they were noted or with the same records. What is inside of those that
    /// have their length is for `verify`.
    pub(super) fn note_damage(&mut self) -> Vec<Corruption> {
        let mut found = Vec::new();
        for wrong in self.wrong.drain(..) {
            let segments = &mut self.manifest.segments;
            let Some(at) = segments.position(wrong.first_seq) else { continue };
            segments.update(at, |segment| segment.damage = Some(wrong.reason.clone()));
            let segment = &segments[at];
            found.push(Corruption {
                file: segment.file.clone(),
                seq: Some(segment.first_seq),
                offset: None,
                reason: wrong.reason,
            });
        }
        found
    }
}

impl Opening<'_> {
    /// What is sealed: as the manifest says that is believed, or as the files say, for the
    /// reason for which it is not. `stored` is the manifest in either case.
    pub(super) fn sealed(
        &self,
        stored: Option<&Manifest>,
        believed: Result<Manifest, String>,
        signed: Signed<'_>,
    ) -> Result<Sealed, OpenError> {
        let mut sealed = match believed {
            Ok(manifest) => self.refit(manifest, signed.records)?,
            Err(reason) => {
                let hint = stored.filter(|stored| stored.log_id == signed.log_id);
                let hint = hint.cloned().map(without_claims);
                self.rebuild(hint, reason, signed)?
            }
        };
        self.adopt_sealed(&mut sealed, signed.records)?;
        Ok(sealed)
    }

    /// A signed manifest, and the files as they are: one that an earlier moment's
    /// manifest does not know yet, or that somebody compressed anew, holds the same
    /// records all the same.
    fn refit(&self, mut manifest: Manifest, signed: u64) -> Result<Sealed, OpenError> {
        let (mut stored_anew, mut wrong) = (Vec::new(), Vec::new());
        let mut changed = Vec::new();
        for segment in &manifest.segments {
            let noted = segment.damage.is_some();
            if !segment.is_stored() || !noted && self.is_as_noted(segment)? {
                continue;
            }
            match self.same_elsewhere(segment)? {
                // What was wrong with it once has been mended since.
                Ok(now) if noted && now.sha256 == segment.sha256 && now.file == segment.file => {
                    changed.push(Segment { damage: None, ..segment.clone() });
                }
                Ok(now) => {
                    stored_anew.push(now.file.clone());
                    changed.push(now);
                }
                Err(_) if noted => {}
                Err(reason) => wrong.push(WrongFile { first_seq: segment.first_seq, reason }),
            }
        }
        changed.into_iter().for_each(|segment| manifest.segments.replace(segment));
        let mut sealed =
            Sealed { manifest, hint: None, rebuilt: None, stored_anew, wrong, authority: None };
        self.drop_removed(&mut sealed, signed)?;
        Ok(sealed)
    }

    /// An older manifest lists segments that retention has removed since.
    fn drop_removed(&self, sealed: &mut Sealed, signed: u64) -> Result<(), OpenError> {
        let wrong: BTreeSet<u64> = sealed.wrong.iter().map(|wrong| wrong.first_seq).collect();
        let gone = |segment: &Segment| {
            !segment.is_stored()
                || wrong.contains(&segment.first_seq) && self.form_of(segment.first_seq).is_none()
        };
        let count = sealed.manifest.segments.iter().take_while(|segment| gone(segment)).count();
        if count == 0 {
            return Ok(());
        }
        let authority = self.facts_of(&sealed.manifest)?.authority(signed);
        let Some((seq, removal)) = &authority.removal else { return Ok(()) };
        let removed = sealed.manifest.segments.iter().take(count);
        let removed = removed.take_while(|segment| segment.end_seq() <= removal.end).count();
        let removed = sealed.manifest.segments.remove_first(removed);
        for block in removed.iter().flat_map(|segment| &segment.blocks) {
            sealed.manifest.pruned.extend(&block.tree).map_err(|error| self.start_error(error))?;
        }
        sealed.manifest.pruned_by = Some(*seq);
        let begin = sealed.manifest.pruned.end();
        sealed.wrong.retain(|wrong| wrong.first_seq >= begin);
        Ok(())
    }

    fn is_as_noted(&self, segment: &Segment) -> Result<bool, OpenError> {
        if !self.names.contains(&segment.file) {
            return Ok(false);
        }
        let path = self.paths.dir.join(&segment.file);
        match self.fs.entry(&path) {
            Ok(meta) => Ok(meta.is_file && meta.len == segment.stored_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("look at", &path)(error)),
        }
    }

    /// The name of a segment's file. The plain file is only removed once the
    /// packed one is whole.
    pub(super) fn form_of(&self, first_seq: u64) -> Option<String> {
        let forms = [sealed_name(first_seq, false), sealed_name(first_seq, true)];
        forms.into_iter().find(|name| self.names.contains(name))
    }

    /// The segment as its file is now, if that holds the records that were noted;
    /// otherwise why not.
    fn same_elsewhere(&self, noted: &Segment) -> Result<Result<Segment, String>, OpenError> {
        let forms = [noted.is_compressed(), !noted.is_compressed()];
        let names = forms.map(|packed| sealed_name(noted.first_seq, packed));
        let mut why = "the file is missing".to_owned();
        for name in names.iter().filter(|name| self.names.contains(*name)) {
            let path = self.paths.dir.join(name);
            let file = match self.fs.open(&path, OpenMode::ReadOwn) {
                Ok(file) => file,
                Err(error) if is_unusable(&error) => {
                    why = error.to_string();
                    continue;
                }
                Err(error) => return Err(io_error("open", &path)(error)),
            };
            let holes: Vec<Block> = noted.holes().cloned().collect();
            let found = self.rescan(&*file, name, noted.first_seq, &holes)?;
            let mut tree = Range::empty(noted.first_seq);
            for block in &noted.blocks {
                tree.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
            if found.scan.bad.is_none() && found.scan.layout.tree() == tree {
                return Ok(Ok(Segment { unknown: noted.unknown.clone(), ..found.segment }));
            }
            let length = file.meta().map_err(io_error("look at", &path))?.len;
            why = format!("it has {length} bytes, the manifest says {}", noted.stored_bytes);
            if name.ends_with(".gz") && self.holds(&*file, noted) {
                return Ok(Ok(as_plain(noted)));
            }
        }
        Ok(Err(why))
    }

    /// A manifest from the segments' files. What they do not tell any more, the
    /// unsigned one may: the tree over removed records, and over those of a file
    /// that is damaged. Whether that is true the signed root tells.
    fn rebuild(
        &self,
        hint: Option<Manifest>,
        reason: String,
        signed: Signed<'_>,
    ) -> Result<Sealed, OpenError> {
        let begin = self.first_record()?;
        let authority = self.facts_from(begin)?.authority(signed.records);
        let new = Manifest::new(signed.log_id.to_owned());
        let mut manifest = Manifest { epoch: signed.epoch, ..new };
        manifest.abandon(authority.abandoned.iter().cloned(), signed.ring);
        manifest.ended.clone_from(&authority.ended);
        manifest.adopted.clone_from(&authority.adopted);
        manifest.adopted.retain(|span| span.end > begin);
        manifest.backed_up = authority.backed_up;
        if begin > 0 {
            let removal = authority.removal.as_ref().filter(|(_, removal)| removal.end >= begin);
            manifest.pruned_by = removal.map(|(seq, _)| *seq);
            let by_record = removal.and_then(|(_, Removal { tree, .. })| tree.clone());
            let by_hint = hint.as_ref().map(|hint| hint.pruned.clone());
            let by_hint = by_hint.filter(|pruned| pruned.end() == begin);
            if let Some(pruned) = by_record.or(by_hint) {
                manifest.pruned = pruned;
            }
        }
        Ok(Sealed {
            manifest,
            hint,
            rebuilt: Some(reason),
            stored_anew: Vec::new(),
            wrong: Vec::new(),
            authority: Some(authority),
        })
    }

    /// The first record that is here: of the first file that begins with the record
    /// that its name says.
    fn first_record(&self) -> Result<u64, OpenError> {
        let mut sealed: Vec<u64> = self
            .names
            .iter()
            .filter_map(|name| parse_sealed_name(name))
            .map(|(first, _)| first)
            .collect();
        sealed.sort_unstable();
        for first in sealed {
            let Some(name) = self.form_of(first) else { continue };
            let Ok(file) = self.fs.open(&self.paths.dir.join(&name), OpenMode::ReadOwn) else {
                continue;
            };
            let reader = FileReader { file: &*file, offset: 0 };
            let mut start = Vec::new();
            let read = if name.ends_with(".gz") {
                MultiGzDecoder::new(reader).take(64).read_to_end(&mut start)
            } else {
                reader.take(64).read_to_end(&mut start)
            };
            let begins = crate::audit::record::peek_seq(&start) == Some(first);
            if read.is_ok() && (begins || self.claimed().iter().any(|h| h.first_seq == first)) {
                return Ok(first);
            }
        }
        let path = self.paths.active();
        let mut start = [0; 64];
        match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => {
                let read = file.read_at(&mut start, 0).map_err(io_error("read", &path))?;
                Ok(crate::audit::record::peek_seq(&start[..read]).unwrap_or(0))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// Sealed files that the manifest does not list: a crash kept them out of it,
    /// or it is made anew.
    fn adopt_sealed(&self, sealed: &mut Sealed, signed: u64) -> Result<(), OpenError> {
        loop {
            let next = sealed.manifest.end_seq();
            let noted =
                sealed.hint.as_ref().and_then(|hint| hint.segments.beginning_at(next).cloned());
            if self.is_half_given_up(&sealed.manifest.log_id, next) {
                return Ok(());
            }
            let segment = match self.form_of(next) {
                Some(name) => self.adopted(&name, next, noted)?,
                // Its file is gone, its records may still be known to the signed root.
                None if noted.is_some() => noted,
                None if next >= signed || self.active_begins_with(next) => None,
                None => self.hole_segment(next),
            };
            match segment {
                Some(segment) if segment.records > 0 => {
                    if segment.is_stored() && self.form_of(next).is_none() {
                        let reason = "the file is missing".to_owned();
                        sealed.wrong.push(WrongFile { first_seq: next, reason });
                    }
                    sealed.manifest.segments.push(segment);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Whether the active segment goes on with that record: then no segment is missing, and
    /// nobody needs to read the whole log for one that was given up.
    fn active_begins_with(&self, seq: u64) -> bool {
        let mut start = [0; 64];
        let file = self.fs.open(&self.paths.active(), OpenMode::ReadOwn);
        let read = file.and_then(|file| file.read_at(&mut start, 0));
        read.is_ok_and(|read| crate::audit::record::peek_seq(&start[..read]) == Some(seq))
    }

    /// A segment that was given up as a whole.
    fn hole_segment(&self, first_seq: u64) -> Option<Segment> {
        let hole = self.claimed().iter().find(|hole| hole.first_seq == first_seq)?;
        let segment = Segment::empty(first_seq, hole.records);
        Some(segment.of_blocks(sealed_name(first_seq, false), vec![hole.clone()]))
    }

    fn adopted(
        &self,
        name: &str,
        first_seq: u64,
        noted: Option<Segment>,
    ) -> Result<Option<Segment>, OpenError> {
        let path = self.paths.dir.join(name);
        let file = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if is_unusable(&error) => {
                return Ok(noted.map(|noted| Segment { damage: Some(error.to_string()), ..noted }));
            }
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let holes: Vec<Block> = noted.iter().flat_map(|noted| noted.holes()).cloned().collect();
        let found = self.rescan(&*file, name, first_seq, &holes)?;
        let Some(noted) = noted.filter(|_| found.scan.bad.is_some()) else {
            return Ok(Some(found.segment));
        };
        if name.ends_with(".gz") && self.holds(&*file, &noted) {
            return Ok(Some(as_plain(&noted)));
        }
        Ok(Some(Segment { damage: found.segment.damage, ..noted }))
    }

    /// Writes the lines of segments that are packed in a way of somebody else's
    /// into plain files; the keeper packs them again.
    pub(super) fn unpack(&self, manifest: &Manifest) -> Result<(), OpenError> {
        let plain = |segment: &&Segment| !segment.is_compressed() && segment.is_stored();
        for segment in manifest.segments.iter().filter(plain) {
            let packed = sealed_name(segment.first_seq, true);
            if self.names.contains(&segment.file) || !self.names.contains(&packed) {
                continue;
            }
            let (from, to) = (self.paths.dir.join(&packed), self.paths.dir.join(&segment.file));
            if self.fs.entry(&to).is_ok() {
                continue;
            }
            self.unpack_one(&from, &to).map_err(io_error("unpack", &from))?;
        }
        Ok(())
    }

    fn unpack_one(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.fs.open(from, OpenMode::ReadOwn)?;
        let mut lines = MultiGzDecoder::new(FileReader { file: &*file, offset: 0 });
        let temporary = crate::fsio::temporary_name(to);
        let target = self.fs.open(&temporary, OpenMode::CreateNew)?;
        let (mut buffer, mut offset) = (vec![0; 256 * 1024], 0);
        while let read @ 1.. = lines.read(&mut buffer)? {
            target.write_all_at(&buffer[..read], offset)?;
            offset += read as u64;
        }
        target.sync_data()?;
        self.fs.rename(&temporary, to)?;
        self.fs.sync_dir(&self.paths.dir)
    }
}

/// What nobody signed may say which records there were, since the signed root proves it. It may
/// not say that they have no ids, or whose filters and columns queries believe: nothing proves
/// that, and what is made of it is signed.
fn without_claims(mut hint: Manifest) -> Manifest {
    hint.ids_from = None;
    let segments = hint.segments.all_mut();
    segments.iter_mut().for_each(Segment::without_hints);
    let blocks = segments.iter_mut().flat_map(|segment| &mut segment.blocks);
    blocks.for_each(|block| block.ids = None);
    hint
}

/// The segment as a plain file.
pub(super) fn as_plain(noted: &Segment) -> Segment {
    let mut offset = 0;
    let plain = |block: &Block| {
        let at = offset;
        offset += block.raw_bytes;
        Block { offset: at, stored_bytes: block.raw_bytes, ..block.clone() }
    };
    Segment {
        file: sealed_name(noted.first_seq, false),
        stored_bytes: noted.raw_bytes,
        sha256: None,
        filters_sha256: None,
        columns_sha256: None,
        blocks: noted.blocks.iter().map(plain).collect(),
        ..noted.clone()
    }
}

/// Whether it is what stands there that is at fault: a link, a pipe, a directory.
pub(super) fn is_unusable(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotFound};
    matches!(error.kind(), InvalidData | InvalidInput | IsADirectory | NotFound)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
