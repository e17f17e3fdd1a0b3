//! Is there anything that says the trail is not whole? Reads no bodies: proving
//! it is `verify`'s.

use super::live::lost;
use super::{Check, Liveness, Seen, Status};
use crate::audit::status::{Damage, Word};
use crate::config::Settings;

/// Saved after a deletion: critical for so long, then a warning.
const FRESH_MICROS: i64 = 15 * 60 * 1_000_000;

pub(super) fn integrity(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else {
        return Check::new("integrity", Status::Unknown, "no status page");
    };
    let age = |word| page.time(word).map(|at| (seen.now.micros() - at.micros()).max(0));
    let running = seen.liveness == Liveness::Locked;
    let mut status = Status::Healthy;
    let mut found = Vec::new();
    if let Some(damage) = page.damage() {
        let fresh = age(Word::DamageAt).is_some_and(|age| age < FRESH_MICROS);
        status = status.worst(match damage {
            Damage::FileReplaced if !fresh => Status::Warning,
            Damage::CorruptionAccepted => Status::Warning,
            _ => Status::Critical,
        });
        found.push(damage.as_str().to_owned());
    }
    if !seen.has_manifest {
        status = status.worst(Status::Critical);
        found.push("audit.manifest.json is missing".to_owned());
    }
    if !seen.has_checkpoint {
        status = status.worst(Status::Critical);
        found.push("audit.checkpoint is missing".to_owned());
    }
    let limit = settings.health.checkpoint_age_critical.as_micros() as i64;
    if running && age(Word::CheckpointAt).is_some_and(|age| age > limit) {
        status = status.worst(Status::Critical);
        found.push("no checkpoint could be signed lately".to_owned());
    }
    if lost(page) > 0 {
        status = status.worst(Status::Warning);
        found.push(format!("{} acknowledged records were lost", lost(page)));
    }
    let size = page.get(Word::CheckpointSize);
    let message = if found.is_empty() {
        format!("nothing is known to be wrong; {size} records are signed")
    } else {
        found.join("; ")
    };
    let check = Check::new("integrity", status, message)
        .metric("checkpoint_size", size)
        .metric("checkpoint_age_seconds", age(Word::CheckpointAt).map(|age| age / 1_000_000))
        .metric("unsigned_records", page.get(Word::NextSeq).saturating_sub(size))
        .metric("lost_records", lost(page))
        .metric("maintenance_errors", page.get(Word::MaintenanceErrors));
    if status == Status::Healthy {
        check
    } else {
        check.hint("the log's own audit.* records say what happened; keep a copy of the directory")
    }
}
