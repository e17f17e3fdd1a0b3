//! The log's size, and whether `audit.log` is the file that is written.

use crate::audit::status::{Damage, StatusSnapshot, Word};
use crate::health::facts::ActiveFile;
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::view::{Verdict, View};
use crate::units::human_bytes;

/// The writer repairs a deleted or replaced file within a fraction of a second;
/// whoever looks every few minutes has to see it all the same.
const INCIDENT_SHOWN_MS: u64 = 3_600_000;

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::LogFile, |page| judge(view, page))
}

/// What is wrong with the file now, as `metadata.state` has it.
pub(crate) fn file_incident(view: &View<'_>) -> Option<&'static str> {
    match view.facts.active_file() {
        _ if !view.state.is_live() => None,
        ActiveFile::Expected => None,
        ActiveFile::Missing => Some("log_file_deleted"),
        ActiveFile::Replaced => Some("log_file_replaced"),
        ActiveFile::Shorter { .. } => Some("log_file_truncated"),
    }
}

fn judge(view: &View<'_>, page: &StatusSnapshot) -> Verdict {
    let limits = &view.limits.health;
    let (warn, critical) = (limits.log_bytes_warn.0, limits.log_bytes_critical.0);
    let (bytes, sealed) = (page.get(Word::LogBytes), page.get(Word::Segments));
    let size =
        format!("{} in {}", human_bytes(bytes), span::count(sealed + 1, "segment", "segments"));
    let metrics = vec![
        Metric::perf("bytes", bytes, "log_size", Unit::Bytes)
            .limits(Limit::Above(warn as f64), Limit::Above(critical as f64)),
        Metric::new("active_bytes", page.get(Word::ActiveBytes)),
        Metric::new("sealed_segments", sealed),
        Metric::new("waiting_for_compression", page.get(Word::CompressBacklog)),
        Metric::new("maintenance_errors", page.get(Word::MaintenanceErrors)),
        Metric::new("incidents", page.get(Word::LogFileIncidents)),
    ];
    if let Some((message, hint)) = now_wrong(view).or_else(|| lately_wrong(view, page)) {
        return Verdict::new(Status::Critical, format!("{message}; {size}"), metrics).hint(hint);
    }
    match Status::above(bytes, warn, critical) {
        Status::Healthy => Verdict::new(Status::Healthy, size, metrics),
        status => {
            let limit = if status == Status::Critical { critical } else { warn };
            let message = format!("{size}, above {}", human_bytes(limit));
            Verdict::new(status, message, metrics).hint(
                "`retention_days` decides how long segments are kept; `health.log_bytes_warn` and \
                 `health.log_bytes_critical` from where on this is reported",
            )
        }
    }
}

fn now_wrong(view: &View<'_>) -> Option<(String, &'static str)> {
    const WHO: &str =
        "find out who did it (logrotate, a clean-up job?): auditctl rotates by itself";
    let path = view.facts.paths.active();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let open = view.state.has_process();
    match view.facts.active_file() {
        ActiveFile::Expected => None,
        ActiveFile::Missing if open => {
            Some((format!("{name} was deleted while it is written"), WHO))
        }
        ActiveFile::Missing => {
            Some((format!("{name} is missing"), "find out who removed it; a backup may have it"))
        }
        ActiveFile::Replaced => Some((format!("{name} was replaced while it is written"), WHO)),
        ActiveFile::Shorter { len, written } => Some((
            format!("{name} was truncated to {len} of {written} bytes"),
            "records are missing: `auditctl verify` says which; a backup may have them",
        )),
    }
}

fn lately_wrong(view: &View<'_>, page: &StatusSnapshot) -> Option<(String, &'static str)> {
    let ago_ms = view.since(page.time(Word::DamageAt));
    let damage = page.damage().filter(|_| ago_ms < INCIDENT_SHOWN_MS)?;
    let ago = span::millis(ago_ms);
    match damage {
        Damage::FileReplaced => Some((
            format!("the log file was deleted or replaced {ago} ago; its records were saved"),
            "an `audit.log_file_replaced` record says what was found: find out who did it",
        )),
        Damage::FileTruncated => Some((
            format!("the log file was truncated {ago} ago; records are missing"),
            "an `audit.log_file_replaced` record says which: find out who did it",
        )),
        Damage::DirectoryGone => Some((
            format!("the log directory was deleted {ago} ago"),
            "find out who did it; sealed segments have to come from a backup",
        )),
        Damage::CorruptionAccepted | Damage::SegmentDamaged => None,
    }
}
