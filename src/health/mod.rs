//! How the log and its writer are, seen from any process.
//!
//! [`check`] looks once and judges. It takes no lock, starts no writer, asks
//! nobody and reads neither the manifest nor any records (but the oldest that the archive lacks):
//! the writer's status page, whether the lock is held, and what a few files are. Milliseconds, whatever
//! the size of the log; on a full disk and beside a writer that hangs too.
//!
//! Only `gather` looks; the rest turns what it saw into words.

pub(crate) mod checks;
mod elsewhere;
mod found;
mod gather;
mod liveness;
mod problem;
pub(crate) mod pushed;
mod reach;
mod report;
#[cfg(test)]
pub(crate) mod samples;
mod status;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod wording;

pub use elsewhere::{ArchiveNoted, BackupNoted, CopyNoted, Elsewhere};
pub use found::{Findings, Found, FoundBy, next_steps, note_ended, note_verified};
pub(crate) use gather::MAX_STATE_BYTES;
pub use problem::Problem;
#[cfg(feature = "application")]
pub(crate) use reach::in_time_of;
pub use reach::{InReach, Keeper, Reach};
pub use report::{Check, HealthReport, Metadata, Metrics, Status, Summary};

use std::time::Duration;

use crate::alerts::AlertsStatus;
use crate::audit::state::status::StatusSnapshot;
use crate::clock::Clock;
use crate::config::Settings;
use crate::fsio::Fs;
use crate::units::format_duration;

use gather::{Archive, Backups, Facts, Page, Process, Seen, Verified};

/// What [`check`] found.
#[derive(Clone, Debug)]
pub struct Health {
    /// The judgement.
    pub report: HealthReport,
    /// The status page it was made from; `None` when there was none to read.
    /// For metrics.
    pub snapshot: Option<StatusSnapshot>,
    /// How alerts are delivered; `None` when none are set, or nothing is known.
    pub alerts: Option<AlertsStatus>,
}

/// Looks at the log in `settings.log_dir` and judges it by `settings.health` and
/// `settings.disk`. Never fails: what cannot be seen is [`Status::Unknown`], with
/// the reason.
#[must_use]
pub fn check(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Health {
    let facts = gather::gather(settings, fs, clock);
    let report = judge(&facts, settings);
    let snapshot = match facts.page {
        Page::Read(page) => Some(page),
        _ => None,
    };
    Health { report, snapshot, alerts: facts.alerts.unwrap_or_default() }
}

/// What is said when [`check`] has not returned `after` so long, because the file
/// system does not answer: everything [`Status::Unknown`]. Looks at nothing.
#[must_use]
pub fn unanswered(settings: &Settings, clock: &dyn Clock, after: Duration) -> Health {
    let why = format!("no answer from the file system within {}", format_duration(after));
    let facts = Facts {
        now: clock.now(),
        boot_ms: clock.boot_ms(),
        boot_id: None,
        page: Page::Unusable(why.clone()),
        locked: Err(why.clone()),
        log_file: Seen::Unknown(why.clone()),
        written_bytes: 0,
        checkpoint: Seen::Unknown(why.clone()),
        manifest: Seen::Unknown(why.clone()),
        next_key: Seen::Unknown(why.clone()),
        key: Seen::Unknown(why.clone()),
        key_unusable: None,
        keys_unusable: None,
        findings: Findings::None,
        key_replaced: None,
        verified: Verified::default(),
        chain_is_short: false,
        backups: Backups { unknown: Some(why.clone()), ..Backups::default() },
        alerts: Err(why.clone()),
        witness: Err(why.clone()),
        archive: settings
            .archive
            .destination
            .clone()
            .filter(|named| !named.is_empty())
            .map(|place| Archive { place, lag: Err(why.clone()), status: None }),
        space: Err(why),
        process: Process::Unknown,
    };
    let mut report = judge(&facts, settings);
    for check in &mut report.checks {
        check.hint = None;
        if check.component == "worker_thread" {
            check.hint = Some(
                "check the disk or network below the log directory; `health.deadline` sets how \
                 long health waits"
                    .to_owned(),
            );
        }
    }
    Health { report, snapshot: None, alerts: None }
}

fn judge(facts: &Facts, settings: &Settings) -> HealthReport {
    let liveness = liveness::of(facts, settings);
    let checks = checks::all(facts, settings, liveness);
    let metadata = checks::metadata(facts, settings, liveness);
    let uptime = liveness::uptime_seconds(facts, liveness);
    HealthReport::new(facts.now, uptime, checks, metadata)
}
