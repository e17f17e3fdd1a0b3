use std::collections::VecDeque;

use super::*;
use proptest::prelude::*;

/// The same, the obvious way.
#[derive(Default)]
struct Naive {
    /// Sender and name, content, seq, when.
    seen: VecDeque<((u64, u64), u64, u64, i64)>,
}

impl Naive {
    fn look(&self, (name, content): ((u64, u64), u64), now: i64, age: i64) -> Known {
        match self.seen.iter().rev().find(|seen| seen.0 == name) {
            Some((.., at)) if now - at >= age => Known::New,
            Some((_, known, seq, _)) if *known == content => Known::Same(*seq),
            Some((_, _, seq, _)) => Known::Other(*seq),
            None => Known::New,
        }
    }

    /// How many a sender has.
    fn share(&self, sender: u64) -> usize {
        self.seen.iter().filter(|seen| seen.0.0 == sender).count()
    }

    fn add(
        &mut self,
        (name, content): ((u64, u64), u64),
        (seq, now): (u64, i64),
        (count, age): (usize, i64),
    ) {
        while self.seen.front().is_some_and(|(.., at)| now - at >= age) {
            self.seen.pop_front();
        }
        while self.seen.len() >= count {
            let by_size = |sender: &u64| (self.share(*sender), *sender == name.0, *sender);
            let largest = self.seen.iter().map(|seen| seen.0.0).max_by_key(by_size);
            let first = self.seen.iter().position(|seen| Some(seen.0.0) == largest);
            self.seen.remove(first.expect("it has one"));
        }
        self.seen.push_back((name, content, seq, now));
    }
}

fn print(name: u64, content: u64) -> Fingerprint {
    of_sender(0, name, content)
}

fn of_sender(sender: u64, name: u64, content: u64) -> Fingerprint {
    // Names that want the same places of the table.
    Fingerprint { sender, name: [name % 5, 1_000 * sender + name], content }
}

fn window(count: usize, age_us: u64) -> IdWindow {
    IdWindow::new(IdLimits { count, age: Duration::from_micros(age_us) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_window_answers_as_a_naive_list_does_however_the_clock_is_set(
        count in 1_usize..40, age in 1_i64..200,
        steps in proptest::collection::vec((0_u64..4, 0_u64..60, 0_u64..2, 0_i64..9, -500_i64..500, any::<bool>()), 1..400),
    ) {
        let mut window = window(count, age as u64);
        let mut naive = Naive::default();
        let (mut steady, mut wall) = (1_000_i64, 50_000_i64);
        for (seq, (sender, name, content, passed, set, is_set)) in steps.into_iter().enumerate() {
            (steady, wall) = (steady + passed, wall + passed);
            if is_set {
                window.clock_set(Timestamp::from_micros(wall), Timestamp::from_micros(wall + set));
                wall += set;
            }
            let now = Timestamp::from_micros(wall);
            let print = of_sender(sender, name, content);
            let known = window.look(&print, now);
            prop_assert_eq!(known, naive.look(((sender, name), content), steady, age));
            if known == Known::New {
                window.add(&print, seq as u64, now);
                naive.add(((sender, name), content), (seq as u64, steady), (count, age));
            }
            prop_assert!(window.len() <= count);
        }
    }
}

#[test]
fn the_oldest_goes_first_and_it_is_counted_when_it_was_not_its_time_yet() {
    let mut window = window(3, 1_000);
    let at = Timestamp::from_micros;
    for seq in 0..4 {
        window.add(&print(seq, 0), seq, at(seq as i64));
    }
    assert_eq!((window.len(), window.crowded_out()), (3, 1));
    assert_eq!(window.look(&print(0, 0), at(9)), Known::New);
    assert_eq!(window.look(&print(1, 0), at(9)), Known::Same(1));
    assert_eq!(window.look(&print(1, 7), at(9)), Known::Other(1));
    window.forget_old(100, at(2_000));
    assert_eq!((window.len(), window.crowded_out(), window.bytes()), (0, 1, 0));
}

#[test]
fn an_id_that_comes_again_after_its_time_is_new_and_known_from_then_on() {
    let mut window = window(1_000, 10);
    let at = Timestamp::from_micros;
    for seq in 0..100 {
        window.add(&print(seq, 0), seq, at(0));
    }
    assert_eq!(window.look(&print(50, 0), at(9)), Known::Same(50));
    assert_eq!(window.look(&print(50, 0), at(10)), Known::New);
    window.add(&print(50, 1), 500, at(10));
    assert_eq!(window.look(&print(50, 1), at(11)), Known::Same(500));
    window.forget_old(1_000, at(11));
    assert_eq!((window.len(), window.crowded_out()), (1, 0));
    assert_eq!(window.look(&print(50, 1), at(11)), Known::Same(500), "the first one went alone");
}

#[test]
fn with_no_room_for_ids_none_is_remembered() {
    let mut window = window(0, 10);
    window.add(&print(1, 1), 1, Timestamp::from_micros(0));
    assert_eq!((window.len(), window.bytes()), (0, 0));
}

#[test]
fn an_id_takes_no_more_memory_than_is_said() {
    let mut window = window(1_000_000, 1_000_000_000);
    let mut most = 0.0_f64;
    let mut next = 1_u64;
    for seq in 0..1_200_000_u64 {
        // Any that spreads.
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = [next ^ (next >> 29), seq];
        window.add(
            &Fingerprint { sender: seq % 3, name, content: 0 },
            seq,
            Timestamp::from_micros(seq as i64),
        );
        if seq % 10_000 == 9_999 {
            most = most.max(window.bytes() as f64 / window.len() as f64);
        }
    }
    assert_eq!((window.len(), window.crowded_out()), (1_000_000, 200_000));
    assert!(most < BYTES_AN_ID as f64, "{most} bytes");
    let largest = window.table.largest_part();
    assert!(largest <= 1_000_000 / 100, "so many places move at a time: {largest}");
    println!("{most:.1} bytes an id at most, {:.1} when full", window.bytes() as f64 / 1e6);
}

#[test]
fn a_sender_that_sends_many_pushes_out_its_own() {
    let mut window = window(100, 1_000_000);
    let at = Timestamp::from_micros;
    for seq in 0..40 {
        window.add(&of_sender(1, seq, 0), seq, at(seq as i64));
    }
    for seq in 40..2_000 {
        window.add(&of_sender(2, seq, 0), seq, at(seq as i64));
    }
    let known = |seq, sender| window.look(&of_sender(sender, seq, 0), at(2_000)) != Known::New;
    assert!((0..40).all(|seq| known(seq, 1)), "all of who has fewer");
    assert!((1_940..2_000).all(|seq| known(seq, 2)) && !known(1_939, 2));
    assert_eq!((window.len(), window.crowded_out()), (100, 1_900));
}

#[test]
fn of_ids_that_are_found_from_the_newest_on_each_sender_has_its_share() {
    let mut found = window(100, 1_000_000);
    let at = Timestamp::from_micros;
    for seq in (40..2_000).rev() {
        found.recall(&of_sender(2, seq, 0), seq, at(seq as i64));
    }
    for seq in (0..40).rev() {
        found.recall(&of_sender(1, seq, 0), seq, at(seq as i64));
    }
    let is_known = |seq: u64| {
        let sender = if seq < 40 { 1 } else { 2 };
        found.look(&of_sender(sender, seq, 0), at(2_000)) == Known::Same(seq)
    };
    let known: Vec<u64> = (0..2_000).filter(|seq| is_known(*seq)).collect();
    let expected: Vec<u64> = (0..40).chain(1_940..2_000).collect();
    assert_eq!((known, found.len(), found.crowded_out()), (expected, 100, 0));
}

/// The ids that there is room for, found from the newest on, the obvious way.
fn fair(found: &[(u64, u64)], count: usize) -> Vec<(u64, u64)> {
    let mut kept: Vec<(u64, u64)> = Vec::new();
    for (seq, sender) in found.iter().rev() {
        let share = |of: u64| kept.iter().filter(|(_, sender)| *sender == of).count();
        if kept.len() >= count {
            let largest = kept.iter().map(|(_, s)| (share(*s), *s)).max();
            let Some((most, largest)) = largest.filter(|(most, _)| share(*sender) < *most) else {
                continue;
            };
            assert!(most > 0);
            let oldest = kept.iter().filter(|(_, s)| *s == largest).min().copied();
            kept.retain(|one| Some(*one) != oldest);
        }
        kept.push((*seq, *sender));
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// And what comes after the opening crowds out the same as it would have without one.
    #[test]
    fn a_window_made_again_from_its_end_holds_what_a_naive_list_does(
        count in 1_usize..30,
        senders in proptest::collection::vec(0_u64..4, 1..120),
        more in proptest::collection::vec(0_u64..4, 0..60),
    ) {
        let at = Timestamp::from_micros;
        let all: Vec<(u64, u64)> = (0..).zip(senders).collect();
        let mut window = window(count, 1_000_000);
        for (seq, sender) in all.iter().rev() {
            window.recall(&of_sender(*sender, *seq, 0), *seq, at(*seq as i64));
        }
        let kept = fair(&all, count);
        let mut naive = Naive::default();
        for (seq, sender) in &all {
            let is_kept = kept.contains(&(*seq, *sender));
            let name = of_sender(*sender, *seq, 0).name;
            if is_kept {
                naive.seen.push_back(((*sender, name[1]), 0, *seq, *seq as i64));
            }
            let known = window.look(&of_sender(*sender, *seq, 0), at(1_000));
            prop_assert_eq!(known, if is_kept { Known::Same(*seq) } else { Known::New });
        }
        let mut seq = all.len() as u64;
        let mut names: Vec<(u64, u64, u64)> = all.iter().map(|(seq, s)| (*seq, *s, *seq)).collect();
        for sender in more {
            let print = of_sender(sender, seq, 0);
            window.add(&print, seq, at(seq as i64));
            naive.add(((sender, print.name[1]), 0), (seq, seq as i64), (count, 1_000_000));
            names.push((seq, sender, seq));
            seq += 1;
            for (name, sender, _) in &names {
                let print = of_sender(*sender, *name, 0);
                let expected = naive.look(((*sender, print.name[1]), 0), seq as i64, 1_000_000);
                prop_assert_eq!(window.look(&print, at(seq as i64)), expected);
            }
        }
    }
}
