//! Queries in the writer's process: one cache for everybody who asks.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::TRIES;
use super::answer::{Answer, Bounds, CacheUse, Effort, Found, pruned};
use super::cache::{CACHE_BYTES, Cache, CacheCounts, Missing, complete, missing, still_there};
use super::filter::Query;
use super::run::run;
use super::view::{Ledger, View};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::LogView;
use crate::audit::read::watch::Watch;
use crate::clock::Timestamp;
use crate::fsio::SharedFs;

/// Answers queries about the log that this process writes.
#[derive(Debug)]
pub(crate) struct Engine {
    log: LogView,
    ledger: Arc<dyn Ledger>,
    bounds: Bounds,
    cache: Mutex<Cache>,
}

impl Engine {
    pub(crate) fn new(
        fs: &SharedFs,
        dir: &Path,
        ledger: Arc<dyn Ledger>,
        (entries, bounds): (usize, Bounds),
    ) -> Self {
        let cache = Mutex::new(Cache::new(entries, CACHE_BYTES));
        Self { log: LogView::new(fs, dir), ledger, bounds, cache }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cache_counts(&self) -> CacheCounts {
        self.cache().counts()
    }

    /// Answers from the cache as far as it can. Questions about a range of seqs
    /// are not kept: they come from whoever pages or follows, once each.
    pub(crate) fn query(&self, query: &Query, watch: &dyn Watch) -> Result<Answer, ReadError> {
        let begun = Instant::now();
        if !query.filter.is_about_all() {
            return self.read(query, watch);
        }
        // What is durable first: what is read afterwards holds all of it.
        let end = self.ledger.durable().unwrap_or(u64::MAX);
        let manifest = self.ledger.manifest()?.manifest;
        let (begin, oldest) = (manifest.pruned.end(), manifest.oldest());
        let old = {
            let mut cache = self.cache();
            match cache.get(query) {
                Some(old) => match missing(old, query, begin, end, self.bounds) {
                    Missing::Nothing => {
                        let mut answer = renewed(old, begin, end, begun);
                        answer.pruned = pruned_now(old, query, (begin, oldest), answer.more);
                        return Ok(answer);
                    }
                    Missing::This(rest) => Some((old.clone(), rest)),
                    Missing::All => None,
                },
                None => None,
            }
        };
        let mut answer = match old {
            Some((old, rest)) => match self.read(&rest, watch)? {
                // Retention has gone on meanwhile: what the rest begins with may
                // not be what the old answer ends with.
                new if new.begin != begin => self.read(query, watch)?,
                new => {
                    let mut answer = complete(&old, query, Some(new), self.bounds);
                    if answer.is_partial() {
                        // Which groups are the largest only reading all of it can tell.
                        self.read(query, watch)?
                    } else {
                        answer.effort.cache = CacheUse::Completed;
                        answer.pruned = pruned_now(&old, query, (begin, oldest), answer.more);
                        answer
                    }
                }
            },
            None => self.read(query, watch)?,
        };
        if answer.effort.cache != CacheUse::Completed {
            answer.effort.cache = CacheUse::Miss;
        }
        answer.effort.micros = begun.elapsed().as_micros() as u64;
        self.cache().put(query.clone(), answer.clone());
        Ok(answer)
    }

    pub(crate) fn read(&self, query: &Query, watch: &dyn Watch) -> Result<Answer, ReadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let view = View::take(&self.log, &self.ledger)?;
            match run(&view, query, self.bounds, watch) {
                Err(ReadError::Pruned { .. }) if tries < TRIES => {}
                done => return done,
            }
        }
    }
}

/// What retention has removed of an earlier answer's records by now.
fn pruned_now(
    old: &Answer,
    query: &Query,
    (begin, oldest): (u64, Option<Timestamp>),
    more: bool,
) -> Option<(u64, u64)> {
    if old.begin == begin && old.more == more {
        old.pruned
    } else {
        pruned(query, (begin, oldest), more)
    }
}

/// An answer to which nothing is new, as of now.
fn renewed(old: &Answer, begin: u64, end: u64, begun: Instant) -> Answer {
    let found = match &old.found {
        Found::Records(lines) if old.begin < begin => Found::Records(still_there(lines, begin)),
        found => found.clone(),
    };
    let effort = Effort {
        cache: CacheUse::Hit,
        micros: begun.elapsed().as_micros() as u64,
        ..Effort::default()
    };
    let kept = match (&found, &old.found) {
        (Found::Records(kept), Found::Records(all)) => kept.len() == all.len(),
        _ => true,
    };
    Answer {
        found,
        begin,
        end: end.max(old.end),
        history: old.history.clone(),
        // What followed the page is older than what has gone.
        more: old.more && kept,
        pruned: None,
        unreadable: old.unreadable,
        damaged: Vec::new(),
        given_up: old.given_up.iter().filter(|hole| hole.end_seq > begin).cloned().collect(),
        // What is durable here is all that there is.
        missing: None,
        effort,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::filter::{Filter, Order, Want};
    use super::super::view::Listed;
    use super::*;
    use crate::audit::files::manifest::{Manifest, Segment};
    use crate::audit::files::segment::Block;
    use crate::audit::paths::sealed_name;
    use crate::audit::read::watch::Unwatched;
    use crate::audit::tree::document::Unknown;
    use crate::audit::tree::merkle::{Range, leaf_hash};
    use crate::clock::Timestamp;
    use crate::fsio::OsFs;

    const RECORDS: u64 = 10;

    /// A log of one segment that retention has removed, which the manifest lists in so
    /// many views, and does not list any more when it is looked for.
    #[derive(Debug)]
    struct Overtaken {
        views: AtomicU32,
        looks: AtomicU32,
        listed: Arc<Manifest>,
        removed: Arc<Manifest>,
    }

    impl Overtaken {
        fn in_views(views: u32) -> Arc<Self> {
            let mut tree = Range::empty(0);
            (0..RECORDS).for_each(|seq| tree.append(leaf_hash(&seq.to_be_bytes())));
            let at = Timestamp::from_micros(0);
            let block = Block {
                records: RECORDS,
                raw_bytes: 100,
                stored_bytes: 100,
                tree: tree.clone(),
                ..Block::empty(0, 0)
            };
            let segment = Segment {
                file: sealed_name(0, false),
                first_seq: 0,
                records: RECORDS,
                raw_bytes: 100,
                stored_bytes: 100,
                sha256: None,
                filters_sha256: None,
                columns_sha256: None,
                min_timestamp: at,
                max_timestamp: at,
                damage: None,
                blocks: vec![block],
                unknown: Unknown::default(),
            };
            let listed =
                Manifest { segments: vec![segment].into(), ..Manifest::new("5f0c".to_owned()) };
            let removed = Manifest { pruned: tree, ..Manifest::new("5f0c".to_owned()) };
            Arc::new(Self {
                views: AtomicU32::new(views),
                looks: AtomicU32::new(0),
                listed: Arc::new(listed),
                removed: Arc::new(removed),
            })
        }
    }

    impl Ledger for Overtaken {
        fn durable(&self) -> Option<u64> {
            Some(RECORDS)
        }

        fn manifest(&self) -> Result<Listed, ReadError> {
            // A view asks first, then whoever does not find the segment's file.
            let is_view = self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            let lists = is_view && self.views.load(Ordering::Relaxed) > 0;
            let manifest = if lists {
                self.views.fetch_sub(1, Ordering::Relaxed);
                &self.listed
            } else {
                &self.removed
            };
            Ok(Listed { manifest: Arc::clone(manifest), signature: None })
        }

        fn is_signed(&self, _: &Listed) -> bool {
            true
        }
    }

    #[test]
    fn a_query_that_retention_overtakes_is_asked_again_five_times_at_most() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path();
        let want = Want::Records { order: Order::Oldest, limit: 100 };
        let query = Query { filter: Filter::default(), want };
        let read = |views| {
            let ledger: Arc<dyn Ledger> = Overtaken::in_views(views);
            let fs: SharedFs = Arc::new(OsFs);
            Engine::new(&fs, dir, ledger, (0, Bounds::default())).read(&query, &Unwatched)
        };
        for views in 0..TRIES {
            let answer = read(views).expect("what is left");
            assert_eq!((answer.begin, answer.end), (RECORDS, RECORDS), "{views}");
        }
        assert!(matches!(read(TRIES), Err(ReadError::Pruned { .. })));
    }
}
