//! The window of ids, made again from the log: the newest records that have one, as far
//! back as ids are remembered.
//!
//! Only records count that are proven: a block is read, and its lines have to give the
//! hashes that the signed manifest has of it. The manifest also says how many records of a
//! block matter here, so that blocks without any are not read; a log without ids opens as
//! fast as ever. A block that cannot be read costs its ids, and so does a hole; the status page
//! says so. Of each sender the newest count, as the window has them; so many are looked at, at
//! most, that nobody makes an opening endless.
//!
//! Time that passed is told by the times of acceptance, and by what the log says of clocks
//! that were set. An id may be remembered longer than it should be, and is never forgotten
//! sooner because somebody says that the clock was set back, or appended old times to a log
//! that was not closed.

use rayon::prelude::*;

use super::Opening;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::segment::{Active, Block};
use crate::audit::record::id::{IdKey, Recalled};
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::merkle::Range;
use crate::audit::write::ids::{IdLimits, IdWindow};
use crate::clock::{ClockWatch, Timestamp};

/// Blocks that are read at a time: at first one, for a short window.
const BLOCKS_AT_ONCE: usize = 16;
/// Ids that are looked at, for each that is remembered: one sender's may hide another's.
const LOOKS: usize = 4;

/// The ids of a log that is opened.
#[derive(Debug)]
pub(crate) struct KnownIds {
    pub(crate) window: IdWindow,
    /// Records that cannot be read, and may have had ids that should be known.
    pub(crate) unread: u64,
}

/// Where a block is.
enum Place<'a> {
    Active(&'a Active, Block),
    Sealed(&'a Segment, &'a Block),
}

impl Place<'_> {
    fn block(&self) -> &Block {
        match self {
            Self::Active(_, block) => block,
            Self::Sealed(_, block) => block,
        }
    }
}

/// What is looked for, and what was found so far, the newest first.
struct Look<'a> {
    limits: IdLimits,
    adopted: &'a [crate::audit::files::facts::Span],
    now: i64,
    /// How far the clock was set ahead after the records that come next.
    set_ahead: i64,
    found: IdWindow,
    looked_at: usize,
    unread: u64,
}

impl Look<'_> {
    fn is_over(&self, at: Timestamp) -> bool {
        self.limits.is_over(at.micros().saturating_add(self.set_ahead), self.now)
    }

    /// Records that are lost to it, where they may be of the time that counts.
    fn miss(&mut self, block: &Block) {
        // What is known of when a hole's records were made is all that its neighbours tell.
        if block.is_hole() && self.is_over(block.max_timestamp) {
            return;
        }
        self.unread += block.records;
        let (first, end) = (block.first_seq, block.tree.end());
        tracing::warn!(
            code = Trouble::IdsUnread.code(),
            first,
            end,
            "records cannot be read, and ids that they have are not known"
        );
    }

    /// Takes what a block's records say, from the last one on; whether more is wanted.
    fn take(&mut self, said: Vec<(u64, Recalled)>) -> bool {
        for (seq, recalled) in said.into_iter().rev() {
            match recalled {
                Recalled::ClockSet { by_micros } => {
                    self.set_ahead = self.set_ahead.saturating_add(by_micros.max(0));
                }
                Recalled::Id { fingerprint, accepted_at } => {
                    let at = accepted_at.micros().saturating_add(self.set_ahead);
                    // Times of records that nobody signed in time end nothing.
                    let is_sure = !self.adopted.iter().any(|span| span.contains(seq));
                    if is_sure && self.limits.is_over(at, self.now) {
                        return false;
                    }
                    if self.looked_at >= self.limits.count.saturating_mul(LOOKS) {
                        tracing::warn!(
                            code = Trouble::IdsUnread.code(),
                            end = seq + 1,
                            "the log has more ids than are looked at; older ones are not known"
                        );
                        return false;
                    }
                    self.looked_at += 1;
                    self.found.recall(&fingerprint, seq, Timestamp::from_micros(at));
                }
            }
        }
        true
    }
}

impl Opening<'_> {
    /// What was recorded with an id, and may come again.
    pub(super) fn known_ids(
        &self,
        key: &IdKey,
        (manifest, active): (&Manifest, &Active),
        watch: Option<ClockWatch>,
    ) -> KnownIds {
        let clock = &self.options.clock;
        let now = clock.now();
        let set = watch.and_then(|mut watch| watch.look(now, || clock.boot_ms()));
        let set = set.map_or(0, |set| set.to.micros().saturating_sub(set.from.micros()));
        let limits = IdLimits { count: self.options.dedupe_ids, age: self.options.dedupe_window };
        let mut look = Look {
            limits,
            adopted: &manifest.adopted,
            now: now.micros(),
            set_ahead: set.max(0),
            found: IdWindow::new(limits),
            looked_at: 0,
            unread: 0,
        };
        if !limits.remember_nothing() {
            self.look_back(key, (manifest, active), &mut look);
        }
        KnownIds { window: look.found, unread: look.unread }
    }

    fn look_back(
        &self,
        key: &IdKey,
        (manifest, active): (&Manifest, &Active),
        look: &mut Look<'_>,
    ) {
        let none_before = manifest.ids_from.unwrap_or(0);
        let sealed = manifest.segments.iter().rev();
        let sealed = sealed.flat_map(|segment| {
            segment.blocks.iter().rev().map(move |b| Place::Sealed(segment, b))
        });
        let own = active.layout.blocks().into_iter().rev();
        let mut places = own
            .map(|block| Place::Active(active, block))
            .chain(sealed)
            .filter(|place| may_matter(place.block(), none_before));
        let mut at_once = 1;
        loop {
            let part: Vec<Place<'_>> = places.by_ref().take(at_once).collect();
            if part.is_empty() {
                return;
            }
            let read: Vec<_> = part.par_iter().map(|place| self.said_in(key, place)).collect();
            for (place, said) in part.iter().zip(read) {
                match said {
                    Some(said) => {
                        if !look.take(said) {
                            return;
                        }
                    }
                    None => look.miss(place.block()),
                }
            }
            at_once = (2 * at_once).min(BLOCKS_AT_ONCE);
        }
    }

    /// What a block's records say that matters; `None` where they are not those that were
    /// noted.
    fn said_in(&self, key: &IdKey, place: &Place<'_>) -> Option<Vec<(u64, Recalled)>> {
        let lines = match place {
            _ if place.block().is_hole() => return None,
            Place::Sealed(segment, block) => self.lines_of(segment, block)?,
            Place::Active(active, block) => {
                let mut lines = vec![0; usize::try_from(block.raw_bytes).ok()?];
                active.file.read_exact_at(&mut lines, block.offset).ok()?;
                is_noted(&lines, block).then_some(lines)?
            }
        };
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        let first = place.block().first_seq;
        Some(
            (first..).zip(lines).filter_map(|(seq, line)| Some((seq, key.recall(line)?))).collect(),
        )
    }
}

/// Whether a block can have records that matter.
fn may_matter(block: &Block, none_before: u64) -> bool {
    let is_known_to_have_none = match block.ids {
        Some(ids) => ids == 0,
        // An older version sealed it; it knew nothing of ids.
        None => block.tree.end() <= none_before,
    };
    !is_known_to_have_none
}

fn is_noted(lines: &[u8], block: &Block) -> bool {
    let mut tree = Range::empty(block.first_seq);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        tree.append_line(line.strip_suffix(b"\n").unwrap_or(line));
    }
    tree == block.tree
}
