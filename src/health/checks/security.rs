//! `security`: invalid events, and other security events, in the last hour.
//!
//! What people without credentials bring about is told, and decides nothing: a load
//! balancer takes a node out whose health is critical, and then whoever can send a
//! request without a token could have all nodes taken out.

use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Ring;
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::Check;
use crate::health::wording::count;

use super::common::{above, last_known, unseen, worse};

const NAME: &str = "security";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return unseen(NAME, facts) };
    let invalid = page.recent(Ring::Validation, facts.now);
    let other = page.recent(Ring::Security, facts.now);
    let strangers = page.recent(Ring::Strangers, facts.now);
    let limits = &settings.health;
    let found = worse(
        above(invalid, limits.validation_errors_warn, limits.validation_errors_critical)
            .map(|status| (Problem::InvalidEvents, status)),
        above(other, limits.security_warn, limits.security_critical)
            .map(|status| (Problem::SecurityEvents, status)),
    );
    let known = last_known(facts, page, liveness);
    let prefix = known.as_ref().map_or("", |known| known.prefix.as_str());
    let of_strangers = if strangers == 0 {
        String::new()
    } else {
        format!("; {} without credentials", count(strangers, "attempt"))
    };
    let message = format!(
        "{prefix}{}, {} in the last hour{of_strangers}",
        count(invalid, "validation error"),
        count(other, "other security event")
    );
    let found = worse(found, known.and_then(|known| known.found));
    let mut check = Check::either(NAME, found, message)
        .metric("validation_errors_last_hour", invalid)
        .metric("security_events_last_hour", other)
        .metric("stranger_events_last_hour", strangers);
    for kind in SecurityKind::ALL {
        check = check.metric(total_name(kind), page.security(kind));
    }
    if matches!(check.problem(), Some(Problem::InvalidEvents | Problem::SecurityEvents)) {
        check = check.hint("read security_events.log in the log directory: it says who did what");
    }
    check
}

fn total_name(kind: SecurityKind) -> &'static str {
    match kind {
        SecurityKind::Validation => "validation_total",
        SecurityKind::Malformed => "malformed_total",
        SecurityKind::Oversize => "oversize_total",
        SecurityKind::Sanitized => "sanitized_total",
        SecurityKind::Unauthorized => "unauthorized_total",
        SecurityKind::RateLimited => "rate_limited_total",
        SecurityKind::HostilePeer => "hostile_peer_total",
        SecurityKind::LogTampered => "log_tampered_total",
        SecurityKind::TargetRefused => "target_refused_total",
    }
}
