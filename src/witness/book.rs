//! What a witness has cosigned: read from the records of its own log, which is the only
//! place that has it. There is no state beside the log that could be put back alone.
//!
//! For each log the largest size counts. A witness records before it answers, and from
//! then on answers only with what continues what it recorded, so the records of one log
//! grow; a record whose answer never left binds as well.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::audit::AuditLog;
use crate::audit::keys::cosignature::WitnessKey;
use crate::audit::read::query::{Order, Query, Request, Want};
use crate::audit::record::{Record, peek_seq};
use crate::audit::tree::merkle::Hash;
use crate::audit::write::own::{COSIGNED, Cosigned, WITNESS_STATE, WitnessState, WitnessedLog};
use crate::clock::Timestamp;

/// As the log records a restore.
const RESTORED: &str = "audit.restored";
/// So many records are looked at together.
const PAGE: u64 = 256;

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum BookError {
    /// Its log cannot be read.
    #[error("cannot read what this witness has cosigned: {0}")]
    Unreadable(String),
    /// Its log does not know the key.
    #[error(
        "the log here has no record of the key {key}, so what it has cosigned is not known: the log \
         was lost or replaced, or the key is another witness's"
    )]
    UnknownKey {
        /// Name and id of the key.
        key: String,
    },
    /// Its log was put back to an earlier state.
    #[error(
        "the log here was put back since the witness started last (epoch {then} then, {now} now), so \
         the key {key} may have cosigned more than the log says"
    )]
    PutBack {
        /// Name and id of the key.
        key: String,
        /// The epoch when it started last.
        then: u32,
        /// The epoch now.
        now: u32,
    },
    /// Its log is a backup's, which was restored since the key was used last.
    #[error(
        "the log here was restored from a backup since the witness started last, so the key {key} may \
         have cosigned more than the log says"
    )]
    Restored {
        /// Name and id of the key.
        key: String,
    },
    /// Its log is one that services record events in.
    #[error("the log here is not a witness's: it holds the events of others")]
    NotAWitness,
    /// A record could not be made durable.
    #[error("cannot record the start of the witness: {0}")]
    Unrecorded(String),
}

/// What was cosigned last for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The record of it.
    pub(super) record: u64,
    /// The cosigned note, where it was read.
    pub(super) note: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) logs: BTreeMap<String, Last>,
    /// The epoch of the witness's log when this key was used last; `None` if it never was.
    pub(super) epoch: Option<u32>,
    /// Whether the log was restored since.
    pub(super) is_restored: bool,
}

impl Book {
    /// Reads the witness's log from its end back to where all was summed up.
    pub(super) fn read(log: &AuditLog, key: &WitnessKey) -> Result<Self, BookError> {
        let mut book = Self::default();
        let event_type = [COSIGNED, WITNESS_STATE, RESTORED].map(str::to_owned).to_vec();
        let request = Request { event_type, ..Request::default() };
        let failed = |error: String| BookError::Unreadable(error);
        let asked =
            request.resolve(Timestamp::default()).map_err(|error| failed(error.to_string()))?;
        let mut query =
            Query { want: Want::Records { order: Order::Newest, limit: PAGE }, ..asked };
        loop {
            let answer = log.read_on(&query).map_err(|error| failed(error.to_string()))?;
            if let Some(damaged) = answer.damaged.first() {
                return Err(failed(damaged.clone()));
            }
            if !answer.given_up.is_empty() || answer.missing.is_some() || answer.pruned.is_some() {
                return Err(failed("records are missing from the log".to_owned()));
            }
            let Some(lines) = answer.lines() else { return Ok(book) };
            let mut last = None;
            for line in lines.iter() {
                last = peek_seq(line);
                if book.take(line, last, key)? {
                    return Ok(book);
                }
            }
            match last {
                Some(last) if answer.more && last > 0 => {
                    query.filter = query.filter.within(0, last);
                }
                _ => return Ok(book),
            }
        }
    }

    /// Takes a record in; true if nothing before it matters.
    fn take(&mut self, line: &[u8], seq: Option<u64>, key: &WitnessKey) -> Result<bool, BookError> {
        let record: Record<'_> = serde_json::from_slice(line)
            .map_err(|error| BookError::Unreadable(format!("record {seq:?}: {error}")))?;
        if record.event_type == COSIGNED {
            let cosigned: Cosigned = details(&record)?;
            let note = Some(cosigned.checkpoint);
            let (size, root) = (cosigned.tree_size, cosigned.root_hash);
            self.note(cosigned.origin, Last { size, root, record: record.seq, note });
            return Ok(false);
        }
        if record.event_type == RESTORED {
            self.is_restored = true;
            return Ok(false);
        }
        let state: WitnessState = details(&record)?;
        for WitnessedLog { origin, tree_size, root_hash, record } in state.logs {
            self.note(origin, Last { size: tree_size, root: root_hash, record, note: None });
        }
        if state.key != key.to_string() {
            // Of an earlier key, which did not cosign less. This one's is further back,
            // unless it is new.
            return Ok(false);
        }
        self.epoch = Some(state.epoch);
        Ok(true)
    }

    fn note(&mut self, origin: String, last: Last) {
        match self.logs.get(&origin) {
            Some(known) if known.size >= last.size => {}
            _ => {
                self.logs.insert(origin, last);
            }
        }
    }
}

/// Whether nothing but the log's own records is at its beginning.
pub(super) fn is_a_witness_s(log: &AuditLog) -> Result<bool, BookError> {
    let failed = |error: String| BookError::Unreadable(error);
    let request = Request::default().resolve(Timestamp::default());
    let asked = request.map_err(|error| failed(error.to_string()))?;
    let query = Query { want: Want::Records { order: Order::Oldest, limit: PAGE }, ..asked };
    let answer = log.read_on(&query).map_err(|error| failed(error.to_string()))?;
    let own = |line: &[u8]| {
        serde_json::from_slice::<Record<'_>>(line)
            .is_ok_and(|record| record.event_type.starts_with("audit."))
    };
    let all_own = answer.lines().is_none_or(|lines| lines.iter().all(own));
    Ok(all_own && answer.pruned.is_none())
}

/// The cosigned note of a record; `None` where it cannot be read.
pub(super) fn note_of(log: &AuditLog, seq: u64) -> Option<String> {
    let event_type = vec![COSIGNED.to_owned()];
    let request = Request { event_type, seq: Some(seq.to_string()), ..Request::default() };
    let query = request.resolve(Timestamp::default()).ok()?;
    let answer = log.read_on(&query).ok()?;
    let lines = answer.lines()?;
    let line = lines.iter().next()?;
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    details::<Cosigned>(&record).ok().map(|cosigned| cosigned.checkpoint)
}

fn details<T: DeserializeOwned>(record: &Record<'_>) -> Result<T, BookError> {
    let text = record.details.as_ref().map_or("null", |details| details.get());
    serde_json::from_str(text)
        .map_err(|error| BookError::Unreadable(format!("record {}: {error}", record.seq)))
}
