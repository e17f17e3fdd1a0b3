//! Which of the engine's records count, and what they authorise.

use super::{Fact, NamedHole, Removal, Reopened, Said, Span};
use crate::audit::files::ended::{self, EndedEpoch};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::VerifierKey;

/// Removals whose trees are kept in memory; of older ones only the ends are.
const TREES_KEPT: usize = 64;

/// What a log's own records say, gathered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    removals: Vec<(u64, Removal)>,
    adopted: Vec<(u64, Span)>,
    holes: Vec<NamedHole>,
    backed_up: Vec<(u64, u64)>,
    abandoned: Vec<(u64, String)>,
    /// By the record that says so, which may be one of a removal.
    ended: Vec<(u64, EndedEpoch)>,
    /// What key the chain begins with, and whether it was cut there.
    first_keys: Vec<(u64, String, bool)>,
    changed_keys: Vec<(u64, String)>,
    /// The format that the log says it has; 0 where its first record is not here.
    format: u64,
}

/// What a log's own records say of its keys: what has to be in `audit.keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedKeys {
    /// The key from which the chain leads to the one that signs: the record that says
    /// so last, and the key.
    pub(crate) first: Option<(u64, String)>,
    /// The record of an opening that accepted that the chain before it was lost.
    pub(crate) cut_by: Option<u64>,
    /// Keys that were changed since; each was the log's.
    pub(crate) changed: Vec<String>,
}

impl NamedKeys {
    /// Of a log whose chain begins with that key, as a signed manifest says.
    pub(crate) fn beginning_with(first: String) -> Self {
        Self { first: Some((0, first)), ..Self::default() }
    }

    /// What these keys lack, in words.
    pub(crate) fn lacking(&self, keys: &Keyring) -> Option<String> {
        let first = self.first.iter().map(|(_, key)| key);
        let missing = first.chain(&self.changed).find(|named| !keys.holds(named))?;
        let label = missing.parse::<VerifierKey>().map_or_else(|_| missing.clone(), |k| k.label());
        Some(format!(
            "the log's records name the key {label}, and nothing leads from it to {}, which signs: \
             changes of the key are missing from audit.keys",
            keys.newest().label()
        ))
    }
}

/// Which of the engine's records count, and what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The newest removal: the record's seq, and what it says.
    pub(crate) removal: Option<(u64, Removal)>,
    /// What openings adopted unsigned, in order.
    pub(crate) adopted: Vec<Span>,
    /// What openings gave up.
    pub(crate) holes: Vec<NamedHole>,
    /// The records that the newest backup holds, as far as the log knows.
    pub(crate) backed_up: Option<u64>,
    /// Signed heads that later epochs do not continue.
    pub(crate) abandoned: Vec<String>,
    /// Epochs that ended with records which the next one does not have.
    pub(crate) ended: Vec<EndedEpoch>,
    /// What they say of the log's keys.
    pub(crate) keys: NamedKeys,
    /// The format that the log says it has; 0 where its first record was not read.
    pub(crate) format: u64,
}

impl Authority {
    /// Whether it says of all records `begin..end` that they were given up.
    pub(crate) fn names_hole(&self, begin: u64, end: u64) -> bool {
        let mut next = begin;
        while next < end {
            let holds =
                |named: &&NamedHole| (named.hole.first_seq..named.hole.end_seq).contains(&next);
            let Some(named) = self.holes.iter().find(holds) else { return false };
            next = named.hole.end_seq;
        }
        true
    }

    /// Up to where records were adopted unsigned that no backup holds; 0 for none.
    pub(crate) fn uncovered(&self) -> u64 {
        let covered = self.backed_up.unwrap_or(0);
        self.adopted.iter().map(|span| span.end).filter(|end| *end > covered).max().unwrap_or(0)
    }
}

impl Facts {
    pub(crate) fn note(&mut self, said: Said) {
        let Said { seq, fact, at, .. } = said;
        match fact {
            Fact::Pruned(removal) => {
                let first = removal.first_key.clone();
                self.first_keys.extend(first.map(|key| (seq, key, false)));
                self.abandoned.extend(removal.abandoned.iter().map(|note| (seq, note.clone())));
                self.ended.extend(removal.ended.iter().map(|one| (seq, one.clone())));
                self.backed_up.extend(removal.backed_up.map(|size| (seq, size)));
                self.removals.push((seq, removal));
                if let Some(at) = self.removals.len().checked_sub(TREES_KEPT + 1) {
                    self.removals[at].1.tree = None;
                }
            }
            Fact::Created { key, format } => {
                self.first_keys.push((seq, key, false));
                self.format = format;
            }
            Fact::ChangedKey { old } => self.changed_keys.push((seq, old)),
            Fact::Reopened(found) => {
                let Reopened { adopted, abandoned, keys_from, holes, ended } = *found;
                self.ended.extend(ended.map(|one| (seq, one)));
                self.holes.extend(holes.into_iter().map(|hole| NamedHole {
                    record: seq,
                    at,
                    hole,
                }));
                self.first_keys.extend(keys_from.map(|key| (seq, key, true)));
                self.adopted.extend(adopted.map(|span| (seq, span)));
                self.abandoned.extend(abandoned.into_iter().map(|note| (seq, note)));
            }
            Fact::BackedUp { tree_size } => self.backed_up.push((seq, tree_size)),
            Fact::Closed | Fact::Other => {}
        }
    }

    /// What counts of it: records below `signed` that no opening adopted. An
    /// adoption is always recorded behind what it adopts, so the newest is judged
    /// first: whatever a forger left in an adopted range cannot clear that range.
    pub(crate) fn authority(&self, signed: u64) -> Authority {
        let mut recorded = self.adopted.clone();
        recorded.sort_unstable();
        let mut adopted: Vec<Span> = Vec::new();
        for (seq, span) in recorded.into_iter().rev() {
            if seq < signed && !adopted.iter().any(|later| later.contains(seq)) {
                adopted.push(span);
            }
        }
        adopted.sort_unstable();
        let counts = |seq: &u64| *seq < signed && !adopted.iter().any(|span| span.contains(*seq));
        let removal = self.removals.iter().filter(|(seq, _)| counts(seq));
        let removal = removal.max_by_key(|(seq, _)| *seq).cloned();
        let backed_up =
            self.backed_up.iter().filter(|(seq, _)| counts(seq)).map(|(_, size)| *size).max();
        let mut abandoned: Vec<&(u64, String)> =
            self.abandoned.iter().filter(|(seq, _)| counts(seq)).collect();
        abandoned.sort_unstable();
        let abandoned = abandoned.into_iter().map(|(_, note)| note.clone()).collect();
        let first = self.first_keys.iter().filter(|(seq, ..)| counts(seq));
        let cut_by = first.clone().filter(|(.., cut)| *cut).map(|(seq, ..)| *seq).max();
        let first = first.max_by_key(|(seq, ..)| *seq);
        let since = |seq: u64| cut_by.is_none_or(|cut| seq > cut);
        let mut changed: Vec<&(u64, String)> = self.changed_keys.iter().collect();
        changed.retain(|(seq, _)| counts(seq) && since(*seq));
        changed.sort_unstable();
        let keys = NamedKeys {
            first: first.map(|(seq, key, _)| (*seq, key.clone())),
            cut_by,
            changed: changed.into_iter().map(|(_, key)| key.clone()).collect(),
        };
        let holes = self.holes.iter().filter(|named| counts(&named.record)).cloned().collect();
        let format = self.format;
        let mut ended = Vec::new();
        let named = self.ended.iter().filter(|(seq, _)| counts(seq));
        named.for_each(|(_, one)| ended::note(&mut ended, one.clone()));
        Authority { removal, adopted, holes, backed_up, abandoned, ended, keys, format }
    }
}
