//! FAULTS A6 and A7: what backups hold, and an old copy of the whole directory.

use serde_json::Value;

use crate::backups::{copy_dir, names};
use crate::serving::refuses_to_start;
use crate::support::{Dir, run};

fn events(dir: &Dir, count: usize) {
    let path = dir.path().join("events.ndjson");
    let events: String =
        (0..count).map(|n| format!("{{\"event_type\":\"login\",\"source\":\"s{n}\"}}\n")).collect();
    std::fs::write(&path, events).expect("written");
    assert_eq!(run(dir, &["record", "--file", "events.ndjson"]).0, 0);
}

fn put_back(from: &std::path::Path, to: &std::path::Path) {
    for name in names(to) {
        if to.join(&name).is_file() {
            std::fs::remove_file(to.join(&name)).expect("removed");
        }
    }
    copy_dir(from, to);
}

/// A log of which an old copy was put back, while a backup has seen more of it.
fn rolled_back() -> Dir {
    let dir = Dir::new();
    events(&dir, 20);
    copy_dir(&dir.log(), &dir.path().join("old"));
    events(&dir, 20);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    put_back(&dir.path().join("old"), &dir.log());
    dir
}

#[test]
fn a7_an_old_copy_of_the_log_is_not_healthy_where_a_backup_has_seen_more() {
    let told = |dir: &Dir| {
        let (_, out, _) = run(dir, &["health", "--json"]);
        let report: Value = serde_json::from_str(&out).expect("json");
        let checks = report["checks"].as_array().expect("checks").clone();
        let of_proof = |check: &&Value| {
            ["integrity", "backup"].contains(&check["component"].as_str().unwrap_or_default())
        };
        let bad: Vec<_> =
            checks.iter().filter(of_proof).filter(|c| c["status"] != "healthy").collect();
        assert!(!bad.is_empty(), "{out}");
    };
    told(&rolled_back());
    // Recording on makes another history, of as many records.
    let dir = rolled_back();
    for _ in 0..3 {
        let _ = run(&dir, &["record", "--file", "events.ndjson"]);
    }
    told(&dir);
}

#[test]
fn a7_the_collector_does_not_start_on_it_unless_it_is_told_to() {
    let dir = rolled_back();
    let (_, said) = refuses_to_start(&dir, &[]);
    assert!(said.contains("--accept-rollback"), "{said}");
}
