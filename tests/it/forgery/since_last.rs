//! FAULTS A10: the file of `verify --since-last` is put back after each run.

use std::sync::atomic::{AtomicU64, Ordering};

use auditctl::audit::read::verify::{Chance, Depth, Request, State, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::clock::Timestamp;

use crate::backups::Home;
use crate::support::run;

/// Alters one record of a sealed segment, in a way that keeps the file's length: the
/// manifest is signed, and a run that skips the segment looks at no more.
fn alter(home: &Home) {
    let path = home.log_dir().join("audit.manifest.json");
    let text = std::fs::read_to_string(&path).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("json");
    let name = manifest["segments"][1]["file"].as_str().expect("a file");
    let file = home.log_dir().join(name);
    let mut bytes = std::fs::read(&file).expect("a segment");
    bytes[40] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
}

#[test]
fn a10_an_altered_record_is_found_although_the_state_is_put_back_after_each_run() {
    let home = Home::new();
    home.record(300);
    let checked = |request: &Request| {
        verify(&home.fs, &home.log_dir(), request, &Unwatched).expect("a report")
    };
    let day = |day: i64| Timestamp::from_micros((20_000 + day) * 86_400_000_000);
    let (_, kept) = checked(&Request { now: day(0), ..Request::default() });
    let kept = kept.expect("nothing was wrong");
    // The attacker also says which segment was read longest ago: never the altered one.
    let kept = State { verified_at: day(0), ..kept };
    alter(&home);
    let drawn = std::sync::Arc::new(AtomicU64::new(41));
    let found = (1..=35).find(|n| {
        let drawn = std::sync::Arc::clone(&drawn);
        let chance = Chance::from_fn(move || {
            let next = |n: u64| n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let last = drawn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(next(n)));
            last.ok()
        });
        let since = Some(kept.clone());
        let (report, _) = checked(&Request { since, chance, now: day(*n), ..Request::default() });
        assert_eq!(report.depth, Depth::SinceLast, "{:?}", report.depth_reason);
        !report.passed()
    });
    assert!(found.is_some(), "35 runs");
}

#[test]
fn a10_the_command_finds_it_and_says_what_it_read_longest_ago() {
    let home = Home::new();
    home.record(300);
    let state = home.log_dir().join("audit.verified.json");
    let since = || run(&home.dir, &["verify", "--since-last", "--json"]);
    assert_eq!(since().0, 0);
    let (code, out, _) = since();
    assert_eq!(code, 0, "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert!(report["oldest_read"]["read_at"].is_string(), "{out}");
    let (_, text, _) = run(&home.dir, &["verify", "--since-last"]);
    assert!(text.contains("ago, the longest time of all"), "{text}");

    let kept = std::fs::read(&state).expect("the state");
    alter(&home);
    // By lot: each run finds it with a chance of one in the number of segments.
    let found = (0..400).any(|_| {
        let found = since().0 == 1;
        std::fs::write(&state, &kept).expect("put back");
        found
    });
    assert!(found, "400 runs");
}
