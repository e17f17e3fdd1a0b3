//! `auditctl fleet` as it is typed.

use serde_json::Value;

use crate::support::{Dir, run};

fn ok(dir: &Dir, args: &[&str]) -> String {
    let (code, out, err) = run(dir, args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn json(dir: &Dir, args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(dir, &[&["--json"], args].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

/// Two logs in one bucket, and a signed roster of both.
fn fleet() -> Dir {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("bucket")).expect("a directory");
    for log in ["one", "two"] {
        ok(&dir, &["--log-dir", log, "record", "--type", "login", "--actor", "alice"]);
        ok(&dir, &["--log-dir", log, "archive", "bucket"]);
    }
    let public = ok(&dir, &["fleet", "roster", "new-key", "--name", "acme/roster", "roster.key"]);
    std::fs::write(dir.path().join("roster.pub"), public).expect("written");
    ok(&dir, &["fleet", "roster", "draft", "bucket", "--name", "acme", "--output", "draft.txt"]);
    let sign = ["fleet", "roster", "sign", "--key", "roster.key", "draft.txt"];
    ok(&dir, &[&sign[..], &["--output", "roster.txt"]].concat());
    dir
}

const WITH: [&str; 6] =
    ["--roster", "roster.txt", "--roster-key", "roster.pub", "--state", "state"];

fn verify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["fleet", "verify", "bucket"], &WITH[..], more].concat()
}

#[test]
fn a_fleet_is_drafted_signed_verified_reported_and_proven() {
    let dir = fleet();
    let draft = std::fs::read_to_string(dir.path().join("draft.txt")).expect("text");
    assert!(draft.contains("# A DRAFT.") && draft.matches("\nlog ").count() == 2, "{draft}");
    let shown = ok(&dir, &["fleet", "roster", "show", "roster.txt", "--public-key", "roster.pub"]);
    assert!(shown.contains("signed by acme/roster+") && !shown.contains('#'), "{shown}");
    let (code, found) = json(&dir, &["fleet", "list", "bucket"]);
    assert_eq!((code, found["fleet"]["logs"].as_array().map(Vec::len)), (0, Some(2)), "{found}");
    let (code, found) = json(&dir, &verify(&[]));
    assert_eq!((code, &found["fleet"]["verdict"]), (0, &"ok".into()), "{found}");
    let text = ok(&dir, &verify(&[]));
    assert!(text.contains("OK: 2 logs, ") && text.contains("keeps no versions"), "{text}");
    let report = [&["fleet", "report", "bucket", "--output", "report.txt"], &WITH[..]].concat();
    ok(&dir, &report);
    let text = std::fs::read_to_string(dir.path().join("report.txt")).expect("a report");
    for part in ["Roster    acme, number 1", "What this does not show", "known from elsewhere"] {
        assert!(text.contains(part), "{text}");
    }
    let id = found["fleet"]["logs"][0]["log_id"].as_str().expect("an id");
    ok(&dir, &["fleet", "prove", "bucket", "--log", id, "--seq", "1", "--output", "proof.json"]);
    ok(&dir, &["verify", "--proof", "proof.json"]);
}

#[test]
fn exit_codes_tell_what_is_bad_from_what_cannot_be_read_and_from_what_was_typed_wrong() {
    let dir = fleet();
    ok(&dir, &verify(&[]));
    // The log of a host is gone.
    let (_, found) = json(&dir, &["fleet", "list", "bucket"]);
    let id = found["fleet"]["logs"][0]["log_id"].as_str().expect("an id").to_owned();
    let bucket = dir.path().join("bucket");
    for folder in ["proof", "tail"] {
        std::fs::remove_dir_all(bucket.join(format!("{folder}/log={id}"))).expect("removed");
    }
    let (code, found) = json(&dir, &verify(&[]));
    assert_eq!((code, &found["fleet"]["verdict"]), (1, &"bad".into()), "{found}");
    assert!(found.to_string().contains("\"log_missing\""), "{found}");
    let (code, found) = json(&dir, &verify(&["--roster-min", "2"]));
    assert_eq!((code, &found["error"]["kind"]), (1, &"roster".into()), "{found}");
    let (code, found) = json(&dir, &["fleet", "verify", "nowhere", "--state", "other"]);
    assert_eq!((code, &found["error"]["kind"]), (3, &"no_bucket".into()), "{found}");
    let (code, found) = json(&dir, &verify(&["--log", "nothing-like-that"]));
    assert_eq!(code, 2, "a log that is none: {found}");
    let (code, found) = json(&dir, &verify(&["--host", "nobody"]));
    assert_eq!(code, 2, "a host that is none: {found}");
    let (code, _) = json(&dir, &["fleet", "verify", "bucket", "--roster", "roster.txt"]);
    assert_eq!(code, 2, "a roster without its key");
    std::fs::write(dir.path().join("state"), "junk").expect("written");
    let (code, found) = json(&dir, &verify(&[]));
    assert_eq!((code, &found["error"]["kind"]), (3, &"fleet_state".into()), "{found}");
    let roster = std::fs::read_to_string(dir.path().join("roster.txt")).expect("text");
    let altered = roster.replace("sequence 1", "sequence 9");
    std::fs::write(dir.path().join("roster.txt"), altered).expect("written");
    let (code, found) = json(&dir, &verify(&["--full"]));
    assert_eq!((code, &found["error"]["kind"]), (1, &"roster".into()), "{found}");
}

#[test]
fn changes_of_the_key_are_followed_and_one_that_nobody_signed_is_said() {
    let dir = fleet();
    ok(&dir, &["--log-dir", "one", "key", "rotate", "--reason", "yearly"]);
    ok(&dir, &["--log-dir", "one", "record", "--type", "after"]);
    ok(&dir, &["--log-dir", "one", "archive", "bucket"]);
    let (code, found) = json(&dir, &verify(&[]));
    assert_eq!((code, &found["fleet"]["verdict"]), (0, &"ok".into()), "{found}");
    // The roster still has the first key.
    let logs = found["fleet"]["logs"].as_array().expect("logs");
    let keys = |log: &Value| log["keys"].as_array().map_or(0, Vec::len);
    assert_eq!(logs.iter().map(keys).sum::<usize>(), 3, "{found}");
    std::fs::remove_file(dir.path().join("one/audit.key")).expect("removed");
    ok(&dir, &["--log-dir", "one", "key", "replace", "--reason", "lost"]);
    ok(&dir, &["--log-dir", "one", "record", "--type", "replaced"]);
    ok(&dir, &["--log-dir", "one", "archive", "bucket"]);
    let (code, found) = json(&dir, &verify(&[]));
    assert_eq!(code, 1, "the roster's key never authorised it: {found}");
    assert!(found.to_string().contains("\"keys_unproven\""), "{found}");
}

#[test]
fn a_fleet_s_report_counts_what_was_read_in_this_run_and_says_what_that_is() {
    let dir = fleet();
    let report = |more: &[&str], code: i32| {
        let path = dir.path().join("report.html");
        let (found, _, error) = run(&dir, &verify(&[&["--report", "report.html"], more].concat()));
        assert_eq!(found, code, "{error}");
        let text = std::fs::read_to_string(&path).expect("a report");
        std::fs::remove_file(path).expect("removed");
        text
    };
    let text = report(&[], 0);
    for part in [
        "Activity of all logs",
        "of 2 logs, accepted from 2",
        "Records per day (UTC",
        "alice",
        "Event type",
        "Counted now:",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("Not counted:"), "{text}");
    // A log that somebody altered tells nothing of what happened.
    let (_, found) = json(&dir, &["fleet", "list", "bucket"]);
    let id = found["fleet"]["logs"][0]["log_id"].as_str().expect("an id").to_owned();
    let altered = std::fs::read_dir(dir.path().join(format!("bucket/tail/log={id}")));
    let altered = altered.expect("tails").map(|it| it.expect("a file").path());
    for path in altered.filter(|path| path.is_file()) {
        let mut bytes = std::fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("altered");
    }
    let (code, found) = json(&dir, &verify(&[]));
    let (code, of) = match code {
        1 => (1, "of 1 log, accepted"),
        _ => panic!("{found}"),
    };
    let text = report(&[], code);
    assert!(text.contains(of) && text.contains("Not counted:"), "{text}");
    assert!(text.contains(&format!("the records of log {id}")), "{text}");
}

#[test]
fn a_proof_from_an_archive_as_html_is_one_file_that_verify_reads() {
    let dir = fleet();
    let (_, found) = json(&dir, &["fleet", "list", "bucket"]);
    let id = found["fleet"]["logs"][0]["log_id"].as_str().expect("an id").to_owned();
    let prove = ["fleet", "prove", "bucket", "--log", &id, "--seq", "1", "--format", "html"];
    ok(&dir, &[&prove[..], &["-o", "proof.html"]].concat());
    let text = std::fs::read_to_string(dir.path().join("proof.html")).expect("a file");
    assert!(text.starts_with("<!doctype html>") && text.contains("default-src 'none'"), "{text}");
    let (code, found) = json(&dir, &["verify", "--proof", "proof.html"]);
    assert_eq!((code, &found["seq"]), (0, &1.into()), "{found}");
}
