//! What retention was allowed to remove: only what a signed `audit.pruned` record
//! says, which lies in the log itself.

use super::error::io_error;
use super::rebuild::Sealed;
use super::records::Scanned;
use super::{Corruption, OpenError, Opening};
use crate::audit::files::facts;
use crate::audit::files::facts::{Authority, Fact, Facts, NamedHole, NamedKeys, Removal, Said};
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::scan::{Interest, scan_plain};
use crate::audit::files::segment::Block;
use crate::audit::tree::document::{DocumentError, Kind};
use crate::audit::tree::merkle::Range;
use crate::fsio::OpenMode;

impl Opening<'_> {
    /// What the engine's records authorise.
    pub(super) fn authority(
        &self,
        sealed: &Sealed,
        active: Option<&Scanned>,
        signed: u64,
    ) -> Result<Authority, OpenError> {
        match &sealed.authority {
            Some(authority) => Ok(authority.clone()),
            None => self.by_manifest(&sealed.manifest, active, signed),
        }
    }

    /// The same from a signed manifest, which says where the record is.
    fn by_manifest(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        signed: u64,
    ) -> Result<Authority, OpenError> {
        let mut authority = Authority {
            removal: None,
            adopted: manifest.adopted.clone(),
            holes: Vec::new(),
            backed_up: manifest.backed_up,
            abandoned: manifest.abandoned.clone(),
            ended: manifest.ended.clone(),
            keys: self.keys_by_manifest(manifest, active, signed)?,
            // A manifest of this format is of a log of this format.
            format: 0,
        };
        if manifest.holes().next().is_some() {
            authority.holes = self.holes_named(manifest, active, signed)?;
        }
        if manifest.pruned.end() == 0 {
            return Ok(authority);
        }
        let counts =
            |seq: &u64| *seq < signed && !manifest.adopted.iter().any(|span| span.contains(*seq));
        let removal = match manifest.pruned_by.filter(counts) {
            Some(seq) => self.removal_at(manifest, active, seq)?.map(|removal| (seq, removal)),
            None => None,
        };
        authority.removal = match removal {
            Some((_, removal)) if removal.end < manifest.pruned.end() => None,
            found => found,
        };
        if authority.removal.is_none() {
            authority.removal = self.facts_of(manifest)?.authority(signed).removal;
        }
        Ok(authority)
    }

    /// What a signed manifest says of the keys. One of an earlier build says nothing:
    /// the log's first record does, or all the others are asked.
    fn keys_by_manifest(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        signed: u64,
    ) -> Result<NamedKeys, OpenError> {
        if let Some(first) = &manifest.first_key {
            return Ok(NamedKeys::beginning_with(first.clone()));
        }
        if manifest.pruned.end() > 0 || signed == 0 {
            return Ok(self.facts_of(manifest)?.authority(signed).keys);
        }
        let in_segment = manifest.segments.first();
        let first = match in_segment {
            Some(segment) => {
                let lines = segment.blocks.first().and_then(|b| self.lines_of(segment, b));
                lines.and_then(|lines| facts::said_in(&lines).into_iter().next())
            }
            None => active.and_then(|active| active.scan.said.first().cloned()),
        };
        Ok(match first.map(|said| said.fact) {
            Some(Fact::Created { key, .. }) => NamedKeys::beginning_with(key),
            _ => NamedKeys::default(),
        })
    }

    /// What a signed record says of the holes that the manifest has: the one that the
    /// manifest names, or else all of them are asked.
    fn holes_named(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        signed: u64,
    ) -> Result<Vec<NamedHole>, OpenError> {
        let counts =
            |seq: &u64| *seq < signed && !manifest.adopted.iter().any(|span| span.contains(*seq));
        if let Some(seq) = manifest.holes_by.filter(counts)
            && let Some(said) = self.said_at(manifest, active, seq)?
        {
            let mut facts = Facts::default();
            facts.note(said);
            let authority = facts.authority(signed);
            let all = |(_, hole): (&Segment, &Block)| {
                authority.names_hole(hole.first_seq, hole.tree.end())
            };
            if manifest.holes().all(all) {
                return Ok(authority.holes);
            }
        }
        Ok(self.facts_of(manifest)?.authority(signed).holes)
    }

    /// What the record with that seq says, if it is a removal.
    fn removal_at(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        seq: u64,
    ) -> Result<Option<Removal>, OpenError> {
        Ok(match self.said_at(manifest, active, seq)?.map(|said| said.fact) {
            Some(Fact::Pruned(removal)) => Some(removal),
            _ => None,
        })
    }

    /// What the record with that seq says, if it is one of the engine's.
    fn said_at(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        seq: u64,
    ) -> Result<Option<Said>, OpenError> {
        if let Some(active) = active.filter(|active| active.scan.layout.first_seq <= seq) {
            return Ok(active.scan.said.iter().find(|said| said.seq == seq).cloned());
        }
        let Some(segment) = manifest.segments.with_record(seq) else { return Ok(None) };
        let block = segment.blocks.iter().find(|block| block.tree.end() > seq);
        let Some(lines) = block.and_then(|block| self.lines_of(segment, block)) else {
            return Ok(None);
        };
        Ok(facts::said_in(&lines).into_iter().find(|said| said.seq == seq))
    }

    /// A sealed block's lines, if they are those that were noted.
    pub(super) fn lines_of(&self, segment: &Segment, block: &Block) -> Option<Vec<u8>> {
        let length = usize::try_from(block.stored_bytes).ok()?;
        if length > MAX_MEMBER_BYTES {
            return None;
        }
        let path = self.paths.dir.join(&segment.file);
        let file = self.fs.open(&path, OpenMode::ReadOwn).ok()?;
        let mut stored = vec![0; length];
        file.read_exact_at(&mut stored, block.offset).ok()?;
        let mut raw = Vec::new();
        if segment.is_compressed() {
            Unpacker::new().unpack(&stored, &mut raw).ok()?;
        } else {
            raw = stored;
        }
        let mut tree = Range::empty(block.first_seq);
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            tree.append_line(line.strip_suffix(b"\n").unwrap_or(line));
        }
        (tree == block.tree).then_some(raw)
    }

    /// The last line that is sealed.
    pub(super) fn last_sealed_line(&self, manifest: &Manifest) -> Option<Vec<u8>> {
        let segment = manifest.segments.last()?;
        let lines = self.lines_of(segment, segment.blocks.last()?)?;
        lines.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).map(<[u8]>::to_vec)
    }

    /// Whether the record before `seq`, which is the last of what is sealed, is
    /// `audit.closed`.
    pub(super) fn sealed_closed(&self, manifest: &Manifest, seq: u64) -> bool {
        let last = manifest.segments.last().filter(|segment| segment.end_seq() == seq);
        let lines = last.and_then(|segment| self.lines_of(segment, segment.blocks.last()?));
        let said = lines.map(|lines| facts::said_in(&lines)).unwrap_or_default();
        said.last().is_some_and(|said| said.seq + 1 == seq && said.fact == Fact::Closed)
    }

    /// What the engine's records say, in the blocks that a signed manifest lists and
    /// in the active segment behind them: lines that the signed root covers, or that
    /// opening will refuse.
    pub(super) fn facts_of(&self, manifest: &Manifest) -> Result<Facts, OpenError> {
        let mut facts = Facts::default();
        for segment in &manifest.segments {
            for block in &segment.blocks {
                // One that is not what was noted says nothing.
                let lines = self.lines_of(segment, block).unwrap_or_default();
                facts::said_in(&lines).into_iter().for_each(|said| facts.note(said));
            }
        }
        self.note_active(manifest.end_seq(), &mut facts)?;
        Ok(facts)
    }

    /// The same from the files alone: those that follow each other from `begin` on. A
    /// line counts for nothing by the seq that it claims, only by its place.
    pub(super) fn facts_from(&self, begin: u64) -> Result<Facts, OpenError> {
        let (mut facts, mut next) = (Facts::default(), begin);
        loop {
            let Some(name) = self.form_of(next) else {
                let hole = self.claimed().iter().find(|hole| hole.first_seq == next);
                match hole {
                    Some(hole) => next = hole.tree.end(),
                    None => break,
                }
                continue;
            };
            let path = self.paths.dir.join(&name);
            // That it cannot be read is told where its records are missed.
            let Ok(file) = self.fs.open(&path, OpenMode::ReadOwn) else { break };
            let found = self.rescan(&*file, &name, next, &[])?;
            if found.segment.records == 0 {
                break;
            }
            next = found.segment.end_seq();
            found.scan.said.into_iter().for_each(|said| facts.note(said));
        }
        self.note_active(next, &mut facts)?;
        Ok(facts)
    }

    fn note_active(&self, first_seq: u64, facts: &mut Facts) -> Result<(), OpenError> {
        let path = self.paths.active();
        let Ok(file) = self.fs.open(&path, OpenMode::ReadOwn) else { return Ok(()) };
        let scan = scan_plain(&*file, Range::empty(first_seq), Interest::default())
            .map_err(io_error("read", &path))?;
        scan.said.into_iter().for_each(|said| facts.note(said));
        Ok(())
    }
}

/// The record that says that what is missing at the log's beginning was removed.
pub(super) fn removing_record(manifest: &Manifest, authority: &Authority) -> Option<u64> {
    let removal = authority.removal.as_ref().filter(|_| manifest.pruned.end() > 0);
    removal.map(|(seq, _)| *seq)
}

/// What is missing at the log's beginning, and was not removed by retention.
pub(super) fn missing_at_begin(manifest: &Manifest, authority: &Authority) -> Option<Corruption> {
    let end = manifest.pruned.end();
    let removed_to = authority.removal.as_ref().map_or(0, |(_, removal)| removal.end);
    (end > removed_to).then(|| Corruption {
        file: "audit.manifest.json".to_owned(),
        seq: Some(removed_to),
        offset: None,
        reason: format!(
            "records {removed_to} to {} are missing, and no signed audit.pruned record says that \
             retention removed them",
            end - 1
        ),
    })
}

/// The format that the log's first record says it has, where it is a newer one: what a
/// newer version records is not for this one to continue.
pub(super) fn newer_format(
    authority: &Authority,
    active: Option<&Scanned>,
) -> Option<DocumentError> {
    let first = active.and_then(|active| active.scan.said.first());
    let by_record = match first.map(|said| &said.fact) {
        Some(Fact::Created { format, .. }) => *format,
        _ => 0,
    };
    let found = authority.format.max(by_record);
    let newer = found > u64::from(Kind::LOG.format());
    newer.then_some(DocumentError::Newer { kind: Kind::LOG, found })
}
