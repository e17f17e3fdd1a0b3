//! What the chunks of a look have, put together in their order.

use std::time::Instant;

use super::answer::{Answer, Bounds, Effort, Found, GivenUp, Lines, MAX_DAMAGED, missing, pruned};
use super::columnar::Tally;
use super::filter::{Query, Want};
use super::matcher::Seen;
use super::sofar::Sofar;
use super::view::View;

/// So many chunks are looked through for a record that the limit cuts off.
const LOOK_AHEAD: usize = 32;

/// What a chunk has for the answer.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) found: Sofar,
    /// There was more in it than it was asked for.
    pub(super) over: bool,
    pub(super) seen: Seen,
    pub(super) bytes_read: u64,
    pub(super) bytes_scanned: u64,
    pub(super) damage: Option<String>,
    /// What columns say, in the place of what was found.
    pub(super) tally: Option<Tally>,
    /// They are not the log's, or cannot be read: the blocks have to be.
    pub(super) is_unusable: bool,
}

/// What has been put together.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) found: Sofar,
    pub(super) limit: u64,
    pub(super) bounds: Bounds,
    /// A match was seen that is not in it.
    pub(super) more: bool,
    /// Everything was looked at.
    pub(super) is_all: bool,
    /// The time was over before that.
    pub(super) is_cut: bool,
    /// Chunks that were looked through for such a match.
    pub(super) ahead: usize,
    pub(super) seen: Seen,
    pub(super) bytes_read: u64,
    pub(super) bytes_scanned: u64,
    pub(super) damaged: Vec<String>,
    pub(super) given_up: Vec<GivenUp>,
    pub(super) effort: Effort,
}

impl Sum {
    pub(super) fn new(want: &Want, found: Sofar, bounds: Bounds) -> Self {
        let limit = match want {
            Want::Records { limit, .. } => *limit,
            _ => u64::MAX,
        };
        Self {
            found,
            limit,
            bounds,
            more: false,
            is_all: false,
            is_cut: false,
            ahead: 0,
            seen: Seen::default(),
            bytes_read: 0,
            bytes_scanned: 0,
            damaged: Vec::new(),
            given_up: Vec::new(),
            effort: Effort::default(),
        }
    }

    /// Takes no more records.
    fn is_full(&self) -> bool {
        match &self.found {
            Sofar::Records(lines) => is_full(lines, self.limit, self.bounds.page_bytes),
            _ => false,
        }
    }

    /// Nothing that follows matters. Whether anything follows is looked for only where the
    /// limit is reached: who pages sees it on the next page.
    pub(super) fn is_done(&self) -> bool {
        let pages =
            matches!(&self.found, Sofar::Records(lines) if (lines.len() as u64) < self.limit);
        self.is_full() && (pages || self.more || self.ahead >= LOOK_AHEAD)
    }

    /// How many records more it takes.
    pub(super) fn room(&self) -> u64 {
        match &self.found {
            Sofar::Records(lines) => self.limit - lines.len() as u64,
            _ => u64::MAX,
        }
    }

    pub(super) fn add(&mut self, part: Part, kept: Option<&Sofar>) {
        self.bytes_read += part.bytes_read;
        if let Some(tally) = part.tally {
            self.add_tally(tally, kept);
            return;
        }
        self.bytes_scanned += part.bytes_scanned;
        if self.is_full() {
            // What cannot be read may have some.
            let has_some = matches!(&part.found, Sofar::Records(lines) if !lines.is_empty());
            self.more |= has_some || part.over || part.damage.is_some();
            self.ahead += 1;
            return;
        }
        self.seen.read += part.seen.read;
        self.seen.unreadable += part.seen.unreadable;
        if let Some(damage) = part.damage
            && self.damaged.len() < MAX_DAMAGED
        {
            self.damaged.push(damage);
        }
        self.add_found(part.found, part.over);
    }

    /// What columns say of some blocks.
    fn add_tally(&mut self, tally: Tally, kept: Option<&Sofar>) {
        tally.blocks.into_iter().for_each(|block| self.add_found(block, false));
        match &mut self.found {
            Sofar::Groups(groups) => {
                let kept = match kept {
                    Some(Sofar::Groups(kept)) => Some(kept),
                    _ => None,
                };
                let room = self.bounds.groups;
                tally.groups.iter().for_each(|counts| counts.add_to(groups, kept, room));
            }
            Sofar::Summary(sketch) => {
                let kept = match kept {
                    Some(Sofar::Summary(kept)) => Some(&**kept),
                    _ => None,
                };
                sketch.add_groups(&tally.groups, kept, self.bounds.groups);
            }
            _ => {}
        }
    }

    fn add_found(&mut self, found: Sofar, over: bool) {
        match (&mut self.found, found) {
            (Sofar::Records(lines), Sofar::Records(more)) => {
                for line in more.iter() {
                    if is_full(lines, self.limit, self.bounds.page_bytes) {
                        self.more = true;
                        return;
                    }
                    lines.push(line);
                }
                self.more |= over;
            }
            (Sofar::Count(count), Sofar::Count(more)) => *count += more,
            (Sofar::Groups(groups), Sofar::Groups(more)) => groups.merge(&more, self.bounds.groups),
            (Sofar::Summary(sketch), Sofar::Summary(more)) => {
                sketch.merge(*more, self.bounds.groups)
            }
            _ => {}
        }
    }

    pub(super) fn answer(self, view: &View, query: &Query, begun: Instant) -> Answer {
        let more = self.is_full() && (self.more || !self.is_all);
        let mut effort = self.effort;
        effort.micros = begun.elapsed().as_micros() as u64;
        let found = match self.found {
            Sofar::Records(lines) => Found::Records(lines),
            Sofar::Count(count) => Found::Count(count),
            Sofar::Groups(groups) => Found::Groups(groups),
            Sofar::Summary(sketch) => {
                let cut = self.is_cut.then(|| query.filter.end_seq().min(view.end));
                Found::Summary(sketch.summary(query, cut))
            }
        };
        Answer {
            found,
            begin: view.begin,
            end: view.end,
            history: view.history(),
            more,
            pruned: pruned(query, (view.begin, view.oldest()), more),
            unreadable: self.seen.unreadable,
            damaged: self.damaged,
            given_up: self.given_up,
            missing: missing(query, (view.end, view.signed)),
            effort,
        }
    }
}

/// Whether a page takes no more.
pub(super) fn is_full(lines: &Lines, limit: u64, page_bytes: usize) -> bool {
    lines.len() as u64 >= limit || lines.bytes() >= page_bytes
}
