//! `verify --report`: what an auditor files.

use std::path::Path;

use auditctl::audit::record::event::Event;
use auditctl::audit::{AuditLog, Options};

use crate::support::{Dir, run};

/// Three days, two of them with events, and texts that want to be HTML.
fn recorded(dir: &Dir) {
    let log = AuditLog::open(Options::new(dir.log())).expect("opened");
    for nth in 0..40 {
        let actor = if nth % 4 == 0 { "<img src=x onerror=alert(1)>" } else { "al\u{202e}ice" };
        let _ = log.record(Event::new("login").actor(actor)).expect("taken");
    }
    log.close().expect("closed");
}

fn report(dir: &Dir, args: &[&str]) -> (i32, String) {
    let path = dir.path().join("report.html");
    let all = [&["verify", "--report", "report.html"], args].concat();
    let (code, _, error) = run(dir, &all);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no report: {error}"));
    std::fs::remove_file(path).expect("removed");
    (code, text)
}

/// Nothing runs in it, and nothing is asked of anybody.
fn stands_alone(text: &str) {
    assert!(text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"), "whole");
    assert!(text.contains("default-src 'none'; script-src 'none'"), "a policy");
    for what in ["<script", "<img", "<link", "<iframe", "src=\"", "href=", "url(", "@import"] {
        assert!(!text.contains(what), "{what}");
    }
}

#[test]
fn a_report_says_what_was_found_by_whom_with_what_and_what_was_not_checked() {
    let dir = Dir::new();
    recorded(&dir);
    let (_, key, _) = run(&dir, &["key", "show", "--json"]);
    let key: serde_json::Value = serde_json::from_str(&key).expect("json");
    let (code, text) = report(&dir, &[]);
    assert_eq!(code, 0);
    stands_alone(&text);
    let digits = key["fingerprint"].as_str().expect("a fingerprint");
    let groups: Vec<&str> =
        digits.as_bytes().chunks(8).map(|it| std::str::from_utf8(it).expect("hex")).collect();
    for wanted in [
        "<strong>VERIFIED</strong>",
        &groups.join(" "),
        "verify --report report.html",
        "No copy that is kept elsewhere was compared",
        "taken from beside the log",
        "Witnesses were not asked for",
        "all that are signed and here",
        "&#60;img src=x onerror=alert(1)&#62;",
        r"al\u{202e}ice",
        "Records per day",
        "uid ",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn with_copies_from_elsewhere_the_report_names_them_and_does_not_say_that_they_are_missing() {
    let dir = Dir::new();
    recorded(&dir);
    let (_, note, _) = run(&dir, &["checkpoint"]);
    std::fs::write(dir.path().join("kept.checkpoint"), note).expect("kept");
    std::fs::copy(dir.log().join("audit.pub"), dir.path().join("kept.pub")).expect("kept");
    let args = ["--against", "kept.checkpoint", "--public-key", "kept.pub"];
    let (code, text) = report(&dir, &args);
    assert_eq!(code, 0);
    assert!(text.contains("checkpoint: kept.checkpoint:") && text.contains("public key: kept.pub"));
    assert!(text.contains("a copy kept elsewhere agrees"), "{text}");
    assert!(!text.contains("No copy that is kept elsewhere was compared"));
    assert!(!text.contains("taken from beside the log"));
}

#[test]
fn a_damaged_log_s_report_is_written_and_calls_its_figures_not_proven() {
    let dir = Dir::new();
    recorded(&dir);
    let path = dir.log().join("audit.log");
    let lines = std::fs::read_to_string(&path).expect("the log");
    std::fs::write(&path, lines.replacen("\"login\"", "\"logon\"", 1)).expect("altered");
    let (code, text) = report(&dir, &[]);
    assert_eq!(code, 1, "the exit code stays that of verify");
    stands_alone(&text);
    assert!(text.contains("<strong>DAMAGED</strong>"), "{text}");
    assert!(text.contains("NOT PROVEN: counted in"), "{text}");
    assert!(text.contains("What to do next:"), "{text}");
}

#[test]
fn a_report_is_a_new_file_and_nothing_is_checked_where_it_cannot_be_written() {
    let dir = Dir::new();
    recorded(&dir);
    std::fs::write(dir.path().join("there.html"), "mine").expect("written");
    let (code, out, error) = run(&dir, &["verify", "--report", "there.html"]);
    assert_eq!((code, &*out), (3, ""), "{error}");
    assert!(error.contains("there.html") && error.contains("not there yet"), "{error}");
    assert_eq!(std::fs::read_to_string(dir.path().join("there.html")).expect("there"), "mine");
    let (code, out, _) = run(&dir, &["verify", "--report", "nowhere/report.html"]);
    assert_eq!((code, &*out), (3, ""));
    assert!(!Path::new("nowhere").exists());
    // Nor of a backup.
    let (code, out, _) = run(&dir, &["verify", "latest", "--report", "there.html"]);
    assert_eq!((code, &*out), (3, ""));
}

#[test]
fn a_backup_s_report_says_what_is_in_that_backup_and_that_no_other_was_read() {
    let dir = Dir::new();
    recorded(&dir);
    let (code, _, error) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{error}");
    // What comes later is not in it.
    let (code, _, error) = run(&dir, &["record", "--type", "later", "--actor", "zoe"]);
    assert_eq!(code, 0, "{error}");
    let (code, text) = report(&dir, &["latest"]);
    assert_eq!(code, 0);
    stands_alone(&text);
    for wanted in [
        "<strong>VERIFIED</strong>",
        "Verification of backup",
        "Records per day",
        "&#60;img src=x onerror=alert(1)&#62;",
        r"al\u{202e}ice",
        "No checkpoint that is kept elsewhere was compared",
        "all that are in the backup",
        "Other backups, archives, and the log itself were not verified",
        "continues it, by",
        "uid ",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(!text.contains("zoe") && !text.contains('\u{202e}'), "{text}");
    // A checkpoint that is newer than the backup does not fit it.
    let (_, note, _) = run(&dir, &["checkpoint"]);
    std::fs::write(dir.path().join("kept.checkpoint"), note).expect("kept");
    let (code, text) = report(&dir, &["latest", "--against", "kept.checkpoint"]);
    assert_eq!(code, 1);
    assert!(text.contains("<strong>OLDER</strong>") && text.contains("What is wrong"), "{text}");
}

#[test]
fn a_damaged_backup_s_report_says_what_is_wrong_and_counts_nothing() {
    let dir = Dir::new();
    recorded(&dir);
    let (code, _, error) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{error}");
    let names = std::fs::read_dir(dir.path().join("backups/audit")).expect("backups");
    let mut all = names.map(|it| it.expect("a file").path());
    let archive = all.find(|it| it.extension().is_some_and(|it| it == "gz")).expect("an archive");
    let mut bytes = std::fs::read(&archive).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).expect("altered");
    let (code, text) = report(&dir, &["latest"]);
    assert_eq!(code, 1);
    stands_alone(&text);
    assert!(text.contains("<strong>DAMAGED</strong>"), "{text}");
    assert!(text.contains(".gz") && text.contains("nothing in it was counted"), "{text}");
    assert!(!text.contains("Records per day"), "{text}");
}

#[test]
fn what_is_not_signed_is_not_counted() {
    let dir = Dir::new();
    recorded(&dir);
    let signed = auditctl_signed(&dir);
    // A line behind the signed head, as a crash leaves it.
    let path = dir.log().join("audit.log");
    let mut text = std::fs::read_to_string(&path).expect("the log");
    text.push_str(&format!(
        "{{\"seq\":{signed},\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"login\",\"actor\":\"mallory\",\"origin\":{{\"via\":\"library\"}}}}\n"
    ));
    std::fs::write(&path, text).expect("written");
    let (_, text) = report(&dir, &[]);
    assert!(!text.contains("mallory"), "{text}");
}

#[test]
fn lines_that_claim_the_place_of_a_signed_record_are_not_counted() {
    let dir = Dir::new();
    recorded(&dir);
    let path = dir.log().join("audit.log");
    let mut text = std::fs::read_to_string(&path).expect("the log");
    for seq in [0, 3, 5] {
        let forged = format!(
            "{{\"seq\":{seq},\"timestamp\":\"2019-02-04T21:09:40.123456Z\",\"event_type\":\"audit.restored\",\"actor\":\"mallory\",\"details\":{{}},\"origin\":{{\"via\":\"engine\"}}}}\n"
        );
        text.push_str(&forged.repeat(80));
    }
    std::fs::write(&path, text).expect("written");
    let (_, text) = report(&dir, &[]);
    for forged in ["mallory", "audit.restored", "2019"] {
        assert!(!text.contains(forged), "{forged}: {text}");
    }
}

fn auditctl_signed(dir: &Dir) -> u64 {
    let (_, note, _) = run(dir, &["checkpoint"]);
    note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size")
}
