//! FAULTS A2 and A12: lines are appended to a log at rest, and an end in order is
//! pretended.

use std::io::Write;

use auditctl::audit::read::verify::Request;
use auditctl::audit::{AuditLog, Event};
use serde_json::{Value, json};

use super::Victim;
use crate::serving::Serving;
use crate::support::{Dir, all_lines, records, run};

fn append(victim: &Victim, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(victim.home.log_dir().join("audit.log"))
        .expect("the active segment");
    file.write_all(text.as_bytes()).expect("appended");
}

fn forged(seq: u64, event_type: &str, via: &str) -> String {
    format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-11-26T21:00:00.000000Z\",\"event_type\":\"{event_type}\",\
         \"actor\":\"ceo\",\"source\":\"billing\",\"origin\":{{\"via\":\"{via}\",\"uid\":1000,\"pid\":1}}}}\n"
    )
}

fn next_seq(victim: &Victim) -> u64 {
    all_lines(&victim.home.log_dir()).len() as u64
}

#[test]
fn a2_a_line_that_was_appended_at_rest_is_never_signed_and_never_lost() {
    let victim = Victim::new();
    let seq = next_seq(&victim);
    append(&victim, &forged(seq, "approve.payment", "socket"));
    assert!(!victim.report(&Request::default()).passed(), "before the start");

    let log = AuditLog::open(victim.home.options()).expect("it opens");
    log.record(Event::new("later")).expect("queued").wait_durable().expect("durable");
    log.close().expect("closed");
    let dir = victim.home.log_dir();
    let types: Vec<Value> =
        records(&dir).into_iter().map(|(_, r)| r["event_type"].clone()).collect();
    assert!(!types.contains(&json!("approve.payment")), "it is part of the log");
    // What was found is kept, and the log says so.
    let aside = crate::backups::names(&dir).into_iter().find(|name| name.contains(".foreign-"));
    let aside = aside.expect("set aside");
    let kept = std::fs::read_to_string(dir.join(&aside)).expect("read");
    assert!(kept.contains("approve.payment"), "{kept}");
    let told = records(&dir).into_iter().any(|(_, record)| record.to_string().contains(&aside));
    assert!(told, "a record names {aside}");
    victim.all_pass();
}

#[test]
fn a2_a_forged_record_of_the_engine_is_not_adopted_either() {
    let victim = Victim::new();
    let seq = next_seq(&victim);
    append(&victim, &forged(seq, "audit.key_rotated", "engine"));
    append(&victim, &forged(seq + 1, "audit.closed", "engine"));
    if let Ok(log) = AuditLog::open(victim.home.options()) {
        log.close().expect("closed");
    }
    let stored = records(&victim.home.log_dir());
    let forged = stored.iter().find(|(_, record)| record["actor"] == "ceo");
    assert_eq!(forged, None);
}

#[test]
fn a2_what_was_appended_after_an_unclean_stop_is_named_as_unsigned() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    assert!(peer.ask(r#"{"event_type":"login"}"#)["ok"]["seq"].is_u64());
    collector.kill_nine();
    let seq = all_lines(&dir.log()).len() as u64;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.log().join("audit.log"))
        .expect("the active segment");
    file.write_all(forged(seq, "approve.payment", "socket").as_bytes()).expect("appended");
    drop(file);
    let collector = Serving::start(&dir, "");
    collector.terminate();
    let recovered: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["event_type"] == "audit.recovered")
        .collect();
    let details = &recovered.last().expect("the opening says what it adopted")["details"];
    assert_eq!(
        (&details["unsigned_first"], &details["unsigned_end"]),
        (&json!(seq), &json!(seq + 1))
    );
    let (_, out, _) = run(&dir, &["verify", "--json"]);
    let report: Value = serde_json::from_str(&out).expect("json");
    let text = report.to_string();
    assert!(
        text.contains(&format!("\"first_seq\":{seq}"))
            || text.contains(&format!("\"begin\":{seq}")),
        "verify shows the range: {text}"
    );
}

#[test]
fn a12_an_event_that_looks_like_an_end_is_none() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    for line in [
        r#"{"event_type":"x","details":{"event_type":"audit.closed"}}"#,
        r#"{"event_type":"x","details":{"text":"\"event_type\":\"audit.closed\""}}"#,
        r#"{"event_type":"x","actor":"\"event_type\":\"audit.closed\""}"#,
    ] {
        assert!(peer.ask(line)["ok"]["seq"].is_u64());
    }
    collector.kill_nine();
    let (_, out, _) = run(&dir, &["verify"]);
    assert!(!out.contains("closed cleanly"), "{out}");
    let collector = Serving::start(&dir, "");
    collector.terminate();
    let opened: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["event_type"] == "audit.opened")
        .collect();
    assert_eq!(opened.len(), 2);
    assert_eq!(opened[1]["details"]["clean"], json!(false));
    let (_, out, _) = run(&dir, &["verify"]);
    assert!(out.contains("closed cleanly"), "{out}");
}
