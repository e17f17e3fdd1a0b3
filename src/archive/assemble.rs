//! An archive becomes one backup archive again, which is then restored as every other: with all
//! checks of a backup, of which this makes none superfluous.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::{Bucket, unless_foreign};
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof};
use super::error::{ArchiveError, io_error};
use super::layout::{LogName, ObjectName};
use super::members::{MAX_OBJECT_BYTES, Members, Tail, WRONG_RECORDS, holds};
use super::names::{Proofs, TailThere, logs};
use super::pack::accepted;
use super::plan::{Mark, Plan, Planner, Step};
use crate::audit::files::examine::leaves;
use crate::audit::files::facts::{Facts, said_in};
use crate::audit::files::gzip::Packer;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::{FileSink, Hole, Marker};
use crate::clock::Timestamp;
use crate::fsio::{Fs, OpenMode, OsFs};
use crate::store::BackupStore;

/// What is wanted from an archive.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The log's id, or its beginning; may be left out where the archive holds one log.
    pub log: Option<String>,
    /// The log's key, known from elsewhere.
    pub public_key: Option<VerifierKey>,
    /// The keys of the log that is here: of several logs it is meant, and of several keys for it
    /// those that these lead to come first.
    pub keys_here: Option<Keyring>,
    /// The smallest committed point that holds this record, instead of the newest one.
    pub holds: Option<u64>,
    /// The epoch, instead of the newest one; what others hold is then no matter.
    pub epoch: Option<u32>,
    /// Whether to take what is there although the archive proves that there was more, or holds
    /// records only as hashes. It is then only warned of.
    pub force: bool,
}

/// A backup archive that was put together.
#[derive(Debug)]
pub struct Assembled {
    /// The log.
    pub log: LogName,
    /// The file.
    pub path: PathBuf,
    /// How many records the log has there.
    pub tree_size: u64,
    /// When the last of them was accepted.
    pub last_accepted: Option<Timestamp>,
}

/// An archive to be read.
#[derive(Clone, Debug)]
pub struct Reader(Bucket);

impl Reader {
    /// Of the archive in a store.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>) -> Self {
        Self(Bucket(store))
    }

    /// Puts together what is wanted, in a new file in `dir`.
    ///
    /// # Errors
    /// See [`ArchiveError`]; each object that is missing, or is not what it was proven to be,
    /// is named.
    pub fn assemble(
        &self,
        wanted: &Wanted,
        dir: &Path,
        watch: &dyn Watch,
    ) -> Result<Assembled, ArchiveError> {
        watch.stage(Stage::Download, 0);
        let log = self.choose(wanted)?;
        let proofs = Proofs::of(&*self.0.0, &log)?;
        if proofs.epochs().is_empty() {
            return Err(self.not_found(wanted));
        }
        let mut failed = None;
        for (document, keys) in self.keys(&proofs, &log, wanted)? {
            let planner = Planner { bucket: &self.0, proofs: &proofs, keys: &keys, watch };
            match self.plan(planner, &log, wanted) {
                Ok((log, plan)) => {
                    return self.write(planner, &log, plan, &document, wanted, dir);
                }
                Err(error @ (ArchiveError::Interrupted | ArchiveError::Store(_))) => {
                    return Err(error);
                }
                // Other keys that are there may be those that signed.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| self.not_found(wanted)))
    }

    fn write(
        &self,
        planner: Planner<'_>,
        log: &LogName,
        mut plan: Plan,
        document: &KeysDocument,
        wanted: &Wanted,
        dir: &Path,
    ) -> Result<Assembled, ArchiveError> {
        let objects = |what: Lacks| match wanted.force {
            true => {
                tracing::warn!("{}", ArchiveError::from(what));
                Ok(())
            }
            false => Err(ArchiveError::from(what)),
        };
        if let Some(newer) = self.nothing_newer(planner, log, &plan, wanted)? {
            objects(newer)?;
        }
        let marks = Self::other_epochs(planner, log, wanted)?;
        let path = dir.join("archive.gz");
        let file = OsFs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
        let mut sink = FileSink::new(&*file);
        let mut writer = Writer {
            bucket: &self.0,
            keys: planner.keys,
            out: &mut sink,
            path: &path,
            tree: plan.before.clone(),
            members: 0,
            holes: Vec::new(),
            sizes: marks.iter().map(|mark| mark.size).collect(),
            roots: BTreeMap::new(),
            facts: Facts::default(),
            last_accepted: None,
            watch: planner.watch,
        };
        writer.note_root();
        for step in &plan.steps {
            writer.step(step)?;
        }
        writer.check(&plan)?;
        let Writer { members, holes, roots, facts, last_accepted, .. } = writer;
        let authority = facts.authority(plan.checkpoint.size);
        let removed = authority.removal.as_ref().map_or(0, |(_, removal)| removal.end);
        if let Some(gap) = plan.gap.take() {
            // Retention removed them before they were shipped, if a signed record says so.
            if removed < plan.before.end() {
                return Err(gap);
            }
            tracing::warn!("{gap}: retention removed them, as a signed record says");
        }
        for hole in &holes {
            if !authority.names_hole(hole.tree.begin(), hole.tree.end()) {
                objects(Lacks::Hole {
                    object: self.0.url(&plan.commit),
                    first: hole.tree.begin(),
                    end: hole.tree.end(),
                })?;
            }
        }
        for mark in marks.iter().filter(|mark| roots.get(&mark.size) != Some(&mark.root)) {
            objects(Lacks::Epoch {
                object: self.0.url(&mark.object),
                epoch: mark.epoch,
                size: mark.size,
                newer: log.epoch(),
            })?;
        }
        let marker = Marker {
            log_id: log.id().to_owned(),
            epoch: log.epoch(),
            pruned: plan.before.clone(),
            bases: Vec::new(),
            tree_size: plan.checkpoint.size,
            root_hash: plan.checkpoint.root,
            members,
            holes,
            holes_omitted: false,
            checkpoint: plan.note.clone(),
            public_key: document.public_key.clone(),
            key_chain: document.rotations.clone(),
            key_chain_omitted: false,
        };
        let member = marker.fitting(|| plan.note.clone()).member();
        let member = member.map_err(|error| ArchiveError::Object {
            object: self.0.0.url(&log.proofs()),
            what: error.to_string(),
        })?;
        sink.write_all(&member).map_err(io_error("write", &path))?;
        file.sync_data().map_err(io_error("write", &path))?;
        let tree_size = plan.checkpoint.size;
        Ok(Assembled { log: log.clone(), path, tree_size, last_accepted })
    }

    /// More records of the epoch that the log signed than the point has.
    fn nothing_newer(
        &self,
        planner: Planner<'_>,
        log: &LogName,
        plan: &Plan,
        wanted: &Wanted,
    ) -> Result<Option<Lacks>, ArchiveError> {
        let size = plan.checkpoint.size;
        if wanted.holds.is_some_and(|seq| seq < size) {
            return Ok(None);
        }
        let largest = planner.largest(log, size)?.into_iter().chain(plan.larger_inside(log));
        let largest = largest.max_by_key(|mark| mark.size);
        Ok(largest.map(|mark| Lacks::Newer {
            object: self.0.url(&mark.object),
            signed: mark.size,
            there: size,
        }))
    }

    /// What earlier epochs signed last: the tree that is put together has to continue it.
    fn other_epochs(
        planner: Planner<'_>,
        log: &LogName,
        wanted: &Wanted,
    ) -> Result<Vec<Mark>, ArchiveError> {
        let mut marks = Vec::new();
        if wanted.epoch.is_some() || wanted.holds.is_some() {
            return Ok(marks);
        }
        for epoch in planner.proofs.epochs().into_iter().filter(|epoch| *epoch < log.epoch()) {
            marks.extend(planner.last_signed(&log.in_epoch(epoch))?);
        }
        Ok(marks)
    }

    /// Of the newest epoch of which anything is committed.
    fn plan(
        &self,
        planner: Planner<'_>,
        log: &LogName,
        wanted: &Wanted,
    ) -> Result<(LogName, Plan), ArchiveError> {
        let mut refused = None;
        let epochs = planner.proofs.epochs();
        for epoch in epochs.into_iter().filter(|epoch| wanted.epoch.is_none_or(|it| it == *epoch)) {
            let log = log.in_epoch(epoch);
            if let Some(plan) = planner.plan(&log, wanted.holds, &mut refused)? {
                return Ok((log, plan));
            }
        }
        Err(refused.unwrap_or_else(|| self.not_found(wanted)))
    }

    fn not_found(&self, wanted: &Wanted) -> ArchiveError {
        let log = wanted.log.as_ref().map_or("a log".to_owned(), |log| format!("log {log}"));
        ArchiveError::NotFound { wanted: log, place: self.0.place() }
    }

    fn choose(&self, wanted: &Wanted) -> Result<LogName, ArchiveError> {
        let of_key = wanted.public_key.as_ref().and_then(VerifierKey::log_id);
        let named = wanted.log.clone().or(of_key);
        let here = wanted.keys_here.as_ref().and_then(|keys| keys.newest().log_id());
        let found = logs(&*self.0.0, named.as_deref().unwrap_or_default())?;
        // A whole id means that log, whatever others begin with it.
        let exact = named.clone().or(here);
        let exact = exact.filter(|exact| found.contains(exact));
        match (exact, found.as_slice()) {
            (Some(one), _) => LogName::new(&one, 0).ok_or_else(|| self.not_found(wanted)),
            (None, []) => Err(self.not_found(wanted)),
            (None, [one]) => LogName::new(one, 0).ok_or_else(|| self.not_found(wanted)),
            _ => Err(ArchiveError::SeveralLogs { place: self.0.place(), logs: found }),
        }
    }

    /// All keys that are there and, where a key is known from elsewhere, lead to it: the newest
    /// first, and before them those that lead to the keys that are here. What others may have
    /// put there is passed over.
    fn keys(
        &self,
        proofs: &Proofs,
        log: &LogName,
        wanted: &Wanted,
    ) -> Result<Vec<(KeysDocument, Keyring)>, ArchiveError> {
        let mut names: Vec<_> = proofs.keys.iter().map(|(e, n, nth)| (*n, *e, *nth)).collect();
        names.sort_unstable();
        let mut refused = ArchiveError::Missing {
            object: self.0.url(&ObjectName::Keys(log.clone(), 0, 0)),
            what: "the log's keys have to be there".to_owned(),
        };
        let mut found: Vec<(KeysDocument, Keyring)> = Vec::new();
        for (changes, epoch, nth) in names.into_iter().rev() {
            let name = ObjectName::Keys(log.in_epoch(epoch), changes, nth);
            let read = self.0.fetch(&name, MAX_DOCUMENT_BYTES).and_then(|bytes| {
                let read = KeysDocument::read(&bytes, log.id());
                read.map_err(|error| error.of(self.0.url(&name)))
            });
            let (document, ring) = match unless_foreign(read)? {
                Ok(read) => read,
                Err(error) => {
                    refused = error;
                    continue;
                }
            };
            if found.iter().any(|(other, _)| *other == document) {
                continue;
            }
            let Some(key) = &wanted.public_key else {
                found.push((document, ring));
                continue;
            };
            match Keyring::new(key.clone(), &document.rotations) {
                Ok(_) if !ring.contains(key) => {}
                Ok(believed) => {
                    found.push((document, believed));
                    continue;
                }
                Err(_) => {}
            }
            refused = self.0.wrong(&name, "its keys do not lead to the one that you named");
        }
        if found.is_empty() {
            return Err(refused);
        }
        if let Some(here) = &wanted.keys_here {
            // Stable: the newest stay first among the others.
            found.sort_by_key(|(_, ring)| {
                !(ring.contains(here.newest()) || here.contains(ring.newest()))
            });
        }
        Ok(found)
    }
}

/// What an archive proves that there was, and what cannot be had from it.
enum Lacks {
    Newer { object: String, signed: u64, there: u64 },
    Epoch { object: String, epoch: u32, size: u64, newer: u32 },
    Hole { object: String, first: u64, end: u64 },
}

impl From<Lacks> for ArchiveError {
    fn from(lacks: Lacks) -> Self {
        match lacks {
            Lacks::Newer { object, signed, there } => Self::Incomplete {
                what: format!(
                    "the log signed {signed} records, and the archive leads up to {there}: the \
                     last {} are not in it",
                    signed - there
                ),
                object,
            },
            Lacks::Epoch { object, epoch, size, newer } => Self::Incomplete {
                what: format!(
                    "the log signed {size} records in epoch {epoch}, which epoch {newer} does not \
                     continue: it leaves some of them out"
                ),
                object,
            },
            Lacks::Hole { object, first, end } => Self::Object {
                what: format!(
                    "below it, records {first} to {} are there only as hashes, and no signed \
                     record gives them up",
                    end - 1
                ),
                object,
            },
        }
    }
}

struct Writer<'a, 'b> {
    bucket: &'a Bucket,
    keys: &'a Keyring,
    out: &'a mut FileSink<'b>,
    path: &'a Path,
    tree: Range,
    members: u64,
    holes: Vec<Hole>,
    /// The sizes at which the root is wanted, and what it is there.
    sizes: BTreeSet<u64>,
    roots: BTreeMap<u64, Hash>,
    /// What the log's own records say.
    facts: Facts,
    last_accepted: Option<Timestamp>,
    watch: &'a dyn Watch,
}

impl Writer<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<(), ArchiveError> {
        if self.watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        match step {
            Step::Data(proof, until) => self.data(proof, *until),
            Step::Tail(log, tail) => self.tail(log, tail),
        }
    }

    fn data(&mut self, proof: &RangeProof, until: u64) -> Result<(), ArchiveError> {
        let name: ObjectName = proof.data.parse().map_err(|error| ArchiveError::Object {
            object: proof.data.clone(),
            what: format!("{error}"),
        })?;
        if self.tree != proof.before {
            let range = proof.log().map(|log| ObjectName::Range(log, proof.span().first, 0));
            let what = "it follows another history than the ranges before it: a key of the log \
                        signed two";
            return Err(self.bucket.wrong(&range.unwrap_or(name), what));
        }
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        holds(&bytes, proof).map_err(|what| self.bucket.wrong(&name, what))?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let mut members = Members::of(&bytes, proof.span().end);
        let mut holes = proof.holes.iter().peekable();
        while let Some((mut lines, _)) = members.next_lines().map_err(wrong)? {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < lines.first_seq) {
                self.hole(hole, until).map_err(wrong)?;
            }
            if lines.first_seq >= until {
                break;
            }
            let whole = lines.first_seq + lines.records() <= until;
            lines.cut(until);
            let member = lines.member.take().filter(|_| whole);
            self.lines(&lines.raw, member.as_deref())?;
        }
        for hole in holes {
            self.hole(hole, until).map_err(|what| self.bucket.wrong(&name, what))?;
        }
        self.watch.advance(bytes.len() as u64);
        Ok(())
    }

    fn tail(&mut self, log: &LogName, there: &TailThere) -> Result<(), ArchiveError> {
        let name = there.name(log);
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let tail = Tail::of(&bytes).map_err(wrong)?;
        let checkpoint = tail.signed(log, there.first, self.keys).map_err(wrong)?;
        tail.check().map_err(wrong)?;
        let from = self.tree.end();
        let mut holes = tail.marker.holes.iter().peekable();
        let mut members = tail.members();
        while let Some((mut lines, _)) = members.next_lines().map_err(wrong)? {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < lines.first_seq) {
                if hole.tree.begin() >= from {
                    self.hole(hole, u64::MAX).map_err(|what| self.bucket.wrong(&name, what))?;
                }
            }
            let end = lines.first_seq + lines.records();
            if end <= from {
                continue;
            }
            if lines.first_seq < from
                && let Some(rest) = lines.cut(from)
            {
                lines = rest;
            }
            if lines.first_seq != self.tree.end() {
                let what = format!("record {} is missing", self.tree.end());
                return Err(self.bucket.wrong(&name, what));
            }
            let member = lines.member.take();
            self.lines(&lines.raw, member.as_deref())?;
        }
        for hole in holes.filter(|hole| hole.tree.begin() >= from) {
            self.hole(hole, u64::MAX).map_err(|what| self.bucket.wrong(&name, what))?;
        }
        if self.tree.root().ok() != Some(checkpoint.root) {
            let what = "it follows another history than the data before it: a key of the log \
                        signed two";
            return Err(self.bucket.wrong(&name, what));
        }
        self.watch.advance(bytes.len() as u64);
        Ok(())
    }

    /// Whether it all adds up to what was signed.
    fn check(&self, plan: &Plan) -> Result<(), ArchiveError> {
        let fits = self.tree.end() == plan.checkpoint.size
            && self.tree.root().is_ok_and(|root| root == plan.checkpoint.root);
        if fits {
            return Ok(());
        }
        let what = format!(
            "the {} records before it do not give the root that it signs",
            plan.checkpoint.size
        );
        Err(self.bucket.wrong(&plan.commit, what))
    }

    fn hole(&mut self, hole: &Hole, until: u64) -> Result<(), String> {
        if hole.tree.begin() >= until {
            return Ok(());
        }
        let end = hole.tree.end().min(until);
        let within = hole.tree.within(hole.tree.begin(), end).ok_or(WRONG_RECORDS)?;
        self.tree.extend(&within).map_err(|error| error.to_string())?;
        self.note_root();
        self.holes.push(Hole { tree: within, ..hole.clone() });
        Ok(())
    }

    /// Adds lines, as the member that holds exactly these, where there is one.
    fn lines(&mut self, raw: &[u8], member: Option<&[u8]>) -> Result<(), ArchiveError> {
        if raw.is_empty() {
            return Ok(());
        }
        for leaf in leaves(raw) {
            self.tree.append(leaf);
            self.note_root();
        }
        said_in(raw).into_iter().for_each(|said| self.facts.note(said));
        let last = raw.rsplit(|byte| *byte == b'\n').find_map(accepted);
        self.last_accepted = last.or(self.last_accepted);
        match member {
            Some(member) => self.member(member),
            None => {
                let packed = Packer::new(6).member(raw);
                let packed = packed.map_err(io_error("compress for", self.path))?;
                self.member(&packed)
            }
        }
    }

    fn note_root(&mut self) {
        let size = self.tree.end();
        if self.sizes.contains(&size)
            && let Ok(root) = self.tree.root()
        {
            self.roots.insert(size, root);
        }
    }

    fn member(&mut self, member: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(member).map_err(io_error("write", self.path))?;
        self.members += 1;
        Ok(())
    }
}
