//! Whether enough witnesses cosigned a checkpoint of the log.

use super::anchor::Anchor;
use super::report::{Finding, Kind, WitnessStanding, Witnessed};
use super::view::View;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, read_note};
use crate::audit::keys::policy::{Evaluation, Policy, Standing};
use crate::audit::read::error::ReadError;
use crate::clock::Timestamp;

const FILE: &str = "audit.cosigned";

impl Witnessed {
    /// Of a checkpoint that was found at `file`.
    #[must_use]
    pub fn of(file: &str, signed: &SignedCheckpoint, policy: &Policy) -> Self {
        let Evaluation { standings, quorum_met } = policy.evaluate(signed.note());
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
            quorum_met: quorum_met && policy.knows_log_of(signed),
            witnesses: witnesses.collect(),
        }
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

/// The best of the heads that the log signed, and what is wrong with it.
pub(super) fn judge<'a>(
    policy: &Policy,
    anchors: impl Iterator<Item = &'a Anchor>,
    keys: Option<&Keyring>,
) -> (Option<Witnessed>, Option<Finding>) {
    let of_this_log = |anchor: &Anchor| {
        let note = anchor.note.as_ref()?;
        keys?.verify(note).ok()?;
        Some(Witnessed::of(&anchor.name, note, policy))
    };
    let best = anchors.filter_map(of_this_log).max_by_key(|one| {
        let cosigned = one.witnesses.iter().filter(|one| one.standing == "cosigned").count();
        (one.quorum_met, cosigned, one.tree_size)
    });
    let finding = match &best {
        Some(best) if best.quorum_met => None,
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
