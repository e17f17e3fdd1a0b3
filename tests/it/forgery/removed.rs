//! FAULTS A1: old records are removed, and the manifest is made to say that retention
//! did it.

use auditctl::audit::files::manifest::Manifest;
use auditctl::audit::tree::merkle::{Hash, Range};
use auditctl::audit::{AuditLog, Event};

use super::{Victim, rfc6962};
use crate::support::{all_lines, records, run};

/// Removes the first segments and everything that spoke of them.
fn remove_segments(victim: &Victim, count: usize) {
    let dir = victim.home.log_dir();
    let path = dir.join("audit.manifest.json");
    let lines = all_lines(&dir);
    let mut manifest = Manifest::parse(&std::fs::read(&path).expect("manifest")).expect("manifest");
    assert!(manifest.segments.len() > count, "enough segments");
    let removed: Vec<_> = manifest.segments.remove_first(count);
    let end = manifest.segments[0].first_seq;
    let hashes: Vec<Hash> = rfc6962::subtrees(&lines[..end as usize])
        .iter()
        .map(|hash| hash.parse().expect("a hash"))
        .collect();
    manifest.pruned = Range::from_parts(0, end, hashes).expect("a range");
    std::fs::write(&path, manifest.encode().expect("json")).expect("written");
    for segment in removed {
        std::fs::remove_file(dir.join(&segment.file)).expect("removed");
        let _ = std::fs::remove_file(dir.join(format!("audit.{:020}.filter", segment.first_seq)));
    }
}

#[test]
fn a1_old_records_that_no_signed_record_removed_are_missed_by_every_verdict() {
    let victim = Victim::new();
    victim.all_pass();
    remove_segments(&victim, 3);
    victim.none_passes("three segments were removed");
    let (code, out, _) = run(&victim.home.dir, &["verify"]);
    assert_eq!(code, 1, "{out}");
}

#[test]

fn a1_a_checker_that_shares_no_code_with_the_program_misses_them_too() {
    let victim = Victim::new();
    remove_segments(&victim, 3);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let python = std::process::Command::new("python3")
        .arg(script)
        .arg(victim.home.log_dir())
        .output()
        .expect("python3");
    assert_eq!(python.status.code(), Some(1), "{}", String::from_utf8_lossy(&python.stdout));
}

#[test]
fn a1_they_stay_missed_when_the_log_is_started_again() {
    let victim = Victim::new();
    remove_segments(&victim, 2);
    // Whether it starts is its own decision; that it is content is not.
    if let Ok(log) = AuditLog::open(victim.home.options()) {
        log.record(Event::new("later")).expect("queued").wait_durable().expect("durable");
        log.close().expect("closed");
    }
    victim.none_passes("started again");
}

#[test]
fn a1_no_backup_is_made_that_takes_their_absence_for_granted() {
    let victim = Victim::new();
    remove_segments(&victim, 3);
    let made = victim.home.try_back_up();
    assert!(made.is_err(), "{made:?}");
}

#[test]
fn a1_a_forged_record_of_the_removal_at_the_logs_end_excuses_nothing() {
    let victim = Victim::new();
    let dir = victim.home.log_dir();
    let lines = all_lines(&dir);
    let manifest = std::fs::read(dir.join("audit.manifest.json")).expect("manifest");
    let manifest = Manifest::parse(&manifest).expect("manifest");
    let end = manifest.segments[2].first_seq;
    let subtrees = rfc6962::subtrees(&lines[..end as usize]);
    remove_segments(&victim, 2);
    let details = serde_json::json!({
        "pruned_to": end,
        "root_hash": rfc6962::hex(&rfc6962::root(&lines[..end as usize])),
        "tree": { "begin": 0, "end": end, "hashes": subtrees },
        "first_seq": 0, "records": end, "segments": 2, "bytes": 1, "held_by": [],
    });
    let forged = format!(
        "{{\"seq\":{},\"timestamp\":\"2026-11-26T21:00:00.000000Z\",\"event_type\":\"audit.pruned\",\
         \"actor\":\"auditctl\",\"source\":\"auditctl\",\"details\":{details},\
         \"origin\":{{\"via\":\"engine\",\"uid\":0,\"pid\":1}}}}\n",
        lines.len()
    );
    let active = dir.join("audit.log");
    let mut text = std::fs::read(&active).expect("the active segment");
    text.extend(forged.as_bytes());
    std::fs::write(&active, text).expect("written");
    victim.none_passes("a forged audit.pruned");
    if let Ok(log) = AuditLog::open(victim.home.options()) {
        log.close().expect("closed");
    }
    victim.none_passes("a forged audit.pruned, started again");
}

#[test]
fn a1_what_retention_removed_is_said_and_is_no_finding() {
    let victim = Victim::new();
    let log = crate::support::open(auditctl::audit::Options {
        retention: Some(std::time::Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..victim.home.options()
    });
    crate::support::eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    let report = victim.report(&auditctl::audit::read::verify::Request::default());
    assert!(report.passed(), "{:#?}", report.findings);
    assert!(report.ranges.removed.end_seq > 0);
    let told = records(&victim.home.log_dir());
    assert!(told.iter().any(|(_, record)| record["event_type"] == "audit.pruned"));
}
