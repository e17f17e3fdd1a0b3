//! An archive becomes one backup archive again, which is then restored as every other: with all
//! checks of a backup, of which this makes none superfluous.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof, signed};
use super::error::{ArchiveError, io_error};
use super::layout::{LogName, ObjectName, Span};
use super::members::{Members, Tail};
use super::names::{Proofs, fetch, logs, tails};
use super::ship::{MAX_OBJECT_BYTES, WRONG_RECORDS};
use crate::audit::files::gzip::Packer;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES, VerifierKey};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::Range;
use crate::backup::{Hole, Marker};
use crate::store::BackupStore;

/// What is wanted from an archive.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The log's id, or its beginning; may be left out where the archive holds one log.
    pub log: Option<String>,
    /// The log's key, known from elsewhere.
    pub public_key: Option<VerifierKey>,
    /// The smallest committed point that holds this record, instead of the newest one.
    pub holds: Option<u64>,
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
}

/// An archive to be read.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Arc<dyn BackupStore>,
}

impl Reader {
    /// Of the archive in a store.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>) -> Self {
        Self { store }
    }

    /// Whether there is an archive at all: something that proves a log's records.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn is_archive(&self) -> Result<bool, ArchiveError> {
        let page = self.store.page(super::layout::PROOF, None)?;
        Ok(page.objects.iter().any(|object| object.name.parse::<ObjectName>().is_ok()))
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
        let proofs = Proofs::of(&*self.store, &log)?;
        let epoch = proofs.newest_epoch().ok_or_else(|| self.not_found(wanted))?;
        let log = log.in_epoch(epoch);
        let (document, keys) = self.keys(&proofs, &log, wanted)?;
        let plan = Plan::new(self, &proofs, &log, &keys, wanted.holds, watch)?;
        let path = dir.join("archive.gz");
        let file = std::sync::Arc::new(crate::fsio::OsFs);
        let file = crate::fsio::Fs::open(&*file, &path, crate::fsio::OpenMode::CreateNew)
            .map_err(io_error("make", &path))?;
        let mut sink = crate::backup::FileSink::new(&*file);
        let mut writer = Writer {
            reader: self,
            keys: &keys,
            out: &mut sink,
            path: &path,
            tree: plan.before.clone(),
            members: 0,
            holes: Vec::new(),
            watch,
        };
        for step in &plan.steps {
            writer.step(step)?;
        }
        writer.check(&plan)?;
        let Writer { members, holes, .. } = writer;
        let marker = Marker {
            log_id: log.id().to_owned(),
            epoch,
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
            object: self.store.url(&log.proofs()),
            what: error.to_string(),
        })?;
        sink.write_all(&member).map_err(io_error("write", &path))?;
        file.sync_data().map_err(io_error("write", &path))?;
        Ok(Assembled { log, path, tree_size: plan.checkpoint.size })
    }

    fn place(&self) -> String {
        self.store.url("")
    }

    fn not_found(&self, wanted: &Wanted) -> ArchiveError {
        let log = wanted.log.as_ref().map_or("a log".to_owned(), |log| format!("log {log}"));
        ArchiveError::NotFound { wanted: log, place: self.place() }
    }

    fn choose(&self, wanted: &Wanted) -> Result<LogName, ArchiveError> {
        let of_key = wanted.public_key.as_ref().and_then(VerifierKey::log_id);
        let begin = wanted.log.clone().or(of_key).unwrap_or_default();
        let found = logs(&*self.store, &begin)?;
        match found.as_slice() {
            [] => Err(self.not_found(wanted)),
            [one] => LogName::new(one, 0).ok_or_else(|| self.not_found(wanted)),
            _ => Err(ArchiveError::SeveralLogs { place: self.place(), logs: found }),
        }
    }

    /// The newest keys that are there, and which of them are believed.
    fn keys(
        &self,
        proofs: &Proofs,
        log: &LogName,
        wanted: &Wanted,
    ) -> Result<(KeysDocument, Keyring), ArchiveError> {
        let newest = proofs.keys.iter().max_by_key(|(epoch, changes)| (*changes, *epoch));
        let (epoch, changes) = newest.copied().ok_or_else(|| ArchiveError::Missing {
            object: self.store.url(&ObjectName::Keys(log.clone(), 0).to_string()),
            what: "the log's keys have to be there".to_owned(),
        })?;
        let name = ObjectName::Keys(log.in_epoch(epoch), changes);
        let bytes = self.fetch(&name, MAX_DOCUMENT_BYTES)?;
        let (document, ring) =
            KeysDocument::read(&bytes, log.id()).map_err(|error| error.of(self.url(&name)))?;
        let ring = match &wanted.public_key {
            None => ring,
            Some(key) => Keyring::new(key.clone(), &document.rotations).map_err(|error| {
                let what = format!("its keys do not lead to the one that you named: {error}");
                ArchiveError::Object { object: self.url(&name), what }
            })?,
        };
        Ok((document, ring))
    }

    fn url(&self, name: &ObjectName) -> String {
        self.store.url(&name.to_string())
    }

    fn fetch(&self, name: &ObjectName, most: u64) -> Result<Vec<u8>, ArchiveError> {
        fetch(&*self.store, name, most)?.ok_or_else(|| ArchiveError::Missing {
            object: self.url(name),
            what: "what is committed needs it".to_owned(),
        })
    }

    fn proof(
        &self,
        log: &LogName,
        first: u64,
        keys: &Keyring,
    ) -> Result<(RangeProof, Checkpoint), ArchiveError> {
        let name = ObjectName::Range(log.clone(), first);
        let bytes = self.fetch(&name, MAX_DOCUMENT_BYTES)?;
        RangeProof::read(&bytes, &name, keys).map_err(|error| error.of(self.url(&name)))
    }

    fn wrong(&self, name: &ObjectName, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Object { object: self.url(name), what: what.into() }
    }
}

/// An object, and up to which record it is taken.
enum Step {
    Data(Box<RangeProof>, u64),
    Tail(LogName, Span),
}

/// What a committed point is made of.
struct Plan {
    /// The tree before the first record.
    before: Range,
    steps: Vec<Step>,
    checkpoint: Checkpoint,
    note: String,
    /// The object that the checkpoint is from.
    commit: ObjectName,
}

impl Plan {
    fn new(
        reader: &Reader,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        holds: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<Self, ArchiveError> {
        let sizes = proofs.checkpoints.get(&log.epoch()).cloned().unwrap_or_default();
        let enough = holds.and_then(|seq| sizes.iter().copied().find(|size| *size > seq));
        let size = enough.or(sizes.last().copied());
        let mut plan = match size {
            Some(size) => Self::at(reader, proofs, log, keys, size, watch)?,
            None => Self::begun(reader, proofs, log, keys, watch)?,
        };
        if enough.is_none() {
            plan.add_tails(reader, log, keys, holds)?;
        }
        if plan.steps.is_empty() {
            let wanted = format!("log {}", log.id());
            return Err(ArchiveError::NotFound { wanted, place: reader.place() });
        }
        Ok(plan)
    }

    /// A point that a checkpoint object commits.
    fn at(
        reader: &Reader,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        size: u64,
        watch: &dyn Watch,
    ) -> Result<Self, ArchiveError> {
        let commit = ObjectName::Checkpoint(log.clone(), size);
        let note = reader.fetch(&commit, MAX_NOTE_BYTES as u64)?;
        let checkpoint = signed(&note, log, keys).map_err(|what| reader.wrong(&commit, what))?;
        if checkpoint.size != size {
            return Err(reader.wrong(&commit, format!("it is over {} records", checkpoint.size)));
        }
        let (before, steps) = chain(reader, proofs, log, keys, size, watch)?;
        let note = String::from_utf8_lossy(&note).into_owned();
        Ok(Self { before, steps, checkpoint, note, commit })
    }

    /// A log, or an epoch of one, of which there are only tails so far: what came before them
    /// is that of an earlier epoch.
    fn begun(
        reader: &Reader,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        watch: &dyn Watch,
    ) -> Result<Self, ArchiveError> {
        let begin = proofs.firsts(log.epoch()).first().copied();
        let spans = tails(&*reader.store, log)?;
        let first = begin.or(spans.first().map(|span| span.first));
        let first = first.ok_or_else(|| ArchiveError::NotFound {
            wanted: format!("log {}", log.id()),
            place: reader.place(),
        })?;
        let (before, steps) = match spans.iter().find(|span| span.first == first) {
            Some(span) => {
                let name = ObjectName::Tail(log.clone(), *span);
                let bytes = reader.fetch(&name, MAX_OBJECT_BYTES)?;
                let tail = Tail::read(&bytes).map_err(|what| reader.wrong(&name, what))?;
                earlier(reader, proofs, log, keys, &tail.marker.pruned, watch)?
            }
            None => (Range::empty(0), Vec::new()),
        };
        let checkpoint = Checkpoint {
            origin: String::new(),
            size: first,
            root: crate::audit::tree::merkle::empty_root(),
        };
        let commit = ObjectName::Checkpoint(log.clone(), first);
        Ok(Self { before, steps, checkpoint, note: String::new(), commit })
    }

    /// The tails that go on from there, up to the record that is wanted, or the newest.
    fn add_tails(
        &mut self,
        reader: &Reader,
        log: &LogName,
        keys: &Keyring,
        holds: Option<u64>,
    ) -> Result<(), ArchiveError> {
        let spans = tails(&*reader.store, log)?;
        let mut next = self.checkpoint.size;
        let mut at = 0;
        loop {
            if holds.is_some_and(|seq| seq < next) {
                break;
            }
            // Of those that begin before it ends, the one that reaches furthest.
            let mut best: Option<Span> = None;
            while let Some(span) = spans.get(at).filter(|span| span.first <= next) {
                if span.end > best.map_or(next, |best| best.end) {
                    best = Some(*span);
                }
                at += 1;
            }
            let Some(span) = best else { break };
            self.steps.push(Step::Tail(log.clone(), span));
            next = span.end;
        }
        let Some(Step::Tail(_, span)) = self.steps.last() else { return Ok(()) };
        let name = ObjectName::Tail(log.clone(), *span);
        let bytes = reader.fetch(&name, MAX_OBJECT_BYTES)?;
        let tail = Tail::read(&bytes).map_err(|what| reader.wrong(&name, what))?;
        let note = tail.marker.checkpoint;
        self.checkpoint =
            signed(note.as_bytes(), log, keys).map_err(|what| reader.wrong(&name, what))?;
        (self.note, self.commit) = (note, name);
        Ok(())
    }
}

/// The data objects up to `size`, which has to be where one ends, and the tree before them.
fn chain(
    reader: &Reader,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
    size: u64,
    watch: &dyn Watch,
) -> Result<(Range, Vec<Step>), ArchiveError> {
    let mut own = Vec::new();
    let firsts = proofs.firsts(log.epoch());
    let mut end = size;
    // From the end back: what an interrupted cut left behind that nobody needed is not met.
    for first in firsts.range(..size).rev() {
        if watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let (proof, _) = reader.proof(log, *first, keys)?;
        if proof.span().end != end {
            let what = format!(
                "the range that begins there ends at {}, and the next one begins at {end}: a \
                 range is missing",
                proof.span().end
            );
            return Err(reader.wrong(&ObjectName::Range(log.clone(), *first), what));
        }
        own.push(Step::Data(Box::new(proof), end));
        end = *first;
    }
    own.reverse();
    let Some(Step::Data(first, _)) = own.first() else {
        let what = "no range leads up to this checkpoint".to_owned();
        return Err(ArchiveError::Missing {
            object: reader.url(&ObjectName::Range(log.clone(), size)),
            what,
        });
    };
    let (before, mut steps) = earlier(reader, proofs, log, keys, &first.before, watch)?;
    steps.append(&mut own);
    Ok((before, steps))
}

/// What lies before an epoch's first record: the data of earlier epochs, as far as they have
/// the very tree that this epoch begins with. Else it was removed before anything was shipped.
fn earlier(
    reader: &Reader,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
    tree: &Range,
    watch: &dyn Watch,
) -> Result<(Range, Vec<Step>), ArchiveError> {
    if tree.is_empty() {
        return Ok((tree.clone(), Vec::new()));
    }
    for epoch in (0..log.epoch()).rev() {
        let log = log.in_epoch(epoch);
        let firsts = proofs.firsts(epoch);
        let Some(first) = firsts.range(..tree.end()).next_back().copied() else { continue };
        let (proof, _) = reader.proof(&log, first, keys)?;
        let span = proof.span();
        if span.end < tree.end() {
            continue;
        }
        let (before, mut steps) = match firsts.range(..first).next_back() {
            Some(_) => chain(reader, proofs, &log, keys, first, watch)?,
            None => earlier(reader, proofs, &log, keys, &proof.before, watch)?,
        };
        steps.push(Step::Data(Box::new(proof), tree.end()));
        return Ok((before, steps));
    }
    Ok((tree.clone(), Vec::new()))
}

struct Writer<'a, 'b> {
    reader: &'a Reader,
    keys: &'a Keyring,
    out: &'a mut crate::backup::FileSink<'b>,
    path: &'a Path,
    tree: Range,
    members: u64,
    holes: Vec<Hole>,
    watch: &'a dyn Watch,
}

impl Writer<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<(), ArchiveError> {
        if self.watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        match step {
            Step::Data(proof, until) => self.data(proof, *until),
            Step::Tail(log, span) => self.tail(log, *span),
        }
    }

    fn data(&mut self, proof: &RangeProof, until: u64) -> Result<(), ArchiveError> {
        let name: ObjectName = proof.data.parse().map_err(|error| ArchiveError::Object {
            object: proof.data.clone(),
            what: format!("{error}"),
        })?;
        if self.tree != proof.before {
            let range = proof.log().map(|log| ObjectName::Range(log, proof.span().first));
            let what = "it follows another history than the ranges before it: a key of the log \
                        signed two";
            return Err(self.reader.wrong(&range.unwrap_or(name), what));
        }
        let bytes = self.reader.fetch(&name, MAX_OBJECT_BYTES)?;
        super::ship::holds(&bytes, proof).map_err(|what| self.reader.wrong(&name, what))?;
        let wrong = |what: String| self.reader.wrong(&name, what);
        let mut members = Members::of(&bytes);
        let mut holes = proof.holes.iter().peekable();
        while let Some((mut lines, tree)) = members.next_lines().map_err(wrong)? {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < lines.first_seq) {
                self.hole(hole, until).map_err(wrong)?;
            }
            if lines.first_seq >= until {
                break;
            }
            let whole = lines.first_seq + lines.records() <= until;
            lines.cut(until);
            match lines.member.take().filter(|_| whole) {
                Some(member) => {
                    self.tree.extend(&tree).map_err(|error| wrong(error.to_string()))?;
                    self.member(&member)?;
                }
                None => self.repacked(&lines.raw)?,
            }
        }
        for hole in holes {
            self.hole(hole, until).map_err(|what| self.reader.wrong(&name, what))?;
        }
        self.watch.advance(bytes.len() as u64);
        Ok(())
    }

    fn tail(&mut self, log: &LogName, span: Span) -> Result<(), ArchiveError> {
        let name = ObjectName::Tail(log.clone(), span);
        let bytes = self.reader.fetch(&name, MAX_OBJECT_BYTES)?;
        let tail = Tail::read(&bytes).map_err(|what| self.reader.wrong(&name, what))?;
        let checkpoint = signed(tail.marker.checkpoint.as_bytes(), log, self.keys)
            .map_err(|what| self.reader.wrong(&name, what))?;
        let is_own = tail.marker.pruned.end() == span.first
            && checkpoint.size == span.end
            && checkpoint.size == tail.marker.tree_size
            && checkpoint.root == tail.marker.root_hash;
        if !is_own {
            let what = "it is not the tail that its name says, or not the one that was signed";
            return Err(self.reader.wrong(&name, what));
        }
        let from = self.tree.end();
        let mut holes = tail.marker.holes.iter().peekable();
        for mut lines in tail.blocks {
            while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < lines.first_seq) {
                if hole.tree.begin() >= from {
                    self.hole(hole, u64::MAX).map_err(|what| self.reader.wrong(&name, what))?;
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
                return Err(self.reader.wrong(&name, what));
            }
            match lines.member.take() {
                Some(member) => {
                    crate::audit::files::examine::leaves(&lines.raw)
                        .for_each(|leaf| self.tree.append(leaf));
                    self.member(&member)?;
                }
                None => self.repacked(&lines.raw)?,
            }
        }
        for hole in holes.filter(|hole| hole.tree.begin() >= from) {
            self.hole(hole, u64::MAX).map_err(|what| self.reader.wrong(&name, what))?;
        }
        if self.tree.root().ok() != Some(checkpoint.root) {
            let what = "it follows another history than the data before it: a key of the log \
                        signed two";
            return Err(self.reader.wrong(&name, what));
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
        Err(self.reader.wrong(&plan.commit, what))
    }

    fn hole(&mut self, hole: &Hole, until: u64) -> Result<(), String> {
        if hole.tree.begin() >= until {
            return Ok(());
        }
        let end = hole.tree.end().min(until);
        let within = hole.tree.within(hole.tree.begin(), end).ok_or(WRONG_RECORDS)?;
        self.tree.extend(&within).map_err(|error| error.to_string())?;
        self.holes.push(Hole { tree: within, ..hole.clone() });
        Ok(())
    }

    fn repacked(&mut self, raw: &[u8]) -> Result<(), ArchiveError> {
        if raw.is_empty() {
            return Ok(());
        }
        let member = Packer::new(6).member(raw).map_err(io_error("compress for", self.path))?;
        crate::audit::files::examine::leaves(raw).for_each(|leaf| self.tree.append(leaf));
        self.member(&member)
    }

    fn member(&mut self, member: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(member).map_err(io_error("write", self.path))?;
        self.members += 1;
        Ok(())
    }
}
