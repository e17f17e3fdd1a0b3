use proptest::prelude::*;

use super::bursts::MAX_ENDED;
use super::*;

const SECOND_US: u64 = 1_000_000;

fn wall(us: u64) -> Timestamp {
    Timestamp::from_micros(us as i64)
}

fn limit(per_second: f64, burst: u32, max_sources: usize) -> RateLimit {
    RateLimit { per_second, burst, max_sources }
}

fn limiter(per_second: f64, burst: u32, max_sources: usize) -> RateLimiter {
    RateLimiter::new(Some(limit(per_second, burst, max_sources)))
}

fn check(limiter: &RateLimiter, source: &str, us: u64) -> Decision {
    limiter.check(source, us, wall(us))
}

fn refused_ms(ms: u64) -> Decision {
    Decision::Refused { retry_after: Duration::from_millis(ms) }
}

fn burst(source: &str, refused: u64, first_us: u64, last_us: u64) -> Burst {
    Burst {
        sender: None,
        source: source.to_owned(),
        refused,
        first: wall(first_us),
        last: wall(last_us),
    }
}

fn top(sender: Option<&str>, source: &str, refused: u64) -> TopBlocked {
    TopBlocked { sender: sender.map(str::to_owned), source: source.to_owned(), refused }
}

#[test]
fn without_a_limit_everything_is_allowed_and_nobody_is_remembered() {
    let limiter = RateLimiter::new(None);
    for _ in 0..1_000 {
        assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    }
    assert_eq!(limiter.active_sources(0), 0);
    assert_eq!(limiter.top_blocked(), None);
    assert_eq!(limiter.finished_bursts(0, true), []);
}

/// C10.
#[test]
fn the_wait_for_several_events_is_when_all_of_them_may_come_and_no_earlier() {
    for (per_second, burst, events) in [(100.0, 34, 20), (100.0, 34, 34), (1.0, 1, 1), (7.0, 5, 3)]
    {
        let limiter = limiter(per_second, burst, 10);
        for _ in 0..burst {
            assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
        }
        let wait = limiter.wait_of(NOBODY, "a", events, 0);
        // Asking takes nothing.
        assert_eq!(limiter.wait_of(NOBODY, "a", events, 0), wait);
        let early = u64::try_from(wait.as_micros()).expect("short") - 1_000;
        let at = |us: u64| limiter.wait_of(NOBODY, "a", events, us);
        assert!(at(early) > Duration::ZERO, "{per_second} {burst} {events}: a moment early");
        let then = early + 1_000;
        assert_eq!(at(then), Duration::ZERO);
        for nth in 0..events {
            assert_eq!(check(&limiter, "a", then), Decision::Allowed, "{nth} of {events}");
        }
    }
    // More than a bucket holds come in parts: the time in which as many come in.
    let limiter = limiter(100.0, 34, 10);
    for _ in 0..34 {
        check(&limiter, "a", 0);
    }
    assert_eq!(limiter.wait_of(NOBODY, "a", 966, 0), Duration::from_millis(9_660));
    assert_eq!(limiter.wait_of(NOBODY, "unknown", 34, 0), Duration::ZERO);
    assert_eq!(RateLimiter::new(None).wait_of(NOBODY, "a", 966, 0), Duration::ZERO);
}

#[test]
fn a_source_with_a_limit_of_its_own_is_held_to_that_and_others_to_theirs() {
    let limiter = RateLimiter::new(None);
    limiter.set_own_limits([("a".to_owned(), limit(1.0, 2, 0))]);
    assert!(limiter.is_limiting());
    assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    assert_eq!(check(&limiter, "a", 0), refused_ms(1_000));
    for _ in 0..100 {
        assert_eq!(check(&limiter, "b", 0), Decision::Allowed, "it has no limit");
    }
    // What it has used it has used, and a higher rate counts from now on.
    limiter.set_own_limits([("a".to_owned(), limit(10.0, 2, 0))]);
    assert_eq!(check(&limiter, "a", 0), refused_ms(100));
    limiter.set_own_limits([]);
    assert!(!limiter.is_limiting());
    assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    assert_eq!(limiter.finished_bursts(0, true), [burst("a", 2, 0, 0)], "nothing is forgotten");
}

#[test]
fn a_burst_comes_in_at_once_and_then_one_event_an_interval() {
    let limiter = limiter(100.0, 3, 10);
    for _ in 0..3 {
        assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    }
    assert_eq!(check(&limiter, "a", 0), refused_ms(10));
    assert_eq!(check(&limiter, "a", 9_999), refused_ms(1));
    assert_eq!(check(&limiter, "a", 10_000), Decision::Allowed);
    assert_eq!(check(&limiter, "a", 10_000), refused_ms(10));
    assert_eq!(check(&limiter, "b", 10_000), Decision::Allowed, "sources do not share");
}

#[test]
fn a_rate_that_no_clock_divides_loses_no_event() {
    let limiter = limiter(3.0, 1, 10);
    let allowed = (0..3_000 * 1_000 / 4)
        .filter(|quarter_ms| check(&limiter, "a", quarter_ms * 4_000) == Decision::Allowed);
    // 3000 s at 3/s, asked every 4 ms: each waits up to 4 ms more than it had to.
    let allowed = allowed.count();
    assert!((8_928..=9_001).contains(&allowed), "{allowed}");
}

#[test]
fn a_caller_that_read_the_clock_earlier_changes_nothing() {
    let limiter = limiter(1.0, 1, 10);
    assert_eq!(check(&limiter, "a", 5 * SECOND_US), Decision::Allowed);
    assert_eq!(check(&limiter, "a", 4 * SECOND_US), refused_ms(2_000));
    assert_eq!(check(&limiter, "a", 6 * SECOND_US), Decision::Allowed);
}

#[test]
fn nonsense_limits_still_limit() {
    for per_second in [f64::NAN, -1.0, 0.0, f64::NEG_INFINITY] {
        let limiter = limiter(per_second, 0, 0);
        assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
        assert_eq!(check(&limiter, "a", SECOND_US), refused_ms(999_999_000));
    }
    let endless = limiter(f64::INFINITY, u32::MAX, usize::MAX);
    assert_eq!(check(&endless, "a", u64::MAX), Decision::Allowed);
}

#[test]
fn a_burst_of_refusals_ends_after_a_quiet_second() {
    let limiter = limiter(1.0, 1, 10);
    for us in [0, 100, 200, 900_000] {
        check(&limiter, "a", us);
    }
    assert_eq!(limiter.finished_bursts(1_899_999, false), []);
    let ended = limiter.finished_bursts(1_900_000, false);
    assert_eq!(ended, [burst("a", 3, 100, 900_000)]);
    assert_eq!(limiter.finished_bursts(9 * SECOND_US, true), [], "each is handed out once");
}

#[test]
fn refusals_that_never_stop_are_reported_every_minute() {
    let limiter = limiter(1e-6, 1, 10);
    check(&limiter, "a", 0);
    let mut seen = Vec::new();
    for half_second in 0..300 {
        let us = half_second * SECOND_US / 2;
        check(&limiter, "a", us);
        seen.extend(limiter.finished_bursts(us, false));
    }
    let counts: Vec<u64> = seen.iter().map(|burst| burst.refused).collect();
    assert_eq!(counts, [120, 120]);
    let rest = limiter.finished_bursts(150 * SECOND_US, true);
    assert_eq!(rest.iter().map(|burst| burst.refused).sum::<u64>(), 300 - 240);
}

#[test]
fn a_burst_nobody_fetched_in_time_is_kept_apart_from_the_next() {
    let limiter = limiter(1e-6, 1, 10);
    for us in [0, 1, 2, 5 * SECOND_US] {
        check(&limiter, "a", us);
    }
    let bursts = limiter.finished_bursts(5 * SECOND_US, true);
    assert_eq!(bursts, [burst("a", 2, 1, 2), burst("a", 1, 5 * SECOND_US, 5 * SECOND_US)]);
}

#[test]
fn a_forgotten_source_still_yields_its_burst() {
    let limiter = limiter(1.0, 1, 2);
    for source in ["a", "a", "b", "b", "c"] {
        check(&limiter, source, 0);
    }
    assert_eq!(limiter.finished_bursts(0, false), [burst("a", 1, 0, 0)]);
    assert_eq!(check(&limiter, "b", 0), refused_ms(1_000), "b's burst goes on in its new place");
    assert_eq!(limiter.finished_bursts(0, true), [burst("b", 2, 0, 0)]);
}

#[test]
fn more_ended_bursts_than_can_be_kept_lose_names_but_no_count() {
    let limiter = limiter(1.0, 1, 1);
    let sources = MAX_ENDED + 100;
    for n in 0..sources {
        let source = n.to_string();
        check(&limiter, &source, n as u64);
        check(&limiter, &source, n as u64);
    }
    let bursts = limiter.finished_bursts(0, true);
    assert_eq!(bursts.len(), MAX_ENDED);
    assert_eq!(bursts.iter().map(|burst| burst.refused).sum::<u64>(), sources as u64);
    let others = bursts.iter().find(|burst| burst.source == OTHER_SOURCES).expect("put together");
    assert_eq!((others.refused, others.last), (101, wall(sources as u64 - 1)));
}

#[test]
fn new_limits_hold_from_now_on_and_keep_what_was_used() {
    let limiter = limiter(1.0, 100, 10);
    for _ in 0..100 {
        assert_eq!(check(&limiter, "a", 0), Decision::Allowed);
    }
    limiter.set_limits(Some(limit(10.0, 2, 10)));
    assert_eq!(check(&limiter, "a", 0), refused_ms(100), "empty stays empty");
    assert_eq!(check(&limiter, "a", 100_000), Decision::Allowed, "at the new rate");
    limiter.set_limits(None);
    assert_eq!(check(&limiter, "a", 100_000), Decision::Allowed);
    assert_eq!(limiter.finished_bursts(100_000, true), [burst("a", 1, 0, 0)]);
    assert_eq!(limiter.active_sources(100_000), 0);
}

#[test]
fn fewer_sources_forget_the_least_recent_and_report_their_bursts() {
    let limiter = limiter(1.0, 1, 3);
    for source in ["a", "a", "b", "c", "b"] {
        check(&limiter, source, 0);
    }
    limiter.set_limits(Some(limit(1.0, 1, 1)));
    assert_eq!(limiter.finished_bursts(0, false), [burst("a", 1, 0, 0)]);
    assert_eq!(limiter.active_sources(0), 1);
    assert_eq!(check(&limiter, "b", 0), refused_ms(1_000));
}

#[test]
fn a_source_is_active_for_a_minute() {
    let limiter = limiter(1.0, 1, 10);
    check(&limiter, "a", 0);
    check(&limiter, "b", 30 * SECOND_US);
    assert_eq!(limiter.active_sources(59 * SECOND_US), 2);
    assert_eq!(limiter.active_sources(60 * SECOND_US), 1);
    check(&limiter, "a", 61 * SECOND_US);
    assert_eq!(limiter.active_sources(61 * SECOND_US), 2);
    assert_eq!(limiter.active_sources(5_000 * SECOND_US), 0);
}

#[test]
fn all_threads_together_get_what_the_bucket_holds() {
    let limiter = limiter(1e-6, 1_000, 10);
    let allowed: usize = std::thread::scope(|scope| {
        let take = || (0..1_000).filter(|_| check(&limiter, "a", 0) == Decision::Allowed).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(allowed, 1_000);
    assert_eq!(limiter.top_blocked(), Some(top(None, "a", 3_000)));
}

#[test]
fn a_sender_that_floods_a_source_mutes_nobody_else_who_uses_its_name() {
    let limiter = limiter(1.0, 3, 10);
    for _ in 0..1_000 {
        limiter.check_of("uid:65534", "billing", 0, wall(0));
    }
    for _ in 0..3 {
        let other = limiter.check_of("uid:0", "billing", 0, wall(0));
        assert_eq!(other, Decision::Allowed, "another sender has a bucket of its own");
    }
    assert_eq!(limiter.check_of("uid:0", "billing", 0, wall(0)), refused_ms(1_000));
    // Each refusal is told of whoever it was.
    let of = |sender: &str, refused| Burst {
        sender: Some(sender.to_owned()),
        ..burst("billing", refused, 0, 0)
    };
    let bursts = sorted(limiter.finished_bursts(0, true));
    assert!(
        bursts.contains(&of("uid:65534", 997)) && bursts.contains(&of("uid:0", 1)),
        "{bursts:?}"
    );
    assert_eq!(bursts.len(), 2);
    assert_eq!(limiter.top_blocked(), Some(top(Some("uid:65534"), "billing", 997)));
    assert_eq!(limiter.active_sources(0), 2);
}

#[test]
fn a_sender_that_invents_sources_pushes_out_its_own_alone() {
    let limiter = limiter(1e-6, 1, 10);
    for source in ["a", "b", "c"] {
        assert_eq!(limiter.check_of("quiet", source, 0, wall(0)), Decision::Allowed);
        assert_eq!(limiter.check_of("quiet too", source, 0, wall(0)), Decision::Allowed);
    }
    for invented in 0..10_000 {
        limiter.check_of("loud", &invented.to_string(), 0, wall(0));
        assert!(limiter.state().buckets.len() <= 10, "bounded over all");
    }
    for source in ["a", "b", "c"] {
        // A bucket that had been forgotten would be full again.
        for sender in ["quiet", "quiet too"] {
            assert_ne!(limiter.check_of(sender, source, 0, wall(0)), Decision::Allowed, "{source}");
        }
    }
    assert_eq!(limiter.state().buckets.sources_of("loud").len(), 4);
    limiter.state().buckets.assert_whole();
}

#[test]
fn among_as_many_senders_as_there_are_places_the_newcomer_is_not_the_one_to_go() {
    let limiter = limiter(1e-6, 1, 3);
    for sender in ["a", "b", "c", "z", "0"] {
        assert_eq!(limiter.check_of(sender, "s", 0, wall(0)), Decision::Allowed);
        assert_ne!(limiter.check_of(sender, "s", 0, wall(0)), Decision::Allowed, "remembered");
    }
    for (sender, remembered) in [("a", false), ("b", false), ("c", true), ("z", true), ("0", true)]
    {
        let sources = limiter.state().buckets.sources_of(sender);
        assert_eq!(!sources.is_empty(), remembered, "{sender}");
    }
    limiter.state().buckets.assert_whole();
    let refused: u64 = limiter.finished_bursts(0, true).iter().map(|burst| burst.refused).sum();
    assert_eq!(refused, 5, "those of the forgotten too");
}

/// The same in the plainest way: a list in order of use, tokens in millionths.
#[derive(Default)]
struct Model {
    sources: Vec<ModelSource>,
    ended: Vec<Burst>,
    top: Option<(String, u64)>,
}

struct ModelSource {
    name: String,
    millionths: u64,
    at_us: u64,
    refused: u64,
    burst: Option<Burst>,
}

impl Model {
    fn check(
        &mut self,
        name: &str,
        now_us: u64,
        per_second: u64,
        burst: u64,
        max: usize,
    ) -> Decision {
        let full = burst * 1_000_000;
        let mut source = match self.sources.iter().position(|source| source.name == name) {
            Some(index) => self.sources.remove(index),
            None => ModelSource {
                name: name.to_owned(),
                millionths: full,
                at_us: now_us,
                refused: 0,
                burst: None,
            },
        };
        source.millionths = full.min(source.millionths + (now_us - source.at_us) * per_second);
        source.at_us = now_us;
        let decision = if source.millionths >= 1_000_000 {
            source.millionths -= 1_000_000;
            Decision::Allowed
        } else {
            self.refuse(&mut source, now_us);
            let micros = (1_000_000 - source.millionths).div_ceil(per_second);
            refused_ms(micros.div_ceil(1_000))
        };
        self.sources.push(source);
        if self.sources.len() > max {
            self.ended.extend(self.sources.remove(0).burst);
        }
        decision
    }

    fn refuse(&mut self, source: &mut ModelSource, now_us: u64) {
        source.refused += 1;
        if self.top.as_ref().is_none_or(|(_, count)| source.refused > *count) {
            self.top = Some((source.name.clone(), source.refused));
        }
        self.ended.extend(source.burst.take_if(|burst| over(burst, now_us)));
        let name = &source.name;
        let burst =
            source.burst.get_or_insert_with(|| super::tests::burst(name, 0, now_us, now_us));
        burst.refused += 1;
        burst.last = wall(now_us);
    }

    fn finished(&mut self, now_us: u64, force: bool) -> Vec<Burst> {
        for source in &mut self.sources {
            self.ended.extend(source.burst.take_if(|burst| force || over(burst, now_us)));
        }
        std::mem::take(&mut self.ended)
    }

    fn active(&self, now_us: u64) -> usize {
        let second = |us: u64| us / SECOND_US;
        self.sources.iter().filter(|s| second(now_us) - second(s.at_us) < 60).count()
    }
}

fn over(burst: &Burst, now_us: u64) -> bool {
    let age = |since: Timestamp| now_us as i64 - since.micros();
    age(burst.last) >= 1_000_000 || age(burst.first) >= 60_000_000
}

#[derive(Clone, Debug)]
enum Step {
    Check(u8),
    Finish { force: bool },
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let wait = prop_oneof![
        6 => Just(0_u64),
        4 => 0_u64..2_000,
        4 => 0_u64..1_500_000,
        1 => 0_u64..90_000_000,
    ];
    let step = prop_oneof![
        12 => (0_u8..8).prop_map(Step::Check),
        1 => any::<bool>().prop_map(|force| Step::Finish { force }),
    ];
    prop::collection::vec((wait, step), 1..150)
}

fn sorted(mut bursts: Vec<Burst>) -> Vec<Burst> {
    bursts.sort_by(|a, b| (a.first, &a.source).cmp(&(b.first, &b.source)));
    bursts
}

proptest! {
    #[test]
    fn it_does_what_the_plain_model_does(
        steps in steps(),
        // Rates whose interval is a whole number of picoseconds, so that both agree to the digit.
        per_second in prop::sample::select(vec![1_u64, 2, 5, 8, 100, 1_000]),
        burst in 1_u32..5,
        max in 1_usize..6,
    ) {
        let limiter = limiter(per_second as f64, burst, max);
        let mut model = Model::default();
        let mut now_us = 0;
        for (wait, step) in steps {
            now_us += wait;
            match step {
                Step::Check(source) => {
                    let source = format!("source-{source}");
                    let expected =
                        model.check(&source, now_us, per_second, u64::from(burst), max);
                    prop_assert_eq!(check(&limiter, &source, now_us), expected);
                }
                Step::Finish { force } => prop_assert_eq!(
                    sorted(limiter.finished_bursts(now_us, force)),
                    sorted(model.finished(now_us, force))
                ),
            }
            prop_assert_eq!(limiter.active_sources(now_us), model.active(now_us));
            let expected = model.top.clone().map(|(source, refused)| top(None, &source, refused));
            prop_assert_eq!(limiter.top_blocked(), expected);
            let order = limiter.state().buckets.sources_of("");
            let expected: Vec<String> = model.sources.iter().rev().map(|s| s.name.clone()).collect();
            prop_assert_eq!(order, expected);
        }
        prop_assert_eq!(
            sorted(limiter.finished_bursts(now_us, true)),
            sorted(model.finished(now_us, true))
        );
    }

    #[test]
    fn whoever_sends_what_the_tables_stay_whole_and_every_refusal_is_told_once(
        steps in prop::collection::vec((0_u8..4, 0_u8..12, 0_u64..1_500_000), 1..200),
        max in 1_usize..9,
    ) {
        let limiter = limiter(1.0, 1, max);
        let (mut now_us, mut refused, mut told) = (0, 0, 0);
        for (sender, source, wait) in steps {
            now_us += wait;
            let (sender, source) = (format!("sender-{sender}"), format!("source-{source}"));
            let decision = limiter.check_of(&sender, &source, now_us, wall(now_us));
            refused += u64::from(decision != Decision::Allowed);
            limiter.state().buckets.assert_whole();
            prop_assert!(limiter.state().buckets.len() <= max);
            let sources = limiter.state().buckets.sources_of(&sender);
            prop_assert_eq!(sources.first(), Some(&source));
            for burst in limiter.finished_bursts(now_us, false) {
                prop_assert!(burst.sender.is_some());
                told += burst.refused;
            }
        }
        told += limiter.finished_bursts(now_us, true).iter().map(|b| b.refused).sum::<u64>();
        prop_assert_eq!(told, refused);
    }

    #[test]
    fn retrying_when_told_succeeds_and_a_millisecond_earlier_does_not(
        per_second in 0.001_f64..5_000.0,
        burst in 1_u32..4,
        waits in prop::collection::vec(0_u64..3_000, 1..60),
    ) {
        let limiter = limiter(per_second, burst, 10);
        let mut now_us = 0;
        for wait in waits {
            now_us += wait;
            if let Decision::Refused { retry_after } = check(&limiter, "a", now_us) {
                let retry_us = now_us + u64::try_from(retry_after.as_micros()).expect("in range");
                let early = check(&limiter, "a", (retry_us - 1_000).max(now_us));
                prop_assert_ne!(early, Decision::Allowed);
                prop_assert_eq!(check(&limiter, "a", retry_us), Decision::Allowed);
                now_us = retry_us;
            }
        }
    }
}
