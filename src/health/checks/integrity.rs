//! What is known of the log's integrity without reading it: damage that the
//! writer has met, and whether checkpoint and manifest are there and fresh.

use crate::audit::status::{Damage, StatusSnapshot, Word};
use crate::health::facts::Found;
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::state::LogState;
use crate::health::view::{Verdict, View};

/// How late an idle checkpoint may be.
const LATE_MS: u64 = 60_000;

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::Integrity, |page| judge(view, page))
}

fn judge(view: &View<'_>, page: &StatusSnapshot) -> Verdict {
    let size = page.get(Word::CheckpointSize);
    let signed_at = page.time(Word::CheckpointAt);
    let age = span::millis(view.since(signed_at));
    let problems: Vec<(Status, String)> =
        [damage(page), manifest(view), checkpoint(view, page), lost(page)]
            .into_iter()
            .flatten()
            .collect();
    let status = problems.iter().map(|(status, _)| *status).max().unwrap_or(Status::Healthy);
    let message = if problems.is_empty() {
        let records = span::count(size, "record", "records");
        format!(
            "no known damage; a checkpoint over {records} was signed {age} ago; records are not \
             read here, `auditctl verify` does that"
        )
    } else {
        let mut worst_first = problems;
        worst_first.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
        worst_first.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
    };
    let limit = view.limits.health.checkpoint_age_critical.as_secs_f64();
    let mut age_metric = Metric::perf(
        "checkpoint_age_seconds",
        signed_at.map(|_| view.since(signed_at) / 1_000),
        "checkpoint_age",
        Unit::Seconds,
    );
    if view.state.is_live() {
        age_metric =
            age_metric.limits(Limit::Above(warn_after_ms(view) as f64 / 1e3), Limit::Above(limit));
    }
    let metrics = vec![
        age_metric,
        Metric::new("checkpoint_size", size),
        Metric::new("durable_records", page.get(Word::DurableSeq)),
        Metric::perf(
            "unsigned_records",
            page.get(Word::NextSeq).saturating_sub(size),
            "unsigned_records",
            Unit::None,
        ),
        Metric::perf("lost_records", page.get(Word::LostRecords), "lost_records", Unit::None),
        Metric::new("damage", page.damage().map(Damage::as_str)),
        Metric::new("damage_time", page.time(Word::DamageAt).map(|at| at.to_string())),
    ];
    Verdict::new(status, message, metrics)
        .hint("keep the directory as it is and compare it with a backup before anything else")
}

fn damage(page: &StatusSnapshot) -> Option<(Status, String)> {
    let damage = page.damage()?;
    let status = match damage {
        // Nothing is missing: log_file tells of it while it is news.
        Damage::FileReplaced => return None,
        Damage::CorruptionAccepted => Status::Warning,
        Damage::FileTruncated | Damage::DirectoryGone | Damage::SegmentDamaged => Status::Critical,
    };
    Some((status, damage.as_str().to_owned()))
}

fn manifest(view: &View<'_>) -> Option<(Status, String)> {
    missing(view, &view.facts.manifest, "audit.manifest.json")
}

fn missing(view: &View<'_>, file: &Found, name: &str) -> Option<(Status, String)> {
    match file {
        _ if *view.state == LogState::Opening => None,
        Found::Yes(_) => None,
        Found::No => Some((Status::Critical, format!("{name} is missing"))),
        Found::Unknown(reason) => Some((Status::Unknown, format!("{name}: {reason}"))),
    }
}

fn checkpoint(view: &View<'_>, page: &StatusSnapshot) -> Option<(Status, String)> {
    if let Some(missing) = missing(view, &view.facts.checkpoint, "audit.checkpoint") {
        return Some(missing);
    }
    let size = page.get(Word::CheckpointSize);
    if let Some(stored) = view.facts.checkpoint_size.filter(|stored| *stored < size) {
        let text = format!("audit.checkpoint is not the newest: {stored} of {size} records");
        return Some((Status::Critical, text));
    }
    match view.state {
        // A page taken over after a restore knows better than the clock.
        LogState::Stopped { .. } if size < page.get(Word::DurableSeq) => {
            Some((Status::Warning, "the last checkpoint does not cover all records".to_owned()))
        }
        state if state.is_live() => late(view, page),
        _ => None,
    }
}

/// While idle one is signed every `idle_checkpoint_interval`, else more often.
fn late(view: &View<'_>, page: &StatusSnapshot) -> Option<(Status, String)> {
    let signed_at = page.time(Word::CheckpointAt)?;
    let age_ms = view.since(Some(signed_at));
    let critical_ms = view.limits.health.checkpoint_age_critical.as_millis() as u64;
    let status = match Status::above(age_ms, warn_after_ms(view), critical_ms) {
        Status::Healthy => return None,
        status => status,
    };
    Some((status, format!("no checkpoint was signed for {}", span::millis(age_ms))))
}

fn warn_after_ms(view: &View<'_>) -> u64 {
    let idle_ms = view.limits.idle_checkpoint_interval.as_millis() as u64;
    let critical_ms = view.limits.health.checkpoint_age_critical.as_millis() as u64;
    idle_ms.saturating_add(LATE_MS).min(critical_ms)
}

fn lost(page: &StatusSnapshot) -> Option<(Status, String)> {
    let lost = page.get(Word::LostRecords);
    let records = span::count(lost, "acknowledged record was", "acknowledged records were");
    (lost > 0).then(|| (Status::Warning, format!("{records} lost, see the `audit.gap` records")))
}
