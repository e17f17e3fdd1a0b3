//! Invalid events, and other security events.

use crate::audit::security::SecurityKind;
use crate::audit::status::{Ring, StatusSnapshot};
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::view::{Verdict, View};

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::Security, |page| judge(view, page))
}

fn judge(view: &View<'_>, page: &StatusSnapshot) -> Verdict {
    let limits = &view.limits.health;
    let invalid = page.recent(Ring::Validation, view.facts.now);
    let others = page.recent(Ring::Security, view.facts.now);
    let status =
        Status::above(invalid, limits.validation_errors_warn, limits.validation_errors_critical)
            .max(Status::above(others, limits.security_warn, limits.security_critical));
    let message = if invalid == 0 && others == 0 {
        "nothing in the last hour".to_owned()
    } else {
        let invalid = span::count(invalid, "invalid event", "invalid events");
        format!("{invalid}, {others} other in the last hour")
    };
    let mut metrics = vec![
        Metric::perf("validation_errors_last_hour", invalid, "validation_errors", Unit::None)
            .limits(
                Limit::Above(limits.validation_errors_warn as f64),
                Limit::Above(limits.validation_errors_critical as f64),
            ),
        Metric::perf("security_events_last_hour", others, "security_events", Unit::None).limits(
            Limit::Above(limits.security_warn as f64),
            Limit::Above(limits.security_critical as f64),
        ),
    ];
    let counted_elsewhere = |kind: &&SecurityKind| **kind != SecurityKind::RateLimited;
    for kind in SecurityKind::ALL.iter().filter(counted_elsewhere) {
        metrics.push(Metric::new(total_of(*kind), page.security(*kind)));
    }
    Verdict::new(status, message, metrics)
        .hint("security_events.log in the log directory has each with its source")
}

fn total_of(kind: SecurityKind) -> &'static str {
    match kind {
        SecurityKind::Validation => "validation_total",
        SecurityKind::Malformed => "malformed_total",
        SecurityKind::Oversize => "oversize_total",
        SecurityKind::Sanitized => "sanitized_total",
        SecurityKind::Unauthorized => "unauthorized_total",
        SecurityKind::RateLimited => "rate_limited_total",
        SecurityKind::HostilePeer => "hostile_peer_total",
        SecurityKind::LogTampered => "log_tampered_total",
    }
}
