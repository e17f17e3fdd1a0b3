//! Free space on the log's file system: looked at now, whether or not a writer runs.

use crate::audit::status::{DiskStage, StatusSnapshot};
use crate::fsio::Space;
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::view::{Verdict, View};
use crate::units::human_bytes;

pub(super) fn check(view: &View<'_>) -> Check {
    let verdict = match &view.facts.space {
        Ok(space) => judge(view, *space),
        Err(reason) => {
            Verdict::new(Status::Unknown, format!("cannot be told; {reason}"), Vec::new())
        }
    };
    verdict.into_check(Component::DiskSpace)
}

fn judge(view: &View<'_>, space: Space) -> Verdict {
    let disk = &view.limits.disk;
    // As the writer's own stages: below the smaller of the two.
    let below = |percent: u8, bytes: u64| bytes.min(space.total / 100 * u64::from(percent));
    let warn = below(disk.warn_percent, disk.warn_bytes.0);
    let critical = below(disk.critical_percent, disk.critical_bytes.0);
    let percent = (u128::from(space.available) * 100)
        .checked_div(u128::from(space.total))
        .map_or(0, |percent| percent as u64);
    let free = format!("{} free ({percent}%)", human_bytes(space.available));
    let stage = view.page().filter(|_| view.state.is_live()).and_then(StatusSnapshot::disk_stage);
    let (status, message) = if stage == Some(DiskStage::Full) {
        (Status::Critical, format!("disk full, {free}; the writer refuses new events"))
    } else if space.available < critical {
        (Status::Critical, format!("{free}, below {}", human_bytes(critical)))
    } else if space.available < warn {
        (Status::Warning, format!("{free}, below {}", human_bytes(warn)))
    } else {
        (Status::Healthy, free)
    };
    let metrics = vec![
        Metric::perf("available_bytes", space.available, "disk_free", Unit::Bytes)
            .limits(Limit::Below(warn as f64), Limit::Below(critical as f64))
            .max(space.total),
        Metric::new("total_bytes", space.total),
        Metric::new("available_percent", percent),
        Metric::new("writer_stage", stage.map(DiskStage::as_str)),
    ];
    Verdict::new(status, message, metrics).hint(
        "make space, or let fewer days be kept (`retention_days`); at full, new events are \
         refused until there is space",
    )
}
