//! The query cache: shown as measured; it has no thresholds.

use crate::audit::status::{StatusSnapshot, Word};
use crate::health::metric::{Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::view::{Verdict, View};

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::QueryCache, judge)
}

fn judge(page: &StatusSnapshot) -> Verdict {
    let (entries, capacity) = (page.get(Word::CacheEntries), page.get(Word::CacheCapacity));
    let (hits, misses) = (page.get(Word::CacheHits), page.get(Word::CacheMisses));
    let rate = (hits * 100).checked_div(hits + misses);
    let message = match rate {
        None => format!("not used yet; room for {capacity} blocks"),
        Some(rate) => format!("{rate}% hits; {entries} of {capacity} blocks kept"),
    };
    let metrics = vec![
        Metric::perf("hit_rate_percent", rate, "cache_hit_rate", Unit::Percent),
        Metric::perf("entries", entries, "cache_entries", Unit::None).max(capacity),
        Metric::new("capacity", capacity),
        Metric::new("hits", hits),
        Metric::new("misses", misses),
        Metric::new("evictions", page.get(Word::CacheEvictions)),
        Metric::new("bytes", page.get(Word::CacheBytes)),
    ];
    Verdict::new(Status::Healthy, message, metrics)
}
