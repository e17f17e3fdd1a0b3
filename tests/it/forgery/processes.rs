//! FAULTS A3, A5, A9 and A16, with real processes: what is done to the files of a
//! running collector.

use std::time::Duration;

use serde_json::{Value, json};

use crate::serving::{Serving, refuses_to_start};
use crate::support::{Dir, eventually, records, run};

/// Which of the acknowledged events are in the log: all of them.
fn all_there(dir: &Dir, acknowledged: &[String]) {
    let stored: Vec<Value> = records(&dir.log()).into_iter().map(|(_, record)| record).collect();
    for actor in acknowledged {
        let found = stored.iter().filter(|record| record["actor"] == json!(actor)).count();
        assert_eq!(found, 1, "{actor}");
    }
}

fn record(peer: &mut crate::serving::Peer, actors: std::ops::Range<u32>) -> Vec<String> {
    actors
        .map(|n| {
            let actor = format!("user-{n}");
            let answer = peer
                .ask(&json!({"event_type":"e","actor":actor,"source":format!("s{n}")}).to_string());
            assert!(answer["ok"]["seq"].is_u64(), "{answer}");
            actor
        })
        .collect()
}

#[test]
fn a3_without_its_lock_file_a_running_log_gets_no_second_writer_and_loses_nothing() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let mut acknowledged = record(&mut peer, 0..20);
    std::fs::remove_file(dir.log().join("audit.lock")).expect("removed");
    let (code, said) = refuses_to_start(&dir, &["--socket", "other.sock"]);
    assert_eq!(code, Some(4), "{said}");
    let (code, out, _) = run(&dir, &["health", "--json"]);
    assert_ne!(code, 3, "{out}");
    assert!(!out.contains("died"), "{out}");
    acknowledged.extend(record(&mut peer, 20..40));
    collector.terminate();
    all_there(&dir, &acknowledged);
    assert_eq!(run(&dir, &["verify"]).0, 0);
}

#[test]
fn a5_a_status_page_that_is_emptied_kills_nobody() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let mut acknowledged = record(&mut peer, 0..10);
    std::fs::write(dir.log().join("audit.status"), "").expect("emptied");
    acknowledged.extend(record(&mut peer, 10..40));
    collector.terminate();
    all_there(&dir, &acknowledged);
}

#[test]
fn a9_files_that_are_removed_under_the_writer_are_there_again_and_health_tells() {
    for name in ["audit.key", "audit.pub", "audit.checkpoint", "audit.manifest.json"] {
        let dir = Dir::new();
        let collector = Serving::start(&dir, "");
        let mut peer = collector.connect();
        let acknowledged = record(&mut peer, 0..5);
        let path = dir.log().join(name);
        std::fs::remove_file(&path).expect("removed");
        eventually(&format!("{name} is put back"), || path.exists());
        let (code, out, _) = run(&dir, &["health", "--json"]);
        assert_ne!(code, 0, "{name}: {out}");
        collector.terminate();
        all_there(&dir, &acknowledged);
        assert_eq!(run(&dir, &["verify"]).0, 0, "{name}");
        // With the key it had.
        let collector = Serving::start(&dir, "");
        collector.terminate();
        assert_eq!(run(&dir, &["verify"]).0, 0, "{name}");
    }
}

#[test]
fn a16_a_burst_of_refusals_is_in_the_log_although_the_collector_was_killed_in_it() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    let mut peer = collector.connect();
    let line = format!("{}\n", json!({"event_type":"e","source":"flood"}));
    peer.send(&line.repeat(50));
    let refused =
        (0..50).filter(|_| peer.answer().expect("an answer")["error"].is_object()).count();
    assert!(refused > 0, "refused");
    collector.kill_nine();
    let collector = Serving::start(&dir, "");
    // Told when the log is opened, or soon after.
    eventually("the refusals are recorded", || {
        std::thread::sleep(Duration::from_millis(20));
        records(&dir.log()).iter().any(|(_, record)| record["event_type"] == "audit.rate_limited")
    });
    collector.terminate();
}
