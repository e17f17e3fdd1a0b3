//! Events refused for their source's rate.

use crate::audit::status::{Ring, StatusSnapshot, Word};
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::view::{Verdict, View};

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::RateLimiting, |page| judge(view, page))
}

fn judge(view: &View<'_>, page: &StatusSnapshot) -> Verdict {
    let limits = &view.limits.health;
    let blocked = page.recent(Ring::Blocked, view.facts.now);
    let status = Status::above(blocked, limits.blocked_warn, limits.blocked_critical);
    let top = page.top_blocked();
    let mut message = if blocked == 0 {
        "nothing refused in the last hour".to_owned()
    } else {
        let refused = span::count(blocked, "event refused", "events refused");
        format!("{refused} in the last hour")
    };
    if let Some((source, count)) = top.as_ref().filter(|_| blocked > 0) {
        message.push_str(&format!("; most from {source:?}: {count}"));
    }
    let metrics = vec![
        Metric::perf("blocked_last_hour", blocked, "blocked_last_hour", Unit::None).limits(
            Limit::Above(limits.blocked_warn as f64),
            Limit::Above(limits.blocked_critical as f64),
        ),
        Metric::new("blocked_total", page.get(Word::RateLimited)),
        Metric::new("active_sources", page.get(Word::ActiveSources)),
        Metric::new("top_source", top.as_ref().map(|(source, _)| source.clone())),
        Metric::new("top_source_blocked", top.map(|(_, count)| count)),
    ];
    Verdict::new(status, message, metrics).hint(
        "the `audit.rate_limited` records name the sources; `rate_limit.per_second` and \
         `rate_limit.burst` are the settings",
    )
}
