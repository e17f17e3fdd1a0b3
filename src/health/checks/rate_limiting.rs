//! `rate_limiting`: events refused because their source sent too many.

use crate::audit::status::{Ring, Word};
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::report::{Check, Status};
use crate::health::wording::count;

use super::common::{above, last_known, unseen};

const NAME: &str = "rate_limiting";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return unseen(NAME, facts) };
    let blocked = page.recent(Ring::Blocked, facts.now);
    let limits = &settings.health;
    let status = above(blocked, limits.blocked_warn, limits.blocked_critical);
    let known = last_known(facts, page, liveness);
    let prefix = known.as_ref().map_or("", |known| known.prefix.as_str());
    let top = page.top_blocked().filter(|_| blocked > 0);
    let most = top.as_ref().map_or_else(String::new, |(source, _)| format!(", most of {source}"));
    let message = format!("{prefix}{} refused in the last hour{most}", count(blocked, "event"));
    // The last hour is what it was, also without a writer.
    let status = known.map_or(status, |known| status.worst(known.status));
    let mut check = Check::new(NAME, status, message)
        .metric("blocked_last_hour", blocked)
        .metric("blocked_total", page.get(Word::RateLimited))
        .metric("active_sources", page.get(Word::ActiveSources))
        .metric("top_source", top.as_ref().map(|(source, _)| source.clone()))
        .metric("top_source_blocked", top.map(|(_, count)| count));
    if matches!(status, Status::Warning | Status::Critical) {
        check = check.hint(
            "a source out of hand, or a limit too low for it: see rate_limit.per_second and \
             rate_limit.burst",
        );
    }
    check
}
