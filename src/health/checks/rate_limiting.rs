//! `rate_limiting`: events refused because their source sent too many.

use crate::audit::state::status::{Ring, Word};
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::Check;
use crate::health::wording::count;

use super::common::{above, last_known, unseen, worse};

const NAME: &str = "rate_limiting";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return unseen(NAME, facts) };
    let blocked = page.recent(Ring::Blocked, facts.now);
    let limits = &settings.health;
    let much = above(blocked, limits.blocked_warn, limits.blocked_critical);
    let known = last_known(facts, page, liveness);
    let prefix = known.as_ref().map_or("", |known| known.prefix.as_str());
    let top = page.top_blocked().filter(|_| blocked > 0);
    let most = top.as_ref().map_or_else(String::new, |top| match &top.sender {
        Some(sender) => format!(", most of {} from {sender}", top.source),
        None => format!(", most of {}", top.source),
    });
    let message = format!("{prefix}{} refused in the last hour{most}", count(blocked, "event"));
    // The last hour is what it was, also without a writer.
    let found = much.map(|status| (Problem::Blocked, status));
    let mut check = Check::either(NAME, worse(found, known.and_then(|known| known.found)), message)
        .metric("blocked_last_hour", blocked)
        .metric("blocked_total", page.get(Word::RateLimited))
        .metric("active_sources", page.get(Word::ActiveSources))
        .metric("top_source", top.as_ref().map(|top| top.source.clone()))
        .metric("top_sender", top.as_ref().and_then(|top| top.sender.clone()))
        .metric("top_source_blocked", top.map(|top| top.refused));
    if check.problem() == Some(Problem::Blocked) {
        check = check.hint(
            "fix the source, or raise rate_limit.per_second and rate_limit.burst if it needs more",
        );
    }
    check
}
