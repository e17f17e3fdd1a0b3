//! What an archive holds, as retention asks it.
//!
//! Nothing that lies beside the log has a say here: neither the position nor the status. Records
//! count as held by a data object when its range's proof, fetched from the store, leads up to a
//! checkpoint that a key of the log signed; when a signed checkpoint that is there commits it; and
//! when this process has read the object back, whole, since the store last said that it was
//! written, and its lines have the hashes that were proven. What was read is remembered by what
//! the store says of the object, in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range as Seqs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::{Bucket, unless_foreign};
use super::documents::RangeProof;
use super::error::ArchiveError;
use super::layout::{LogName, Nth, ObjectName};
use super::members::{MAX_OBJECT_BYTES, holds};
use super::names::Proofs;
use crate::audit::keys::Keyring;
use crate::audit::keys::histories::KnownHead;
use crate::audit::{BackupClaim, BackupsHold};
use crate::store::{BackupStore, Object, StoreError};

/// Which objects there are is asked again after this: old ranges do not change, and new ones are
/// not old enough to be removed from the log.
const LIST_AGAIN: Duration = Duration::from_secs(24 * 3_600);
/// So many checkpoints are read until one is signed by the log.
const MOST_READ: usize = 16;

/// Opens the archive that the settings name now; `None` where they name none.
pub type OpenArchive = dyn Fn() -> Option<Result<Arc<dyn BackupStore>, StoreError>> + Send + Sync;

/// What the backups hold, and what an archive holds.
pub struct ArchiveHolder {
    backups: Arc<dyn BackupsHold>,
    open: Box<OpenArchive>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    place: String,
    listed: Option<(Instant, Proofs)>,
    /// The ranges that the last claims were made of, by the claim's id.
    claimed: BTreeMap<String, Arc<Vec<Proven>>>,
    /// Objects that were read and were good, as the store told of them then.
    whole: BTreeMap<String, Object>,
}

#[derive(Debug)]
struct Proven {
    proof: RangeProof,
    data: ObjectName,
}

impl std::fmt::Debug for ArchiveHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveHolder").field("backups", &self.backups).finish_non_exhaustive()
    }
}

impl ArchiveHolder {
    /// Beside these backups.
    #[must_use]
    pub fn new(backups: Arc<dyn BackupsHold>, open: Box<OpenArchive>) -> Self {
        Self { backups, open, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the archive claims to hold of those records; `None` where there is none.
    fn archived(
        &self,
        log_id: &str,
        keys: &Keyring,
        wanted: &Seqs<u64>,
    ) -> Result<Vec<BackupClaim>, ArchiveError> {
        let Some(store) = (self.open)() else { return Ok(Vec::new()) };
        let bucket = Bucket(store?);
        let Some(any) = LogName::new(log_id, 0) else { return Ok(Vec::new()) };
        let mut seen = self.seen();
        if seen.place != bucket.place() {
            *seen = Seen { place: bucket.place(), ..Seen::default() };
        }
        let is_old = |listed: &(Instant, Proofs)| listed.0.elapsed() >= LIST_AGAIN;
        if seen.listed.as_ref().is_none_or(is_old) {
            seen.listed = Some((Instant::now(), Proofs::of(&*bucket.0, &any)?));
        }
        let Seen { listed: Some((_, proofs)), .. } = &*seen else { return Ok(Vec::new()) };
        let mut claims = Vec::new();
        let mut claimed = BTreeMap::new();
        for epoch in proofs.epochs() {
            let log = any.in_epoch(epoch);
            let Some(committed) = committed(&bucket, proofs, &log, keys)? else { continue };
            let until = wanted.end.min(committed);
            let firsts = proofs.firsts(epoch);
            let run = run_of(&bucket, &firsts, &log, keys, wanted.start..until)?;
            let run = Arc::new(run);
            let first_seq = run.first().map_or(0, |proven| proven.proof.span().first);
            for (nth, proven) in run.iter().enumerate() {
                let mut tree = proven.proof.before.clone();
                if proven.proof.span().end > committed || tree.extend(&proven.proof.tree).is_err() {
                    break;
                }
                let Ok(root) = tree.root() else { break };
                let name = ObjectName::Range(log.clone(), proven.proof.span().first, 0);
                let id = bucket.url(&name);
                let holes = run[..=nth].iter().flat_map(|it| &it.proof.holes);
                let holes = holes.map(crate::backup::Hole::span).collect();
                let tree_size = tree.end();
                claims.push(BackupClaim { id: id.clone(), first_seq, tree_size, root, holes });
                claimed.insert(id, Arc::clone(&run));
            }
        }
        seen.claimed = claimed;
        Ok(claims)
    }

    /// Whether the data objects with those records are whole. Each is read, unless it was read
    /// before and the store tells the same of it.
    fn is_archived(
        &self,
        run: &[Proven],
        wanted: &Seqs<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, ArchiveError> {
        let Some(store) = (self.open)() else { return Ok(false) };
        let bucket = Bucket(store?);
        let mut next = wanted.start;
        for Proven { proof, data } in run {
            let span = proof.span();
            if span.end <= next || next >= wanted.end {
                continue;
            }
            if span.first > next || !go_on() {
                return Ok(false);
            }
            let name = data.to_string();
            let Some(now) = bucket.0.stat(&name)? else { return Ok(false) };
            let known = self.seen().whole.get(&name) == Some(&now);
            if !known {
                let bytes = bucket.fetch(data, MAX_OBJECT_BYTES)?;
                if let Err(what) = holds(&bytes, proof) {
                    return Err(bucket.wrong(data, what));
                }
                // Replaced meanwhile: what was read is not what is there.
                if bucket.0.stat(&name)?.as_ref() != Some(&now) {
                    return Ok(false);
                }
                self.seen().whole.insert(name, now);
            }
            next = span.end;
        }
        Ok(next >= wanted.end)
    }
}

/// The largest size that a checkpoint of the log commits.
fn committed(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
) -> Result<Option<u64>, ArchiveError> {
    for size in proofs.sizes(log.epoch()).take(MOST_READ) {
        if unless_foreign(bucket.checkpoint(log, size, keys))?.is_ok() {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

/// The proven ranges that follow each other from the first of the records on.
fn run_of(
    bucket: &Bucket,
    firsts: &BTreeSet<(u64, Nth)>,
    log: &LogName,
    keys: &Keyring,
    wanted: Seqs<u64>,
) -> Result<Vec<Proven>, ArchiveError> {
    let before = firsts.range(..=(wanted.start, Nth::MAX)).rev().map(|(first, _)| *first);
    // Of those that begin there or before, others may have put the last ones.
    for begin in before.take(MOST_READ) {
        let run = run_from(bucket, firsts, log, keys, begin..wanted.end)?;
        if !run.is_empty() {
            return Ok(run);
        }
    }
    Ok(Vec::new())
}

fn run_from(
    bucket: &Bucket,
    firsts: &BTreeSet<(u64, Nth)>,
    log: &LogName,
    keys: &Keyring,
    wanted: Seqs<u64>,
) -> Result<Vec<Proven>, ArchiveError> {
    let begin = wanted.start;
    let mut run: Vec<Proven> = Vec::new();
    for there in firsts.range((begin, 0)..) {
        let next = run.last().map_or(begin, |proven| proven.proof.span().end);
        if next >= wanted.end || there.0 > next {
            break;
        }
        if there.0 < next {
            continue;
        }
        let Ok((proof, _)) = unless_foreign(bucket.proof(log, *there, keys))? else { continue };
        let follows = run.last().is_none_or(|before| {
            let mut tree = before.proof.before.clone();
            tree.extend(&before.proof.tree).is_ok() && tree == proof.before
        });
        match proof.data.parse() {
            Ok(data) if follows => run.push(Proven { proof, data }),
            _ => {}
        }
    }
    Ok(run)
}

impl BackupsHold for ArchiveHolder {
    fn claims(&self, log_id: &str, keys: &Keyring) -> io::Result<Vec<BackupClaim>> {
        self.backups.claims(log_id, keys)
    }

    fn claims_on(
        &self,
        log_id: &str,
        keys: &Keyring,
        wanted: Seqs<u64>,
    ) -> io::Result<Vec<BackupClaim>> {
        let of_backups = self.backups.claims(log_id, keys);
        match self.archived(log_id, keys, &wanted) {
            Ok(mut claims) if !claims.is_empty() => {
                claims.extend(of_backups.unwrap_or_default());
                Ok(claims)
            }
            Ok(_) => of_backups,
            Err(error) => {
                tracing::warn!(%error, "what the archive holds cannot be told");
                let alone = || io::Error::other(error.to_string());
                of_backups.map_err(|_| alone())
            }
        }
    }

    fn is_whole(&self, id: &str, go_on: &(dyn Fn() -> bool + Sync)) -> bool {
        self.backups.is_whole(id, go_on)
    }

    fn is_whole_on(&self, id: &str, wanted: Seqs<u64>, go_on: &(dyn Fn() -> bool + Sync)) -> bool {
        let Some(run) = self.seen().claimed.get(id).cloned() else {
            return self.backups.is_whole(id, go_on);
        };
        self.is_archived(&run, &wanted, go_on).unwrap_or_else(|error| {
            tracing::warn!(archive = id, %error, "what it should hold cannot be read back");
            false
        })
    }

    fn heads(&self, log_id: &str) -> Vec<KnownHead> {
        self.backups.heads(log_id)
    }
}
