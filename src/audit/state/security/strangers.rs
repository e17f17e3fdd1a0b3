//! What people without credentials bring about: counted like everything else, and
//! written as far as an allowance goes, so that nobody who merely reaches the
//! collector can rotate other lines out of the file or keep them out of the queue.

use super::floods::{Floods, Outcome};
use super::{Line, SecurityKind};
use crate::clock::Timestamp;

/// Lines of theirs that may come at once.
pub(super) const LINES_AT_ONCE: u64 = 1_000;
/// And one more is allowed each time that so much has passed.
pub(super) const LINE_EVERY_MS: u64 = 30_000;
/// What was not written by itself becomes a line of each kind so often.
pub(super) const SUMMARY_EVERY_MS: u64 = 600_000;

#[derive(Clone, Copy, Debug)]
struct Held {
    count: u64,
    first: Timestamp,
}

#[derive(Debug)]
pub(super) struct Strangers {
    floods: Floods,
    allowed: u64,
    allowed_since_ms: u64,
    held: [Option<Held>; SecurityKind::ALL.len()],
    held_since_ms: u64,
}

impl Strangers {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            floods: Floods::default(),
            allowed: LINES_AT_ONCE,
            allowed_since_ms: now_ms,
            held: [None; SecurityKind::ALL.len()],
            held_since_ms: now_ms,
        }
    }

    pub(super) fn floods(&mut self) -> &mut Floods {
        &mut self.floods
    }

    /// The lines about an event that are written now. None while the queue is
    /// `crowded`: the rest of it is for others.
    pub(super) fn lines(
        &mut self,
        outcome: Outcome,
        own: impl FnOnce() -> Line,
        now_ms: u64,
        crowded: bool,
    ) -> [Option<Line>; 2] {
        let before = outcome.before.and_then(|line| self.admit(line, now_ms, crowded));
        let own = outcome.write.then(own).and_then(|line| self.admit(line, now_ms, crowded));
        [before, own]
    }

    /// The lines about floods whose second is over, and, now and then, about what was
    /// held back; about all of it with `finish`.
    pub(super) fn take_over(&mut self, now_ms: u64, finish: bool) -> Vec<Line> {
        let over = self.floods.take_over(now_ms, finish);
        let mut lines: Vec<Line> =
            over.into_iter().filter_map(|line| self.admit(line, now_ms, false)).collect();
        if finish || now_ms.saturating_sub(self.held_since_ms) >= SUMMARY_EVERY_MS {
            self.held_since_ms = now_ms;
            for (kind, held) in SecurityKind::ALL.into_iter().zip(&mut self.held) {
                lines.extend(held.take().map(|held| Line {
                    timestamp: held.first,
                    kind,
                    source: None,
                    detail: "too many without credentials to write each of them".into(),
                    count: held.count,
                    stranger: true,
                }));
            }
        }
        lines
    }

    fn admit(&mut self, line: Line, now_ms: u64, crowded: bool) -> Option<Line> {
        let earned = now_ms.saturating_sub(self.allowed_since_ms) / LINE_EVERY_MS;
        self.allowed_since_ms += earned * LINE_EVERY_MS;
        self.allowed = (self.allowed + earned).min(LINES_AT_ONCE);
        if self.allowed > 0 && !crowded {
            self.allowed -= 1;
            return Some(Line { stranger: true, ..line });
        }
        let held = &mut self.held[line.kind as usize];
        let held = held.get_or_insert(Held { count: 0, first: line.timestamp });
        held.count += line.count;
        None
    }
}
