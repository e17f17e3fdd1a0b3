//! The second step: what is right about what was found, and what is to be done. Nothing is
//! read here but files that a decision depends on, and nothing is changed.

use super::epoch::Beginning;
use super::error::io_error;
use super::give_up::{GivenUp, proven_part};
use super::inspect::{Evidence, Seen, Wrong};
use super::opened::{Accepted, Rollback};
use super::records::Records;
use super::{Corruption, OpenError, Opening};
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

impl Tail {
    /// The records that are taken over without a signature.
    pub(super) fn adopted(self) -> Option<Span> {
        match self {
            Self::Adopt(span) => Some(span),
            Self::AsItIs | Self::Foreign { .. } => None,
        }
    }
}

/// What is done, and to what.
pub(super) struct Plan {
    pub(super) evidence: Evidence,
    /// The records with which the log continues.
    pub(super) records: Records,
    /// What is given up without beginning an epoch.
    pub(super) given_up: GivenUp,
    pub(super) course: Course,
}

/// What was decided.
pub(super) struct Course {
    pub(super) tail: Tail,
    /// Damage because of which an epoch begins.
    pub(super) accepted: Option<Accepted>,
    /// Whether records are given up.
    pub(super) gives_up: bool,
    /// The records that a signature vouches for.
    pub(super) covered: u64,
    pub(super) rollback: Option<Rollback>,
    pub(super) begins: Option<Beginning>,
    /// Whether the log was closed.
    pub(super) clean: bool,
    pub(super) damage: Option<Damage>,
}

/// How far signatures vouch for the records.
struct Proven {
    covered: u64,
    /// Which of the active segment's records were altered is unknown.
    altered: bool,
}

impl Plan {
    /// What the record of the opening says of it, but for what is only known once it is
    /// done: the names of files that were set aside, and what is missing then.
    pub(super) fn told(&self) -> Recovered {
        let found = &self.evidence;
        let accepted = self.course.accepted.as_ref();
        let adopted = self.course.tail.adopted();
        Recovered {
            unsigned_first: adopted.map(|span| span.begin),
            unsigned_end: adopted.map(|span| span.end),
            manifest_rebuilt: found.rebuilt.clone(),
            stored_anew: found.stored_anew.clone(),
            checkpoint_lost: found.checkpoint_lost.clone().filter(|_| accepted.is_none()),
            accepted_corruption: accepted.map(|accepted| accepted.reason.clone()),
            abandoned_checkpoint: accepted.and_then(|accepted| accepted.abandoned.clone()),
            keys_put_back: found.keys.put_back.clone(),
            keys_from: found.chain_is_lost.then(|| found.keys.first_key()),
            ..Recovered::default()
        }
    }
}

impl Opening<'_> {
    pub(super) fn decide(&self, seen: Seen) -> Result<Plan, OpenError> {
        let Seen { mut evidence, mut records } = seen;
        let was_damaged = records.manifest.segments.iter().any(|s| s.damage.is_some());
        let gives_up =
            self.options.accept_corruption && !evidence.wrong.iter().any(|w| self.stands(w));
        let given_up = match gives_up {
            true => self.give_up(&evidence, &mut records)?,
            false => GivenUp::default(),
        };
        let accepted = match self.trouble(&evidence, &records, &given_up) {
            Some(corruption) => Some(self.accept(corruption, &evidence)?),
            None => None,
        };
        // Now that the records are proven, what the first of them says is believed.
        if accepted.is_none()
            && let Some(source) = evidence.newer.take()
        {
            return Err(OpenError::Newer { path: self.paths.dir.clone(), source });
        }
        let Proven { covered, altered } = match &accepted {
            Some(_) => self.proven_in_parts(&evidence, &mut records)?,
            None => Proven { covered: proven(&evidence, &records), altered: false },
        };
        let was_closed = records.active.as_ref().is_none_or(|active| {
            let scan = &active.scan;
            scan.bad.is_none() && (scan.ends_closed() || scan.layout.records() == 0)
        });
        let tail = match accepted {
            Some(_) => accepted_tail(&records, covered, altered),
            None => self.tail(&evidence, &mut records)?,
        };
        // Compared is what will be left of the log.
        let unknown = accepted.as_ref().map(|_| covered);
        let rollback = self.other_history(&evidence, &records, unknown)?;
        let manifest = &records.manifest;
        let begins = self.beginning(&evidence, manifest, accepted.as_ref(), rollback.as_ref())?;
        if altered {
            records.forget_active();
        }
        let gives_up = !given_up.is_nothing();
        let damage = if accepted.is_some() || gives_up {
            Some(Damage::CorruptionAccepted)
        } else if was_damaged {
            Some(Damage::SegmentDamaged)
        } else if matches!(tail, Tail::Foreign { suspicious: true }) {
            Some(Damage::FileReplaced)
        } else {
            None
        };
        let clean = was_closed || matches!(tail, Tail::Foreign { .. });
        let course = Course { tail, accepted, gives_up, covered, rollback, begins, clean, damage };
        Ok(Plan { evidence, records, given_up, course })
    }

    /// Whether that stays wrong whatever is given up.
    fn stands(&self, wrong: &Wrong) -> bool {
        !self.options.accept_corruption || !wrong.can_be_given_up()
    }

    /// What is still wrong with the records, the first thing that was found.
    fn trouble(
        &self,
        evidence: &Evidence,
        records: &Records,
        given_up: &GivenUp,
    ) -> Option<Corruption> {
        let found = evidence.wrong.iter().find(|wrong| self.stands(wrong));
        let found = found.map(|wrong| wrong.corruption().clone());
        let by_head = || match given_up.is_of_active() {
            true => None,
            false => records.against_head(evidence),
        };
        found.or_else(by_head).or_else(|| records.against_keys(evidence))
    }

    /// Corruption, if it is accepted.
    fn accept(&self, corruption: Corruption, evidence: &Evidence) -> Result<Accepted, OpenError> {
        if !self.options.accept_corruption {
            return Err(OpenError::Corrupt(corruption));
        }
        let head = evidence.head.as_ref().map(|head| head.text.clone());
        let abandoned = head.or_else(|| evidence.checkpoint_text.clone());
        Ok(Accepted { reason: corruption.to_string(), abandoned })
    }

    /// How far signatures vouch for records that do not have the newest signed root. An
    /// older signature may still vouch for a part of the active segment, which is then all
    /// that is kept of it.
    fn proven_in_parts(
        &self,
        evidence: &Evidence,
        records: &mut Records,
    ) -> Result<Proven, OpenError> {
        let covered = proven(evidence, records);
        let reached = evidence.head.as_ref().filter(|_| records.reached.is_some());
        let altered = reached.is_some_and(|head| !records.have_root_of(head));
        let as_found = Proven { covered, altered };
        let Some(active) = &mut records.active else { return Ok(as_found) };
        let part = proven_part(active, &records.base, &evidence.earlier)
            .map_err(io_error("read", &self.paths.active()))?;
        let Some(part) = part else { return Ok(as_found) };
        let end = part.layout.next_seq();
        if altered {
            active.scan = part;
        }
        Ok(Proven { covered: covered.max(end), altered: false })
    }

    /// What follows the newest signature. Foreign lines are taken out of the scan.
    fn tail(&self, evidence: &Evidence, records: &mut Records) -> Result<Tail, OpenError> {
        let signed = evidence.signed();
        let (sealed_end, end) = (records.manifest.end_seq(), records.end_seq());
        let closed = signed > 0
            && match &records.active {
                Some(active) if active.scan.layout.first_seq < signed => {
                    active.scan.is_closed_at(signed)
                }
                _ => self.sealed_closed(&records.manifest, signed),
            };
        if !closed {
            let adopts = end > signed && evidence.head.is_some();
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
        let Some(active) = &mut records.active else { return Ok(Tail::AsItIs) };
        if end <= signed {
            // Half a line is what a crash in mid-opening leaves; a whole one that is
            // no record of this log is somebody else's.
            let whole = active.scan.bad.as_ref().is_some_and(|bad| bad.is_whole);
            return Ok(if whole { Tail::Foreign { suspicious: true } } else { Tail::AsItIs });
        }
        let said = active.scan.said.iter();
        let opening = said.filter(|said| said.seq >= signed && said.opens).count();
        let suspicious = opening as u64 != end - signed;
        let watch = &[signed];
        let interest = Interest { until: Some(signed), leaves: true, ..Interest::watch(watch) };
        active.scan = scan_plain(&*active.file, records.base.clone(), interest)
            .map_err(io_error("read", &self.paths.active()))?;
        if let Some(reached) = active.take_watched(signed) {
            records.reached = Some(reached);
        }
        Ok(Tail::Foreign { suspicious })
    }
}

/// What is kept of an accepted corruption without a signature over it: it is named,
/// like what a crash leaves, and authorises nothing.
fn accepted_tail(records: &Records, covered: u64, altered: bool) -> Tail {
    let sealed_end = records.manifest.end_seq();
    let end = if altered { sealed_end } else { records.end_seq() };
    let begin = covered.min(end).max(records.manifest.pruned.end());
    if end > begin { Tail::Adopt(Span { begin, end }) } else { Tail::AsItIs }
}

/// The records that a signature of the log vouches for: those below a head whose root
/// they have, or those of a signed manifest.
fn proven(evidence: &Evidence, records: &Records) -> u64 {
    match &evidence.head {
        Some(head) if records.have_root_of(head) => head.checkpoint.size,
        _ => evidence.noted,
    }
}
