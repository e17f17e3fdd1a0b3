//! What is right about what was found, and what is to be done. Nothing is read
//! here but the log's end once more, and nothing is changed.

use super::give_up::{GivenUp, proven_part};
use super::heads::Head;
use super::inspect::Seen;
use super::keys::begins_epoch;
use super::{Accepted, Corruption, OpenError, Opening, Rollback, io_error};
use crate::audit::files::facts::Span;
use crate::audit::files::scan::{Interest, scan_plain};
use crate::audit::state::status::Damage;
use crate::audit::write::own::Recovered;

/// What stands behind the newest signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or a torn tail.
    AsItIs,
    /// Records of a writer that did not close the log.
    Adopt(Span),
    /// Lines behind a signed close. Those that an opening writes first may be what
    /// a crash in mid-opening left; all others somebody put there.
    Foreign { suspicious: bool },
}

/// What is done.
pub(super) struct Plan {
    pub(super) seen: Seen,
    pub(super) tail: Tail,
    pub(super) accepted: Option<Accepted>,
    /// What is given up without beginning an epoch.
    pub(super) given_up: GivenUp,
    /// The records that a signature vouches for.
    pub(super) covered: u64,
    pub(super) rollback: Option<Rollback>,
    /// The head of this epoch that a restore without the key left: what is signed next
    /// must not contradict it.
    pub(super) leaves: Option<Head>,
    /// The epoch that a key begins which took another's place.
    pub(super) replaces: Option<u32>,
    /// Which of the active segment's records were altered is unknown.
    pub(super) altered: bool,
    pub(super) clean: bool,
    pub(super) damage: Option<Damage>,
}

impl Plan {
    /// What the record of the opening says of it, but for what is only known once it is
    /// done: the names of files that were set aside, and what is missing then.
    pub(super) fn told(&self) -> Recovered {
        let seen = &self.seen;
        let adopted = match self.tail {
            Tail::Adopt(span) => Some(span),
            _ => None,
        };
        let rotations = if seen.keys_are_bad { &[][..] } else { &seen.keys.rotations[..] };
        let first_key = rotations.first().map(|first| first.old_key.clone());
        let first_key = || first_key.unwrap_or_else(|| seen.key.verifier().to_string());
        let accepted = self.accepted.as_ref();
        Recovered {
            unsigned_first: adopted.map(|span| span.begin),
            unsigned_end: adopted.map(|span| span.end),
            manifest_rebuilt: seen.rebuilt.clone(),
            stored_anew: seen.stored_anew.clone(),
            checkpoint_lost: seen.checkpoint_lost.clone().filter(|_| accepted.is_none()),
            accepted_corruption: accepted.map(|accepted| accepted.reason.clone()),
            abandoned_checkpoint: accepted.and_then(|accepted| accepted.abandoned.clone()),
            keys_put_back: seen.put_back.clone(),
            keys_from: seen.chain_is_lost.then(first_key),
            ..Recovered::default()
        }
    }
}

impl Opening<'_> {
    pub(super) fn decide(&self, mut seen: Seen) -> Result<Plan, OpenError> {
        let mut trouble = seen.trouble.take();
        let mut given_up = GivenUp::default();
        if trouble.is_none() && self.options.accept_corruption {
            given_up = self.give_up(&mut seen)?;
        } else if trouble.is_none() {
            trouble = seen.unnamed.take();
        }
        if trouble.is_none() && !given_up.is_of_active() {
            trouble = self.judge(&seen);
        }
        if trouble.is_none() {
            trouble = self.judge_keys(&seen.ring, &seen.manifest, seen.scan.as_ref());
        }
        if trouble.is_none()
            && let Some(source) = seen.newer.take()
        {
            return Err(OpenError::Newer { path: self.paths.dir.clone(), source });
        }
        let mut damage = seen.damage;
        if !given_up.is_nothing() {
            damage = Some(Damage::CorruptionAccepted);
        }
        let accepted = match trouble {
            Some(corruption) if !self.options.accept_corruption => {
                return Err(OpenError::Corrupt(corruption));
            }
            Some(corruption) => {
                damage = Some(Damage::CorruptionAccepted);
                let abandoned = seen.head.as_ref().map(|head| head.text.clone());
                let abandoned = abandoned.or_else(|| seen.unusable_checkpoint.clone());
                Some(Accepted { reason: corruption.to_string(), abandoned })
            }
            None => None,
        };
        let mut altered = accepted.is_some()
            && seen.reached.as_ref().is_some_and(|reached| {
                seen.head
                    .as_ref()
                    .is_some_and(|head| reached.tree.root().ok() != Some(head.checkpoint.root))
            });
        let mut covered = proven(&seen);
        if accepted.is_some()
            && let Some((file, scan)) = &mut seen.scan
        {
            // An older signature may still vouch for a part of it.
            let part = proven_part(&**file, &seen.base, &seen.earlier);
            if let Some(part) = part.map_err(io_error("read", &self.paths.active()))?
                && (altered || covered < part.layout.next_seq())
            {
                covered = covered.max(part.layout.next_seq());
                if altered {
                    *scan = part;
                    altered = false;
                }
            }
        }
        let clean = seen.scan.as_ref().is_none_or(|(_, scan)| {
            scan.bad.is_none() && (scan.ends_closed() || scan.layout.records() == 0)
        });
        let tail = match accepted {
            Some(_) => accepted_tail(&seen, covered, altered),
            None => self.tail(&mut seen)?,
        };
        // Compared is what will be left of the log.
        let unknown = accepted.as_ref().map(|_| covered);
        let rollback = self.other_history(&seen, unknown)?;
        let clean = clean || matches!(tail, Tail::Foreign { .. });
        if matches!(tail, Tail::Foreign { suspicious: true }) {
            damage = damage.or(Some(Damage::FileReplaced));
        }
        let leaves = self.left_head(&seen.ring, &seen.manifest);
        let replaces = begins_epoch(&seen.ring, &seen.manifest);
        let rollback = rollback.map(|mut rollback| {
            rollback.record.epoch = rollback.record.epoch.max(replaces.unwrap_or(0));
            rollback
        });
        Ok(Plan {
            seen,
            tail,
            accepted,
            given_up,
            covered,
            rollback,
            leaves,
            replaces,
            altered,
            clean,
            damage,
        })
    }

    /// What follows the newest signature. Foreign lines are taken out of the scan.
    fn tail(&self, seen: &mut Seen) -> Result<Tail, OpenError> {
        let signed = seen.head.as_ref().map_or(0, |head| head.checkpoint.size);
        let sealed_end = seen.manifest.end_seq();
        let closed = signed > 0
            && match &seen.scan {
                Some((_, scan)) if scan.layout.first_seq < signed => scan.is_closed_at(signed),
                _ => self.sealed_closed(&seen.manifest, signed),
            };
        let end = seen.scan.as_ref().map_or(sealed_end, |(_, scan)| scan.layout.next_seq());
        if !closed {
            let adopts = end > signed && seen.head.is_some();
            let span = Span { begin: signed, end };
            return Ok(if adopts { Tail::Adopt(span) } else { Tail::AsItIs });
        }
        if sealed_end > signed {
            return Err(OpenError::Corrupt(Corruption {
                file: format!("audit.{signed:020}.log"),
                seq: Some(signed),
                offset: None,
                reason: "a sealed segment follows the signed close of the log, and no writer of \
                         this log made it"
                    .to_owned(),
            }));
        }
        let Some((file, scan)) = &mut seen.scan else { return Ok(Tail::AsItIs) };
        if end <= signed {
            // Half a line is what a crash in mid-opening leaves; a whole one that is
            // no record of this log is somebody else's.
            let whole = scan.bad.as_ref().is_some_and(|bad| bad.is_whole);
            return Ok(if whole { Tail::Foreign { suspicious: true } } else { Tail::AsItIs });
        }
        let opening = scan.said.iter().filter(|said| said.seq >= signed && said.opens).count();
        let suspicious = opening as u64 != end - signed;
        let watch = &[signed];
        let interest = Interest { until: Some(signed), leaves: true, ..Interest::watch(watch) };
        *scan = scan_plain(&**file, seen.base.clone(), interest)
            .map_err(io_error("read", &self.paths.active()))?;
        let reached = scan.take_watched(signed);
        if seen.head.as_ref().is_some_and(|head| head.checkpoint.size == signed)
            && let Some((tree, since)) = reached
        {
            seen.reached = Some(super::Reached { tree, since });
        }
        Ok(Tail::Foreign { suspicious })
    }
}

/// What is kept of an accepted corruption without a signature over it: it is named,
/// like what a crash leaves, and authorises nothing.
fn accepted_tail(seen: &Seen, covered: u64, altered: bool) -> Tail {
    let active = seen.scan.as_ref().filter(|_| !altered);
    let end = active.map_or(seen.manifest.end_seq(), |(_, scan)| scan.layout.next_seq());
    let begin = covered.min(end).max(seen.manifest.pruned.end());
    if end > begin { Tail::Adopt(Span { begin, end }) } else { Tail::AsItIs }
}

/// The records that a signature of the log vouches for: those below a head whose root
/// they have, or those of a signed manifest.
fn proven(seen: &Seen) -> u64 {
    let head = seen.head.as_ref().zip(seen.reached.as_ref());
    match head {
        Some((head, reached)) if reached.tree.root().ok() == Some(head.checkpoint.root) => {
            head.checkpoint.size
        }
        _ => seen.noted,
    }
}
