//! The tails of a log that were looked at, as far as a later listing can show that they are the
//! same ones.
//!
//! A host that records all the time has some ten thousand tails a day, and each of them holds a
//! signed head. A lifecycle rule removes the oldest while new ones come, so nothing that begins
//! at the first of them can be compared. Hashes that begin at the last one can: each covers
//! everything from its place on.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{Proofs, TailThere};
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// So many places are kept: up to a 32nd of the tails is looked at again.
const PLACES: usize = 32;
/// What was put so shortly before the listing may have been put again in the same second.
const UNSETTLED_MICROS: i64 = 2_000_000;

/// The epoch, the first record, and which of those with the same one.
type TailAt = (u32, u64, u8);

/// The tails that were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTails {
    /// The last of them.
    last: TailAt,
    /// Some of them, from the oldest on: the hash over all that is listed from there to the last.
    places: Vec<(TailAt, Hash)>,
}

/// A part of the tails, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch(TailAt, TailAt);

impl Stretch {
    pub(crate) fn has(&self, epoch: u32, tail: &TailThere) -> bool {
        (self.0..=self.1).contains(&(epoch, tail.first, tail.nth))
    }
}

impl SeenTails {
    /// What to keep of a listing whose every tail was looked at.
    pub(crate) fn of(proofs: &Proofs, now: Timestamp) -> Option<Self> {
        let is_settled = |(_, tail): &(u32, TailThere)| {
            let put = tail.modified.map(Timestamp::micros);
            put.is_some_and(|put| now.micros().saturating_sub(put) > UNSETTLED_MICROS)
        };
        let tails: Vec<(u32, TailThere)> = proofs.all_tails().take_while(is_settled).collect();
        let (last, _) = chain(&tails).next()?;
        let every = tails.len().div_ceil(PLACES);
        let mut places: Vec<(TailAt, Hash)> = chain(&tails)
            .enumerate()
            .filter(|(at, _)| (at + 1) % every == 0)
            .map(|it| it.1)
            .collect();
        places.reverse();
        Some(Self { last, places })
    }

    /// Those that are listed as they were.
    pub(crate) fn unchanged(&self, proofs: &Proofs) -> Option<Stretch> {
        let is_new = |(epoch, tail): &(u32, TailThere)| at(*epoch, tail) > self.last;
        let tails: Vec<(u32, TailThere)> =
            proofs.all_tails().take_while(|it| !is_new(it)).collect();
        let mut first = None;
        let mut places = self.places.iter().rev().peekable();
        for (here, hash) in chain(&tails) {
            // What was listed there is not listed any more.
            while places.next_if(|(place, _)| *place > here).is_some() {}
            let Some((place, known)) = places.peek() else { break };
            if *place == here {
                if *known != hash {
                    break;
                }
                first = Some(here);
            }
        }
        first.map(|first| Stretch(first, self.last))
    }
}

fn at(epoch: u32, tail: &TailThere) -> TailAt {
    (epoch, tail.first, tail.nth)
}

/// From the last one on: each with the hash over all that is listed from there to the last.
fn chain(tails: &[(u32, TailThere)]) -> impl Iterator<Item = (TailAt, Hash)> {
    let mut hash = [0; 32];
    tails.iter().rev().map(move |(epoch, tail)| {
        let mut hasher = Sha256::new().chain_update(hash);
        hasher.update(epoch.to_be_bytes());
        hasher.update(tail.first.to_be_bytes());
        hasher.update([tail.nth]);
        hasher.update(tail.bytes.to_be_bytes());
        let modified = tail.modified.map(Timestamp::micros);
        hasher.update(modified.unwrap_or(i64::MIN).to_be_bytes());
        hash = hasher.finalize().into();
        (at(*epoch, tail), Hash::from_bytes(hash))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    /// The tails that are listed: their first records, their sizes.
    fn listed(tails: impl IntoIterator<Item = (u64, u64)>) -> Proofs {
        let mut proofs = Proofs::default();
        for (first, bytes) in tails {
            let modified = Some(Timestamp::from_micros(first as i64));
            proofs.add_tail(0, TailThere { first, nth: 0, bytes, modified });
        }
        proofs
    }

    fn seen(proofs: &Proofs) -> SeenTails {
        SeenTails::of(proofs, Timestamp::from_micros(1_000_000_000)).expect("tails")
    }

    /// How many of the tails are known to be as they were.
    fn known(seen: &SeenTails, proofs: &Proofs) -> usize {
        let known = seen.unchanged(proofs);
        proofs
            .all_tails()
            .filter(|(epoch, it)| known.is_some_and(|all| all.has(*epoch, it)))
            .count()
    }

    #[test]
    fn of_tails_that_are_removed_from_the_front_the_others_stay_known() {
        for count in [1, 2, 31, 32, 33, 64, 100, 1_000] {
            let seen = seen(&listed((0..count).map(|first| (first, 5))));
            let slack = count.div_ceil(32);
            for gone in [0, 1, count / 3, count / 2, count - 1] {
                let more = 10;
                let there = listed((gone..count + more).map(|first| (first, 5)));
                let known = known(&seen, &there) as u64;
                assert!(
                    known <= count - gone && known + slack > count - gone,
                    "{count} {gone} {known}"
                );
            }
            assert_eq!(known(&seen, &listed((count..count + 3).map(|first| (first, 5)))), 0);
        }
    }

    #[test]
    fn what_is_put_among_them_or_is_altered_or_missing_makes_those_before_it_unknown() {
        let all = |first: u64| (first * 2, 5);
        let seen = seen(&listed((0..320).map(all)));
        let put = listed((0..320).map(all).chain([(401, 5)]));
        let altered = listed((0..320).map(|first| (first * 2, if first == 200 { 6 } else { 5 })));
        let missing = listed((0..320).filter(|first| *first != 200).map(all));
        for there in [put, altered, missing] {
            let known = known(&seen, &there);
            assert!((109..=119).contains(&known), "{known}");
        }
        assert_eq!(known(&seen, &listed((0..319).map(all))), 0, "the last one is missing");
        assert_eq!(known(&seen, &listed([])), 0);
    }

    #[test]
    fn what_was_put_just_now_or_nobody_knows_when_is_looked_at_again() {
        let now = Timestamp::from_micros(10_000_000);
        let mut proofs = listed((7_999_000..8_001_000).map(|first| (first, 5)));
        let seen = SeenTails::of(&proofs, now).expect("tails");
        assert_eq!(seen.last.1, 7_999_999);
        assert_eq!(known(&seen, &proofs), 1_000 - 1_000 % 32);
        proofs = Proofs::default();
        proofs.add_tail(0, TailThere { first: 0, nth: 0, bytes: 5, modified: None });
        assert_eq!(SeenTails::of(&proofs, now), None);
    }
}
