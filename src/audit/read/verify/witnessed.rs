//! Whether enough witnesses cosigned a checkpoint of the log.

use std::time::Duration;

use super::Request;
use super::anchor::Anchor;
use super::report::{Finding, Kind, WitnessStanding, Witnessed};
use super::view::View;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::keys::policy::{Evaluation, Policy, Standing};
use crate::audit::read::error::ReadError;
use crate::clock::Timestamp;
use crate::units::format_duration;

/// A witness's clock may be ahead of ours by so much.
const CLOCK_SLACK_MICROS: i64 = 300_000_000;

const FILE: &str = "audit.cosigned";

impl Witnessed {
    /// Of a checkpoint that was found at `file`.
    #[must_use]
    pub fn of(file: &str, signed: &SignedCheckpoint, policy: &Policy) -> Self {
        let Evaluation { standings, quorum_met, quorum_at } = policy.evaluate(signed.note());
        let quorum_met = quorum_met && policy.knows_log_of(signed);
        let witnesses = policy.witnesses.iter().zip(standings);
        let witnesses = witnesses.map(|(witness, standing)| WitnessStanding {
            name: witness.name.clone(),
            standing: match standing {
                Standing::Cosigned(_) => "cosigned",
                Standing::Absent => "absent",
                Standing::Wrong => "wrong",
                Standing::Unsupported => "unsupported",
            },
            cosigned_at: match standing {
                Standing::Cosigned(at) => Some(when(at)),
                _ => None,
            },
        });
        Self {
            file: file.to_owned(),
            origin: signed.unverified().origin.clone(),
            tree_size: signed.unverified().size,
            quorum_met,
            quorum_at: quorum_at.filter(|_| quorum_met).map(when),
            log_alone: None,
            witnesses: witnesses.collect(),
        }
    }

    /// Why the quorum is not one of so long ago at most; `None` where it is. One that is not met,
    /// or not asked for, has no age.
    #[must_use]
    pub fn too_old(&self, now: Timestamp, within: Duration) -> Option<String> {
        let at = self.quorum_at?;
        let age = now.micros().saturating_sub(at.micros());
        if age < -CLOCK_SLACK_MICROS {
            return Some(format!(
                "the quorum for the checkpoint over {} records says that it is of {at}, which is \
                 to come: how old it is cannot be told",
                self.tree_size
            ));
        }
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default());
        (age > within).then(|| {
            format!(
                "the quorum for the checkpoint over {} records is of {at}: {} ago, and at most {} \
                 was asked for",
                self.tree_size,
                format_duration(Duration::from_secs(age.as_secs())),
                format_duration(within)
            )
        })
    }

    /// Why the quorum is not met, in words.
    #[must_use]
    pub fn why_not(&self) -> String {
        let all = |standing: &str| {
            let names = self.witnesses.iter().filter(|one| one.standing == standing);
            names.map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let mut reasons = Vec::new();
        for (standing, says) in [
            ("absent", "did not cosign it"),
            ("wrong", "has a cosignature under it that does not fit"),
            ("unsupported", "has a key of an algorithm that this version does not know"),
        ] {
            let names = all(standing);
            if !names.is_empty() {
                reasons.push(format!("{names} {says}"));
            }
        }
        if reasons.is_empty() {
            reasons.push("none of the policy's logs signed it".to_owned());
        }
        let by = all("cosigned");
        let by = if by.is_empty() { "nobody".to_owned() } else { by };
        format!(
            "the checkpoint over {} records was cosigned by {by}, which is not the quorum that the \
             policy asks for: {}",
            self.tree_size,
            reasons.join("; ")
        )
    }
}

/// Seconds since 1970; the latest time that there is for what lies beyond.
fn when(seconds: u64) -> Timestamp {
    let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Timestamp::from_micros(micros)
}

/// The cosigned checkpoint beside the log; `None` where there is none, or what is there
/// is none.
pub(super) fn cosigned(view: &View) -> Result<Option<Anchor>, ReadError> {
    let path = view.log.paths.cosigned();
    let text = match read_note(&*view.log.fs, &path) {
        Ok(text) => text,
        Err(error) if super::pieces::is_damage(&error) => None,
        Err(source) => return Err(ReadError::io("read", &path, source)),
    };
    Ok(text.and_then(|text| Anchor::parse(FILE, &text).ok()))
}

/// The best of the heads that the log signed, and what is wrong with it. Each head comes with how
/// many of the log's records it was found to cover.
pub(super) fn judge<'a>(
    request: &Request,
    policy: &Policy,
    anchors: impl Iterator<Item = (&'a Anchor, Option<u64>)>,
    keys: Option<&Keyring>,
    tree_size: u64,
) -> (Option<Witnessed>, Option<Finding>) {
    let of_this_log = |(anchor, covers): (&Anchor, Option<u64>)| {
        let note = anchor.note.as_ref()?;
        keys?.verify(note).ok()?;
        let mut one = Witnessed::of(&anchor.name, note, policy);
        let covered = covers.filter(|_| one.quorum_met).unwrap_or(0);
        one.log_alone = Some(tree_size.saturating_sub(covered));
        Some(one)
    };
    let best = anchors.filter_map(of_this_log).max_by_key(|one| {
        let cosigned = one.witnesses.iter().filter(|one| one.standing == "cosigned").count();
        // The newest quorum; without any, what comes nearest to one.
        match one.quorum_met {
            true => (true, one.quorum_at, 0, one.tree_size),
            false => (false, None, cosigned, one.tree_size),
        }
    });
    let finding = match &best {
        Some(best) if best.quorum_met => {
            let old = request.cosigned_within.and_then(|it| best.too_old(request.now, it));
            old.map(|old| Finding::new(Kind::QuorumOld, &best.file, old))
        }
        Some(best) => Some(Finding::new(Kind::NoQuorum, &best.file, best.why_not())),
        None if !policy.asks() => None,
        None => {
            let text = "there is no checkpoint of this log that witnesses cosigned: none has yet, or \
                        the file was removed";
            Some(Finding::new(Kind::NoQuorum, FILE, text))
        }
    };
    (best, finding)
}
