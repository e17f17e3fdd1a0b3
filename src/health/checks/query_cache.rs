//! `query_cache`: told, never alarming: a cold cache is slow, not wrong.

use crate::audit::state::status::Word;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::report::Check;
use crate::health::wording::percent;

use super::common::{last_known, unseen};

const NAME: &str = "query_cache";

pub(super) fn check(facts: &Facts, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return unseen(NAME, facts) };
    let (hits, misses) = (page.get(Word::CacheHits), page.get(Word::CacheMisses));
    let (entries, capacity) = (page.get(Word::CacheEntries), page.get(Word::CacheCapacity));
    let hit_rate = percent(hits, hits.saturating_add(misses));
    let text = hit_rate.map_or_else(
        || "not used yet".to_owned(),
        |rate| format!("{rate}% hits, {entries} of {capacity} entries"),
    );
    let (found, prefix) = last_known(facts, page, liveness)
        .map_or((None, String::new()), |known| (known.found, known.prefix));
    Check::either(NAME, found, format!("{prefix}{text}"))
        .metric("entries", entries)
        .metric("capacity", capacity)
        .metric("bytes", page.get(Word::CacheBytes))
        .metric("hits", hits)
        .metric("misses", misses)
        .metric("evictions", page.get(Word::CacheEvictions))
        .metric("hit_rate_percent", hit_rate)
}
