//! Queries in the writer's process: one cache for everybody who asks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::answer::{Answer, CacheUse, Effort, Found};
use super::cache::{CACHE_BYTES, Cache, CacheCounts, Missing, complete, missing, still_there};
use super::filter::Query;
use super::run::{Bounds, run};
use super::view::{Ledger, View};
use super::{QueryError, TRIES};
use crate::fsio::SharedFs;

/// Answers queries about the log that this process writes.
#[derive(Debug)]
pub(crate) struct Engine {
    fs: SharedFs,
    dir: PathBuf,
    ledger: Arc<dyn Ledger>,
    bounds: Bounds,
    cache: Mutex<Cache>,
}

impl Engine {
    pub(crate) fn new(
        fs: SharedFs,
        dir: PathBuf,
        ledger: Arc<dyn Ledger>,
        (entries, bounds): (usize, Bounds),
    ) -> Self {
        let cache = Mutex::new(Cache::new(entries, CACHE_BYTES));
        Self { fs, dir, ledger, bounds, cache }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cache_counts(&self) -> CacheCounts {
        self.cache().counts()
    }

    /// Answers from the cache as far as it can. Questions about a range of seqs
    /// are not kept: they come from whoever pages or follows, once each.
    pub(crate) fn query(&self, query: &Query) -> Result<Answer, QueryError> {
        let begun = Instant::now();
        if !query.filter.is_about_all() {
            return self.read(query);
        }
        // What is durable first: what is read afterwards holds all of it.
        let end = self.ledger.durable().unwrap_or(u64::MAX);
        let begin = self.ledger.manifest()?.manifest.pruned.end();
        let old = {
            let mut cache = self.cache();
            match cache.get(query) {
                Some(old) => match missing(old, query, begin, end, self.bounds) {
                    Missing::Nothing => {
                        let answer = renewed(old, begin, end, begun);
                        return Ok(answer);
                    }
                    Missing::This(rest) => Some((old.clone(), rest)),
                    Missing::All => None,
                },
                None => None,
            }
        };
        let mut answer = match old {
            Some((old, rest)) => match self.read(&rest)? {
                // Retention has gone on meanwhile: what the rest begins with may
                // not be what the old answer ends with.
                new if new.begin != begin => self.read(query)?,
                new => {
                    let mut answer = complete(&old, query, Some(new), self.bounds);
                    answer.effort.cache = CacheUse::Completed;
                    answer
                }
            },
            None => self.read(query)?,
        };
        if answer.effort.cache != CacheUse::Completed {
            answer.effort.cache = CacheUse::Miss;
        }
        answer.effort.micros = begun.elapsed().as_micros() as u64;
        self.cache().put(query.clone(), answer.clone());
        Ok(answer)
    }

    pub(crate) fn read(&self, query: &Query) -> Result<Answer, QueryError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let view = View::take(&self.fs, &self.dir, &self.ledger)?;
            match run(&view, query, self.bounds) {
                Err(QueryError::Pruned { .. }) if tries < TRIES => {}
                done => return done,
            }
        }
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
        // What followed the page is older than what has gone.
        more: old.more && kept,
        unreadable: old.unreadable,
        damaged: Vec::new(),
        effort,
    }
}
