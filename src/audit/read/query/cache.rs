//! Answers kept. An answer is exact up to the record at which it was given, and
//! is completed from there: it is never stale, and needs no time after which it
//! is thrown away.

use std::hash::RandomState;

use lru::LruCache;

use super::answer::{Answer, Bounds, Found, Lines};
use super::filter::{Order, Query, Want};
use super::sum::is_full;
use super::summary::Sketch;
use crate::audit::record::peek_seq;

/// All answers together take at most so many bytes.
pub const CACHE_BYTES: usize = 32 << 20;
/// What an entry costs besides what is in it, roughly.
const ENTRY_BYTES: usize = 512;

/// Counts for the status page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) evictions: u64,
}

/// The cache: least recently used answers go first.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Unbounded as far as `LruCache` knows, which would allocate its bound at once.
    answers: LruCache<Query, Answer, RandomState>,
    capacity: usize,
    capacity_bytes: usize,
    counts: CacheCounts,
}

impl Cache {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize) -> Self {
        let answers = LruCache::unbounded_with_hasher(RandomState::new());
        Self { answers, capacity, capacity_bytes, counts: CacheCounts::default() }
    }

    pub(crate) fn get(&mut self, query: &Query) -> Option<&Answer> {
        self.answers.get(query)
    }

    pub(crate) fn put(&mut self, query: Query, answer: Answer) {
        let size = size_of_answer(&answer);
        // One answer may not push out all others.
        let cut = matches!(&answer.found, Found::Summary(it) if it.looked_from.is_some());
        let keep = size <= self.capacity_bytes / 4 && answer.damaged.is_empty() && !cut;
        let old = if keep { self.answers.put(query, answer) } else { self.answers.pop(&query) };
        if keep {
            self.counts.bytes += size as u64;
        }
        if let Some(old) = old {
            self.counts.bytes -= size_of_answer(&old) as u64;
        }
        while self.answers.len() > self.capacity || self.counts.bytes > self.capacity_bytes as u64 {
            let Some((_, old)) = self.answers.pop_lru() else { break };
            self.counts.bytes -= size_of_answer(&old) as u64;
            self.counts.evictions += 1;
        }
        self.counts.entries = self.answers.len() as u64;
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts
    }
}

fn size_of_answer(answer: &Answer) -> usize {
    ENTRY_BYTES
        + match &answer.found {
            Found::Records(lines) => lines.bytes() + lines.len() * size_of::<usize>(),
            Found::Count(_) => 0,
            Found::Groups(groups) => groups.bytes(),
            Found::Summary(summary) => summary.bytes(),
        }
}

/// What is still to be asked, so that an earlier answer holds for the records
/// `begin..end`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing.
    Nothing,
    /// This; [`complete`] puts the two together.
    This(Box<Query>),
    /// All of it: retention removed some of what was counted.
    All,
}

/// What an earlier answer lacks.
pub(super) fn missing(
    old: &Answer,
    query: &Query,
    begin: u64,
    end: u64,
    bounds: Bounds,
) -> Missing {
    // What it is about ends where it has been answered already.
    let end = end.min(query.filter.end_seq());
    let removed = old.begin < begin && query.filter.first_seq() < begin;
    // Nor can what a second look has counted be added to.
    let is_final = matches!(&old.found, Found::Summary(summary) if summary.sketch.is_none());
    if (old.is_partial() || is_final) && old.end < end {
        return Missing::All;
    }
    let Found::Records(lines) = &old.found else {
        return match (removed, old.end >= end) {
            (true, _) => Missing::All,
            (false, true) => Missing::Nothing,
            (false, false) => Missing::This(Box::new(query.within(old.end, u64::MAX))),
        };
    };
    let Want::Records { order, limit } = query.want else { return Missing::All };
    let kept = if removed { still_there(lines, begin) } else { lines.clone() };
    let was_full = is_full(lines, limit, bounds.page_bytes);
    match order {
        Order::Newest if old.end >= end => Missing::Nothing,
        Order::Newest => Missing::This(Box::new(query.within(old.end, u64::MAX))),
        // Whether what is new is more of it, only a look at it can tell.
        Order::Oldest if was_full && !old.more && old.end < end => Missing::All,
        // Full from the front on: what is new comes behind.
        Order::Oldest if was_full && kept.len() == lines.len() => Missing::Nothing,
        Order::Oldest if !was_full && old.end >= end => Missing::Nothing,
        Order::Oldest => {
            let last = lines.iter().next_back().and_then(peek_seq);
            let from = if was_full { last.map_or(old.end, |last| last + 1) } else { old.end };
            let want = Want::Records { order, limit: limit - kept.len() as u64 };
            Missing::This(Box::new(Query { filter: query.filter.within(from, u64::MAX), want }))
        }
    }
}

/// An earlier answer and what it lacked, together. `new` has the records' bounds.
pub(super) fn complete(old: &Answer, query: &Query, new: Option<Answer>, bounds: Bounds) -> Answer {
    let Some(mut new) = new else { return old.clone() };
    match (&old.found, &mut new.found) {
        (Found::Count(old), Found::Count(new)) => *new += old,
        (Found::Groups(old), Found::Groups(new)) => {
            let mut all = old.clone();
            all.merge(new, bounds.groups);
            *new = all;
        }
        (Found::Summary(old), Found::Summary(new)) => {
            if let (Some(old), Some(more)) = (&old.sketch, &new.sketch) {
                let mut all = Sketch::clone(old);
                all.merge(Sketch::clone(more), bounds.groups);
                *new = all.summary(query, None);
            }
        }
        (Found::Records(lines), Found::Records(more)) => {
            let Want::Records { order, limit } = query.want else { return new };
            let kept = still_there(lines, new.begin);
            let (first, second) = match order {
                Order::Newest => (&*more, &kept),
                Order::Oldest => (&kept, &*more),
            };
            let mut all = Lines::default();
            let mut cut = false;
            for line in first.iter().chain(second.iter()) {
                cut = is_full(&all, limit, bounds.page_bytes);
                if cut {
                    break;
                }
                all.push(line);
            }
            // Behind the older page there is more only as long as none of it has gone.
            let older = order == Order::Newest && old.more && kept.len() == lines.len();
            new.more = cut || new.more || older;
            *more = all;
        }
        _ => {}
    }
    new.unreadable += old.unreadable;
    let mut holes = old.given_up.clone();
    holes.retain(|hole| hole.end_seq > new.begin && !new.given_up.contains(hole));
    holes.append(&mut new.given_up);
    new.given_up = holes;
    new
}

/// Those that retention has left.
pub(super) fn still_there(lines: &Lines, begin: u64) -> Lines {
    lines.iter().filter(|line| peek_seq(line).is_none_or(|seq| seq >= begin)).collect()
}
