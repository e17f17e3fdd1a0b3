//! An archive becomes one backup archive again, which is then restored as every other: with all
//! checks of a backup, of which this makes none superfluous.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::Bucket;
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof};
use super::error::{ArchiveError, io_error};
use super::layout::{LogName, ObjectName, Span};
use super::members::{MAX_OBJECT_BYTES, Members, Tail, WRONG_RECORDS, holds};
use super::names::{Proofs, logs};
use super::plan::{Plan, Step};
use crate::audit::files::examine::leaves;
use crate::audit::files::gzip::Packer;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::Range;
use crate::backup::{FileSink, Hole, Marker};
use crate::fsio::{Fs, OpenMode, OsFs};
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
        let epoch = proofs.newest_epoch().ok_or_else(|| self.not_found(wanted))?;
        let log = log.in_epoch(epoch);
        let (document, keys) = self.keys(&proofs, &log, wanted)?;
        let (log, plan) = self.plan(&proofs, &log, &keys, wanted, watch)?;
        let path = dir.join("archive.gz");
        let file = OsFs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
        let mut sink = FileSink::new(&*file);
        let mut writer = Writer {
            bucket: &self.0,
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
        Ok(Assembled { log, path, tree_size: plan.checkpoint.size })
    }

    /// Of the newest epoch of which anything is committed.
    fn plan(
        &self,
        proofs: &Proofs,
        log: &LogName,
        keys: &Keyring,
        wanted: &Wanted,
        watch: &dyn Watch,
    ) -> Result<(LogName, Plan), ArchiveError> {
        for epoch in proofs.epochs() {
            let log = log.in_epoch(epoch);
            if let Some(plan) = Plan::new(&self.0, proofs, &log, keys, wanted.holds, watch)? {
                return Ok((log, plan));
            }
        }
        Err(self.not_found(wanted))
    }

    fn not_found(&self, wanted: &Wanted) -> ArchiveError {
        let log = wanted.log.as_ref().map_or("a log".to_owned(), |log| format!("log {log}"));
        ArchiveError::NotFound { wanted: log, place: self.0.place() }
    }

    fn choose(&self, wanted: &Wanted) -> Result<LogName, ArchiveError> {
        let of_key = wanted.public_key.as_ref().and_then(VerifierKey::log_id);
        let begin = wanted.log.clone().or(of_key).unwrap_or_default();
        let found = logs(&*self.0.0, &begin)?;
        match found.as_slice() {
            [] => Err(self.not_found(wanted)),
            [one] => LogName::new(one, 0).ok_or_else(|| self.not_found(wanted)),
            _ => Err(ArchiveError::SeveralLogs { place: self.0.place(), logs: found }),
        }
    }

    /// The newest keys that are there and, where a key is known from elsewhere, lead to it.
    /// What others may have put there is passed over.
    fn keys(
        &self,
        proofs: &Proofs,
        log: &LogName,
        wanted: &Wanted,
    ) -> Result<(KeysDocument, Keyring), ArchiveError> {
        let mut names: Vec<(u32, u32)> = proofs.keys.iter().map(|(e, n)| (*n, *e)).collect();
        names.sort_unstable();
        let mut refused = ArchiveError::Missing {
            object: self.0.url(&ObjectName::Keys(log.clone(), 0)),
            what: "the log's keys have to be there".to_owned(),
        };
        for (changes, epoch) in names.into_iter().rev() {
            let name = ObjectName::Keys(log.in_epoch(epoch), changes);
            let bytes = self.0.fetch(&name, MAX_DOCUMENT_BYTES)?;
            let read = KeysDocument::read(&bytes, log.id());
            let (document, ring) = match read.map_err(|error| error.of(self.0.url(&name))) {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!("{error}; other keys are tried");
                    refused = error;
                    continue;
                }
            };
            let Some(key) = &wanted.public_key else { return Ok((document, ring)) };
            match Keyring::new(key.clone(), &document.rotations) {
                Ok(_) if !ring.contains(key) => {}
                Ok(believed) => return Ok((document, believed)),
                Err(_) => {}
            }
            refused = self.0.wrong(&name, "its keys do not lead to the one that you named");
        }
        Err(refused)
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
            return Err(self.bucket.wrong(&range.unwrap_or(name), what));
        }
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        holds(&bytes, proof).map_err(|what| self.bucket.wrong(&name, what))?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let mut members = Members::of(&bytes, proof.span().end);
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
            self.hole(hole, until).map_err(|what| self.bucket.wrong(&name, what))?;
        }
        self.watch.advance(bytes.len() as u64);
        Ok(())
    }

    fn tail(&mut self, log: &LogName, span: Span) -> Result<(), ArchiveError> {
        let name = ObjectName::Tail(log.clone(), span);
        let bytes = self.bucket.fetch(&name, MAX_OBJECT_BYTES)?;
        let wrong = |what: String| self.bucket.wrong(&name, what);
        let tail = Tail::of(&bytes).map_err(wrong)?;
        let checkpoint = tail.signed(log, span, self.keys).map_err(wrong)?;
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
            match lines.member.take() {
                Some(member) => {
                    leaves(&lines.raw).for_each(|leaf| self.tree.append(leaf));
                    self.member(&member)?;
                }
                None => self.repacked(&lines.raw)?,
            }
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
        self.holes.push(Hole { tree: within, ..hole.clone() });
        Ok(())
    }

    fn repacked(&mut self, raw: &[u8]) -> Result<(), ArchiveError> {
        if raw.is_empty() {
            return Ok(());
        }
        let member = Packer::new(6).member(raw).map_err(io_error("compress for", self.path))?;
        leaves(raw).for_each(|leaf| self.tree.append(leaf));
        self.member(&member)
    }

    fn member(&mut self, member: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(member).map_err(io_error("write", self.path))?;
        self.members += 1;
        Ok(())
    }
}
