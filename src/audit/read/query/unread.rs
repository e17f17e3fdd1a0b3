//! What can be counted without being read, by what a manifest says that the log's key signed.

use super::filter::{Filter, Want};
use super::step::Step;
use super::view::View;

/// Which blocks need not be read, because what the signed manifest says of them is enough.
/// It is asked about only where every record of the filter's ranges is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// None.
    Never,
    /// Those within the ranges of seqs and times.
    Within,
    /// Of these, those whose times are in one part of the histogram of so many buckets.
    InOnePart(usize),
}

impl Whole {
    pub(super) fn of(want: &Want) -> Self {
        match want {
            Want::Count => Self::Within,
            Want::Summary(overview) if overview.by.is_empty() => Self::InOnePart(overview.buckets),
            _ => Self::Never,
        }
    }
}

/// How wide the parts of a histogram will be at least, by what the manifest says of the
/// blocks' times. What lies at either end of the log is left out, so that it is rather too
/// narrow, which costs speed, than too wide, which would cost the histogram its buckets.
pub(super) fn expected_step(view: &View, filter: &Filter, buckets: usize) -> Step {
    let overlap =
        |begin: u64, end: u64| end.min(filter.seq.1).saturating_sub(begin.max(filter.seq.0));
    let blocks = view.manifest.segments.iter().flat_map(|segment| &segment.blocks);
    let blocks: Vec<(i64, i64, u64)> = blocks
        .filter(|block| !block.is_hole())
        .filter(|block| filter.since.is_none_or(|since| block.max_timestamp >= since))
        .filter(|block| filter.until.is_none_or(|until| block.min_timestamp < until))
        .map(|block| {
            let seconds = (block.min_timestamp.unix_seconds(), block.max_timestamp.unix_seconds());
            (seconds.0, seconds.1, overlap(block.first_seq, block.tree.end()))
        })
        .collect();
    let sealed: u64 = blocks.iter().map(|block| block.2).sum();
    let tails = view.tails.iter().filter_map(|tail| tail.seqs.as_ref());
    let all = sealed + tails.map(|seqs| overlap(seqs.start, seqs.end)).sum::<u64>();
    // One in twenty from either end; a record is not later than its block's latest.
    let at = |mut times: Vec<(i64, u64)>| {
        times.sort_unstable();
        let mut sum = 0;
        let found = times.into_iter().find(|(_, records)| {
            sum += records;
            sum > all / 20
        });
        found.map(|(time, _)| time)
    };
    let first = at(blocks.iter().map(|block| (block.1, block.2)).collect());
    let last = at(blocks.iter().map(|block| (-block.0, block.2)).collect()).map(|time| -time);
    match (first, last) {
        (Some(first), Some(last)) if first < last => {
            let first = filter.since.map_or(first, |since| first.max(since.unix_seconds()));
            let last = filter.until.map_or(last, |until| last.min(until.unix_seconds()));
            Step::fitting((first, last.max(first)), buckets, Step::NARROWEST).part()
        }
        _ => Step::NARROWEST,
    }
}
