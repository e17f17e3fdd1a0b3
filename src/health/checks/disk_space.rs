//! `disk_space`: what the file system below the log has left.

use crate::audit::status::DiskStage;
use crate::config::{DiskSettings, Settings};
use crate::fsio::Space;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::percent;
use crate::units::human_bytes;

use super::common::unseen;

const NAME: &str = "disk_space";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let space = match &facts.space {
        Ok(space) => *space,
        Err(_) if liveness == Liveness::NoLog => return unseen(NAME, facts),
        Err(why) => {
            let message = format!("{}: {why}", settings.log_dir.display());
            return Check::found(NAME, Problem::DiskUnknown, Status::Unknown, message);
        }
    };
    let (warn, critical) = limits(&settings.disk, space);
    // The writer gives up its reserve at "full": there is then space to see that
    // events cannot have.
    let full = liveness.is_current()
        && facts.page().and_then(|page| page.disk_stage()) == Some(DiskStage::Full);
    let (found, stage) = if full {
        (Some((Problem::DiskFull, Status::Critical)), DiskStage::Full)
    } else if space.available < critical {
        (Some((Problem::DiskLow, Status::Critical)), DiskStage::Critical)
    } else if space.available < warn {
        (Some((Problem::DiskLow, Status::Warning)), DiskStage::Warn)
    } else {
        (None, DiskStage::Ok)
    };
    let share = percent(space.available, space.total);
    let (free, total) = (human_bytes(space.available), human_bytes(space.total));
    let share_text = share.map_or_else(String::new, |share| format!(" ({share}%)"));
    let full_text = if full { "full: " } else { "" };
    let mut check =
        Check::either(NAME, found, format!("{full_text}{free}{share_text} free of {total}"))
            .metric("available_bytes", space.available)
            .metric("total_bytes", space.total)
            .metric("available_percent", share)
            .metric("warn_below_bytes", warn)
            .metric("critical_below_bytes", critical)
            .metric("stage", stage.as_str());
    if found.is_some() {
        check = check.hint(
            "free space, or let old segments go: lower retention_days; on a full disk recording \
             resumes by itself",
        );
    }
    check
}

/// Below how many bytes it warns and is critical; as the writer reckons, the
/// smaller of each pair counts.
fn limits(disk: &DiskSettings, space: Space) -> (u64, u64) {
    let part = |percent: u8| space.total / 100 * u64::from(percent);
    (
        disk.warn_bytes.0.min(part(disk.warn_percent)),
        disk.critical_bytes.0.min(part(disk.critical_percent)),
    )
}
