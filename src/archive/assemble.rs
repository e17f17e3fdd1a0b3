//! An archive becomes one backup archive again, which is then restored as every other: with all
//! checks of a backup, of which this makes none superfluous.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::Bucket;
use super::documents::KeysDocument;
use super::error::{ArchiveError, io_error};
use super::keyset::{KeySet, keysets};
use super::layout::LogName;
use super::marks::{Mark, Planner};
use super::names::{Proofs, logs};
use super::plan::Plan;
use super::walk::{Lacks, Take, Walk};
use crate::audit::files::gzip::Packer;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::watch::{Stage, Watch};
use crate::backup::{FileSink, Marker};
use crate::clock::Timestamp;
use crate::fsio::{Fs, OpenMode, OsFs};
use crate::store::BackupStore;

/// So many epochs may have something that the log signed: a restore begins one, and that is rare.
const MOST_EPOCHS: usize = 1_000;

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
        let (believed, here) = (wanted.public_key.as_ref(), wanted.keys_here.as_ref());
        let found = keysets(&self.0, &proofs, &log, believed, here)?;
        let is_split = found.split.is_some();
        for error in found.split.into_iter().chain(found.unauthorised) {
            refuse(error, wanted)?;
        }
        let mut best: Option<(LogName, Plan, &KeySet)> = None;
        for set in &found.sets {
            let KeySet { keys, .. } = set;
            let planner = Planner { bucket: &self.0, proofs: &proofs, keys, watch, from: None };
            match self.plan(planner, &log, wanted) {
                Ok((log, plan)) => {
                    let at = |log: &LogName, plan: &Plan| (log.epoch(), plan.checkpoint.size);
                    if best.as_ref().is_none_or(|it| at(&it.0, &it.1) < at(&log, &plan)) {
                        best = Some((log, plan, set));
                    }
                    // Of two successions, the one that led further.
                    if !is_split {
                        break;
                    }
                }
                Err(error @ (ArchiveError::Interrupted | ArchiveError::Store(_)))
                    if !error.is_unread() =>
                {
                    return Err(error);
                }
                // Other keys that are there may be those that signed.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Some((log, plan, KeySet { document, keys, .. })) = best else {
            return Err(failed.unwrap_or_else(|| self.not_found(wanted)));
        };
        let planner = Planner { bucket: &self.0, proofs: &proofs, keys, watch, from: None };
        self.write(planner, &log, plan, document, wanted, dir)
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
        let objects = |what: Lacks| refuse(what.into(), wanted);
        self.nothing_newer(planner, log, &plan, wanted)?;
        let marks = Self::other_epochs(planner, log, wanted)?;
        let path = dir.join("archive.gz");
        let file = OsFs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
        let mut sink = FileSink::new(&*file);
        let mut out = Members { out: &mut sink, path: &path, count: 0 };
        let sizes = marks.iter().map(|mark| mark.size).collect();
        let mut walk = Walk::new(planner, &plan.before, sizes);
        for step in &plan.steps {
            walk.step(step, &mut out)?;
        }
        let members = out.count;
        walk.check(&mut plan)?;
        walk.lacks(&plan, &marks, log.epoch()).into_iter().try_for_each(objects)?;
        let last_accepted = walk.last_accepted();
        let holes = walk.holes().to_vec();
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

    /// Whether the log signed no more records of the epoch than the point has, and nothing of an
    /// epoch after it.
    fn nothing_newer(
        &self,
        planner: Planner<'_>,
        log: &LogName,
        plan: &Plan,
        wanted: &Wanted,
    ) -> Result<(), ArchiveError> {
        let size = plan.checkpoint.size;
        if wanted.holds.is_some_and(|seq| seq < size) {
            return Ok(());
        }
        let above = planner.above(log, size)?;
        let largest = above.signed.into_iter().chain(plan.larger_inside(log));
        if let Some(mark) = largest.max_by_key(|mark| mark.size) {
            let object = self.0.url(&mark.object);
            refuse(Lacks::Newer { object, signed: mark.size, there: size }.into(), wanted)?;
        }
        above.unread.map_or(Ok(()), |unread| refuse(unread, wanted))?;
        if wanted.epoch.is_some() {
            return Ok(());
        }
        // Epochs of which no point can be put together.
        let newer = planner.proofs.epochs().into_iter().filter(|epoch| *epoch > log.epoch());
        for epoch in newer {
            let above = planner.above(&log.in_epoch(epoch), 0)?;
            if let Some(mark) = above.signed {
                let what = format!(
                    "the log signed {} records in epoch {epoch}, and no point of that epoch can \
                     be put together",
                    mark.size
                );
                let object = self.0.url(&mark.object);
                refuse(ArchiveError::Incomplete { object, what }, wanted)?;
            }
            above.unread.map_or(Ok(()), |unread| refuse(unread, wanted))?;
        }
        Ok(())
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
            if marks.len() > MOST_EPOCHS {
                let object = planner.bucket.0.url(&log.proofs());
                let what = format!("the log signed something in more than {MOST_EPOCHS} epochs");
                return Err(ArchiveError::Object { object, what });
            }
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
}

/// What somebody has to look at first, and may then take all the same.
fn refuse(error: ArchiveError, wanted: &Wanted) -> Result<(), ArchiveError> {
    if !wanted.force {
        return Err(error);
    }
    tracing::warn!("{error}");
    Ok(())
}

/// The archive that is made: members, one after the other.
struct Members<'a, 'b> {
    out: &'a mut FileSink<'b>,
    path: &'a Path,
    count: u64,
}

impl Take for Members<'_, '_> {
    fn lines(&mut self, _: u64, lines: &[u8], member: Option<&[u8]>) -> Result<(), ArchiveError> {
        if lines.is_empty() {
            return Ok(());
        }
        let made;
        let member = match member {
            Some(member) => member,
            None => {
                made = Packer::new(6).member(lines).map_err(io_error("compress for", self.path))?;
                &made
            }
        };
        self.out.write_all(member).map_err(io_error("write", self.path))?;
        self.count += 1;
        Ok(())
    }
}
