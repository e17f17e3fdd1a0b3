use std::sync::Mutex;

use super::*;
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::empty_root;

const DAY: i64 = 24 * 3_600 * 1_000_000;

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(20_000 * DAY + day * DAY)
}

/// A manifest of so many segments of ten records.
fn manifest(segments: u64) -> Manifest {
    let mut manifest = Manifest::new("log".to_owned());
    manifest.segments = (0..segments)
        .map(|number| Segment {
            file: format!("segment {number}"),
            first_seq: number * 10,
            records: 10,
            raw_bytes: 0,
            stored_bytes: 0,
            sha256: None,
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: at(0),
            max_timestamp: at(0),
            damage: None,
            blocks: Vec::new(),
            unknown: Unknown::default(),
        })
        .collect();
    manifest
}

fn state(manifest: &Manifest, read_at: impl Fn(usize) -> Timestamp, now: Timestamp) -> State {
    let readings: Vec<_> = manifest
        .segments
        .iter()
        .enumerate()
        .map(|(index, segment)| Reading {
            first_seq: segment.first_seq,
            end_seq: segment.end_seq(),
            at: read_at(index),
        })
        .collect();
    State::of(manifest, "key".to_owned(), (0, empty_root()), &readings, now)
}

/// The same numbers in every run (SplitMix64).
fn chance(seed: u64) -> Chance {
    let state = Mutex::new(seed);
    Chance::from_fn(move || {
        let mut state = state.lock().expect("no test panicked");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    })
}

#[test]
fn thirty_runs_read_everything_again_whatever_is_drawn() {
    let mut known = manifest(100);
    let mut state = state(&known, |_| at(0), at(0));
    let chance = chance(1);
    for day in 1..=TURNS as i64 {
        // The log grows meanwhile: what is new is read at once.
        known = manifest(100 + day as u64);
        let skipped = state.choose(&known.segments, at(day), &chance);
        assert!(skipped.iter().filter(|at| at.is_none()).count() <= 2 * 5 + 1, "a small part");
        assert_eq!(skipped.last(), Some(&None), "the new one");
        state = super::tests::state(&known, |n| skipped[n].unwrap_or(at(day)), at(day));
    }
    assert!(state.read.iter().all(|read| read.at > at(0)), "{:?}", state.read);
}

#[test]
fn whoever_puts_the_state_back_after_each_run_leaves_each_segment_its_chance_in_each() {
    let known = manifest(60);
    // The attacker says that what he altered was read last, and when the rest was.
    for altered in [0, 17, 59] {
        let kept = state(&known, |n| if n == altered { at(9) } else { at(1) }, at(9));
        let chance = chance(7);
        let found =
            (0..3_000).filter(|_| kept.choose(&known.segments, at(10), &chance)[altered].is_none());
        // One in 29 on average.
        let found = found.count();
        assert!((80..130).contains(&found), "{altered}: {found} of 3000");
    }
}

#[test]
fn without_randomness_nothing_is_skipped() {
    let known = manifest(60);
    let state = state(&known, |_| at(1), at(1));
    let skipped = state.choose(&known.segments, at(2), &Chance::from_fn(|| None));
    assert!(skipped.iter().all(Option::is_none));
}

#[test]
fn a_reading_of_more_than_a_year_ago_or_of_tomorrow_is_not_believed() {
    let known = manifest(60);
    for (day, believed) in [(366, true), (367, false), (-1, false)] {
        let state = state(&known, |_| at(0), at(0));
        let skipped = state.choose(&known.segments, at(day), &chance(3));
        assert_eq!(skipped.iter().any(Option::is_some), believed, "{day} days later");
    }
}

#[test]
fn runs_of_segments_that_were_read_together_are_kept_as_one() {
    let known = manifest(60);
    let state = state(&known, |n| at(i64::from(n >= 30)), at(1));
    assert_eq!(state.read.len(), 2);
    assert_eq!(State::parse(&state.encode()), Ok(state));
}
