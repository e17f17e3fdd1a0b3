//! FAULTS A13: what must not be kept gets into the log by no question either.

use serde_json::json;

use crate::serving::Serving;
use crate::support::{Dir, records, run};

const SECRET: &str = "hunter2-GEHEIM";

#[test]
fn a13_a_question_about_a_redacted_value_is_recorded_without_it() {
    let dir = Dir::new();
    let collector =
        Serving::start(&dir, "redact = [\"password\", \"actor\"]\naudit_reads = true\n");
    let mut peer = collector.connect();
    for question in [
        json!({"where": format!("details.password = {SECRET}")}),
        json!({"where": format!("details.password ~ {SECRET}")}),
        json!({"where": format!("details.*.x = {SECRET}"), "count": true}),
        json!({"where": format!("details.user.PASSWORD != \"{SECRET}\""), "count": true}),
        json!({"grep": SECRET}),
        json!({"actor": format!("{SECRET}*"), "group_by": "type"}),
        // Refused, and spoken of.
        json!({"where": format!("details.password {SECRET}")}),
        json!({"where": format!("details.password ~ ({SECRET}")}),
        json!({"where": {"password": SECRET}}),
        json!({"since": SECRET, "actor": SECRET}),
        json!({"password": SECRET}),
    ] {
        let _answer = peer.ask(&json!({"query": question}).to_string());
    }
    let (code, out, err) =
        run(&dir, &["query", "--where", &format!("details.password = {SECRET}"), "--grep", SECRET]);
    assert_eq!(code, 0, "{out}{err}");
    collector.terminate();
    let asked = records(&dir.log()).into_iter().filter(|(_, r)| r["event_type"] == "audit.query");
    assert!(asked.count() >= 7);
    for entry in std::fs::read_dir(dir.log()).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            let found = memchr::memmem::find(&bytes, SECRET.as_bytes());
            assert_eq!(found, None, "{}", path.display());
        }
    }
}

#[test]
fn a_question_that_is_too_long_to_be_recorded_is_refused_and_the_log_stays_whole() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "redact = [\"password\"]\naudit_reads = true\n");
    let mut peer = collector.connect();
    for question in [
        json!({"grep": "x".repeat((1 << 20) - 100)}),
        json!({"grep": vec!["x"; 100_000], "count": true}),
        json!({"where": vec!["details.password = 1"; 5_000], "count": true}),
    ] {
        let answer = peer.ask(&json!({"query": question}).to_string());
        assert_eq!(answer["error"]["kind"], "usage", "{answer:.200}");
    }
    collector.terminate();
    let (code, out, err) = run(&dir, &["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}
