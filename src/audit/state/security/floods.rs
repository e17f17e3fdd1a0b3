//! Turns a flood of security events into one line a second.

use lru::LruCache;
use std::hash::RandomState;

use super::{Line, MAX_DETAIL_BYTES, SecurityKind, clean_into, clean_source};
use crate::clock::Timestamp;

/// Events of one kind and source that get a line each within a second.
pub const LINES_A_SECOND: u32 = 10;
const SECOND_MS: u64 = 1_000;
/// Sources remembered of each kind. More at once are not put together by source,
/// and then the queue's bound is what holds.
pub(super) const MAX_SOURCES: usize = 256;

/// What to do about an event.
#[derive(Debug)]
pub(super) struct Outcome {
    /// A line about earlier ones: of its own flood, or of a source that was
    /// forgotten to make room.
    pub(super) before: Option<Line>,
    /// Whether it gets its own line.
    pub(super) write: bool,
}

#[derive(Debug, Default)]
struct Flood {
    /// When its second began.
    since_ms: u64,
    /// Events in this second.
    seen: u32,
    /// The second before was over the limit, so that every event is held.
    flooding: bool,
    /// Events that wait to become one line; with the time and detail of the first.
    held: u64,
    first: Timestamp,
    detail: String,
}

impl Flood {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= SECOND_MS
    }

    fn take(&mut self, kind: SecurityKind, source: &str) -> Option<Line> {
        let count = std::mem::take(&mut self.held);
        (count > 0).then(|| Line {
            timestamp: self.first,
            kind,
            source: clean_source(source),
            detail: self.detail.as_str().into(),
            count,
            stranger: false,
        })
    }

    /// Begins the next second.
    fn turn(&mut self, now_ms: u64) {
        let calm_between = now_ms.saturating_sub(self.since_ms) >= 2 * SECOND_MS;
        self.flooding = self.seen > LINES_A_SECOND && !calm_between;
        self.seen = 0;
        self.since_ms = now_ms;
    }

    /// Whether the event gets its own line.
    fn note(&mut self, detail: &str, now: Timestamp) -> bool {
        self.seen = self.seen.saturating_add(1);
        if !self.flooding && self.seen <= LINES_A_SECOND {
            return true;
        }
        if self.held == 0 {
            self.first = now;
            clean_into(detail, MAX_DETAIL_BYTES, &mut self.detail);
        }
        self.held += 1;
        false
    }
}

/// The last second of each kind and source, the least recent forgotten first.
#[derive(Debug)]
pub(super) struct Floods([LruCache<Box<str>, Flood, RandomState>; SecurityKind::ALL.len()]);

impl Default for Floods {
    fn default() -> Self {
        // Unbounded for `LruCache`, which would allocate its bound at once.
        Self(std::array::from_fn(|_| LruCache::unbounded_with_hasher(RandomState::new())))
    }
}

impl Floods {
    pub(super) fn note(
        &mut self,
        kind: SecurityKind,
        source: &str,
        detail: &str,
        now: Timestamp,
        now_ms: u64,
    ) -> Outcome {
        let sources = &mut self.0[kind as usize];
        if let Some(flood) = sources.get_mut(source) {
            let over = flood.is_over(now_ms);
            let before = if over { flood.take(kind, source) } else { None };
            if over {
                flood.turn(now_ms);
            }
            return Outcome { before, write: flood.note(detail, now) };
        }
        let forgotten = if sources.len() < MAX_SOURCES { None } else { sources.pop_lru() };
        let before = forgotten.and_then(|(source, mut flood)| flood.take(kind, &source));
        let mut flood = Flood { since_ms: now_ms, ..Flood::default() };
        let write = flood.note(detail, now);
        sources.put(source.into(), flood);
        Outcome { before, write }
    }

    /// The lines about floods whose second is over; about all of them with `finish`.
    pub(super) fn take_over(&mut self, now_ms: u64, finish: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for (kind, sources) in SecurityKind::ALL.into_iter().zip(&mut self.0) {
            for (source, flood) in sources.iter_mut() {
                if finish || flood.is_over(now_ms) {
                    lines.extend(flood.take(kind, source));
                }
            }
        }
        lines
    }
}
